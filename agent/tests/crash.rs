//! Kills at random moments of an update: afterwards a verified release runs, one and only one, and
//! no frame is missing or double.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, check_each_frame_once, echo, wait};
use lineside_bundle::BuiltBundle;
use ring::rand::{SecureRandom, SystemRandom};
use std::process::Stdio;
use std::time::Duration;

/// Rounds in the tests; `LINESIDE_CRASH_ROUNDS` asks for more.
const ROUNDS: u64 = 20;
const TRIAL: &str = "[trial]\nframes = 20\njudge_after = 5\n";

/// A number from 0 to `below`, drawn: moments must differ from run to run.
fn draw(below: u64) -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

#[test]
fn killed_in_the_middle_of_updates_a_verified_release_runs_and_no_frame_is_lost_or_doubled() {
    let rounds = std::env::var("LINESIDE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(ROUNDS);
    let vendor = Vendor::new();
    let bundles: Vec<BuiltBundle> =
        ["1", "2", "3"].iter().map(|version| echo(version, TRIAL)).collect();
    let mut device = Device::new(&vendor, 4000 * usize::try_from(rounds).unwrap());
    device.start();
    let install = |device: &Device, version: u64| {
        let assigned = &bundles[usize::try_from(version % 3).unwrap()];
        let papers = vendor.papers(&bundles, assigned, version, "line-3");
        let path = device.parcel(&papers, std::slice::from_ref(assigned));
        (
            assigned.release_id().to_string(),
            device.program().arg("install").arg(path).stdout(Stdio::null()).spawn(),
        )
    };
    let (mut active, done) = install(&device, 1);
    assert!(done.unwrap().wait().unwrap().success());
    wait("the first release is committed", || (device.slot()["active"] == *active).then_some(()));
    for round in 2..rounds + 2 {
        let (target, installing) = install(&device, round);
        let mut installing = installing.unwrap();
        // The whole update takes about a second, so every step of it is met sooner or later.
        std::thread::sleep(Duration::from_millis(draw(1200)));
        let victim = draw(2);
        if victim == 0 {
            device.kill();
            installing.wait().unwrap();
            device.start();
        } else {
            for worker in device.workers() {
                let worker = rustix::process::Pid::from_raw(worker).unwrap();
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(worker, rustix::process::Signal::KILL);
            }
            installing.wait().unwrap();
        }
        let slot = wait("a release answers and nothing is under way", || {
            let slot = device.slot();
            (slot["phase"] == "idle" && slot["answering"] == true).then_some(slot)
        });
        let now = slot["active"].as_str().unwrap().to_owned();
        assert!(
            now == active || now == target,
            "round {round}, victim {victim}: {now} runs; it was {active}, {target} was on its way"
        );
        active = now;
    }
    let counts = &device.slot()["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
}
