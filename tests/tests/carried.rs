//! A device that never sees the network: what it is to run comes in a file, and so does what it says.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::wait;
use lineside_tests::complaint;
use lineside_tests::examples::BEATS;
use lineside_tests::fleet::{Fleet, frame_findings};
use lineside_tests::root;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Has a report written: its place, and how many records it has.
fn report(fleet: &Fleet, name: &str) -> (String, u64) {
    let written = fleet.on_device("bed-3", &["report", "-o", name, "--json"]).unwrap();
    assert!(written.status.success(), "{}", complaint(&written));
    let carried: Value = serde_json::from_slice(&written.stdout).unwrap();
    (format!("bed-3/{name}"), carried["records"].as_u64().unwrap())
}

#[test]
fn a_device_that_never_sees_the_network_is_installed_runs_and_reports_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("ecg", "1").unwrap();
    let recording = root().join("examples/ecg/recordings/excerpt.csv");
    let settings = format!(
        "[slots.ecg]\nsource = 'lead'\nsinks = ['log']\n\
         [sources.lead]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    );
    fleet.add_device("bed-3", &settings).unwrap();
    let device = fleet.device_folder("bed-3");
    let key = device.join("device/report.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    // Nobody listens where the device was told to look for its server.
    let file = device.join("device/device.toml");
    let mut text: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    text.insert("mqtt_port".into(), 9.into());
    text.insert("server_http".into(), "http://127.0.0.1:9".into());
    fs::write(&file, text.to_string()).unwrap();

    fleet.assign("bed-3", "ecg", "ecg/1").unwrap();
    fleet.json(&["device", "export", "bed-3", "-o", "bed-3/stick.lsd"]).unwrap();
    let early = fleet.on_device("bed-3", &["report", "-o", "early.lsr"]).unwrap();
    assert!(complaint(&early).contains("start the agent first"), "{}", complaint(&early));
    fleet.start_agent("bed-3").unwrap();
    fleet.wait_for_status("bed-3").unwrap();
    let installed = fleet.on_device("bed-3", &["install", "stick.lsd", "--json"]).unwrap();
    assert!(installed.status.success(), "{}", complaint(&installed));
    fleet
        .wait_until_says("bed-3", "ecg v1 stays", |status| {
            let slot = &status["slots"]["ecg"];
            slot["active"] == "ecg v1" && slot["phase"] == "idle"
        })
        .unwrap();
    let findings = device.join("findings.jsonl");
    wait("all beats", || (frame_findings(&findings).unwrap().len() >= BEATS).then_some(()))
        .unwrap();
    assert!(fleet.show("bed-3").unwrap()["last_seen"].is_null());

    let install = |fleet: &Fleet, name: &str| {
        let exported = fleet.json(&["device", "export", "bed-3", "-o", &format!("bed-3/{name}")]);
        let installed = fleet.on_device("bed-3", &["install", name, "--json"]).unwrap();
        assert!(installed.status.success(), "{}", complaint(&installed));
        let delivered: Value = serde_json::from_slice(&installed.stdout).unwrap();
        (exported.unwrap()["receipt_for"].clone(), delivered["receipt"].clone())
    };
    let ((first, told), (second, told_again)) =
        (report(&fleet, "first.lsr"), report(&fleet, "second.lsr"));
    assert!(told > 0 && told_again >= told);
    let imported = fleet.json(&["device", "import", &first]).unwrap();
    assert!(imported["new_records"].as_u64() > Some(0), "{imported}");
    let shown = fleet.show("bed-3").unwrap();
    let slot = &shown["slots"]["ecg"];
    assert_eq!((&slot["active"]["version"], &slot["phase"]), (&"1".into(), &"idle".into()));
    assert!(shown["last_report"].is_string(), "{shown}");
    let kinds = shown["events"].to_string();
    for kind in ["trial_started", "committed"] {
        assert!(kinds.contains(kind), "{kind}: {kinds}");
    }
    let told = fleet.lineside(&["device", "show", "bed-3"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("its last report by hand"), "{told}");

    // The same again says nothing new, and the next one only what is new.
    let again = fleet.lineside(&["device", "import", &first]);
    assert!(complaint(&again).contains("was imported already"), "{}", complaint(&again));
    fleet.json(&["device", "import", &second]).unwrap();
    let events = shown["events"].as_array().unwrap().len();
    assert!(fleet.show("bed-3").unwrap()["events"].as_array().unwrap().len() <= events + 1);

    // The receipt travels back with the next file: what the server has is not told again, and what it
    // has not is told once.
    let (receipt_for, receipt) = install(&fleet, "back.lsd");
    assert!(receipt_for.is_u64() && receipt["taken"]["report"] == receipt_for, "{receipt}");
    assert!(receipt["taken"]["records"].as_u64() > Some(0), "{receipt}");
    assert_eq!(install(&fleet, "again.lsd").1["taken"]["records"], 0);
    fleet.kill_agent("bed-3");
    fleet.start_agent("bed-3").unwrap();
    fleet.wait_for_status("bed-3").unwrap();
    let (third, records) = report(&fleet, "third.lsr");
    let imported = fleet.json(&["device", "import", &third]).unwrap();
    assert_eq!(imported["new_records"].as_u64(), Some(records));
    let half = fs::read(folder.path().join(&first)).unwrap();
    fs::write(folder.path().join("half"), &half[..half.len() - 7]).unwrap();
    let cut = fleet.lineside(&["device", "import", "half"]);
    assert!(complaint(&cut).contains("was not copied to its end"), "{}", complaint(&cut));
}
