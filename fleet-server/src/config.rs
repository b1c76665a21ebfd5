//! Settings, checked.

use crate::identity::{self, TlsConfig, TlsFile};
use crate::monitor::{self, ChannelFile, Channels};
use crate::secret_file;
use crate::store::PostgresAt;
use lineside_trace::Tracer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error("{setting} {text:?} is no address with a port, as in 127.0.0.1:8080 or [::1]:8080")]
    Address {
        /// The setting.
        setting: &'static str,
        /// What it says.
        text: String,
    },
    /// Reachable by others, without encryption.
    #[error(
        "{setting} {address} can be reached from other machines, and has no TLS: use a loopback address \
         (127.0.0.1 or [::1]); others are served as the settings say below [tls], or through a tunnel or a \
         proxy with TLS"
    )]
    Exposed {
        /// The setting.
        setting: &'static str,
        /// Its address.
        address: SocketAddr,
    },
    /// The file of settings cannot be read.
    #[error("the settings {}: {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The database cannot be used.
    #[error("the address of the database, in {}: {problem}", path.display())]
    Database {
        /// Which file it stands in.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// TLS that cannot be served.
    #[error("tls: {0}")]
    Tls(String),
    /// A channel that nobody could be told by.
    #[error("channel {name}: {problem}")]
    Channel {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// The file of settings as written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    #[serde(default)]
    channels: BTreeMap<String, ChannelFile>,
    tls: Option<TlsFile>,
    #[serde(default)]
    traces: Option<TracesFile>,
}

/// Whom spans are told to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TracesFile {
    endpoint: String,
}

/// What a server is started with. Only [`Config::checked`] makes one.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) data: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) clock: ClockSaid,
    pub(crate) channels: Channels,
    /// How others than this machine are served; none where they are not.
    pub(crate) tls: Option<TlsConfig>,
    /// None for SQLite in the data folder.
    pub(crate) database: Option<PostgresAt>,
    pub(crate) traces: Tracer,
}

/// What the person who starts a server says of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSaid {
    /// Nothing: it is believed as far as that is plausible.
    Nothing,
    /// That it is right, however far ahead of the last signature it is.
    Right,
}

impl Config {
    /// Settings for a server that keeps its data in `data` and listens at two addresses of this
    /// machine; port 0 takes any free one.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn checked(data: PathBuf, http: &str, mqtt: &str) -> Result<Config, ConfigError> {
        let (http, mqtt) = (loopback("--http", http)?, loopback("--mqtt", mqtt)?);
        let (clock, channels) = (ClockSaid::Nothing, Channels::new());
        let (tls, database, traces) = (None, None, Tracer::off());
        Ok(Config { data, http, mqtt, clock, channels, tls, database, traces })
    }

    /// With what a file says: by which channels people are told of alerts, how others than this machine are served,
    /// and whom spans are told to. Files that it names are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError::File`], [`ConfigError::Tls`] and [`ConfigError::Channel`].
    pub fn with_settings(self, path: &Path) -> Result<Config, ConfigError> {
        let wrong = |problem: String| ConfigError::File { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: SettingsFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let traces = match file.traces {
            None => Tracer::off(),
            Some(TracesFile { endpoint }) => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let name = env!("CARGO_PKG_NAME").to_owned();
                let resource = vec![("service.name", name), ("service.version", version)];
                let tracer = Tracer::to(&endpoint, resource);
                tracer.map_err(|problem| wrong(format!("traces.endpoint: {problem}")))?
            }
        };
        let tls = file.tls.map(identity::checked).transpose().map_err(ConfigError::Tls)?;
        Ok(Config { channels: monitor::checked(file.channels, folder)?, tls, traces, ..self })
    }

    /// With the PostgreSQL database whose address a file has, instead of SQLite in the data folder. Nobody
    /// else may read the file, for a password may stand in it.
    ///
    /// # Errors
    /// [`ConfigError::Database`].
    pub fn with_database(self, path: &Path) -> Result<Config, ConfigError> {
        Ok(Config { database: Some(read_database(path)?), ..self })
    }

    /// With what is said of the machine's clock.
    #[must_use]
    pub fn with_clock(self, clock: ClockSaid) -> Config {
        Config { clock, ..self }
    }
}

/// The address of a database, from its file.
///
/// # Errors
/// [`ConfigError::Database`].
pub(crate) fn read_database(path: &Path) -> Result<PostgresAt, ConfigError> {
    let read = secret_file::read(path).and_then(|url| PostgresAt::parse(&url.0));
    read.map_err(|problem| ConfigError::Database { path: path.to_owned(), problem })
}

/// Whether a host, as an address names it, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn loopback(setting: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let text =
        text.strip_prefix("localhost:").map_or(text.to_owned(), |p| format!("127.0.0.1:{p}"));
    let address: SocketAddr =
        text.parse().map_err(|_| ConfigError::Address { setting, text: text.clone() })?;
    if !address.ip().is_loopback() {
        return Err(ConfigError::Exposed { setting, address });
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_served() {
        for good in ["127.0.0.1:0", "[::1]:8080", "localhost:1883", "127.0.0.9:1"] {
            assert!(Config::checked("x".into(), good, good).is_ok(), "{good}");
        }
        for exposed in ["0.0.0.0:8080", "192.168.0.3:80", "[::]:80"] {
            let error = Config::checked("x".into(), "127.0.0.1:0", exposed).unwrap_err();
            assert!(error.to_string().contains("--mqtt") && error.to_string().contains("TLS"));
        }
        let error = Config::checked("x".into(), "8080", "127.0.0.1:0").unwrap_err();
        assert!(error.to_string().contains("--http \"8080\""), "{error}");
    }

    /// A folder with what settings name, and these settings.
    fn folder(settings: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        write("hook.secret", "0123456789abcdef0123456789abcdef\n", 0o600);
        write("short.secret", "0123456789abcde\n", 0o600);
        write("open.secret", "0123456789abcdef0123456789abcdef\n", 0o644);
        write("mail.password", "password\n", 0o600);
        write("plant-ca.pem", CERTIFICATE, 0o644);
        let path = write("server.toml", settings, 0o644);
        (folder, path)
    }

    fn read(settings: &str) -> Result<Config, ConfigError> {
        let (_folder, path) = folder(settings);
        let address = "127.0.0.1:0";
        Config::checked("x".into(), address, address).unwrap().with_settings(&path)
    }

    #[test]
    fn the_reference_of_the_settings_holds_and_has_every_kind_of_channel() {
        let config = read(include_str!("../../docs/server.toml")).unwrap();
        let names: Vec<&str> = config.channels.keys().map(String::as_str).collect();
        assert_eq!(names, ["hall", "maintenance", "shift-leader", "training"]);
        let trains = |name: &str| config.channels[name].retrain;
        assert!(trains("training") && !trains("maintenance"));
        assert!(config.tls.is_some());
        let printed = format!("{config:?}");
        assert!(!printed.contains("0123456789abcdef"), "{printed}");
        assert!(!printed.contains("\"password\""), "{printed}");
    }

    #[test]
    fn a_channel_that_would_tell_secrets_or_nobody_is_refused_with_the_cure() {
        let hook = |url: &str, secret: &str| {
            format!("[channels.a]\nkind = \"webhook\"\nurl = {url:?}\nsecret_file = {secret:?}\n")
        };
        let mail = |host: &str, rest: &str| {
            format!(
                "[channels.a]\nkind = \"mail\"\nhost = {host:?}\nfrom = \"a@b.example\"\n\
                 to = [\"c@d.example\"]\n{rest}\n"
            )
        };
        for good in [
            hook("https://a.example/x", "hook.secret"),
            hook("http://localhost:8080/x", "hook.secret"),
            hook("http://[::1]:8080/x", "hook.secret"),
            mail("mail.example", ""),
            mail("127.0.0.1", "starttls = false\nport = 25"),
            String::new(),
        ] {
            read(&good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (wrong, words) in [
            (hook("http://a.example/x", "hook.secret"), "https://"),
            (hook("https://u:p@a.example/x", "hook.secret"), "signature"),
            (hook("/x", "hook.secret"), "name a host"),
            (hook("https://a.example", "short.secret"), "openssl rand"),
            (hook("https://a.example", "open.secret"), "chmod go="),
            (hook("https://a.example", "none.secret"), "cannot read"),
            (mail("mail.example", "starttls = false"), "starttls = true"),
            (mail("mail.example", "user = \"x\""), "password_file"),
            (mail("mail.example", "to_all = true"), "unknown field"),
            (mail("mail.example", "ca_file = \"hook.secret\""), "PEM"),
            ("[channels.a]\nkind = \"mqtt\"\ntopic = \"lineside/v1/x\"".into(), "lineside/alerts/"),
            ("[channels.a]\nkind = \"mqtt\"\ntopic = \"lineside/alerts/#\"".into(), "wildcards"),
            ("[channels.a]\nkind = \"fax\"".into(), "unknown variant"),
            ("[channels.A]\nkind = \"mqtt\"\ntopic = \"lineside/alerts/a\"".into(), "a-z"),
            ("[channel.a]".into(), "unknown field"),
        ] {
            let said = read(&wrong).unwrap_err().to_string();
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }

    const CERTIFICATE: &str = include_str!("../tests/server/plant-ca.pem");
}
