//! What devices report: stored once, acknowledged always.

use crate::mqtt::Client;
use crate::running::Running;
use lineside_sketch::Histogram;
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{self, Ack, Body, Event, Interval, Quality, Record, ReleaseRef, Telemetry};

fn topic(device: &str) -> String {
    format!("lineside/v1/{device}/up/telemetry")
}

fn release() -> ReleaseRef {
    ReleaseRef { name: "turbine".into(), version: "2".into(), digest: [7; 32] }
}

pub fn turbine_interval(boot: u64, sequence: u64) -> Record {
    let mut latency_us = Histogram::default();
    (1..=100).for_each(|us| latency_us.add(f64::from(us)));
    let interval = Interval {
        readings: 24,
        frames: 4,
        findings: 3,
        alarms: 2,
        doubled: 1,
        errors: vec![("stage".into(), 5), ("model".into(), 6)],
        dropped: vec![("full".into(), 7)],
        latency_us,
        ..Interval::of("turbine", release(), (1_000_000, 4_600_000))
    };
    record(boot, sequence, false, Body::Interval(Box::new(interval)))
}

pub fn event(boot: u64, sequence: u64, text: &str) -> Record {
    let event = Event {
        slot: "turbine".into(),
        kind: v1::event::ROLLED_BACK,
        release: Some(release()),
        text: text.into(),
        at_unix_ms: 1_700_000_000_000,
    };
    record(boot, sequence, true, Body::Event(event))
}

fn record(boot: u64, sequence: u64, backfill: bool, body: Body) -> Record {
    let (code, body) = body.encode().unwrap();
    Record { boot, sequence, backfill, code, body }
}

pub fn message(records: Vec<Record>) -> Vec<u8> {
    encode(&Telemetry { records }).unwrap()
}

/// Tells records and gives what the server acknowledges.
pub async fn tell(device: &mut Client, name: &str, records: Vec<Record>) -> Ack {
    device.publish(&topic(name), message(records)).await;
    decode(&device.receive("down/ack").await).unwrap()
}

#[tokio::test]
async fn repeats_are_dropped_and_acknowledged_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let records = || vec![turbine_interval(3, 0), event(3, 1, "its share of alarms was 0.74")];
    for _ in 0..3 {
        let ack = tell(&mut device, "line-3", records()).await;
        assert_eq!(ack, Ack { boot: 3, ranges: vec![(0, 1)] });
    }
    // A repeat beside something new: only the new is added.
    let ack =
        tell(&mut device, "line-3", vec![turbine_interval(3, 0), turbine_interval(3, 2)]).await;
    assert_eq!(ack.ranges, [(0, 0), (2, 2)]);

    let shown = server.get("/api/v1/devices/line-3").json();
    let totals = serde_json::json!({
        "intervals": 2, "readings": 48, "frames": 8, "findings": 6, "alarms": 4,
        "dropped": 14, "doubled": 2, "errors": 22,
    });
    assert_eq!(shown["telemetry"]["turbine"], totals);
    assert_eq!(shown["missing_records"], 0);
    assert_eq!(shown["events"][0]["kind"], "rolled_back");
    assert_eq!(shown["events"][0]["release"], "turbine v2");
    assert_eq!(shown["events"][0]["at"], "2023-11-14T22:13:20Z");
    assert_eq!(shown["events"].as_array().unwrap().len(), 1);
    let intervals = server.get("/api/v1/devices/line-3/telemetry?slot=turbine").json();
    assert_eq!(intervals.as_array().unwrap().len(), 2);
    assert_eq!(intervals[0]["sequence"], 2);
    // 95 of the hundred latencies 1 to 100 us; the histogram is good to a few per cent.
    let p95 = intervals[0]["latency_ms_p95"].as_f64().unwrap();
    assert!((p95 - 0.095).abs() < 0.005, "{p95}");
    let other = server.get("/api/v1/devices/line-3/telemetry?slot=other").json();
    assert_eq!(other.as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn how_good_answers_were_is_shown_and_a_repeat_of_it_counts_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let mut quality = Quality::of("turbine", Some(release()), "alarm", (0, 3_600_000));
    for (answered, outcome, score) in
        [("true", "true", 8.0), ("true", "false", 4.0), ("false", "false", 1.0)]
    {
        quality.meet(answered, outcome, Some(score));
    }
    let (code, body) = Body::Quality(Box::new(quality)).encode().unwrap();
    let record = |sequence| Record { boot: 1, sequence, backfill: false, code, body: body.clone() };
    tell(&mut device, "line-3", vec![record(0), record(1)]).await;
    tell(&mut device, "line-3", vec![record(0)]).await;
    let shown = server.get("/api/v1/devices/line-3/quality?slot=turbine").json();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    let shown = &shown[0];
    assert_eq!((&shown["release"], &shown["outcomes"]), (&"turbine v2".into(), &6.into()));
    assert_eq!((&shown["precision"], &shown["recall"]), (&0.5.into(), &1.0.into()));
    assert_eq!((&shown["area"]["low"], &shown["unknown"]), (&1.0.into(), &0.into()));
    assert_eq!(shown["confusion"].as_array().unwrap().len(), 3);
    let asked = |what: &str| {
        let path = format!("/api/v1/devices/line-3/quality?slot=turbine&{what}");
        server.get(&path).json().as_array().unwrap().len()
    };
    assert_eq!(asked("release=turbine/2&from=1970-01-01&to=1970-01-02&limit=1"), 1);
    for not in ["release=turbine/1", "from=1970-01-01T00:00:01Z", "to=1970-01-01"] {
        assert_eq!(asked(not), 0, "{not}");
    }
    assert_eq!(server.get("/api/v1/devices/line-3/quality?from=yesterday").status, 400);
    let other = server.get("/api/v1/devices/line-3/quality?slot=other").json();
    assert_eq!(other.as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn numbers_that_were_skipped_are_missing_until_they_come() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![event(1, 0, ""), event(1, 4, ""), event(2, 2, "")]).await;
    let missing = || server.get("/api/v1/devices/line-3").json()["missing_records"].clone();
    assert_eq!(missing(), 5, "1, 2, 3 of the first start and 0, 1 of the second");
    tell(&mut device, "line-3", vec![event(1, 2, ""), event(2, 0, "")]).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["missing_records"] == 3);
}

#[tokio::test]
async fn numbers_that_a_merged_interval_stands_for_are_not_missing_and_it_counts_as_all_of_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let read = |record: &Record| match record.read() {
        Ok(Body::Interval(interval)) => *interval,
        other => panic!("{other:?}"),
    };
    let (one, two) = (read(&turbine_interval(1, 0)), read(&turbine_interval(2, 3)));
    let mut merged = one.merged((1, 0), &two).unwrap().merged((2, 3), &two).unwrap();
    // What no device has numbered is nobody's.
    merged.stands_for.push(v1::StandsFor { boot: u64::MAX, first: 0, last: u64::MAX });
    let merged = record(2, 4, true, Body::Interval(Box::new(merged)));
    for _ in 0..2 {
        let records = vec![event(1, 1, ""), event(2, 0, ""), event(2, 2, ""), merged.clone()];
        tell(&mut device, "line-3", records).await;
    }
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["missing_records"], 1, "number 1 of the second start");
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 3);
    assert_eq!(shown["telemetry"]["turbine"]["readings"], 72);
    tell(&mut device, "line-3", vec![event(2, 1, "")]).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["missing_records"] == 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_the_next_message_is_read() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let mut damaged = message(vec![event(1, 0, "x")]);
    damaged.pop();
    let beyond = |boot, sequence| message(vec![event(boot, sequence, "x")]);
    let beyond = [beyond(1, u64::MAX), beyond(1, (1 << 53) + 1), beyond((1 << 53) + 1, 0)];
    let many = message((0..1_001).map(|sequence| event(1, sequence, "x")).collect());
    for payload in [b"".to_vec(), b"hello".to_vec(), damaged, many].into_iter().chain(beyond) {
        device.publish(&topic("line-3"), payload).await;
    }
    let ack = tell(&mut device, "line-3", vec![event(1, 7, "x")]).await;
    assert_eq!(ack.ranges, [(7, 7)], "nothing before it was acknowledged");
    assert_eq!(server.get("/api/v1/devices/line-3").json()["unreadable_messages"], 7);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_and_holds_up_no_other() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let mut damaged = event(1, 1, "x");
    damaged.body.pop();
    for _ in 0..2 {
        let records = vec![event(1, 0, "a"), damaged.clone(), event(1, 2, "b")];
        let ack = tell(&mut device, "line-3", records).await;
        assert_eq!(ack.ranges, [(0, 2)]);
    }
    let shown = server.get("/api/v1/devices/line-3").json();
    let kinds: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["rolled_back", "unreadable_record", "rolled_back"]);
    assert_eq!(
        (&shown["unreadable_records"], &shown["unreadable_messages"]),
        (&1.into(), &0.into())
    );
}

#[tokio::test]
async fn a_device_that_counts_from_the_beginning_again_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(
        &mut device,
        "line-3",
        vec![turbine_interval(1, 0), event(1, 1, "before its disk was replaced")],
    )
    .await;
    let afterwards = || vec![event(1, 0, "afterwards"), turbine_interval(1, 1)];
    for _ in 0..2 {
        let ack = tell(&mut device, "line-3", afterwards()).await;
        assert_eq!(ack.ranges, [(0, 1)]);
    }
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["conflicting_records"], 2);
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 2);
    assert_eq!(shown["events"][0]["text"], "afterwards");
    assert_eq!(shown["events"][1]["text"], "before its disk was replaced");
}

#[tokio::test]
async fn the_largest_numbers_do_no_harm_to_the_list_of_devices() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let largest = (1..=3).map(|boot| event(boot, 1 << 53, "x")).collect();
    device.publish(&topic("line-3"), message(largest)).await;
    let shown = server.get("/api/v1/devices").json();
    assert_eq!(shown[0]["missing_records"], 3 * (1_u64 << 53));
}

#[tokio::test]
async fn slots_without_a_proper_name_are_summed_up_together() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let named = |sequence, slot: &str| {
        let mut record = turbine_interval(1, sequence);
        let Ok(Body::Interval(mut interval)) = record.read() else { panic!() };
        interval.slot = slot.into();
        (record.code, record.body) = Body::Interval(interval).encode().unwrap();
        record
    };
    let long = "x".repeat(100_000);
    let mut records = vec![named(0, &long), named(1, ""), named(2, "Not A Slot")];
    records.extend((3..43).map(|sequence| named(sequence, &format!("slot-{sequence}"))));
    device.publish(&topic("line-3"), message(records)).await;
    let shown = server.get("/api/v1/devices/line-3").json();
    let totals = shown["telemetry"].as_object().unwrap();
    assert_eq!(totals.len(), 32);
    assert_eq!(totals["(others)"]["intervals"], 3 + 9);
}

#[tokio::test]
async fn what_was_acknowledged_survives_that_the_server_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    for sequence in 0..20 {
        tell(&mut device, "line-3", vec![turbine_interval(1, sequence)]).await;
    }
    server.kill();
    let server = Running::start(data.path());
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 20);
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![turbine_interval(1, 19)]).await;
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 20, "still known as a repeat");
}
