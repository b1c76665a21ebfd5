//! The table `[slots.NAME.updates]`: when the route of a slot may be changed.

use super::mqtt::{MqttEnd, mqtt_end};
use super::windows::{Window, Windows, offset};
use super::{Wrong, within, wrong};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Windows that a slot may have.
const WINDOWS_MAX: usize = 64;
/// Payloads that may stand for a slot that is free.
const WORDS_MAX: usize = 16;

/// When the route of a slot may be changed. What is not set does not hold anything back.
#[derive(Debug, Clone, Default)]
pub struct UpdatesConfig {
    /// When it may be changed at all.
    pub windows: Windows,
    /// While this file is there, the slot is in use.
    pub lock_file: Option<PathBuf>,
    /// A topic that says whether the slot is in use.
    pub in_use: Option<InUse>,
    /// Running time after which an update that was held back is overdue.
    pub deadline: Option<Duration>,
    /// What happens then.
    pub then: Then,
}

/// What happens to an update that has been held back beyond its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It goes on to wait, and says that it is overdue.
    #[default]
    Wait,
    /// It is carried out.
    Go,
}

/// A topic that says whether a slot is in use. Whatever is not known counts as in use.
#[derive(Debug, Clone)]
pub struct InUse {
    /// Broker and topic.
    pub end: MqttEnd,
    /// The member of a JSON payload that says it; the whole payload where none is named.
    pub field: Option<String>,
    /// What it says of a slot that is free.
    pub free: BTreeSet<String>,
    /// How long a message counts.
    pub stale: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpdatesFile {
    windows: Vec<String>,
    utc_offset: Option<String>,
    lock_file: Option<PathBuf>,
    in_use: Option<InUseFile>,
    deadline_hours: Option<f64>,
    then: Then,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InUseFile {
    host: String,
    port: u16,
    topic: String,
    user: Option<String>,
    password: Option<String>,
    field: Option<String>,
    #[serde(default = "free_default")]
    free: BTreeSet<String>,
    #[serde(default = "stale_seconds_default")]
    stale_seconds: u64,
}

fn free_default() -> BTreeSet<String> {
    ["free", "false", "0"].into_iter().map(str::to_owned).collect()
}

fn stale_seconds_default() -> u64 {
    300
}

impl UpdatesFile {
    /// Checks what was written below `field`; paths are relative to `folder`.
    pub(super) fn check(self, field: &str, folder: &Path) -> Result<UpdatesConfig, Wrong> {
        let key = |name: &str| format!("{field}.{name}");
        if self.windows.len() > WINDOWS_MAX {
            return wrong(key("windows"), format!("at most {WINDOWS_MAX} are possible"));
        }
        let windows =
            self.windows.iter().map(|text| text.parse()).collect::<Result<Vec<Window>, String>>();
        let windows = windows.or_else(|problem: String| wrong(key("windows"), problem))?;
        let offset =
            self.utc_offset.as_deref().map_or_else(|| Ok(Windows::default().offset), offset);
        let offset = offset.or_else(|problem| wrong(key("utc_offset"), problem))?;
        if self.then == Then::Go && self.deadline_hours.is_none() {
            return wrong(key("then"), "\"go\" needs deadline_hours, after which it goes");
        }
        let deadline = self.deadline_hours.map(|hours| {
            let hours = within(key("deadline_hours"), hours, 0.001..=8760.0);
            hours.map(|hours| Duration::from_secs_f64(hours * 3600.0))
        });
        Ok(UpdatesConfig {
            windows: Windows { windows, offset },
            lock_file: self.lock_file.map(|path| folder.join(path)),
            in_use: self.in_use.map(|file| file.check(&key("in_use"))).transpose()?,
            deadline: deadline.transpose()?,
            then: self.then,
        })
    }
}

impl InUseFile {
    fn check(self, field: &str) -> Result<InUse, Wrong> {
        if self.topic.contains(['+', '#']) {
            return wrong(format!("{field}.topic"), "one topic is needed, without + and #");
        }
        if self.free.is_empty() || self.free.len() > WORDS_MAX {
            let problem = format!("1 to {WORDS_MAX} payloads stand for a slot that is free");
            return wrong(format!("{field}.free"), problem);
        }
        let stale = within(format!("{field}.stale_seconds"), self.stale_seconds, 1..=31_536_000)?;
        let InUseFile { host, port, topic, user, password, .. } = self;
        Ok(InUse {
            end: mqtt_end(field, host, port, topic, user, password)?,
            field: self.field,
            free: self.free,
            stale: Duration::from_secs(stale),
        })
    }
}
