//! Settings, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

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
        "{setting} {address} can be reached from other machines, and this server has no TLS yet: \
         use a loopback address (127.0.0.1 or [::1]), and a tunnel or a proxy with TLS for others"
    )]
    Exposed {
        /// The setting.
        setting: &'static str,
        /// Its address.
        address: SocketAddr,
    },
}

/// What a server is started with. Only [`Config::checked`] makes one.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) data: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) clock: ClockSaid,
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
        Ok(Config { data, http, mqtt, clock: ClockSaid::Nothing })
    }

    /// With what is said of the machine's clock.
    #[must_use]
    pub fn with_clock(self, clock: ClockSaid) -> Config {
        Config { clock, ..self }
    }
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
}
