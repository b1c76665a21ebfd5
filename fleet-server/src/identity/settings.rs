//! `[tls]` in the settings: where others than this machine are served, and how long certificates last.

use lineside_identity::{Lifetime, SERVER_NAMES_MAX, ServerName};
use serde::Deserialize;
use std::net::SocketAddr;
use time::Duration;

/// Longest time, in days, for which a certificate that has ended may be renewed.
const GRACE_DAYS_MAX: u16 = 3_650;

/// As it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFile {
    http: String,
    mqtt: String,
    names: Vec<String>,
    #[serde(default = "lifetime_days")]
    lifetime_days: u8,
    #[serde(default = "grace_days")]
    grace_days: u16,
}

fn lifetime_days() -> u8 {
    14
}

fn grace_days() -> u16 {
    180
}

/// As it is needed.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfig {
    /// Where pages and HTTP interface are for others.
    pub http: SocketAddr,
    /// Where the broker is for others.
    pub mqtt: SocketAddr,
    /// By what the server is reached.
    pub names: Vec<ServerName>,
    /// How long a device's certificate lasts.
    pub lifetime: Lifetime,
    /// How long after its end it may be renewed.
    pub grace: Duration,
}

/// What is written, if it can be used.
///
/// # Errors
/// A sentence: what is wrong, and what to do.
pub(crate) fn checked(file: TlsFile) -> Result<TlsConfig, String> {
    let (http, mqtt) = (address("http", &file.http, 8443)?, address("mqtt", &file.mqtt, 8883)?);
    if !(1..=SERVER_NAMES_MAX).contains(&file.names.len()) {
        return Err(format!(
            "names: 1 to {SERVER_NAMES_MAX} host names or addresses by which devices reach this server"
        ));
    }
    let names: Result<Vec<ServerName>, _> = file.names.iter().map(|name| name.parse()).collect();
    if file.grace_days > GRACE_DAYS_MAX {
        return Err(format!("grace_days: at most {GRACE_DAYS_MAX}"));
    }
    Ok(TlsConfig {
        http,
        mqtt,
        names: names.map_err(|error| format!("names: {error}"))?,
        lifetime: Lifetime::of_days(file.lifetime_days)
            .map_err(|error| format!("lifetime_days: {error}"))?,
        grace: Duration::days(file.grace_days.into()),
    })
}

fn address(key: &str, text: &str, port: u16) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{key}: {text:?} is no address with a port, as in 0.0.0.0:{port} or [::]:{port}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TlsConfig, String> {
        checked(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn what_nobody_could_be_served_by_is_refused_with_the_cure() {
        let good = "http = \"0.0.0.0:8443\"\nmqtt = \"0.0.0.0:8883\"\nnames = [\"server.plant\", \"10.0.0.5\"]\n";
        let config = read(good).unwrap();
        assert_eq!(config.lifetime.span(), Duration::days(14));
        assert_eq!((config.names.len(), config.grace), (2, Duration::days(180)));
        for (wrong, words) in [
            ("http = \"8443\"\nmqtt = \"[::]:1\"\nnames = [\"a\"]", "0.0.0.0:8443"),
            ("http = \"[::]:1\"\nmqtt = \"[::]\"\nnames = [\"a\"]", "0.0.0.0:8883"),
            ("http = \"[::]:1\"\nmqtt = \"[::]:2\"\nnames = []", "1 to 16"),
            ("http = \"[::]:1\"\nmqtt = \"[::]:2\"\nnames = [\"https://a\"]", "host name"),
            ("http = \"[::]:1\"\nnames = [\"a\"]", "missing field"),
            ("names = [\"a\"]", "missing field"),
            (&format!("{good}lifetime_days = 1"), "7 to 30 days"),
            (&format!("{good}grace_days = 4000"), "at most 3650"),
            (&format!("{good}key = \"x\""), "unknown field"),
        ] {
            let said = read(wrong).unwrap_err();
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }
}
