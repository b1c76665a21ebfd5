//! ring as the provider of cryptography for TUF metadata. Verifies; never signs.

use ring::digest::{Context, SHA256, SHA384, SHA512};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use sigstore_crypto::provider::{CryptoProvider, HashContext, install_default_provider};
use sigstore_crypto::{Error, SigningScheme};
use sigstore_types::HashAlgorithm;

#[derive(Debug)]
struct Ring;

struct Hash(Context);

/// Makes ring the provider; doing so again changes nothing.
pub fn install() {
    let _ = install_default_provider(&Ring);
}

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        let algorithm = match algorithm {
            HashAlgorithm::Sha2256 => &SHA256,
            HashAlgorithm::Sha2384 => &SHA384,
            HashAlgorithm::Sha2512 => &SHA512,
            #[allow(unreachable_patterns)] // The list may grow in a later version.
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        };
        Ok(Box::new(Hash(Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        public_key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let algorithm: &'static dyn VerificationAlgorithm = match scheme {
            SigningScheme::Ed25519 => &ED25519,
            SigningScheme::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            SigningScheme::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
            SigningScheme::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
            SigningScheme::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
            SigningScheme::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        };
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(data, signature)
            .map_err(|_| Error::Verification("the signature does not fit".into()))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), Error> {
        // TUF metadata is signed over its bytes, never over a digest of them.
        Err(Error::UnsupportedAlgorithm(format!("{scheme:?} over a digest")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    };

    const DATA: &[u8] = b"what was signed";

    /// Takes a signature over these bytes, and no other.
    fn check(scheme: SigningScheme, public: &[u8], signature: &[u8]) {
        Ring.verify_raw(scheme, public, DATA, signature).unwrap();
        let refused = |public: &[u8], data: &[u8], signature: &[u8]| {
            assert!(Ring.verify_raw(scheme, public, data, signature).is_err(), "{scheme:?}");
        };
        refused(public, b"What was signed", signature);
        refused(public, DATA, b"");
        let changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        };
        refused(public, DATA, &changed(signature));
        refused(&changed(public), DATA, signature);
        assert!(Ring.verify_raw(SigningScheme::RsaPkcs1Sha256, public, DATA, signature).is_err());
        let digest = ring::digest::digest(&SHA256, DATA);
        assert!(Ring.verify_prehashed(scheme, public, digest.as_ref(), signature).is_err());
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_its_bytes_alone() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = pair.public_key().as_ref();
        check(SigningScheme::Ed25519, public, pair.sign(DATA).as_ref());
        let random = SystemRandom::new();
        let ecdsa = |scheme, algorithm: &'static EcdsaSigningAlgorithm| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            let signature = pair.sign(&random, DATA).unwrap();
            check(scheme, pair.public_key().as_ref(), signature.as_ref());
        };
        ecdsa(SigningScheme::EcdsaP256Sha256, &ECDSA_P256_SHA256_ASN1_SIGNING);
        ecdsa(SigningScheme::EcdsaP384Sha384, &ECDSA_P384_SHA384_ASN1_SIGNING);
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4, the examples for the message "abc": the first bytes of each.
        for (algorithm, first, length) in [
            (HashAlgorithm::Sha2256, [0xba, 0x78, 0x16, 0xbf], 32),
            (HashAlgorithm::Sha2384, [0xcb, 0x00, 0x75, 0x3f], 48),
            (HashAlgorithm::Sha2512, [0xdd, 0xaf, 0x35, 0xa1], 64),
        ] {
            let mut hash = Ring.hash(algorithm).unwrap();
            hash.update(b"a");
            hash.update(b"bc");
            let digest = hash.finalize();
            assert_eq!((&digest[..4], digest.len()), (&first[..], length));
        }
    }
}
