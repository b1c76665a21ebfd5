//! Names that appear in topics, paths and certificates, checked once when they are made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name in bytes: what fits a DNS label and a certificate's common name.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {text:?} must be 1 to {NAME_BYTES_MAX} characters of a-z, 0-9 and '-', and start with a letter or digit"
)]
pub struct NameError {
    kind: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                if is_name(&text) { Ok(Self(text)) } else { Err(NameError { kind: $kind, text }) }
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// An enrolled agent: `[a-z0-9][a-z0-9-]{0,62}`.
    DeviceId, "device name"
}

name! {
    /// The place where devices stand, as its policy names it: `[a-z0-9][a-z0-9-]{0,62}`.
    SiteName, "site name"
}

name! {
    /// Somebody who may sign targets besides the release keys: `[a-z0-9][a-z0-9-]{0,62}`.
    RoleName, "role name"
}

name! {
    /// A named place on a device in which one bundle runs: `[a-z0-9][a-z0-9-]{0,62}`.
    SlotName, "slot name"
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && !text.starts_with('-')
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_topic_or_folder() {
        for text in ["", "-a", "a/b", "..", "a b", "A", "a+", "#", "ä", &"a".repeat(64)] {
            assert!(text.parse::<DeviceId>().is_err(), "{text:?} was accepted");
        }
        for text in ["a", "0", "line-3", &"a".repeat(63)] {
            assert_eq!(text.parse::<SlotName>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn a_name_is_checked_when_it_is_read() {
        assert!(serde_json::from_str::<DeviceId>("\"line-3\"").is_ok());
        assert!(serde_json::from_str::<DeviceId>("\"../x\"").is_err());
    }
}
