//! Intervals and events: stored once, then acknowledged.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::record::{Taken, View};
use crate::ingest::session::unreadable;
use crate::ingest::{keep, ranges, record};
use crate::registry::unix_ms;
use crate::store::tables::{device, event, interval};
use crate::store::{Store, to_row};
use lineside_wire::name::DeviceId;
use lineside_wire::range_set::RangeSet;
use lineside_wire::topic::Down;
use lineside_wire::v1::Ack;
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::{DatabaseTransaction, EntityTrait};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;

/// Rows that go into one statement; SQLite allows 32,766 values in one.
const ROWS_AT_ONCE: usize = 1_000;
/// Characters of a text that are kept in a column; all of it stays in the record's body.
const TEXT_CHARS_MAX: usize = 1_000;

/// What devices have measured.
pub(crate) struct Telemetry {
    pub(super) store: Arc<Store>,
}

impl Telemetry {
    /// The telemetry in `store`.
    pub fn new(store: Arc<Store>) -> Telemetry {
        Telemetry { store }
    }

    /// Takes a message: stores what is new of it, and acknowledges all of it once that is on disk.
    /// A message that cannot be read is counted and not acknowledged.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was stored and nothing is acknowledged.
    pub async fn take(
        &self,
        fleet: &Fleet,
        device: &DeviceId,
        payload: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let records = match record::read(payload) {
            Ok(records) => records,
            Err(problem) => return unreadable(fleet, device, "telemetry", &problem).await,
        };
        let mut stored: BTreeMap<i64, RangeSet> = BTreeMap::new();
        for record in &records {
            let sequence = crate::store::from_row(record.sequence);
            stored.entry(record.boot).or_default().insert(sequence, sequence);
        }
        self.store_new(device, records, now).await?;
        for (boot, set) in stored {
            let boot = crate::store::from_row(boot);
            fleet.link.send(device, Down::Ack, &Ack { boot, ranges: set.ranges().collect() });
        }
        Ok(())
    }

    /// Stores the records that are new, in one transaction; gives how many there were.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_new(
        &self,
        device: &DeviceId,
        records: Vec<Taken>,
        now: OffsetDateTime,
    ) -> Result<usize, Error> {
        let writing = self.store.write().await?;
        let transaction = &writing.transaction;
        let Some(known) = device::Entity::find_by_id(device.to_string()).one(transaction).await?
        else {
            return Err(Error::Missing(format!("there is no device {device}")));
        };
        let new = ranges::receive(transaction, device, records).await?;
        let count = new.records.len();
        keep::add_totals(transaction, device, &new.records).await?;
        insert(transaction, device, new.records).await?;
        let dropped = keep::drop_oldest(transaction, device).await?;
        let row = device::ActiveModel {
            name: Unchanged(device.to_string()),
            last_seen_unix_ms: Set(Some(unix_ms(now))),
            intervals_dropped: Set(known.intervals_dropped.saturating_add(dropped.intervals)),
            events_dropped: Set(known.events_dropped.saturating_add(dropped.events)),
            missing_before: Set(known.missing_before.saturating_add(new.given_up)),
            ..Default::default()
        };
        device::Entity::update(row).exec(transaction).await?;
        writing.commit().await?;
        Ok(count)
    }
}

async fn insert(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    records: Vec<Taken>,
) -> Result<(), Error> {
    let (mut intervals, mut events) = (Vec::new(), Vec::new());
    for record in records {
        match &record.view {
            View::Interval(_) => intervals.extend(interval_row(device, record)),
            View::Event(_) | View::Unknown(_) => events.push(event_row(device, record)),
        }
    }
    for rows in intervals.chunks(ROWS_AT_ONCE) {
        interval::Entity::insert_many(rows.to_vec()).exec_without_returning(transaction).await?;
    }
    for rows in events.chunks(ROWS_AT_ONCE) {
        event::Entity::insert_many(rows.to_vec()).exec_without_returning(transaction).await?;
    }
    Ok(())
}

fn interval_row(device: &DeviceId, record: Taken) -> Option<interval::ActiveModel> {
    let View::Interval(seen) = record.view else { return None };
    Some(interval::ActiveModel {
        id: NotSet,
        device: Set(device.to_string()),
        boot: Set(record.boot),
        sequence: Set(record.sequence),
        backfill: Set(record.backfill),
        slot: Set(short(&seen.slot)),
        release: Set(short(&record::release_shown(&seen.release))),
        start_unix_ms: Set(seen.start_unix_ms),
        end_unix_ms: Set(seen.end_unix_ms),
        readings: Set(to_row(seen.readings)),
        frames: Set(to_row(seen.frames)),
        findings: Set(to_row(seen.findings)),
        alarms: Set(to_row(seen.alarms)),
        doubled: Set(to_row(seen.doubled)),
        errors: Set(to_row(record::sum(&seen.errors))),
        dropped: Set(to_row(record::sum(&seen.dropped))),
        latency_us_p95: Set(record::latency_us_p95(&seen)),
        body: Set(record.body),
    })
}

fn event_row(device: &DeviceId, record: Taken) -> event::ActiveModel {
    let (slot, kind, release, text, at_unix_ms) = match record.view {
        View::Event(event) => (
            short(&event.slot),
            record::event_word(event.kind),
            event.release.as_ref().map(|release| short(&record::release_shown(release))),
            short(&event.text),
            event.at_unix_ms,
        ),
        // Kept as it came, so that a newer server can read it.
        View::Unknown(code) => {
            let text = "a record of a kind that this server does not know".into();
            (String::new(), format!("record {code}"), None, text, 0)
        }
        View::Interval(_) => unreachable!("intervals have rows of their own"),
    };
    event::ActiveModel {
        id: NotSet,
        device: Set(device.to_string()),
        boot: Set(record.boot),
        sequence: Set(record.sequence),
        slot: Set(slot),
        kind: Set(kind),
        release: Set(release),
        text: Set(text),
        at_unix_ms: Set(at_unix_ms),
        body: Set(record.body),
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
