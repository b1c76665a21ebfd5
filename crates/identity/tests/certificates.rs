//! Certificates of our authority, and those that strangers may show.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_identity::{
    Authority, AuthorityError, CHAIN_MAX, CertificateError, CertificateRequest, DeviceKey, Issued,
    Lifetime, Peer, Roots, SERVER_NAMES_MAX, ServerName, read_chain,
};
use lineside_wire::name::DeviceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use ring::rand::SystemRandom;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeSet;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);

fn random() -> SystemRandom {
    SystemRandom::new()
}

fn authority() -> Authority {
    Authority::make("Plant 4", &[], NOW, &random()).unwrap()
}

fn week() -> Lifetime {
    Lifetime::of_days(7).unwrap()
}

fn request(name: &str, key: &DeviceKey) -> CertificateRequest {
    let device: DeviceId = name.parse().unwrap();
    let request = CertificateRequest::sign(&device, key, &random()).unwrap();
    CertificateRequest::parse(&request).unwrap()
}

fn issue(authority: &Authority, name: &str, key: &DeviceKey) -> Issued {
    authority.issue(&request(name, key), week(), NOW, &random()).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn shown(roots: &Roots, pem: &str, now: OffsetDateTime) -> Result<Peer, CertificateError> {
    roots.verify(&[&der(pem)], now)
}

/// An authority of somebody else, who writes what he likes.
struct Forger(CertifiedIssuer<'static, KeyPair>);

impl Forger {
    fn new() -> Forger {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = named("Plant 4");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Forger(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn root(&self) -> String {
        self.0.pem()
    }

    fn certify(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut parameters = honest("line-3");
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, &self.0).unwrap().der().to_vec()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// What our authority would write.
fn honest(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named(name);
    parameters.subject_alt_names = vec![uri(name)];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (parameters.not_before, parameters.not_after) =
        (NOW - Duration::hours(1), NOW + Duration::days(7));
    parameters
}

fn uri(name: &str) -> SanType {
    SanType::URI(format!("urn:lineside:device:{name}").try_into().unwrap())
}

#[test]
fn a_device_is_known_by_the_certificate_that_was_made_for_it() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let issued = issue(&authority, "line-3", &key);
    let roots = Roots::of_fleet(authority.pem()).unwrap();
    let peer = shown(&roots, &issued.pem, NOW).unwrap();
    assert_eq!(peer.device().as_str(), "line-3");
    assert_eq!(peer.key(), key.fingerprint());
    assert_eq!((peer.serial(), peer.validity()), (&issued.serial, issued.validity));
    assert_eq!(issued.validity.not_before(), NOW - Duration::hours(1));
    assert_eq!(issued.validity.not_after(), NOW + Duration::days(7));
    assert_eq!(issued.serial.bytes().len(), 20);
    assert!(issued.pem.len() < 1_000, "{}", issued.pem.len());
    // Others may read it too, by its common name.
    assert!(shown(&Roots::of_others(authority.pem()).unwrap(), &issued.pem, NOW).is_ok());
}

#[test]
fn a_certificate_holds_in_its_time_and_may_be_looked_at_after_it() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let issued = issue(&authority, "line-3", &key);
    let roots = Roots::of_fleet(authority.pem()).unwrap();
    let (from, to) = (issued.validity.not_before(), issued.validity.not_after());
    let second = Duration::seconds(1);
    assert!(shown(&roots, &issued.pem, from).is_ok());
    assert!(shown(&roots, &issued.pem, to).is_ok());
    assert_eq!(shown(&roots, &issued.pem, from - second), Err(CertificateError::Early(from)));
    assert_eq!(shown(&roots, &issued.pem, to + second), Err(CertificateError::Expired(to)));
    let years = to + Duration::days(4_000);
    assert_eq!(shown(&roots, &issued.pem, years), Err(CertificateError::Expired(to)));
    let lapsed = roots.verify_lapsed(&[&der(&issued.pem)], years).unwrap();
    assert_eq!((lapsed.key(), lapsed.validity().not_after()), (key.fingerprint(), to));
    let early = roots.verify_lapsed(&[&der(&issued.pem)], from - second);
    assert_eq!(early, Err(CertificateError::Early(from)));
    assert_eq!(roots.verify_whenever(&[&der(&issued.pem)]).unwrap(), lapsed);
    let stranger = Forger::new().certify(|_| {});
    assert_eq!(roots.verify_whenever(&[&stranger]), Err(CertificateError::Issuer));
}

#[test]
fn an_authority_is_read_back_and_goes_on() {
    let names: Vec<ServerName> =
        ["server.plant.example", "10.1.2.3", "fd00::1"].map(|name| name.parse().unwrap()).into();
    let made = Authority::make("Plant 4", &names, NOW, &random()).unwrap();
    let key = || DeviceKey::from_pem(&made.key().to_pem(), &random()).unwrap();
    let read = Authority::read(made.pem(), key()).unwrap();
    assert_eq!(read.validity(), made.validity());
    let device = DeviceKey::generate(&random()).unwrap();
    let roots = Roots::of_fleet(made.pem()).unwrap();
    assert!(shown(&roots, &issue(&read, "line-3", &device).pem, NOW).is_ok());
    read.issue_server(&names, device.public(), NOW, &random()).unwrap();
    // What it was made for is read back as well.
    let other: ServerName = "10.1.2.4".parse().unwrap();
    let refused = read.issue_server(std::slice::from_ref(&other), device.public(), NOW, &random());
    assert_eq!(refused, Err(AuthorityError::Constrained(other)));
    let foreign = DeviceKey::generate(&random()).unwrap();
    assert!(matches!(Authority::read(made.pem(), foreign), Err(AuthorityError::Certificate(_))));
    let certificate = issue(&made, "line-3", &device).pem;
    for odd in ["", "x", &certificate, &made.pem().repeat(2)] {
        assert!(matches!(Authority::read(odd, key()), Err(AuthorityError::Read(_))), "{odd}");
    }
}

#[test]
fn no_certificate_outlives_its_authority() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let (end, request) = (authority.validity().not_after(), request("line-3", &key));
    let month = Lifetime::of_days(30).unwrap();
    let last = authority.issue(&request, month, end - Duration::days(1), &random()).unwrap();
    assert_eq!(last.validity.not_after(), end);
    let late = authority.issue(&request, month, end + Duration::seconds(1), &random());
    assert_eq!(late, Err(AuthorityError::Ended(end)));
    let first = authority.issue(&request, month, NOW, &random()).unwrap();
    assert!(first.validity.not_before() >= authority.validity().not_before());
}

#[test]
fn every_certificate_has_a_number_of_its_own() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let serials: BTreeSet<_> = (0..50).map(|_| issue(&authority, "line-3", &key).serial).collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial.bytes()[0])));
    for serial in serials {
        let kept = serde_json::to_string(&serial).unwrap();
        assert_eq!(serde_json::from_str::<lineside_identity::Serial>(&kept).unwrap(), serial);
    }
    for odd in ["\"\"", "\"0\"", "\"AA\"", "\"+1\"", "\"é\"", &format!("\"{}\"", "00".repeat(21))]
    {
        assert!(serde_json::from_str::<lineside_identity::Serial>(odd).is_err(), "{odd}");
    }
}

#[test]
fn strangers_are_not_believed_whatever_they_write() {
    let authority = authority();
    let roots = Roots::of_fleet(authority.pem()).unwrap();
    let forger = Forger::new();
    // Another authority of the same name; what it writes is right in every other way.
    let foreign = forger.certify(|_| {});
    assert_eq!(roots.verify(&[&foreign], NOW), Err(CertificateError::Issuer));
    let root = der(&forger.root());
    assert_eq!(roots.verify(&[&foreign, &root], NOW), Err(CertificateError::Issuer));
    let key = KeyPair::generate().unwrap();
    let own = honest("line-3").self_signed(&key).unwrap();
    assert_eq!(roots.verify(&[own.der()], NOW), Err(CertificateError::Issuer));
    // A device of the fleet that would be an authority.
    let device = DeviceKey::generate(&random()).unwrap();
    let device_key = KeyPair::try_from(device.pkcs8()).unwrap();
    let issuer = rcgen::Issuer::new(honest("line-4"), device_key);
    let below = honest("line-3").signed_by(&key, &issuer).unwrap();
    let line_4 = der(&issue(&authority, "line-4", &device).pem);
    let found = roots.verify(&[below.der(), &line_4], NOW);
    assert!(found.is_err(), "{found:?}");
    assert!(matches!(
        Roots::of_fleet(&issue(&authority, "line-4", &device).pem),
        Err(CertificateError::Roots)
    ));
}

#[test]
fn there_is_no_authority_below_ours() {
    let ours = authority();
    let issuer = |name: &str, key: &DeviceKey| {
        let key = KeyPair::try_from(key.pkcs8()).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = named(name);
        rcgen::Issuer::new(parameters, key)
    };
    let mut parameters = honest("below");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.extended_key_usages.clear();
    let key = DeviceKey::generate(&random()).unwrap();
    let below_key = KeyPair::try_from(key.pkcs8()).unwrap();
    let below = parameters.signed_by(&below_key, &issuer("Plant 4", ours.key())).unwrap();
    let device = KeyPair::generate().unwrap();
    let device = honest("line-3").signed_by(&device, &issuer("below", &key)).unwrap();
    let found = Roots::of_fleet(ours.pem()).unwrap().verify(&[device.der(), below.der()], NOW);
    assert_eq!(found, Err(CertificateError::Issuer));
}

#[test]
fn a_certificate_of_a_trusted_authority_is_read_strictly() {
    let forger = Forger::new();
    let roots = Roots::of_fleet(&forger.root()).unwrap();
    let found =
        |change: &dyn Fn(&mut CertificateParams)| roots.verify(&[&forger.certify(change)], NOW);
    assert!(found(&|_| {}).is_ok());
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::CodeSigning],
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Other(vec![1, 2, 3])],
    ] {
        let found = found(&|parameters| parameters.extended_key_usages = usages.clone());
        assert_eq!(found, Err(CertificateError::Usage), "{usages:?}");
    }
    let ca = found(&|parameters| parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(ca, Err(CertificateError::Usage));
    let host = SanType::DnsName("line-3".try_into().unwrap());
    for names in [
        vec![],
        vec![uri("line-4")],
        vec![uri("line-3"), uri("line-4")],
        vec![uri("line-3"), uri("line-3")],
        vec![uri("line-3"), host.clone()],
        vec![host],
        vec![uri("line-3\0")],
        vec![uri("Line-3")],
    ] {
        let found = found(&|parameters| parameters.subject_alt_names = names.clone());
        assert_eq!(found, Err(CertificateError::Name), "{names:?}");
    }
    for name in ["", "line-3\0", "line-3\0.evil", "LINE-3", "+", "#", "line-3/up", "line 3"] {
        let found = found(&|parameters| parameters.distinguished_name = named(name));
        assert_eq!(found, Err(CertificateError::Name), "{name:?}");
    }
    let two = found(&|parameters| {
        parameters.distinguished_name.push(DnType::OrganizationName, "line-4");
    });
    assert_eq!(two, Err(CertificateError::Name));
}

#[test]
fn a_chain_is_read_in_its_order_and_has_an_end() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let own = issue(&authority, "line-3", &key).pem;
    let both = read_chain(&format!("{own}{}", authority.pem())).unwrap();
    assert_eq!(both, [der(&own), der(authority.pem())]);
    assert_eq!(read_chain(""), Err(CertificateError::Chain(0)));
    // A key is no certificate, and is passed over.
    assert_eq!(read_chain(&key.to_pem()), Err(CertificateError::Chain(0)));
    let many = own.repeat(CHAIN_MAX + 1);
    assert_eq!(read_chain(&many), Err(CertificateError::Chain(CHAIN_MAX + 1)));
    let large = "x".repeat(100_000);
    assert_eq!(read_chain(&large), Err(CertificateError::Size(large.len())));
    assert_eq!(read_chain(&own[..own.len() / 2]), Err(CertificateError::Format));
}

#[test]
fn what_is_no_certificate_or_too_much_of_it_is_refused() {
    let forger = Forger::new();
    let roots = Roots::of_fleet(&forger.root()).unwrap();
    let good = forger.certify(|_| {});
    let huge = forger.certify(|parameters| {
        let filling = "x".repeat(9_000);
        parameters.distinguished_name.push(DnType::OrganizationName, filling);
    });
    assert_eq!(roots.verify(&[&huge], NOW), Err(CertificateError::Size(huge.len())));
    assert_eq!(roots.verify(&[&good, &huge], NOW), Err(CertificateError::Size(huge.len())));
    assert_eq!(roots.verify(&[], NOW), Err(CertificateError::Chain(0)));
    let many = vec![good.as_slice(); CHAIN_MAX + 1];
    assert_eq!(roots.verify(&many, NOW), Err(CertificateError::Chain(CHAIN_MAX + 1)));
    let trailing = [good.as_slice(), &[0]].concat();
    for odd in [&b""[..], b"x", &good[1..], &good[..good.len() - 1], &trailing] {
        assert!(roots.verify(&[odd], NOW).is_err());
    }
    for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut changed = good.clone();
        changed[at] ^= 1 << bit;
        assert!(roots.verify(&[&changed], NOW).is_err(), "bit {bit} of byte {at} may be changed");
    }
    let many = forger.root().repeat(17);
    let large = format!("{}{}", "x".repeat(128 << 10), forger.root());
    for odd in ["", "x", many.as_str(), large.as_str()] {
        assert!(matches!(Roots::of_others(odd), Err(CertificateError::Roots)));
    }
}

#[test]
fn the_authority_of_a_plant_names_devices_by_their_common_name() {
    let (forger, other) = (Forger::new(), Forger::new());
    let both = forger.root() + &other.root();
    let roots = Roots::of_others(&both).unwrap();
    let found =
        |change: &dyn Fn(&mut CertificateParams)| roots.verify(&[&forger.certify(change)], NOW);
    let host = SanType::DnsName("line-3.plant.example".try_into().unwrap());
    let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let plain = found(&|parameters| {
        parameters.subject_alt_names = vec![host.clone()];
        parameters.extended_key_usages = usages.clone();
    });
    assert_eq!(plain.unwrap().device().as_str(), "line-3");
    assert!(found(&|parameters| parameters.subject_alt_names.clear()).is_ok());
    assert!(roots.verify(&[&other.certify(|_| {})], NOW).is_ok());
    let renamed = found(&|parameters| parameters.subject_alt_names = vec![uri("line-4")]);
    assert_eq!(renamed, Err(CertificateError::Name));
    let silent = found(&|parameters| parameters.extended_key_usages.clear());
    assert_eq!(silent, Err(CertificateError::Usage));
    let stranger = Forger::new().certify(|_| {});
    assert_eq!(roots.verify(&[&stranger], NOW), Err(CertificateError::Issuer));
    // One authority below the root, which the device shows as well.
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named("Hall 2");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (parameters.not_before, parameters.not_after) =
        (NOW - Duration::days(9), NOW + Duration::days(5));
    let hall =
        CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), &forger.0).unwrap();
    let key = KeyPair::generate().unwrap();
    let device = honest("line-3").signed_by(&key, &hall).unwrap();
    assert!(roots.verify(&[device.der(), hall.der()], NOW).is_ok());
    assert_eq!(roots.verify(&[device.der()], NOW), Err(CertificateError::Issuer));
    let later = roots.verify(&[device.der(), hall.der()], NOW + Duration::days(6));
    assert!(matches!(later, Err(CertificateError::Untrusted(_))), "{later:?}");
}

/// Whether a client that trusts `root` takes `certificate` for the server `name`.
fn serves(root: &str, certificate: &str, name: &str) -> Result<(), webpki::Error> {
    let (root, own) = (CertificateDer::from(der(root)), CertificateDer::from(der(certificate)));
    let anchors = [webpki::anchor_from_trusted_cert(&root)?];
    let certificate = webpki::EndEntityCert::try_from(&own)?;
    let now =
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.unix_timestamp() as u64));
    let usage = webpki::KeyUsage::server_auth();
    let algorithms: [&dyn rustls_pki_types::SignatureVerificationAlgorithm; 1] =
        [webpki::ring::ECDSA_P256_SHA256];
    certificate.verify_for_usage(&algorithms, &anchors, &[], now, usage, None, None)?;
    certificate.verify_is_valid_for_subject_name(&name.try_into().unwrap())
}

#[test]
fn the_server_is_reached_by_its_names_and_no_device_is_a_server() {
    let (authority, key) = (authority(), DeviceKey::generate(&random()).unwrap());
    let names: Vec<ServerName> = ["server.plant.example", "server", "10.1.2.3", "fd00::1"]
        .map(|name| name.parse().unwrap())
        .into();
    let issued = authority.issue_server(&names, key.public(), NOW, &random()).unwrap();
    for name in ["server.plant.example", "server", "10.1.2.3", "fd00::1"] {
        assert_eq!(serves(authority.pem(), &issued.pem, name), Ok(()), "{name}");
    }
    for name in ["other.plant.example", "lineside-server", "10.1.2.4"] {
        assert!(serves(authority.pem(), &issued.pem, name).is_err(), "{name}");
    }
    let device = issue(&authority, "server", &key);
    assert!(serves(authority.pem(), &device.pem, "server").is_err());
    let roots = Roots::of_fleet(authority.pem()).unwrap();
    assert!(shown(&roots, &issued.pem, NOW).is_err(), "the server is no device");
    let none = authority.issue_server(&[], key.public(), NOW, &random());
    assert_eq!(none, Err(AuthorityError::ServerNames(0)));
    let many = vec![names[0].clone(); SERVER_NAMES_MAX + 1];
    let many = authority.issue_server(&many, key.public(), NOW, &random());
    assert_eq!(many, Err(AuthorityError::ServerNames(SERVER_NAMES_MAX + 1)));
}

#[test]
fn an_authority_for_certain_names_makes_no_others_and_is_believed_in_no_others() {
    let key = DeviceKey::generate(&random()).unwrap();
    let names = |names: &[&str]| -> Vec<ServerName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    for permitted in [&["a.example"][..], &["10.1.2.3"], &["a.example", "10.1.2.3"]] {
        let authority = Authority::make("Plant 4", &names(permitted), NOW, &random()).unwrap();
        let device = issue(&authority, "line-3", &key);
        assert!(shown(&Roots::of_fleet(authority.pem()).unwrap(), &device.pem, NOW).is_ok());
        // Its key is stolen, and the thief writes what he likes.
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = named("Plant 4");
        let stolen = KeyPair::try_from(authority.key().pkcs8()).unwrap();
        let thief = rcgen::Issuer::new(parameters, stolen);
        for name in ["a.example", "10.1.2.3", "b.example", "10.1.2.4", "fd00::1"] {
            let made = authority.issue_server(&names(&[name]), key.public(), NOW, &random());
            assert_eq!(made.is_ok(), permitted.contains(&name), "{permitted:?} {name}");
            let mut forged = CertificateParams::new(vec![name.to_owned()]).unwrap();
            forged.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let forged = forged.signed_by(&KeyPair::generate().unwrap(), &thief).unwrap().pem();
            let is_served = serves(authority.pem(), &forged, name).is_ok();
            assert_eq!(is_served, permitted.contains(&name), "{permitted:?} {name}");
        }
    }
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    for name in ["", " ", "a\0b", "Plant 4 ", "a\nb", "ä", &"a".repeat(65)] {
        let made = Authority::make(name, &[], NOW, &random());
        assert!(matches!(made, Err(AuthorityError::Name(_))), "{name:?}");
    }
    let long = format!("{}.example", "a".repeat(64));
    for name in
        ["", ".", "a.", ".a", "A.example", "*.example", "a b", "a_b", "-a", "a-", "1.2.3", &long]
    {
        assert!(name.parse::<ServerName>().is_err(), "{name:?}");
    }
    for name in ["a", "localhost", "line-3.plant.example", "127.0.0.1", "::1"] {
        assert_eq!(name.parse::<ServerName>().unwrap().to_string(), name);
    }
}
