//! The tables `[slots.NAME]`: what feeds a slot, where its findings go, and the site's own limits.

use super::mqtt::{MqttEnd, mqtt_end};
use super::sinks::SinkKind;
use super::sources::{NamedSource, SlotSources, SourceKind};
use super::updates::{UpdatesConfig, UpdatesFile};
use super::{Wrong, wrong};
use crate::capture::Bounds;
use lineside_bundle::FailSafe;
use lineside_rules::{CaptureLimits, ShadowLimits, TrialLimits};
use lineside_runtime::ENGINE_NAMES;
use lineside_wire::name::SlotName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Sources of one slot.
const SOURCES_MAX: usize = 16;
/// Readings that may be asked to wait for a worker.
const QUEUE_READINGS_MAX: usize = 1_000_000;

/// One slot.
#[derive(Debug, Clone)]
pub struct SlotConfig {
    /// What feeds it.
    pub sources: SlotSources<NamedSource>,
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
    /// Where it hears of what became of what its findings are about.
    pub outcomes: Option<MqttEnd>,
    /// What the slot says while it is vacant; where nothing is named, what its last bundle wants.
    pub fail_safe: BTreeMap<String, FailSafe>,
    /// The engine that runs its models, whatever bundles and measurements say.
    pub engine: Option<String>,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotFile {
    source: Option<String>,
    #[serde(default)]
    sources: BTreeMap<String, String>,
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
    outcomes: Option<OutcomesFile>,
    #[serde(default)]
    fail_safe: BTreeMap<String, FailSafe>,
    engine: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomesFile {
    host: String,
    port: u16,
    topic: String,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CaptureFile {
    mib_max: u64,
    hours_max: u64,
}

impl Default for CaptureFile {
    fn default() -> CaptureFile {
        CaptureFile { mib_max: 16, hours_max: 168 }
    }
}

pub(super) fn queue_readings_default() -> usize {
    10_000
}

impl SlotFile {
    /// Checks what was written of the slot `name`, against all sources and sinks; paths are relative
    /// to `folder`.
    pub(super) fn check(
        self,
        name: &SlotName,
        sources: &BTreeMap<String, SourceKind>,
        sinks: &BTreeMap<String, SinkKind>,
        folder: &Path,
    ) -> Result<SlotConfig, Wrong> {
        let field = |key: &str| format!("slots.{name}.{key}");
        let named = |key: &str, source: &String| match sources.get(source) {
            Some(kind) => Ok(NamedSource { name: source.clone(), kind: kind.clone() }),
            None => {
                let there: Vec<&String> = sources.keys().collect();
                wrong(field(key), format!("there is no source {source:?}, only {there:?}"))
            }
        };
        let by_port = |(port, source): (&String, &String)| {
            Ok((port.clone(), named(&format!("sources.{port}"), source)?))
        };
        let by_port: BTreeMap<_, _> = self.sources.iter().map(by_port).collect::<Result<_, _>>()?;
        let sources = match &self.source {
            _ if by_port.len() > SOURCES_MAX => {
                return wrong(field("sources"), format!("at most {SOURCES_MAX} are possible"));
            }
            Some(_) if !by_port.is_empty() => {
                return wrong(field("source"), "it has `sources` as well: one of both feeds it");
            }
            None if by_port.is_empty() => {
                let problem = "it needs one, or in `sources` one for each port";
                return wrong(field("source"), problem);
            }
            Some(source) => SlotSources::One(named("source", source)?),
            None => SlotSources::ByPort(by_port),
        };
        if let Some(missing) = self.sinks.iter().find(|sink| !sinks.contains_key(*sink)) {
            let there: Vec<&String> = sinks.keys().collect();
            return wrong(field("sinks"), format!("there is no sink {missing:?}, only {there:?}"));
        }
        if self.sinks.iter().collect::<BTreeSet<_>>().len() < self.sinks.len() {
            return wrong(field("sinks"), "a sink is named twice");
        }
        if !(1..=QUEUE_READINGS_MAX).contains(&self.queue_readings_max) {
            let problem = format!("must be 1 to {QUEUE_READINGS_MAX} readings");
            return wrong(field("queue_readings_max"), problem);
        }
        if let Err((limit, problem)) = self.policy.check() {
            return wrong(field(&format!("policy.{limit}")), problem);
        }
        if let Err((limit, problem)) = self.shadow.check() {
            return wrong(field(&format!("shadow.{limit}")), problem);
        }
        // One that this machine does not have is no reason not to start: the slot goes on as it is.
        if let Some(engine) = &self.engine
            && !ENGINE_NAMES.contains(&engine.as_str())
        {
            let there = ENGINE_NAMES.join(", ");
            return wrong(field("engine"), format!("there is no engine {engine}, only {there}"));
        }
        let outcomes = self.outcomes.map(|file| {
            let OutcomesFile { host, port, topic, user, password } = file;
            mqtt_end(&field("outcomes"), host, port, topic, user, password)
        });
        Ok(SlotConfig {
            outcomes: outcomes.transpose()?,
            sources,
            queue_readings_max: self.queue_readings_max,
            overflow: self.overflow,
            sinks: self.sinks,
            policy: self.policy,
            updates: self.updates.check(&field("updates"), folder)?,
            shadow: self.shadow,
            capture: self.capture.map(|file| file.check(&field("capture"))).transpose()?,
            fail_safe: self.fail_safe,
            engine: self.engine,
        })
    }
}

impl CaptureFile {
    /// Checks what was written below `field`.
    pub(super) fn check(self, field: &str) -> Result<Bounds, Wrong> {
        let CaptureFile { mib_max, hours_max } = self;
        let limits =
            CaptureLimits { allowed: None, mib_max: Some(mib_max), hours_max: Some(hours_max) };
        if let Err((limit, problem)) = limits.check() {
            return wrong(format!("{field}.{limit}"), problem);
        }
        let age_max = Duration::from_secs(hours_max * 3600);
        Ok(Bounds { bytes_max: mib_max << 20, age_max })
    }
}
