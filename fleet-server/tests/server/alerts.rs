//! Alerts: what devices say of rules, in the books.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::telemetry::{event, tell};
use lineside_sketch::NumberColumn;
use lineside_wire::v1::{Alert, Body, Column, Interval, Record, ReleaseRef, Summary};

pub use crate::telemetry::message;

fn release() -> ReleaseRef {
    ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [7; 32] }
}

/// What a device says when a rule fires: of three hours, one value each.
pub fn fired(boot: u64, sequence: u64, rule: &str, at_unix_ms: i64) -> Record {
    fired_of(release(), boot, sequence, rule, at_unix_ms)
}

/// The same of another release.
pub fn fired_of(
    release: ReleaseRef,
    boot: u64,
    sequence: u64,
    rule: &str,
    at_unix_ms: i64,
) -> Record {
    said(release, boot, sequence, rule, true, at_unix_ms)
}

fn said(
    release: ReleaseRef,
    boot: u64,
    sequence: u64,
    rule: &str,
    fired: bool,
    at_unix_ms: i64,
) -> Record {
    let alert = Alert {
        slot: "turbine".into(),
        rule: rule.into(),
        release,
        fired,
        start_unix_ms: 3_600_000,
        end_unix_ms: 4 * 3_600_000,
        signal: "median of score".into(),
        values: vec![1.25, 1.5, 1.75],
        low: f64::NEG_INFINITY,
        high: 1.0,
        explained: vec![("wind".into(), 0.5)],
        done: vec!["fail_safe".into()],
        at_unix_ms,
    };
    record(boot, sequence, Body::Alert(Box::new(alert)))
}

/// The interval of an hour of 1970, in which all of 30 scores were `score`.
fn hour(boot: u64, sequence: u64, hour: i64, score: f64) -> Record {
    hour_of(release(), boot, sequence, hour, score)
}

/// The same of another release.
pub fn hour_of(release: ReleaseRef, boot: u64, sequence: u64, hour: i64, score: f64) -> Record {
    let mut column = NumberColumn::new(None);
    (0..30).for_each(|_| column.add(None, score).unwrap());
    let column = Column::Numbers(Box::new(column));
    let interval = Interval {
        readings: 60,
        frames: 30,
        findings: 30,
        errors: vec![("model".into(), 1)],
        outputs: vec![Summary { name: "score".into(), column, out_of_range: 2 }],
        ..Interval::of("turbine", release, (hour * 3_600_000, (hour + 1) * 3_600_000))
    };
    record(boot, sequence, Body::Interval(Box::new(interval)))
}

fn record(boot: u64, sequence: u64, body: Body) -> Record {
    let (code, body) = body.encode().unwrap();
    Record { boot, sequence, backfill: false, code, body }
}

#[tokio::test]
async fn an_alert_that_is_told_twice_is_one_and_ends_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    for _ in 0..2 {
        let ack = tell(&mut device, "line-3", vec![fired(1, 0, "high", 10_000)]).await;
        assert_eq!(ack.ranges, [(0, 0)]);
    }
    // Under a number of its own it says nothing new either.
    tell(&mut device, "line-3", vec![fired(2, 0, "high", 20_000)]).await;
    let listed = server.get("/api/v1/alerts?open=true").json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let alert = &listed[0];
    assert_eq!((&alert["device"], &alert["scope"]), (&"line-3".into(), &"device".into()));
    assert_eq!((&alert["rule"], &alert["release"]), (&"high".into(), &"turbine v1".into()));
    assert_eq!(alert["values"], serde_json::json!([1.25, 1.5, 1.75]));
    assert_eq!((&alert["low"], &alert["high"]), (&serde_json::Value::Null, &1.0.into()));
    assert_eq!(alert["fired"], "1970-01-01T00:00:10Z");
    assert_eq!(alert["done"], serde_json::json!(["fail_safe"]));
    let shown = server.get("/api/v1/devices/line-3").json();
    let said = shown["attention"][0].as_str().unwrap();
    assert!(said.starts_with("alert 1, slot turbine: high: median of score is 1.25"), "{said}");
    assert_eq!(shown["events"].as_array().unwrap().len(), 2, "each is an event as well");
    assert_eq!(shown["events"][0]["kind"], "rule_fired");
    for path in ["/", "/devices/line-3"] {
        let page = server.page(path);
        assert!(page.contains("median of score is 1.25, 1.5, 1.75"), "{path}: {page}");
    }

    tell(&mut device, "line-3", vec![over(2, 1), over(2, 2)]).await;
    assert_eq!(server.get("/api/v1/alerts?open=true").json(), serde_json::json!([]));
    let over = server.get("/api/v1/alerts?open=false&device=line-3").json();
    assert_eq!(over[0]["over"], "1970-01-01T00:00:30Z");
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["attention"], serde_json::json!([]));
    assert!(!server.page("/").contains("alert 1"));
}

/// What it says when that rule, `high`, is over.
pub fn over(boot: u64, sequence: u64) -> Record {
    over_at(boot, sequence, 30_000)
}

/// The same at another time.
pub fn over_at(boot: u64, sequence: u64, at_unix_ms: i64) -> Record {
    said(release(), boot, sequence, "high", false, at_unix_ms)
}

#[tokio::test]
async fn intervals_of_an_alert_are_its_evidence_whether_they_come_before_or_after_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    // The hour before it and the one after it are none of its own; one comes with it, one after it.
    let first = vec![hour(1, 0, 0, 0.5), hour(1, 1, 1, 1.25)];
    tell(&mut device, "line-3", first).await;
    tell(&mut device, "line-3", vec![fired(1, 3, "high", 10), hour(1, 2, 2, 1.5)]).await;
    let late = || vec![hour(1, 4, 3, 1.75), hour(1, 5, 4, 0.5)];
    for _ in 0..2 {
        tell(&mut device, "line-3", late()).await;
    }
    let shown = server.get("/api/v1/alerts/1").json();
    let evidence = &shown["evidence"];
    assert_eq!((&evidence["intervals"], &evidence["frames"]), (&3.into(), &90.into()));
    assert_eq!(evidence["errors"], serde_json::json!({ "model": 3 }));
    assert_eq!(evidence["start"], "1970-01-01T01:00:00Z");
    let score = &evidence["outputs"]["score"];
    assert_eq!((&score["values"], &score["out_of_range"]), (&90.into(), &6.into()));
    assert_eq!((&score["min"], &score["max"]), (&1.25.into(), &1.75.into()));
    assert!((score["median"].as_f64().unwrap() - 1.5).abs() < 1.5 / 64.0, "{score}");
}

#[tokio::test]
async fn who_knows_of_an_alert_is_written_down_and_nobody_is_told_of_it_any_longer() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10), event(1, 1, "x")]).await;
    let place = "/api/v1/alerts/1/acknowledge";
    let known = server.ask("POST", place, As::Administrator, b"{\"by\":\"anna\"}").json();
    assert_eq!(known["acknowledged_by"], "anna");
    let attention = server.get("/api/v1/devices/line-3").json()["attention"].to_string();
    assert!(!attention.contains("alert"), "{attention}");
    assert_eq!(server.get("/api/v1/alerts?open=true").json()[0]["acknowledged_by"], "anna");
    let error = server.ask("POST", "/api/v1/alerts/9/acknowledge", As::Administrator, b"{}");
    assert!(error.error(404).contains("lineside alerts"));

    // With the device go its alerts.
    server.ask("DELETE", "/api/v1/devices/line-3", As::Administrator, b"");
    assert_eq!(server.get("/api/v1/alerts").json(), serde_json::json!([]));
}

#[tokio::test]
async fn what_a_device_says_of_a_rule_never_becomes_markup() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "<script>alert(1)</script>", 10)]).await;
    for path in ["/", "/devices/line-3"] {
        let page = server.page(path);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{path}: {page}");
    }
}
