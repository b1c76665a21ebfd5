//! The tables of `state.redb` that the ledger owns.

use redb::TableDefinition;

/// Slot: position of its source, what it has counted.
pub(super) const SLOTS: TableDefinition<&str, &[u8]> = TableDefinition::new("slots");
/// Slot and stream: readings accepted, readings accounted for.
pub(super) const STREAMS: TableDefinition<(&str, &str), (u64, u64)> =
    TableDefinition::new("streams");
/// Slot and chunk: readings that are kept.
pub(super) const READINGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("readings");
/// Sink and number: a finding as JSON.
pub(super) const OUTBOX: TableDefinition<(&str, u64), &str> = TableDefinition::new("outbox");
/// Sink: findings that wait, findings that had to give way, the next number.
pub(super) const SINKS: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("sinks");
