//! The tables `[sinks.NAME]`: where findings go.

use super::mqtt::{MqttEnd, mqtt_end};
use super::{Wrong, within, wrong};
use lineside_wire::name::SlotName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where findings go.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// A topic of the plant's broker, one JSON object a message.
    Mqtt(MqttEnd),
    /// A file, one JSON object a line.
    File {
        /// The file.
        path: PathBuf,
        /// Bytes that it may have. Then it is set aside, in place of the one that was before.
        bytes_max: u64,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum SinkFile {
    Mqtt {
        host: String,
        port: u16,
        topic: String,
        user: Option<String>,
        password: Option<String>,
    },
    File {
        path: PathBuf,
        #[serde(default = "mib_max_default")]
        mib_max: u64,
    },
}

pub(super) fn mib_max_default() -> u64 {
    256
}

/// Checks all of them; paths are relative to `folder`.
pub(super) fn check(
    files: BTreeMap<String, SinkFile>,
    folder: &Path,
) -> Result<BTreeMap<String, SinkKind>, Wrong> {
    let mut sinks = BTreeMap::new();
    let mut paths = BTreeSet::new();
    for (name, file) in files {
        let field = format!("sinks.{name}");
        check_name(&field, &name)?;
        let kind = match file {
            SinkFile::File { path, mib_max } => {
                let path = folder.join(path);
                let mut names = [path.clone(), set_aside(&path)].into_iter();
                if !names.all(|path| paths.insert(path)) {
                    return wrong(format!("{field}.path"), "another sink writes this file");
                }
                let mib_max = within(format!("{field}.mib_max"), mib_max, 1..=1 << 20)?;
                SinkKind::File { path, bytes_max: mib_max << 20 }
            }
            SinkFile::Mqtt { host, port, topic, user, password } => {
                if topic.contains(['+', '#']) {
                    return wrong(
                        format!("{field}.topic"),
                        "findings need a topic without + and #",
                    );
                }
                SinkKind::Mqtt(mqtt_end(&field, host, port, topic, user, password)?)
            }
        };
        sinks.insert(name, kind);
    }
    Ok(sinks)
}

/// What a file of findings becomes at its bound.
pub fn set_aside(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".1");
    name.into()
}

/// Names of sinks are keys in the store and parts of client identifiers.
fn check_name(field: &str, name: &str) -> Result<(), Wrong> {
    match name.parse::<SlotName>() {
        Ok(_) => Ok(()),
        Err(_) => wrong(field, "a name is made of a-z, 0-9 and '-'"),
    }
}
