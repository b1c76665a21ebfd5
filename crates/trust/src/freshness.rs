//! Snapshot and timestamp: what the server signs, online, so that nobody can serve old documents as
//! the newest or mix those of different days.

use crate::document::{DOCUMENT_BYTES_MAX, SPEC_VERSION, Seen, envelope, timestamp};
use crate::error::TrustError;
use crate::key::KeyPair;
use lineside_bundle::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The signed field that says when a timestamp was signed, in seconds since 1970. TUF (4.6) knows its
/// expiry only, and lets it carry further fields.
const SIGNED_AT: &str = "x-lineside-signed-at";

/// A document as the one above it lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    version: u64,
    bytes: usize,
    digest: Digest,
    expires: OffsetDateTime,
}

#[derive(Deserialize)]
struct Envelope {
    signed: Versioned,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
    expires: String,
}

impl Listed {
    /// Lists the signed document `bytes`, which `document` names in errors. Its signatures are not
    /// looked at: listing it adds nothing to what they say.
    ///
    /// # Errors
    /// [`TrustError::Size`] or [`TrustError::Format`] if it is no signed document with a version.
    pub fn of(document: &'static str, bytes: &[u8]) -> Result<Listed, TrustError> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let max = DOCUMENT_BYTES_MAX;
            return Err(TrustError::Size { document, bytes: bytes.len(), max });
        }
        let failed = |problem: String| TrustError::Format { document, problem };
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
        let Versioned { version, expires } = envelope.signed;
        let expires = OffsetDateTime::parse(&expires, &Rfc3339)
            .map_err(|error| failed(format!("expires: {error}")))?;
        Ok(Listed { version, bytes: bytes.len(), digest: Digest::of(bytes), expires })
    }

    /// The document's version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its version and digest, to be kept for the next time.
    pub fn seen(&self) -> Seen {
        Seen { version: self.version, digest: self.digest }
    }

    /// When it expires, as it says itself.
    pub fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    fn to_json(self) -> Value {
        json!({ "version": self.version, "length": self.bytes,
            "hashes": { "sha256": self.digest.hex() } })
    }
}

/// What a snapshot shall say.
#[derive(Debug, Clone)]
pub struct SnapshotSpec {
    /// Its version; rises with each.
    pub version: u64,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Every document of targets, by role: `targets`, `vendor/acme`. None may be left out later.
    pub documents: BTreeMap<String, Listed>,
}

/// Writes and signs a snapshot.
pub fn sign_snapshot(spec: &SnapshotSpec, online: &KeyPair) -> Vec<u8> {
    let listed =
        spec.documents.iter().map(|(role, listed)| (format!("{role}.json"), listed.to_json()));
    envelope(&signed("snapshot", spec.version, spec.expires, listed.collect()), &[online])
}

/// What a timestamp shall say.
#[derive(Debug, Clone)]
pub struct TimestampSpec {
    /// Its version; rises with each.
    pub version: u64,
    /// When it is signed. A device whose clock lags behind learns from it that it is later.
    pub signed_at: OffsetDateTime,
    /// When it expires: soon, for it is what stops somebody from serving old documents.
    pub expires: OffsetDateTime,
    /// The snapshot that is the newest.
    pub snapshot: Listed,
}

/// Writes and signs a timestamp.
pub fn sign_timestamp(spec: &TimestampSpec, online: &KeyPair) -> Vec<u8> {
    let listed = Map::from_iter([("snapshot.json".to_owned(), spec.snapshot.to_json())]);
    let mut signed = signed("timestamp", spec.version, spec.expires, listed);
    signed[SIGNED_AT] = spec.signed_at.unix_timestamp().into();
    envelope(&signed, &[online])
}

/// When a timestamp was signed, as it says itself; none if it does not. Whether it was signed by who
/// may is for others to verify.
pub fn signed_at(timestamp: &[u8]) -> Option<OffsetDateTime> {
    let envelope: Value = serde_json::from_slice(timestamp).ok()?;
    let seconds = envelope["signed"][SIGNED_AT].as_i64()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

fn signed(role: &str, version: u64, expires: OffsetDateTime, listed: Map<String, Value>) -> Value {
    json!({
        "_type": role,
        "spec_version": SPEC_VERSION,
        "version": version,
        "expires": timestamp(expires),
        "meta": listed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use time::macros::datetime;

    const SIGNED: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);

    fn online() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    fn snapshot() -> Vec<u8> {
        let spec = SnapshotSpec { version: 7, expires: LATER, documents: BTreeMap::new() };
        sign_snapshot(&spec, &online())
    }

    #[test]
    fn a_document_is_listed_as_it_is() {
        let bytes = snapshot();
        let listed = Listed::of("snapshot", &bytes).unwrap();
        assert_eq!((listed.version(), listed.expires()), (7, LATER));
        assert_eq!(listed.seen(), Seen { version: 7, digest: Digest::of(&bytes) });
    }

    #[test]
    fn what_is_as_large_as_it_may_be_is_listed_and_not_with_a_byte_more() {
        let mut bytes = snapshot();
        bytes.resize(DOCUMENT_BYTES_MAX, b' ');
        assert_eq!(Listed::of("snapshot", &bytes).unwrap().version(), 7);
        bytes.push(b' ');
        let refused = Listed::of("snapshot", &bytes);
        assert!(
            matches!(refused, Err(TrustError::Size { document: "snapshot", .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_timestamp_says_when_it_was_signed() {
        let snapshot = Listed::of("snapshot", &snapshot()).unwrap();
        let spec = TimestampSpec { version: 1, signed_at: SIGNED, expires: LATER, snapshot };
        assert_eq!(signed_at(&sign_timestamp(&spec, &online())), Some(SIGNED));
        assert_eq!(signed_at(b"{\"signed\":{}}"), None);
    }
}
