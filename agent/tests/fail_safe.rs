//! What the plant hears from the program itself while nothing answers: the fail-safe output that
//! the bundle's author wanted, though the device's settings say nothing of it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, echo, wait};
use lineside_bundle::{BuiltBundle, Check, build};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const TRIAL: &str = "[trial]\nframes = 5\njudge_after = 2\n";

/// The fail-safe outputs that were given for no frame.
fn told(device: &Device) -> Vec<Value> {
    let mut findings = device.findings();
    findings.retain(|finding| finding["fail_safe"] == true && finding["frame"].is_null());
    findings
}

fn install(vendor: &Vendor, device: &Device, bundle: &BuiltBundle, version: u64) {
    let bundles = std::slice::from_ref(bundle);
    let papers = vendor.papers(bundles, bundle, version, "line-3");
    let output = device.install(&papers, bundles);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A bundle whose own check expects what it does not answer.
fn refused() -> BuiltBundle {
    let mut bundle = echo("1", TRIAL).manifest.bundle;
    let mut rows = "t,k,x\n".to_owned();
    (0..6).for_each(|row| rows += &format!("2014-01-18T00:00:0{row}Z,a,{row}\n"));
    let expected = r#"{"key":"a","frame":0,"outputs":{"x":7.0,"alarm":false}}"#;
    let files = [("rows.csv", rows), ("expected.jsonl", format!("{expected}\n"))];
    bundle.checks.push(Check {
        name: "wrong".into(),
        input: files[0].0.into(),
        expected: files[1].0.into(),
        tolerance: BTreeMap::new(),
    });
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    build(bundle, BTreeMap::from(files)).unwrap()
}

#[test]
fn a_first_release_that_fails_leaves_its_fail_safe_output_behind_and_so_does_a_restart() {
    let vendor = Vendor::new();
    // Its answers lie outside of what they may be.
    let runs_badly = "[trial]\nframes = 30\njudge_after = 10\noutputs.x = [-2.0, -1.0]\n";
    // The second one is also told of when it has lost the route.
    let releases = [(refused(), "refused", 1), (echo("1", runs_badly), "rolled back", 2)];
    for (bundle, outcome, times) in releases {
        let mut device = Device::new(&vendor, 60_000);
        device.start();
        install(&vendor, &device, &bundle, 1);
        wait("the release is given up", || {
            let slot = device.slot();
            let note = slot["note"].as_str().unwrap_or_default().to_owned();
            (slot["phase"] == "idle" && note.contains(outcome)).then_some(())
        });
        assert_eq!(device.slot()["active"], Value::Null);
        let alarms = |device: &Device| {
            let alarm = json!({"alarm": true});
            told(device).iter().filter(|finding| finding["outputs"] == alarm).count()
        };
        wait("the plant hears what is safe", || (alarms(&device) == times).then_some(()));
        device.kill();
        device.start();
        wait("it hears it after a restart", || (alarms(&device) == times + 1).then_some(()));
        device.kill();
        let ids: Vec<Value> = told(&device).iter().map(|finding| finding["id"].clone()).collect();
        let expected: Vec<String> =
            (1..=ids.len()).map(|count| format!("echo/fail-safe/{count}")).collect();
        assert_eq!(ids, expected);
    }
}

fn kill_workers(device: &Device) {
    for worker in device.workers() {
        // It may have ended meanwhile.
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
    }
}

#[test]
fn a_trial_whose_workers_somebody_ends_over_and_over_goes_back_to_the_release_that_answers() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    let long = "[trial]\nframes = 1000000\nhours_max = 2000\n";
    let both = [echo("1", TRIAL), echo("2", long)];
    let install = |version, assigned: &BuiltBundle| {
        let papers = vendor.papers(&both, assigned, version, "line-3");
        assert!(device.install(&papers, &both).status.success());
    };
    install(1, &both[0]);
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    install(2, &both[1]);
    wait("the second one is on trial", || (device.slot()["phase"] == "trial").then_some(()));
    let note = wait("it is given up", || {
        let slot = device.slot();
        let is_over = slot["phase"] == "idle";
        if !is_over {
            kill_workers(&device);
        }
        is_over.then(|| slot["note"].as_str().unwrap_or_default().to_owned())
    });
    assert!(note.contains("somebody else has ended its worker 6 times"), "{note}");
    assert_eq!(device.slot()["active"], "echo v1");
    let answered = device.findings().len();
    wait("the first one answers", || (device.findings().len() > answered + 50).then_some(()));
}

#[test]
fn a_release_whose_worker_is_killed_again_and_again_says_so_and_goes_on_afterwards() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    install(&vendor, &device, &echo("1", TRIAL), 1);
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    let by_release = |device: &Device| {
        told(device).iter().filter(|finding| finding["release"] == "echo v1").count()
    };
    assert_eq!(by_release(&device), 0);
    wait("the plant hears that nothing answers", || {
        kill_workers(&device);
        (by_release(&device) > 0).then_some(())
    });
    let outage = told(&device).pop().unwrap();
    assert_eq!(outage["outputs"], json!({"alarm": true}));
    assert!(outage["reason"].as_str().unwrap().contains("does not answer"), "{outage}");
    let answered = device.findings().len();
    wait("it answers again", || (device.findings().len() > answered + 50).then_some(()));
    let slot = device.slot();
    assert_eq!(slot["active"], "echo v1");
    let counts = &slot["counts"];
    assert!(counts["worker_kills"].as_u64().unwrap() >= 3, "{counts}");
    assert_eq!(counts["worker_deaths"], 0, "nobody holds it against the release");
    device.kill();
    let findings = device.findings();
    let ids: BTreeSet<&str> = findings.iter().filter_map(|f| f["id"].as_str()).collect();
    assert_eq!(ids.len(), findings.len(), "a finding was given twice");
}
