//! Keys: Ed25519, kept as PKCS#8 in PEM, named by the SHA-256 of their public part as TUF does.

use lineside_bundle::Digest;
use pem_rfc7468::LineEnding;
use ring::rand::SecureRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

const LABEL: &str = "PRIVATE KEY";

/// Why a key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The machine gave no randomness.
    #[error("no randomness to make a key of")]
    Random,
    /// Not a key of ours.
    #[error("it is no Ed25519 key in PKCS#8 PEM form")]
    Format,
}

/// A key that signs. Its secret part leaves it only through [`KeyPair::to_pem`].
pub struct KeyPair {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

/// The part of a key that may be shown to everybody, in TUF's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: PublicValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicValue {
    public: String,
}

impl KeyPair {
    /// A new key of the randomness handed in.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate(random: &dyn SecureRandom) -> Result<KeyPair, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(random).map_err(|_| KeyError::Random)?;
        KeyPair::from_pkcs8(pkcs8.as_ref().to_vec())
    }

    /// Reads what [`KeyPair::to_pem`] wrote.
    ///
    /// # Errors
    /// [`KeyError::Format`].
    pub fn from_pem(text: &str) -> Result<KeyPair, KeyError> {
        match pem_rfc7468::decode_vec(text.as_bytes()) {
            Ok((LABEL, pkcs8)) => KeyPair::from_pkcs8(pkcs8),
            _ => Err(KeyError::Format),
        }
    }

    /// The secret key as text, for a file that only its owner may read.
    pub fn to_pem(&self) -> String {
        pem_rfc7468::encode_string(LABEL, LineEnding::LF, &self.pkcs8)
            .expect("a key of a hundred bytes fits a PEM text")
    }

    /// The public part.
    pub fn public(&self) -> PublicKey {
        let public = self.pair.public_key().as_ref();
        PublicKey {
            keytype: "ed25519".into(),
            scheme: "ed25519".into(),
            keyval: PublicValue { public: hex(public) },
        }
    }

    /// The key's name in documents.
    pub fn id(&self) -> String {
        self.public().id()
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        hex(self.pair.sign(bytes).as_ref())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<KeyPair, KeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| KeyError::Format)?;
        Ok(KeyPair { pair, pkcs8 })
    }
}

impl PublicKey {
    /// The key's name in documents: SHA-256 of its canonical JSON, 64 hex digits.
    pub fn id(&self) -> String {
        let canonical = to_canonical_bytes(&self.to_json())
            .expect("a key holds only texts, which have a canonical form");
        Digest::of(&canonical).hex()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "keytype": self.keytype, "scheme": self.scheme,
            "keyval": { "public": self.keyval.public } })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
