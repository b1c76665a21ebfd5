//! Keys that are the same in every run, so that inputs that were found once stay what they were.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_trust::KeyPair;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

/// What an Ed25519 key in PKCS#8 begins with (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Somebody who signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signer {
    /// The people who hold root and releases.
    People = 1,
    /// The server's online key.
    Online = 2,
    /// The server's director key.
    Director = 3,
    /// A vendor to whom something is delegated.
    Vendor = 4,
}

impl Signer {
    pub(crate) fn key(self) -> KeyPair {
        let pkcs8 = [&PKCS8[..], &[self as u8; 32]].concat();
        let text = STANDARD.encode(pkcs8);
        KeyPair::from_pem(&format!(
            "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
        ))
        .expect("the key of a test")
    }

    /// Signs what `signed` says, if that can be signed: any bytes become a document that its reader
    /// has to look into.
    pub(crate) fn sign(self, signed: &[u8]) -> Option<Vec<u8>> {
        let signed: Value = serde_json::from_slice(signed).ok()?;
        let canonical = to_canonical_bytes(&signed).ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&[self as u8; 32]).ok()?;
        let signature = pair.sign(&canonical);
        let digits: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let envelope = json!({
            "signatures": [{ "keyid": self.key().id(), "sig": digits }], "signed": signed,
        });
        serde_json::to_vec(&envelope).ok()
    }
}
