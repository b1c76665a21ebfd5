//! The table `[limits]`: bounds of the agent itself.

use super::{Wrong, within};
use serde::Deserialize;
use std::time::Duration;

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
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

impl LimitsFile {
    /// Checks what was written.
    pub(super) fn check(self) -> Result<LimitsConfig, Wrong> {
        let field = |key: &str| format!("limits.{key}");
        Ok(LimitsConfig {
            worker_memory_mib_max: within(
                field("worker_memory_mib_max"),
                self.worker_memory_mib_max,
                32..=1 << 20,
            )?,
            load: Duration::from_secs(within(field("load_seconds"), self.load_seconds, 1..=3600)?),
            self_test: Duration::from_secs(within(
                field("self_test_seconds"),
                self.self_test_seconds,
                1..=86_400,
            )?),
            commit_every: Duration::from_millis(within(
                field("commit_every_ms"),
                self.commit_every_ms,
                10..=10_000,
            )?),
            commit_frames: within(field("commit_frames"), self.commit_frames, 1..=10_000)?,
            outbox_findings_max: within(
                field("outbox_findings_max"),
                self.outbox_findings_max,
                100..=10_000_000,
            )?,
            outbox_full: self.outbox_full,
        })
    }
}
