//! Settings: `agent.toml` as written (`ConfigFile`, unknown keys refused by name), then as needed
//! ([`Config`]: checked, in units, with paths that do not depend on the working folder).

mod api;
mod download;
mod limits;
mod mqtt;
mod onnxruntime;
mod sinks;
mod slots;
mod sources;
mod telemetry;
mod traces;
mod updates;
mod windows;

pub use api::{ApiConfig, TlsFiles};
pub use download::{Credentials, DownloadConfig, RegistryConfig};
pub use limits::{LimitsConfig, OutboxFull};
pub use mqtt::MqttEnd;
pub use sinks::{SinkKind, set_aside};
pub use slots::{Overflow, SlotConfig};
pub use sources::{NamedSource, Pace, SlotSources, SourceKind};
pub use telemetry::TelemetryConfig;
pub use updates::{InUse, Then, UpdatesConfig};
pub use windows::{Window, Windows};

use api::ApiFile;
use download::DownloadFile;
use limits::LimitsFile;
use lineside_bundle::is_licence;
use lineside_runtime::SharedLibrary;
use lineside_trace::Tracer;
use lineside_wire::name::{SiteName, SlotName};
use onnxruntime::OnnxruntimeFile;
use serde::Deserialize;
use sinks::SinkFile;
use slots::SlotFile;
use sources::SourceFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use telemetry::TelemetryFile;
use traces::TracesFile;

/// Slots that a device may have: its status and its answers have room for as many.
pub const SLOTS_MAX: usize = 32;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why `agent.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its form: a typing error, an unknown key, a wrong type.
    #[error("{} cannot be used", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why, with the line.
        source: Box<toml::de::Error>,
    },
    /// A value that makes no sense.
    #[error("{}: {field}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its tables.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The agent's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that `lineside device add` made.
    pub device_dir: PathBuf,
    /// Where the agent keeps what must survive a power cut.
    pub state_dir: PathBuf,
    /// The place where the device stands, whose signed policy then holds; none where no site signs.
    pub site: Option<SiteName>,
    /// The slots, at least one.
    pub slots: BTreeMap<SlotName, SlotConfig>,
    /// Where findings go, by name.
    pub sinks: BTreeMap<String, SinkKind>,
    /// Names of the licences that the device holds. Only whether one is there is looked at.
    pub licences: BTreeSet<String>,
    /// The library that an engine of its own lies in; none where the device has none.
    pub onnxruntime: Option<SharedLibrary>,
    /// Telemetry.
    pub telemetry: TelemetryConfig,
    /// Where releases are fetched from, how fast and how much.
    pub download: DownloadConfig,
    /// Bounds of the agent itself.
    pub limits: LimitsConfig,
    /// Requests of other programs to the models; none where nobody asks.
    pub api: Option<ApiConfig>,
    /// What makes spans of installations; off where no collector is named.
    pub traces: Tracer,
}

/// `agent.toml` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    device_dir: PathBuf,
    state_dir: PathBuf,
    site: Option<SiteName>,
    slots: BTreeMap<SlotName, SlotFile>,
    #[serde(default)]
    sources: BTreeMap<String, SourceFile>,
    #[serde(default)]
    sinks: BTreeMap<String, SinkFile>,
    #[serde(default)]
    licences: BTreeMap<String, String>,
    onnxruntime: Option<OnnxruntimeFile>,
    #[serde(default)]
    telemetry: TelemetryFile,
    #[serde(default)]
    download: DownloadFile,
    #[serde(default)]
    limits: LimitsFile,
    api: Option<ApiFile>,
    traces: Option<TracesFile>,
}

impl Config {
    /// Reads and checks `agent.toml`. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and the field.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > FILE_BYTES_MAX {
            let problem = format!("{size} bytes, at most {FILE_BYTES_MAX} are read");
            return Err(failed(io::Error::other(problem)));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let file: ConfigFile = toml::from_str(&text).map_err(|source| ConfigError::Form {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        // A bare file name has an empty parent, which no path can be made of.
        let path_absolute = std::path::absolute(path).map_err(failed)?;
        let folder = path_absolute.parent().unwrap_or(Path::new("/")).to_owned();
        check(file, &folder).map_err(|Wrong { field, problem }| ConfigError::Value {
            path: path.to_owned(),
            field,
            problem,
        })
    }
}

#[derive(Debug)]
struct Wrong {
    field: String,
    problem: String,
}

fn wrong<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { field: field.into(), problem: problem.into() })
}

fn check(file: ConfigFile, folder: &Path) -> Result<Config, Wrong> {
    if file.slots.is_empty() {
        return wrong("slots", "there must be at least one, as [slots.NAME]");
    }
    if file.slots.len() > SLOTS_MAX {
        return wrong("slots", format!("at most {SLOTS_MAX} are possible"));
    }
    let mut sources = BTreeMap::new();
    for (name, source) in file.sources {
        let field = format!("sources.{name}");
        sources.insert(name, source.check(&field, folder)?);
    }
    let sinks = sinks::check(file.sinks, folder)?;
    let mut slots = BTreeMap::new();
    for (name, slot) in file.slots {
        let slot = slot.check(&name, &sources, &sinks, folder)?;
        slots.insert(name, slot);
    }
    Ok(Config {
        device_dir: folder.join(file.device_dir),
        state_dir: folder.join(file.state_dir),
        site: file.site,
        slots,
        sinks,
        licences: licences(file.licences)?,
        onnxruntime: file.onnxruntime.map(|file| file.check(folder)).transpose()?,
        telemetry: file.telemetry.check()?,
        download: file.download.check(folder)?,
        limits: file.limits.check()?,
        api: file.api.map(|file| file.check(folder)).transpose()?,
        traces: file.traces.map(TracesFile::check).transpose()?.unwrap_or_default(),
    })
}

fn licences(file: BTreeMap<String, String>) -> Result<BTreeSet<String>, Wrong> {
    for (name, key) in &file {
        let field = format!("licences.{name}");
        if !is_licence(name) {
            return wrong(field, "a name is made of a-z, 0-9 and '-', 63 of them at most");
        }
        if key.is_empty() {
            return wrong(field, "the key is empty");
        }
    }
    Ok(file.into_keys().collect())
}

fn within<T: PartialOrd + fmt::Display>(
    field: impl Into<String>,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, Wrong> {
    if range.contains(&value) {
        Ok(value)
    } else {
        wrong(field, format!("{value} is not within {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::slots::CaptureFile;
    use super::*;
    use std::time::Duration;

    const FILE: &str = r#"
        device_dir = "device"
        state_dir = "/var/lib/lineside"
        [slots.turbine]
        source = "scada"
        sinks = ["plant", "log"]
        overflow = "drop-oldest"
        policy.alarm_share = [0.0, 0.5]
        fail_safe.alarm = true
        [sources.scada]
        kind = "file"
        paths = ["january.csv"]
        pace = 14400
        [sinks.plant]
        kind = "mqtt"
        host = "127.0.0.1"
        port = 1883
        topic = "plant/findings"
        [sinks.log]
        kind = "file"
        path = "findings.jsonl"
    "#;

    fn read(text: &str) -> (tempfile::TempDir, Result<Config, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        let config =
            Config::read(&path).map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        (folder, config)
    }

    fn error(from: &str, to: &str) -> String {
        assert!(FILE.contains(from), "{from}");
        let (_folder, config) = read(&FILE.replace(from, to));
        let error = config.unwrap_err();
        assert!(error.contains("agent.toml"), "{error}");
        error
    }

    #[test]
    fn the_documented_settings_are_accepted_and_say_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agent.toml");
        let config = Config::read(&path).unwrap();
        let defaults = LimitsFile::default().check().unwrap();
        assert_eq!(format!("{:?}", config.limits), format!("{defaults:?}"));
        let defaults = TelemetryFile::default().check().unwrap();
        assert_eq!(format!("{:?}", config.telemetry), format!("{defaults:?}"));
        let Some(SinkKind::File { bytes_max, .. }) = config.sinks.get("log") else { panic!() };
        assert_eq!(*bytes_max, sinks::mib_max_default() << 20);
        let slot = config.slots.values().next().unwrap();
        assert_eq!(slot.queue_readings_max, slots::queue_readings_default());
        assert_eq!(slot.overflow, Overflow::default());
        let defaults = CaptureFile::default().check("capture").unwrap();
        assert_eq!(slot.capture, Some(defaults));
        let defaults = ApiFile::default().check(Path::new("/")).unwrap();
        assert_eq!(format!("{:?}", config.api.unwrap()), format!("{defaults:?}"));
    }

    #[test]
    fn paths_are_relative_to_the_file_and_the_rest_has_defaults() {
        let (folder, config) = read(FILE);
        let config = config.unwrap();
        assert_eq!(config.device_dir, folder.path().join("device"));
        assert_eq!(config.state_dir, Path::new("/var/lib/lineside"));
        let slot = &config.slots[&"turbine".parse().unwrap()];
        let SlotSources::One(NamedSource { kind: SourceKind::File { paths, pace }, .. }) =
            &slot.sources
        else {
            panic!("{slot:?}")
        };
        assert_eq!(paths, &[folder.path().join("january.csv")]);
        assert_eq!(*pace, Pace::Times(14400.0));
        assert_eq!(slot.queue_readings_max, 10_000);
        assert_eq!(slot.overflow, Overflow::DropOldest);
        assert_eq!(slot.capture, None, "nobody's readings are kept unless the site wants it");
        assert!(config.licences.is_empty());
        assert!(config.api.is_none(), "nobody is let in unless the site wants it");
        assert_eq!(config.telemetry.interval, Duration::from_secs(3600));
        assert_eq!(config.limits.commit_every, Duration::from_millis(200));
    }

    #[test]
    fn unknown_keys_are_refused_by_name_in_every_table() {
        for (from, to, name) in [
            ("state_dir", "color = 1\nstate_dir", "color"),
            ("sinks = [\"plant\"", "sincs = [\"plant\"", "sincs"),
            ("pace = 14400", "speed = 2", "speed"),
            ("policy.alarm_share", "capture.mib = 1\n        policy.alarm_share", "mib"),
            ("topic = ", "tropic = 1\ntopic = ", "tropic"),
            ("policy.alarm_share", "policy.alarm_shares", "alarm_shares"),
            ("policy.alarm_share", "shadow.agreement = 1\n        policy.alarm_share", "agreement"),
            ("[sinks.log]", "[limits]\ncommits = 1\n[sinks.log]", "commits"),
            ("[sinks.log]", "[telemetry]\nevery = 1\n[sinks.log]", "every"),
            (
                "[sinks.log]",
                "[traces]\nendpoint = 'http://127.0.0.1:4318'\nall = true\n[sinks.log]",
                "all",
            ),
            (
                "[sinks.log]",
                "[traces]\nendpoint = 'http://far.example:4318'\n[sinks.log]",
                "traces.endpoint",
            ),
        ] {
            let error = error(from, to);
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_slot_has_one_source_or_one_for_each_port() {
        let by_port = "sources = { heat = \"scada\", shaking = \"scada\" }";
        let config = read(&FILE.replace("source = \"scada\"", by_port)).1.unwrap();
        let slot = &config.slots[&"turbine".parse().unwrap()];
        let SlotSources::ByPort(sources) = &slot.sources else { panic!("{slot:?}") };
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["heat", "shaking"]);
        for (to, wanted) in [
            ("sources = { heat = \"scade\" }", "slots.turbine.sources.heat: there is no source"),
            ("source = \"scada\"\nsources = { heat = \"scada\" }", "slots.turbine.source: it has"),
            ("", "slots.turbine.source: it needs one, or in `sources` one for each port"),
        ] {
            let error = error("source = \"scada\"", to);
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn more_slots_than_a_device_can_tell_of_are_refused() {
        let slots: Vec<String> =
            (0..=SLOTS_MAX).map(|n| format!("[slots.s{n}]\nsource = \"scada\"\n")).collect();
        let with = |count: usize| {
            let more = format!("{}[sources.scada]", slots[..count].concat());
            read(&FILE.replace("[sources.scada]", &more)).1
        };
        // One is there already.
        assert_eq!(with(SLOTS_MAX - 1).unwrap().slots.len(), SLOTS_MAX);
        let error = with(SLOTS_MAX).unwrap_err();
        assert!(error.contains("slots: at most 32 are possible"), "{error}");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_its_field() {
        for (from, to, wanted) in [
            (
                "policy.alarm_share = [0.0, 0.5]",
                "policy.alarm_share = [0.5, 0.0]",
                "slots.turbine.policy.alarm_share: 0.5 is above 0",
            ),
            (
                "policy.alarm_share",
                "shadow.agreement_min = 2.0\n        policy.alarm_share",
                "slots.turbine.shadow.agreement_min: 2 is no share",
            ),
            (
                "policy.alarm_share",
                "capture.mib_max = 0\n        policy.alarm_share",
                "slots.turbine.capture.mib_max: 0 is not between 1 and 65536",
            ),
            (
                "source = \"scada\"",
                "source = \"skada\"",
                "slots.turbine.source: there is no source \"skada\", only [\"scada\"]",
            ),
            (
                "sinks = [\"plant\", \"log\"]",
                "sinks = [\"plan\"]",
                "slots.turbine.sinks: there is no sink \"plan\"",
            ),
            ("pace = 14400", "pace = -1", "sources.scada.pace: -1 is not above 0"),
            ("pace = 14400", "pace = \"fast\"", "sources.scada.pace: \"fast\""),
            ("paths = [\"january.csv\"]", "paths = []", "sources.scada.paths"),
            ("topic = \"plant/findings\"", "topic = \"plant/#\"", "sinks.plant.topic"),
            ("port = 1883", "port = 1883\nuser = \"a\"", "sinks.plant.user"),
            ("path = \"findings", "mib_max = 0\npath = \"findings", "sinks.log.mib_max: 0 is not"),
            (
                "overflow = ",
                "queue_readings_max = 0\noverflow = ",
                "slots.turbine.queue_readings_max",
            ),
            ("[slots.turbine]", "[slots.Turbine]", "Turbine"),
            (
                "overflow",
                "updates.windows = ['22:00-05:00']\noverflow",
                "slots.turbine.updates.windows: ",
            ),
            (
                "overflow",
                "updates.utc_offset = 'CET'\noverflow",
                "slots.turbine.updates.utc_offset: ",
            ),
            (
                "overflow",
                "updates.then = 'go'\noverflow",
                "slots.turbine.updates.then: \"go\" needs",
            ),
            (
                "overflow",
                "updates.deadline_hours = 0\noverflow",
                "updates.deadline_hours: 0 is not",
            ),
            (
                "overflow",
                "updates.in_use = { host = 'h', port = 1, topic = 'a/+' }\noverflow",
                "slots.turbine.updates.in_use.topic: one topic",
            ),
            (
                "overflow",
                "updates.in_use = { host = 'h', port = 1, topic = 'a', free = [] }\noverflow",
                "slots.turbine.updates.in_use.free: 1 to",
            ),
            (
                "overflow",
                "updates.in_use = { host = 'h', port = 1, topic = 'a', user = 'u' }\noverflow",
                "slots.turbine.updates.in_use.user",
            ),
            ("overflow", "engine = 'abacus'\noverflow", "slots.turbine.engine: there is no engine"),
            (
                "[sinks.log]",
                "[onnxruntime]\nlibrary = 'a.so'\nsha256 = 'F00'\n[sinks.log]",
                "onnxruntime.sha256: 64 lower-case",
            ),
            ("[sinks.log]", "[onnxruntime]\npath = 'a.so'\n[sinks.log]", "path"),
            ("overflow", "updates.window = []\noverflow", "window"),
            ("[sinks.log]", "[licences]\nAcme = 'k'\n[sinks.log]", "licences.Acme: a name is"),
            (
                "[sinks.log]",
                "[licences]\nacme = ''\n[sinks.log]",
                "licences.acme: the key is empty",
            ),
        ] {
            let error = error(from, to);
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let (_folder, config) =
            read(&FILE.replace("port = 1883", "port = 1883\nuser = \"a\"\npassword = \"hunter2\""));
        assert!(!format!("{:?}", config.unwrap()).contains("hunter2"));
    }
}
