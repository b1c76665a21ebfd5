//! The fleet's authority as it lies in the data folder, and the certificate that the server shows.

use crate::error::Error;
use crate::identity::TlsConfig;
use crate::store::{DataFolder, Readers};
use lineside_identity::{
    Authority, AuthorityError, DeviceKey, Phase, ServerName, Validity, read_chain,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use time::OffsetDateTime;

/// Where its key lies, and its certificate: among the keys, so that copies of the data folder have both.
const KEY: &str = "keys/authority.key";
const CERTIFICATE: &str = "keys/authority.pem";
/// The same certificate, for whoever installs devices.
const SHOWN: &str = "authority.pem";
/// How often the server looks at its own certificate: its clock may jump.
const LOOKED_EVERY: Duration = Duration::from_secs(60);

/// Opens the authority, and makes it at the first start with TLS.
///
/// # Errors
/// [`Error::Conflict`] if a file is damaged or gone, with what to do; [`Error::File`].
pub(crate) fn open(folder: &DataFolder, now: OffsetDateTime) -> Result<Authority, Error> {
    let random = SystemRandom::new();
    let path = folder.join(CERTIFICATE);
    let unusable = |error: &dyn std::error::Error| {
        Error::Conflict(format!(
            "the authority in {} and {} cannot be used: {}; restore both from a copy",
            folder.join(KEY).display(),
            path.display(),
            crate::error::chain(error)
        ))
    };
    // The certificate first: a key says that there is one, and without a key nobody was given it.
    let key = folder.secret(KEY, || {
        let authority = Authority::make(&name(&random)?, &[], now, &random)
            .map_err(|error| unusable(&error))?;
        folder.write(CERTIFICATE, authority.pem().as_bytes(), Readers::Owner)?;
        Ok(authority.key().to_pem().to_string())
    })?;
    let key = DeviceKey::from_pem(&key, &random).map_err(|error| unusable(&error))?;
    let pem = fs::read_to_string(&path).map_err(|error| unusable(&error))?;
    let authority = Authority::read(&pem, key).map_err(|error| unusable(&error))?;
    folder.write(SHOWN, authority.pem().as_bytes(), Readers::All)?;
    Ok(authority)
}

/// A name that no other fleet's authority has.
fn name(random: &SystemRandom) -> Result<String, Error> {
    let mut bytes = [0; 4];
    random.fill(&mut bytes).map_err(|_| Error::File {
        doing: "make an authority".into(),
        source: io::Error::other("the system gave no random bytes"),
    })?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("Lineside fleet {hex}"))
}

/// The certificate that the server shows: of a key in memory alone, and made anew in time.
pub(crate) struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<ServerName>,
    shown: RwLock<Shown>,
}

struct Shown {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

impl ServerCertificate {
    /// Makes the first.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the authority cannot make it.
    pub fn make(
        authority: Arc<Authority>,
        config: &TlsConfig,
        now: OffsetDateTime,
    ) -> Result<ServerCertificate, Error> {
        let names = config.names.clone();
        let shown = RwLock::new(made(&authority, &names, now).map_err(not_made)?);
        Ok(ServerCertificate { authority, names, shown })
    }

    /// Makes another where two thirds of the life of the one that is shown are over, or the clock says that
    /// it does not hold. Connections that are under way stay as they are.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn renew(&self, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let validity = self.shown.read().unwrap_or_else(PoisonError::into_inner).validity;
        match validity.phase(now, time::Duration::ZERO) {
            Phase::Fresh(_) => Ok(()),
            Phase::Early | Phase::Due | Phase::Lapsed | Phase::Over => {
                let new = made(&self.authority, &self.names, now)?;
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = new;
                Ok(())
            }
        }
    }

    /// Keeps it fresh, for as long as the server runs.
    pub async fn keep_fresh(self: Arc<ServerCertificate>) {
        let mut said = None;
        loop {
            tokio::time::sleep(LOOKED_EVERY).await;
            let error = self.renew(OffsetDateTime::now_utc()).err();
            if error != said {
                match &error {
                    Some(error) => {
                        tracing::error!("the server's certificate is not renewed: {error}")
                    }
                    None => tracing::info!("the server's certificate is renewed"),
                }
                said = error;
            }
        }
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerCertificate({:?})", self.names)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whoever asks for another name is shown this one, and sees for himself.
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

fn made(
    authority: &Authority,
    names: &[ServerName],
    now: OffsetDateTime,
) -> Result<Shown, AuthorityError> {
    let random = SystemRandom::new();
    let key = DeviceKey::generate(&random).map_err(|_| AuthorityError::Random)?;
    let issued = authority.issue_server(names, key.public(), now, &random)?;
    let chain = read_chain(&issued.pem)?.into_iter().map(CertificateDer::from).collect();
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
    let signing = any_supported_type(&secret).map_err(|_| AuthorityError::Random)?;
    let key = Arc::new(CertifiedKey::new(chain, signing));
    Ok(Shown { key, validity: issued.validity })
}

fn not_made(error: AuthorityError) -> Error {
    Error::Conflict(format!("the server's certificate cannot be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("data")).unwrap();
        (place, folder)
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_nobody_elses_to_read() {
        let (_place, folder) = folder();
        let pem = open(&folder, NOW).unwrap().pem().to_owned();
        assert_eq!(open(&folder, NOW).unwrap().pem(), pem);
        assert_eq!(fs::read_to_string(folder.join(SHOWN)).unwrap(), pem);
        let mode = |name| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(KEY), mode(SHOWN)), (0o600, 0o644));

        // Devices were installed with it, so another is not made in its place.
        fs::remove_file(folder.join(CERTIFICATE)).unwrap();
        let said = open(&folder, NOW).unwrap_err().to_string();
        assert!(said.contains("authority.pem") && said.contains("from a copy"), "{said}");
        // It was never shown to anybody.
        fs::remove_file(folder.join(KEY)).unwrap();
        assert_ne!(open(&folder, NOW).unwrap().pem(), pem);
    }

    #[test]
    fn the_servers_certificate_is_made_anew_when_two_thirds_of_its_life_are_over() {
        let (_place, folder) = folder();
        let config = TlsConfig {
            http: "127.0.0.1:0".parse().unwrap(),
            mqtt: "127.0.0.1:0".parse().unwrap(),
            names: vec!["server.plant".parse().unwrap()],
            lifetime: lineside_identity::Lifetime::of_days(7).unwrap(),
            grace: time::Duration::ZERO,
        };
        let authority = Arc::new(open(&folder, NOW).unwrap());
        let certificate = ServerCertificate::make(authority, &config, NOW).unwrap();
        let shown = || certificate.shown.read().unwrap().key.cert[0].clone();
        let first = shown();
        certificate.renew(NOW + time::Duration::days(19)).unwrap();
        assert_eq!(shown(), first);
        certificate.renew(NOW + time::Duration::days(21)).unwrap();
        let second = shown();
        assert_ne!(second, first);
        // The clock goes back to where it was.
        certificate.renew(NOW).unwrap();
        assert_ne!(shown(), second);
    }
}
