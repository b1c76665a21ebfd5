//! A server whose clock is wrong, or was: what it signs by it, and what it says of it.

use crate::books::change;
use crate::mqtt::Client;
use crate::running::{Running, command};
use crate::signers::Signers;
use lineside_wire::envelope::encode;
use lineside_wire::v1::Status;
use serde_json::Value;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// The version of the timestamp that devices are given, and when it was signed.
fn timestamp(server: &Running) -> (u64, i64) {
    let documents = server.get("/api/v1/devices/line-3/documents").json();
    let text = documents["metadata"]["timestamp.json"].as_str().unwrap();
    let signed = serde_json::from_str::<Value>(text).unwrap()["signed"].clone();
    let at = signed["x-lineside-signed-at"].as_i64();
    (signed["version"].as_u64().unwrap(), at.unwrap())
}

/// As if the timestamp had been signed so long ago by this machine's clock.
async fn signed_ago(data: &Path, ago: Duration) {
    let at = (OffsetDateTime::now_utc() - ago).unix_timestamp() * 1_000;
    let update = format!("UPDATE document SET accepted_unix_ms = {at} WHERE kind = 'timestamp'");
    change(data, &update).await;
}

fn attention(server: &Running) -> (Value, String) {
    let health = server.get("/api/v1/health").json();
    (health["status"].clone(), health["attention"].to_string())
}

fn begun(data: &Path) -> (Running, String) {
    let server = Running::start(data);
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    (server, password)
}

#[tokio::test]
async fn what_was_signed_by_a_clock_of_the_future_is_signed_anew_at_once() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = begun(data.path());
    let (version, _) = timestamp(&server);
    server.kill();
    signed_ago(data.path(), -Duration::days(700)).await;
    let server = Running::start(data.path());
    let (anew, at) = timestamp(&server);
    assert!(anew > version);
    assert!((OffsetDateTime::now_utc().unix_timestamp() - at).abs() < 60, "signed at {at}");
    assert_eq!(attention(&server), ("ok".into(), "[]".into()));
}

#[tokio::test]
async fn by_a_clock_that_jumped_ahead_nothing_is_signed_until_a_device_or_a_person_confirms_it() {
    let data = tempfile::tempdir().unwrap();
    let (server, password) = begun(data.path());
    let before = timestamp(&server);
    server.kill();
    // Seen from the last signature, this machine's clock is far ahead.
    signed_ago(data.path(), Duration::days(700)).await;
    let server = Running::start(data.path());
    assert_eq!(timestamp(&server), before, "devices judge by clocks of their own");
    let refused = server.assign("line-3", "turbine", "turbine/1").error(409);
    assert!(
        refused.contains("700 days after") && refused.contains("--clock-is-right"),
        "{refused}"
    );
    let (status, said) = attention(&server);
    assert_eq!(status, "needs attention");
    assert!(said.contains("700 days after") && said.contains("Set the clock"), "{said}");
    assert!(server.page("/").contains("700 days after"));

    let status = |wall_clock_unix_ms: i64| {
        let status = Status {
            boot: 1,
            agent_version: "0.1.0".into(),
            slots: vec![],
            assignment_version: 0,
            releases_version: 0,
            root_version: 1,
            timestamp_version: 0,
            wall_clock_unix_ms,
        };
        encode(&status).unwrap()
    };
    // A device without a clock says nothing about it, and is told what it shall hold all the same.
    let mut device = Client::device(&server, "line-3", &password).await;
    device.publish("lineside/v1/line-3/up/status", status(0)).await;
    device.receive("down/assignment").await;
    assert_eq!(attention(&server).0, "needs attention");
    let now = OffsetDateTime::now_utc().unix_timestamp() * 1_000;
    device.publish("lineside/v1/line-3/up/status", status(now)).await;
    let patience = std::time::Instant::now() + crate::running::PATIENCE;
    while attention(&server).0 != "ok" {
        assert!(std::time::Instant::now() < patience, "{}", attention(&server).1);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").status, 200);
    assert!(timestamp(&server).0 > before.0);

    // Where no device has a clock, it is for a person to say.
    server.kill();
    signed_ago(data.path(), Duration::days(700)).await;
    let mut start = command(data.path());
    start.arg("--clock-is-right");
    let server = Running::launch(start, data.path());
    assert_eq!(attention(&server), ("ok".into(), "[]".into()));
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").status, 200);
}

#[test]
fn a_server_whose_keys_are_not_those_of_its_root_says_so_at_once() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = begun(data.path());
    server.kill();
    std::fs::remove_file(data.path().join("keys/director.pem")).unwrap();
    let mut start = command(data.path());
    let log = std::fs::File::create(data.path().join("log")).unwrap();
    start.stderr(log);
    let server = Running::launch(start, data.path());
    let (status, said) = attention(&server);
    assert_eq!(status, "needs attention");
    let words = "root 1 does not name this server's keys/director.pem";
    assert!(said.contains(words) && said.contains("keys online -o"), "{said}");
    assert!(server.page("/").contains("keys/director.pem"));
    let patience = std::time::Instant::now() + crate::running::PATIENCE;
    while !std::fs::read_to_string(data.path().join("log")).unwrap().contains(words) {
        assert!(std::time::Instant::now() < patience, "the log says nothing");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
