//! Who wants to join, and who need not wait for a person.

use crate::key::Fingerprint;
use lineside_wire::name::DeviceId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name that it wants.
    pub device: DeviceId,
    /// Its key, which it has shown to hold.
    pub key: Fingerprint,
    /// The serial number that it says it has.
    pub serial: Option<HardwareSerial>,
}

/// A device that need not wait for a person, if it comes with a token that is good: somebody has looked at
/// it before it was sent out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preauthorised {
    /// Its name.
    pub device: DeviceId,
    /// Its key, where that was known; any other is not listed.
    pub key: Option<Fingerprint>,
    /// Its serial number, where that was known; any other is not listed.
    pub serial: Option<HardwareSerial>,
}

impl Preauthorised {
    /// Whether this entry is of who wants to join.
    pub fn lists(&self, claim: &Claim) -> bool {
        self.device == claim.device
            && self.key.is_none_or(|key| key == claim.key)
            && self.serial.as_ref().is_none_or(|serial| claim.serial.as_ref() == Some(serial))
    }
}

/// The number that a maker has given a device, as a label or its board says it: 1 to 64 characters of
/// ASCII that can be seen. It is claimed, not proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HardwareSerial(String);

/// Why a text is no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a device's serial number has 1 to {HARDWARE_SERIAL_BYTES_MAX} letters, digits and signs, no spaces"
)]
pub struct HardwareSerialError;

const HARDWARE_SERIAL_BYTES_MAX: usize = 64;

impl TryFrom<String> for HardwareSerial {
    type Error = HardwareSerialError;

    fn try_from(text: String) -> Result<HardwareSerial, HardwareSerialError> {
        let fits = (1..=HARDWARE_SERIAL_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(HardwareSerial(text))
        } else {
            Err(HardwareSerialError)
        }
    }
}

impl FromStr for HardwareSerial {
    type Err = HardwareSerialError;

    fn from_str(text: &str) -> Result<HardwareSerial, HardwareSerialError> {
        text.to_owned().try_into()
    }
}

impl From<HardwareSerial> for String {
    fn from(serial: HardwareSerial) -> String {
        serial.0
    }
}

impl fmt::Display for HardwareSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;
    use ring::rand::SystemRandom;

    fn claim(device: &str, serial: Option<&str>) -> Claim {
        let key = DeviceKey::generate(&SystemRandom::new()).unwrap().fingerprint();
        let serial = serial.map(|serial| serial.parse().unwrap());
        Claim { device: device.parse().unwrap(), key, serial }
    }

    #[test]
    fn an_entry_lists_whom_it_says_and_nobody_else() {
        let mine = claim("line-3", Some("A-1"));
        let entry = |device: &str, key, serial: Option<&str>| Preauthorised {
            device: device.parse().unwrap(),
            key,
            serial: serial.map(|serial| serial.parse().unwrap()),
        };
        assert!(entry("line-3", None, None).lists(&mine));
        assert!(entry("line-3", Some(mine.key), Some("A-1")).lists(&mine));
        let other = claim("line-3", None);
        assert!(!entry("line-4", None, None).lists(&mine));
        assert!(!entry("line-3", Some(other.key), None).lists(&mine));
        assert!(!entry("line-3", None, Some("A-2")).lists(&mine));
        assert!(!entry("line-3", None, Some("A-1")).lists(&other));
    }

    #[test]
    fn a_serial_number_can_be_read_and_is_short() {
        for odd in ["", " ", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(odd.parse::<HardwareSerial>().is_err(), "{odd:?}");
        }
    }
}
