//! What is kept: sums for ever, records up to a number and a size.

use crate::bounds::{
    EVENT_BYTES_MAX, INTERVAL_BYTES_MAX, RECORDS_MAX, ROWS_AT_ONCE, SLOTS_MAX, TELEMETRY_BYTES_MAX,
};
use crate::error::Error;
use crate::ingest::record::{Taken, View, sum};
use crate::registry::{OTHER_SLOTS, slot_shown};
use crate::store::tables::{event, interval, quality, stock, total};
use crate::store::{from_row, to_row};
use lineside_wire::name::DeviceId;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::collections::BTreeMap;

/// What a row takes besides its body, by a high guess: columns and entries of indices.
const ROW_BYTES: u64 = 1_024;

/// Records and what they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub records: u64,
    pub bytes: u64,
}

/// How much is kept of one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub intervals: Amount,
    pub events: Amount,
    pub qualities: Amount,
}

impl Amount {
    fn add(&mut self, body_bytes: u64) {
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(body_bytes.saturating_add(ROW_BYTES));
    }

    fn take(&mut self, body_bytes: u64) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(body_bytes.saturating_add(ROW_BYTES));
    }

    fn exceeds(self, bound: Amount) -> bool {
        self.records > bound.records || self.bytes > bound.bytes
    }
}

impl Bounds {
    /// The bounds of each of so many devices.
    pub fn of_each(devices: u64) -> Bounds {
        let share = TELEMETRY_BYTES_MAX / devices.max(1);
        // As the bounds of a device alone: most is for intervals.
        let amount = |bytes: u64, share| Amount { records: RECORDS_MAX, bytes: bytes.min(share) };
        Bounds {
            intervals: amount(INTERVAL_BYTES_MAX, share / 20 * 15),
            events: amount(EVENT_BYTES_MAX, share / 20 * 4),
            qualities: amount(EVENT_BYTES_MAX, share / 20),
        }
    }
}

/// Adds new intervals to the sums of their slots.
pub(super) async fn add_totals(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
) -> Result<(), Error> {
    let known = total::Entity::find()
        .filter(total::Column::Device.eq(device.as_str()))
        .all(transaction)
        .await?;
    let mut totals: BTreeMap<String, total::Model> =
        known.into_iter().map(|total| (total.slot.clone(), total)).collect();
    let mut changed = BTreeMap::new();
    for record in records {
        let View::Interval(seen) = &record.view else { continue };
        let slot = slot_shown(&seen.slot);
        let room = totals.len() < SLOTS_MAX || totals.contains_key(&slot);
        let slot = if room { slot } else { OTHER_SLOTS.to_owned() };
        let total = totals.entry(slot.clone()).or_insert_with(|| nothing(device, &slot));
        let add = |sum: &mut i64, count: u64| *sum = sum.saturating_add(to_row(count));
        // One that stands for several counts as these; what says that it is none is one.
        add(&mut total.intervals, seen.intervals.max(1));
        add(&mut total.readings, seen.readings);
        add(&mut total.frames, seen.frames);
        add(&mut total.findings, seen.findings);
        add(&mut total.alarms, seen.alarms);
        add(&mut total.doubled, seen.doubled);
        add(&mut total.errors, sum(&seen.errors));
        add(&mut total.dropped, sum(&seen.dropped));
        changed.insert(slot, total.clone());
    }
    for total in changed.into_values() {
        use total::Column::{
            Alarms, Device, Doubled, Dropped, Errors, Findings, Frames, Intervals, Readings, Slot,
        };
        let columns = [Intervals, Readings, Frames, Findings, Alarms, Doubled, Errors, Dropped];
        total::Entity::insert(total.into_active_model())
            .on_conflict(OnConflict::columns([Device, Slot]).update_columns(columns).to_owned())
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

fn nothing(device: &DeviceId, slot: &str) -> total::Model {
    total::Model {
        device: device.to_string(),
        slot: slot.to_owned(),
        intervals: 0,
        readings: 0,
        frames: 0,
        findings: 0,
        alarms: 0,
        doubled: 0,
        errors: 0,
        dropped: 0,
    }
}

/// Counts `records` in as kept, removes the oldest beyond the bounds, and gives what gave way:
/// numbers of intervals, with those that tell how good answers were, and of events. `conflicting` of the
/// records had a number of another.
pub(super) async fn keep(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
    conflicting: usize,
    bounds: Bounds,
) -> Result<(i64, i64), Error> {
    let row = stock::Entity::find_by_id(device.to_string()).one(transaction).await?;
    let mut row = row.unwrap_or_else(|| empty(device));
    let kept = |records, bytes| Amount { records: from_row(records), bytes: from_row(bytes) };
    let mut intervals = kept(row.intervals, row.interval_bytes);
    let mut events = kept(row.events, row.event_bytes);
    for record in records {
        let amount = match record.view {
            View::Interval(_) => &mut intervals,
            View::Event(_) | View::Alert(_) | View::Unknown(_) | View::Unreadable { .. } => {
                &mut events
            }
            View::Quality(_) => continue,
        };
        amount.add(record.body.len() as u64);
        if let View::Unreadable { .. } = record.view {
            row.unreadable = row.unreadable.saturating_add(1);
        }
    }
    row.conflicting = row.conflicting.saturating_add(to_row(conflicting as u64));
    let intervals_gone = {
        use interval::Column::{Device, Id};
        let (kept, bound) = (&mut intervals, bounds.intervals);
        drop_oldest::<interval::Entity>(transaction, device, (Device, Id), kept, bound).await?
    };
    let events_gone = {
        use event::Column::{Device, Id};
        let (kept, bound) = (&mut events, bounds.events);
        drop_oldest::<event::Entity>(transaction, device, (Device, Id), kept, bound).await?
    };
    let is_quality = |record: &Taken| matches!(record.view, View::Quality(_));
    let qualities_gone = if records.iter().any(is_quality) {
        use quality::Column::{Device, Id};
        let mut kept = qualities_kept(transaction, device).await?;
        let (kept, bound) = (&mut kept, bounds.qualities);
        drop_oldest::<quality::Entity>(transaction, device, (Device, Id), kept, bound).await?
    } else {
        0
    };
    (row.intervals, row.interval_bytes) = (to_row(intervals.records), to_row(intervals.bytes));
    (row.events, row.event_bytes) = (to_row(events.records), to_row(events.bytes));
    use stock::Column::{
        Conflicting, Device, EventBytes, Events, IntervalBytes, Intervals, Unreadable,
    };
    let columns = [Intervals, IntervalBytes, Events, EventBytes, Conflicting, Unreadable];
    stock::Entity::insert(row.into_active_model())
        .on_conflict(OnConflict::column(Device).update_columns(columns).to_owned())
        .exec_without_returning(transaction)
        .await?;
    Ok((intervals_gone.saturating_add(qualities_gone), events_gone))
}

/// What is kept of how good answers were. Few such records come, so nothing keeps count.
async fn qualities_kept(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
) -> Result<Amount, Error> {
    let kept = quality::Entity::find()
        .select_only()
        .expr_as(Expr::cust("count(*)"), "records")
        .expr_as(Expr::cust("CAST(coalesce(sum(length(body)), 0) AS bigint)"), "body_bytes")
        .filter(quality::Column::Device.eq(device.as_str()))
        .into_tuple::<(i64, i64)>()
        .one(transaction)
        .await?;
    let (records, bytes) = kept.map_or((0, 0), |(n, bytes)| (from_row(n), from_row(bytes)));
    Ok(Amount { records, bytes: bytes.saturating_add(records.saturating_mul(ROW_BYTES)) })
}

fn empty(device: &DeviceId) -> stock::Model {
    stock::Model {
        device: device.to_string(),
        intervals: 0,
        interval_bytes: 0,
        events: 0,
        event_bytes: 0,
        conflicting: 0,
        unreadable: 0,
    }
}

/// Removes the oldest records until `kept` is within the bound; gives how many. Looks at nothing
/// while it is.
async fn drop_oldest<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    (device_column, id_column): (E::Column, E::Column),
    kept: &mut Amount,
    bound: Amount,
) -> Result<i64, Error> {
    let mut gone = 0_i64;
    while kept.exceeds(bound) {
        let oldest = E::find()
            .select_only()
            .column(id_column)
            .expr_as(Expr::cust("CAST(length(body) AS bigint)"), "body_bytes")
            .filter(device_column.eq(device.as_str()))
            .order_by_asc(id_column)
            .limit(ROWS_AT_ONCE as u64)
            .into_tuple::<(i64, i64)>()
            .all(transaction)
            .await?;
        let mut last = None;
        for (id, body_bytes) in oldest {
            if !kept.exceeds(bound) {
                break;
            }
            kept.take(from_row(body_bytes));
            last = Some(id);
        }
        let Some(last) = last else {
            // Nothing is left, so nothing is kept, whatever was counted.
            *kept = Amount::default();
            break;
        };
        let removed = E::delete_many()
            .filter(device_column.eq(device.as_str()))
            .filter(id_column.lte(last))
            .exec(transaction)
            .await?;
        gone = gone.saturating_add(to_row(removed.rows_affected));
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_share_what_all_of_them_may_keep() {
        let one = Bounds::of_each(1);
        assert_eq!((one.intervals.bytes, one.events.bytes), (INTERVAL_BYTES_MAX, EVENT_BYTES_MAX));
        for devices in [0, 1, 100, 500, 10_000, u64::MAX] {
            let each = Bounds::of_each(devices);
            let bytes = each.intervals.bytes + each.events.bytes + each.qualities.bytes;
            let bytes = u128::from(bytes);
            assert!(bytes * u128::from(devices) <= u128::from(TELEMETRY_BYTES_MAX), "{devices}");
        }
    }
}
