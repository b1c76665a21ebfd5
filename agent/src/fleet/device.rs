//! Who this device is and how it reaches its server: the folder that `lineside device add` or `device token`
//! made.

use crate::fleet::identity::{Identity, IdentityError};
use lineside_identity::HardwareSerial;
use lineside_trust::{KeyError, KeyPair};
use lineside_wire::name::DeviceId;
use serde::Deserialize;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest file of the folder that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the device's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be read.
    #[error("cannot read {}; was it made by `lineside device add`?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the password or the key.
    #[error("{} may be read by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Far larger than it could be.
    #[error("{} has {size} bytes, at most {FILE_BYTES_MAX} are read", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Its contents.
    #[error("{} cannot be used", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// Why, with the line.
        source: toml::de::Error,
    },
    /// The key that signs reports.
    #[error("{} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Settings that do not belong together.
    #[error("{}: {problem}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// Its key and what belongs to that.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// `device.toml` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    device: DeviceId,
    server_http: String,
    mqtt_host: String,
    mqtt_port: u16,
    #[serde(default)]
    mqtt_tls: bool,
    user: Option<String>,
    password: Option<String>,
    serial: Option<HardwareSerial>,
}

/// The part of `device.toml` that names the device.
#[derive(Deserialize)]
struct NameFile {
    device: DeviceId,
}

/// A password. Never printed.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Hides a text.
    pub fn of(text: String) -> Password {
        Password(text)
    }

    /// The password itself, for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How a device shows the server who it is.
#[derive(Debug, Clone)]
pub enum Proof {
    /// By a password, without TLS: server and agent are on one machine, or at the ends of a tunnel.
    Password {
        /// User name at broker and HTTP interface.
        user: String,
        /// Password at broker and HTTP interface.
        password: Password,
    },
    /// By a key of its own, over TLS.
    Key(Identity),
}

/// What a device is installed with.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Base URL of the server's HTTP interface, without a slash at the end.
    pub server_http: String,
    /// Host of the server's broker.
    pub mqtt_host: String,
    /// Port of the server's broker.
    pub mqtt_port: u16,
    /// How it shows who it is.
    pub proof: Proof,
    /// The root document that the device was installed with, as received.
    pub root: Vec<u8>,
}

impl Device {
    /// Reads `device.toml` and `root.json` from `folder`, and what belongs to its key, if it has one. The key
    /// is made if it is not there yet.
    ///
    /// # Errors
    /// [`DeviceError`]; a password or a key that others may read is refused.
    pub fn read(folder: &Path) -> Result<Device, DeviceError> {
        let path = folder.join("device.toml");
        let (text, mode) = read(&path)?;
        if mode & 0o077 != 0 {
            return Err(DeviceError::Mode { path, mode });
        }
        let file: DeviceFile = match toml::from_slice(&text) {
            Ok(file) => file,
            Err(source) => return Err(DeviceError::Contents { path, source }),
        };
        let root = read(&folder.join("root.json"))?.0;
        let proof = proof(folder, &path, &file)?;
        Ok(Device {
            id: file.device,
            server_http: file.server_http.trim_end_matches('/').to_owned(),
            mqtt_host: file.mqtt_host,
            mqtt_port: file.mqtt_port,
            proof,
            root,
        })
    }

    /// The name in `device.toml` of `folder`, whatever else is wrong there: what runs on the device needs
    /// nothing more of it.
    ///
    /// # Errors
    /// [`DeviceError::Read`], [`DeviceError::Size`], [`DeviceError::Contents`].
    pub fn name(folder: &Path) -> Result<DeviceId, DeviceError> {
        let path = folder.join("device.toml");
        let (text, _) = read(&path)?;
        match toml::from_slice(&text) {
            Ok(NameFile { device }) => Ok(device),
            Err(source) => Err(DeviceError::Contents { path, source }),
        }
    }

    /// The key in `report.pem` of `folder`, which signs what is carried to the server by hand.
    ///
    /// # Errors
    /// [`DeviceError`]; a key that others may read is refused.
    pub fn report_key(folder: &Path) -> Result<KeyPair, DeviceError> {
        let path = folder.join("report.pem");
        let (text, mode) = read(&path)?;
        if mode & 0o077 != 0 {
            return Err(DeviceError::Mode { path, mode });
        }
        KeyPair::from_pem(&String::from_utf8_lossy(&text))
            .map_err(|source| DeviceError::Key { path, source })
    }

    /// Host and port of the server's broker, for people.
    pub fn mqtt_end(&self) -> String {
        format!("{}:{}", self.mqtt_host, self.mqtt_port)
    }
}

/// How the device shows who it is: passwords go where nobody listens, keys by TLS.
fn proof(folder: &Path, path: &Path, file: &DeviceFile) -> Result<Proof, DeviceError> {
    let wrong = |problem| Err(DeviceError::Settings { path: path.to_owned(), problem });
    let is_https = file.server_http.starts_with("https://");
    match (&file.user, &file.password) {
        (Some(_), Some(_)) if file.mqtt_tls || is_https => wrong(
            "a device comes by TLS with a key and not with a password: make its folder with \
             `lineside device token NAME -o DIR`, or leave out mqtt_tls and name the server by http:// where it \
             is on this machine",
        ),
        (Some(user), Some(password)) => {
            Ok(Proof::Password { user: user.clone(), password: Password::of(password.clone()) })
        }
        (None, None) if !file.mqtt_tls || !is_https => wrong(
            "a device without user and password comes by its key, over TLS alone: mqtt_tls = true and a \
             server_http of https:// are needed, as `lineside device token NAME -o DIR` writes them",
        ),
        (None, None) => Ok(Proof::Key(Identity::open(folder, &file.device, file.serial.clone())?)),
        _ => wrong("user and password belong together, or neither is there"),
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), DeviceError> {
    let failed = |source| DeviceError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let size = metadata.len();
    if size > FILE_BYTES_MAX {
        return Err(DeviceError::Size { path: path.to_owned(), size });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok((bytes, metadata.permissions().mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "device = \"line-3\"\nserver_http = \"http://127.0.0.1:8080/\"\nmqtt_host = \"127.0.0.1\"\nmqtt_port = 1883\nuser = \"line-3\"\npassword = \"secret\"\n";

    fn folder(contents: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(folder.path().join("root.json"), b"{}").unwrap();
        folder
    }

    fn error(contents: &str, mode: u32) -> String {
        let error = Device::read(folder(contents, mode).path()).unwrap_err();
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn a_device_knows_its_name_and_hides_its_password() {
        let device = Device::read(folder(FILE, 0o600).path()).unwrap();
        assert_eq!(device.id.as_str(), "line-3");
        assert_eq!(device.server_http, "http://127.0.0.1:8080");
        let Proof::Password { user, password } = &device.proof else { panic!("{device:?}") };
        assert_eq!((user.as_str(), password.reveal()), ("line-3", "secret"));
        assert!(!format!("{device:?}").contains("secret"));
    }

    #[test]
    fn a_password_that_others_may_read_is_refused_and_the_remedy_named() {
        let error = error(FILE, 0o644);
        assert!(error.contains("chmod 600") && error.contains("644"), "{error}");
        let folder = folder(&format!("{FILE}colour = 1\n"), 0o644);
        assert_eq!(Device::name(folder.path()).unwrap().as_str(), "line-3");
    }

    #[test]
    fn unknown_keys_are_named_and_tls_and_passwords_exclude_each_other() {
        assert!(error(&format!("{FILE}colour = 1\n"), 0o600).contains("colour"));
        let said = error(&format!("{FILE}mqtt_tls = true\n"), 0o600);
        assert!(said.contains("lineside device token"), "{said}");
        let said = error(&FILE.replace("http://", "https://"), 0o600);
        assert!(said.contains("lineside device token"), "{said}");
        let half = FILE.replace("password = \"secret\"\n", "");
        assert!(error(&half, 0o600).contains("belong together"));
        let neither = half.replace("user = \"line-3\"\n", "");
        assert!(error(&neither, 0o600).contains("mqtt_tls = true"));
        assert!(error(&format!("{neither}mqtt_tls = true\n"), 0o600).contains("https://"));
    }

    #[test]
    fn a_device_by_key_needs_the_authority_to_know_its_server_by() {
        let file = "device = \"line-3\"\nserver_http = \"https://mill:8443\"\nmqtt_host = \"mill\"\n\
                    mqtt_port = 8883\nmqtt_tls = true\nserial = \"A-1\"\n";
        let said = error(file, 0o600);
        assert!(
            said.contains("authority.pem is missing") && said.contains("device token -o"),
            "{said}"
        );
        let folder = folder(file, 0o600);
        std::fs::write(folder.path().join("authority.pem"), "nothing").unwrap();
        let said = Device::read(folder.path()).unwrap_err().to_string();
        assert!(said.contains("authority.pem cannot be used"), "{said}");
        // Nothing was made for a device that cannot come.
        assert!(!folder.path().join("identity.pem").exists());
    }
}
