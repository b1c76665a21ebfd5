//! A disk that is full while the agent runs, and has room again: a small file system in memory.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::mount::Mount;
use kit::{Device, Vendor, check_each_frame_once, echo, wait};
use std::fs;
use std::path::Path;

/// Sinks that nobody takes findings from. What waits for them needs room that the database has not
/// had before; without them it would be content with what it has.
const AWAY: usize = 10;
/// What is said when the disk takes nothing.
const COMPLAINT: &str = "findings and positions wait in memory";

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("agent.log")).unwrap_or_default()
}

/// A device that answers, with its state on a file system of its own; none where mounting is not
/// allowed.
fn device() -> Option<(Device, Mount)> {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 40_000);
    let mount = Mount::at(device.folder.path().join("state"))?;
    let settings = device.folder.path().join("agent.toml");
    let mut text = fs::read_to_string(&settings).unwrap();
    let names: Vec<String> = (0..AWAY).map(|number| format!("'away-{number}'")).collect();
    text = text.replace("['log']", &format!("['log', {}]", names.join(", ")));
    for name in names {
        text +=
            &format!("[sinks.{name}]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = 1\ntopic = 'f'\n");
    }
    fs::write(settings, text).unwrap();
    device.start();
    let bundle = echo("1", "[trial]\nframes = 5\njudge_after = 2\n");
    let bundles = std::slice::from_ref(&bundle);
    let papers = vendor.papers(bundles, &bundle, 1, "line-3");
    let output = device.install(&papers, bundles);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    Some((device, mount))
}

fn frames(device: &Device) -> u64 {
    device.slot()["counts"]["frames"].as_u64().unwrap_or_default()
}

#[test]
fn a_device_that_is_switched_on_with_a_full_disk_answers() {
    let Some((mut device, mount)) = device() else { return };
    mount.fill();
    let folder = device.folder.path().to_owned();
    wait("the disk is noticed to be full", || log(&folder).contains(COMPLAINT).then_some(()));
    for _ in 0..3 {
        device.kill();
        device.start();
        let before = frames(&device);
        wait("it answers without a disk", || (frames(&device) > before + 20).then_some(()));
    }
    mount.free();
    let written = device.findings().len();
    wait("findings arrive again", || (device.findings().len() > written + 50).then_some(()));
    let counts = device.slot()["counts"].clone();
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
    drop(device);
    drop(mount);
}

#[test]
fn a_full_disk_stops_nothing_and_when_it_has_room_all_is_written_once() {
    let Some((mut device, mount)) = device() else { return };
    let folder = device.folder.path().to_owned();
    let process = device.process();

    mount.fill();
    wait("the disk is noticed to be full", || log(&folder).contains(COMPLAINT).then_some(()));
    let before = frames(&device);
    wait("it answers without a disk", || (frames(&device) > before + 100).then_some(()));
    let said = log(&folder);
    assert_eq!(said.matches(COMPLAINT).count(), 1, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!said.contains("Previous I/O error"), "it is said in the database's words: {said}");
    let written = device.findings().len();

    mount.free();
    wait("it is written again", || {
        log(&folder).contains("state.redb can be written again").then_some(())
    });
    wait("findings arrive again", || (device.findings().len() > written + 150).then_some(()));
    assert_eq!(device.process(), process);
    let counts = device.slot()["counts"].clone();
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    assert_eq!(counts["dropped"], serde_json::json!({}), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());

    // What was written in those times is found at the next start.
    device.start();
    let now = device.findings().len();
    wait("it goes on", || (device.findings().len() > now + 50).then_some(()));
    let counts = device.slot()["counts"].clone();
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
    drop(device);
    drop(mount);
}
