//! What goes into the ledger at a time, and what comes out of it again.

use super::record::SlotRecord;
use crate::worker::route::{Chunk, JournalStep, StreamState};
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The readings that one committed frame accounts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The stream.
    pub key: String,
    /// First reading.
    pub first: u64,
    /// Last reading; before `first` where there is none.
    pub last: u64,
}

/// A finding on its way to sinks.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The sinks.
    pub sinks: Arc<[String]>,
    /// A JSON object, without the number that the outbox gives it.
    pub json: String,
}

/// One batch of a slot.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The slot.
    pub slot: SlotName,
    /// What is known of it.
    pub record: SlotRecord,
    /// Readings that are kept, and streams.
    pub journal: JournalStep,
    /// Frames that are accounted for.
    pub spans: Vec<Span>,
    /// What they found.
    pub findings: Vec<Addressed>,
}

/// A slot as it was last committed.
#[derive(Debug, Default)]
pub struct Restored {
    /// What was known of it.
    pub record: SlotRecord,
    /// Where its new streams begin to be numbered.
    pub first: u64,
    /// Its streams.
    pub streams: BTreeMap<String, StreamState>,
    /// The readings that were kept, by chunk.
    pub chunks: Vec<(u64, Chunk)>,
}

/// What a commit found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Readings lost, by this batch.
    pub lost: u64,
    /// Frames doubled, by this batch.
    pub doubled: u64,
}

/// What a commit answers: what it found out, or the batch again.
pub type Answer = Result<Committed, Box<Batch>>;
