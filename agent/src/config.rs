//! Settings: `agent.toml` as written (`ConfigFile`, unknown keys refused by name), then as needed
//! ([`Config`]: checked, in units, with paths that do not depend on the working folder).

mod updates;
mod windows;

pub use updates::{InUse, Then, UpdatesConfig};
pub use windows::{Window, Windows};

use crate::capture::Bounds;
use crate::fleet::device::Password;
use lineside_bundle::{FailSafe, is_licence};
use lineside_rules::{ShadowLimits, TrialLimits};
use lineside_wire::name::{SiteName, SlotName};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use updates::UpdatesFile;
use ureq::http::Uri;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Readings that may be asked to wait for a worker.
const QUEUE_READINGS_MAX: usize = 1_000_000;

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
    /// Telemetry.
    pub telemetry: TelemetryConfig,
    /// Where releases are fetched from, how fast and how much.
    pub download: DownloadConfig,
    /// Bounds of the agent itself.
    pub limits: LimitsConfig,
}

/// One slot.
#[derive(Debug, Clone)]
pub struct SlotConfig {
    /// Name of the source.
    pub source: String,
    /// Where its readings come from.
    pub source_kind: SourceKind,
    /// Readings that may wait for the worker.
    pub queue_readings_max: usize,
    /// What gives way when more come.
    pub overflow: Overflow,
    /// Names of the sinks that get its findings.
    pub sinks: Vec<String>,
    /// The site's own limits for trials.
    pub policy: TrialLimits,
    /// The site's own limits for shadows.
    pub shadow: ShadowLimits,
    /// When the route of the slot may be changed.
    pub updates: UpdatesConfig,
    /// Bounds of the readings that are kept on the device; none: none are.
    pub capture: Option<Bounds>,
    /// What the slot says while it is vacant; where nothing is named, what its last bundle wants.
    pub fail_safe: BTreeMap<String, FailSafe>,
}

/// What gives way when more readings come than the worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The source waits: a file is read later, a broker keeps its messages.
    #[default]
    Block,
    /// The readings that have waited longest are dropped and counted.
    DropOldest,
}

/// Where readings come from.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Recorded CSV files, one after the other.
    File {
        /// The files.
        paths: Vec<PathBuf>,
        /// How fast.
        pace: Pace,
    },
    /// A topic of the plant's broker: a JSON object or an array of them per message.
    Mqtt(MqttEnd),
}

/// How fast recorded readings are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// This many times as fast as they were recorded.
    Times(f64),
    /// As fast as they are taken.
    FlatOut,
}

/// A topic of a broker.
#[derive(Clone)]
pub struct MqttEnd {
    /// Host of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// Topic, or topic filter where readings come from it.
    pub topic: String,
    /// User name and password.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for MqttEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt {}:{} {}", self.host, self.port, self.topic)
    }
}

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

/// Telemetry.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Span that one report summarises, in the readings' own time.
    pub interval: Duration,
    /// Bytes that may wait on disk for the server.
    pub spool_bytes_max: u64,
}

/// How releases are fetched. By default from the fleet server, as fast as they come.
#[derive(Debug, Clone, Default)]
pub struct DownloadConfig {
    /// Bytes a second that all slots together fetch at most.
    pub bytes_per_second_max: Option<u64>,
    /// Bytes that they fetch at most in 24 hours of running time.
    pub budget_bytes: Option<u64>,
    /// What they are fetched from in place of the fleet server.
    pub registry: Option<RegistryConfig>,
}

/// A registry, or what stands in front of one.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// What it is shown.
    pub credentials: Option<Credentials>,
    /// The certificates that its own must be signed by.
    pub ca: Option<PathBuf>,
}

/// What a registry is shown.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A user's name and password.
    User(String, Password),
    /// A token.
    Token(Password),
}

/// Bounds of the agent itself.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Memory that a bundle may ask for its worker, in MiB; what it asks beyond is not given.
    pub worker_memory_mib_max: u32,
    /// Longest that a worker may take to load its bundle.
    pub load: Duration,
    /// Longest that the replay of a bundle's checks may take.
    pub self_test: Duration,
    /// How often findings and positions are committed to disk.
    pub commit_every: Duration,
    /// Frames after which they are committed earlier.
    pub commit_frames: usize,
    /// Findings that may wait for one sink.
    pub outbox_findings_max: u64,
    /// What gives way when a sink has taken none of them for so long.
    pub outbox_full: OutboxFull,
}

/// What gives way when too many findings wait for a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutboxFull {
    /// The oldest findings are dropped and counted.
    #[default]
    DropOldest,
    /// The slots wait, and with them their sources.
    Block,
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
    #[serde(default)]
    telemetry: TelemetryFile,
    #[serde(default)]
    download: DownloadFile,
    #[serde(default)]
    limits: LimitsFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotFile {
    source: String,
    #[serde(default = "queue_readings_default")]
    queue_readings_max: usize,
    #[serde(default)]
    overflow: Overflow,
    #[serde(default)]
    sinks: Vec<String>,
    #[serde(default)]
    policy: TrialLimits,
    #[serde(default)]
    updates: UpdatesFile,
    #[serde(default)]
    shadow: ShadowLimits,
    capture: Option<CaptureFile>,
    #[serde(default)]
    fail_safe: BTreeMap<String, FailSafe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CaptureFile {
    mib_max: u64,
    hours_max: u64,
}

impl Default for CaptureFile {
    fn default() -> CaptureFile {
        CaptureFile { mib_max: 16, hours_max: 168 }
    }
}

fn queue_readings_default() -> usize {
    10_000
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum SourceFile {
    File {
        paths: Vec<PathBuf>,
        #[serde(default = "real_pace")]
        pace: PaceFile,
    },
    Mqtt {
        host: String,
        port: u16,
        topic: String,
        user: Option<String>,
        password: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PaceFile {
    Times(f64),
    Word(String),
}

fn real_pace() -> PaceFile {
    PaceFile::Word("real".into())
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum SinkFile {
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

fn mib_max_default() -> u64 {
    256
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetryFile {
    interval_seconds: u64,
    spool_mib_max: u64,
}

impl Default for TelemetryFile {
    fn default() -> TelemetryFile {
        TelemetryFile { interval_seconds: 3600, spool_mib_max: 64 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DownloadFile {
    kib_per_second_max: Option<u64>,
    metered: bool,
    budget_mib: Option<u64>,
    registry: Option<String>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    worker_memory_mib_max: u32,
    load_seconds: u64,
    self_test_seconds: u64,
    commit_every_ms: u64,
    commit_frames: usize,
    outbox_findings_max: u64,
    outbox_full: OutboxFull,
}

impl Default for LimitsFile {
    fn default() -> LimitsFile {
        LimitsFile {
            worker_memory_mib_max: 1024,
            load_seconds: 60,
            self_test_seconds: 300,
            commit_every_ms: 200,
            commit_frames: 256,
            outbox_findings_max: 100_000,
            outbox_full: OutboxFull::default(),
        }
    }
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
    let mut sources = BTreeMap::new();
    for (name, source) in file.sources {
        sources.insert(name.clone(), source_kind(&format!("sources.{name}"), source, folder)?);
    }
    let mut sinks = BTreeMap::new();
    let mut sink_paths = BTreeSet::new();
    for (name, sink) in file.sinks {
        let field = format!("sinks.{name}");
        check_name(&field, &name)?;
        let kind = match sink {
            SinkFile::File { path, mib_max } => {
                let path = folder.join(path);
                let mut names = [path.clone(), set_aside(&path)].into_iter();
                if !names.all(|path| sink_paths.insert(path)) {
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
    let mut slots = BTreeMap::new();
    for (name, slot) in file.slots {
        let field = |key: &str| format!("slots.{name}.{key}");
        let Some(source_kind) = sources.get(&slot.source).cloned() else {
            let there: Vec<&String> = sources.keys().collect();
            return wrong(
                field("source"),
                format!("there is no source {:?}, only {there:?}", slot.source),
            );
        };
        if let Some(missing) = slot.sinks.iter().find(|sink| !sinks.contains_key(*sink)) {
            let there: Vec<&String> = sinks.keys().collect();
            return wrong(field("sinks"), format!("there is no sink {missing:?}, only {there:?}"));
        }
        if slot.sinks.iter().collect::<BTreeSet<_>>().len() < slot.sinks.len() {
            return wrong(field("sinks"), "a sink is named twice");
        }
        if !(1..=QUEUE_READINGS_MAX).contains(&slot.queue_readings_max) {
            let problem = format!("must be 1 to {QUEUE_READINGS_MAX} readings");
            return wrong(field("queue_readings_max"), problem);
        }
        if let Err((limit, problem)) = slot.policy.check() {
            return wrong(field(&format!("policy.{limit}")), problem);
        }
        if let Err((limit, problem)) = slot.shadow.check() {
            return wrong(field(&format!("shadow.{limit}")), problem);
        }
        let config = SlotConfig {
            source: slot.source,
            source_kind,
            queue_readings_max: slot.queue_readings_max,
            overflow: slot.overflow,
            sinks: slot.sinks,
            policy: slot.policy,
            updates: slot.updates.check(&format!("slots.{name}.updates"), folder)?,
            shadow: slot.shadow,
            capture: capture(&field("capture"), slot.capture)?,
            fail_safe: slot.fail_safe,
        };
        slots.insert(name, config);
    }
    Ok(Config {
        device_dir: folder.join(file.device_dir),
        state_dir: folder.join(file.state_dir),
        site: file.site,
        slots,
        sinks,
        licences: licences(file.licences)?,
        telemetry: TelemetryConfig {
            interval: Duration::from_secs(within(
                "telemetry.interval_seconds",
                file.telemetry.interval_seconds,
                1..=31_536_000,
            )?),
            spool_bytes_max: within(
                "telemetry.spool_mib_max",
                file.telemetry.spool_mib_max,
                1..=65_536,
            )? << 20,
        },
        download: download(file.download, folder)?,
        limits: limits(file.limits)?,
    })
}

fn download(file: DownloadFile, folder: &Path) -> Result<DownloadConfig, Wrong> {
    let field = |key: &str| format!("download.{key}");
    let most = file.kib_per_second_max;
    let most =
        most.map(|most| within(field("kib_per_second_max"), most, 1..=1 << 30)).transpose()?;
    let budget = match (file.metered, file.budget_mib) {
        (true, Some(mib)) => Some(within(field("budget_mib"), mib, 1..=1 << 30)? << 20),
        (true, None) => {
            let problem = "is missing: a metered link has a budget";
            return wrong(field("budget_mib"), problem);
        }
        (false, Some(_)) => {
            return wrong(field("budget_mib"), "needs `metered = true` beside it");
        }
        (false, None) => None,
    };
    let credentials = match (file.user, file.password, file.token) {
        (Some(user), Some(password), None) => Some(Credentials::User(user, Password::of(password))),
        (None, None, Some(token)) => Some(Credentials::Token(Password::of(token))),
        (None, None, None) => None,
        _ => return wrong(field("user"), "write user and password, or token, or none of them"),
    };
    let registry = match file.registry {
        Some(url) => Some(registry(&url, credentials, file.ca.map(|ca| folder.join(ca)))?),
        None if credentials.is_some() || file.ca.is_some() => {
            let problem = "is missing: user, password, token and ca are for it alone";
            return wrong(field("registry"), problem);
        }
        None => None,
    };
    let bytes_per_second_max = most.map(|kib| kib << 10);
    Ok(DownloadConfig { bytes_per_second_max, budget_bytes: budget, registry })
}

fn registry(
    url: &str,
    credentials: Option<Credentials>,
    ca: Option<PathBuf>,
) -> Result<RegistryConfig, Wrong> {
    let field = "download.registry";
    let parsed: Option<Uri> = url.parse().ok();
    let parsed = parsed.filter(|url| url.host().is_some() && url.query().is_none());
    let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match (parsed.as_ref().and_then(Uri::scheme_str), &ca) {
        (Some("https"), Some(_)) => {}
        (Some("https"), None) => {
            let problem =
                "is missing: the file with the certificates that the registry's is signed by";
            return wrong("download.ca", problem);
        }
        (Some("http"), Some(_)) => return wrong("download.ca", "is for https alone"),
        (Some("http"), None) if credentials.is_some() && !is_here => {
            return wrong(field, "a password or token would be read on its way: use https");
        }
        (Some("http"), None) => {}
        _ => return wrong(field, "write https://HOST, or http://HOST, with a port if it has one"),
    }
    Ok(RegistryConfig { url: url.trim_end_matches('/').to_owned(), credentials, ca })
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

fn capture(field: &str, file: Option<CaptureFile>) -> Result<Option<Bounds>, Wrong> {
    let Some(CaptureFile { mib_max, hours_max }) = file else { return Ok(None) };
    let mib_max = within(format!("{field}.mib_max"), mib_max, 1..=65_536)?;
    let hours_max = within(format!("{field}.hours_max"), hours_max, 1..=87_600)?;
    let age_max = Duration::from_secs(hours_max * 3600);
    Ok(Some(Bounds { bytes_max: mib_max << 20, age_max }))
}

fn limits(file: LimitsFile) -> Result<LimitsConfig, Wrong> {
    let field = |key: &str| format!("limits.{key}");
    Ok(LimitsConfig {
        worker_memory_mib_max: within(
            field("worker_memory_mib_max"),
            file.worker_memory_mib_max,
            32..=1 << 20,
        )?,
        load: Duration::from_secs(within(field("load_seconds"), file.load_seconds, 1..=3600)?),
        self_test: Duration::from_secs(within(
            field("self_test_seconds"),
            file.self_test_seconds,
            1..=86_400,
        )?),
        commit_every: Duration::from_millis(within(
            field("commit_every_ms"),
            file.commit_every_ms,
            10..=10_000,
        )?),
        commit_frames: within(field("commit_frames"), file.commit_frames, 1..=10_000)?,
        outbox_findings_max: within(
            field("outbox_findings_max"),
            file.outbox_findings_max,
            100..=10_000_000,
        )?,
        outbox_full: file.outbox_full,
    })
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

fn source_kind(field: &str, source: SourceFile, folder: &Path) -> Result<SourceKind, Wrong> {
    match source {
        SourceFile::File { paths, .. } if paths.is_empty() => {
            wrong(format!("{field}.paths"), "there must be at least one file")
        }
        SourceFile::File { paths, pace } => {
            let pace = match pace {
                PaceFile::Times(times) if times.is_finite() && times > 0.0 => Pace::Times(times),
                PaceFile::Word(word) if word == "real" => Pace::Times(1.0),
                PaceFile::Word(word) if word == "flat-out" => Pace::FlatOut,
                PaceFile::Times(other) => {
                    return wrong(format!("{field}.pace"), format!("{other} is not above 0"));
                }
                PaceFile::Word(other) => {
                    let problem = format!(
                        "{other:?} is neither \"real\" nor \"flat-out\" nor a number of times"
                    );
                    return wrong(format!("{field}.pace"), problem);
                }
            };
            let paths = paths.into_iter().map(|path| folder.join(path)).collect();
            Ok(SourceKind::File { paths, pace })
        }
        SourceFile::Mqtt { host, port, topic, user, password } => {
            Ok(SourceKind::Mqtt(mqtt_end(field, host, port, topic, user, password)?))
        }
    }
}

fn mqtt_end(
    field: &str,
    host: String,
    port: u16,
    topic: String,
    user: Option<String>,
    password: Option<String>,
) -> Result<MqttEnd, Wrong> {
    if topic.is_empty() || topic.len() > 1024 || topic.contains('\0') {
        return wrong(format!("{field}.topic"), "must be 1 to 1024 bytes");
    }
    let credentials = match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        _ => return wrong(format!("{field}.user"), "user and password belong together"),
    };
    Ok(MqttEnd { host, port, topic, credentials })
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let defaults = limits(LimitsFile::default()).unwrap();
        assert_eq!(format!("{:?}", config.limits), format!("{defaults:?}"));
        let telemetry = TelemetryFile::default();
        assert_eq!(config.telemetry.interval.as_secs(), telemetry.interval_seconds);
        assert_eq!(config.telemetry.spool_bytes_max, telemetry.spool_mib_max << 20);
        let Some(SinkKind::File { bytes_max, .. }) = config.sinks.get("log") else { panic!() };
        assert_eq!(*bytes_max, mib_max_default() << 20);
        let slot = config.slots.values().next().unwrap();
        assert_eq!(slot.queue_readings_max, queue_readings_default());
        assert_eq!(slot.overflow, Overflow::default());
        let defaults = capture("capture", Some(CaptureFile::default())).unwrap();
        assert_eq!(slot.capture, defaults);
    }

    #[test]
    fn paths_are_relative_to_the_file_and_the_rest_has_defaults() {
        let (folder, config) = read(FILE);
        let config = config.unwrap();
        assert_eq!(config.device_dir, folder.path().join("device"));
        assert_eq!(config.state_dir, Path::new("/var/lib/lineside"));
        let slot = &config.slots[&"turbine".parse().unwrap()];
        let SourceKind::File { paths, pace } = &slot.source_kind else { panic!("{slot:?}") };
        assert_eq!(paths, &[folder.path().join("january.csv")]);
        assert_eq!(*pace, Pace::Times(14400.0));
        assert_eq!(slot.queue_readings_max, 10_000);
        assert_eq!(slot.overflow, Overflow::DropOldest);
        assert_eq!(slot.capture, None, "nobody's readings are kept unless the site wants it");
        assert!(config.licences.is_empty());
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
        ] {
            let error = error(from, to);
            assert!(error.contains(name), "{error}");
        }
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
                "slots.turbine.capture.mib_max: 0 is not within 1 to 65536",
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

    #[test]
    fn where_releases_come_from_and_how_much_is_said_without_contradictions() {
        let read = |lines: &str| -> Result<DownloadConfig, Wrong> {
            download(toml::from_str(lines).unwrap(), Path::new("/etc/lineside"))
        };
        let nothing = read("").unwrap();
        assert!(nothing.bytes_per_second_max.is_none() && nothing.budget_bytes.is_none());
        assert!(nothing.registry.is_none());
        let all = read(
            "kib_per_second_max = 2\nmetered = true\nbudget_mib = 3\nca = 'ca.pem'\n\
             registry = 'https://cdn.mill:5000/'\nuser = 'u'\npassword = 'p'",
        )
        .unwrap();
        assert_eq!((all.bytes_per_second_max, all.budget_bytes), (Some(2048), Some(3 << 20)));
        let registry = all.registry.unwrap();
        assert_eq!(registry.url, "https://cdn.mill:5000");
        assert_eq!(registry.ca.as_deref(), Some(Path::new("/etc/lineside/ca.pem")));
        assert!(!format!("{registry:?}").contains("\"p\""), "{registry:?}");
        assert!(read("registry = 'http://127.0.0.1:5000'\ntoken = 't'").is_ok());
        assert!(read("registry = 'http://cdn.mill'").is_ok());
        for (lines, field) in [
            ("metered = true", "budget_mib"),
            ("budget_mib = 3", "budget_mib"),
            ("metered = true\nbudget_mib = 0", "budget_mib"),
            ("kib_per_second_max = 0", "kib_per_second_max"),
            ("token = 't'", "registry"),
            ("ca = 'ca.pem'", "registry"),
            ("registry = 'https://cdn.mill'", "ca"),
            ("registry = 'http://cdn.mill'\nca = 'ca.pem'", "ca"),
            ("registry = 'http://cdn.mill'\ntoken = 't'", "registry"),
            ("registry = 'http://127.0.0.1.mill'\ntoken = 't'", "registry"),
            ("registry = 'cdn.mill'", "registry"),
            ("registry = 'ftp://cdn.mill'", "registry"),
            ("registry = 'http://cdn.mill/?x'", "registry"),
            ("registry = 'http://127.0.0.1'\nuser = 'u'", "user"),
            ("registry = 'http://127.0.0.1'\npassword = 'p'\ntoken = 't'", "user"),
        ] {
            let wrong = read(lines).err().unwrap_or_else(|| panic!("{lines}"));
            assert_eq!(wrong.field, format!("download.{field}"), "{lines}");
        }
    }
}
