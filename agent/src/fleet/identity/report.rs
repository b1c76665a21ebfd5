//! How the device stands at its server, for people.

use super::shared::Identity;
use serde::{Deserialize, Serialize};
use time::macros::format_description;

/// How the device stands at its server, as far as it has heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has not been answered yet.
    #[default]
    Asks,
    /// A person has still to accept it.
    Waits,
    /// It has a certificate that the server has made.
    Accepted,
    /// The server says no, and why.
    Refused(String),
    /// The server did not answer, or nothing that is of use, and why.
    Away(String),
}

/// Who a device is, for the people beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityReport {
    /// Fingerprint of its key.
    pub key: String,
    /// The day on which its certificate ends; none while it has none.
    pub certificate_ends: Option<String>,
    /// What it waits for, or why it is refused; none while all is well.
    pub trouble: Option<String>,
}

impl IdentityReport {
    /// Of what is known now.
    pub fn of(identity: &Identity) -> IdentityReport {
        let certificate = identity.certificate();
        let day = format_description!("[year]-[month]-[day]");
        IdentityReport {
            key: identity.fingerprint().to_string(),
            certificate_ends: certificate.as_ref().and_then(|it| it.ends.format(day).ok()),
            trouble: trouble(identity),
        }
    }
}

/// What keeps the device from its server, as far as that is its certificate.
pub(super) fn trouble(identity: &Identity) -> Option<String> {
    let (device, key) = (identity.device(), identity.fingerprint());
    let has_certificate = identity.certificate().is_some();
    match identity.standing() {
        Standing::Accepted => None,
        Standing::Asks if has_certificate => None,
        Standing::Asks => Some("it asks the server for a certificate".to_owned()),
        Standing::Waits => Some(format!(
            "the server waits for a person to accept this device; compare the key, then at the desk: \
             lineside device accept {device} {key}"
        )),
        Standing::Refused(reason) => Some(format!("the server does not let it in: {reason}")),
        Standing::Away(why) if has_certificate => {
            Some(format!("it cannot ask the server about its certificate: {why}"))
        }
        Standing::Away(why) => {
            Some(format!("it has no certificate, and cannot ask the server for one: {why}"))
        }
    }
}
