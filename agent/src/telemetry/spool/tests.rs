//! What the spool keeps, gives up and tells.

use super::*;
use crate::database::tests::in_memory;
use lineside_update::ReportKind;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Ack, Event, StandsFor, Telemetry, event};
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(super) fn event(text: &str) -> Body {
    let (slot, text) = ("line".into(), text.into());
    Body::Event(Event { slot, kind: event::ALARM, release: None, text, at_unix_ms: 1 })
}

pub(super) fn interval(frames: u64) -> Body {
    Body::Interval(Box::new(open_interval(frames)))
}

fn open_interval(frames: u64) -> Interval {
    let release =
        lineside_wire::v1::ReleaseRef { name: "echo".into(), version: "1".into(), digest: [1; 32] };
    Interval { frames, ..Interval::of("line", release, (0, 1)) }
}

pub(super) fn none() -> BTreeMap<String, Option<Interval>> {
    BTreeMap::new()
}

/// What waits: alerts and events first, the oldest first.
pub(super) fn keys(spool: &Spool) -> Vec<Key> {
    let transaction = spool.database.begin_read().unwrap();
    let of = |table| {
        let table = transaction.open_table(table).unwrap();
        let keys = table.iter().unwrap().map(|entry| entry.unwrap().0.value());
        keys.collect::<Vec<_>>()
    };
    [of(ALERTS), of(EVENTS), of(INTERVALS)].concat()
}

/// The next message of all that may be sent at once, and the records in it.
fn batch(spool: &Spool, pace: impl Fn(&Key) -> Pace) -> Option<(Vec<u8>, Vec<Key>)> {
    let batch = spool.waiting().batch(Allowed::all(&pace)).unwrap();
    batch.map(|batch| (batch.message, batch.keys))
}

/// Sends all that waits, as if nothing of it arrived.
fn send(spool: &Spool) {
    let mut under_way = BTreeSet::new();
    loop {
        let pace = |key: &Key| if under_way.contains(key) { Pace::Wait } else { Pace::Company };
        let Some((_, keys)) = batch(spool, pace) else { break };
        under_way.extend(keys);
    }
}

/// The intervals that wait, with their numbers.
fn intervals(spool: &Spool) -> Vec<(Key, Interval)> {
    let mut all = Vec::new();
    spool
        .waiting()
        .load(usize::MAX, 1, |message| {
            all.extend(decode::<Telemetry>(&message).unwrap().records);
        })
        .unwrap();
    let of = |record: Record| match record.read().unwrap() {
        Body::Interval(interval) => Some(((record.boot, record.sequence), *interval)),
        Body::Event(_) | Body::Alert(_) | Body::Quality(_) | Body::Unknown(_) => None,
    };
    all.into_iter().filter_map(of).collect()
}

/// The records of outcomes that wait, with their numbers. Nothing is noted by it.
fn qualities(spool: &Spool) -> Vec<(Key, Quality)> {
    let table = spool.database.begin_read().unwrap().open_table(INTERVALS).unwrap();
    let mut all = Vec::new();
    for entry in table.iter().unwrap() {
        let (key, value) = entry.unwrap();
        let (code, body) = value.value();
        let record = Record { boot: 0, sequence: 0, backfill: false, code, body: body.to_vec() };
        if let Body::Quality(quality) = record.read().unwrap() {
            all.push((key.value(), *quality));
        }
    }
    all
}

#[test]
fn records_stay_until_they_are_acknowledged_whatever_happens_meanwhile() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    spool.write(&[interval(1), event("a"), interval(2)], &none()).unwrap();
    assert_eq!(keys(&spool), [(1, 1), (1, 0), (1, 2)], "events come first");
    let pace = |key: &Key| if *key == (1, 2) { Pace::Wait } else { Pace::Company };
    let allowed = Allowed { fresh: 1, ..Allowed::all(&pace) };
    let message = spool.waiting().batch(allowed).unwrap().unwrap().message;
    let records = decode::<Telemetry>(&message).unwrap().records;
    assert_eq!(records.iter().map(|r| r.backfill).collect::<Vec<_>>(), [false, true]);
    drop(spool);
    let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
    spool.write(&[event("b")], &none()).unwrap();
    assert_eq!(keys(&spool), [(1, 1), (2, 0), (1, 0), (1, 2)]);
    for ranges in [vec![(5, 2)], vec![(7, u64::MAX)], vec![]] {
        spool.acked(&Ack { boot: 1, ranges }).unwrap();
    }
    assert_eq!(keys(&spool).len(), 4, "what was not sent is not taken for stored");
    spool.acked(&Ack { boot: 1, ranges: vec![(0, 1)] }).unwrap();
    assert_eq!(keys(&spool), [(2, 0), (1, 2)]);
    spool.acked(&Ack { boot: 1, ranges: vec![(0, u64::MAX)] }).unwrap();
    spool.acked(&Ack { boot: 2, ranges: vec![(0, 0)] }).unwrap();
    assert_eq!((spool.bytes(), batch(&spool, |_| Pace::Company)), (0, None));
}

#[test]
fn a_record_that_went_unanswered_is_sent_by_itself_after_the_others() {
    let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
    spool.write(&[event("a"), event("poison"), event("b")], &none()).unwrap();
    let sent = |wait: &[u64]| {
        let pace = |(_, sequence): &Key| match sequence {
            sequence if wait.contains(sequence) => Pace::Wait,
            1 => Pace::Alone,
            _ => Pace::Company,
        };
        batch(&spool, pace).map(|(_, keys)| keys).unwrap_or_default()
    };
    assert_eq!(sent(&[]), [(1, 0), (1, 2)]);
    assert_eq!(sent(&[0, 2]), [(1, 1)]);
    assert_eq!(sent(&[0, 1, 2]), []);
}

#[test]
fn a_record_that_no_message_can_carry_gives_way_and_stops_no_other() {
    let mut spool = Spool::open(in_memory(), 1, 1 << 30).unwrap();
    let huge = event(&"x".repeat(BODY_BYTES_MAX));
    let large = event(&"x".repeat(BODY_BYTES_MAX - 100));
    spool.write(&[event("a"), huge, large.clone(), large, event("b")], &none()).unwrap();
    assert_eq!(spool.gave_way(), 1);
    let mut messages = 0;
    while let Some((_, keys)) = batch(&spool, |_| Pace::Company) {
        messages += 1;
        let ranges = keys.iter().map(|(_, sequence)| (*sequence, *sequence)).collect();
        spool.acked(&Ack { boot: 1, ranges }).unwrap();
    }
    assert_eq!(messages, 4, "each of the large ones goes by itself");
}

#[test]
fn a_full_spool_gives_up_old_intervals_and_keeps_events() {
    let mut spool = Spool::open(in_memory(), 1, 4096).unwrap();
    spool.write(&[event("kept")], &none()).unwrap();
    for number in 0..500 {
        // Each of a release of its own, so that none is merged.
        let interval = of_release(number, 10, &number.to_string(), 60);
        spool.write(&[written(interval)], &none()).unwrap();
        assert!(spool.bytes() <= 4096);
    }
    let kept = keys(&spool);
    assert_eq!(kept[0], (1, 0), "the event");
    assert_eq!(kept.last(), Some(&(1, 500)), "the newest interval");
    let gave_way = spool.gave_way();
    assert_eq!(gave_way, 501 - kept.len() as u64);
    for number in 0..500 {
        spool.write(&[event(&number.to_string())], &none()).unwrap();
    }
    assert_eq!(spool.gave_way(), gave_way + 500 + kept.len() as u64 - keys(&spool).len() as u64);
    assert!(spool.bytes() <= 4096 && !keys(&spool).is_empty());
}

#[test]
fn what_gave_way_is_known_until_it_is_told_whatever_happens_meanwhile() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    while spool.gave_way() == 0 {
        spool.write(&[event("x")], &none()).unwrap();
    }
    drop(spool);
    let mut spool = Spool::open(database.clone(), 2, 4096).unwrap();
    assert_eq!(spool.gave_way(), 1);
    let (intervals, judged) = (none(), BTreeMap::new());
    let answers = &BTreeMap::new();
    let open = Open { intervals: &intervals, judged: &judged, qualities: None, answers };
    // The record that tells of it takes the place of another one.
    spool.write_with(&[event("it gave way")], open, 1).unwrap();
    assert_eq!(spool.gave_way(), 1);
    spool.acked(&Ack { boot: 1, ranges: vec![(0, u64::MAX)] }).unwrap();
    spool.write_with(&[event("another one did")], open, 1).unwrap();
    drop(spool);
    assert_eq!(Spool::open(database, 3, 4096).unwrap().gave_way(), 0);
}

#[test]
fn a_merged_interval_that_gives_way_counts_as_those_it_is_made_of() {
    let mut spool = Spool::open(in_memory(), 1, 8192).unwrap();
    for number in 0..500 {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
    }
    assert_eq!(spool.gave_way(), 0);
    let gone = event(&"x".repeat(8_000));
    spool.write(&[gone], &none()).unwrap();
    assert_eq!((spool.gave_way(), keys(&spool)), (500, vec![(1, 500)]));

    // The same of those that have waited for too long.
    let mut spool = Spool::open(in_memory(), 1, 8192).unwrap().for_days(10);
    for number in 0..500 {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
    }
    spool.ran_before = Duration::from_secs(20 * 86_400);
    spool.write(&[event("x")], &none()).unwrap();
    assert_eq!((spool.gave_way(), keys(&spool)), (500, vec![(1, 500)]));
}

#[test]
fn what_an_agent_has_left_that_kept_no_count_keeps_to_the_bound_as_well() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    while spool.gave_way() == 0 {
        spool.write(&[event("kept"), interval(1)], &none()).unwrap();
    }
    let (bytes, records) = (spool.bytes(), keys(&spool).len());
    drop(spool);
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(BYTES).unwrap());
    transaction.commit().unwrap();

    let mut spool = Spool::open(database.clone(), 2, 4096).unwrap();
    assert_eq!((spool.bytes(), keys(&spool).len()), (bytes, records));
    let before = spool.gave_way();
    while spool.gave_way() == before {
        spool.write(&[event("kept"), interval(1)], &none()).unwrap();
        assert!(spool.bytes() <= 4096);
    }
    for boot in [1, 2] {
        spool.acked(&Ack { boot, ranges: vec![(0, u64::MAX - 1)] }).unwrap();
    }
    assert_eq!((spool.bytes(), keys(&spool).len()), (0, 0));
    assert_eq!(Spool::open(database, 3, 4096).unwrap().bytes(), 0);
}

#[test]
fn a_report_is_told_once_however_often_it_is_handed_over() {
    let database = in_memory();
    let report = |number| Report {
        number,
        kind: ReportKind::Committed,
        release: None,
        text: "it stays".into(),
    };
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    assert!(spool.report("line", &report(0), &event("0")).unwrap());
    assert!(spool.report("line", &report(1), &event("1")).unwrap());
    assert!(!spool.report("line", &report(1), &event("1")).unwrap());
    assert!(spool.report("other", &report(0), &event("2")).unwrap());
    drop(spool);
    let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
    assert!(!spool.report("line", &report(0), &event("0")).unwrap());
    assert_eq!(keys(&spool).len(), 3);
}

#[test]
fn reports_that_gave_way_before_the_disk_took_them_are_counted_and_told() {
    let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
    let report = |number| Report {
        number,
        kind: ReportKind::Committed,
        release: None,
        text: "it stays".into(),
    };
    // Of a state that was lost and is numbered from far above nobody knows what came before.
    for number in [7, 8, 12, 14, 14, 15] {
        spool.report("line", &report(number), &event("told")).unwrap();
    }
    let (message, _) = batch(&spool, |_| Pace::Company).unwrap();
    let told = |record: Record| match record.read().unwrap() {
        Body::Event(event) => (event.kind, event.text),
        other => panic!("nothing else was written: {other:?}"),
    };
    let records = decode::<Telemetry>(&message).unwrap().records;
    let told: Vec<_> = records.into_iter().map(told).collect();
    let alarm = || (event::ALARM, "told".to_owned());
    let gave_way = |text: &str| (event::RECORDS_DROPPED, text.to_owned());
    let wanted = [
        alarm(),
        alarm(),
        gave_way("3 reports of this slot gave way before the disk took them"),
        alarm(),
        gave_way("a report of this slot gave way before the disk took it"),
        alarm(),
        alarm(),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn the_open_interval_is_there_after_a_restart() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    let open = BTreeMap::from([("line".to_owned(), Some(open_interval(9)))]);
    spool.write(&[], &open).unwrap();
    drop(spool);
    let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
    assert_eq!(spool.open_interval("line").unwrap(), Some(open_interval(9)));
    assert_eq!(spool.open_slots().unwrap(), ["line"]);
    spool.write(&[interval(9)], &BTreeMap::from([("line".to_owned(), None)])).unwrap();
    assert_eq!(spool.open_interval("line").unwrap(), None);
}

#[test]
fn a_start_that_could_not_be_counted_uses_no_number_twice() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    spool.write(&[event("a"), interval(1)], &none()).unwrap();
    assert_eq!(Spool::open(database.clone(), 1, 1 << 20).unwrap().next(), 2);
    // Nor the numbers of what the server has stored since.
    spool.acked(&Ack { boot: 1, ranges: vec![(0, 1)] }).unwrap();
    assert_eq!(Spool::open(database.clone(), 1, 1 << 20).unwrap().next(), 2);
    assert_eq!(Spool::open(database, 2, 1 << 20).unwrap().next(), 0);
}

/// Interval `number` of `minutes` each, of a release and with so many frames.
fn of_release(number: u64, minutes: u64, version: &str, frames: u64) -> Interval {
    let start = i64::try_from(number * minutes * 60_000).unwrap();
    let mut interval = open_interval(frames);
    interval.release.version = version.into();
    interval.readings = 3 * frames + 1;
    interval.dropped = vec![("missing".into(), frames % 5)];
    interval.start_unix_ms = start;
    interval.end_unix_ms = start + i64::try_from(minutes * 60_000).unwrap();
    (0..frames % 50).for_each(|frame| interval.latency_us.add(100.0 + frame as f64));
    interval
}

fn written(interval: Interval) -> Body {
    Body::Interval(Box::new(interval))
}

/// What outcomes of interval `number` say, of a release and with so many outcomes.
fn quality_of(number: u64, version: &str, outcomes: u64) -> Quality {
    let of = of_release(number, 10, version, 0);
    let span = (of.start_unix_ms, of.end_unix_ms);
    let mut quality = Quality::of("line", Some(of.release), "alarm", span);
    for outcome in 0..outcomes {
        let (answered, outcome) = (outcome % 3 == 0, outcome % 2 == 0);
        quality.meet(&answered.to_string(), &outcome.to_string(), Some(number as f64));
    }
    quality.unfit = number % 5;
    quality
}

fn told(quality: Quality) -> Body {
    Body::Quality(Box::new(quality))
}

/// Frames, readings, dropped readings, latencies and intervals, by release; or what outcomes of it say.
type Sums = BTreeMap<String, [u64; 5]>;

fn add(sums: &mut Sums, interval: &Interval) {
    let dropped = interval.dropped.iter().map(|(_, count)| count).sum();
    let latencies = interval.latency_us.count();
    let counts = [interval.frames, interval.readings, dropped, latencies, interval.intervals];
    let sums = sums.entry(interval.release.version.clone()).or_default();
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn add_quality(sums: &mut Sums, quality: &Quality) {
    let met = quality.met.iter().map(|met| met.count).sum();
    let scores = quality.scores.iter().map(|it| it.scores.count()).sum();
    let counts = [quality.outcomes, quality.unfit, met, scores, quality.records];
    let version = quality.release.as_ref().unwrap().version.clone();
    let sums = sums.entry(format!("outcomes of {version}")).or_default();
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

/// Every number that is there or that another one stands for, in rising order.
fn numbers<'a>(kept: impl Iterator<Item = (&'a Key, &'a Vec<StandsFor>)>) -> Vec<Key> {
    let mut numbers = Vec::new();
    for (key, stands_for) in kept {
        numbers.push(*key);
        for StandsFor { boot, first, last } in stands_for {
            numbers.extend((*first..=*last).map(|number| (*boot, number)));
        }
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_outcomes_say_is_merged_where_there_is_no_room_and_counts_all() {
    let mut spool = Spool::open(in_memory(), 1, 8192).unwrap();
    let mut accepted = Sums::new();
    for number in 0..400 {
        let quality = quality_of(number, if number < 150 { "1" } else { "2" }, 7 + number % 3);
        add_quality(&mut accepted, &quality);
        spool.write(&[told(quality)], &none()).unwrap();
        let interval = of_release(number, 10, "1", 60);
        add(&mut accepted, &interval);
        spool.write(&[written(interval)], &none()).unwrap();
        assert!(spool.bytes() <= 8192);
    }
    assert_eq!(spool.gave_way(), 0);
    let (kept, intervals) = (qualities(&spool), intervals(&spool));
    let mut counted = Sums::new();
    kept.iter().for_each(|(_, quality)| add_quality(&mut counted, quality));
    intervals.iter().for_each(|(_, interval)| add(&mut counted, interval));
    assert_eq!(counted, accepted);
    // Each says which numbers it stands for, and old spans are the coarse ones.
    let of_qualities = kept.iter().map(|(key, it)| (key, &it.stands_for));
    let all = of_qualities.chain(intervals.iter().map(|(key, it)| (key, &it.stands_for)));
    assert_eq!(numbers(all), (0..800).map(|number| (1, number)).collect::<Vec<_>>());
    let (first, last) = (&kept[0].1, &kept[kept.len() - 1].1);
    assert!(first.records > 1 && last.records == 1, "{} and {}", first.records, last.records);
    // What gives way counts as those that it is made of.
    spool.write(&[event(&"x".repeat(8_000))], &none()).unwrap();
    assert_eq!((spool.gave_way(), keys(&spool)), (800, vec![(1, 800)]));
}

#[test]
fn outcomes_that_were_sent_are_merged_with_nothing_nor_those_of_which_nobody_knows() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    let write = |spool: &mut Spool, number| {
        spool.write(&[told(quality_of(number, "1", 9))], &none()).unwrap();
    };
    (0..5).for_each(|number| write(&mut spool, number));
    send(&spool);
    let sent = qualities(&spool);
    // The power fails before the server has said anything.
    drop(spool);
    let mut spool = Spool::open(database.clone(), 2, 4096).unwrap();
    (5..100).for_each(|number| write(&mut spool, number));
    assert_eq!((spool.gave_way(), &qualities(&spool)[..5]), (0, &*sent));
    let all = qualities(&spool);
    let all = numbers(all.iter().map(|(key, quality)| (key, &quality.stands_for)));
    let wanted = (0..5).map(|number| (1, number)).chain((0..95).map(|number| (2, number)));
    assert_eq!(all, wanted.collect::<Vec<_>>());

    // An agent before this one noted nothing of them.
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    (0..5).for_each(|number| write(&mut spool, number));
    let before = qualities(&spool);
    drop(spool);
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(merging::NOTED).unwrap());
    transaction.commit().unwrap();
    let mut spool = Spool::open(database.clone(), 2, 4096).unwrap();
    (5..100).for_each(|number| write(&mut spool, number));
    assert_eq!((spool.gave_way(), &qualities(&spool)[..5]), (0, &*before));
    assert!(qualities(&spool).len() < 50, "those behind them are merged");
}

#[test]
fn a_year_without_a_server_is_counted_within_the_budget_to_the_last_reading() {
    const BUDGET: u64 = 64 << 10;
    const TEN_MINUTES: u64 = 365 * 24 * 6;
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, BUDGET).unwrap();
    let mut accepted = Sums::new();
    let mut events = 0;
    for hour in 0..TEN_MINUTES / 6 {
        if hour % (30 * 24) == 7 {
            // It is switched off and on each month.
            let boot = 2 + hour / (30 * 24);
            drop(spool);
            spool = Spool::open(database.clone(), boot, BUDGET).unwrap();
            spool.write(&[event("it is on again")], &none()).unwrap();
            events += 1;
        }
        let of_number = |number| {
            let version = if number < TEN_MINUTES / 2 { "1" } else { "2" };
            of_release(number, 10, version, 600 + number % 7)
        };
        let hours: Vec<_> = (6 * hour..6 * hour + 6).map(of_number).collect();
        hours.iter().for_each(|interval| add(&mut accepted, interval));
        spool.write(&hours.into_iter().map(written).collect::<Vec<_>>(), &none()).unwrap();
        assert!(spool.bytes() <= BUDGET);
    }
    assert_eq!(spool.gave_way(), 0);
    let kept = intervals(&spool);
    let mut counted = Sums::new();
    kept.iter().for_each(|(_, interval)| add(&mut counted, interval));
    assert_eq!(counted, accepted);
    // Each says which span it stands for; none overlaps, and none is out of all proportion.
    let mut spans: Vec<_> =
        kept.iter().map(|(_, it)| (it.start_unix_ms, it.end_unix_ms, it.intervals)).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    let days: Vec<i64> = spans.iter().map(|(start, end, _)| (end - start) / 86_400_000).collect();
    let longest = days.iter().max().unwrap();
    assert!(kept.len() > 40 && *longest < 30, "{} intervals of {days:?} days", kept.len());
    assert_eq!(keys(&spool).iter().filter(|key| key.1 == 0).count(), events, "the events");
}

#[test]
fn however_much_is_wanted_those_that_are_looked_at_do_not_all_become_one() {
    let spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
    let transaction = spool.database.begin_write().unwrap();
    let mut intervals = transaction.open_table(INTERVALS).unwrap();
    for number in 0..64 {
        let (code, body) = written(of_release(number, 10, "1", 7)).encode().unwrap();
        intervals.insert((1, number), (code, &*body)).unwrap();
    }
    let freed = merging::merge(&mut intervals, (None, &BTreeSet::new()), 1, u64::MAX).unwrap();
    let left = intervals.iter().unwrap().count();
    assert!(freed > 0 && (8..64).contains(&left), "{left} are left, {freed} bytes are free");
}

#[test]
fn what_was_sent_is_merged_with_nothing_whatever_happens_meanwhile() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    let write = |spool: &mut Spool, number| {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
    };
    (0..5).for_each(|number| write(&mut spool, number));
    let message = batch(&spool, |_| Pace::Company).unwrap().0;
    let sent = decode::<Telemetry>(&message).unwrap().records;
    // The power fails before the server has said anything.
    drop(spool);
    let mut spool = Spool::open(database, 2, 4096).unwrap();
    (5..200).for_each(|number| write(&mut spool, number));
    assert_eq!(spool.gave_way(), 0);
    let message = batch(&spool, |_| Pace::Company).unwrap().0;
    let again = decode::<Telemetry>(&message).unwrap().records;
    assert_eq!(
        again[..5].iter().map(|r| &r.body).collect::<Vec<_>>(),
        sent.iter().map(|r| &r.body).collect::<Vec<_>>()
    );
    let merged = intervals(&spool);
    assert!(merged[..5].iter().all(|(_, it)| it.intervals == 1 && it.stands_for.is_empty()));
    assert_eq!(merged.iter().map(|(_, it)| it.intervals).sum::<u64>(), 200);
    // Each number is there, or another one stands for it.
    let numbers = numbers(merged.iter().map(|(key, interval)| (key, &interval.stands_for)));
    let all = (0..5).map(|number| (1, number)).chain((0..195).map(|number| (2, number)));
    assert_eq!(numbers, all.collect::<Vec<_>>());
}

#[test]
fn events_and_what_is_new_go_before_what_waited_which_goes_at_its_rate() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    let write = |spool: &mut Spool, numbers: std::ops::Range<u64>| {
        for number in numbers {
            spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
        }
    };
    spool.write(&[event("old")], &none()).unwrap();
    write(&mut spool, 0..20);
    drop(spool);
    let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
    write(&mut spool, 20..23);
    let fresh = spool.next();
    let first = spool.waiting().newest(fresh).unwrap();
    assert_eq!(first, [(2, 2)]);
    write(&mut spool, 23..25);
    spool.write(&[event("new")], &none()).unwrap();
    let size = |number| size(&written(of_release(number, 10, "1", 60)).encode().unwrap().1);
    let room = 3 * size(0);
    let batch = |room, pace: &dyn Fn(&Key) -> Pace| {
        let allowed = Allowed { fresh, first: &first, room, pace };
        let batch = spool.waiting().batch(allowed).unwrap().unwrap();
        let records = decode::<Telemetry>(&batch.message).unwrap().records;
        let told: Vec<_> = records.iter().map(|it| ((it.boot, it.sequence), it.backfill)).collect();
        (told, batch.waited_bytes)
    };
    let company = |_: &Key| Pace::Company;
    let (old, new, newest) = ((1, 0), [(2, 3), (2, 4), (2, 5)], (2, 2));
    // There is room for the old event and two intervals.
    let (told, bytes) = batch(room, &company);
    let wanted = [
        (old, true),
        (new[2], false),
        (new[0], false),
        (new[1], false),
        (newest, true),
        ((1, 1), true),
    ];
    assert_eq!(told, wanted);
    assert!(bytes > 2 * size(0) && bytes <= room, "{bytes}");
    // Where there is none, what is new goes by itself, but no event before an older one.
    let (told, bytes) = batch(0, &company);
    assert_eq!((told, bytes), (vec![(new[0], false), (new[1], false)], 0));
    // One goes however little room there is, and what went unanswered takes room too.
    let pace = |key: &Key| match key {
        (1, 0) | (2, 5) => Pace::Wait,
        (2, 3) => Pace::Again,
        _ => Pace::Company,
    };
    let (told, bytes) = batch(1, &pace);
    assert_eq!((told, bytes), (vec![(new[0], true), (new[1], false)], size(23)));
    let alone = |key: &Key| if *key == newest { Pace::Alone } else { Pace::Wait };
    assert_eq!(batch(1, &alone), (vec![(newest, true)], size(22)));
    let allowed = Allowed { fresh, first: &first, room: 0, pace: &alone };
    assert_eq!(spool.waiting().batch(allowed).unwrap(), None);
}

/// What a rule says: that it fires, or is over.
fn alert(rule: &str, fired: bool) -> Body {
    let release =
        lineside_wire::v1::ReleaseRef { name: "echo".into(), version: "1".into(), digest: [1; 32] };
    Body::Alert(Box::new(lineside_wire::v1::Alert {
        slot: "line".into(),
        release,
        rule: rule.into(),
        fired,
        signal: "median of score".into(),
        values: vec![1.5],
        low: 0.0,
        high: 1.0,
        start_unix_ms: 0,
        end_unix_ms: 1,
        explained: vec![],
        done: vec![],
        at_unix_ms: 1,
    }))
}

#[test]
fn a_new_alert_waits_for_no_event_and_for_no_alert_but_those_of_its_rule() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    let old: Vec<Body> = (0..300).map(|number| event(&number.to_string())).collect();
    spool.write(&old, &none()).unwrap();
    spool.write(&[alert("frost", true)], &none()).unwrap();
    drop(spool);
    let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
    let (over, high) = (alert("frost", false), alert("high", true));
    spool.write(&[event("new"), over, high, interval(1)], &none()).unwrap();
    let batch = |room, pace: &dyn Fn(&Key) -> Pace| {
        let allowed = Allowed { fresh: 0, first: &[], room, pace };
        spool.waiting().batch(allowed).unwrap().map(|batch| batch.keys).unwrap_or_default()
    };
    let company = |_: &Key| Pace::Company;
    let (fired, over, high, interval) = ((1, 300), (2, 1), (2, 2), (2, 3));
    // What waited may not go now: of what is new, all but the event and the end of what waits.
    assert_eq!(batch(0, &company), [high, interval]);
    // It goes first of all, and its end behind it.
    assert_eq!(batch(1, &company), [fired, over, high, interval]);
    let all = batch(u64::MAX, &company);
    assert_eq!(all[..5], [fired, over, high, (1, 0), (1, 1)]);
    // Nor does the end go before it is known that the beginning has arrived.
    let under_way = |key: &Key| if *key == fired { Pace::Wait } else { Pace::Company };
    assert_eq!(batch(0, &under_way), [high, interval]);
    // What the server may not be able to read holds nothing up.
    let poison = |key: &Key| if *key == fired { Pace::Alone } else { Pace::Company };
    assert_eq!(batch(0, &poison), [over, high, interval]);

    spool.acked(&Ack { boot: 1, ranges: vec![(300, 300)] }).unwrap();
    assert_eq!(keys(&spool)[..3], [over, high, (1, 0)]);
    // In a file as well; and they give way last.
    let mut first = None;
    spool
        .waiting()
        .load(usize::MAX, 1, |message| {
            let records = decode::<Telemetry>(&message).unwrap().records;
            first.get_or_insert((records[0].boot, records[0].sequence));
        })
        .unwrap();
    assert_eq!(first, Some(over));
    spool.bytes_max = 600;
    spool.write(&[event("newest")], &none()).unwrap();
    let kept = keys(&spool);
    assert!(kept.len() < 9 && kept[..2] == [over, high], "{kept:?}");
    assert_eq!(spool.gave_way(), 305 - kept.len() as u64);
}

#[test]
fn old_intervals_are_merged_though_new_ones_were_sent_before_them() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 8192).unwrap();
    let write = |spool: &mut Spool, number| {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
    };
    (0..10).for_each(|number| write(&mut spool, number));
    let fresh = spool.next();
    write(&mut spool, 10);
    let new = |_: &Key| Pace::Company;
    let allowed = Allowed { fresh, first: &[], room: 0, pace: &new };
    let batch = spool.waiting().batch(allowed).unwrap().unwrap();
    assert_eq!(batch.keys, [(1, 10)]);
    let sent = decode::<Telemetry>(&batch.message).unwrap().records[0].body.clone();
    // The power fails before the server has said anything.
    drop(spool);
    let mut spool = Spool::open(database.clone(), 2, 8192).unwrap();
    (11..300).for_each(|number| write(&mut spool, number));
    assert_eq!(spool.gave_way(), 0);
    // Not by a file: that notes all of them.
    let all: Vec<(Key, Interval)> = {
        let table = database.begin_read().unwrap().open_table(INTERVALS).unwrap();
        let entries = table.iter().unwrap().map(|entry| entry.unwrap());
        let entries = entries.map(|(key, value)| (key.value(), merging::read(value.value().1)));
        entries.map(|(key, interval)| (key, interval.unwrap())).collect()
    };
    let at = all.iter().position(|(key, _)| *key == (1, 10)).expect("it stays");
    assert_eq!(written(all[at].1.clone()).encode().unwrap().1, sent);
    assert!(at < 10, "those before it were merged, and not with those behind it");
    assert_eq!(all[..at].iter().map(|(_, it)| it.intervals).sum::<u64>(), 10);
    assert_eq!(all.iter().map(|(_, it)| it.intervals).sum::<u64>(), 300);
    // Nothing is noted of what is gone.
    let ahead = |spool: &Spool| {
        let transaction = spool.database.begin_read().unwrap();
        transaction.open_table(AHEAD).unwrap().iter().unwrap().count()
    };
    assert_eq!(ahead(&spool), 1);
    while !keys(&spool).is_empty() {
        let (_, keys) = super::tests::batch(&spool, |_| Pace::Company).unwrap();
        for (boot, sequence) in keys {
            spool.acked(&Ack { boot, ranges: vec![(sequence, sequence)] }).unwrap();
        }
    }
    assert_eq!(ahead(&spool), 0);
}

#[test]
fn a_server_that_takes_messages_and_stores_nothing_leaves_room_for_what_is_merged() {
    let mut spool = Spool::open(in_memory(), 1, 16 << 10).unwrap();
    for number in 0..2000 {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
        if number % 10 == 9 {
            send(&spool);
        }
    }
    assert_eq!(spool.gave_way(), 0);
    let all = intervals(&spool);
    assert_eq!(all.iter().map(|(_, it)| it.frames).sum::<u64>(), 2000 * 60);
    // What waits goes on once it is heard of.
    for _ in 0..20 {
        let Some((_, keys)) = batch(&spool, |_| Pace::Company) else { break };
        for (boot, sequence) in keys {
            spool.acked(&Ack { boot, ranges: vec![(sequence, sequence)] }).unwrap();
        }
    }
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn what_has_waited_for_too_many_days_of_running_gives_way_however_often_it_was_started() {
    const DAY: Duration = Duration::from_secs(86_400);
    let database = in_memory();
    let (mut written_on, mut gave_way) = (Vec::new(), 0);
    for day in 0..40 {
        // It is switched on every five days of running, and once for a moment.
        let boot = 1 + day / 5;
        let mut spool = Spool::open(database.clone(), boot, 1 << 20).unwrap().for_days(10);
        assert!(spool.ran_before >= (day as u32).saturating_sub(2) * DAY, "it is on disk");
        spool.ran_before = DAY * day as u32;
        if day == 33 {
            continue;
        }
        let before = spool.next();
        spool.write(&[interval(day), event("x")], &none()).unwrap();
        written_on.extend([(boot, before), (boot, before + 1)].map(|key| (key, day)));
        let mut waits: Vec<_> =
            written_on.iter().filter(|(_, on)| on + 10 >= day).map(|(key, _)| *key).collect();
        let mut kept = keys(&spool);
        kept.sort_unstable();
        waits.sort_unstable();
        assert_eq!(kept, waits, "day {day}");
        // Those of the eleventh day before; on the 34th they go with those of the 33rd.
        let gone = [(0..11, 0), (34..35, 4)].into_iter().find(|(days, _)| days.contains(&day));
        gave_way += gone.map_or(2, |(_, gone)| gone);
        assert_eq!(spool.gave_way(), gave_way, "day {day}");
    }
    let mut spool = Spool::open(database, 99, 1 << 20).unwrap().for_days(10);
    spool.ran_before = 400 * DAY;
    spool.write(&[event("x")], &none()).unwrap();
    assert_eq!(keys(&spool), [(99, 0)]);
    spool.acked(&Ack { boot: 99, ranges: vec![(0, 0)] }).unwrap();
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn what_outcomes_say_is_there_after_a_restart_and_gives_way_as_intervals_do() {
    let database = in_memory();
    let (intervals, judged, answers) = (&none(), &BTreeMap::new(), &BTreeMap::new());
    let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
    let quality = |outcomes| {
        let mut quality = Quality::of("line", None, "alarm", (0, 10));
        quality.unknown = outcomes;
        quality
    };
    let both = [quality(1), quality(2)];
    spool.write_with(&[], Open { intervals, judged, qualities: Some(&both), answers }, 0).unwrap();
    spool.write(&[event("x")], intervals).unwrap();
    drop(spool);
    let mut spool = Spool::open(database, 2, 4096).unwrap();
    assert_eq!(spool.qualities().unwrap(), [quality(1), quality(2)]);
    let (body, last) = (Body::Quality(Box::new(quality(3))), [quality(4)]);
    spool
        .write_with(&[body], Open { intervals, judged, qualities: Some(&last), answers }, 0)
        .unwrap();
    assert_eq!(spool.qualities().unwrap(), [quality(4)]);
    for number in 0..200 {
        spool.write(&[written(of_release(number, 10, "1", 60))], intervals).unwrap();
    }
    assert_eq!((spool.gave_way(), keys(&spool)[..2].to_vec()), (0, vec![(1, 0), (2, 0)]));
    spool.write(&[event(&"x".repeat(3_900))], intervals).unwrap();
    assert!(!keys(&spool).contains(&(2, 0)) && keys(&spool).contains(&(1, 0)));
}

#[test]
fn what_is_in_a_file_is_merged_with_nothing() {
    let mut spool = Spool::open(in_memory(), 1, 4096).unwrap();
    let write = |spool: &mut Spool, number| {
        spool.write(&[written(of_release(number, 10, "1", 60))], &none()).unwrap();
    };
    (0..5).for_each(|number| write(&mut spool, number));
    let before = intervals(&spool);
    (5..100).for_each(|number| write(&mut spool, number));
    assert_eq!(intervals(&spool)[..5], before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_written_sent_and_acknowledged_is_counted_once(
        steps in prop::collection::vec((0u8..10, 0u64..700, 0usize..3), 1..150),
        budget in 3_000u64..12_000,
    ) {
        let database = in_memory();
        let mut boot = 1;
        let mut spool = Spool::open(database.clone(), boot, budget).unwrap();
        let (mut accepted, mut server) = (Sums::new(), BTreeMap::<Key, Record>::new());
        let receive = |server: &mut BTreeMap<Key, Record>, spool: &mut Spool, seen, is_heard| {
            // All of it as what waited; or the newest first, and only so much of the others.
            let fresh = spool.next().saturating_sub(seen);
            let first = spool.waiting().newest(fresh).unwrap();
            let allowed = match seen {
                0 => Allowed::all(&|_| Pace::Company),
                _ => Allowed { fresh, first: &first, room: seen * 400, pace: &|_| Pace::Company },
            };
            let Some(batch) = spool.waiting().batch(allowed).unwrap() else { return };
            for record in decode::<Telemetry>(&batch.message).unwrap().records {
                let (boot, sequence) = (record.boot, record.sequence);
                let known = server.entry((boot, sequence)).or_insert(record.clone());
                assert_eq!(known.body, record.body, "it says something else under a known number");
                if is_heard {
                    let ranges = vec![(sequence, sequence)];
                    spool.acked(&Ack { boot, ranges }).unwrap();
                }
            }
        };
        for (step, frames, place) in steps {
            match step {
                0 => receive(&mut server, &mut spool, frames % 4, place == 0),
                1 if place == 0 => {
                    boot += 1;
                    drop(spool);
                    spool = Spool::open(database.clone(), boot, budget).unwrap();
                }
                2..5 => {
                    let quality = quality_of(frames, ["1", "2", "3"][place], frames % 20);
                    add_quality(&mut accepted, &quality);
                    spool.write(&[told(quality)], &none()).unwrap();
                }
                _ => {
                    let interval = of_release(frames, 10, ["1", "2", "3"][place], frames);
                    add(&mut accepted, &interval);
                    spool.write(&[written(interval)], &none()).unwrap();
                }
            }
            prop_assert!(spool.bytes() <= budget);
        }
        let gave_way = spool.gave_way();
        while !keys(&spool).is_empty() {
            receive(&mut server, &mut spool, 0, true);
        }
        let mut counted = Sums::new();
        for record in server.into_values() {
            match record.read().unwrap() {
                Body::Interval(interval) => add(&mut counted, &interval),
                Body::Quality(quality) => add_quality(&mut counted, &quality),
                other => panic!("{other:?}"),
            }
        }
        // Where much was sent and nothing heard, the oldest give way; else all are counted, each once.
        match gave_way {
            0 => prop_assert_eq!(counted, accepted),
            _ => for (version, sums) in counted {
                let all = accepted[&version];
                prop_assert!(sums.iter().zip(all).all(|(sum, all)| *sum <= all));
            }
        }
    }
}
