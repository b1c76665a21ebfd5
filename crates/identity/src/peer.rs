//! Who shows a certificate: verified by the roots that are trusted, and read strictly.

use crate::authority::ServerName;
use crate::key::{Fingerprint, hex};
use crate::request::{COMMON_NAME, common_name};
use crate::validity::{Validity, shown};
use lineside_wire::name::DeviceId;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};

/// Certificates that a peer may show: its own and those between it and a root.
pub const CHAIN_MAX: usize = 4;

/// What stands before a device's name in its certificate, as a URI (RFC 5280, 4.2.1.6).
pub(crate) const PREFIX: &str = "urn:lineside:device:";
/// Largest certificate in bytes. One of ours has 500; those of other authorities carry more.
const CERTIFICATE_BYTES_MAX: usize = 8_192;
/// Largest list of roots in bytes, and their number.
const ROOTS_BYTES_MAX: usize = 128 << 10;
const ROOTS_MAX: usize = 16;

/// Why nobody is believed to be a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Too large to be one.
    #[error("the certificate has {0} bytes, {CERTIFICATE_BYTES_MAX} are allowed")]
    Size(usize),
    /// None, or too many.
    #[error("1 to {CHAIN_MAX} certificates are needed, not {0}")]
    Chain(usize),
    /// Not a certificate, or a damaged one.
    #[error("the certificate cannot be read")]
    Format,
    /// Signed by nobody who is trusted here.
    #[error("the certificate was issued by nobody who is trusted here")]
    Issuer,
    /// Over.
    #[error("the certificate held until {}: the device renews it, or joins again with a new token", shown(.0))]
    Expired(OffsetDateTime),
    /// Not begun.
    #[error("the certificate holds from {}: a clock is wrong", shown(.0))]
    Early(OffsetDateTime),
    /// For something else.
    #[error("the certificate is not for connecting as a device (clientAuth alone)")]
    Usage,
    /// A name of another form than a device has.
    #[error("the certificate must name one device, and the same wherever it names any")]
    Name,
    /// Not to be believed for another reason.
    #[error("the certificate is not to be believed: {0}")]
    Untrusted(String),
    /// Roots that cannot be read.
    #[error(
        "1 to {ROOTS_MAX} certificates of authorities in PEM form are needed to know devices by"
    )]
    Roots,
}

/// The number of a certificate at its authority: 1 to 20 bytes (RFC 5280, 4.1.2.2). Written as hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Bytes of the longest.
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn of(bytes: Vec<u8>) -> Serial {
        Serial(bytes)
    }

    /// The number, its first byte first.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.to_string()
    }
}

impl TryFrom<String> for Serial {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Serial, &'static str> {
        let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(digit).collect();
        let serial = bytes.map(Serial).filter(|serial| {
            (1..=Serial::BYTES).contains(&serial.0.len()) && serial.to_string() == text
        });
        serial.ok_or("a certificate's number has 1 to 20 bytes in hex digits")
    }
}

/// Who has shown a certificate that is believed. Only [`Roots`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    device: DeviceId,
    key: Fingerprint,
    serial: Serial,
    validity: Validity,
}

impl Peer {
    /// The device that the certificate names.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Its key.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// The certificate's number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// From when to when the certificate holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// Whose certificates are believed.
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    naming: Naming,
}

/// How a certificate names its device.
#[derive(Clone, Copy)]
enum Naming {
    /// By common name and URI, and it is for nothing but connecting.
    Fleet,
    /// By the common name; where it has a URI of ours, too, by the same.
    CommonName,
}

impl Roots {
    /// The fleet's own authority, as [`Authority::pem`](crate::Authority::pem) gives it.
    ///
    /// # Errors
    /// [`CertificateError::Roots`].
    pub fn of_fleet(pem: &str) -> Result<Roots, CertificateError> {
        Ok(Roots { anchors: anchors(pem)?, naming: Naming::Fleet })
    }

    /// Authorities of others, as a plant has them: 1 to 16 in one PEM text. The server makes no
    /// certificates then and only verifies them. Whoever has one still joins and is accepted first.
    ///
    /// # Errors
    /// [`CertificateError::Roots`].
    pub fn of_others(pem: &str) -> Result<Roots, CertificateError> {
        Ok(Roots { anchors: anchors(pem)?, naming: Naming::CommonName })
    }

    /// Who shows these certificates at `now`: in DER, the device's own first.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, chain: &[&[u8]], now: OffsetDateTime) -> Result<Peer, CertificateError> {
        let peer = self.verify_lapsed(chain, now)?;
        if peer.validity.not_after() < now.replace_nanosecond(0).unwrap_or(now) {
            return Err(CertificateError::Expired(peer.validity.not_after()));
        }
        Ok(peer)
    }

    /// The same where the certificate may have ended, for who wants to renew it: it is verified as it was
    /// in its last second. [`Peer::validity`] says when that was.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify_lapsed(
        &self,
        chain: &[&[u8]],
        now: OffsetDateTime,
    ) -> Result<Peer, CertificateError> {
        let (Some((own, others)), true) = (chain.split_first(), chain.len() <= CHAIN_MAX) else {
            return Err(CertificateError::Chain(chain.len()));
        };
        if let Some(large) = chain.iter().find(|der| der.len() > CERTIFICATE_BYTES_MAX) {
            return Err(CertificateError::Size(large.len()));
        }
        let peer = self.read(own)?;
        let at = now.min(peer.validity.not_after()).unix_timestamp();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        let own = CertificateDer::from(*own);
        // What a root says of authorities below it does not count once it is trusted (RFC 5280, 6.1.1), so
        // that there is none below the fleet's is seen to here.
        let others: Vec<CertificateDer<'_>> = match self.naming {
            Naming::Fleet => Vec::new(),
            Naming::CommonName => others.iter().map(|der| CertificateDer::from(*der)).collect(),
        };
        let certificate =
            EndEntityCert::try_from(&own).map_err(|error| refusal(error, &peer, now))?;
        let usage = KeyUsage::client_auth();
        certificate
            .verify_for_usage(ALGORITHMS, &self.anchors, &others, at, usage, None, None)
            .map_err(|error| refusal(error, &peer, now))?;
        Ok(peer)
    }

    /// The same for a device that was sent a certificate and may have no clock to go by: it is verified as
    /// it will be in its last second. Whether it holds now is the server's to say.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify_whenever(&self, chain: &[&[u8]]) -> Result<Peer, CertificateError> {
        self.verify_lapsed(chain, OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT))
    }

    /// Reads a certificate that nobody has verified yet.
    fn read(&self, der: &[u8]) -> Result<Peer, CertificateError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Format)?;
        if !rest.is_empty() {
            return Err(CertificateError::Format);
        }
        let device = common_name(certificate.subject()).ok_or(CertificateError::Name)?;
        let uri = format!("{PREFIX}{device}");
        let alternatives = certificate.subject_alternative_name();
        let alternatives = alternatives.map_err(|_| CertificateError::Format)?;
        let names = alternatives.as_ref().map_or(&[][..], |names| &names.value.general_names);
        let is_own =
            |name: &GeneralName<'_>| matches!(name, GeneralName::URI(text) if *text == uri);
        let is_ours = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(text) if text.starts_with(PREFIX));
        let is_named = match self.naming {
            Naming::Fleet => names.len() == 1 && names.iter().all(is_own),
            Naming::CommonName => names.iter().filter(|name| is_ours(name)).all(is_own),
        };
        if !is_named {
            return Err(CertificateError::Name);
        }
        let usage = certificate.extended_key_usage().map_err(|_| CertificateError::Format)?;
        let usage = usage.ok_or(CertificateError::Usage)?.value;
        let is_only = !usage.any
            && !usage.server_auth
            && !usage.code_signing
            && !usage.email_protection
            && !usage.time_stamping
            && !usage.ocsp_signing
            && usage.other.is_empty();
        let is_fit = match self.naming {
            Naming::Fleet => usage.client_auth && is_only,
            Naming::CommonName => usage.client_auth,
        };
        // That it is no authority's own is seen when it is verified.
        if !is_fit {
            return Err(CertificateError::Usage);
        }
        let serial = certificate.raw_serial();
        if !(1..=Serial::BYTES).contains(&serial.len()) {
            return Err(CertificateError::Format);
        }
        Ok(Peer {
            device,
            key: Fingerprint::of_info(certificate.public_key().raw),
            serial: Serial(serial.to_vec()),
            validity: validity(&certificate)?,
        })
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.anchors.len())
    }
}

/// What signatures on certificates may be of: what authorities of plants use, and nothing with SHA-1.
const ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// Reads the certificates of a peer from PEM, its own first, as DER.
///
/// # Errors
/// [`CertificateError::Chain`], [`CertificateError::Size`], [`CertificateError::Format`].
pub fn read_chain(pem: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    // In base 64 a certificate is a third longer, and has two lines around it.
    if pem.len() > CHAIN_MAX * 2 * CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Size(pem.len()));
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| CertificateError::Format)?;
    if !(1..=CHAIN_MAX).contains(&found.len()) {
        return Err(CertificateError::Chain(found.len()));
    }
    Ok(found.iter().map(|der| der.to_vec()).collect())
}

/// What an authority's own certificate says.
pub(crate) struct FoundAuthority {
    pub key: Fingerprint,
    pub name: String,
    pub validity: Validity,
    pub permitted: Vec<ServerName>,
}

/// Reads the certificate of an authority that [`Authority::make`](crate::Authority::make) made.
pub(crate) fn read_authority(pem: &str) -> Result<FoundAuthority, CertificateError> {
    let Ok([der]) = <[CertificateDer<'static>; 1]>::try_from(certificates(pem)?) else {
        return Err(CertificateError::Roots);
    };
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| CertificateError::Format)?;
    if !certificate.is_ca() || certificate.subject() != certificate.issuer() {
        return Err(CertificateError::Roots);
    }
    let mut names = certificate.subject().iter_attributes();
    let name = match (names.next(), names.next()) {
        (Some(part), None) if part.attr_type() == &COMMON_NAME => {
            part.as_str().map_err(|_| CertificateError::Name)?.to_owned()
        }
        _ => return Err(CertificateError::Name),
    };
    let mut permitted = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::NameConstraints(names) = extension.parsed_extension() else {
            continue;
        };
        for subtree in names.permitted_subtrees.iter().flatten() {
            permitted.push(ServerName::of_constraint(&subtree.base).ok_or(CertificateError::Name)?);
        }
    }
    let key = Fingerprint::of_info(certificate.public_key().raw);
    Ok(FoundAuthority { key, name, validity: validity(&certificate)?, permitted })
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if pem.len() > ROOTS_BYTES_MAX {
        return Err(CertificateError::Roots);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| CertificateError::Roots)?;
    if (1..=ROOTS_MAX).contains(&found.len()) { Ok(found) } else { Err(CertificateError::Roots) }
}

fn anchors(pem: &str) -> Result<Vec<TrustAnchor<'static>>, CertificateError> {
    let mut anchors = Vec::new();
    for der in certificates(pem)? {
        // Whoever would trust a device's certificate as a root would trust the device as an authority.
        let is_ca = X509Certificate::from_der(&der).is_ok_and(|(_, found)| found.is_ca());
        let anchor = anchor_from_trusted_cert(&der).map_err(|_| CertificateError::Roots)?;
        if !is_ca {
            return Err(CertificateError::Roots);
        }
        anchors.push(anchor.to_owned());
    }
    Ok(anchors)
}

fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, CertificateError> {
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    Validity::new(from, to).map_err(|_| CertificateError::Format)
}

fn refusal(error: webpki::Error, peer: &Peer, now: OffsetDateTime) -> CertificateError {
    use webpki::Error::*;
    match error {
        UnknownIssuer | InvalidSignatureForPublicKey => CertificateError::Issuer,
        CertNotValidYet { .. } if now < peer.validity.not_before() => {
            CertificateError::Early(peer.validity.not_before())
        }
        // Its own end was not judged, and a root has none.
        CertExpired { .. } => {
            CertificateError::Untrusted("a certificate between it and a root has ended".into())
        }
        RequiredEkuNotFoundContext(_) | CaUsedAsEndEntity => CertificateError::Usage,
        other => CertificateError::Untrusted(format!("{other:?}")),
    }
}
