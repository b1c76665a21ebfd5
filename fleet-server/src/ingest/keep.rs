//! What is kept: sums for ever, records up to a number.

use crate::error::Error;
use crate::ingest::record::{Taken, View, sum};
use crate::store::tables::{event, interval, total};
use crate::store::to_row;
use lineside_wire::name::DeviceId;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::collections::BTreeMap;

/// Intervals, and as many events, that are kept of a device; the oldest give way.
const RECORDS_MAX: u64 = 10_000;
/// Slots of a device with sums of their own.
const SLOTS_MAX: usize = 64;
/// What is summed up for slots beyond that. No slot has this name.
const OTHERS: &str = "(others)";

/// What gave way.
pub(super) struct Dropped {
    pub intervals: i64,
    pub events: i64,
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
        let room = totals.len() < SLOTS_MAX || totals.contains_key(&seen.slot);
        let slot = if room { seen.slot.as_str() } else { OTHERS };
        let total = totals.entry(slot.to_owned()).or_insert_with(|| nothing(device, slot));
        let add = |sum: &mut i64, count: u64| *sum = sum.saturating_add(to_row(count));
        add(&mut total.intervals, 1);
        add(&mut total.readings, seen.readings);
        add(&mut total.frames, seen.frames);
        add(&mut total.findings, seen.findings);
        add(&mut total.alarms, seen.alarms);
        add(&mut total.doubled, seen.doubled);
        add(&mut total.errors, sum(&seen.errors));
        add(&mut total.dropped, sum(&seen.dropped));
        changed.insert(slot.to_owned(), total.clone());
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

/// Removes the oldest records beyond the bound.
pub(super) async fn drop_oldest(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
) -> Result<Dropped, Error> {
    use {event::Column as EventColumn, interval::Column as IntervalColumn};
    Ok(Dropped {
        intervals: drop_beyond::<interval::Entity>(
            transaction,
            device,
            IntervalColumn::Device,
            IntervalColumn::Id,
        )
        .await?,
        events: drop_beyond::<event::Entity>(
            transaction,
            device,
            EventColumn::Device,
            EventColumn::Id,
        )
        .await?,
    })
}

async fn drop_beyond<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    device_column: E::Column,
    id_column: E::Column,
) -> Result<i64, Error> {
    let newest_to_go = E::find()
        .select_only()
        .column(id_column)
        .filter(device_column.eq(device.as_str()))
        .order_by_desc(id_column)
        .offset(RECORDS_MAX)
        .limit(1)
        .into_tuple::<i64>()
        .one(transaction)
        .await?;
    let Some(id) = newest_to_go else { return Ok(0) };
    let gone = E::delete_many()
        .filter(device_column.eq(device.as_str()))
        .filter(id_column.lte(id))
        .exec(transaction)
        .await?;
    Ok(to_row(gone.rows_affected))
}
