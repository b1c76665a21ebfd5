//! A candidate on probation.

use crate::retry::Retry;
use crate::{Held, Installed, Starts};
use lineside_bundle::Digest;
use lineside_rules::{Observation, Values};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A trial, as it survives a power cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The release on trial.
    pub candidate: Installed,
    /// How often the device has started over during the trial.
    #[serde(default)]
    pub starts: Starts,
    /// What was seen before the last boot.
    pub before: Tally,
    /// What has been seen over the whole trial.
    pub seen: Tally,
    /// When it is put on the route again, where something other than the release prevented it.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// What it was while it waited, until the candidate has the route: people may say no until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waited: Option<Box<Held>>,
}

impl Trial {
    /// What is seen `now`, since the last boot, together with what this trial has seen before.
    pub fn with(&self, now: &Observation) -> Observation {
        self.before.and(now)
    }

    pub(crate) fn of(candidate: Installed) -> Trial {
        Trial {
            candidate,
            starts: Starts::default(),
            before: Tally::default(),
            seen: Tally::default(),
            retry: Retry::default(),
            waited: None,
        }
    }

    pub(crate) fn is_of(&self, digest: &Digest) -> bool {
        self.candidate.is(digest)
    }
}

/// The part of an [`Observation`] that is kept over a power cut.
///
/// Ranges of outputs are not kept: a value out of range ends a trial at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Frames accounted for, with or without an answer.
    pub frames: u64,
    /// Frames that ended in an error.
    pub errors: u64,
    /// Frames with at least one alarm.
    pub alarms: u64,
    /// Frames whose readings gave way because the release did not keep up.
    pub gaps: u64,
    /// Deaths of the worker.
    pub crashes: u32,
    /// Workers that somebody else has ended.
    #[serde(skip_serializing_if = "is_nought")]
    pub kills: u32,
    /// 95th percentile of the frames' latency in milliseconds.
    pub latency_ms_p95: Option<f64>,
    /// How long it has had the route while readings came.
    pub ran: Duration,
    /// Frames in which a plugin broke.
    #[serde(skip_serializing_if = "is_nought")]
    pub traps: u64,
    /// Readings that the frames account for.
    #[serde(skip_serializing_if = "is_nought")]
    pub readings: u64,
    /// Answers in them.
    #[serde(skip_serializing_if = "is_nought")]
    pub answers: u64,
    /// What was answered.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub values: Values,
}

fn is_nought<Count: Default + PartialEq>(count: &Count) -> bool {
    *count == Count::default()
}

impl Tally {
    /// The counts of an observation.
    pub fn of(seen: &Observation) -> Tally {
        Tally {
            frames: seen.frames,
            errors: seen.errors,
            alarms: seen.alarms,
            gaps: seen.gaps,
            crashes: seen.crashes,
            kills: seen.kills,
            // JSON has no NaN, and a latency that is no number says nothing.
            latency_ms_p95: seen.latency_ms_p95.filter(|p95| p95.is_finite()),
            ran: seen.ran,
            traps: seen.traps,
            readings: seen.readings,
            answers: seen.answers,
            values: seen.values.clone(),
        }
    }

    /// What was seen before together with what is seen `now`, after a boot.
    ///
    /// Percentiles of two parts cannot be merged exactly; the one of the part with more frames
    /// stands for both, because the first frames after a boot are slow.
    pub fn and(&self, now: &Observation) -> Observation {
        let mut values = self.values.clone();
        values.merge(&now.values);
        let longer = if now.frames >= self.frames { now.latency_ms_p95 } else { None };
        Observation {
            frames: self.frames.saturating_add(now.frames),
            errors: self.errors.saturating_add(now.errors),
            alarms: self.alarms.saturating_add(now.alarms),
            gaps: self.gaps.saturating_add(now.gaps),
            ran: self.ran.saturating_add(now.ran),
            latency_ms_p95: longer.or(self.latency_ms_p95).or(now.latency_ms_p95),
            outputs: now.outputs.clone(),
            crashes: self.crashes.saturating_add(now.crashes),
            kills: self.kills.saturating_add(now.kills),
            traps: self.traps.saturating_add(now.traps),
            readings: self.readings.saturating_add(now.readings),
            answers: self.answers.saturating_add(now.answers),
            values,
        }
    }
}
