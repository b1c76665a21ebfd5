//! A request for a certificate: PKCS#10 (RFC 2986) with a device's name, its key, and nothing else.

use crate::key::{DeviceKey, KeyError, PublicKey};
use lineside_wire::name::DeviceId;
use pem_rfc7468::LineEnding;
use rcgen::string::PrintableString;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, PublicKeyData, SignatureAlgorithm,
    SigningKey,
};
use ring::rand::SecureRandom;
use x509_parser::asn1_rs::{Oid, Tag, oid};
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Name};

/// Largest request in bytes of PEM. One of ours has 400.
pub const REQUEST_BYTES_MAX: usize = 2_048;

const LABEL: &str = "CERTIFICATE REQUEST";
/// `id-ecPublicKey` and `secp256r1` (RFC 5480, 2.1.1), `ecdsa-with-SHA256` (RFC 5758, 3.2).
const EC_KEY: Oid<'_> = oid!(1.2.840.10045.2.1);
const P256: Oid<'_> = oid!(1.2.840.10045.3.1.7);
const ECDSA_SHA256: Oid<'_> = oid!(1.2.840.10045.4.3.2);
/// `id-at-commonName` (RFC 5280, A.1).
pub(crate) const COMMON_NAME: Oid<'_> = oid!(2.5.4.3);

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large to be one.
    #[error("the certificate request has {0} bytes, {REQUEST_BYTES_MAX} are allowed")]
    Size(usize),
    /// Not such a request, or a damaged one.
    #[error("the certificate request cannot be read: it is no PKCS#10 request in PEM form")]
    Format,
    /// A name of another form than a device has.
    #[error(
        "the certificate request must name its device by one common name and nothing else, \
         of a-z, 0-9 and '-'"
    )]
    Name,
    /// A key of another kind.
    #[error("the certificate request is for a key that is not of P-256")]
    Key,
    /// It asks for more than a name.
    #[error("the certificate request asks for extensions or has attributes: leave them out")]
    Extensions,
    /// Not signed by the key that it is for.
    #[error(
        "the certificate request is not signed, by ECDSA with SHA-256, by the key that it is for"
    )]
    Signature,
}

/// A request whose signature shows that who made it holds the key.
///
/// Only [`CertificateRequest::parse`] makes one. It says nothing of when it was made: a copy of a request
/// is as good as the request, and gets nobody more than a certificate for the key of who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    device: DeviceId,
    key: PublicKey,
}

impl CertificateRequest {
    /// Asks for a certificate for `device` and `key`, as PEM.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn sign(
        device: &DeviceId,
        key: &DeviceKey,
        random: &dyn SecureRandom,
    ) -> Result<String, KeyError> {
        let request = parameters(device.as_str().into()).serialize_request(&key.signer(random));
        // It has nothing else to fail at than drawing a number.
        let request = request.map_err(|_| KeyError::Random)?;
        let text = pem_rfc7468::encode_string(LABEL, LineEnding::LF, request.der());
        Ok(text.expect("a request of some hundred bytes fits a PEM text"))
    }

    /// Reads a request and verifies it, whoever wrote it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(pem: &str) -> Result<CertificateRequest, RequestError> {
        if pem.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::Size(pem.len()));
        }
        let Ok((LABEL, der)) = pem_rfc7468::decode_vec(pem.as_bytes()) else {
            return Err(RequestError::Format);
        };
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Format)?;
        let info = &request.certification_request_info;
        // The only version there is (RFC 2986, 4.1).
        if !rest.is_empty() || info.version.0 != 0 {
            return Err(RequestError::Format);
        }
        let device = common_name(&info.subject).ok_or(RequestError::Name)?;
        let key = p256_key(&info.subject_pki).ok_or(RequestError::Key)?;
        if !info.attributes().is_empty() {
            return Err(RequestError::Extensions);
        }
        let (algorithm, signature) = (&request.signature_algorithm, &request.signature_value);
        let is_signed = is_ecdsa_sha256(algorithm)
            && signature.unused_bits == 0
            && key.verifies(info.raw, &signature.data);
        if !is_signed {
            return Err(RequestError::Signature);
        }
        // Readers of ASN.1 differ in what they pass over: what is written again is the same to the byte.
        let name = device.as_str();
        let again = |name: DnValue| written(name, &key, &signature.data);
        let printable = PrintableString::try_from(name).ok().map(DnValue::PrintableString);
        let is_exact = |name: DnValue| again(name).is_some_and(|again| again == der);
        if !is_exact(DnValue::Utf8String(name.into())) && !printable.is_some_and(is_exact) {
            return Err(RequestError::Format);
        }
        Ok(CertificateRequest { device, key })
    }

    /// The device's name, as it says itself.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Its key, which it holds.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

fn parameters(name: DnValue) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// The request that says just this, in DER.
fn written(name: DnValue, key: &PublicKey, signature: &[u8]) -> Option<Vec<u8>> {
    let request = parameters(name).serialize_request(&Signed { key, signature });
    Some(request.ok()?.der().to_vec())
}

/// A key that has signed already.
struct Signed<'a> {
    key: &'a PublicKey,
    signature: &'a [u8],
}

impl PublicKeyData for Signed<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl SigningKey for Signed<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signature.to_vec())
    }
}

/// The device that is named by the one common name that is all of a subject.
pub(crate) fn common_name(subject: &X509Name<'_>) -> Option<DeviceId> {
    let mut parts = subject.iter_attributes();
    let (part, None) = (parts.next()?, parts.next()) else { return None };
    let value = part.attr_value();
    let is_text = [Tag::Utf8String, Tag::PrintableString].contains(&value.tag());
    if part.attr_type() != &COMMON_NAME || !is_text {
        return None;
    }
    // A name is of a few characters of ASCII, so no zero, space or look-alike passes.
    std::str::from_utf8(value.data).ok()?.parse().ok()
}

fn p256_key(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_p256 = info.algorithm.algorithm == EC_KEY && curve == P256;
    let point = &info.subject_public_key;
    if !is_p256 || point.unused_bits != 0 {
        return None;
    }
    PublicKey::of_point(&point.data).ok()
}

/// RFC 5758, 3.2: without parameters.
fn is_ecdsa_sha256(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm == ECDSA_SHA256 && algorithm.parameters.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{Attribute, KeyUsagePurpose, SanType};
    use ring::rand::SystemRandom;

    const OPENSSL_REQUEST: &str = include_str!("../tests/openssl/request.pem");
    /// As long as a key of P-256, of another curve: `openssl ecparam -name secp256k1`.
    const OTHER_CURVE: &str = include_str!("../tests/openssl/secp256k1.pem");
    const OPENSSL_FINGERPRINT: &str = include_str!("../tests/openssl/fingerprint.txt");

    fn key() -> DeviceKey {
        DeviceKey::generate(&SystemRandom::new()).unwrap()
    }

    fn pem(der: &[u8]) -> String {
        pem_rfc7468::encode_string(LABEL, LineEnding::LF, der).unwrap()
    }

    /// A request of somebody who may write what he likes.
    fn forged(
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<CertificateRequest, RequestError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        change(&mut parameters);
        let random = SystemRandom::new();
        let request = parameters.serialize_request(&key().signer(&random)).unwrap();
        CertificateRequest::parse(&pem(request.der()))
    }

    fn named(names: &[(DnType, DnValue)]) -> Result<CertificateRequest, RequestError> {
        forged(|parameters| {
            for (kind, name) in names {
                parameters.distinguished_name.push(kind.clone(), name.clone());
            }
        })
    }

    fn text(name: &str) -> DnValue {
        DnValue::Utf8String(name.into())
    }

    #[test]
    fn a_request_is_read_back_and_one_of_openssl_is_too() {
        let key = key();
        let device: DeviceId = "line-3".parse().unwrap();
        let request = CertificateRequest::sign(&device, &key, &SystemRandom::new()).unwrap();
        assert!(request.len() < 500, "{request}");
        let request = CertificateRequest::parse(&request).unwrap();
        assert_eq!((request.device(), request.key()), (&device, key.public()));
        let theirs = CertificateRequest::parse(OPENSSL_REQUEST).unwrap();
        assert_eq!(theirs.device(), &device);
        assert_eq!(theirs.key().fingerprint().to_string(), OPENSSL_FINGERPRINT.trim());
    }

    #[test]
    fn a_request_has_one_name_and_a_device_could_have_it() {
        assert!(named(&[(DnType::CommonName, text("line-3"))]).is_ok());
        for name in ["", "Line-3", "line-3\0", "line-3\0.evil", "line 3", "+", "#", "a/b", "ｌine"]
        {
            let found = named(&[(DnType::CommonName, text(name))]);
            assert_eq!(found, Err(RequestError::Name), "{name:?}");
        }
        let long = "a".repeat(64);
        assert_eq!(named(&[(DnType::CommonName, text(&long))]), Err(RequestError::Name));
        assert_eq!(named(&[]), Err(RequestError::Name));
        assert_eq!(named(&[(DnType::OrganizationName, text("line-3"))]), Err(RequestError::Name));
        let second = [
            (DnType::CommonName, text("line-3")),
            (DnType::CustomDnType(vec![2, 5, 4, 42]), text("line-4")),
        ];
        assert_eq!(named(&second), Err(RequestError::Name));
        let wide = DnValue::BmpString("line-3".try_into().unwrap());
        assert_eq!(named(&[(DnType::CommonName, wide)]), Err(RequestError::Name));
    }

    #[test]
    fn two_common_names_are_no_name() {
        // The library that makes requests keeps one name of each kind, so the second is written in place
        // of another that is as long.
        let random = SystemRandom::new();
        let (key, mut parameters) = (key(), CertificateParams::default());
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "line-3");
        parameters.distinguished_name.push(DnType::OrganizationName, "line-4");
        let request = parameters.serialize_request(&key.signer(&random)).unwrap();
        let mut der = request.der().to_vec();
        let organisation = [0x55, 0x04, 0x0a];
        let place = der.windows(3).position(|bytes| bytes == organisation).unwrap();
        der[place + 2] = 3;
        assert_eq!(CertificateRequest::parse(&pem(&der)), Err(RequestError::Name));
    }

    #[test]
    fn a_request_asks_for_nothing_but_a_name() {
        let name = |parameters: &mut CertificateParams| {
            parameters.distinguished_name.push(DnType::CommonName, "line-3");
        };
        let found = forged(|parameters| {
            name(parameters);
            parameters.subject_alt_names = vec![SanType::DnsName("line-4".try_into().unwrap())];
        });
        assert_eq!(found, Err(RequestError::Extensions));
        let found = forged(|parameters| {
            name(parameters);
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        });
        assert_eq!(found, Err(RequestError::Extensions));
        let random = SystemRandom::new();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        name(&mut parameters);
        // A challenge password (RFC 2985, 5.4.1).
        let challenge = Attribute {
            oid: &[1, 2, 840, 113_549, 1, 9, 7],
            values: b"\x31\x03\x0c\x01x".to_vec(),
        };
        let request = parameters
            .serialize_request_with_attributes(&key().signer(&random), vec![challenge])
            .unwrap();
        let found = CertificateRequest::parse(&pem(request.der()));
        assert_eq!(found, Err(RequestError::Extensions));
    }

    #[test]
    fn other_keys_other_sizes_and_other_texts_are_refused() {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "line-3");
        for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let request = parameters.serialize_request(&key).unwrap();
            assert_eq!(CertificateRequest::parse(&pem(request.der())), Err(RequestError::Key));
        }
        assert_eq!(CertificateRequest::parse(OTHER_CURVE), Err(RequestError::Key));
        let huge = "x".repeat(REQUEST_BYTES_MAX + 1);
        assert_eq!(CertificateRequest::parse(&huge), Err(RequestError::Size(huge.len())));
        let request = OPENSSL_REQUEST;
        let (_, der) = pem_rfc7468::decode_vec(request.as_bytes()).unwrap();
        let trailing = pem(&[der.as_slice(), &[0]].concat());
        let twice = request.repeat(2);
        let renamed = request.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        for odd in ["", "x", &trailing, &twice, &renamed, &pem(&der[..der.len() - 1])] {
            assert_eq!(CertificateRequest::parse(odd), Err(RequestError::Format), "{odd}");
        }
    }

    #[test]
    fn a_request_for_the_key_of_another_is_refused() {
        let random = SystemRandom::new();
        let device: DeviceId = "line-3".parse().unwrap();
        let (mine, other) = (key(), key());
        let request = CertificateRequest::sign(&device, &mine, &random).unwrap();
        let (_, mut der) = pem_rfc7468::decode_vec(request.as_bytes()).unwrap();
        let (mine, other) = (rcgen::PublicKeyData::der_bytes(mine.public()), other);
        let place = der.windows(65).position(|bytes| bytes == mine).unwrap();
        der[place..place + 65].copy_from_slice(rcgen::PublicKeyData::der_bytes(other.public()));
        assert_eq!(CertificateRequest::parse(&pem(&der)), Err(RequestError::Signature));
    }

    #[test]
    fn no_changed_bit_passes() {
        let (_, der) = pem_rfc7468::decode_vec(OPENSSL_REQUEST.as_bytes()).unwrap();
        for (at, bit) in (0..der.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = der.clone();
            changed[at] ^= 1 << bit;
            assert!(CertificateRequest::parse(&pem(&changed)).is_err(), "bit {bit} of byte {at}");
        }
    }

    #[test]
    fn a_name_may_be_a_printable_string() {
        let name = DnValue::PrintableString("line-3".try_into().unwrap());
        assert!(named(&[(DnType::CommonName, name)]).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(CertificateRequest::parse(&pem(&bytes)).is_err());
        }
    }
}
