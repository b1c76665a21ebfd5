//! The table `[telemetry]`.

use super::{Wrong, within};
use crate::telemetry::outcomes::AnswersKept;
use serde::Deserialize;
use std::time::Duration;

/// What the fleet server is told, and how much of it may wait.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Span that one report summarises, in the readings' own time.
    pub interval: Duration,
    /// Bytes that may wait on disk for the server.
    pub spool_bytes_max: u64,
    /// Days of running that a record may wait for it.
    pub spool_days_max: u64,
    /// Bytes of what waited out an interruption that go in a second.
    pub backfill_bytes_per_second: u64,
    /// How much of a slot's answers is remembered until their outcomes are heard of.
    pub answers: AnswersKept,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetryFile {
    interval_seconds: u64,
    spool_mib_max: u64,
    spool_days_max: u64,
    backfill_kib_per_second_max: u64,
    answers_max: u64,
    answers_hours_max: u64,
}

impl Default for TelemetryFile {
    fn default() -> TelemetryFile {
        TelemetryFile {
            interval_seconds: 3600,
            spool_mib_max: 64,
            spool_days_max: 800,
            backfill_kib_per_second_max: 32,
            answers_max: 20_000,
            answers_hours_max: 168,
        }
    }
}

impl TelemetryFile {
    /// Checks what was written.
    pub(super) fn check(self) -> Result<TelemetryConfig, Wrong> {
        let field = |key: &str| format!("telemetry.{key}");
        let TelemetryFile { interval_seconds, spool_mib_max, spool_days_max, .. } = self;
        let interval = within(field("interval_seconds"), interval_seconds, 1..=31_536_000)?;
        let spool = within(field("spool_mib_max"), spool_mib_max, 1..=65_536)?;
        let spool_days_max = within(field("spool_days_max"), spool_days_max, 1..=36_500)?;
        let backfill = self.backfill_kib_per_second_max;
        let backfill = within(field("backfill_kib_per_second_max"), backfill, 1..=1 << 30)?;
        let number_max = within(field("answers_max"), self.answers_max, 1..=10_000_000)?;
        let hours = within(field("answers_hours_max"), self.answers_hours_max, 1..=876_000)?;
        let answers = AnswersKept {
            number_max: usize::try_from(number_max).unwrap_or(usize::MAX),
            age_max: Duration::from_secs(hours * 3600),
        };
        Ok(TelemetryConfig {
            answers,
            interval: Duration::from_secs(interval),
            spool_bytes_max: spool << 20,
            spool_days_max,
            backfill_bytes_per_second: backfill << 10,
        })
    }
}
