//! What stands in the folder that a device is installed with.

use anyhow::Context;
use serde::Serialize;
use ureq::http::uri::Authority;

/// Identity and addresses, as the agent reads them.
pub(super) const DEVICE: &str = "device.toml";
/// The certificates of the authorities by which the server is known.
pub(super) const AUTHORITY: &str = "authority.pem";
/// The token with which the device joins.
pub(super) const JOIN_TOKEN: &str = "join-token";
/// Where a broker listens that nobody told otherwise.
pub(super) const MQTT_PORT: u16 = 1883;

/// `device.toml`: of a device with a password, or of one that comes by a key of its own.
#[derive(Default, Serialize)]
pub(super) struct DeviceFile<'a> {
    pub device: &'a str,
    pub server_http: &'a str,
    pub mqtt_host: &'a str,
    pub mqtt_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<&'a str>,
}

impl DeviceFile<'_> {
    /// As it stands in the file.
    pub fn written(&self) -> anyhow::Result<String> {
        toml::to_string(self).with_context(|| format!("what the server told fits no {DEVICE}"))
    }
}

/// Host and port of a broker's address; the port that brokers have where there is none.
pub(super) fn host_and_port(written: &str) -> anyhow::Result<(String, u16)> {
    let authority: Authority = written
        .parse()
        .with_context(|| format!("{written:?} is no address of a broker; write HOST:PORT"))?;
    let port = authority.port_u16().unwrap_or(MQTT_PORT);
    Ok((authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_password_or_tls_and_a_broker_a_port() {
        let by_key = DeviceFile {
            device: "line-3",
            server_http: "https://mill:8443",
            mqtt_host: "mill",
            mqtt_port: 8883,
            mqtt_tls: Some(true),
            ..DeviceFile::default()
        };
        assert_eq!(
            by_key.written().unwrap(),
            "device = \"line-3\"\nserver_http = \"https://mill:8443\"\nmqtt_host = \"mill\"\n\
             mqtt_port = 8883\nmqtt_tls = true\n"
        );
        assert_eq!(host_and_port("mill:8883").unwrap(), ("mill".to_owned(), 8883));
        assert_eq!(host_and_port("[::1]:8883").unwrap(), ("::1".to_owned(), 8883));
        assert_eq!(host_and_port("mill").unwrap(), ("mill".to_owned(), MQTT_PORT));
        assert!(host_and_port("a b").is_err());
    }
}
