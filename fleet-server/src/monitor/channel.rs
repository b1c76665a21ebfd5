//! Where alerts are told: webhooks, mail, MQTT. Read from the server's settings, checked once.

use crate::config::{ConfigError, is_loopback};
use crate::secret_file::{self, Secret};
use lettre::message::Mailbox;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::http::Uri;

/// Channels of a server.
const CHANNELS_MAX: usize = 32;
/// Longest name of a channel in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Shortest secret that signs what webhooks are told, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Below this lie the topics of alerts. No device's branch does.
pub(crate) const ALERTS_TOPIC: &str = "lineside/alerts/";
/// Longest topic in bytes.
const TOPIC_BYTES_MAX: usize = 200;
/// Port of mail that is submitted (RFC 6409).
const SUBMISSION_PORT: u16 = 587;

/// A channel as the settings have it.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ChannelFile {
    Webhook {
        url: String,
        secret_file: PathBuf,
        #[serde(default)]
        ca_file: Option<PathBuf>,
        #[serde(default)]
        retrain: bool,
    },
    Mail {
        host: String,
        #[serde(default)]
        port: Option<u16>,
        from: String,
        to: Vec<String>,
        #[serde(default)]
        user: Option<String>,
        #[serde(default)]
        password_file: Option<PathBuf>,
        #[serde(default)]
        starttls: Option<bool>,
        #[serde(default)]
        ca_file: Option<PathBuf>,
    },
    Mqtt {
        topic: String,
    },
}

/// Channels by name.
pub(crate) type Channels = BTreeMap<String, Channel>;

/// Where alerts are told.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    /// Whether it begins trainings, and is told of nothing else unless a rule names it.
    pub retrain: bool,
    pub way: Way,
}

/// How they are told there.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Webhook(Webhook),
    Mail(Mail),
    Mqtt { topic: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub url: String,
    pub secret: Secret,
    pub roots: Roots,
}

#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub host: String,
    pub port: u16,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub login: Option<(String, Secret)>,
    /// Whose certificates are believed; none where mail goes in the clear, on this machine.
    pub tls: Option<Roots>,
}

/// Who vouches for a server at the other end.
#[derive(Debug, Clone)]
pub(crate) enum Roots {
    /// Those whom this machine trusts.
    System,
    /// These.
    These(Arc<Vec<CertificateDer<'static>>>),
}

/// Checks the channels of settings in `folder`, to which their files are relative.
///
/// # Errors
/// [`ConfigError::Channel`] names the channel and what is wrong with it.
pub(crate) fn checked(
    files: BTreeMap<String, ChannelFile>,
    folder: &Path,
) -> Result<Channels, ConfigError> {
    if files.len() > CHANNELS_MAX {
        let problem = format!("there are {} channels, {CHANNELS_MAX} are kept", files.len());
        return Err(ConfigError::Channel { name: String::new(), problem });
    }
    let mut channels = Channels::new();
    for (name, file) in files {
        let channel = check_name(&name).and_then(|()| Channel::of(file, folder));
        let channel =
            channel.map_err(|problem| ConfigError::Channel { name: name.clone(), problem })?;
        channels.insert(name, channel);
    }
    Ok(channels)
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(format!("its name must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-'"));
    }
    Ok(())
}

impl Channel {
    fn of(file: ChannelFile, folder: &Path) -> Result<Channel, String> {
        let roots = |file: Option<PathBuf>| {
            file.map_or(Ok(Roots::System), |f| Roots::read(&folder.join(f)))
        };
        match file {
            ChannelFile::Webhook { url, secret_file, ca_file, retrain } => {
                check_url(&url)?;
                let secret = secret_file::read(&folder.join(secret_file))?;
                if secret.0.len() < SECRET_BYTES_MIN {
                    return Err(format!(
                        "its secret has fewer than {SECRET_BYTES_MIN} characters: make one with \
                         `openssl rand -hex 32`, and give the receiver the same"
                    ));
                }
                let way = Way::Webhook(Webhook { url, secret, roots: roots(ca_file)? });
                Ok(Channel { retrain, way })
            }
            ChannelFile::Mail { host, port, from, to, user, password_file, starttls, ca_file } => {
                let tls = match starttls.unwrap_or(true) {
                    true => Some(roots(ca_file)?),
                    false if is_loopback(&host) => None,
                    false => {
                        return Err(format!(
                            "{host} is another machine: mail goes there by `starttls = true` alone"
                        ));
                    }
                };
                let login = match (user, password_file) {
                    (Some(user), Some(file)) => {
                        Some((user, secret_file::read(&folder.join(file))?))
                    }
                    (None, None) => None,
                    _ => return Err("`user` and `password_file` go together".into()),
                };
                let mailbox = |text: &String| {
                    let parsed = text.parse::<Mailbox>();
                    parsed.map_err(|error| format!("{text:?} is no address of mail: {error}"))
                };
                let to = to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
                if to.is_empty() {
                    return Err("`to` names nobody".into());
                }
                let (port, from) = (port.unwrap_or(SUBMISSION_PORT), mailbox(&from)?);
                let mail = Mail { host, port, from, to, login, tls };
                Ok(Channel { retrain: false, way: Way::Mail(mail) })
            }
            ChannelFile::Mqtt { topic } => {
                let level = topic.strip_prefix(ALERTS_TOPIC).unwrap_or_default();
                let foreign = |char: char| char.is_control() || "+#\u{feff}".contains(char);
                if level.is_empty() || topic.len() > TOPIC_BYTES_MAX || topic.contains(foreign) {
                    return Err(format!(
                        "its topic must lie below {ALERTS_TOPIC}, as in {ALERTS_TOPIC}hall-2, without \
                         wildcards, in {TOPIC_BYTES_MAX} bytes at most"
                    ));
                }
                Ok(Channel { retrain: false, way: Way::Mqtt { topic } })
            }
        }
    }
}

/// Refuses an address that what is said could be read on the way to.
fn check_url(url: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("url {url:?} {why}"));
    let Ok(uri) = url.parse::<Uri>() else { return wrong("is none") };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return wrong("must begin with https://, and name a host");
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return wrong(
            "has a user in it, which would be told in logs: a receiver knows us by the signature",
        );
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback(host) => Ok(()),
        _ => wrong("must begin with https://: in the clear only this machine (127.0.0.1) is told"),
    }
}

impl Roots {
    fn read(path: &Path) -> Result<Roots, String> {
        let shown = path.display();
        let bytes = fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => {
                Ok(Roots::These(Arc::new(certificates)))
            }
            _ => Err(format!("{shown} has no certificates in it: it must be a file of PEM")),
        }
    }

    /// The certificates.
    pub fn certificates(&self) -> Arc<Vec<CertificateDer<'static>>> {
        match self {
            Roots::These(certificates) => certificates.clone(),
            Roots::System => Arc::new(rustls_native_certs::load_native_certs().certs),
        }
    }
}
