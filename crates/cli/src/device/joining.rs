//! Devices that join the server by a key of their own: the token that one is given, and what a person decides
//! about its key.

use crate::connection::Connection;
use crate::device::add::label;
use crate::device::folder::{AUTHORITY, DEVICE, DeviceFile, JOIN_TOKEN, host_and_port};
use crate::keys::KEYS;
use crate::keys::folder::{KeyFolder, ROOT};
use crate::new_files::{NewFiles, Readers};
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::Context;
use clap::Args;
use lineside_wire::name::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::macros::format_description;

#[derive(Args)]
pub struct Token {
    /// The only device that may join with it; any may where none is named.
    device: Option<DeviceId>,
    /// The only serial number that may join with it, as the device's label has it.
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// Hours for which it is good: 1 to 720.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    hours: u16,
    /// The place it will stand.
    #[arg(long)]
    site: Option<String>,
    /// A mark for selecting, as in --label line=3; as many as you like.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The folder to make, which the device is installed with; nothing in it is written over. Without it the
    /// token alone is told.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The folder with the root.json that the device shall trust.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
}

#[derive(Args)]
pub struct Judged {
    /// The device.
    device: DeviceId,
    /// Fingerprint of its key: 64 hex digits. Compare it with what the device itself shows.
    key: String,
}

#[derive(Args)]
pub struct Placed {
    /// The device.
    device: DeviceId,
    /// The place it stands; none where this is left out.
    #[arg(long)]
    site: Option<String>,
    /// A mark for selecting, as in --label line=3; as many as you like. Those that are not named are gone.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

/// What the server says of a token that it has made.
#[derive(Deserialize)]
struct Made {
    token: String,
    /// Where devices find it.
    https: Option<String>,
    mqtts: Option<String>,
    /// By which they know it, in PEM.
    authority: Option<String>,
}

/// Makes a token, and the folder that a device is installed with, or says the token this once.
pub fn token(new: &Token, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    if let Some(folder) = &new.output {
        let Some(device) = &new.device else {
            let said = "whose folder is it? Name the device: lineside device token NAME -o DIR";
            return Err(Usage(said.to_owned()).into());
        };
        return installed(new, device, folder, connection, output);
    }
    let made = Server::at(connection)?.new_join_token(&question(new))?;
    let token = made["token"].as_str().unwrap_or_default();
    output.print(token, &made)
}

fn question(new: &Token) -> Value {
    let labels: BTreeMap<_, _> = new.labels.iter().cloned().collect();
    let site = new.site.as_deref().unwrap_or_default();
    json!({ "device": new.device, "serial": new.serial, "hours": new.hours, "site": site, "labels": labels })
}

/// Makes the folder that `device` is installed with.
fn installed(
    new: &Token,
    device: &DeviceId,
    folder: &Path,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let keys = KeyFolder::open(&new.keys)?;
    let server = Server::at(connection)?;
    keys.compare(server.url(), server.root()?.as_deref())?;
    // The token is told once: whether it can be written down is found out before.
    let files = NewFiles::reserve(
        folder,
        &[
            (DEVICE.to_owned(), Readers::Owner),
            (JOIN_TOKEN.to_owned(), Readers::Owner),
            (AUTHORITY.to_owned(), Readers::All),
            (ROOT.to_owned(), Readers::All),
        ],
    )?;
    files.fill(ROOT, keys.root().bytes())?;
    let made: Made = serde_json::from_value(server.new_join_token(&question(new))?)
        .context("the server tells no token; are server and tool of one version?")?;
    let (Some(https), Some(mqtts), Some(authority)) = (&made.https, &made.mqtts, &made.authority)
    else {
        anyhow::bail!(
            "the server has no TLS for HTTP and MQTT both, which a device by key needs: set http and mqtt below \
             [tls] in its settings, and start it again"
        );
    };
    let (mqtt_host, mqtt_port) = host_and_port(mqtts)?;
    let file = DeviceFile {
        device: device.as_str(),
        server_http: https,
        mqtt_host: &mqtt_host,
        mqtt_port,
        mqtt_tls: Some(true),
        serial: new.serial.as_deref(),
        ..DeviceFile::default()
    };
    files.fill(AUTHORITY, authority.as_bytes())?;
    files.fill(JOIN_TOKEN, format!("{}\n", made.token).as_bytes())?;
    files.fill(DEVICE, file.written()?.as_bytes())?;
    files.keep();

    let (here, hours) = (folder.display(), new.hours);
    let text = format!(
        "{here}: {DEVICE}, {ROOT}, {AUTHORITY}, {JOIN_TOKEN}\n\
         Take this folder to {device} and name it as device_dir in its agent.toml; the user that the agent runs \
         as has to be able to write in it, for the device makes its key there. The token is good once, for \
         {hours} hours, and is nowhere else.\n\
         Next: compare the key that `lineside-agent status` shows there with the one that `lineside device \
         joined` lists, then: lineside device accept {device} KEY"
    );
    let json = json!({ "device": device, "folder": folder, "server_http": https, "mqtt": mqtts,
        "root_version": keys.root().version() });
    output.print(text, &json)
}

/// Says where a device stands.
pub fn place(placed: &Placed, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Placed { device, site, labels } = placed;
    let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
    let place = json!({ "site": site.as_deref().unwrap_or_default(), "labels": labels });
    Server::at(connection)?.place(device.as_str(), &place)?;
    output.print(format!("{device} stands there from now on"), &place)
}

/// Lists who has joined, or wants to.
pub fn list(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let joined = Server::at(connection)?.joined()?;
    let text = match joined.is_empty() {
        true => "nobody has joined by a key; next: lineside device token".to_owned(),
        false => joined.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    output.print(text, &joined)
}

/// Decides about a device: `judgement` is `accept`, `decline`, `revoke` or `reset`.
pub fn judge(
    judged: &Judged,
    judgement: &str,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let question = json!({ "judgement": judgement, "key": judged.key });
    let shown = Server::at(connection)?.judge(judged.device.as_str(), &question)?;
    output.print(line(&shown), &shown)
}

fn line(shown: &Value) -> String {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    let (device, standing) = (text("device"), text("standing"));
    let key = shown["key"].as_str().map_or(String::new(), |key| format!("  key {key}"));
    let serial =
        shown["serial"].as_str().map_or(String::new(), |serial| format!("  serial {serial}"));
    let day = format_description!("[year]-[month]-[day]");
    let ends = shown["certificate_ends_unix_ms"].as_i64().and_then(|milliseconds| {
        OffsetDateTime::from_unix_timestamp(milliseconds / 1_000).ok()?.format(day).ok()
    });
    let ends = ends.map_or(String::new(), |day| format!("  certificate until {day}"));
    format!("{device}  {standing}{key}{serial}{ends}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_in_a_line_with_what_is_known_of_it() {
        let pending = json!({ "device": "line-3", "standing": "pending", "key": "ab", "serial": "A-1",
            "certificate_ends_unix_ms": null });
        assert_eq!(line(&pending), "line-3  pending  key ab  serial A-1");
        let accepted = json!({ "device": "line-4", "standing": "accepted", "key": "cd", "serial": null,
            "certificate_ends_unix_ms": 86_400_000 });
        assert_eq!(line(&accepted), "line-4  accepted  key cd  certificate until 1970-01-02");
        assert_eq!(
            line(&json!({ "device": "a", "standing": "revoked", "key": null })),
            "a  revoked"
        );
    }
}
