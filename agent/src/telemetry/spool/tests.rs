//! What the spool keeps, gives up and tells.

use super::*;
use crate::database::tests::in_memory;
use lineside_update::ReportKind;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Ack, Event, Telemetry, event};

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
    Interval {
        slot: "line".into(),
        release,
        start_unix_ms: 0,
        end_unix_ms: 1,
        readings: 0,
        late_readings: 0,
        frames,
        findings: 0,
        alarms: 0,
        doubled: 0,
        errors: vec![],
        dropped: vec![],
        latency_us: Default::default(),
        inputs: vec![],
        outputs: vec![],
        left_out: 0,
        shadow_frames: 0,
        shadow_agreed: 0,
        intervals: 1,
        stands_for: vec![],
        resources: Default::default(),
    }
}

pub(super) fn none() -> BTreeMap<String, Option<Interval>> {
    BTreeMap::new()
}

pub(super) fn keys(spool: &Spool) -> Vec<Key> {
    spool.waiting().batch(0, |_| Pace::Company).unwrap().map(|(_, keys)| keys).unwrap_or_default()
}

#[test]
fn records_stay_until_they_are_acknowledged_whatever_happens_meanwhile() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    spool.write(&[interval(1), event("a"), interval(2)], &none()).unwrap();
    assert_eq!(keys(&spool), [(1, 1), (1, 0), (1, 2)], "events come first");
    let pace = |key: &Key| if *key == (1, 2) { Pace::Wait } else { Pace::Company };
    let (message, _) = spool.waiting().batch(1, pace).unwrap().unwrap();
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
    assert_eq!((spool.bytes(), spool.waiting().batch(0, |_| Pace::Company).unwrap()), (0, None));
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
        spool.waiting().batch(0, pace).unwrap().map(|(_, keys)| keys).unwrap_or_default()
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
    while let Some((_, keys)) = spool.waiting().batch(0, |_| Pace::Company).unwrap() {
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
    for frames in 0..500 {
        spool.write(&[interval(frames)], &none()).unwrap();
        assert!(spool.bytes() <= 4096);
    }
    let kept = keys(&spool);
    assert_eq!(kept[0], (1, 0), "the event");
    assert_eq!(kept.last(), Some(&(1, 500)), "the newest interval");
    assert_eq!(spool.gave_way(), 501 - kept.len() as u64);
    assert_eq!(spool.gave_way(), 0);
    for number in 0..500 {
        spool.write(&[event(&number.to_string())], &none()).unwrap();
    }
    assert!(spool.bytes() <= 4096 && !keys(&spool).is_empty());
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
    spool.write(&[event("kept"), interval(1)], &none()).unwrap();
    assert!(spool.gave_way() > 0 && spool.bytes() <= 4096);
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
    let (message, _) = spool.waiting().batch(0, |_| Pace::Company).unwrap().unwrap();
    let told = |record: Record| match record.read().unwrap() {
        Body::Event(event) => (event.kind, event.text),
        Body::Interval(_) | Body::Unknown(_) => panic!("nothing else was written"),
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
    spool.write(&[interval(9)], &BTreeMap::from([("line".to_owned(), None)])).unwrap();
    assert_eq!(spool.open_interval("line").unwrap(), None);
}

#[test]
fn a_start_that_could_not_be_counted_uses_no_number_twice() {
    let database = in_memory();
    let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
    spool.write(&[event("a"), interval(1)], &none()).unwrap();
    assert_eq!(Spool::open(database, 1, 1 << 20).unwrap().next(), 2);
}
