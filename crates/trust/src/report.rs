//! What a device tells in a file that somebody carries: a head that the device has signed, and the
//! messages that it would have sent.
//!
//! | bytes | what |
//! |---|---|
//! | a line | the head: a signed envelope with device, number, and length and digest of the rest |
//! | 4 | length of a message in bytes, little-endian |
//! | … | the message, as it would have come through the network |
//! | … | further messages with their lengths |

use crate::document::{Sealed, envelope};
use crate::key::{KeyPair, PublicKey};
use lineside_bundle::Digest;
use lineside_wire::name::DeviceId;
use serde::Deserialize;
use serde_json::json;

/// Largest report in bytes. What finds no place in it is told in the next one.
pub const REPORT_BYTES_MAX: usize = 32 << 20;
/// Messages that a report may have. A device writes some hundreds at most.
const MESSAGES_MAX: usize = 10_000;
/// Longest head in bytes.
const HEAD_BYTES_MAX: usize = 4 << 10;
/// Kept apart from everything else that a key could be made to sign.
const TYPE: &str = "lineside-report";
const LENGTH_BYTES: usize = 4;

/// Why a report is not believed. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Something else, or too much of it.
    #[error("it is no report of a device: {0}")]
    Format(String),
    /// Somebody else wrote it, or somebody changed its head.
    #[error(
        "it is not signed with the key of {0}: somebody else has written it, or the device has got \
         another key since, as `lineside device reissue` makes one"
    )]
    Signature(DeviceId),
    /// Cut short, or followed by something.
    #[error(
        "it should have {expected} bytes behind its head and has {found}: it was not copied to its end"
    )]
    Length {
        /// What the head says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Changed on the way.
    #[error("its contents are not what {0} has signed: they were changed on the way")]
    Digest(DeviceId),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    _type: String,
    device: DeviceId,
    number: u64,
    length: u64,
    digest: Digest,
}

/// Writes a report: the `number`th of `device`, signed with its key.
pub fn seal_report(device: &DeviceId, number: u64, messages: &[Vec<u8>], key: &KeyPair) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        let length = u32::try_from(message.len()).expect("a message has at most two MiB");
        body.extend(length.to_le_bytes());
        body.extend(message);
    }
    let head = json!({
        "_type": TYPE,
        "device": device,
        "number": number,
        "length": body.len(),
        "digest": Digest::of(&body),
    });
    let mut file = envelope(&head, &[key]);
    file.push(b'\n');
    file.extend(body);
    file
}

/// A report that nobody has verified yet: only whom it names is asked of it.
pub struct UnverifiedReport<'a> {
    head: Sealed,
    signed: Signed,
    body: &'a [u8],
}

/// A report that a device has signed. Only [`UnverifiedReport::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// Whose it is.
    pub device: DeviceId,
    /// Counts the reports of the device.
    pub number: u64,
    /// What it tells, message by message.
    pub messages: Vec<&'a [u8]>,
}

impl<'a> UnverifiedReport<'a> {
    /// Reads the head of a report.
    ///
    /// # Errors
    /// [`ReportError::Format`].
    pub fn read(bytes: &'a [u8]) -> Result<UnverifiedReport<'a>, ReportError> {
        let fail = |problem: String| ReportError::Format(problem);
        if bytes.len() > REPORT_BYTES_MAX {
            return Err(fail(format!("{} bytes, {REPORT_BYTES_MAX} are allowed", bytes.len())));
        }
        let start = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let end = start.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| fail("its first line does not end".into()))?;
        let head: Sealed =
            serde_json::from_slice(&bytes[..end]).map_err(|error| fail(error.to_string()))?;
        let signed: Signed =
            serde_json::from_value(head.signed.clone()).map_err(|error| fail(error.to_string()))?;
        if signed._type != TYPE {
            return Err(fail("it is another document".into()));
        }
        Ok(UnverifiedReport { head, signed, body: &bytes[end + 1..] })
    }

    /// Whom it names.
    pub fn device(&self) -> &DeviceId {
        &self.signed.device
    }

    /// Verifies that the device whose key this is has written it, all of it.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn verify(self, key: &PublicKey) -> Result<Report<'a>, ReportError> {
        let UnverifiedReport { head, signed, body } = self;
        let Signed { device, number, length, digest, .. } = signed;
        if head.signers(std::slice::from_ref(key)).is_empty() {
            return Err(ReportError::Signature(device));
        }
        if body.len() as u64 != length {
            return Err(ReportError::Length { expected: length, found: body.len() as u64 });
        }
        if Digest::of(body) != digest {
            return Err(ReportError::Digest(device));
        }
        let messages = messages(body).ok_or_else(|| {
            ReportError::Format(format!(
                "a message in it is cut short, or it has more than {MESSAGES_MAX}"
            ))
        })?;
        Ok(Report { device, number, messages })
    }
}

fn messages(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>()?;
        let (message, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if messages.len() >= MESSAGES_MAX {
            return None;
        }
        messages.push(message);
        body = rest;
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn report(key: &KeyPair) -> Vec<u8> {
        seal_report(&device("mill-7"), 3, &[b"status".to_vec(), Vec::new(), vec![7; 300]], key)
    }

    fn verified(bytes: &[u8], key: &KeyPair) -> Result<u64, ReportError> {
        Ok(UnverifiedReport::read(bytes)?.verify(&key.public())?.number)
    }

    #[test]
    fn what_a_device_has_sealed_is_read_message_by_message() {
        let (key, long) = (key(), vec![7; 300]);
        let bytes = report(&key);
        let unverified = UnverifiedReport::read(&bytes).unwrap();
        assert_eq!(unverified.device().as_str(), "mill-7");
        let report = unverified.verify(&key.public()).unwrap();
        assert_eq!((report.number, report.messages), (3, vec![b"status".as_slice(), b"", &long]));
    }

    #[test]
    fn a_report_of_more_messages_than_any_device_writes_is_refused() {
        let key = key();
        let report = |count| seal_report(&device("mill-7"), 3, &vec![Vec::new(); count], &key);
        assert_eq!(verified(&report(MESSAGES_MAX), &key), Ok(3));
        let refused = verified(&report(MESSAGES_MAX + 1), &key);
        assert!(matches!(refused, Err(ReportError::Format(_))), "{refused:?}");
    }

    #[test]
    fn another_devices_key_and_a_changed_head_do_not_pass() {
        let key = key();
        let forged = Err(ReportError::Signature(device("mill-7")));
        assert_eq!(verified(&report(&self::key()), &key), forged);
        let text = |from: &str, to: &str| {
            let bytes = report(&key);
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace(from, to);
            [head.as_bytes(), &bytes[end..]].concat()
        };
        assert_eq!(verified(&text("\"number\":3", "\"number\":4"), &key), forged);
        let other = Err(ReportError::Signature(device("mill-8")));
        assert_eq!(verified(&text("mill-7", "mill-8"), &key), other);
        let refused = verified(&text(TYPE, "targets"), &key);
        assert_eq!(refused, Err(ReportError::Format("it is another document".into())));
    }

    #[test]
    fn no_byte_may_be_missing_added_or_changed() {
        let key = key();
        let bytes = report(&key);
        assert_eq!(verified(&bytes, &key), Ok(3));
        for length in 0..bytes.len() {
            assert!(verified(&bytes[..length], &key).is_err(), "{length} bytes");
        }
        let short = verified(&bytes[..bytes.len() - 1], &key).unwrap_err();
        assert_eq!(short, ReportError::Length { expected: 318, found: 317 });
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(matches!(verified(&longer, &key), Err(ReportError::Length { .. })));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(verified(&changed, &key).is_err(), "byte {at}");
        }
        let mut changed = bytes;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(verified(&changed, &key), Err(ReportError::Digest(device("mill-7"))));
    }
}
