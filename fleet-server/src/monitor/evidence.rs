//! The intervals that an alert is about, put together as one.

use crate::bounds::{EVIDENCE_BYTES_MAX, EVIDENCE_INTERVALS_MAX};
use crate::error::Error;
use crate::ingest::{Taken, View};
use crate::monitor::alerts::Place;
use crate::registry::slot_shown;
use crate::store::tables::{alert, interval};
use lineside_bundle::Digest;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{Alert, Body, Interval, Record, record};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

/// Puts the intervals of an alert together that are here already.
pub(super) async fn look_up(
    on: &DatabaseTransaction,
    place: &Place,
    id: i64,
    said: &Alert,
) -> Result<(), Error> {
    let Place::Device(device) = place else { return Ok(()) };
    let rows = interval::Entity::find()
        .filter(interval::Column::Device.eq(device.as_str()))
        .filter(interval::Column::Slot.eq(slot_shown(&said.slot)))
        .filter(interval::Column::StartUnixMs.gte(said.start_unix_ms))
        .filter(interval::Column::EndUnixMs.lte(said.end_unix_ms))
        .order_by_asc(interval::Column::Id)
        .limit(EVIDENCE_INTERVALS_MAX)
        .all(on)
        .await?;
    let intervals = rows.into_iter().filter_map(|row| read(row.body));
    let mut whole: Option<Interval> = None;
    for one in intervals.filter(|one| one.release == said.release) {
        whole = Some(together(whole, &one));
    }
    match whole {
        Some(whole) => keep(on, id, whole).await,
        None => Ok(()),
    }
}

/// Puts new intervals of a device to the alerts that are about their time: alerts come before them.
pub(super) async fn gather(
    on: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
) -> Result<(), Error> {
    let intervals: Vec<&Interval> = records.iter().filter_map(interval_of).collect();
    let Some(first) = intervals.iter().map(|one| one.start_unix_ms).min() else { return Ok(()) };
    let alerts = alert::Entity::find()
        .filter(Place::Device(device.clone()).of_rows())
        .filter(alert::Column::EndUnixMs.gt(first))
        .filter(alert::Column::FiredUnixMs.is_not_null())
        .all(on)
        .await?;
    for alert in alerts {
        let is_about = |one: &&&Interval| {
            alert.start_unix_ms <= one.start_unix_ms
                && one.end_unix_ms <= alert.end_unix_ms
                && alert.slot == slot_shown(&one.slot)
                && alert.digest == Digest::from(one.release.digest).hex()
        };
        let mut whole = alert.evidence.clone().and_then(read);
        let before = whole.clone();
        for one in intervals.iter().filter(is_about) {
            whole = Some(together(whole, one));
        }
        if let Some(whole) = whole.filter(|whole| before.as_ref() != Some(whole)) {
            keep(on, alert.id, whole).await?;
        }
    }
    Ok(())
}

fn interval_of(record: &Taken) -> Option<&Interval> {
    match &record.view {
        View::Interval(interval) => Some(interval),
        View::Event(_)
        | View::Alert(_)
        | View::Quality(_)
        | View::Unknown(_)
        | View::Unreadable { .. } => None,
    }
}

/// Both as one. What cannot be counted with the rest is left out: another bundle's columns under the name of
/// this one say nothing of it.
fn together(whole: Option<Interval>, one: &Interval) -> Interval {
    let Some(mut whole) = whole else {
        let mut whole = one.clone();
        whole.stands_for.clear();
        return whole;
    };
    // Nothing is counted where it fails.
    let _ = whole.absorb(one);
    whole
}

pub(super) async fn keep(on: &DatabaseTransaction, id: i64, whole: Interval) -> Result<(), Error> {
    let Ok((_, bytes)) = Body::Interval(Box::new(whole)).encode() else { return Ok(()) };
    let evidence = (bytes.len() <= EVIDENCE_BYTES_MAX).then_some(bytes);
    let row =
        alert::ActiveModel { id: Unchanged(id), evidence: Set(evidence), ..Default::default() };
    row.update(on).await?;
    Ok(())
}

/// An interval as a record has it.
pub(super) fn read(body: Vec<u8>) -> Option<Interval> {
    let code = record::INTERVAL;
    match (Record { boot: 0, sequence: 0, backfill: false, code, body }).read() {
        Ok(Body::Interval(interval)) => Some(*interval),
        _ => None,
    }
}
