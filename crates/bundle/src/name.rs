//! What a bundle is called, and which release of it is meant.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name or version in bytes.
const BYTES_MAX: usize = 63;

/// A text that is no name or version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a bundle's name.
    #[error(
        "bundle name {0:?} must be 1 to 63 characters of a-z, 0-9 and '-', and start with a letter or digit"
    )]
    Name(String),
    /// Not a version.
    #[error(
        "version {0:?} must be 1 to 63 characters of letters, digits, '.' and '-', and start with a letter or digit"
    )]
    Version(String),
}

/// A bundle's name: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleName(String);

/// A bundle's version as its author writes it: `[0-9A-Za-z][0-9A-Za-z.-]{0,62}`, fit for an OCI tag.
///
/// Versions are not ordered: what may replace what is decided by numbers in signed metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleVersion(String);

macro_rules! text {
    ($name:ident, $error:path, $allowed:expr) => {
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let allowed: fn(u8) -> bool = $allowed;
                let fits = (1..=BYTES_MAX).contains(&text.len())
                    && text.bytes().all(allowed)
                    && text.as_bytes()[0].is_ascii_alphanumeric();
                if fits { Ok(Self(text)) } else { Err($error(text)) }
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

text!(BundleName, NameError::Name, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
text!(BundleVersion, NameError::Version, |b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');

/// Which bundle exactly: its name and version for people, its OCI manifest's digest and size for machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseId {
    /// The bundle's name.
    pub name: BundleName,
    /// The bundle's version.
    pub version: BundleVersion,
    /// Digest of the OCI manifest, which names every other blob by digest.
    pub digest: Digest,
    /// Size of the OCI manifest in bytes.
    pub size: u64,
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spoken(self.name.as_str(), self.version.as_str()))
    }
}

/// A release as people read it: `turbine v2`. A version that is a word of its own stands as it is:
/// `turbine spring`.
pub fn spoken(name: &str, version: &str) -> String {
    let is_number = version.starts_with(|first: char| first.is_ascii_digit());
    format!("{name} {}{version}", if is_number { "v" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_a_word_is_not_called_one_twice() {
        for (version, said) in
            [("2", "pump v2"), ("1.2-rc.1", "pump v1.2-rc.1"), ("v3", "pump v3"), ("s2", "pump s2")]
        {
            assert_eq!(spoken("pump", version), said);
        }
    }

    #[test]
    fn names_and_versions_fit_a_path_and_a_tag() {
        for text in ["", "a/b", "..", ".a", "-a", "a b", &"a".repeat(64)] {
            assert!(text.parse::<BundleName>().is_err(), "{text:?}");
            assert!(text.parse::<BundleVersion>().is_err(), "{text:?}");
        }
        assert!("1.2.3-rc.1".parse::<BundleVersion>().is_ok());
        assert!("Turbine".parse::<BundleName>().is_err());
    }
}
