//! `lineside device add` and `device reissue`: a folder that only this device is installed with.

use crate::connection::Connection;
use crate::device::folder::{DEVICE, DeviceFile, MQTT_PORT, host_and_port};
use crate::keys::KEYS;
use crate::keys::folder::{KeyFolder, ROOT};
use crate::new_files::{NewFiles, Readers};
use crate::output::{Output, Usage};
use crate::server::{Credentials, NewDevice, Server};
use anyhow::Context;
use clap::Args;
use lineside_trust::KeyPair;
use lineside_wire::name::DeviceId;
use ring::rand::SystemRandom;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use ureq::http::uri::Authority;

/// The key that signs what is carried from the device to the server.
const REPORT_KEY: &str = "report.pem";

#[derive(Args)]
pub struct Add {
    /// The device's name.
    name: DeviceId,
    #[command(flatten)]
    place: Place,
    /// The place it stands.
    #[arg(long)]
    site: Option<String>,
    /// A mark for selecting, as in --label line=3; as many as you like.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

#[derive(Args)]
pub struct Reissue {
    /// The device's name.
    name: DeviceId,
    #[command(flatten)]
    place: Place,
}

/// The folder that a device is installed with, and what stands in it.
#[derive(Args)]
struct Place {
    /// The folder to make; nothing in it is written over.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The folder with the root.json that the device shall trust.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Where the device finds the broker [default: as in --data, or port 1883 of the server].
    #[arg(long, value_name = "HOST:PORT", value_parser = broker_end)]
    mqtt: Option<Authority>,
}

pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, as in line=3".into()),
    }
}

/// An address with host and port: a word without one is more likely a slip than a host.
fn broker_end(text: &str) -> Result<Authority, String> {
    let end = text.parse::<Authority>().ok();
    let end = end.filter(|end| !end.host().is_empty() && !text.contains('@'));
    end.filter(|end| end.port_u16().is_some_and(|port| port > 0))
        .ok_or_else(|| "write HOST:PORT, as in 127.0.0.1:1883".to_owned())
}

pub fn run(add: &Add, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Add { name, place, site, labels } = add;
    let mut marks = BTreeMap::new();
    for (key, value) in labels {
        if marks.insert(key.clone(), value.clone()).is_some() {
            return Err(Usage(format!("--label {key} is given twice; one value each")).into());
        }
    }
    let device = NewDevice { name: name.as_str(), site: site.as_deref(), labels: &marks };
    make(name, place, connection, output, |server| server.add_device(&device))
}

pub fn again(reissue: &Reissue, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Reissue { name, place } = reissue;
    make(name, place, connection, output, |server| server.new_password(name.as_str()))
}

/// Makes the folder, with the credentials that `ask` gets from the server.
fn make(
    name: &DeviceId,
    place: &Place,
    connection: &Connection,
    output: &Output,
    ask: impl FnOnce(&Server) -> anyhow::Result<Credentials>,
) -> anyhow::Result<()> {
    let Place { output: folder, keys, mqtt } = place;
    let keys = KeyFolder::open(keys)?;
    let server = Server::at(connection)?;
    keys.compare(server.url(), server.root()?.as_deref())?;
    let (mqtt_host, mqtt_port) = broker(mqtt.as_ref(), connection, server.url())?;

    // The password is told once: whether it can be written down is found out before.
    let files = NewFiles::reserve(
        folder,
        &[
            (DEVICE.to_owned(), Readers::Owner),
            (REPORT_KEY.to_owned(), Readers::Owner),
            (ROOT.to_owned(), Readers::All),
        ],
    )?;
    files.fill(ROOT, keys.root().bytes())?;
    let report_key = KeyPair::generate(&SystemRandom::new())?;
    files.fill(REPORT_KEY, report_key.to_pem().as_bytes())?;
    let credentials = ask(&server)?;
    let file = DeviceFile {
        device: name.as_str(),
        server_http: server.url(),
        mqtt_host: &mqtt_host,
        mqtt_port,
        user: Some(&credentials.user),
        password: Some(&credentials.password),
        ..DeviceFile::default()
    };
    files.fill(DEVICE, file.written()?.as_bytes())?;
    files.keep();
    server.put_report_key(name.as_str(), &report_key.public()).with_context(|| {
        format!(
            "{} is made, and the server does not know its key for reports; if the device is to have \
             no network, make the folder again: lineside device reissue {name}",
            folder.display()
        )
    })?;

    let here = folder.display();
    let text = format!(
        "{here}: {DEVICE}, {ROOT}, {REPORT_KEY}\nTake this folder to {name} and name it as device_dir in its \
         agent.toml; an agent that runs there has to be started again. Its password is nowhere else."
    );
    let json = json!({ "device": name, "folder": folder, "server_http": server.url(),
        "mqtt": format!("{mqtt_host}:{mqtt_port}"), "root_version": keys.root().version() });
    output.print(text, &json)
}

/// Host and port of the broker: as told, as in the server's data folder, or beside the server.
fn broker(
    told: Option<&Authority>,
    connection: &Connection,
    url: &str,
) -> anyhow::Result<(String, u16)> {
    let written = match (told, connection.broker()?) {
        (Some(told), _) => told.to_string(),
        (None, Some(written)) => written,
        (None, None) => {
            let host = url.parse::<ureq::http::Uri>()?.host().unwrap_or_default().to_owned();
            format!("{host}:{MQTT_PORT}")
        }
    };
    host_and_port(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_host_and_a_port() {
        for text in ["127.0.0.1:1883", "mill.example:8883", "[::1]:1883"] {
            assert_eq!(broker_end(text).unwrap().to_string(), text);
        }
        for text in
            ["garbage", "", ":1883", "mill:", "mill:0", "mill:99999", "mill:x", "a@b:1", "a b:1"]
        {
            assert!(broker_end(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_a_value() {
        assert_eq!(label("line=3"), Ok(("line".into(), "3".into())));
        assert_eq!(label("note=a=b"), Ok(("note".into(), "a=b".into())));
        assert!(label("line").is_err());
        assert!(label("=3").is_err());
    }
}
