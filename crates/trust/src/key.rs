//! Keys: Ed25519, kept as PKCS#8 in PEM, named by the SHA-256 of their public part as TUF does.

use crate::provider;
use lineside_bundle::Digest;
use pem_rfc7468::LineEnding;
use ring::rand::SecureRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_tuf::Key;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_types::SignatureBytes;
use std::fmt;

const LABEL: &str = "PRIVATE KEY";
/// The field of a key that names its owner. TUF (4.2) lets keys carry further fields, and no tool
/// takes them into the key's id.
const OWNER: &str = "x-lineside-owner";
/// Digits of a key's id that are shown to people.
const SHORT_ID_CHARS: usize = 12;
/// Longest name of an owner, in characters.
const OWNER_CHARS_MAX: usize = 64;

/// Why a key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The machine gave no randomness.
    #[error("no randomness to make a key of")]
    Random,
    /// Not a key of ours.
    #[error("it is no Ed25519 key in PKCS#8 PEM form")]
    Format,
    /// Not the public part of a key that signatures can be verified with.
    #[error("it is no public key as `lineside keys generate` writes them: {0}")]
    Public(String),
    /// A name that cannot be shown as it is.
    #[error(
        "{0:?} cannot name a key's owner: use 1 to {OWNER_CHARS_MAX} letters, digits, spaces and .-_'@+"
    )]
    Owner(String),
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
    #[serde(rename = "x-lineside-owner", default, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicValue {
    public: String,
}

/// Whose key it is, in words that a terminal shows as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Owner(String);

impl TryFrom<String> for Owner {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Owner, KeyError> {
        let is_plain = |c: char| c.is_alphanumeric() || " .-_'@+".contains(c);
        let length = text.chars().count();
        let is_name = (1..=OWNER_CHARS_MAX).contains(&length)
            && text.chars().all(is_plain)
            && text.trim() == text;
        if is_name { Ok(Owner(text)) } else { Err(KeyError::Owner(text)) }
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        owner.0
    }
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
            owner: None,
        }
    }

    /// The key's name in documents.
    pub fn id(&self) -> String {
        self.public().id()
    }

    /// Its signature of `bytes` as documents have them: hex digits.
    pub fn sign(&self, bytes: &[u8]) -> String {
        hex(self.pair.sign(bytes).as_ref())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<KeyPair, KeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| KeyError::Format)?;
        Ok(KeyPair { pair, pkcs8 })
    }
}

impl PublicKey {
    /// Reads the public part of a key from a file.
    ///
    /// # Errors
    /// [`KeyError::Public`]: another form, or a kind of key that no signature can be verified with.
    pub fn parse(bytes: &[u8]) -> Result<PublicKey, KeyError> {
        let fail = |error: String| KeyError::Public(error);
        let key: PublicKey =
            serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        let tuf = key.to_tuf().ok_or_else(|| fail("another form".into()))?;
        tuf.verification_key().map_err(|error| fail(error.to_string()))?;
        Ok(key)
    }

    /// The key with the name of its owner, for people to read.
    ///
    /// # Errors
    /// [`KeyError::Owner`].
    pub fn owned_by(self, owner: &str) -> Result<PublicKey, KeyError> {
        Ok(PublicKey { owner: Some(owner.to_owned().try_into()?), ..self })
    }

    /// Whose key it is, if it says so. Only as good as whoever signed the document it stands in.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| owner.0.as_str())
    }

    /// The key's name in documents: SHA-256 of its canonical JSON, 64 hex digits.
    pub fn id(&self) -> String {
        let key = json!({ "keytype": self.keytype, "scheme": self.scheme,
            "keyval": { "public": self.keyval.public } });
        let canonical =
            to_canonical_bytes(&key).expect("a key holds only texts, which have a canonical form");
        Digest::of(&canonical).hex()
    }

    /// Whether `signature` (hex digits) is this key's of `bytes`.
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        provider::install();
        let (Some(key), Some(signature)) = (self.to_tuf(), unhex(signature)) else { return false };
        key.verify(bytes, &SignatureBytes::new(signature)).is_ok()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!(self)
    }

    /// A key as a document has it. Its further fields, but for the owner, say nothing to us.
    pub(crate) fn of(key: &Key) -> PublicKey {
        let owner = key.extra.get(OWNER).and_then(|owner| owner.as_str());
        PublicKey {
            keytype: key.keytype.clone(),
            scheme: key.scheme.clone(),
            keyval: PublicValue { public: key.keyval.public.clone() },
            owner: owner.and_then(|owner| owner.to_owned().try_into().ok()),
        }
    }

    fn to_tuf(&self) -> Option<Key> {
        serde_json::from_value(self.to_json()).ok()
    }
}

/// The key for people: owner and the first digits of its id.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.id()[..SHORT_ID_CHARS];
        match self.owner() {
            Some(owner) => write!(f, "{id} ({owner})"),
            None => f.write_str(id),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    #[test]
    fn an_owner_is_told_and_changes_nothing_about_the_key() {
        let plain = key().public();
        let named = plain.clone().owned_by("Anna Béranger-Wu").unwrap();
        assert_eq!(named.id(), plain.id());
        assert_eq!(named.to_string(), format!("{} (Anna Béranger-Wu)", &plain.id()[..12]));
        let read = PublicKey::parse(&serde_json::to_vec(&named).unwrap()).unwrap();
        assert_eq!(read, named);
    }

    #[test]
    fn an_owner_that_would_write_over_the_terminal_or_hide_is_refused() {
        let long = "a".repeat(65);
        for owner in ["", " Anna", "Anna\u{1b}[2K", "Anna\nBen", "Anna\u{202e}neB", long.as_str()] {
            let refused = key().public().owned_by(owner);
            assert_eq!(refused, Err(KeyError::Owner(owner.to_owned())));
        }
    }

    #[test]
    fn a_file_that_no_signature_can_be_verified_with_is_no_public_key() {
        let mut value = key().public().to_json();
        value["keyval"]["public"] = "abcd".into();
        for bytes in [b"{}".as_slice(), key().to_pem().as_bytes(), value.to_string().as_bytes()] {
            assert!(matches!(PublicKey::parse(bytes), Err(KeyError::Public(_))));
        }
    }

    #[test]
    fn only_the_keys_own_signature_of_the_very_bytes_is_verified() {
        let (anna, ben) = (key(), key());
        let signature = anna.sign(b"text");
        assert!(anna.public().verifies(b"text", &signature));
        assert!(!anna.public().verifies(b"test", &signature));
        assert!(!ben.public().verifies(b"text", &signature));
        for odd in ["", "0", "zz", &signature[2..]] {
            assert!(!anna.public().verifies(b"text", odd), "{odd}");
        }
    }
}
