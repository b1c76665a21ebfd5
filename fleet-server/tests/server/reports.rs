//! Reports of devices without a network: believed like what the network brings, and no more.

use crate::mqtt::Client;
use crate::running::{As, Reply, Running};
use crate::signers::key;
use crate::telemetry::{event, message, tell};
use lineside_trust::{KeyPair, seal_report};
use lineside_wire::envelope::encode;
use lineside_wire::v1::Status;

fn status(boot: u64, agent_version: &str) -> Vec<u8> {
    let status = Status {
        boot,
        agent_version: agent_version.into(),
        slots: vec![],
        assignment_version: 0,
        releases_version: 0,
        root_version: 1,
        timestamp_version: 0,
        wall_clock_unix_ms: 1_700_000_000_000,
    };
    encode(&status).unwrap()
}

fn sealed(device: &str, number: u64, messages: &[Vec<u8>], key: &KeyPair) -> Vec<u8> {
    seal_report(&device.parse().unwrap(), number, messages, key)
}

fn import(server: &Running, report: &[u8]) -> Reply {
    let kind = [("content-type", "application/octet-stream")];
    server.ask_with("POST", "/api/v1/reports", As::Administrator, &kind, report)
}

/// Adds a device that signs its reports. Returns its password and its key.
fn device(server: &Running, name: &str) -> (String, KeyPair) {
    let (password, key) = (server.add_device(name), key());
    let place = format!("/api/v1/devices/{name}/report-key");
    let public = serde_json::to_vec(&key.public()).unwrap();
    assert_eq!(server.put(&place, &public).status, 204);
    (password, key)
}

#[tokio::test]
async fn what_came_by_hand_and_what_came_by_the_network_are_told_apart_by_number_alone() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let (password, key) = device(&server, "line-3");
    let mut online = Client::device(&server, "line-3", &password).await;
    tell(&mut online, "line-3", vec![event(3, 0, "by the network")]).await;

    let records = vec![event(3, 0, "by the network"), event(3, 1, "by hand")];
    let report = sealed("line-3", 7, &[status(3, "9.9"), message(records)], &key);
    let imported = import(&server, &report).json();
    let expected = serde_json::json!({ "device": "line-3", "number": 7, "new_records": 1 });
    assert_eq!(imported, expected);
    let shown = server.get("/api/v1/devices/line-3").json();
    let texts: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["by hand", "by the network"]);
    assert_eq!((&shown["agent_version"], &shown["boot"]), (&"9.9".into(), &3.into()));
    assert!(shown["last_report"].is_string(), "{shown}");

    // A report from before what the network has told since changes nothing of that.
    let late = message(vec![event(2, 5, "before")]);
    let late = sealed("line-3", 8, &[status(2, "0.1"), late], &key);
    assert_eq!(import(&server, &late).json()["new_records"], 1);
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!((&shown["agent_version"], &shown["boot"]), (&"9.9".into(), &3.into()));
}

#[test]
fn a_report_that_is_forged_foreign_replayed_or_cut_short_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let (_, key) = device(&server, "line-3");
    let (_, other) = device(&server, "line-4");
    server.add_device("line-5");
    let messages = [status(1, "1"), message(vec![event(1, 0, "a")])];
    let good = sealed("line-3", 2, &messages, &key);
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (report, code, words) in [
        (sealed("line-3", 2, &messages, &other), 422, "it is not signed with the key of line-3"),
        (sealed("line-9", 2, &messages, &key), 404, "there is no device \"line-9\""),
        (sealed("line-5", 2, &messages, &key), 409, "line-5 has no key for reports"),
        (good[..good.len() - 1].to_vec(), 422, "it was not copied to its end"),
        (changed, 422, "they were changed on the way"),
        (b"{}\n".to_vec(), 422, "it is no report of a device"),
        (Vec::new(), 422, "it is no report of a device"),
    ] {
        let said = import(&server, &report).error(code);
        assert!(said.contains(words), "{said}");
    }
    let before = server.get("/api/v1/devices/line-3").json();
    assert_eq!((&before["boot"], &before["events"]), (&0.into(), &serde_json::json!([])));
    assert!(before["last_report"].is_null());

    assert_eq!(import(&server, &good).json()["new_records"], 1);
    for number in [1, 2] {
        let said = import(&server, &sealed("line-3", number, &messages, &key)).error(409);
        assert!(said.contains(&format!("report {number} of line-3 or a later one")), "{said}");
    }
    // A key that was replaced opens nothing any longer.
    let public = serde_json::to_vec(&other.public()).unwrap();
    server.put("/api/v1/devices/line-3/report-key", &public);
    let said = import(&server, &sealed("line-3", 3, &messages, &key)).error(422);
    assert!(said.contains("the device has got another key since"), "{said}");
}

#[test]
fn what_cannot_be_read_in_a_report_is_counted_and_the_rest_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let (_, key) = device(&server, "line-3");
    let messages = [b"odd".to_vec(), status(1, "1"), message(vec![event(1, 0, "a")])];
    let imported = import(&server, &sealed("line-3", 1, &messages, &key)).json();
    assert_eq!(imported["new_records"], 1);
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!((&shown["unreadable_messages"], &shown["boot"]), (&1.into(), &1.into()));
}
