//! Starts under bad conditions: what was committed runs, whatever has become of the rest.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::mount::Mount;
use kit::{Device, Vendor, check_each_frame_once, echo, wait};
use lineside_bundle::BuiltBundle;
use lineside_bundle::parcel::Papers;
use lineside_wire::v1::event;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn bundle(version: &str) -> BuiltBundle {
    echo(version, "[trial]\nframes = 5\njudge_after = 2\n")
}

/// Documents that release two bundles and assign one of them.
fn papers(vendor: &Vendor, assigned: &BuiltBundle, version: u64) -> Papers {
    vendor.papers(&[bundle("1"), bundle("2")], assigned, version, "line-3")
}

/// Has the running agent commit a first release.
fn commit_first(device: &Device, vendor: &Vendor) {
    let first = bundle("1");
    let output = device.install(&papers(vendor, &first, 1), std::slice::from_ref(&first));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
}

/// Waits until more findings have arrived.
fn answers(device: &Device) {
    let before = device.findings().len();
    wait("it answers", || (device.findings().len() > before + 30).then_some(()));
    assert_eq!(device.slot()["active"], "echo v1");
}

fn trouble(device: &Device) -> String {
    device.status().unwrap()["trouble"].as_str().unwrap_or_default().to_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Leaves no room in a database that could be used again while the disk is full.
fn compact(path: &Path) {
    let mut database = redb::Database::open(path).unwrap();
    while database.compact().unwrap() {}
}

#[test]
fn trouble_with_the_devices_folder_turns_off_updates_and_stops_nothing() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    let folder: PathBuf = device.folder.path().join("device");
    let (root, settings) = (folder.join("root.json"), folder.join("device.toml"));
    let (good_root, good_settings) =
        (fs::read(&root).unwrap(), fs::read_to_string(&settings).unwrap());
    let next = bundle("2");
    let papers = papers(&vendor, &next, 2);

    type Harm<'a> = Box<dyn Fn() + 'a>;
    let harms: [(Harm<'_>, &str); 6] = [
        (Box::new(|| fs::write(&root, b"{").unwrap()), "copy it again from the folder"),
        (Box::new(|| fs::remove_file(&root).unwrap()), "root.json"),
        (Box::new(|| fs::write(&root, &Vendor::new().root).unwrap()), "changes hands"),
        (Box::new(|| set_mode(&settings, 0o644)), "chmod 600"),
        (Box::new(|| fs::write(&settings, "device = ").unwrap()), "device.toml"),
        (Box::new(|| fs::remove_file(&settings).unwrap()), "device.toml"),
    ];
    for (harm, said) in harms {
        device.kill();
        harm();
        device.start();
        answers(&device);
        let trouble = trouble(&device);
        assert!(trouble.starts_with("updates are off: ") && trouble.contains(said), "{trouble}");
        let output = device.install(&papers, std::slice::from_ref(&next));
        let refused = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && refused.contains(&trouble), "{refused}");
        fs::write(&root, &good_root).unwrap();
        fs::write(&settings, &good_settings).unwrap();
        set_mode(&settings, 0o600);
    }

    // All is well again, and the update comes.
    device.kill();
    device.start();
    assert_eq!(trouble(&device), "");
    let output = device.install(&papers, std::slice::from_ref(&next));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v2").then_some(()));
    device.kill();
    check_each_frame_once(&device.findings());
}

#[test]
fn another_devices_folder_beside_this_ones_state_is_not_started_with() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    device.kill();
    let settings = device.folder.path().join("device/device.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("device = 'line-3'", "device = 'line-4'")).unwrap();
    let output = device.program().arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("state_dir is that of device line-3"), "{said}");
}

#[test]
fn a_device_that_starts_with_a_full_disk_answers() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    let folder = device.folder.path().to_owned();
    let Some(mount) = Mount::at(folder.join("state")) else { return };
    device.start();
    commit_first(&device, &vendor);
    device.kill();
    compact(&folder.join("state/state.redb"));
    mount.fill();
    device.start();
    let log = || fs::read_to_string(folder.join("agent.log")).unwrap();
    let complaint = "findings and positions wait in memory";
    wait("the disk is noticed to be full", || log().contains(complaint).then_some(()));
    let frames = |device: &Device| device.slot()["counts"]["frames"].as_u64().unwrap_or_default();
    let before = frames(&device);
    wait("it answers without a disk", || (frames(&device) > before + 100).then_some(()));
    let slot = device.slot();
    assert_eq!((&slot["active"], &slot["answering"]), (&"echo v1".into(), &true.into()), "{slot}");

    mount.free();
    answers(&device);
    let counts = device.slot()["counts"].clone();
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
    drop(device);
    drop(mount);
}

#[test]
fn a_second_agent_on_the_same_folder_ends_and_says_whose_it_is_and_the_first_goes_on() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    let second = device.program().arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success(), "{said}");
    let holder = format!("another agent (process {}) uses", device.process());
    assert!(said.contains(&holder) && said.contains("state_dir"), "{said}");
    answers(&device);
    device.kill();
    check_each_frame_once(&device.findings());
}

#[test]
fn on_a_disk_that_can_only_be_read_what_is_committed_runs_and_nothing_is_given_a_number_twice() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    let folder = device.folder.path().to_owned();
    let Some(mount) = Mount::at(folder.join("state")) else { return };
    device.start();
    commit_first(&device, &vendor);
    device.kill();
    mount.refuse_writes(true);
    let next = bundle("2");
    for _ in 0..2 {
        device.start();
        answers(&device);
        let status = device.status().unwrap();
        let said = status["state"][0].as_str().unwrap();
        assert!(said.contains("Read-only file system") && said.contains("start the agent again"));
        assert!(trouble(&device).starts_with("updates are off: "), "{status}");
        let output = device.install(&papers(&vendor, &next, 2), std::slice::from_ref(&next));
        assert!(!output.status.success());
        device.kill();
    }
    let log = fs::read_to_string(folder.join("agent.log")).unwrap();
    assert_eq!(log.matches("cannot be written (").count(), 2, "once at each start: {log}");
    // Nobody runs, and what the disk has can be looked at.
    let status = device.status().unwrap();
    assert_eq!(status["slots"]["echo"]["active"], "echo v1", "{status}");
    check_no_number_twice(&device);

    mount.refuse_writes(false);
    device.start();
    answers(&device);
    let status = device.status().unwrap();
    let counts = &status["slots"]["echo"]["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    assert_eq!((&status["state"], trouble(&device)), (&serde_json::json!([]), String::new()));
    device.kill();
    check_no_number_twice(&device);
    drop(device);
    drop(mount);
}

/// Finds that no two findings that say something else have one id or one number. The same may stand in a
/// file twice, where the database does not know any more what is in it.
fn check_no_number_twice(device: &Device) {
    let mut findings = device.findings();
    findings.sort_by_key(|finding| finding["number"].as_u64());
    findings.dedup();
    let ids: BTreeSet<&str> = findings.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), findings.len(), "an id was given twice");
    let numbers: BTreeSet<u64> = findings.iter().map(|it| it["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), findings.len(), "a number was given twice");
}

/// Something that becomes of `state.redb`, after how it is said.
type Harm<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// What may become of `state.redb`.
fn harms(path: &Path) -> Vec<Harm<'_>> {
    let read = move || fs::read(path).unwrap();
    let flip = move |from: usize, step: usize| {
        let mut bytes = read();
        (from..bytes.len()).step_by(step).for_each(|at| bytes[at] ^= 0x55);
        fs::write(path, bytes).unwrap();
    };
    vec![
        ("is empty", Box::new(move || fs::write(path, b"").unwrap())),
        ("is gone", Box::new(move || fs::remove_file(path).unwrap())),
        ("", Box::new(move || fs::write(path, vec![7; 100_000]).unwrap())),
        ("", Box::new(move || flip(0, 4096))),
        // Pages of its trees, but not its head.
        ("", Box::new(move || flip(5000, 997))),
        ("", Box::new(move || fs::write(path, &read()[..read().len() / 2]).unwrap())),
    ]
}

#[test]
fn a_database_that_is_damaged_is_begun_anew_and_what_is_committed_runs_with_its_floors() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    let old = papers(&vendor, &bundle("1"), 2);
    let newer = papers(&vendor, &bundle("1"), 3);
    assert!(device.install(&newer, &[]).status.success());
    let held = device.program().args(["hold", "echo", "--reason", "surgery"]).output().unwrap();
    assert!(held.status.success());
    let state = device.folder.path().join("state");
    let path = state.join("state.redb");
    let boots = |device: &Device| device.status().unwrap()["slots"]["echo"]["counts"].clone();
    for (round, (said, harm)) in harms(&path).into_iter().enumerate() {
        answers(&device);
        device.kill();
        harm();
        // Who only looks is told what runs, and changes nothing.
        let status = device.status().unwrap();
        assert_eq!(status["slots"]["echo"]["active"], "echo v1", "{status}");
        assert!(status["state"][0].as_str().unwrap().contains("begins it anew when it starts"));
        assert!(status["assignment"] == 3, "{status}");
        device.start();
        answers(&device);
        let status = device.status().unwrap();
        let lost = status["state"][0].as_str().unwrap();
        assert!(lost.contains(said) && lost.contains("come from the second copy"), "{lost}");
        assert_eq!(lost.contains("kept as state.redb.damaged-"), round > 1, "{lost}");
        let slot = device.slot();
        assert!(slot["held"][0].as_str().unwrap().contains("surgery"), "{slot}");
        // Neither older documents nor what a person holds back are forgotten.
        assert_eq!(status["assignment"], 3, "{status}");
        let output = device.install(&old, &[]);
        assert!(!output.status.success(), "an older assignment was taken");
        let counts = boots(&device);
        assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
        device.kill();
        assert_eq!(device.to_tell(event::STATE_LOST), [lost]);
        check_no_number_twice(&device);
        device.start();
        assert_eq!(device.status().unwrap()["state"], serde_json::json!([]), "it is said once");
        let aside = fs::read_dir(&state).unwrap().flatten();
        let aside = aside.filter(|it| it.file_name().to_string_lossy().contains("damaged"));
        assert!(aside.count() <= 2);
    }
}

#[test]
fn where_both_copies_are_lost_as_well_the_slots_are_vacant_and_say_so() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    answers(&device);
    let state = device.folder.path().join("state");
    let blobs = || fs::read_dir(state.join("blobs/sha256")).unwrap().count();
    let held = blobs();
    for (said, harm) in [("damaged as well", false), ("there is no second copy", true)] {
        device.kill();
        fs::write(state.join("state.redb"), b"").unwrap();
        for copy in ["state.copy.1", "state.copy.2"] {
            match harm {
                true => fs::remove_file(state.join(copy)).unwrap(),
                false => fs::write(state.join(copy), b"?").unwrap(),
            }
        }
        device.start();
        let status = device.status().unwrap();
        let lost = status["state"][0].as_str().unwrap();
        assert!(lost.contains(said) && lost.contains("vacant until"), "{lost}");
        assert_eq!(device.slot()["active"], Value::Null);
        assert_eq!(blobs(), held, "what may be assigned again is not thrown away");
        // What is assigned again comes from what is on the disk.
        let first = bundle("1");
        let output = device.install(&papers(&vendor, &first, 9), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
        answers(&device);
    }
    device.kill();
    check_no_number_twice(&device);
}

#[test]
fn an_older_database_in_the_place_of_the_newest_lets_no_floor_fall() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    commit_first(&device, &vendor);
    device.kill();
    let path = device.folder.path().join("state/state.redb");
    let old = fs::read(&path).unwrap();
    device.start();
    let next = bundle("2");
    let output = device.install(&papers(&vendor, &next, 2), std::slice::from_ref(&next));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v2").then_some(()));
    device.kill();
    fs::write(&path, old).unwrap();
    device.start();
    let status = device.status().unwrap();
    assert!(
        status["state"][0].as_str().unwrap().contains("older than its second copy"),
        "{status}"
    );
    assert_eq!(
        (&status["slots"]["echo"]["active"], &status["assignment"]),
        (&"echo v2".into(), &2.into())
    );
}
