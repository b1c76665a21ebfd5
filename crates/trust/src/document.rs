//! What all documents have in common: bounds, signatures, expiry, and never going back.

use crate::error::TrustError;
use crate::key::{KeyPair, PublicKey};
use crate::provider;
use lineside_bundle::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Error, Key, Metadata, RoleKeys};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::macros::format_description;

/// Largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Highest version that a document may have, and highest number of a release: up to here every reader
/// of JSON counts exactly.
pub const VERSION_MAX: u64 = 1 << 53;
/// Highest floor that a release may set. A device never goes below a floor that it has taken, whoever has
/// signed it: above this one there are always numbers left for those who follow a thief.
pub const FLOOR_MAX: u64 = VERSION_MAX / 2;
/// Version of the TUF specification that documents are written by.
pub(crate) const SPEC_VERSION: &str = "1.0.31";

/// The version and contents of a document accepted before, kept by whoever verifies the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its version.
    pub version: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Seen {
    /// What is seen once `document` is accepted after what was `seen`: it is a newer one, or the same
    /// again.
    ///
    /// # Errors
    /// [`TrustError::Older`] or [`TrustError::Differs`].
    pub fn after(self, document: &'static str, seen: Option<&Seen>) -> Result<Seen, TrustError> {
        let version = self.version;
        match seen {
            Some(seen) if version < seen.version => {
                Err(TrustError::Older { document, version, seen: seen.version })
            }
            Some(seen) if version == seen.version && self.digest != seen.digest => {
                Err(TrustError::Differs { document, version })
            }
            _ => Ok(self),
        }
    }
}

/// Reads an envelope, bounded, without believing any of it yet.
pub(crate) fn parse<T: Role>(
    document: &'static str,
    bytes: &[u8],
) -> Result<Metadata<T>, TrustError> {
    provider::install();
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let max = DOCUMENT_BYTES_MAX;
        return Err(TrustError::Size { document, bytes: bytes.len(), max });
    }
    Metadata::from_slice(bytes)
        .map_err(|error| TrustError::Format { document, problem: error.to_string() })
}

/// Whether enough of the role's keys have signed exactly these bytes.
pub(crate) fn verify_signatures<T: Role>(
    document: &'static str,
    metadata: &Metadata<T>,
    keys: &BTreeMap<String, Key>,
    role: &RoleKeys,
) -> Result<(), TrustError> {
    metadata.verify_threshold(keys, role, document).map_err(|error| {
        let problem = match error {
            Error::ThresholdNotMet { found, .. } => {
                format!("{found} of the {} needed", role.threshold)
            }
            other => other.to_string(),
        };
        TrustError::Signature { document, problem }
    })
}

/// A signed document that is none of TUF's own: what is signed, and by which keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sealed {
    signatures: Vec<Signature>,
    pub signed: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Sealed {
    /// Which of `keys` have signed it, by their ids, each once.
    pub fn signers(&self, keys: &[PublicKey]) -> BTreeSet<String> {
        provider::install();
        let Ok(canonical) = to_canonical_bytes(&self.signed) else { return BTreeSet::new() };
        let has_signed = |key: &&PublicKey| {
            let id = key.id();
            let mut own = self.signatures.iter().filter(|signature| signature.keyid == id);
            own.any(|signature| key.verifies(&canonical, &signature.sig))
        };
        keys.iter().filter(has_signed).map(PublicKey::id).collect()
    }
}

/// Whether the document is still good at `now`.
pub(crate) fn verify_expiry<T: Role>(
    document: &'static str,
    signed: &T,
    now: OffsetDateTime,
) -> Result<(), TrustError> {
    if signed.expires().as_second() <= now.unix_timestamp() {
        let (expired, now) = (signed.expires().to_string(), timestamp(now));
        return Err(TrustError::Expired { document, expired, now });
    }
    Ok(())
}

/// Until when the document is good.
pub(crate) fn good_until<T: Role>(signed: &T) -> OffsetDateTime {
    // Nobody writes a date that there is not; such a one is past.
    OffsetDateTime::from_unix_timestamp(signed.expires().as_second())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Whether anybody counts so far.
pub(crate) fn verify_version(document: &'static str, version: u64) -> Result<(), TrustError> {
    if version > VERSION_MAX {
        let problem = format!("version {version} is above {VERSION_MAX}, the highest there is");
        return Err(TrustError::Format { document, problem });
    }
    Ok(())
}

/// Whether anybody would count as far as the version of a list that is about to be signed. After the highest
/// there is none, and people are told what to do instead of signing what everybody refuses.
pub(crate) fn verify_draft_version(document: &'static str, version: u64) -> Result<(), TrustError> {
    verify_version(document, version).map_err(|_| {
        let problem = format!(
            "its versions are used up: {version} is above {VERSION_MAX}, the highest there is. Have the next \
             root name other keys in place of those that signed so far, and a new online key of the server: \
             with that, devices forget which versions they have seen"
        );
        TrustError::Format { document, problem }
    })
}

/// Whether a document of `version` may follow what was `seen`: a newer one, or the same again.
pub(crate) fn verify_sequence(
    document: &'static str,
    version: u64,
    bytes: &[u8],
    seen: Option<&Seen>,
) -> Result<Seen, TrustError> {
    verify_version(document, version)?;
    Seen { version, digest: Digest::of(bytes) }.after(document, seen)
}

/// Signs `signed` and puts both into an envelope.
pub(crate) fn envelope(signed: &Value, keys: &[&KeyPair]) -> Vec<u8> {
    let canonical = to_canonical_bytes(signed)
        .expect("our documents hold only texts and whole numbers, which have a canonical form");
    let signatures: Vec<Value> =
        keys.iter().map(|key| json!({ "keyid": key.id(), "sig": key.sign(&canonical) })).collect();
    serde_json::to_vec(&json!({ "signatures": signatures, "signed": signed }))
        .expect("our documents have only string keys")
}

/// A time as TUF writes it.
pub(crate) fn timestamp(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time.to_offset(time::UtcOffset::UTC)
        .format(format)
        .expect("a time has every part of the format")
}
