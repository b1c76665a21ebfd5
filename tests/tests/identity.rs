//! A device joins by a key of its own, is accepted, updated and revoked, by TLS: through the real programs.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::wait;
use lineside_tests::fleet::{Fleet, frame_findings};
use lineside_tests::{complaint, root};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const TLS: &str =
    "[tls]\nhttp = \"127.0.0.1:0\"\nmqtt = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\n";

/// Turbines from a recording that goes on for a quarter of an hour, into a file.
fn settings() -> String {
    let recording = root().join("examples/turbine/recordings/reference.csv");
    format!(
        "[slots.line]\nsource = 'recording'\nsinks = ['log']\n\
         [sources.recording]\nkind = 'file'\npaths = ['{}']\npace = 1200.0\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    )
}

fn findings(fleet: &Fleet) -> usize {
    frame_findings(&fleet.device_folder("mill").join("findings.jsonl")).unwrap().len()
}

/// Waits until there are more findings than there were.
fn wait_for_more(fleet: &Fleet) {
    let there = findings(fleet);
    wait("inference goes on", || (findings(fleet) > there).then_some(())).unwrap();
}

fn has_trouble(status: &Value, with: &str) -> bool {
    status["identity"]["trouble"].as_str().is_some_and(|trouble| trouble.contains(with))
}

/// What the server knows of the device's key.
fn joined(fleet: &Fleet) -> Value {
    fleet.json(&["device", "joined"]).unwrap()[0].clone()
}

#[test]
fn a_device_joins_by_its_key_is_accepted_updated_and_revoked_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start_set(folder.path(), TLS).unwrap();
    fleet.release("turbine", "1").unwrap();
    let made = fleet.invite_device("mill", &settings()).unwrap();
    assert!(made["server_http"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{made}");
    let own = |name: &str| folder.path().join("mill/device").join(name);
    assert_eq!(fs::metadata(own("join-token")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = fleet.lineside(&["device", "token", "mill", "-o", "mill/device"]);
    assert!(complaint(&again).contains("never written over"), "{}", complaint(&again));

    fleet.start_agent("mill").unwrap();
    let status = fleet
        .wait_until_says("mill", "it waits for a person", |status| {
            has_trouble(status, "lineside device accept mill ")
        })
        .unwrap();
    let key = status["identity"]["key"].as_str().unwrap();
    assert!(has_trouble(&status, key) && status["connected"] == false, "{status}");
    assert!(!own("join-token").exists());
    let waiting = joined(&fleet);
    assert_eq!((&waiting["standing"], &waiting["key"]), (&"pending".into(), &key.into()));
    fleet.json(&["device", "accept", "mill", key]).unwrap();
    // It asks once a minute, and at each start.
    fleet.stop_agent("mill").unwrap();
    fleet.start_agent("mill").unwrap();
    let connected = |status: &Value| status["connected"] == true;
    let status = fleet.wait_until_says("mill", "it is connected", connected).unwrap();
    assert!(status["identity"]["trouble"].is_null(), "{status}");
    assert!(status["identity"]["certificate_ends"].is_string(), "{status}");
    assert_eq!(joined(&fleet)["standing"], "accepted");

    // What is assigned to it is fetched, and what it tells arrives.
    fleet.assign("mill", "line", "turbine/1").unwrap();
    wait_for_more(&fleet);
    let findings = |device: &Value| device["telemetry"]["line"]["findings"].as_u64();
    fleet
        .wait_for("mill", "its telemetry arrives", |it| findings(it).filter(|count| *count > 0))
        .unwrap();

    // Its certificate is lost, and it has another by its key alone.
    fleet.stop_agent("mill").unwrap();
    let before = fs::read(own("certificate.pem")).unwrap();
    fs::remove_file(own("certificate.pem")).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.wait_until_says("mill", "it is connected again", connected).unwrap();
    assert_ne!(fs::read(own("certificate.pem")).unwrap(), before);

    fleet.json(&["device", "revoke", "mill", key]).unwrap();
    let status = fleet
        .wait_until_says("mill", "it is out, and says why", |status| {
            status["connected"] == false && has_trouble(status, "revoked")
        })
        .unwrap();
    assert_eq!(status["slots"]["line"]["answering"], true, "{status}");
    wait_for_more(&fleet);
    // A start does not let it in again.
    fleet.stop_agent("mill").unwrap();
    fleet.start_agent("mill").unwrap();
    fleet
        .wait_until_says("mill", "it says why it is out", |status| has_trouble(status, "revoked"))
        .unwrap();
    assert_eq!(fleet.status("mill").unwrap()["connected"], false);
    wait_for_more(&fleet);
}

#[test]
fn a_token_is_told_once_and_only_where_there_is_tls() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(folder.path()).unwrap();
    for arguments in [&["device", "token", "mill"][..], &["device", "token", "mill", "-o", "mill"]]
    {
        let said = complaint(&fleet.lineside(arguments));
        assert!(said.contains("[tls]"), "{said}");
        // Nothing is left of a folder that was not made.
        assert!(!folder.path().join("mill").exists());
    }
    drop(fleet);
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start_set(folder.path(), TLS).unwrap();
    let told = fleet.lineside(&["device", "token", "--hours", "1"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.starts_with("lsjoin_") && told.lines().count() == 1, "{told}");
    let said = complaint(&fleet.lineside(&["device", "token", "-o", "mill"]));
    assert!(said.contains("whose folder is it"), "{said}");
    let text = fleet.lineside(&["device", "token", "mill", "-o", "mill", "--serial", "A-1"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("lineside device accept mill KEY"), "{text}");
    let file = fs::read_to_string(folder.path().join("mill/device.toml")).unwrap();
    assert!(file.contains("serial = \"A-1\"") && !file.contains("password"), "{file}");
}

#[test]
fn a_device_that_was_copied_is_out_in_both_places_and_both_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start_set(folder.path(), TLS).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.invite_device("mill", &settings()).unwrap();
    fleet.start_agent("mill").unwrap();
    let status = fleet
        .wait_until_says("mill", "it waits", |status| has_trouble(status, "device accept"))
        .unwrap();
    let key = status["identity"]["key"].as_str().unwrap();
    fleet.json(&["device", "accept", "mill", key]).unwrap();
    fleet.stop_agent("mill").unwrap();
    fleet.start_agent("mill").unwrap();
    let connected = |status: &Value| status["connected"] == true;
    fleet.wait_until_says("mill", "it is connected", connected).unwrap();
    fleet.stop_agent("mill").unwrap();

    let (from, to) = (fleet.device_folder("mill"), fleet.device_folder("copy"));
    let copied = std::process::Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
    assert!(copied.success());
    fleet.start_agent("copy").unwrap();
    fleet.wait_until_says("copy", "the copy is connected", connected).unwrap();
    fleet.start_agent("mill").unwrap();
    for device in ["mill", "copy"] {
        fleet
            .wait_until_says(device, "it is out, and says why", |status| {
                status["connected"] == false && has_trouble(status, "quarantine")
            })
            .unwrap();
    }
    assert_eq!(joined(&fleet)["standing"], "quarantined");
    // The copy is dealt with.
    fleet.stop_agent("copy").unwrap();
    fleet.json(&["device", "reset", "mill", key]).unwrap();
    fleet.wait_until_says("mill", "it is let in again", connected).unwrap();
}
