//! The whole loop: a release is signed, assigned, downloaded, checked, tried; devices answer all along.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::wait;
use lineside_tests::examples::{BEATS, check_beats_found, turbine_rows};
use lineside_tests::fleet::{Fleet, frame_findings};
use lineside_tests::plant::{Plant, STRANGER, first_contact};
use lineside_tests::root;
use serde_json::Value;
use std::collections::BTreeSet;

/// Heart beats from a recording into a file.
fn ecg_settings() -> String {
    let recording = root().join("examples/ecg/recordings/excerpt.csv");
    format!(
        "[slots.ecg]\nsource = 'lead'\nsinks = ['log']\n\
         [sources.lead]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    )
}

/// Turbines from the plant's broker and back to it.
fn turbine_settings(plant: &Plant) -> String {
    let port = plant.port();
    format!(
        "[slots.turbine]\nsource = 'scada'\nsinks = ['plant']\n\
         [sources.scada]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = 'scada'\n\
         [sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = 'findings/mill'\n"
    )
}

/// What the device has found, without what it says while a slot is vacant.
fn answers(fleet: &Fleet) -> Vec<Value> {
    frame_findings(&fleet.device_folder("bed-3").join("findings.jsonl")).unwrap()
}

/// Waits until so many beats are answered.
fn wait_for_beats(fleet: &Fleet, beats: usize) {
    if let Err(error) = wait("the beats", || (answers(fleet).len() >= beats).then_some(())) {
        let log = std::fs::read_to_string(fleet.device_folder("bed-3").join("agent.log"));
        let (there, status) = (answers(fleet).len(), fleet.status("bed-3"));
        panic!("{error}, {there} of {beats} are there\n{status:?}\n{}", log.unwrap_or_default());
    }
}

/// Waits until the recording is answered to its end, and compares with the reference runtime.
fn check_beats(fleet: &Fleet) {
    wait_for_beats(fleet, BEATS);
    check_beats_found(&answers(fleet)).unwrap();
}

#[test]
fn an_assigned_release_answers_a_recording_as_the_reference_runtime_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("ecg", "1").unwrap();
    fleet.add_device("bed-3", &ecg_settings()).unwrap();
    fleet.start_agent("bed-3").unwrap();
    fleet.assign("bed-3", "ecg", "ecg/1").unwrap();
    fleet
        .wait_for("bed-3", "the device tells that ecg v1 answers", |device| {
            (device["slots"]["ecg"]["active"]["version"] == "1").then_some(())
        })
        .unwrap();
    check_beats(&fleet);
    fleet.stop_agent("bed-3").unwrap();
    check_beats(&fleet);
}

#[test]
fn an_agent_that_is_killed_goes_on_where_it_was_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("ecg", "1").unwrap();
    fleet.add_device("bed-3", &ecg_settings().replace("'flat-out'", "120.0")).unwrap();
    fleet.assign("bed-3", "ecg", "ecg/1").unwrap();
    fleet.start_agent("bed-3").unwrap();
    for beats in [30, 150, 300] {
        wait_for_beats(&fleet, beats);
        fleet.kill_server();
        fleet.kill_agent("bed-3");
        assert!(answers(&fleet).len() < BEATS, "it was not killed in the middle");
        fleet.start_agent("bed-3").unwrap();
    }
    check_beats(&fleet);
    let status = fleet.wait_for_status("bed-3").unwrap();
    let counts = &status["slots"]["ecg"]["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
}

#[test]
fn a_release_that_is_carried_by_hand_needs_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("ecg", "1").unwrap();
    fleet.add_device("bed-3", &ecg_settings()).unwrap();
    fleet.assign("bed-3", "ecg", "ecg/1").unwrap();
    fleet.json(&["device", "export", "bed-3", "-o", "bed-3/stick.lsd", "--keys", "keys"]).unwrap();
    fleet.kill_server();
    fleet.start_agent("bed-3").unwrap();
    fleet.wait_for_status("bed-3").unwrap();
    let output = fleet.on_device("bed-3", &["install", "stick.lsd", "--json"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_beats(&fleet);
}

/// Rows of a recording that a trial of 120 frames of six is sure to end in.
const ROWS: usize = 1200;

#[test]
fn a_better_model_stays_a_wrong_one_is_refused_or_taken_back_and_no_reading_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let plant = Plant::start(folder.path()).unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    for version in ["1", "2", "3", "4"] {
        fleet.release("turbine", version).unwrap();
    }
    fleet.add_device("mill", &turbine_settings(&plant)).unwrap();
    fleet.start_agent("mill").unwrap();
    let holds = |version: &'static str, candidate: &'static str| {
        move |device: &Value| {
            let slot = &device["slots"]["turbine"];
            let settled = slot["phase"] == "idle" && slot["active"]["version"] == version;
            let noted = slot["note"].as_str().unwrap_or_default().contains(candidate);
            (settled && noted).then_some(())
        }
    };
    // Readings come only when the release is there that is to see them, however slow the machine.
    for (release, recording, rows) in
        [("1", "reference", 0), ("2", "reference", ROWS), ("4", "shifted", 0)]
    {
        if release == "4" {
            fleet.assign("mill", "turbine", "turbine/3").unwrap();
            fleet.wait_for("mill", "turbine v3 is refused", holds("2", "check january")).unwrap();
        }
        fleet.assign("mill", "turbine", &format!("turbine/{release}")).unwrap();
        let route = format!("turbine v{release} has the route");
        let agent = fleet.agent("mill").unwrap();
        wait(&route, || agent.log().contains(&route).then_some(())).unwrap();
        if release == "1" {
            first_contact(&plant, &fleet, "mill").unwrap();
        }
        let part = turbine_rows(recording, rows..rows + ROWS, folder.path()).unwrap();
        plant.publish(&[part], "scada", 500.0);
        match release {
            "4" => fleet.wait_for("mill", "v4 is taken back", holds("2", "share of alarms")),
            "2" => fleet.wait_for("mill", "v2 stays", holds("2", "")),
            _ => fleet.wait_for("mill", "v1 stays", holds("1", "")),
        }
        .unwrap();
    }

    let frames = 3 * ROWS / 6;
    let answered = || {
        let mut findings = plant.received().findings;
        findings.retain(|_, finding| finding["release"].is_string() && finding["key"] != STRANGER);
        findings
    };
    wait("all findings have reached the plant", || (answered().len() >= frames).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {} of {frames}", answered().len()));
    let answered = answered();
    assert_eq!(answered.len(), frames);
    assert!(answered.values().all(|finding| finding["fail_safe"].is_null()));
    let counts = &fleet.wait_for_status("mill").unwrap()["slots"]["turbine"]["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    let release = |finding: &Value| finding["release"].as_str().map(str::to_owned);
    let releases: BTreeSet<String> = answered.values().filter_map(release).collect();
    // The third never answered anything.
    let tried = ["turbine v1", "turbine v2", "turbine v4"].map(str::to_owned);
    assert_eq!(releases, BTreeSet::from(tried));
}
