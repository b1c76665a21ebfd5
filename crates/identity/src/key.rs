//! The key of a device: ECDSA over P-256 (FIPS 186-5), kept as PKCS#8.

use pem_rfc7468::LineEnding;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use ring::digest::{SHA256, digest};
use ring::rand::SecureRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

const LABEL: &str = "PRIVATE KEY";
/// An uncompressed point of P-256 (SEC 1, 2.3.3): this byte, x and y.
const UNCOMPRESSED: u8 = 4;
const POINT_BYTES: usize = 65;
const HASH_BYTES: usize = 32;

/// Why a key cannot be made, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The machine gave no randomness.
    #[error("no randomness to make or use a key")]
    Random,
    /// Not a key of ours.
    #[error(
        "it is no P-256 key in PKCS#8 form: a device that has lost its key joins again with a new token"
    )]
    Format,
    /// Not a point that signatures can be verified with.
    #[error("it is no public key of P-256")]
    Public,
}

/// A key that never leaves its device but through [`DeviceKey::to_pem`].
///
/// Our copies of the secret are overwritten when they are dropped; the one within ring is not.
pub struct DeviceKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl DeviceKey {
    /// A new key of the randomness handed in.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate(random: &dyn SecureRandom) -> Result<DeviceKey, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, random)
            .map_err(|_| KeyError::Random)?;
        DeviceKey::from_pkcs8(pkcs8.as_ref(), random)
    }

    /// Reads a key from PKCS#8 (RFC 5958) in DER that holds the public part, too, as RFC 5915 lets it.
    ///
    /// # Errors
    /// [`KeyError::Format`].
    pub fn from_pkcs8(pkcs8: &[u8], random: &dyn SecureRandom) -> Result<DeviceKey, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, random)
            .map_err(|_| KeyError::Format)?;
        let public = PublicKey::of_point(pair.public_key().as_ref())?;
        Ok(DeviceKey { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()), public })
    }

    /// Reads what [`DeviceKey::to_pem`] wrote.
    ///
    /// # Errors
    /// [`KeyError::Format`].
    pub fn from_pem(text: &str, random: &dyn SecureRandom) -> Result<DeviceKey, KeyError> {
        match pem_rfc7468::decode_vec(text.as_bytes()) {
            Ok((LABEL, pkcs8)) => DeviceKey::from_pkcs8(&Zeroizing::new(pkcs8), random),
            _ => Err(KeyError::Format),
        }
    }

    /// The secret key as text, for a file that only its owner may read.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let text = pem_rfc7468::encode_string(LABEL, LineEnding::LF, &self.pkcs8);
        Zeroizing::new(text.expect("a key of some hundred bytes fits a PEM text"))
    }

    /// The secret key in PKCS#8, for TLS.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public part.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The name of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// Something that signs certificates and requests with this key. ECDSA draws a number each time.
    pub(crate) fn signer<'a>(&'a self, random: &'a dyn SecureRandom) -> Signer<'a> {
        Signer { key: self, random }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.fingerprint())
    }
}

/// A key with what it draws from.
pub(crate) struct Signer<'a> {
    key: &'a DeviceKey,
    random: &'a dyn SecureRandom,
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.key.public.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.key.pair.sign(self.random, message);
        Ok(signature.map_err(|_| rcgen::Error::RingUnspecified)?.as_ref().to_vec())
    }
}

/// The part of a key that everybody may see: a point of P-256, uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    /// The key whose public part is this point: 65 bytes, uncompressed (SEC 1, 2.3.3).
    ///
    /// Whether it lies on the curve is seen by whoever verifies a signature.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn of_point(point: &[u8]) -> Result<PublicKey, KeyError> {
        match <[u8; POINT_BYTES]>::try_from(point) {
            Ok(point) if point[0] == UNCOMPRESSED => Ok(PublicKey(point)),
            _ => Err(KeyError::Public),
        }
    }

    /// The name of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_info(&self.subject_public_key_info())
    }

    /// Whether `signature` (ASN.1, RFC 3279, 2.2.3) is this key's of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, signature).is_ok()
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER (RFC 5280, 4.1.2.7). The same whoever
/// certifies the key, so it outlives certificates. Written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; HASH_BYTES]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hex digits in small letters, as `lineside device show` tells it")]
pub struct FingerprintError;

impl Fingerprint {
    /// Of the SubjectPublicKeyInfo of any kind of key, in DER.
    pub(crate) fn of_info(info: &[u8]) -> Fingerprint {
        Fingerprint(sha256(info))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        unhex(text).map(Fingerprint).ok_or(FingerprintError)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Fingerprint, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote, and nothing that only looks like it.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;

    /// Made with OpenSSL 3: `openssl ecparam -genkey`, `openssl pkcs8 -topk8 -nocrypt`.
    const OPENSSL_KEY: &str = include_str!("../tests/openssl/key.pem");
    /// `openssl pkey -pubout -outform DER | sha256sum`.
    const OPENSSL_FINGERPRINT: &str = include_str!("../tests/openssl/fingerprint.txt");

    #[test]
    fn a_key_is_read_back_and_named_as_openssl_names_it() {
        let random = SystemRandom::new();
        let key = DeviceKey::generate(&random).unwrap();
        let again = DeviceKey::from_pem(&key.to_pem(), &random).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_ne!(DeviceKey::generate(&random).unwrap().fingerprint(), key.fingerprint());
        let theirs = DeviceKey::from_pem(OPENSSL_KEY, &random).unwrap();
        assert_eq!(theirs.fingerprint().to_string(), OPENSSL_FINGERPRINT.trim());
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_key_does_not_show_itself() {
        let random = SystemRandom::new();
        let key = DeviceKey::generate(&random).unwrap();
        let text = key.to_pem();
        let other = text.replace("PRIVATE", "PUBLIC");
        for odd in ["", "x", &text[..text.len() / 2], &other] {
            assert_eq!(DeviceKey::from_pem(odd, &random).err(), Some(KeyError::Format), "{odd}");
        }
        let mut cut = key.pkcs8().to_vec();
        cut[60] ^= 1;
        assert!(DeviceKey::from_pkcs8(&cut, &random).is_err());
        let shown = format!("{key:?}");
        assert!(shown.len() < 90 && shown.contains(&key.fingerprint().to_string()), "{shown}");
    }

    #[test]
    fn a_fingerprint_is_read_as_it_was_written_and_no_other_way() {
        let text = DeviceKey::generate(&SystemRandom::new()).unwrap().fingerprint().to_string();
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        let json = serde_json::to_string(&text.parse::<Fingerprint>().unwrap()).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        let plus = format!("+{}", &text[1..]);
        for odd in ["", &text[1..], &format!("{text}0"), &"A".repeat(64), &plus, &"é".repeat(32)] {
            assert_eq!(odd.parse::<Fingerprint>(), Err(FingerprintError), "{odd}");
        }
    }
}
