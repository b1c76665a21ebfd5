//! Two slots on one device, each with a source, a worker and updates of its own: whatever becomes of one,
//! the other answers every frame once.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, echo, echo_named, echo_with_check, in_days, wait};
use lineside_bundle::BuiltBundle;
use lineside_bundle::parcel::Papers;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const TRIAL: &str = "[trial]\nframes = 20\njudge_after = 5\n";
/// What the recording of the second slot has more in each row than that of the first.
const MORE: u64 = 100_000;

/// A device with a slot `echo` and one named `press`, fed by another recording, with a sink of its own.
fn device(vendor: &Vendor) -> Device {
    let device = Device::new(vendor, 60_000);
    let path = |name: &str| device.folder.path().join(name);
    let rows = fs::read_to_string(path("rows.csv")).unwrap();
    let mut rows = rows.lines();
    let mut text = format!("{}\n", rows.next().unwrap());
    for row in rows {
        let (rest, value) = row.rsplit_once(',').unwrap();
        text += &format!("{rest},{}\n", value.parse::<u64>().unwrap() + MORE);
    }
    fs::write(path("press.csv"), text).unwrap();
    let settings = fs::read_to_string(path("agent.toml")).unwrap();
    let press = "[slots.press]\nsource = 'press'\nsinks = ['press']\nqueue_readings_max = 2000\n\
        [sources.press]\nkind = 'file'\npaths = ['press.csv']\npace = 'real'\n\
        [sinks.press]\nkind = 'file'\npath = 'press.jsonl'\n";
    fs::write(path("agent.toml"), settings + press).unwrap();
    device
}

/// What the device is told next.
struct Director<'a> {
    vendor: &'a Vendor,
    bundles: &'a [BuiltBundle],
    told: u64,
}

impl Director<'_> {
    fn assign(&mut self, device: &Device, slots: &[(&str, &BuiltBundle)]) {
        self.told += 1;
        let assignment = self.vendor.assignment_of(slots, self.told, "line-3", in_days(30));
        let metadata = self.vendor.metadata(&self.vendor.list(self.bundles), &[]);
        let papers = Papers { metadata, assignment, ..Papers::default() };
        let brought: Vec<BuiltBundle> =
            slots.iter().map(|(_, release)| (*release).clone()).collect();
        let output = device.install(&papers, &brought);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn slot(device: &Device, name: &str) -> Value {
    device.status().map_or(Value::Null, |status| status["slots"][name].clone())
}

fn commits(device: &Device, name: &str, release: &str) {
    wait(&format!("{release} is committed"), || {
        (slot(device, name)["active"] == release).then_some(())
    });
}

/// Waits until the slot has answered so many frames more.
fn answers(device: &Device, name: &str, frames: u64) {
    let answered = || slot(device, name)["counts"]["frames"].as_u64().unwrap_or(0);
    let before = answered();
    wait(&format!("{name} answers"), || (answered() >= before + frames).then_some(()));
}

/// Finds that every frame was answered exactly once, without a gap, with what its own recording says.
fn check_own_frames_once(device: &Device, file: &str, more: u64) {
    let text = fs::read_to_string(device.folder.path().join(file)).unwrap();
    let findings: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut frames: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding["frame"].is_u64()) {
        let frame = finding["frame"].as_u64().unwrap();
        assert_eq!(finding["outputs"]["x"], (frame * 3 + 5 + more) as f64, "{finding}");
        frames.entry(finding["key"].as_str().unwrap()).or_default().push(frame);
    }
    assert_eq!(frames.len(), 3, "streams that were answered");
    for (key, frames) in frames {
        assert!(frames.iter().copied().eq(0..frames.len() as u64), "{file}: {key}: {frames:?}");
    }
}

#[test]
fn what_becomes_of_one_slot_is_not_noticed_in_the_other() {
    let vendor = Vendor::new();
    // Whatever it answers is an alarm, and an alarm is one too many.
    let breach = "alarm_share = [0.0, 0.0]\n";
    let bundles = [
        echo("1", TRIAL),
        echo_with_check("2", TRIAL, 30_000),
        echo_named("press", "1", TRIAL),
        alarming(&format!("{TRIAL}{breach}")),
        echo_named("press", "3", TRIAL),
    ];
    let [echo_one, echo_two, press_one, press_two, press_three] = &bundles;
    let mut director = Director { vendor: &vendor, bundles: &bundles, told: 0 };
    let mut device = device(&vendor);
    device.start();

    // The other slot has nothing yet, and then gets its first release.
    director.assign(&device, &[("echo", echo_one)]);
    commits(&device, "echo", "echo v1");
    let first = device.workers();
    assert_eq!(slot(&device, "press")["active"], Value::Null);
    director.assign(&device, &[("echo", echo_one), ("press", press_one)]);
    commits(&device, "press", "press v1");
    assert!(first.iter().all(|worker| device.workers().contains(worker)), "it is the same worker");

    // One slot rolls back.
    director.assign(&device, &[("echo", echo_one), ("press", press_two)]);
    wait("it is rolled back", || {
        let press = slot(&device, "press");
        let note = press["note"].as_str().unwrap_or_default().to_owned();
        (press["active"] == "press v1" && note.contains("rolled back")).then_some(())
    });
    assert_eq!(slot(&device, "echo")["note"], "", "that is of the other slot");
    answers(&device, "press", 50);

    // Its worker is killed.
    let of_press = device.workers().into_iter().filter(|worker| !first.contains(worker));
    let mut killed = 0;
    for worker in of_press {
        kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
        killed += 1;
    }
    assert_eq!(killed, 1, "each slot has one worker");
    wait("that is counted", || {
        (slot(&device, "press")["counts"]["worker_kills"] == 1).then_some(())
    });
    answers(&device, "press", 50);

    // While one slot replays checks for long, the other one gets its update.
    director.assign(&device, &[("echo", echo_two), ("press", press_one)]);
    wait("checks are replayed", || (slot(&device, "echo")["phase"] == "staging").then_some(()));
    director.assign(&device, &[("echo", echo_two), ("press", press_three)]);
    commits(&device, "press", "press v3");
    commits(&device, "echo", "echo v2");
    answers(&device, "press", 50);
    answers(&device, "echo", 50);

    for name in ["echo", "press"] {
        let counts = slot(&device, name)["counts"].clone();
        for none in ["lost", "doubled", "worker_deaths"] {
            assert_eq!(counts[none], 0, "{name}: {counts}");
        }
        assert_eq!(counts["worker_kills"], u64::from(name == "press"), "{name}: {counts}");
        assert_eq!(counts["errors"], serde_json::json!({}), "{name}: {counts}");
    }
    device.stop(Signal::TERM);
    check_own_frames_once(&device, "findings.jsonl", 0);
    check_own_frames_once(&device, "press.jsonl", MORE);
}

/// The second release for `press`, to which everything is too high.
fn alarming(more: &str) -> BuiltBundle {
    let usual = echo_named("press", "2", more);
    let text = toml::to_string(&usual.manifest.bundle).unwrap();
    let bundle =
        lineside_bundle::BundleFile::parse(&text.replace("above = 1000000.0", "above = 0.0"));
    lineside_bundle::build(bundle.unwrap(), BTreeMap::new()).unwrap()
}
