//! What is known of a slot beside its streams.

use super::position::Position;
use lineside_bundle::FailSafe;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a slot has counted since it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCounts {
    /// Readings accepted.
    pub accepted: u64,
    /// Rows and messages that were no readings, and readings that gave way, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Frames accounted for.
    pub frames: u64,
    /// Frames without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Findings given.
    pub findings: u64,
    /// Findings with an alarm.
    pub alarms: u64,
    /// Findings that gave way while the disk took nothing.
    pub findings_dropped: u64,
    /// Deaths of workers that were their own.
    pub worker_deaths: u64,
    /// Workers that somebody else has ended: a person, or a system that had no memory left.
    #[serde(default)]
    pub worker_kills: u64,
    /// Readings and answers that could not be captured.
    #[serde(default)]
    pub capture_dropped: u64,
    /// Readings between two committed frames that no frame accounts for: nought.
    pub lost: u64,
    /// Frames that were committed twice: nought.
    pub doubled: u64,
}

/// What is known of a slot beside its streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// How far its source has been read; where it has several, only whether all have ended.
    pub position: Position,
    /// How far each of several sources has been read, by the port that it feeds.
    #[serde(default)]
    pub positions: BTreeMap<String, Position>,
    /// What it has counted.
    pub counts: SlotCounts,
    /// Names of the values of the readings that are kept; `port.field` where several ports are joined.
    pub fields: Vec<String>,
    /// Whether those readings are of several ports that are joined.
    #[serde(default)]
    pub is_joined: bool,
    /// How often the slot has given its fail-safe output beside those of frames.
    pub fail_safe_given: u64,
    /// What the last bundle says when there is no answer.
    pub fail_safe: BTreeMap<String, FailSafe>,
    /// Batches of the slot that were written; only the writing thread counts them.
    #[serde(default)]
    pub batches: u64,
}
