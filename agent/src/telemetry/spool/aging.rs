//! What has waited for too long. Days are those that the device has been running: its clock may show
//! anything, and it may be switched off for weeks.

use super::freed::GaveWay;
use super::{Key, SpoolError, TABLES};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::time::Duration;

/// Day: the first record that was written on it or after it.
pub(super) const DAYS: TableDefinition<u64, Key> = TableDefinition::new("spool/days");
/// How long the device has been running in all, in milliseconds.
pub(super) const RAN: TableDefinition<(), u64> = TableDefinition::new("spool/ran");

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Records that go at once. The rest goes with the next that is written.
const GONE_AT_ONCE: usize = 4096;

/// Notes that the device has been running for `ran` in all when the record `next` is about to be written,
/// and removes what was written more than `days_max` days of running before.
pub(super) fn age(
    transaction: &WriteTransaction,
    ran: Duration,
    next: Key,
    days_max: u64,
) -> Result<GaveWay, SpoolError> {
    let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
    transaction.open_table(RAN)?.insert((), ran_ms)?;
    let mut days = transaction.open_table(DAYS)?;
    let today = ran_ms / DAY_MS;
    if days.get(today)?.is_none() {
        days.insert(today, next)?;
    }
    let mut aged = GaveWay::default();
    let Some(first_kept) = today.checked_sub(days_max) else { return Ok(aged) };
    let kept_from = days.range(first_kept..)?.next().transpose()?.map(|(_, key)| key.value());
    let (Some(kept_from), Some((oldest, _))) =
        (kept_from, days.first()?.map(|(day, key)| (day.value(), key.value())))
    else {
        return Ok(aged);
    };
    if oldest >= first_kept {
        return Ok(aged);
    }
    for table in TABLES {
        let mut table = transaction.open_table(table)?;
        let room = GONE_AT_ONCE - aged.entries;
        for entry in table.extract_from_if(..kept_from, |_, _| true)?.take(room) {
            aged.add(entry?.1.value());
        }
    }
    if aged.entries < GONE_AT_ONCE {
        days.retain(|day, _| day >= first_kept)?;
    }
    Ok(aged)
}
