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

/// Adds a device for which nobody listens where it was told to look for its server.
fn add_without_network(fleet: &Fleet, device: &str, settings: &str) {
    fleet.add_device(device, settings).unwrap();
    let file = fleet.device_folder(device).join("device/device.toml");
    let mut text: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    text.insert("mqtt_port".into(), 9.into());
    text.insert("server_http".into(), "http://127.0.0.1:9".into());
    fs::write(&file, text.to_string()).unwrap();
}

#[test]
fn one_stick_serves_several_devices_and_brings_their_answers_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.release("turbine", "2").unwrap();
    let recording = root().join("examples/turbine/recordings/reference.csv");
    let settings = format!(
        "[slots.turbine]\nsource = 'scada'\n\
         [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 6000.0\n",
        recording.display()
    );
    let devices = ["mill-1", "mill-2", "mill-3"];
    for (device, version) in devices.iter().zip(["1", "2", "1"]) {
        add_without_network(&fleet, device, &settings);
        fleet.assign(device, "turbine", &format!("turbine/{version}")).unwrap();
        fleet.start_agent(device).unwrap();
        fleet.wait_for_status(device).unwrap();
    }
    fleet.json(&["device", "add", "idle", "-o", "idle/device"]).unwrap();
    let stick = folder.path().join("stick");
    fs::create_dir(&stick).unwrap();
    let export = |devices: &[&str], more: &[&str]| {
        fleet.lineside(&[&["device", "export", "-o", "stick/all.lsd"], devices, more].concat())
    };
    let said = complaint(&export(&["mill-1", "idle"], &[]));
    assert!(said.contains("nothing is assigned to idle"), "{said}");
    assert!(!stick.join("all.lsd").exists());
    let alone = export(&["mill-1"], &[]);
    assert!(alone.status.success(), "{}", complaint(&alone));
    let size = || fs::metadata(stick.join("all.lsd")).unwrap().len();
    let of_one = size();

    // Never written over without a word.
    let said = complaint(&export(&["mill-1", "mill-2"], &[]));
    assert!(said.contains("all.lsd is there already") && said.contains("--replace"), "{said}");
    assert_eq!(size(), of_one);
    let packed = export(&["mill-1", "mill-3", "mill-1"], &["--replace"]);
    assert!(packed.status.success(), "{}", complaint(&packed));
    // The same release for another device costs its documents, and no blob again.
    let documents = size() - of_one;
    let blobs = fs::metadata(folder.path().join("turbine-1.lsb")).map_or(of_one, |it| it.len());
    assert!(documents < blobs, "{documents} of {blobs}");
    let install =
        |device: &str| fleet.on_device(device, &["install", "../stick/all.lsd", "--json"]).unwrap();
    let said = complaint(&install("mill-2"));
    assert!(said.contains("it is for mill-1, mill-3, and not for this device"), "{said}");

    let packed = export(&devices, &["--replace"]);
    assert!(packed.status.success(), "{}", complaint(&packed));
    let told = String::from_utf8(packed.stdout).unwrap();
    assert!(told.contains("mill-2: turbine v2 in slot turbine"), "{told}");
    assert!(told.contains("each of the 3 devices"), "{told}");
    for device in devices {
        let installed = install(device);
        assert!(installed.status.success(), "{device}: {}", complaint(&installed));
    }
    for (device, version) in devices.iter().zip(["1", "2", "1"]) {
        let active = format!("turbine v{version}");
        fleet
            .wait_until_says(device, "it runs what was for it", |status| {
                let slot = &status["slots"]["turbine"];
                slot["active"] == active && slot["phase"] == "idle"
            })
            .unwrap();
    }

    // Their answers come back on the same stick, each under its name, and none over another's.
    for device in devices {
        let written = fleet.on_device(device, &["report", "-o", "../stick"]).unwrap();
        assert!(written.status.success(), "{}", complaint(&written));
    }
    let over = fleet.on_device("mill-1", &["report", "-o", "../stick/mill-2.lsr"]).unwrap();
    assert!(complaint(&over).contains("mill-2.lsr is there already"), "{}", complaint(&over));
    fs::write(stick.join("a.lsr"), "no report").unwrap();
    let imported = fleet.lineside(&["device", "import", "stick"]);
    let said = String::from_utf8_lossy(&imported.stdout).into_owned();
    assert!(!imported.status.success() && said.contains("a.lsr is not imported"), "{said}");
    assert!(complaint(&imported).contains("1 of 4 reports are not imported"), "{said}");
    for (device, version) in devices.iter().zip(["1", "2", "1"]) {
        assert!(said.contains(&format!("of {device} is imported")), "{said}");
        let shown = fleet.show(device).unwrap();
        assert_eq!(shown["slots"]["turbine"]["active"]["version"], version, "{shown}");
    }
    // And the receipts of all of them go out with the next file.
    let back = ["device", "export", "-o", "stick/back.lsd"];
    let back = fleet.json(&[&back[..], &devices[..]].concat()).unwrap();
    for device in devices {
        assert!(back["devices"][device]["receipt_for"].is_u64(), "{back}");
        let installed =
            fleet.on_device(device, &["install", "../stick/back.lsd", "--json"]).unwrap();
        let delivered: Value = serde_json::from_slice(&installed.stdout).unwrap();
        assert!(delivered["receipt"]["taken"]["records"].as_u64() > Some(0), "{delivered}");
    }
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
    add_without_network(&fleet, "bed-3", &settings);
    let device = fleet.device_folder("bed-3");
    let key = device.join("device/report.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    fleet.assign("bed-3", "ecg", "ecg/1").unwrap();
    fleet.json(&["release", "export", "bed-3", "-o", "bed-3/stick.lsd"]).unwrap();
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
        let receipt_for = exported.unwrap()["devices"]["bed-3"]["receipt_for"].clone();
        (receipt_for, delivered["receipt"].clone())
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
