//! A release that a device has given up stays given up, until a person says that it be tried again.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::root;
use serde_json::Value;

/// The settings of a device on whose trials its site is so strict.
fn settings(trial: &str) -> String {
    let recording = root().join("examples/turbine/recordings/reference.csv");
    format!(
        "[slots.turbine]\nsource = \"scada\"\n{trial}\n\
         [sources.scada]\nkind = \"file\"\npaths = [{recording:?}]\npace = 6000.0\n"
    )
}

/// The server says that this version runs and nothing is under way, and that the note says this.
fn runs(version: &'static str, note: &'static str) -> impl Fn(&Value) -> Option<()> {
    move |device| {
        let slot = &device["slots"]["turbine"];
        let rests = slot["active"]["version"] == version && slot["phase"] == "idle";
        (rests && slot["note"].as_str()?.contains(note)).then_some(())
    }
}

/// The server has heard that v2 was rolled back so often.
fn rolled_back(times: usize) -> impl Fn(&Value) -> Option<()> {
    move |device| {
        let events = device["events"].as_array()?.iter();
        let is = |event: &&Value| event["kind"] == "rolled_back";
        (events.filter(is).count() == times).then_some(())
    }
}

#[test]
fn what_a_site_has_rolled_back_by_mistake_is_tried_again_when_a_person_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.release("turbine", "2").unwrap();
    fleet.add_device("mill", &settings("")).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/1").unwrap();
    fleet.wait_for("mill", "v1 is committed", runs("1", "")).unwrap();
    // Somebody wants alarms all the time.
    fleet.stop_agent("mill").unwrap();
    fleet.set("mill", &settings("[slots.turbine.policy]\nalarm_share = [0.99, 1.0]\n")).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/2").unwrap();
    fleet.wait_for("mill", "v2 is rolled back", runs("1", "turbine v2: rolled back")).unwrap();
    let again = ["assign", "mill", "turbine", "turbine/2", "--again"];
    fleet.json(&again).unwrap();
    fleet.wait_for("mill", "v2 is rolled back once more", rolled_back(2)).unwrap();
    fleet.wait_for("mill", "v1 runs", runs("1", "turbine v2: rolled back")).unwrap();

    // With his mistake mended it is enough to say so; neither a restart nor an assignment is.
    fleet.stop_agent("mill").unwrap();
    fleet.set("mill", &settings("")).unwrap();
    fleet.start_agent("mill").unwrap();
    let version =
        fleet.assign("mill", "turbine", "turbine/2").unwrap()["version"].as_u64().unwrap();
    let heard = |device: &Value| (device["assignment_accepted"].as_u64()? >= version).then_some(());
    fleet.wait_for("mill", "it has heard that", heard).unwrap();
    fleet.wait_for("mill", "v1 runs", runs("1", "turbine v2: rolled back")).unwrap();
    fleet.json(&again).unwrap();
    fleet.wait_for("mill", "v2 is committed", runs("2", "")).unwrap();
    let answer = fleet.json(&again).unwrap();
    let warning = answer["warning"].as_str().unwrap();
    assert!(warning.contains("turbine/2 runs there: mill has not told"), "{warning}");
    fleet.wait_for("mill", "v2 goes on", rolled_back(2)).unwrap();
}
