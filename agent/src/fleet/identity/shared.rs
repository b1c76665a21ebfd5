//! The device's identity as all of the agent shares it.

use super::certificate_file::CertificateFile;
use super::key_file;
use super::report::Standing;
use super::token_file::TokenFile;
use super::trusted::Trusted;
use lineside_identity::{CertificateRequest, DeviceKey, Fingerprint, HardwareSerial, KeyError};
use lineside_wire::name::DeviceId;
use ring::rand::SystemRandom;
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

/// Why a device has no identity, or cannot keep it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(
        "cannot write {}: the user that the agent runs as has to be able to write in this folder, where the \
         device's key and certificate are kept", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key or the token.
    #[error("{} may be read by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key.
    #[error("{} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Nothing to know the server by.
    #[error(
        "{} is missing, by which the server is known: it is in the folder that `lineside device token -o` makes",
        path.display()
    )]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The certificates of the authorities.
    #[error("{} cannot be used: {why}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What a connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// The newest certificate.
    Certificate,
    /// Nothing: for who has no certificate, or none that is believed.
    Nothing,
}

/// There is no certificate to show.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotShown {
    /// There is none yet.
    #[error("the device has no certificate yet; `lineside-agent status` says what it waits for")]
    None,
    /// TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A certificate of this device and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// When it ends.
    pub ends: OffsetDateTime,
    /// What shows it.
    config: Arc<ClientConfig>,
}

/// The device's identity. Cloned, it is the same.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    device: DeviceId,
    serial: Option<HardwareSerial>,
    key: DeviceKey,
    random: SystemRandom,
    trusted: Trusted,
    token: TokenFile,
    file: CertificateFile,
    certificate: watch::Sender<Option<Certificate>>,
    standing: watch::Sender<Standing>,
    unbelieved: Notify,
}

impl Identity {
    /// The identity of `device` in its folder, whose label has `serial`. Makes the key where there is none.
    ///
    /// # Errors
    /// [`IdentityError`]. A certificate that is of no use is no error: there will be another.
    pub fn open(
        folder: &Path,
        device: &DeviceId,
        serial: Option<HardwareSerial>,
    ) -> Result<Identity, IdentityError> {
        let trusted = Trusted::read(folder)?;
        let random = SystemRandom::new();
        let identity = Identity(Arc::new(Parts {
            device: device.clone(),
            serial,
            key: key_file::open(folder, &random)?,
            random,
            trusted,
            token: TokenFile::of(folder),
            file: CertificateFile::of(folder),
            certificate: watch::Sender::default(),
            standing: watch::Sender::default(),
            unbelieved: Notify::new(),
        }));
        match identity.0.file.read() {
            Ok(Some(pem)) => {
                if let Err(why) = identity.take(&pem) {
                    let path = identity.0.file.path().display();
                    tracing::warn!(
                        "{path} is not used, and the server is asked for another: {why}"
                    );
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{}", crate::error::chain(error)),
        }
        Ok(identity)
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.0.device
    }

    /// Its serial number, where it was told one.
    pub(super) fn serial(&self) -> Option<&HardwareSerial> {
        self.0.serial.as_ref()
    }

    /// Fingerprint of its key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.key.fingerprint()
    }

    /// What connections begin with that show this.
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn config(&self, shows: Shows) -> Result<Arc<ClientConfig>, NotShown> {
        match shows {
            Shows::Certificate => self.certificate().map(|it| it.config).ok_or(NotShown::None),
            Shows::Nothing => Ok(Arc::new(self.0.trusted.plain()?)),
        }
    }

    /// The newest certificate, if there is any.
    pub fn certificate(&self) -> Option<Certificate> {
        self.0.certificate.borrow().clone()
    }

    /// Waits for a certificate, and gives what connections begin with that show the newest one.
    pub async fn certified(&self) -> Arc<ClientConfig> {
        let mut certificate = self.0.certificate.subscribe();
        match certificate.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(found)) => found.config,
            // Nobody ends the other side of this while it is asked.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The server has not believed the certificate, or has not let in who has shown it.
    pub fn was_not_believed(&self) {
        self.0.unbelieved.notify_one();
    }

    /// The server has let in who has shown the certificate.
    pub fn was_let_in(&self) {
        self.0.standing.send_if_modified(|standing| {
            let is_news = *standing != Standing::Accepted;
            *standing = Standing::Accepted;
            is_news
        });
    }

    /// Waits until [`Identity::was_not_believed`].
    pub(super) async fn unbelieved(&self) {
        self.0.unbelieved.notified().await;
    }

    /// How the device stands at the server, as far as it has heard.
    pub fn standing(&self) -> Standing {
        self.0.standing.borrow().clone()
    }

    /// Gives what was said before.
    pub(super) fn stands(&self, standing: Standing) -> Standing {
        self.0.standing.send_replace(standing)
    }

    /// Asks for a certificate, as PEM.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn request(&self) -> Result<String, KeyError> {
        CertificateRequest::sign(&self.0.device, &self.0.key, &self.0.random)
    }

    pub(super) fn token(&self) -> &TokenFile {
        &self.0.token
    }

    pub(super) fn file(&self) -> &CertificateFile {
        &self.0.file
    }

    /// It is no earlier than this, in seconds since 1970.
    pub(super) fn is_later_than(&self, seconds: i64) {
        self.0.trusted.is_later_than(seconds);
    }

    /// Shows this certificate from now on, if it is for this device and key and made by the fleet's authority.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn take(&self, pem: &str) -> Result<(), String> {
        let (peer, chain) = self.0.trusted.named(pem).map_err(|error| error.to_string())?;
        if *peer.device() != self.0.device {
            return Err(format!("the certificate names {}", peer.device()));
        }
        if peer.key() != self.fingerprint() {
            return Err("the certificate is for another key".to_owned());
        }
        let config =
            self.0.trusted.showing(chain, &self.0.key).map_err(|error| error.to_string())?;
        self.0.trusted.is_later_than(peer.validity().not_before().unix_timestamp());
        let ends = peer.validity().not_after();
        self.0.certificate.send_replace(Some(Certificate { ends, config: Arc::new(config) }));
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.0.device, self.fingerprint())
    }
}
