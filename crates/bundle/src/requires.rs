//! What a bundle needs of the device that it runs on, so that a device can say no before it fetches.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Platforms and licences that a bundle may name, each.
const NAMES_MAX: usize = 64;
/// Longest name of a platform or licence in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The table `[requires]` of `bundle.toml`. What is left out is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// The oldest agent that runs the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentVersion>,
    /// Platforms that it runs on, as OCI names them: `linux/arm64`. Empty: any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<String>,
    /// Names of the licences that the device must hold.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub licences: BTreeSet<String>,
}

impl Requires {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Requires::default()
    }

    /// Checks the form of the names, and says which key holds what is wrong.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let lists = [("platforms", &self.platforms), ("licences", &self.licences)];
        for (key, names) in lists {
            if names.len() > NAMES_MAX {
                return Err((
                    key,
                    format!("{} are more than the {NAMES_MAX} allowed", names.len()),
                ));
            }
        }
        if let Some(wrong) = self.platforms.iter().find(|platform| !is_platform(platform)) {
            let problem =
                format!("{wrong:?} is no platform as OCI names them, such as linux/arm64");
            return Err(("platforms", problem));
        }
        match self.licences.iter().find(|name| !is_licence(name)) {
            Some(wrong) => Err((
                "licences",
                format!(
                    "name {wrong:?} must be 1 to {NAME_BYTES_MAX} characters of a-z, 0-9 and '-'"
                ),
            )),
            None => Ok(()),
        }
    }
}

/// Whether `text` is `os/architecture` or `os/architecture/variant`.
fn is_platform(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.len() <= NAME_BYTES_MAX
        && (2..=3).contains(&text.split('/').count())
        && text.split('/').all(is_part)
}

/// Whether `name` may name a licence: it is a key of a device's settings as well.
pub fn is_licence(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The version of an agent: one to three numbers, of which those left out are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentVersion([u32; 3]);

/// A text that is no version of an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of an agent: one to three numbers, as in \"0.3\"")]
pub struct AgentVersionError(String);

impl FromStr for AgentVersion {
    type Err = AgentVersionError;

    /// Reads a version. What follows a `-` or `+` names a build of it and orders nothing.
    fn from_str(text: &str) -> Result<Self, AgentVersionError> {
        let wrong = || AgentVersionError(text.to_owned());
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = [0; 3];
        for (place, part) in plain.split('.').enumerate() {
            let number = numbers.get_mut(place).ok_or_else(wrong)?;
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *number = part.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        }
        Ok(AgentVersion(numbers))
    }
}

impl TryFrom<String> for AgentVersion {
    type Error = AgentVersionError;

    fn try_from(text: String) -> Result<Self, AgentVersionError> {
        text.parse()
    }
}

impl From<AgentVersion> for String {
    fn from(version: AgentVersion) -> String {
        version.to_string()
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> AgentVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_of_agents_are_ordered_by_their_numbers() {
        assert!(version("0.9") < version("0.10.1") && version("0.10") < version("1"));
        assert_eq!(version("1.2"), version("1.2.0-dev+7"));
        assert_eq!(version("1.2").to_string(), "1.2.0");
        for text in ["", "v1", "1.", "1.2.3.4", "1..2", "+1", "-1", "1.x", "99999999999"] {
            assert!(text.parse::<AgentVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_no_device_could_have_are_refused_with_their_key() {
        let of = |platform: &str, licence: &str| Requires {
            platforms: BTreeSet::from([platform.to_owned()]),
            licences: BTreeSet::from([licence.to_owned()]),
            ..Requires::default()
        };
        assert_eq!(of("linux/arm/v7", "acme-vision").check(), Ok(()));
        for wrong in ["linux", "Linux/arm64", "linux/", "linux/arm/v7/x", "linux/arm 64", ""] {
            assert_eq!(of(wrong, "a").check().unwrap_err().0, "platforms", "{wrong}");
        }
        for wrong in ["", "Acme", "acme vision", "a.b"] {
            assert_eq!(of("linux/arm64", wrong).check().unwrap_err().0, "licences", "{wrong}");
        }
        let many = (0..=NAMES_MAX).map(|n| n.to_string()).collect();
        let many = Requires { licences: many, ..Requires::default() };
        assert_eq!(many.check().unwrap_err().0, "licences");
    }
}
