//! Keys, named by the SHA-256 of their public part as TUF does: Ed25519, kept as PKCS#8 in PEM. Those
//! that lie in a token may be of ECDSA over P-256 as well, which many tokens know alone.

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
use std::str::FromStr;

const LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";
const ED25519: &str = "ed25519";
const ED25519_KEY_BYTES: usize = 32;
const ED25519_SIGNATURE_BYTES: usize = 64;
const ECDSA: &str = "ecdsa";
const ECDSA_P256: &str = "ecdsa-sha2-nistp256";
/// What stands before a point of P-256 in a SubjectPublicKeyInfo (RFC 5480): algorithm id-ecPublicKey,
/// curve secp256r1, and the head of a bit string of 65 bytes.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point of P-256 (SEC 1, 2.3.3): this byte, x and y.
const P256_UNCOMPRESSED: u8 = 4;
const P256_POINT_BYTES: usize = 65;
/// Bytes of each of the two numbers of a signature over P-256.
const P256_NUMBER_BYTES: usize = 32;
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
    /// A public part of another length or form than its kind has.
    #[error("{0} bytes are no public part of {1}")]
    Point(usize, KeyKind),
}

/// Kinds of keys that people sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Ed25519 (RFC 8032): signs the bytes.
    Ed25519,
    /// ECDSA over the curve P-256 (FIPS 186-5): signs the SHA-256 of the bytes.
    P256,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyKind::Ed25519 => "an Ed25519 key",
            KeyKind::P256 => "an ECDSA P-256 key",
        })
    }
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
pub struct Owner(String);

impl FromStr for Owner {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Owner, KeyError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
        PublicKey::of_value(ED25519, ED25519, hex(self.pair.public_key().as_ref()))
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

    /// The key whose public part is this point: of Ed25519 its 32 bytes (RFC 8032, 5.1.2), of P-256
    /// the 65 bytes of its uncompressed form (SEC 1, 2.3.3).
    ///
    /// # Errors
    /// [`KeyError::Point`].
    pub fn of_point(kind: KeyKind, point: &[u8]) -> Result<PublicKey, KeyError> {
        match kind {
            KeyKind::Ed25519 if point.len() == ED25519_KEY_BYTES => {
                Ok(PublicKey::of_value(ED25519, ED25519, hex(point)))
            }
            KeyKind::P256 if point.len() == P256_POINT_BYTES && point[0] == P256_UNCOMPRESSED => {
                let info = [P256_INFO.as_slice(), point].concat();
                let pem = pem_rfc7468::encode_string(PUBLIC_LABEL, LineEnding::LF, &info)
                    .expect("a key of a hundred bytes fits a PEM text");
                Ok(PublicKey::of_value(ECDSA, ECDSA_P256, pem))
            }
            _ => Err(KeyError::Point(point.len(), kind)),
        }
    }

    /// Its kind, if it is one that people sign with.
    pub fn kind(&self) -> Option<KeyKind> {
        match (self.keytype.as_str(), self.scheme.as_str()) {
            (ED25519, ED25519) => Some(KeyKind::Ed25519),
            (ECDSA, ECDSA_P256) => Some(KeyKind::P256),
            _ => None,
        }
    }

    /// A signature as documents have it, of the 64 bytes that a token gives: hex digits, and of ECDSA
    /// the two numbers as ASN.1 writes them (RFC 3279, 2.2.3). None if it is no signature of this
    /// kind of key.
    pub fn signature(&self, raw: &[u8]) -> Option<String> {
        if raw.len() != ED25519_SIGNATURE_BYTES {
            return None;
        }
        match self.kind()? {
            KeyKind::Ed25519 => Some(hex(raw)),
            KeyKind::P256 => {
                let (r, s) = raw.split_at(P256_NUMBER_BYTES);
                let numbers = [der_number(r), der_number(s)].concat();
                // Twice 35 bytes at most, so that the length is one byte.
                let head = [0x30, u8::try_from(numbers.len()).ok()?];
                Some(hex(&[head.as_slice(), &numbers].concat()))
            }
        }
    }

    fn of_value(keytype: &str, scheme: &str, public: String) -> PublicKey {
        PublicKey {
            keytype: keytype.into(),
            scheme: scheme.into(),
            keyval: PublicValue { public },
            owner: None,
        }
    }

    /// The key with the name of its owner, for people to read.
    pub fn owned_by(self, owner: Owner) -> PublicKey {
        PublicKey { owner: Some(owner), ..self }
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

    /// What makes it this key, however it is written.
    pub(crate) fn material(&self) -> Vec<u8> {
        self.to_tuf().as_ref().map(material).unwrap_or_default()
    }

    fn to_tuf(&self) -> Option<Key> {
        serde_json::from_value(self.to_json()).ok()
    }
}

/// What makes a key this key: the bytes that signatures are verified with. The same key may be written
/// in hex digits, small or large, or as PEM, and has another id each time.
pub(crate) fn material(key: &Key) -> Vec<u8> {
    match key.verification_key() {
        Ok(key) => key.as_bytes().to_vec(),
        // Nothing can be verified with it.
        Err(_) => key.keyval.public.trim().to_ascii_lowercase().into_bytes(),
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

/// A number of at most 32 bytes as ASN.1 writes it (X.690, 8.3 and 10): without zeros in front, but
/// for one where the first bit would make it negative.
fn der_number(number: &[u8]) -> Vec<u8> {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let digits = &number[first..];
    let zero: &[u8] = if digits[0] < 0x80 { &[] } else { &[0] };
    let length = zero.len() + digits.len();
    let head = [0x02, u8::try_from(length).expect("at most 33 bytes")];
    [head.as_slice(), zero, digits].concat()
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
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    fn key() -> KeyPair {
        KeyPair::generate(&SystemRandom::new()).unwrap()
    }

    #[test]
    fn an_owner_is_told_and_changes_nothing_about_the_key() {
        let plain = key().public();
        let named = plain.clone().owned_by("Anna Béranger-Wu".parse().unwrap());
        assert_eq!(named.id(), plain.id());
        assert_eq!(named.to_string(), format!("{} (Anna Béranger-Wu)", &plain.id()[..12]));
        let read = PublicKey::parse(&serde_json::to_vec(&named).unwrap()).unwrap();
        assert_eq!(read, named);
    }

    #[test]
    fn an_owner_that_would_write_over_the_terminal_or_hide_is_refused() {
        let long = "a".repeat(65);
        for owner in ["", " Anna", "Anna\u{1b}[2K", "Anna\nBen", "Anna\u{202e}neB", long.as_str()] {
            assert_eq!(owner.parse::<Owner>(), Err(KeyError::Owner(owner.to_owned())));
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

    #[test]
    fn what_a_token_signs_over_p256_is_verified_as_what_a_key_in_a_file_signs() {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        let key = PublicKey::of_point(KeyKind::P256, pair.public_key().as_ref()).unwrap();
        assert_eq!(key.kind(), Some(KeyKind::P256));
        // As often as leaves no doubt that both numbers were met with and without a leading bit, and
        // now and then with a leading zero.
        for turn in 0..600_u32 {
            let bytes = turn.to_le_bytes();
            let raw = pair.sign(&random, &bytes).unwrap();
            let signature = key.signature(raw.as_ref()).unwrap();
            assert!(key.verifies(&bytes, &signature), "{signature}");
            assert!(!key.verifies(b"other", &signature));
        }
        assert_eq!(key.signature(&[1; 63]), None);
        let read = PublicKey::parse(&serde_json::to_vec(&key).unwrap()).unwrap();
        assert_eq!((read.id(), read.kind()), (key.id(), key.kind()));
    }

    #[test]
    fn an_ed25519_key_is_the_same_wherever_its_secret_lies() {
        let key = key();
        let point = key.pair.public_key().as_ref();
        let same = PublicKey::of_point(KeyKind::Ed25519, point).unwrap();
        assert_eq!(same, key.public());
        let signed = key.pair.sign(b"text");
        assert_eq!(same.signature(signed.as_ref()), Some(key.sign(b"text")));
    }

    #[test]
    fn a_number_is_written_the_one_way_that_there_is() {
        // X.690, 8.3: the fewest bytes that keep the sign.
        for (number, written) in [
            (&[0, 0, 0][..], &[2, 1, 0][..]),
            (&[0, 0x7f], &[2, 1, 0x7f]),
            (&[0, 0x80], &[2, 2, 0, 0x80]),
            (&[0xff, 1], &[2, 3, 0, 0xff, 1]),
        ] {
            assert_eq!(der_number(number), written);
        }
    }

    #[test]
    fn a_point_of_another_form_is_no_key() {
        for (kind, point) in [
            (KeyKind::Ed25519, vec![4; 31]),
            (KeyKind::P256, vec![4; 64]),
            // Compressed, as some write it; the verifier wants all of it.
            (KeyKind::P256, [vec![2], vec![7; 32]].concat()),
            (KeyKind::P256, [vec![6], vec![7; 64]].concat()),
        ] {
            let refused = PublicKey::of_point(kind, &point);
            assert_eq!(refused, Err(KeyError::Point(point.len(), kind)));
        }
    }
}
