//! A request for lines of a device's log: which, and for how long.
//!
//! Signed by the director and addressed to one device, as an assignment is. It has a date after which
//! nobody begins with it, so that nothing is gained by keeping it. It is no TUF document, so that nobody
//! takes it for one.

use crate::document::{envelope, timestamp, verify_version};
use crate::error::TrustError;
use crate::key::KeyPair;
use crate::root::Root;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::LogLevel;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const DOCUMENT: &str = "request for log lines";
/// Kept apart from everything else that a key could be made to sign.
const TYPE: &str = "lineside-log-request";
/// Largest request that is read, in bytes.
const BYTES_MAX: usize = 16 << 10;
/// Longest time for which lines may be asked for, in minutes.
pub const LOG_MINUTES_MAX: u32 = 60;
/// Parts of the agent that a request may name.
pub const LOG_TARGETS_MAX: usize = 16;
/// Longest name of such a part, in bytes.
pub const LOG_TARGET_BYTES_MAX: usize = 100;

/// What a request shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Whom it is for.
    pub device: DeviceId,
    /// Rises with each request to the device.
    pub number: u64,
    /// When it expires: the device stops by then at the latest, by its own clock.
    pub expires: OffsetDateTime,
    /// How much lines have to matter, at least.
    pub level: LogLevel,
    /// Parts of the agent whose lines are wanted, each with all below it; all if none is named.
    pub targets: Vec<String>,
    /// For how long lines are sent, in minutes of the device's running, from when it hears of it:
    /// 1 to [`LOG_MINUTES_MAX`].
    pub minutes: u32,
}

/// A request that the director has signed for this device. Only [`verify_log_request`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedLogRequest {
    number: u64,
    level: LogLevel,
    targets: Vec<String>,
    span: Duration,
}

impl TrustedLogRequest {
    /// The number of the request.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How much lines have to matter, at least.
    pub fn level(&self) -> LogLevel {
        self.level
    }

    /// Parts of the agent whose lines are wanted; all if none is named.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// For how long lines are sent from now on: above zero, and at most [`LOG_MINUTES_MAX`].
    pub fn span(&self) -> Duration {
        self.span
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    _type: String,
    device: String,
    number: u64,
    expires: String,
    level: LogLevel,
    targets: Vec<String>,
    minutes: u32,
}

/// Writes and signs a request.
pub fn sign_log_request(request: &LogRequest, director: &KeyPair) -> Vec<u8> {
    let LogRequest { device, number, expires, level, targets, minutes } = request;
    let signed = json!({ "_type": TYPE, "device": device, "number": number,
        "expires": timestamp(*expires), "level": level, "targets": targets, "minutes": minutes });
    envelope(&signed, &[director])
}

/// Verifies a request: signature of the director, device, bounds, expiry. Whether it is news is for whoever
/// keeps the number of the one before.
///
/// An expired root does not matter here: it stops what is installed, and a request installs nothing.
///
/// # Errors
/// [`TrustError`].
pub fn verify_log_request(
    root: &Root,
    bytes: &[u8],
    device: &DeviceId,
    now: OffsetDateTime,
) -> Result<TrustedLogRequest, TrustError> {
    let fail = |problem: String| TrustError::Format { document: DOCUMENT, problem };
    let signed = root.signed_by_director(DOCUMENT, bytes, BYTES_MAX)?;
    let signed: Signed = serde_json::from_value(signed).map_err(|error| fail(error.to_string()))?;
    let Signed { _type, device: named, number, expires, level, targets, minutes } = signed;
    if _type != TYPE {
        return Err(fail("it is another document".into()));
    }
    if named != device.as_str() {
        let (document, named) = (DOCUMENT, named.chars().take(64).collect());
        return Err(TrustError::OtherDevice { document, named, device: device.clone() });
    }
    verify_version(DOCUMENT, number)?;
    if !(1..=LOG_MINUTES_MAX).contains(&minutes) {
        return Err(fail(format!("{minutes} minutes are not within 1 to {LOG_MINUTES_MAX}")));
    }
    check_log_targets(&targets).map_err(fail)?;
    let expires = OffsetDateTime::parse(&expires, &Rfc3339)
        .map_err(|error| fail(format!("expires: {error}")))?;
    let left = Duration::try_from(expires - now).unwrap_or_default();
    if left.is_zero() {
        let (expired, now) = (timestamp(expires), timestamp(now));
        return Err(TrustError::Expired { document: DOCUMENT, expired, now });
    }
    let span = left.min(Duration::from_secs(60 * u64::from(minutes)));
    Ok(TrustedLogRequest { number, level, targets, span })
}

/// Whether these are parts of an agent that a request may name.
///
/// # Errors
/// A sentence.
pub fn check_log_targets(targets: &[String]) -> Result<(), String> {
    if targets.len() > LOG_TARGETS_MAX {
        return Err(format!("{} targets, {LOG_TARGETS_MAX} may be named", targets.len()));
    }
    let of_paths = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let is_path =
        |text: &str| (1..=LOG_TARGET_BYTES_MAX).contains(&text.len()) && text.chars().all(of_paths);
    match targets.iter().find(|target| !is_path(target)) {
        None => Ok(()),
        Some(other) => {
            let shown: String = other.chars().take(LOG_TARGET_BYTES_MAX).collect();
            Err(format!("{shown:?} is no target, as in lineside_agent::update"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{RootSpec, sign_root};
    use crate::{ReceiptSpec, sign_receipt, verify_receipt};
    use ring::rand::SystemRandom;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2030-01-01 0:00 UTC);

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    /// A root past its date, and its keys of director and releases.
    fn root() -> (Root, KeyPair, KeyPair) {
        let (root_key, releases, director) = (key(), key(), key());
        let spec = RootSpec {
            version: 1,
            expires: datetime!(2001-01-01 0:00 UTC),
            root: (vec![root_key.public()], 1),
            releases: (vec![releases.public()], 1),
            online: key().public(),
            director: director.public(),
        };
        (Root::pin(&sign_root(&spec, &[&root_key])).unwrap(), director, releases)
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn request() -> LogRequest {
        LogRequest {
            device: device("mill-7"),
            number: 3,
            expires: NOW + Duration::from_secs(600),
            level: LogLevel::Debug,
            targets: vec!["lineside_agent::update".into()],
            minutes: 9,
        }
    }

    fn taken(root: &Root, bytes: &[u8]) -> Result<TrustedLogRequest, TrustError> {
        verify_log_request(root, bytes, &request().device, NOW)
    }

    #[test]
    fn a_request_says_which_lines_and_for_how_long_and_never_beyond_its_date() {
        let (root, director, _) = root();
        let trusted = taken(&root, &sign_log_request(&request(), &director)).unwrap();
        assert_eq!((trusted.number(), trusted.level()), (3, LogLevel::Debug));
        assert_eq!(trusted.targets(), ["lineside_agent::update"]);
        assert_eq!(trusted.span(), Duration::from_secs(540));
        let late = LogRequest { expires: NOW + Duration::from_secs(7), ..request() };
        let late = taken(&root, &sign_log_request(&late, &director)).unwrap();
        assert_eq!(late.span(), Duration::from_secs(7));
    }

    #[test]
    fn a_request_past_its_date_for_another_device_or_of_another_key_is_refused() {
        let (root, director, releases) = root();
        let bytes = sign_log_request(&request(), &director);
        for late in [request().expires, request().expires + Duration::from_secs(1)] {
            let late = verify_log_request(&root, &bytes, &request().device, late).unwrap_err();
            assert!(matches!(late, TrustError::Expired { .. }), "{late}");
            assert!(late.to_string().contains("clock"), "{late}");
        }
        let other = verify_log_request(&root, &bytes, &device("mill-8"), NOW).unwrap_err();
        assert!(matches!(other, TrustError::OtherDevice { .. }), "{other}");
        for stranger in [releases, key()] {
            let forged = taken(&root, &sign_log_request(&request(), &stranger));
            assert!(matches!(forged, Err(TrustError::Signature { .. })), "{forged:?}");
        }
        let unsigned = br#"{"signatures":[],"signed":{}}"#;
        assert!(matches!(taken(&root, unsigned), Err(TrustError::Signature { .. })));
    }

    #[test]
    fn no_byte_of_a_request_may_be_missing_or_changed() {
        let (root, director, _) = root();
        let bytes = sign_log_request(&request(), &director);
        for length in 0..bytes.len() {
            assert!(taken(&root, &bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(taken(&root, &changed).is_err(), "byte {at}");
        }
        let large = [bytes.as_slice(), &[b' '; BYTES_MAX]].concat();
        assert!(matches!(taken(&root, &large), Err(TrustError::Size { .. })));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_though_the_director_has_signed_it() {
        let (root, director, _) = root();
        let target = |text: &str| vec![text.to_owned()];
        for wrong in [
            LogRequest { minutes: 0, ..request() },
            LogRequest { minutes: LOG_MINUTES_MAX + 1, ..request() },
            LogRequest { number: crate::VERSION_MAX + 1, ..request() },
            LogRequest { targets: target(""), ..request() },
            LogRequest { targets: target("a b"), ..request() },
            LogRequest { targets: target(&"a".repeat(LOG_TARGET_BYTES_MAX + 1)), ..request() },
            LogRequest { targets: vec!["a".into(); LOG_TARGETS_MAX + 1], ..request() },
        ] {
            let refused = taken(&root, &sign_log_request(&wrong, &director));
            assert!(matches!(refused, Err(TrustError::Format { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_receipt_is_no_request_and_a_request_no_receipt() {
        let (root, director, _) = root();
        let receipt = ReceiptSpec { device: request().device, number: 3, stored: Vec::new() };
        let refused = taken(&root, &sign_receipt(&receipt, &director));
        assert!(matches!(refused, Err(TrustError::Format { .. })), "{refused:?}");
        let bytes = sign_log_request(&request(), &director);
        let refused = verify_receipt(&root, &bytes, &request().device);
        assert!(matches!(refused, Err(TrustError::Format { .. })), "{refused:?}");
    }
}
