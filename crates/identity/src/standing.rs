//! What a server holds of a device's identity, and what may happen to it.
//!
//! `Unknown -> Pending -> Accepted`, and from there to `Revoked` or `Quarantined`. Only a person accepts,
//! unless the device is listed; only a person leads out of a quarantine. A key is never replaced by another
//! because somebody asks: one that was accepted is revoked first.

use crate::claim::Claim;
use crate::key::Fingerprint;
use crate::peer::{Peer, Serial};
use crate::redeem::{Redeemed, TokenRecord, TokenRefusal};
use crate::validity::{Phase, Validity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use time::{Duration, OffsetDateTime};

/// Keys of one device that were revoked. Beyond it nobody joins under its name until it is removed.
pub const BARRED_MAX: usize = 32;

/// The identity of one device, as a server keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// How it stands.
    pub standing: Standing,
    /// Keys that were revoked: none of them is ever let in under this name again.
    pub barred: BTreeSet<Fingerprint>,
}

/// How a device stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Standing {
    /// Nobody has joined under its name.
    #[default]
    Unknown,
    /// It waits for a person.
    Pending {
        /// Its key.
        key: Fingerprint,
        /// The certificate that lapsed too long ago, where it had one.
        lapsed: Option<Held>,
    },
    /// It is one of the fleet.
    Accepted {
        /// Its key.
        key: Fingerprint,
        /// The certificate that was made for it last, if any was.
        held: Option<Held>,
    },
    /// A person did not want it.
    Declined {
        /// Its key.
        key: Fingerprint,
    },
    /// Its key was revoked.
    Revoked,
    /// Two machines had its key.
    Quarantined {
        /// Its key.
        key: Fingerprint,
        /// The certificate that was made for it last.
        held: Option<Held>,
    },
}

/// A certificate that was made for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Its number.
    pub serial: Serial,
    /// From when to when it holds.
    pub validity: Validity,
    /// Whether the device has shown it.
    pub seen: Seen,
}

/// Whether a device has shown a certificate, and so surely has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// Not yet: the answer that brought it may be lost, and is repeated.
    No,
    /// It has.
    Yes,
}

/// Whether somebody has looked at a device before it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Nobody has: a person is asked.
    No,
    /// An entry [lists](crate::Preauthorised::lists) it.
    Yes,
}

/// Somebody asks for a certificate, by a request that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whose request it is.
    pub claim: Claim,
    /// What is to be said of the token that it brought; none where it brought none.
    pub token: Option<Result<Redeemed, TokenRefusal>>,
    /// Whether it is listed.
    pub listed: Listed,
    /// Whether another device has this key.
    pub elsewhere: bool,
}

/// What may happen to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody joins, or asks what became of that.
    Joins(Ask),
    /// It wants another certificate, and has shown to hold this key.
    Renews(Fingerprint, Way),
    /// A certificate was made for it.
    Issued(Serial, Validity),
    /// It has connected with the certificate of this number.
    Connected(Serial),
    /// Somebody has judged it.
    Judged(Verdict),
}

/// How a device shows who renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the certificate that it has, in mutual TLS.
    Session,
    /// By the signature of its request alone: its certificate has lapsed, or is lost.
    Request,
}

/// What is decided about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A person accepts it, and has seen this key.
    Accepts(Fingerprint),
    /// A person does not want it, and has seen this key.
    Declines(Fingerprint),
    /// A person revokes its key.
    Revokes,
    /// A copy of it was [seen](crate::sight).
    Copied,
    /// A person has dealt with a copy, and lets the device in again by its key.
    Resets,
}

/// What is to be done. Whoever keeps identities writes the new one first, in the transaction that also
/// keeps the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make a certificate for the key that asked, tell of it by [`Event::Issued`], and send it.
    Issue,
    /// Say that a person has still to accept it.
    Wait,
    /// Say that it is too early to renew what it shows, and from when on it is not.
    TooEarly(OffsetDateTime),
    /// Say no.
    Refuse(Refusal),
    /// Keep this of the token.
    Spend(TokenRecord),
    /// End the connections that the device has, within seconds.
    Disconnect,
    /// Tell people to look: it waits, another key wants its name, or it was copied.
    Tell,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token where one is needed.
    #[error("a device joins with a token: make one with `lineside device token`")]
    NoToken,
    /// A token that is not taken.
    #[error(transparent)]
    Token(TokenRefusal),
    /// A token that was spent for an identity that has been removed since.
    #[error(
        "the device was removed since it joined with this token: make another with `lineside device token`"
    )]
    Removed,
    /// Nobody has joined under the name, or with another key: a stranger does not hear which.
    #[error("no device of this name and key has joined: join with a token first")]
    Unknown,
    /// A person has still to accept it.
    #[error("the device waits to be accepted: `lineside device accept`")]
    Pending,
    /// A person did not want it.
    #[error("the device was declined")]
    Declined,
    /// Its key was revoked.
    #[error("the device's key was revoked: make a new key and join with a new token")]
    Revoked,
    /// Two machines had its key.
    #[error("the device was copied and is in quarantine: `lineside device show` tells more")]
    Quarantined,
    /// Another key has the name.
    #[error(
        "another key has this name: if the device has lost its key, `lineside device revoke` the old one \
         first"
    )]
    OtherKey,
    /// Another name has the key.
    #[error("another device has this key: make a new key on each device, and copy none")]
    KeyElsewhere,
    /// It has a certificate, and renews that.
    #[error("the device has joined already: it renews its certificate by its key")]
    Joined,
    /// Too many keys of the name were revoked.
    #[error(
        "{BARRED_MAX} keys of this name were revoked: `lineside device remove` it, or take another name"
    )]
    Barred,
    /// Its certificate does not hold.
    #[error("the certificate does not hold at this time: the device renews it")]
    Lapsed,
    /// It is not as the person has seen it.
    #[error("the device is not any more as it was shown: look again with `lineside device show`")]
    Changed,
}

/// Takes an identity one event further at `now`, when a certificate that has lapsed may be renewed for
/// `grace` longer.
pub fn step(
    identity: Identity,
    event: Event,
    now: OffsetDateTime,
    grace: Duration,
) -> (Identity, Vec<Effect>) {
    match event {
        Event::Joins(ask) => joins(identity, ask),
        Event::Renews(key, way) => renews(identity, key, way, now, grace),
        Event::Issued(serial, validity) => (issued(identity, serial, validity), vec![]),
        Event::Connected(serial) => (connected(identity, &serial), vec![]),
        Event::Judged(verdict) => judged(identity, verdict),
    }
}

/// Whether who shows a certificate may connect at `now`.
///
/// # Errors
/// [`Refusal`].
pub fn admit(identity: &Identity, peer: &Peer, now: OffsetDateTime) -> Result<(), Refusal> {
    use Standing::*;

    if identity.barred.contains(&peer.key()) {
        return Err(Refusal::Revoked);
    }
    match &identity.standing {
        Accepted { key, .. } if *key != peer.key() => Err(Refusal::OtherKey),
        Accepted { .. } if !peer.validity().holds(now) => Err(Refusal::Lapsed),
        Accepted { .. } => Ok(()),
        Unknown => Err(Refusal::Unknown),
        Pending { .. } => Err(Refusal::Pending),
        Declined { .. } => Err(Refusal::Declined),
        Revoked => Err(Refusal::Revoked),
        Quarantined { .. } => Err(Refusal::Quarantined),
    }
}

fn joins(identity: Identity, ask: Ask) -> (Identity, Vec<Effect>) {
    use Effect::*;
    use Standing::*;

    let key = ask.claim.key;
    let refused = |identity, refusal| (identity, vec![Refuse(refusal)]);
    if identity.barred.contains(&key) {
        return refused(identity, Refusal::Revoked);
    }
    if ask.elsewhere {
        return refused(identity, Refusal::KeyElsewhere);
    }
    let token = match ask.token {
        Some(Ok(Redeemed::Now(record))) => Ok(record),
        Some(Ok(Redeemed::Before)) => Err(Refusal::Removed),
        Some(Err(refusal)) => Err(Refusal::Token(refusal)),
        None => Err(Refusal::NoToken),
    };
    let Identity { standing, barred } = identity;
    let (standing, effects) = match (standing, token) {
        // Its own key is all that it needs to hear what became of it.
        (Pending { key: own, lapsed }, _) if own == key => (Pending { key, lapsed }, vec![Wait]),
        (Accepted { key: own, held }, _) if own == key => match held {
            Some(Held { seen: Seen::Yes, .. }) => {
                (Accepted { key, held }, vec![Refuse(Refusal::Joined)])
            }
            // It has not been sent, or perhaps not come.
            Some(Held { seen: Seen::No, .. }) | None => (Accepted { key, held }, vec![Issue]),
        },
        (Declined { key: own }, _) if own == key => {
            (Declined { key }, vec![Refuse(Refusal::Declined)])
        }
        (Quarantined { key: own, held }, _) if own == key => {
            (Quarantined { key, held }, vec![Refuse(Refusal::Quarantined)])
        }
        // Others hear nothing of a name without a good token.
        (standing, Err(refusal)) => (standing, vec![Refuse(refusal)]),
        (standing @ (Pending { .. } | Accepted { .. } | Quarantined { .. }), Ok(_)) => {
            (standing, vec![Refuse(Refusal::OtherKey), Tell])
        }
        (Unknown, Ok(record)) => match ask.listed {
            Listed::Yes => (Accepted { key, held: None }, vec![Spend(record), Issue]),
            Listed::No => (Pending { key, lapsed: None }, vec![Spend(record), Wait, Tell]),
        },
        (Revoked, Ok(_)) if barred.len() >= BARRED_MAX => {
            (Revoked, vec![Refuse(Refusal::Barred), Tell])
        }
        // A person has had to do with this name, so a list is not enough.
        (Declined { .. } | Revoked, Ok(record)) => {
            (Pending { key, lapsed: None }, vec![Spend(record), Wait, Tell])
        }
    };
    (Identity { standing, barred }, effects)
}

fn renews(
    identity: Identity,
    key: Fingerprint,
    way: Way,
    now: OffsetDateTime,
    grace: Duration,
) -> (Identity, Vec<Effect>) {
    use Effect::*;
    use Standing::*;

    if identity.barred.contains(&key) {
        return (identity, vec![Refuse(Refusal::Revoked)]);
    }
    let phase = |held: &Held| held.validity.phase(now, grace);
    let Identity { standing, barred } = identity;
    let (standing, effects) = match standing {
        Accepted { key: own, .. }
        | Pending { key: own, .. }
        | Declined { key: own }
        | Quarantined { key: own, .. }
            if own != key =>
        {
            (standing, vec![Refuse(Refusal::Unknown)])
        }
        // The keys that were revoked have been told.
        Unknown | Revoked => (standing, vec![Refuse(Refusal::Unknown)]),
        Declined { .. } => (standing, vec![Refuse(Refusal::Declined)]),
        Quarantined { .. } => (standing, vec![Refuse(Refusal::Quarantined)]),
        // Accepted, and the answer that brought the certificate never came.
        Accepted { held: None, .. } => (standing, vec![Issue]),
        Accepted { held: Some(held), .. } => match phase(&held) {
            Phase::Over => (Pending { key, lapsed: Some(held) }, vec![Wait, Tell]),
            // Who comes without a certificate has lost it, whatever was seen before.
            Phase::Fresh(at) if held.seen == Seen::Yes && way == Way::Session => {
                (Accepted { key, held: Some(held) }, vec![TooEarly(at)])
            }
            // It was made while the server's clock was ahead, and nobody would believe it for as long.
            Phase::Early | Phase::Fresh(_) | Phase::Due | Phase::Lapsed => {
                (Accepted { key, held: Some(held) }, vec![Issue])
            }
        },
        Pending { lapsed: None, .. } => (standing, vec![Wait]),
        // The server's clock was wrong when it said that this was too long ago.
        Pending { lapsed: Some(held), .. } => match phase(&held) {
            Phase::Over => (Pending { key, lapsed: Some(held) }, vec![Wait]),
            Phase::Early | Phase::Fresh(_) | Phase::Due | Phase::Lapsed => {
                (Accepted { key, held: Some(held) }, vec![Issue])
            }
        },
    };
    (Identity { standing, barred }, effects)
}

fn issued(identity: Identity, serial: Serial, validity: Validity) -> Identity {
    match identity.standing {
        Standing::Accepted { key, .. } => {
            let held = Some(Held { serial, validity, seen: Seen::No });
            Identity { standing: Standing::Accepted { key, held }, ..identity }
        }
        // It was revoked meanwhile, and what was made is of no use.
        Standing::Unknown
        | Standing::Pending { .. }
        | Standing::Declined { .. }
        | Standing::Revoked
        | Standing::Quarantined { .. } => identity,
    }
}

fn connected(identity: Identity, shown: &Serial) -> Identity {
    match identity.standing {
        Standing::Accepted { key, held: Some(held) } if held.serial == *shown => {
            let held = Some(Held { seen: Seen::Yes, ..held });
            Identity { standing: Standing::Accepted { key, held }, ..identity }
        }
        // One that was made before is as good; the new one may be on its way.
        Standing::Accepted { .. }
        | Standing::Unknown
        | Standing::Pending { .. }
        | Standing::Declined { .. }
        | Standing::Revoked
        | Standing::Quarantined { .. } => identity,
    }
}

fn judged(identity: Identity, verdict: Verdict) -> (Identity, Vec<Effect>) {
    use Effect::*;
    use Standing::*;
    use Verdict::*;

    let Identity { standing, mut barred } = identity;
    let (standing, effects) = match (standing, verdict) {
        (Pending { key, .. } | Declined { key }, Accepts(seen)) if key == seen => {
            (Accepted { key, held: None }, vec![])
        }
        (Pending { key, .. }, Declines(seen)) if key == seen => (Declined { key }, vec![]),
        (standing, Accepts(_) | Declines(_)) => (standing, vec![Refuse(Refusal::Changed)]),
        (
            Pending { key, .. } | Accepted { key, .. } | Declined { key } | Quarantined { key, .. },
            Revokes,
        ) => {
            barred.insert(key);
            (Revoked, vec![Disconnect])
        }
        // Said once more, it does no harm.
        (Revoked, Revokes) => (Revoked, vec![Disconnect]),
        (Unknown, Revokes) => (Unknown, vec![Refuse(Refusal::Changed)]),
        (Accepted { key, held }, Copied) => (Quarantined { key, held }, vec![Disconnect, Tell]),
        (Quarantined { key, held }, Copied) => (Quarantined { key, held }, vec![Disconnect]),
        (standing @ (Unknown | Pending { .. } | Declined { .. } | Revoked), Copied) => {
            (standing, vec![])
        }
        (Quarantined { key, held }, Resets) => (Accepted { key, held }, vec![]),
        (standing, Resets) => (standing, vec![Refuse(Refusal::Changed)]),
    };
    (Identity { standing, barred }, effects)
}
