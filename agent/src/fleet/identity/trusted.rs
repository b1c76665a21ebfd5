//! Whom the device believes to be its server: whoever the authorities in `authority.pem` say it is.

use super::shared::IdentityError;
use super::whole_file;
use lineside_identity::{CertificateError, DeviceKey, Peer, Roots, read_chain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The file with the certificates of the fleet's authorities.
pub(super) const NAME: &str = "authority.pem";

/// Who is believed.
pub(super) struct Trusted {
    roots: Roots,
    server: Arc<ByClocks>,
}

impl Trusted {
    /// Reads the authorities in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Trusted, IdentityError> {
        let path = folder.join(NAME);
        let unread = |source| IdentityError::Read { path: path.clone(), source };
        let found = whole_file::read(&path).map_err(unread)?;
        let Some((pem, _)) = found else { return Err(IdentityError::NoAuthority { path }) };
        let unusable = |why: &dyn Error| {
            let (path, why) = (path.clone(), why.to_string());
            IdentityError::Authority { path, why }
        };
        let roots = Roots::of_fleet(&pem).map_err(|error| unusable(&error))?;
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let root = root.map_err(|error| unusable(&error))?;
            store.add(root).map_err(|error| unusable(&error))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
        let believes = verifier.build().map_err(|error| unusable(&error))?;
        let server = Arc::new(ByClocks { believes, floor: AtomicU64::new(0) });
        Ok(Trusted { roots, server })
    }

    /// Who a chain of certificates in PEM names, whenever that is.
    pub(super) fn named(&self, pem: &str) -> Result<(Peer, Vec<Vec<u8>>), CertificateError> {
        let chain = read_chain(pem)?;
        let slices: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let peer = self.roots.verify_whenever(&slices)?;
        Ok((peer, chain))
    }

    /// It is no earlier than this, in seconds since 1970: the server's clock has shown it.
    pub(super) fn is_later_than(&self, seconds: i64) {
        self.server.floor.fetch_max(u64::try_from(seconds).unwrap_or(0), Ordering::Relaxed);
    }

    /// Connections on which nothing is shown.
    pub(super) fn plain(&self) -> Result<ClientConfig, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.server.clone())
            .with_no_client_auth();
        Ok(without_resumption(config))
    }

    /// Connections on which these certificates are shown. They are for `key`, or it is an error.
    pub(super) fn showing(
        &self,
        chain: Vec<Vec<u8>>,
        key: &DeviceKey,
    ) -> Result<ClientConfig, rustls::Error> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivatePkcs8KeyDer::from(key.pkcs8().to_vec());
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.server.clone())
            .with_client_auth_cert(chain, key.into())?;
        Ok(without_resumption(config))
    }
}

/// A session that is gone on with shows no certificate, and a device has few connections.
fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// When there were no agents yet: 2026-01-01, in seconds since 1970. Whose clock shows less has none.
const FIRST: u64 = 1_767_225_600;

/// Believes as rustls does, at another time: many devices start in 1970, and go by their clock until they have
/// heard of a better one. What has begun later than the clock shows is believed, because nobody makes
/// certificates for later. A clock that shows [`FIRST`] or later says what has ended; instead of any other
/// it is the latest that the server's clock has shown. That one alone is not gone by for all: it might have
/// been wrong once, and every device would be cut off when it is set.
#[derive(Debug)]
struct ByClocks {
    believes: Arc<WebPkiServerVerifier>,
    /// Seconds since 1970.
    floor: AtomicU64,
}

impl ServerCertVerifier for ByClocks {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::NotValidYetContext;

        let now = match now.as_secs() {
            none @ ..FIRST => none.max(self.floor.load(Ordering::Relaxed)),
            shown => shown,
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        match self.believes.verify_server_cert(own, others, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidYetContext { not_before, .. })) => {
                self.believes.verify_server_cert(own, others, name, ocsp, not_before)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.believes.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.believes.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.believes.supported_verify_schemes()
    }
}

/// What TLS has said no about, if it was TLS.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its source is what comes after what it wraps.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Whether the server does not believe the certificate that it was shown.
pub fn is_unbelieved(error: &rustls::Error) -> bool {
    use AlertDescription::*;

    let rustls::Error::AlertReceived(alert) = error else { return false };
    matches!(
        alert,
        BadCertificate
            | UnsupportedCertificate
            | CertificateRevoked
            | CertificateExpired
            | CertificateUnknown
            | UnknownCA
            | AccessDenied
            | DecryptError
            | CertificateRequired
    )
}

/// What TLS says, for people: what is wrong, and what to do where that is known.
pub(super) fn in_words(error: &rustls::Error) -> String {
    use rustls::CertificateError::*;

    let rustls::Error::InvalidCertificate(invalid) = error else { return error.to_string() };
    match invalid {
        Expired | ExpiredContext { .. } => {
            "the server's certificate has ended by the clock of this device: set the clock, here or at the \
             server"
                .to_owned()
        }
        UnknownIssuer | BadSignature => format!(
            "who answers there is not the server that this device was installed for: the authority in {NAME} \
             has not made its certificate"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_identity::{Authority, ServerName as Name};
    use ring::rand::SystemRandom;
    use time::OffsetDateTime;

    /// 2026-11-27, 00:00 UTC.
    const NOW: i64 = 1_795_737_600;
    const DAY: i64 = 24 * 3_600;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn verified(trusted: &Trusted, pem: &str, now: i64) -> Result<(), String> {
        let der = read_chain(pem).unwrap().remove(0);
        let name = ServerName::try_from("server.plant").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap()));
        let verified =
            trusted.server.verify_server_cert(&CertificateDer::from(der), &[], &name, &[], now);
        verified.map(drop).map_err(|error| in_words(&error))
    }

    #[test]
    fn a_device_whose_clock_is_slow_knows_its_server_and_none_that_is_over() {
        let random = SystemRandom::new();
        let made = at(NOW - 100 * DAY);
        let authority = Authority::make("plant", &[], made, &random).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), authority.pem()).unwrap();
        let trusted = Trusted::read(folder.path()).unwrap();
        let names: [Name; 1] = ["server.plant".parse().unwrap()];
        let server = DeviceKey::generate(&random).unwrap();
        let issue = |now| authority.issue_server(&names, server.public(), at(now), &random);
        let (before, now) = (issue(NOW - 40 * DAY).unwrap().pem, issue(NOW).unwrap().pem);
        // In 1970, as a clock without a battery shows it.
        assert_eq!(verified(&trusted, &now, 0), Ok(()));
        assert_eq!(verified(&trusted, &now, NOW), Ok(()));
        // One that has ended was believed by who did not know better, and is not any more.
        assert_eq!(verified(&trusted, &before, 0), Ok(()));
        trusted.is_later_than(NOW);
        trusted.is_later_than(NOW - 50 * DAY);
        trusted.is_later_than(-1);
        assert!(verified(&trusted, &before, 0).unwrap_err().contains("set the clock"));
        assert_eq!(verified(&trusted, &now, 0), Ok(()));
        // Who has a clock is not cut off by a server whose clock was ahead once.
        trusted.is_later_than(NOW + 5_000 * DAY);
        assert_eq!(verified(&trusted, &now, NOW), Ok(()));
        assert!(verified(&trusted, &now, 0).is_err());
        assert!(verified(&trusted, &before, NOW).is_err());
        assert!(verified(&trusted, &now, NOW + 31 * DAY).unwrap_err().contains("set the clock"));

        let others = Authority::make("plant", &[], made, &random).unwrap();
        let theirs = others.issue_server(&names, server.public(), at(NOW), &random).unwrap().pem;
        assert!(verified(&trusted, &theirs, NOW).unwrap_err().contains("was installed for"));
        let elsewhere: [Name; 1] = ["10.0.0.5".parse().unwrap()];
        let theirs =
            authority.issue_server(&elsewhere, server.public(), at(NOW), &random).unwrap().pem;
        assert!(verified(&trusted, &theirs, NOW).is_err());
    }

    #[test]
    fn what_tls_says_is_found_wherever_it_is_wrapped() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, alert.clone());
        let twice = io::Error::other(wrapped);
        let found = tls_error(&twice).unwrap();
        assert_eq!(*found, alert);
        assert!(is_unbelieved(found));
        assert!(!is_unbelieved(&rustls::Error::AlertReceived(AlertDescription::CloseNotify)));
        assert!(tls_error(&io::Error::other("x")).is_none());
        assert!(tls_error(&io::Error::from(io::ErrorKind::TimedOut)).is_none());
    }
}
