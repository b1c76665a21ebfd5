//! Whether a release would run: devices that answer, that are silent, that lie, and that are away.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::Signers;
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Answer, Ask, Objection, SlotAnswer};
use serde_json::json;
use std::sync::Arc;

const PATH: &str = "/api/v1/releases/turbine/1/ask";

fn answer(ask: &Ask, slot: &str, objection: Option<&str>) -> Vec<u8> {
    let objections = objection.map(|text| Objection { text: text.into(), passes: false });
    let slot = SlotAnswer { slot: slot.into(), objections: objections.into_iter().collect() };
    encode(&Answer { id: ask.id, slots: vec![slot] }).unwrap()
}

async fn question(device: &mut Client) -> Ask {
    decode(&device.receive("down/ask").await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_answers_for_itself_and_who_is_silent_or_away_is_told_of() {
    let data = tempfile::tempdir().unwrap();
    let server = Arc::new(Running::start(data.path()));
    let release = Signers::enrolled(&server).release(&server, "1");
    let mut connected = Vec::new();
    for name in ["good", "bad", "silent"] {
        let password = server.add_device(name);
        connected.push(Client::device(&server, name, &password).await);
    }
    server.add_device("away");
    let asking = server.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let body = json!({ "slot": "line", "wait_seconds": 3 }).to_string();
        asking.ask("POST", PATH, As::Administrator, body.as_bytes())
    });
    let [good, bad, silent] = connected.as_mut_slice() else { panic!() };
    let ask = question(good).await;
    assert_eq!((ask.release.digest, ask.slot.as_deref()), (release.digest.bytes(), Some("line")));
    good.publish("lineside/v1/good/up/answer", answer(&ask, "line", None)).await;
    let ask = question(bad).await;
    // An answer to what nobody asked, and what is no answer, change nothing.
    let other = Ask { id: ask.id + 1, ..ask.clone() };
    bad.publish("lineside/v1/bad/up/answer", answer(&other, "line", None)).await;
    bad.publish("lineside/v1/bad/up/answer", b"yes".to_vec()).await;
    let objection = Some("it needs agent 9.0.0, this one is 0.1.0\n");
    bad.publish("lineside/v1/bad/up/answer", answer(&ask, "line", objection)).await;
    question(silent).await;

    let reply = asked.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = reply.json();
    assert_eq!(told["release"], "turbine/1");
    let devices = &told["devices"];
    assert_eq!(devices.as_object().map(serde_json::Map::len), Some(4));
    assert_eq!(devices["good"]["slots"]["line"]["would_run"], true);
    let bad = &devices["bad"]["slots"]["line"];
    assert_eq!(bad["would_run"], false);
    let text = bad["objections"][0]["text"].as_str().unwrap();
    assert_eq!(text, "it needs agent 9.0.0, this one is 0.1.0 ", "on one line");
    for (name, connected) in [("silent", true), ("away", false)] {
        let device = &devices[name];
        assert_eq!((&device["answered"], &device["connected"]), (&false.into(), &connected.into()));
    }
}

#[test]
fn questions_that_make_no_sense_are_refused_and_devices_that_are_away_are_not_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    Signers::enrolled(&server).release(&server, "1");
    server.add_device("away");
    let ask = |path: &str, body: serde_json::Value| {
        server.ask("POST", path, As::Administrator, body.to_string().as_bytes())
    };
    let missing = ask("/api/v1/releases/turbine/9/ask", json!({})).error(404);
    assert!(missing.contains("turbine/9"), "{missing}");
    let stranger = ask(PATH, json!({ "devices": ["away", "nobody"] })).error(404);
    assert!(stranger.contains("nobody"), "{stranger}");
    assert!(ask(PATH, json!({ "slot": "A slot" })).error(400).contains("slot"));
    assert!(ask(PATH, json!({ "wait_seconds": 46 })).error(400).contains("45"));
    let told = ask(PATH, json!({ "devices": ["away"], "wait_seconds": 45 })).json();
    assert_eq!(told["devices"]["away"]["connected"], false);
}
