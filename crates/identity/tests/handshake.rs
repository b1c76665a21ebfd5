//! Our certificates in TLS, as device and server show them to each other: no sockets, only bytes.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_identity::{Authority, CertificateRequest, DeviceKey, Lifetime, Roots, read_chain};
use ring::rand::SystemRandom;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);
const SERVER: &str = "server.plant.example";

/// A clock that stands still.
#[derive(Debug)]
struct Clock(OffsetDateTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// A certificate with its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn shown(pem: &str, key: &DeviceKey) -> Shown {
    let chain = read_chain(pem).unwrap().into_iter().map(CertificateDer::from).collect();
    (chain, PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into())
}

fn authority() -> Authority {
    Authority::make("Plant 4", &[], NOW, &SystemRandom::new()).unwrap()
}

fn device(authority: &Authority) -> Shown {
    let random = SystemRandom::new();
    let key = DeviceKey::generate(&random).unwrap();
    let request = CertificateRequest::sign(&"line-3".parse().unwrap(), &key, &random).unwrap();
    let request = CertificateRequest::parse(&request).unwrap();
    let issued = authority.issue(&request, Lifetime::of_days(7).unwrap(), NOW, &random).unwrap();
    shown(&issued.pem, &key)
}

fn server(authority: &Authority) -> Shown {
    let random = SystemRandom::new();
    let key = DeviceKey::generate(&random).unwrap();
    let names = [SERVER.parse().unwrap()];
    shown(&authority.issue_server(&names, key.public(), NOW, &random).unwrap().pem, &key)
}

fn store(authority: &Authority) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in read_chain(authority.pem()).unwrap() {
        store.add(CertificateDer::from(root)).unwrap();
    }
    Arc::new(store)
}

/// What the server sees of a client: its certificates, or none.
fn meets(
    client: Option<&Shown>,
    server: &Shown,
    (trusts, version, now): (&Authority, &'static SupportedProtocolVersion, OffsetDateTime),
) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clock: Arc<dyn TimeProvider> = Arc::new(Clock(now));
    let verifier = WebPkiClientVerifier::builder_with_provider(store(trusts), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let serving = ServerConfig::builder_with_details(provider.clone(), clock.clone())
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.0.clone(), server.1.clone_key())?;
    let connecting = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[version])?
        .with_root_certificates(store(trusts));
    let mut connecting = match client {
        Some((chain, key)) => connecting.with_client_auth_cert(chain.clone(), key.clone_key())?,
        None => connecting.with_no_client_auth(),
    };
    connecting.resumption = Resumption::disabled();
    let mut client = ClientConnection::new(Arc::new(connecting), SERVER.try_into().unwrap())?;
    let mut server = ServerConnection::new(Arc::new(serving))?;
    for _ in 0..9 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let peer = server.peer_certificates();
    Ok(peer.map(|chain| chain.iter().map(|der| der.to_vec()).collect()))
}

#[test]
fn device_and_server_know_each_other() {
    let ours = authority();
    let (device, server) = (device(&ours), server(&ours));
    for version in [&TLS13, &TLS12] {
        let chain = meets(Some(&device), &server, (&ours, version, NOW)).unwrap().unwrap();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let peer = Roots::of_fleet(ours.pem()).unwrap().verify(&chain, NOW).unwrap();
        assert_eq!(peer.device().as_str(), "line-3");
    }
}

#[test]
fn who_has_no_certificate_yet_may_ask_for_one() {
    let ours = authority();
    for version in [&TLS13, &TLS12] {
        assert_eq!(meets(None, &server(&ours), (&ours, version, NOW)), Ok(None));
    }
}

#[test]
fn what_has_lapsed_or_is_foreign_or_for_something_else_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let (good, server) = (device(&ours), server(&ours));
    for version in [&TLS13, &TLS12] {
        let refused =
            |client: &Shown, now| meets(Some(client), &server, (&ours, version, now)).unwrap_err();
        let late = refused(&good, NOW + Duration::days(8));
        let lapsed = matches!(
            late,
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            )
        );
        assert!(lapsed, "{late:?}");
        assert!(matches!(refused(&device(&theirs), NOW), Error::InvalidCertificate(_)));
        // The server's certificate does not connect, and a device's does not serve.
        assert!(matches!(refused(&server, NOW), Error::InvalidCertificate(_)));
        let served = meets(Some(&good), &good, (&ours, version, NOW));
        assert!(matches!(served, Err(Error::InvalidCertificate(_))), "{served:?}");
        let foreign = meets(Some(&good), &self::server(&theirs), (&ours, version, NOW));
        assert!(matches!(foreign, Err(Error::InvalidCertificate(_))), "{foreign:?}");
    }
}
