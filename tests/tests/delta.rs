//! A release on its way from the desk to a device that has the one before.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::root;
use serde_json::Value;

/// Readings of turbines into a file.
fn settings() -> String {
    let recording = root().join("examples/turbine/recordings/reference.csv");
    format!(
        "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n\
         [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    )
}

#[test]
fn a_release_arrives_as_a_delta_from_the_one_that_the_device_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.add_device("mill", &settings()).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/1").unwrap();
    let stays =
        |device: &Value| (device["slots"]["turbine"]["active"]["version"] == "1").then_some(());
    fleet.wait_for("mill", "turbine v1 stays", stays).unwrap();

    let signed = fleet.release("turbine", "2").unwrap();
    fleet.wait_for_delta(&signed).unwrap();
    fleet.assign("mill", "turbine", "turbine/2").unwrap();
    let told = |device: &Value| {
        let mut events = device["events"].as_array()?.iter();
        let is_it =
            |event: &&Value| event["kind"] == "downloaded" && event["release"] == "turbine v2";
        events.find(is_it)?["text"].as_str().map(str::to_owned)
    };
    let text = fleet.wait_for("mill", "v2 was fetched", told).unwrap();
    assert!(text.contains("bytes fetched, by delta from v1"), "{text}");
}
