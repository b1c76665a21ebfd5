//! Whether a release would run: asked of devices beforehand, and said by the device that is given it
//! all the same.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::root;
use serde_json::Value;

fn settings(recording: &str) -> String {
    let path = root().join(recording);
    format!(
        "[slots.line]\nsource = \"recording\"\n[sources.recording]\nkind = \"file\"\n\
         paths = [{path:?}]\npace = 1.0\n"
    )
}

#[test]
fn a_release_runs_where_devices_say_it_would_and_is_not_fetched_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    let source = root().join("examples/turbine");
    let source = source.to_string_lossy();
    let build = [
        "bundle",
        "build",
        &source,
        "-o",
        "later.lsb",
        "--record-checks",
        "--set",
        "version=later",
        "--set",
        "requires.agent=99.0.0",
    ];
    let built = fleet.json(&build).unwrap();
    fleet.json(&["release", "later.lsb"]).unwrap();

    fleet.add_device("mill", &settings("examples/turbine/recordings/reference.csv")).unwrap();
    fleet.add_device("ward", &settings("examples/ecg/recordings/excerpt.csv")).unwrap();
    fleet.add_device("away", "").unwrap();
    for device in ["mill", "ward"] {
        fleet.start_agent(device).unwrap();
        fleet.wait_until_says(device, "it is connected", |it| it["connected"] == true).unwrap();
    }
    let would_run = |answers: &Value, device: &str| {
        answers["devices"][device]["slots"]["line"]["would_run"].as_bool()
    };
    // One that would run it is enough where nobody is named.
    let answers = fleet.json(&["release", "ask", "turbine/1"]).unwrap();
    assert_eq!(would_run(&answers, "mill"), Some(true), "{answers}");
    assert_eq!(would_run(&answers, "ward"), Some(false), "{answers}");
    assert_eq!(answers["devices"]["away"]["answered"], false);

    let ask = ["release", "ask", "turbine/later", "--device", "mill", "--slot", "line"];
    let asked = fleet.lineside(&ask);
    assert_eq!(asked.status.code(), Some(1), "a script hears that it would not run");
    let told = String::from_utf8(asked.stdout).unwrap();
    assert!(told.contains("would not run: it needs agent 99.0.0, this one is"), "{told}");
    assert!(told.contains("0 of 1 devices would run turbine/later"), "{told}");

    let both = ["release", "ask", "turbine/1", "--device", "mill", "--device", "ward"];
    assert_eq!(fleet.lineside(&both).status.code(), Some(1));
    assert_eq!(fleet.lineside(&both[..5]).status.code(), Some(0));

    // Somebody assigns it nevertheless: the device says no before it fetches the models.
    fleet.assign("mill", "line", "turbine/later").unwrap();
    let refused = |device: &Value| {
        let note = device["slots"]["line"]["note"].as_str()?;
        note.contains("refused: would not run here: it needs agent 99.0.0").then_some(())
    };
    fleet.wait_for("mill", "it refuses the release", refused).unwrap();
    let blobs = fleet.device_folder("mill").join("state/blobs/sha256");
    let fetched: u64 = std::fs::read_dir(blobs)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    let whole = built["bytes"].as_u64().unwrap();
    assert!(fetched < whole / 4, "{fetched} of {whole} bytes");
}
