//! An agent that is told to stop in the middle of an update: nothing that ends then is held against a
//! release, however often it happens.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, check_each_frame_once, echo, echo_with_check, wait};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;

/// More often than any trial survives starts that nobody asked for.
const STOPS: usize = 6;
/// A single crash would end the trial.
const TRIAL: &str = "[trial]\nframes = 600\njudge_after = 5\ncrashes_max = 0\n";

#[test]
fn stopped_and_started_again_and_again_while_it_updates_it_refuses_nothing() {
    let vendor = Vendor::new();
    let bundles = [echo("1", "[trial]\nframes = 20\n"), echo_with_check("2", TRIAL, 60_000)];
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    let install = |device: &Device, number: usize| {
        let assigned = &bundles[number - 1];
        let papers = vendor.papers(&bundles, assigned, number as u64, "line-3");
        let output = device.install(&papers, std::slice::from_ref(assigned));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let phase = |device: &Device| {
        wait("the update is under way", || {
            let slot = device.slot();
            assert_ne!(slot["active"], "echo v2", "it was too fast for this test");
            let phase = slot["phase"].as_str().unwrap_or_default().to_owned();
            (slot["candidate"] == "echo v2" && phase != "downloading").then_some(phase)
        })
    };
    install(&device, 1);
    wait("the first is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    install(&device, 2);
    let mut stopped: BTreeMap<String, usize> = BTreeMap::new();
    for signal in [Signal::TERM, Signal::INT].into_iter().cycle() {
        // While its checks are replayed, and then while it is tried.
        *stopped.entry(phase(&device)).or_default() += 1;
        device.stop(signal);
        device.start();
        if stopped.get("trial").is_some_and(|times| *times == STOPS) {
            break;
        }
    }
    assert!(stopped.contains_key("staging"), "{stopped:?}");
    let slot = wait("the second is committed", || {
        let slot = device.slot();
        assert!(!slot["note"].as_str().unwrap_or_default().contains("rolled back"), "{slot}");
        (slot["active"] == "echo v2").then_some(slot)
    });
    let counts = &slot["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    let ended = (&counts["worker_deaths"], &counts["worker_kills"]);
    assert_eq!(ended, (&0.into(), &0.into()), "{counts}");
    device.stop(Signal::TERM);
    let findings = device.findings();
    check_each_frame_once(&findings);
    let vacant = findings.iter().rposition(|finding| finding["release"].is_null());
    let answered = findings.iter().position(|finding| finding["frame"].is_u64());
    assert!(
        vacant.is_some() && vacant < answered,
        "the slot is vacant only before its first release"
    );
}

#[test]
fn a_worker_is_never_ended_by_what_tells_the_whole_service_to_stop() {
    let vendor = Vendor::new();
    let bundles = [echo("1", "[trial]\nframes = 20\n")];
    let mut device = Device::new(&vendor, 60_000);
    device.start();
    let papers = vendor.papers(&bundles, &bundles[0], 1, "line-3");
    assert!(device.install(&papers, &bundles).status.success());
    wait("the first is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    let workers = device.workers();
    assert!(!workers.is_empty());
    for worker in workers {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            // It was started like this: there is no moment in which the signal finds it unprepared.
            assert_ne!(
                blocked & (1 << (signal.as_raw() - 1)),
                0,
                "{signal:?} ends a worker: {status}"
            );
        }
    }
}
