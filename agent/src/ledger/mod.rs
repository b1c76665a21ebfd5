//! What has been accounted for, on disk: one transaction a batch holds findings, positions and the
//! readings still owed, so that no power cut can separate them.
//!
//! One thread writes. Sources are told only what is committed, and sinks see only that. While the
//! disk is full the thread waits for space and slots go on in memory.

mod batch;
mod door;
mod position;
mod record;
mod tables;
mod writer;

pub use batch::{Addressed, Answer, Batch, Committed, Restored, Span};
pub use door::{Ledger, LedgerError, Outbox, OutboxLimits};
pub use position::{Continuation, Position, RECENT_PACKETS_MAX};
pub use record::{SlotCounts, SlotRecord};
