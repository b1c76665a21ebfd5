//! Intervals and events: stored once, then acknowledged.

use crate::bounds::{ROWS_AT_ONCE, TEXT_CHARS_MAX, sentence, short};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::ear::unreadable;
use crate::ingest::keep::Bounds;
use crate::ingest::ranges::Received;
use crate::ingest::record::{Taken, View};
use crate::ingest::{keep, ranges, record, repeats};
use crate::monitor::{self, Errands};
use crate::registry::slot_shown;
use crate::store::tables::{device, event, interval, quality};
use crate::store::{Store, from_row, to_row, unix_ms};
use lineside_wire::name::DeviceId;
use lineside_wire::range_set::RangeSet;
use lineside_wire::v1::{Ack, Event, Interval, Quality};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::{DatabaseTransaction, EntityTrait, PaginatorTrait};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;

/// What devices have measured.
pub(crate) struct Telemetry {
    pub(super) store: Arc<Store>,
    /// How much is kept of each of so many devices.
    bounds: fn(u64) -> Bounds,
}

/// What was stored of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stored {
    /// Records, without repeats.
    records: usize,
    /// Those of them whose number came before with something else, or with what is gone.
    conflicting: usize,
    /// What is to be done now.
    errands: Errands,
}

impl Telemetry {
    /// The telemetry in `store`.
    pub fn new(store: Arc<Store>) -> Telemetry {
        Telemetry { store, bounds: Bounds::of_each }
    }

    /// Takes a message: stores what is new of it, and gives how many records that were, and what may
    /// be acknowledged: all of it, now that it is on disk. A message that cannot be read is counted
    /// and not acknowledged; a record that cannot be read is stored as it is.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was stored and nothing is to be acknowledged.
    pub async fn take(
        &self,
        fleet: &Fleet,
        device: &DeviceId,
        payload: &[u8],
        now: OffsetDateTime,
    ) -> Result<(usize, Vec<Ack>), Error> {
        let records = match record::read(payload) {
            Ok(records) => records,
            Err(problem) => {
                unreadable(fleet, device, "telemetry", &problem).await?;
                return Ok((0, Vec::new()));
            }
        };
        let mut acked: BTreeMap<i64, RangeSet> = BTreeMap::new();
        for record in &records {
            let sequence = from_row(record.sequence);
            acked.entry(record.boot).or_default().insert(sequence, sequence);
        }
        let odd = records.iter().find_map(|record| match &record.view {
            View::Unreadable { code, problem } => {
                let (boot, sequence) = (record.boot, record.sequence);
                Some(format!("record {boot}/{sequence} of kind {code} cannot be read: {problem}"))
            }
            View::Interval(_)
            | View::Event(_)
            | View::Alert(_)
            | View::Quality(_)
            | View::Unknown(_) => None,
        });
        let context = fleet.monitoring(device, &records, now).await?;
        let stored = self.store_new(device, records, &context, now).await?;
        if stored.errands.tell {
            fleet.outbox.wake();
        }
        if stored.errands.act {
            fleet.due.notify_one();
        }
        if stored.errands.roll {
            fleet.rollouts.is_stale.notify_one();
        }
        let odd = odd.or_else(|| {
            (stored.conflicting > 0).then(|| {
                "says other things under numbers that it used before: was its state lost, set \
                 back or copied? Both are kept"
                    .into()
            })
        });
        if let Some(odd) = odd
            && let Some(more) = fleet.ear.quiet.may_say(device.as_str(), Instant::now())
        {
            tracing::warn!("{device}: {odd}{more}");
        }
        let ack = |(boot, set): (i64, RangeSet)| Ack {
            boot: from_row(boot),
            ranges: set.ranges().collect(),
        };
        Ok((stored.records, acked.into_iter().map(ack).collect()))
    }

    /// Stores the records that are new, in one transaction.
    ///
    /// # Errors
    /// [`Error::Database`].
    async fn store_new(
        &self,
        device: &DeviceId,
        records: Vec<Taken>,
        context: &monitor::Context,
        now: OffsetDateTime,
    ) -> Result<Stored, Error> {
        let writing = self.store.write().await?;
        let transaction = &writing.transaction;
        let Some(known) = device::Entity::find_by_id(device.to_string()).one(transaction).await?
        else {
            return Err(Error::Missing(format!("there is no device {device}")));
        };
        let Received { mut new, known: again, late, given_up } =
            ranges::receive(transaction, device, known.boot, records).await?;
        // What is not among those that are stored has never come, as long as none of them gave way.
        let (late, uncounted): (Vec<Taken>, Vec<Taken>) =
            repeats::conflicting(transaction, device, late).await?.into_iter().partition(
                |record| match record.view {
                    View::Interval(_) | View::Quality(_) => known.intervals_dropped == 0,
                    View::Event(_)
                    | View::Alert(_)
                    | View::Unknown(_)
                    | View::Unreadable { .. } => known.events_dropped == 0,
                },
            );
        new.extend(late);
        // Else it may be counted already, and is not counted again. Perhaps it never was.
        let given_up = given_up.saturating_add(to_row(uncounted.len() as u64));
        insert(transaction, device, &new).await?;
        // Only now: of two records of one message with one number, the second sees the first.
        let conflicting = repeats::conflicting(transaction, device, again).await?;
        insert(transaction, device, &conflicting).await?;
        let mut stored = Stored {
            records: new.len(),
            conflicting: conflicting.len(),
            errands: Errands::default(),
        };
        stored.records += stored.conflicting;
        new.extend(conflicting);
        stored.errands = monitor::take(transaction, device, &new, context).await?;
        keep::add_totals(transaction, device, &new).await?;
        let devices = device::Entity::find().count(transaction).await?;
        let bounds = (self.bounds)(devices);
        let (intervals_gone, events_gone) =
            keep::keep(transaction, device, &new, stored.conflicting, bounds).await?;
        let row = device::ActiveModel {
            name: Unchanged(device.to_string()),
            last_seen_unix_ms: Set(Some(unix_ms(now))),
            intervals_dropped: Set(known.intervals_dropped.saturating_add(intervals_gone)),
            events_dropped: Set(known.events_dropped.saturating_add(events_gone)),
            missing_before: Set(known.missing_before.saturating_add(given_up)),
            ..Default::default()
        };
        device::Entity::update(row).exec(transaction).await?;
        writing.commit().await?;
        Ok(stored)
    }
}

async fn insert(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
) -> Result<(), Error> {
    let (mut intervals, mut events, mut qualities) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match &record.view {
            View::Interval(seen) => intervals.push(interval_row(device, record, seen)),
            View::Quality(seen) => qualities.push(quality_row(device, record, seen)),
            other => events.push(event_row(device, record, other)),
        }
    }
    for rows in intervals.chunks(ROWS_AT_ONCE) {
        interval::Entity::insert_many(rows.to_vec()).exec_without_returning(transaction).await?;
    }
    for rows in events.chunks(ROWS_AT_ONCE) {
        event::Entity::insert_many(rows.to_vec()).exec_without_returning(transaction).await?;
    }
    for rows in qualities.chunks(ROWS_AT_ONCE) {
        quality::Entity::insert_many(rows.to_vec()).exec_without_returning(transaction).await?;
    }
    Ok(())
}

fn quality_row(device: &DeviceId, record: &Taken, seen: &Quality) -> quality::ActiveModel {
    quality::ActiveModel {
        id: NotSet,
        device: Set(device.to_string()),
        boot: Set(record.boot),
        sequence: Set(record.sequence),
        slot: Set(slot_shown(&seen.slot)),
        start_unix_ms: Set(seen.start_unix_ms),
        body: Set(record.body.clone()),
    }
}

fn interval_row(device: &DeviceId, record: &Taken, seen: &Interval) -> interval::ActiveModel {
    interval::ActiveModel {
        id: NotSet,
        device: Set(device.to_string()),
        boot: Set(record.boot),
        sequence: Set(record.sequence),
        backfill: Set(record.backfill),
        slot: Set(slot_shown(&seen.slot)),
        release: Set(record::release_shown(&seen.release)),
        start_unix_ms: Set(seen.start_unix_ms),
        end_unix_ms: Set(seen.end_unix_ms),
        readings: Set(to_row(seen.readings)),
        frames: Set(to_row(seen.frames)),
        findings: Set(to_row(seen.findings)),
        alarms: Set(to_row(seen.alarms)),
        doubled: Set(to_row(seen.doubled)),
        errors: Set(to_row(record::sum(&seen.errors))),
        dropped: Set(to_row(record::sum(&seen.dropped))),
        latency_us_p95: Set(record::latency_us_p95(seen)),
        body: Set(record.body.clone()),
    }
}

fn event_row(device: &DeviceId, record: &Taken, view: &View) -> event::ActiveModel {
    let whole_device = String::new;
    let told = |event: &Event| {
        (
            if event.slot.is_empty() { whole_device() } else { slot_shown(&event.slot) },
            record::event_word(event.kind),
            event.release.as_ref().map(record::release_shown),
            sentence(&event.text, TEXT_CHARS_MAX),
            event.at_unix_ms,
        )
    };
    let (slot, kind, release, text, at_unix_ms) = match view {
        View::Event(event) => told(event),
        View::Alert(alert) => told(&alert.event()),
        // Kept as it came, so that a newer server can read it.
        View::Unknown(code) => {
            let text = "a record of a kind that this server does not know".into();
            (whole_device(), format!("record {code}"), None, text, 0)
        }
        View::Unreadable { code, problem } => {
            let text = short(&format!("record of kind {code}: {problem}"), TEXT_CHARS_MAX);
            (whole_device(), "unreadable_record".into(), None, text, 0)
        }
        View::Interval(_) | View::Quality(_) => unreachable!("they have rows of their own"),
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
        body: Set(record.body.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::MESSAGE_RECORDS_MAX;
    use crate::ingest::WhichQuality;
    use crate::ingest::across::Odd;
    use crate::ingest::keep::Amount;
    use crate::registry::{Names, NewDevice, Registry};
    use lineside_wire::v1::{self, Body, Record};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    async fn telemetry(folder: &tempfile::TempDir) -> (Telemetry, DeviceId) {
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let new = NewDevice { name: "line-3".into(), site: "".into(), labels: BTreeMap::new() };
        Registry::new(store.clone()).add(&crate::audit::By::ADMINISTRATOR, new, NOW).await.unwrap();
        (Telemetry::new(store), "line-3".parse().unwrap())
    }

    fn event(boot: u64, sequence: u64, text: &str) -> Record {
        let event = Event {
            slot: "turbine".into(),
            kind: v1::event::COMMITTED,
            release: None,
            text: text.into(),
            at_unix_ms: 0,
        };
        let (code, body) = Body::Event(event).encode().unwrap();
        Record { boot, sequence, backfill: false, code, body }
    }

    fn read(records: Vec<Record>) -> Vec<Taken> {
        let message = v1::Telemetry { records };
        record::read(&lineside_wire::envelope::encode(&message).unwrap()).unwrap()
    }

    async fn texts(telemetry: &Telemetry, device: &DeviceId) -> Vec<String> {
        let shown = telemetry.events(device, None, 100).await.unwrap();
        shown.into_iter().rev().map(|event| event.text).collect()
    }

    #[tokio::test]
    async fn the_oldest_give_way_by_number_and_by_size_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut telemetry, device) = telemetry(&folder).await;
        telemetry.bounds = |_| Bounds {
            intervals: Amount::default(),
            events: Amount { records: 3, bytes: 5_000 },
            qualities: Amount::default(),
        };
        for sequence in 0..5 {
            let records = read(vec![event(1, sequence, &sequence.to_string())]);
            telemetry.store_new(&device, records, &monitor::Context::default(), NOW).await.unwrap();
        }
        assert_eq!(texts(&telemetry, &device).await, ["2", "3", "4"]);
        // One that takes the room of all others, and one that has no room at all.
        let large = |sequence, bytes: usize| read(vec![event(1, sequence, &"x".repeat(bytes))]);
        telemetry
            .store_new(&device, large(5, 3_500), &monitor::Context::default(), NOW)
            .await
            .unwrap();
        assert_eq!(texts(&telemetry, &device).await, ["x".repeat(TEXT_CHARS_MAX)]);
        telemetry
            .store_new(&device, large(6, 9_000), &monitor::Context::default(), NOW)
            .await
            .unwrap();
        assert!(texts(&telemetry, &device).await.is_empty());
        let row = device::Entity::find_by_id("line-3").one(telemetry.store.read()).await.unwrap();
        assert_eq!(row.unwrap().events_dropped, 7);
        telemetry
            .store_new(&device, read(vec![event(1, 7, "after")]), &monitor::Context::default(), NOW)
            .await
            .unwrap();
        assert_eq!(texts(&telemetry, &device).await, ["after"]);
    }

    /// Stores an event of each of more starts than are kept track of; gives how many.
    async fn many_starts(telemetry: &Telemetry, device: &DeviceId) -> u64 {
        let starts = 2 * MESSAGE_RECORDS_MAX as u64;
        for first in [1, 1 + starts / 2] {
            let of_start = |boot| event(boot, 0, &boot.to_string());
            let records = (first..first + starts / 2).map(of_start).collect();
            telemetry
                .store_new(device, read(records), &monitor::Context::default(), NOW)
                .await
                .unwrap();
        }
        starts
    }

    async fn missing(telemetry: &Telemetry) -> i64 {
        let row = device::Entity::find_by_id("line-3").one(telemetry.store.read()).await.unwrap();
        row.unwrap().missing_before
    }

    #[tokio::test]
    async fn what_comes_again_of_a_start_that_was_given_up_is_counted_no_second_time() {
        let folder = tempfile::tempdir().unwrap();
        let (mut telemetry, device) = telemetry(&folder).await;
        let starts = many_starts(&telemetry, &device).await;
        let stored = async |telemetry: &Telemetry, record| {
            let stored = telemetry
                .store_new(&device, read(vec![record]), &monitor::Context::default(), NOW)
                .await
                .unwrap();
            (stored.records, stored.conflicting)
        };
        // Of an old start and of a new one.
        for boot in [1, 7, starts] {
            assert_eq!(
                stored(&telemetry, event(boot, 0, &boot.to_string())).await,
                (0, 0),
                "{boot}"
            );
        }
        // What never came is counted, once.
        assert_eq!(stored(&telemetry, event(7, 1, "late")).await, (1, 0));
        assert_eq!(stored(&telemetry, event(7, 1, "late")).await, (0, 0));
        assert_eq!(missing(&telemetry).await, 0);
        // Since the stored ones give way nobody knows: it is not counted, and told to be missing.
        telemetry.bounds = |_| Bounds {
            intervals: Amount::default(),
            events: Amount { records: 1_500, bytes: 1 << 30 },
            qualities: Amount::default(),
        };
        assert_eq!(stored(&telemetry, event(starts, 1, "new")).await, (1, 0));
        assert_eq!(stored(&telemetry, event(1, 0, "1")).await, (0, 0));
        assert_eq!(missing(&telemetry).await, 1);
        assert_eq!(
            stored(&telemetry, event(starts - 1, 0, &(starts - 1).to_string())).await,
            (0, 0)
        );
        assert_eq!(missing(&telemetry).await, 1);
    }

    #[tokio::test]
    async fn a_device_whose_starts_begin_anew_below_those_that_were_given_up_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut telemetry, device) = telemetry(&folder).await;
        telemetry.bounds = |_| Bounds {
            intervals: Amount::default(),
            events: Amount { records: 5, bytes: 1 << 30 },
            qualities: Amount::default(),
        };
        many_starts(&telemetry, &device).await;
        let row = device::ActiveModel {
            name: Unchanged(device.to_string()),
            boot: Set(3),
            ..Default::default()
        };
        let writing = telemetry.store.write().await.unwrap();
        device::Entity::update(row).exec(&writing.transaction).await.unwrap();
        writing.commit().await.unwrap();
        for (text, records) in [("anew", 1), ("anew", 0), ("again", 1)] {
            let sequence = u64::from(text == "again");
            let message = read(vec![event(3, sequence, text)]);
            let stored = telemetry
                .store_new(&device, message, &monitor::Context::default(), NOW)
                .await
                .unwrap();
            assert_eq!(stored.records, records, "{text}");
        }
        assert_eq!(missing(&telemetry).await, 0);
    }

    #[tokio::test]
    async fn how_good_answers_were_is_kept_once_within_a_bound_and_shown_by_span() {
        let folder = tempfile::tempdir().unwrap();
        let (mut telemetry, device) = telemetry(&folder).await;
        telemetry.bounds = |_| Bounds {
            intervals: Amount::default(),
            events: Amount::default(),
            qualities: Amount { records: 3, bytes: 1 << 20 },
        };
        let told = |sequence: u64, span: (i64, i64)| {
            let release = v1::ReleaseRef { name: "a".into(), version: "1".into(), digest: [0; 32] };
            let mut quality = Quality::of("turbine", Some(release), "alarm", span);
            quality.meet("true", "false", Some(0.5));
            let (code, body) = Body::Quality(Box::new(quality)).encode().unwrap();
            Record { boot: 1, sequence, backfill: false, code, body }
        };
        let records = vec![told(0, (0, 10)), told(1, (0, 10)), told(2, (10, 20)), told(0, (0, 10))];
        let none = monitor::Context::default();
        let store = async |telemetry: &Telemetry, records: Vec<Record>| {
            telemetry.store_new(&device, read(records), &none, NOW).await.unwrap()
        };
        let stored = store(&telemetry, records.clone()).await;
        assert_eq!((stored.records, stored.conflicting), (3, 0));
        let stored = store(&telemetry, records).await;
        assert_eq!((stored.records, stored.conflicting), (0, 0));
        let which = |slot: Option<&str>, limit: u64| WhichQuality {
            slot: slot.map(str::to_owned),
            release: None,
            from_unix_ms: i64::MIN,
            to_unix_ms: i64::MAX,
            limit,
        };
        let shown = telemetry.quality(&device, &which(Some("turbine"), 100)).await.unwrap();
        let outcomes: Vec<_> = shown.iter().map(|it| (it.outcomes, it.accuracy)).collect();
        assert_eq!(outcomes, [(1, Some(0.0)), (2, Some(0.0))]);
        assert_eq!(telemetry.quality(&device, &which(Some("pump"), 100)).await.unwrap(), []);
        assert_eq!(telemetry.quality(&device, &which(None, 1)).await.unwrap(), shown[..1]);
        store(&telemetry, vec![told(3, (20, 30))]).await;
        let shown = telemetry.quality(&device, &which(None, 100)).await.unwrap();
        assert_eq!(shown.iter().map(|it| it.outcomes).collect::<Vec<_>>(), [1, 1, 1]);
        // One that stands for others counts what they have, and their numbers are not missed.
        let quality = |sequence, span| match told(sequence, span).read().unwrap() {
            Body::Quality(quality) => *quality,
            other => panic!("{other:?}"),
        };
        let whole = quality(4, (30, 40)).merged((1, 4), &quality(5, (40, 50))).unwrap();
        let (code, body) = Body::Quality(Box::new(whole)).encode().unwrap();
        let whole = Record { boot: 1, sequence: 5, backfill: true, code, body };
        let stored = store(&telemetry, vec![whole.clone(), whole]).await;
        assert_eq!((stored.records, stored.conflicting), (1, 0));
        let shown = telemetry.quality(&device, &which(None, 1)).await.unwrap();
        let [shown] = &*shown else { panic!("{shown:?}") };
        assert_eq!((shown.outcomes, &*shown.end), (2, "1970-01-01T00:00:00Z"));
        assert!(texts(&telemetry, &device).await.is_empty());
        let names = Names { first: device.as_str(), last: device.as_str() };
        assert_eq!(telemetry.missing(names).await.unwrap().get(device.as_str()), Some(&0));
    }

    #[tokio::test]
    async fn what_says_something_else_under_a_known_number_is_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let (telemetry, device) = telemetry(&folder).await;
        let stored = async |records: Vec<Record>| {
            let stored = telemetry
                .store_new(&device, read(records), &monitor::Context::default(), NOW)
                .await
                .unwrap();
            (stored.records, stored.conflicting)
        };
        assert_eq!(stored(vec![event(1, 0, "a"), event(1, 1, "b")]).await, (2, 0));
        // One that comes behind a later one is no repeat, and is known as one when it comes again.
        assert_eq!(stored(vec![event(1, 9, "urgent")]).await, (1, 0));
        assert_eq!(stored(vec![event(1, 8, "overtaken"), event(1, 9, "urgent")]).await, (1, 0));
        assert_eq!(stored(vec![event(1, 8, "overtaken")]).await, (0, 0));
        assert_eq!(stored(vec![event(1, 0, "a"), event(1, 1, "other")]).await, (1, 1));
        assert_eq!(stored(vec![event(1, 0, "a"), event(1, 1, "other")]).await, (0, 0));
        assert_eq!(
            stored(vec![event(1, 1, "b"), event(1, 2, "c"), event(1, 2, "d")]).await,
            (2, 1)
        );
        assert_eq!(
            texts(&telemetry, &device).await,
            ["a", "b", "urgent", "overtaken", "other", "c", "d"]
        );
        let names = Names { first: "line-3", last: "line-3" };
        let odd = telemetry.odd(names).await.unwrap();
        assert_eq!(odd["line-3"], Odd { conflicting: 2, unreadable: 0 });
    }
}
