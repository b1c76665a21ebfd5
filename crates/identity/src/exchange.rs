//! What a device and its server say to each other over HTTPS: to join, and to renew.

use crate::claim::HardwareSerial;
use crate::standing::Effect;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Largest request in bytes of JSON.
pub const EXCHANGE_REQUEST_BYTES_MAX: usize = 4_096;
/// Largest answer in bytes of JSON: a chain of certificates, or a sentence.
pub const EXCHANGE_ANSWER_BYTES_MAX: usize = 65_536;

/// A device joins, or asks what became of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Its token as text. None once it was told to wait: its key is enough then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its [request](crate::CertificateRequest) for a certificate, as PEM.
    pub request: String,
    /// Its serial number, where it knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<HardwareSerial>,
}

/// A device renews its certificate: with the session by which it shows the one that it has, or without it
/// where that has lapsed. The request is signed by its key either way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Its [request](crate::CertificateRequest) for a certificate, as PEM.
    pub request: String,
}

/// What the server says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Here is a certificate.
    Issued {
        /// The certificate as PEM, and those between it and a root after it.
        certificates: String,
        /// When to renew it, in seconds since 1970.
        renew_at: i64,
        /// What time it is at the server. A device whose clock differs renews after the time between them.
        now: i64,
    },
    /// A person has still to accept it.
    Wait {
        /// When to ask again, in seconds from now.
        after: u32,
    },
    /// It has a certificate that is fresh.
    TooEarly {
        /// When to renew it, in seconds since 1970.
        renew_at: i64,
        /// What time it is at the server.
        now: i64,
    },
    /// No. It may ask again later, when a person has done something about it.
    Refused {
        /// Why, for the person at the device.
        reason: String,
    },
}

impl Answer {
    /// How long a device that waits lets the server alone.
    const AGAIN_SECONDS: u32 = 60;

    /// What is to be said, if one of these effects says it; none where a certificate is to be made first.
    pub fn of(effects: &[Effect], now: OffsetDateTime) -> Option<Answer> {
        effects.iter().find_map(|effect| match effect {
            Effect::Wait => Some(Answer::Wait { after: Answer::AGAIN_SECONDS }),
            Effect::TooEarly(at) => {
                Some(Answer::TooEarly { renew_at: at.unix_timestamp(), now: now.unix_timestamp() })
            }
            Effect::Refuse(refusal) => Some(Answer::Refused { reason: refusal.to_string() }),
            Effect::Issue | Effect::Spend(_) | Effect::Disconnect | Effect::Tell => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn what_is_said_keeps_its_form() {
        let join = JoinRequest {
            token: Some("lsjoin_x".into()),
            request: "PEM".into(),
            serial: Some("A-1".parse().unwrap()),
        };
        let text = r#"{"token":"lsjoin_x","request":"PEM","serial":"A-1"}"#;
        assert_eq!(serde_json::to_string(&join).unwrap(), text);
        assert_eq!(serde_json::from_str::<JoinRequest>(text).unwrap(), join);
        let again = r#"{"request":"PEM"}"#;
        let read = serde_json::from_str::<JoinRequest>(again).unwrap();
        assert_eq!((read.token, read.serial), (None, None));
        for odd in
            [r#"{}"#, r#"{"request":"PEM","name":"x"}"#, r#"{"request":"PEM","serial":"a b"}"#]
        {
            assert!(serde_json::from_str::<JoinRequest>(odd).is_err(), "{odd}");
        }
        for (answer, text) in [
            (
                Answer::Issued { certificates: "PEM".into(), renew_at: 7, now: 1 },
                r#"{"answer":"issued","certificates":"PEM","renew_at":7,"now":1}"#,
            ),
            (Answer::Wait { after: 60 }, r#"{"answer":"wait","after":60}"#),
            (
                Answer::TooEarly { renew_at: 7, now: 1 },
                r#"{"answer":"too_early","renew_at":7,"now":1}"#,
            ),
            (Answer::Refused { reason: "x".into() }, r#"{"answer":"refused","reason":"x"}"#),
        ] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), answer);
        }
    }

    #[test]
    fn every_decision_on_who_asks_is_said_or_makes_a_certificate() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let said = |effects: &[Effect]| Answer::of(effects, now);
        assert_eq!(said(&[Effect::Wait, Effect::Tell]), Some(Answer::Wait { after: 60 }));
        assert_eq!(said(&[Effect::TooEarly(now)]), Some(Answer::TooEarly { renew_at: 0, now: 0 }));
        assert_eq!(said(&[Effect::Issue]), None);
        let Some(Answer::Refused { reason }) = said(&[Effect::Refuse(Refusal::Revoked)]) else {
            panic!()
        };
        assert!(reason.contains("revoked") && reason.contains("new token"), "{reason}");
    }
}
