//! What devices report: stored once, acknowledged always.

use crate::mqtt::Client;
use crate::running::Running;
use lineside_sketch::Histogram;
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{self, Ack, Body, Event, Interval, Record, ReleaseRef, Telemetry};

const TOPIC: &str = "lineside/v1/line-3/up/telemetry";

fn release() -> ReleaseRef {
    ReleaseRef { name: "turbine".into(), version: "2".into(), digest: [7; 32] }
}

fn interval(boot: u64, sequence: u64) -> Record {
    let mut latency_us = Histogram::default();
    (1..=100).for_each(|us| latency_us.add(f64::from(us)));
    let interval = Interval {
        slot: "turbine".into(),
        release: release(),
        start_unix_ms: 1_000_000,
        end_unix_ms: 4_600_000,
        late_readings: 0,
        readings: 24,
        frames: 4,
        findings: 3,
        alarms: 2,
        doubled: 1,
        errors: vec![("stage".into(), 5), ("model".into(), 6)],
        dropped: vec![("full".into(), 7)],
        latency_us,
        inputs: vec![],
        outputs: vec![],
        resources: v1::Resources::default(),
    };
    record(boot, sequence, false, Body::Interval(Box::new(interval)))
}

fn event(boot: u64, sequence: u64, text: &str) -> Record {
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

fn message(records: Vec<Record>) -> Vec<u8> {
    encode(&Telemetry { records }).unwrap()
}

async fn tell(device: &mut Client, records: Vec<Record>) -> Ack {
    device.publish(TOPIC, message(records)).await;
    decode(&device.receive("down/ack").await).unwrap()
}

#[tokio::test]
async fn repeats_are_dropped_and_acknowledged_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let records = || vec![interval(3, 0), event(3, 1, "its share of alarms was 0.74")];
    for _ in 0..3 {
        let ack = tell(&mut device, records()).await;
        assert_eq!(ack, Ack { boot: 3, ranges: vec![(0, 1)] });
    }
    // A repeat beside something new: only the new is added.
    let ack = tell(&mut device, vec![interval(3, 0), interval(3, 2)]).await;
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
async fn numbers_that_were_skipped_are_missing_until_they_come() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, vec![event(1, 0, ""), event(1, 4, ""), event(2, 2, "")]).await;
    let missing = || server.get("/api/v1/devices/line-3").json()["missing_records"].clone();
    assert_eq!(missing(), 5, "1, 2, 3 of the first start and 0, 1 of the second");
    tell(&mut device, vec![event(1, 2, ""), event(2, 0, "")]).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["missing_records"] == 3);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_the_next_message_is_read() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let mut damaged = message(vec![event(1, 0, "x")]);
    damaged.pop();
    let beyond = message(vec![event(1, u64::MAX, "x")]);
    for payload in [b"".to_vec(), b"hello".to_vec(), damaged, beyond] {
        device.publish(TOPIC, payload).await;
    }
    let ack = tell(&mut device, vec![event(1, 7, "x")]).await;
    assert_eq!(ack.ranges, [(7, 7)], "nothing before it was acknowledged");
    assert_eq!(server.get("/api/v1/devices/line-3").json()["unreadable_messages"], 4);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    for sequence in 0..20 {
        tell(&mut device, vec![interval(1, sequence)]).await;
    }
    server.kill();
    let server = Running::start(data.path());
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 20);
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, vec![interval(1, 19)]).await;
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["telemetry"]["turbine"]["intervals"], 20, "still known as a repeat");
}
