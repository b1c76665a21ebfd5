//! Starts under bad conditions: what was committed runs, whatever has become of the rest.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::mount::Mount;
use kit::{Device, Vendor, check_each_frame_once, echo, wait};
use lineside_bundle::BuiltBundle;
use lineside_bundle::parcel::Papers;
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
fn a_disk_that_can_only_be_read_is_named_and_costs_nothing_once_it_can_be_written() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    let folder = device.folder.path().to_owned();
    let Some(mount) = Mount::at(folder.join("state")) else { return };
    device.start();
    commit_first(&device, &vendor);
    device.kill();
    mount.refuse_writes(true);
    let output = device.program().arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("state/"), "{said}");

    mount.refuse_writes(false);
    device.start();
    answers(&device);
    let slot = device.slot();
    let counts = &slot["counts"];
    assert_eq!(slot["active"], "echo v1", "{slot}");
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
    drop(device);
    drop(mount);
}
