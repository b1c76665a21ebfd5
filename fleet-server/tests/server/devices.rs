//! Devices: listed page by page, given new passwords, removed.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::Signers;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{self, Body, Event, Record, Telemetry};
use rumqttc::mqttbytes::v5::ConnectReturnCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn happened(sequence: u64, slot: &str, text: &str) -> Record {
    let event = Event {
        slot: slot.into(),
        kind: v1::event::ALARM,
        release: None,
        text: text.into(),
        at_unix_ms: 1_700_000_000_000,
    };
    let (code, body) = Body::Event(event).encode().unwrap();
    Record { boot: 1, sequence, backfill: false, code, body }
}

async fn tell(device: &mut Client, name: &str, records: Vec<Record>) {
    let payload = encode(&Telemetry { records }).unwrap();
    device.publish(&format!("lineside/v1/{name}/up/telemetry"), payload).await;
    device.receive("down/ack").await;
}

#[tokio::test]
async fn devices_are_listed_page_by_page_each_with_what_is_its_own() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    for name in ["a", "b", "c", "d", "e"] {
        let password = server.add_device(name);
        if name != "c" {
            let mut device = Client::device(&server, name, &password).await;
            let records = vec![happened(0, "s", "first"), happened(2, "s", name)];
            tell(&mut device, name, records).await;
        }
    }
    server.assign("d", "turbine", "turbine/1");
    let names = |path: &str| -> Vec<String> {
        let page = server.get(path).json();
        let names = page.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().into());
        names.collect()
    };
    assert_eq!(names("/api/v1/devices"), ["a", "b", "c", "d", "e"]);
    assert_eq!(names("/api/v1/devices?limit=2"), ["a", "b"]);
    assert_eq!(names("/api/v1/devices?limit=2&after=b"), ["c", "d"]);
    assert_eq!(names("/api/v1/devices?limit=2&after=d"), ["e"]);
    assert_eq!(names("/api/v1/devices?after=e"), [""; 0]);
    let page = server.get("/api/v1/devices?limit=3&after=a").json();
    for (device, own) in page.as_array().unwrap().iter().zip(["b", "c", "d"]) {
        let (events, missing) = (device["events"].as_array().unwrap(), &device["missing_records"]);
        if own == "c" {
            assert!(events.is_empty() && missing == 0, "{device}");
        } else {
            assert_eq!((events.len(), &events[0]["text"]), (1, &own.into()), "the newest only");
            assert_eq!(missing, 1, "{device}");
        }
        assert_eq!(device["assignment_version"], i32::from(own == "d"));
        let alone = server.get(&format!("/api/v1/devices/{own}")).json();
        for same in ["attention", "slots", "telemetry", "missing_records", "assignment_version"] {
            assert_eq!(device[same], alone[same], "{own}: {same}");
        }
    }
}

#[tokio::test]
async fn the_newest_events_of_a_slot_are_found_behind_those_of_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let mut records = vec![happened(0, "b", "quiet")];
    records.extend((1..=20).map(|sequence| happened(sequence, "a", "loud")));
    tell(&mut device, "line-3", records).await;
    let events = server.get("/api/v1/devices/line-3/events?slot=b&limit=1").json();
    assert_eq!((events.as_array().unwrap().len(), &events[0]["text"]), (1, &"quiet".into()));
    let events = server.get("/api/v1/devices/line-3/events?limit=2").json();
    assert_eq!((&events[0]["sequence"], &events[1]["sequence"]), (&20.into(), &19.into()));
}

#[tokio::test]
async fn a_new_password_ends_what_the_old_one_opened() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let old = server.add_device("line-3");
    let other = server.add_device("line-4");
    let mut stolen = Client::device(&server, "line-3", &old).await;
    let mut bystander = Client::device(&server, "line-4", &other).await;
    let reply = server.ask("POST", "/api/v1/devices/line-3/password", As::Administrator, b"");
    let new = reply.json()["password"].as_str().unwrap().to_owned();
    assert!(new.len() == 64 && new != old);
    stolen.ended().await;
    let refused = Client::connect(&server, "line-3", "line-3", &old).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::BadUserNamePassword));
    assert_eq!(server.ask("GET", "/v2/", As::Device("line-3", &old), b"").status, 401);
    assert_eq!(server.ask("GET", "/v2/", As::Device("line-3", &new), b"").status, 200);
    assert!(Client::connect(&server, "line-3", "line-3", &new).await.is_ok());
    tell(&mut bystander, "line-4", vec![happened(0, "s", "still here")]).await;
    let nobody = server.ask("POST", "/api/v1/devices/line-9/password", As::Administrator, b"");
    assert!(nobody.error(404).contains("line-9"));
}

#[tokio::test]
async fn a_device_that_is_removed_is_let_in_no_longer_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    server.add_device("line-4");
    server.assign("line-3", "turbine", "turbine/1");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![happened(0, "s", "x"), happened(7, "s", "x")]).await;
    tell(&mut device, "line-3", vec![happened(0, "s", "something else")]).await;
    let odd = || server.get("/api/v1/devices/line-3").json()["conflicting_records"].clone();
    assert_eq!(odd(), 1);

    let remove = || server.ask("DELETE", "/api/v1/devices/line-3", As::Administrator, b"");
    assert_eq!(remove().status, 204);
    device.ended().await;
    let refused = Client::connect(&server, "line-3", "line-3", &password).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::BadUserNamePassword));
    assert!(remove().error(404).contains("line-3"));
    let left = server.get("/api/v1/devices").json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["name"]), (1, &"line-4".into()));

    // The name is free, for a device of which nothing is known.
    let password = server.add_device("line-3");
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!((&shown["missing_records"], &shown["assignment_version"]), (&0.into(), &0.into()));
    assert_eq!(odd(), 0);
    assert_eq!(
        (&shown["events"], &shown["slots"]),
        (&serde_json::json!([]), &serde_json::json!({}))
    );
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![happened(0, "s", "a first record")]).await;
    let events = server.get("/api/v1/devices/line-3/events").json();
    assert_eq!(events[0]["text"], "a first record", "it is no repeat");
}

#[tokio::test]
async fn a_release_that_the_device_would_refuse_is_not_assigned_and_a_slot_it_lacks_is_told_of() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let releases = ["1", "2", "3"].map(|version| signers.release(&server, version));
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let active = v1::ReleaseRef {
        name: "turbine".into(),
        version: "3".into(),
        digest: releases[2].digest.bytes(),
    };
    let slot = v1::SlotStatus {
        slot: "turbine".into(),
        active: Some(active),
        previous: None,
        candidate: None,
        phase: v1::phase::IDLE,
        note: String::new(),
        trouble: String::new(),
        floor: 2,
        hold: Some("held back by hand (anna) for 2 minutes: the belt".into()),
        hold_left_seconds: Some(120),
        deadline_left_seconds: Some(-3600),
    };
    let status = v1::Status {
        boot: 1,
        agent_version: "0.1.0".into(),
        slots: vec![slot],
        assignment_version: 0,
        releases_version: 0,
        root_version: 1,
        timestamp_version: 0,
        wall_clock_unix_ms: 0,
    };
    device.publish("lineside/v1/line-3/up/status", encode(&status).unwrap()).await;
    server.wait_for("/api/v1/devices/line-3", |shown| {
        shown["slots"]["turbine"]["hold"] == "held back by hand (anna) for 2 minutes: the belt"
    });
    // Two agents under one name take turns.
    let mut turns = Vec::new();
    for boot in [7, 8, 7] {
        let status = v1::Status { boot, ..status.clone() };
        device.publish("lineside/v1/line-3/up/status", encode(&status).unwrap()).await;
        server.wait_for("/api/v1/devices/line-3", |shown| shown["boot"] == boot);
        let shown = server.get("/api/v1/devices/line-3").json();
        turns.push(shown["attention"].to_string().contains("two agents speak under its name"));
    }
    assert_eq!(turns, [false, false, true]);
    // Told as moments of this clock, for the device tells how much of its running is left.
    let shown = server.get("/api/v1/devices/line-3").json();
    let moment = |name: &str| {
        let text = shown["slots"]["turbine"][name].as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    };
    let seen = shown["last_seen"].as_str().unwrap();
    let seen = OffsetDateTime::parse(seen, &Rfc3339).unwrap();
    assert_eq!(moment("hold_ends") - seen, time::Duration::seconds(120));
    assert_eq!(moment("deadline") - seen, time::Duration::seconds(-3600));

    let refused = server.assign("line-3", "turbine", "turbine/1").error(409);
    assert!(refused.contains("number 1") && refused.contains("below number 2"), "{refused}");
    // The floor holds for the device, in whichever slot.
    assert!(server.assign("line-3", "spare", "turbine/1").error(409).contains("below number 2"));
    let back = server.assign("line-3", "turbine", "turbine/2").json();
    assert_eq!((&back["release"], &back["warning"]), (&"turbine/2".into(), &().into()));
    let spare = server.assign("line-3", "spare", "turbine/3").json();
    let warning = spare["warning"].as_str().unwrap();
    assert!(warning.contains("no slot spare, only of turbine"), "{warning}");
}
