//! The intervals that an alert is about, put together as one.

use crate::bounds::{EVIDENCE_BYTES_MAX, EVIDENCE_INTERVALS_MAX, EVIDENCES_MAX};
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

/// What is written down of what was too large, so that it does not begin anew.
const GIVEN_UP: &[u8] = &[];

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

/// Puts new intervals of a device to the newest alerts that are about their time: alerts come before them.
pub(super) async fn gather(
    on: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
) -> Result<(), Error> {
    let intervals: Vec<&Interval> = records.iter().filter_map(interval_of).collect();
    if intervals.is_empty() {
        return Ok(());
    }
    use alert::Column::{Digest as OfRelease, EndUnixMs, Evidence, Id, Slot, StartUnixMs};
    let newest = alert::Entity::find()
        .select_only()
        .columns([Id, StartUnixMs, EndUnixMs, Slot, OfRelease])
        .filter(Place::Device(device.clone()).of_rows())
        .filter(alert::Column::FiredUnixMs.is_not_null())
        .order_by_desc(Id)
        .limit(EVIDENCES_MAX)
        .into_tuple::<(i64, i64, i64, String, String)>()
        .all(on)
        .await?;
    for (id, start, end, slot, digest) in newest {
        let is_about = |one: &&&Interval| {
            start <= one.start_unix_ms
                && one.end_unix_ms <= end
                && slot == slot_shown(&one.slot)
                && digest == Digest::from(one.release.digest).hex()
        };
        let mut about = intervals.iter().filter(is_about).peekable();
        if about.peek().is_none() {
            continue;
        }
        let known = alert::Entity::find_by_id(id).select_only().column(Evidence);
        let known = known.into_tuple::<Option<Vec<u8>>>().one(on).await?.flatten();
        if known.as_deref() == Some(GIVEN_UP) {
            continue;
        }
        let before = known.and_then(read);
        let whole = about.fold(before.clone(), |whole, one| Some(together(whole, one)));
        if let Some(whole) = whole.filter(|whole| before.as_ref() != Some(whole)) {
            keep(on, id, whole).await?;
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

/// What is too large is given up: the rest of it alone would say something else.
pub(super) async fn keep(on: &DatabaseTransaction, id: i64, whole: Interval) -> Result<(), Error> {
    let Ok((_, bytes)) = Body::Interval(Box::new(whole)).encode() else { return Ok(()) };
    let evidence = Some(if bytes.len() <= EVIDENCE_BYTES_MAX { bytes } else { GIVEN_UP.to_vec() });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alerts;
    use lineside_wire::v1::ReleaseRef;

    fn release() -> ReleaseRef {
        ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [7; 32] }
    }

    fn hour(hour: i64) -> Taken {
        let interval = Interval {
            readings: 60,
            frames: 30,
            findings: 30,
            ..Interval::of("turbine", release(), (hour * 3_600_000, (hour + 1) * 3_600_000))
        };
        let view = View::Interval(Box::new(interval));
        Taken { boot: 1, sequence: hour, backfill: false, body: vec![], view }
    }

    #[tokio::test]
    async fn what_was_given_up_does_not_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let device: DeviceId = "line-3".parse().unwrap();
        let said = Alert {
            slot: "turbine".into(),
            rule: "high".into(),
            release: release(),
            fired: true,
            start_unix_ms: 0,
            end_unix_ms: 4 * 3_600_000,
            signal: "median of score".into(),
            values: vec![],
            low: 0.0,
            high: 1.0,
            explained: vec![],
            done: vec![],
            at_unix_ms: 10,
        };
        let writing = store.write().await.unwrap();
        let on = &writing.transaction;
        alerts::put(on, &Place::Device(device.clone()), &said, None).await.unwrap();
        let intervals = async || {
            let row = alert::Entity::find_by_id(1).one(on).await.unwrap().unwrap();
            row.evidence.map(|bytes| read(bytes).map(|whole| whole.intervals))
        };
        gather(on, &device, &[hour(0), hour(5)]).await.unwrap();
        gather(on, &device, &[hour(1)]).await.unwrap();
        assert_eq!(intervals().await, Some(Some(2)));
        let given_up = alert::ActiveModel {
            id: Unchanged(1),
            evidence: Set(Some(GIVEN_UP.to_vec())),
            ..Default::default()
        };
        given_up.update(on).await.unwrap();
        gather(on, &device, &[hour(2)]).await.unwrap();
        assert_eq!(intervals().await, Some(None));
    }
}
