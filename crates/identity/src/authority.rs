//! The fleet's authority: makes the certificates of devices and of the server.

use crate::key::{DeviceKey, PublicKey};
use crate::peer::{CertificateError, PREFIX, Serial};
use crate::request::CertificateRequest;
use crate::validity::{Lifetime, Validity, ValidityError, shown};
use lineside_wire::name::DeviceId;
use pem_rfc7468::LineEnding;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet as AddressBlock, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints,
    SanType,
};
use ring::rand::SecureRandom;
use std::fmt;
use std::str::FromStr;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::GeneralName;

/// Names of a server.
pub const SERVER_NAMES_MAX: usize = 16;

/// How long an authority lasts. Devices are installed with it, so it outlives them.
const AUTHORITY_LIFE: Duration = Duration::days(25 * 365);
/// How long a server's certificate lasts. The server makes itself another one in time.
const SERVER_LIFE: Duration = Duration::days(30);
/// A certificate holds from so long before it was made: whoever looks at it may have a clock that is slow.
const BACK_DATED: Duration = Duration::hours(1);
/// Longest name of an authority in characters (RFC 5280, A.1, ub-common-name).
const AUTHORITY_NAME_CHARS_MAX: usize = 64;
const LABEL: &str = "CERTIFICATE";

/// Why a certificate cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The machine gave no randomness.
    #[error("no randomness to make a certificate")]
    Random,
    /// A name that cannot stand in a certificate.
    #[error(
        "{0:?} cannot name an authority: use 1 to {AUTHORITY_NAME_CHARS_MAX} letters, digits and .-_ or spaces"
    )]
    Name(String),
    /// Neither a name in the network nor an address.
    #[error("{0:?} is no name of a server: give a host name in small letters or an IP address")]
    ServerName(String),
    /// No name or too many.
    #[error("a server's certificate has 1 to {SERVER_NAMES_MAX} names, not {0}")]
    ServerNames(usize),
    /// A name that the authority was made without.
    #[error(
        "the authority was made for certain names, and {0} is none of them: make another authority"
    )]
    Constrained(ServerName),
    /// A certificate and a key that do not belong together, or no authority's.
    #[error("the authority's certificate cannot be used: {0}")]
    Certificate(&'static str),
    /// It could not be read.
    #[error("the authority's certificate cannot be read")]
    Read(#[from] CertificateError),
    /// A time that no certificate can have.
    #[error("the clock shows a time that no certificate can have")]
    Time(#[from] ValidityError),
    /// The authority has ended.
    #[error("the authority ended at {}: make another and install the devices with it", shown(.0))]
    Ended(OffsetDateTime),
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// As PEM.
    pub pem: String,
    /// Its number.
    pub serial: Serial,
    /// From when to when it holds.
    pub validity: Validity,
}

/// What a server is reached by: a host name in small letters without a dot at the end (RFC 1123, 2.1),
/// or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(SanType);

impl ServerName {
    /// What a certificate says that its authority may name: a host, or a single address with its mask
    /// (RFC 5280, 4.2.1.10).
    pub(crate) fn of_constraint(base: &GeneralName<'_>) -> Option<ServerName> {
        match base {
            GeneralName::DNSName(host) => host.parse().ok(),
            GeneralName::IPAddress(bytes) => {
                let (address, mask) = bytes.split_at_checked(bytes.len() / 2)?;
                if mask.iter().any(|byte| *byte != u8::MAX) {
                    return None;
                }
                let (v4, v6) = (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address));
                let v4 = v4.map(|octets| SanType::IpAddress(octets.into()));
                v4.or(v6.map(|octets| SanType::IpAddress(octets.into()))).ok().map(ServerName)
            }
            _ => None,
        }
    }
}

impl FromStr for ServerName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<ServerName, AuthorityError> {
        if let Ok(address) = text.parse() {
            return Ok(ServerName(SanType::IpAddress(address)));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The last label of a host is no number, or it would be taken for an address (RFC 3696, 2).
        let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let is_host = text.len() <= 253
            && text.split('.').all(is_label)
            && text.rsplit('.').next().is_some_and(|last| !is_number(last));
        match text.try_into() {
            Ok(host) if is_host => Ok(ServerName(SanType::DnsName(host))),
            _ => Err(AuthorityError::ServerName(text.chars().take(300).collect())),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SanType::DnsName(host) => f.write_str(host.as_str()),
            SanType::IpAddress(address) => address.fmt(f),
            // No other is ever made.
            other => write!(f, "{other:?}"),
        }
    }
}

/// The fleet's authority: a key and the certificate that everybody in the fleet is installed with.
pub struct Authority {
    key: DeviceKey,
    /// What certificates are issued by: subject and key of the certificate.
    subject: DistinguishedName,
    validity: Validity,
    permitted: Vec<ServerName>,
    pem: String,
}

impl Authority {
    /// Makes an authority that lasts 25 years, with a new key.
    ///
    /// It can certify devices and servers, and no other authority. Where `permitted` has names, it can
    /// certify no server of any other (RFC 5280, 4.2.1.10): people who tell their browser to trust it risk
    /// no more than these. Where it has none, a server that gets another name needs no other authority.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn make(
        name: &str,
        permitted: &[ServerName],
        now: OffsetDateTime,
        random: &dyn SecureRandom,
    ) -> Result<Authority, AuthorityError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_ ".contains(c);
        let fits = (1..=AUTHORITY_NAME_CHARS_MAX).contains(&name.len());
        if !fits || !name.chars().all(is_plain) || name.trim() != name {
            return Err(AuthorityError::Name(name.chars().take(100).collect()));
        }
        if permitted.len() > SERVER_NAMES_MAX {
            return Err(AuthorityError::ServerNames(permitted.len()));
        }
        let key = DeviceKey::generate(random).map_err(|_| AuthorityError::Random)?;
        let validity = Validity::new(now - BACK_DATED, now + AUTHORITY_LIFE)?;
        let mut parameters = parameters(validity, &Serial::draw(random)?);
        parameters.distinguished_name.push(DnType::CommonName, name);
        // No further authority below it.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.use_authority_key_identifier_extension = false;
        if !permitted.is_empty() {
            parameters.name_constraints = Some(constraints(permitted));
        }
        let certificate =
            parameters.self_signed(&key.signer(random)).map_err(|_| AuthorityError::Random)?;
        Ok(Authority {
            key,
            subject: parameters.distinguished_name,
            validity,
            permitted: permitted.to_vec(),
            pem: to_pem(certificate.der()),
        })
    }

    /// The authority of a key and a certificate that [`Authority::make`] made.
    ///
    /// # Errors
    /// [`AuthorityError::Read`], [`AuthorityError::Certificate`].
    pub fn read(pem: &str, key: DeviceKey) -> Result<Authority, AuthorityError> {
        let found = crate::peer::read_authority(pem)?;
        if found.key != key.fingerprint() {
            return Err(AuthorityError::Certificate("it is for another key"));
        }
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, found.name);
        let (validity, permitted) = (found.validity, found.permitted);
        Ok(Authority { key, subject, validity, permitted, pem: pem.to_owned() })
    }

    /// Its certificate, which devices are installed with.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key, for a file that only the server may read.
    pub fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// From when to when it holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Makes a certificate for a device that was accepted: for its name and key, to connect with and for
    /// nothing else (`clientAuth`).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(
        &self,
        request: &CertificateRequest,
        lifetime: Lifetime,
        now: OffsetDateTime,
        random: &dyn SecureRandom,
    ) -> Result<Issued, AuthorityError> {
        let device: &DeviceId = request.device();
        let uri = format!("{PREFIX}{device}");
        let uri = uri.try_into().map_err(|_| AuthorityError::Name(device.to_string()))?;
        let (serial, validity) = self.next(lifetime.span(), now, random)?;
        let mut parameters = parameters(validity, &serial);
        // Brokers take the common name for the user's.
        parameters.distinguished_name.push(DnType::CommonName, device.as_str());
        parameters.subject_alt_names = vec![SanType::URI(uri)];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&parameters, request.key(), serial, validity, random)
    }

    /// Makes a certificate for the server itself, to be reached by these names (`serverAuth`).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue_server(
        &self,
        names: &[ServerName],
        key: &PublicKey,
        now: OffsetDateTime,
        random: &dyn SecureRandom,
    ) -> Result<Issued, AuthorityError> {
        if !(1..=SERVER_NAMES_MAX).contains(&names.len()) {
            return Err(AuthorityError::ServerNames(names.len()));
        }
        let (serial, validity) = self.next(SERVER_LIFE, now, random)?;
        let mut parameters = parameters(validity, &serial);
        parameters.distinguished_name.push(DnType::CommonName, "lineside-server");
        for name in names {
            if !self.permitted.is_empty() && !self.permitted.contains(name) {
                return Err(AuthorityError::Constrained(name.clone()));
            }
            parameters.subject_alt_names.push(name.0.clone());
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&parameters, key, serial, validity, random)
    }

    /// Number and validity of a certificate that is made now. It does not outlive the authority.
    fn next(
        &self,
        life: Duration,
        now: OffsetDateTime,
        random: &dyn SecureRandom,
    ) -> Result<(Serial, Validity), AuthorityError> {
        let end = self.validity.not_after();
        if !self.validity.holds(now) {
            return Err(AuthorityError::Ended(end));
        }
        let from = (now - BACK_DATED).max(self.validity.not_before());
        Ok((Serial::draw(random)?, Validity::new(from, (now + life).min(end))?))
    }

    fn sign(
        &self,
        parameters: &CertificateParams,
        key: &PublicKey,
        serial: Serial,
        validity: Validity,
        random: &dyn SecureRandom,
    ) -> Result<Issued, AuthorityError> {
        let mut own = CertificateParams::default();
        own.distinguished_name = self.subject.clone();
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = Issuer::new(own, self.key.signer(random));
        let certificate = parameters.signed_by(key, &issuer).map_err(|_| AuthorityError::Random)?;
        Ok(Issued { pem: to_pem(certificate.der()), serial, validity })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.key)
    }
}

impl Serial {
    fn draw(random: &dyn SecureRandom) -> Result<Serial, AuthorityError> {
        let mut bytes = [0; Serial::BYTES];
        random.fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
        // A positive number that needs all of them (RFC 5280, 4.1.2.2).
        bytes[0] = bytes[0] & 0x7f | 0x40;
        Ok(Serial::of(bytes.to_vec()))
    }
}

/// What all certificates have in common.
fn parameters(validity: Validity, serial: &Serial) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.not_before = validity.not_before();
    parameters.not_after = validity.not_after();
    parameters.serial_number = Some(rcgen::SerialNumber::from_slice(serial.bytes()));
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// Of hosts and addresses both, so that a list of the one kind does not leave the other open.
fn constraints(permitted: &[ServerName]) -> NameConstraints {
    let mut names = NameConstraints { permitted_subtrees: vec![], excluded_subtrees: vec![] };
    let (mut hosts, mut addresses) = (false, false);
    for name in permitted {
        match &name.0 {
            SanType::IpAddress(address) => {
                addresses = true;
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let one = AddressBlock::from_addr_prefix(*address, bits);
                names.permitted_subtrees.push(GeneralSubtree::IpAddress(one));
            }
            _ => {
                hosts = true;
                names.permitted_subtrees.push(GeneralSubtree::DnsName(name.to_string()));
            }
        }
    }
    if !hosts {
        // Every host (RFC 5280, 4.2.1.10: a name is within what it ends with).
        names.excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    if !addresses {
        for all in
            [AddressBlock::from_v4_prefix([0; 4], 0), AddressBlock::from_v6_prefix([0; 16], 0)]
        {
            names.excluded_subtrees.push(GeneralSubtree::IpAddress(all));
        }
    }
    names
}

fn to_pem(der: &[u8]) -> String {
    pem_rfc7468::encode_string(LABEL, LineEnding::LF, der)
        .expect("a certificate of some hundred bytes fits a PEM text")
}
