//! Kills at random moments of an update that comes as a delta, answers in the shadow and is held until
//! a person approves it: afterwards the release that was on its way runs in one process, and no frame
//! is missing or double.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;
#[path = "kit/registry.rs"]
mod registry;

use kit::{Device, PATIENCE, Vendor, check_each_frame_once, echo_with_check, wait};
use lineside_bundle::BuiltBundle;
use registry::{Registry, Shelves};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Rounds in the tests; `LINESIDE_CRASH_ROUNDS` asks for more.
const ROUNDS: u64 = 28;
const RULES: &str = "[trial]\nframes = 20\njudge_after = 5\n[shadow]\nframes = 20\ndecide = 'ask'\n\
    [limits]\nframe_ms = 60000\n";
/// Readings that a round may take, five milliseconds each.
const ROUND_READINGS: u64 = 6000;
/// Readings of a check: replaying it takes long enough to be met.
const CHECK_ROWS: u64 = 45_000;
/// What may be going on when somebody is killed.
const PHASES: [&str; 6] = ["downloading", "staging", "shadow", "held", "trial", "idle"];

/// A number from 0 to `below`, drawn: moments must differ from run to run.
fn draw(below: u64) -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Agent,
    Workers,
}

/// Approves the update where it waits for that.
fn approve(device: &Device, slot: &Value) {
    if slot["phase"] == "held" {
        // It may have gone on meanwhile.
        device.program().args(["approve", "echo"]).output().unwrap();
    }
}

/// Waits until the update to `target` is in `phase`, or past it.
fn meet(device: &Device, target: &str, phase: &str) {
    let began = Instant::now();
    loop {
        let slot = device.slot();
        let done = slot["active"] == target && slot["phase"] == "idle";
        if done || (phase != "idle" && slot["phase"] == phase) {
            return;
        }
        approve(device, &slot);
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {phase}: {slot}");
    }
}

#[test]
fn killed_in_the_middle_of_updates_it_finishes_them_and_no_frame_is_lost_or_doubled() {
    let rounds = std::env::var("LINESIDE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(ROUNDS);
    let vendor = Vendor::new();
    // The check is a little longer each time, so its files come as deltas.
    let bundle =
        |version: u64| echo_with_check(&version.to_string(), RULES, CHECK_ROWS + 3 * version);
    // What is signed names all of them; their files are made when they are wanted.
    let named = |version| BuiltBundle { blobs: BTreeMap::new(), ..bundle(version) };
    let signed: Vec<BuiltBundle> = (1..rounds + 2).map(named).collect();
    let registry = Registry::serve();
    let mut device = Device::new(&vendor, usize::try_from(ROUND_READINGS * rounds).unwrap());
    let of_device = device.folder.path().join("device/device.toml");
    let text = fs::read_to_string(&of_device).unwrap();
    let server = format!("http://127.0.0.1:{}", registry.port);
    fs::write(&of_device, text.replace("http://127.0.0.1:1", &server)).unwrap();
    device.start();
    // The documents come by hand, and everything else from the registry.
    let install = |device: &Device, version: u64, active: Option<u64>| -> (String, Child) {
        let assigned = bundle(version);
        registry.change(|shelves| {
            *shelves = Shelves::default();
            shelves.take(&assigned);
            if let Some(active) = active {
                shelves.delta(&bundle(active), &assigned);
            }
        });
        let papers = vendor.papers(&signed, &assigned, version, "line-3");
        let path = device.parcel(&papers, &[]);
        let mut program = device.program();
        let program = program.arg("install").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        (assigned.release_id().to_string(), program.spawn().unwrap())
    };
    let settled = |device: &Device| {
        wait("a release answers in the only worker, and nothing is under way", || {
            let slot = device.slot();
            approve(device, &slot);
            let is_settled =
                slot["phase"] == "idle" && slot["answering"] == true && device.workers().len() == 1;
            is_settled.then_some(slot)
        })
    };
    let (mut active, mut done) = install(&device, 1, None);
    let mut active_version = 1;
    assert!(done.wait().unwrap().success());
    wait("the first release is committed", || {
        let slot = device.slot();
        approve(&device, &slot);
        (slot["active"] == *active).then_some(())
    });
    let mut met: BTreeMap<(String, Victim), u64> = BTreeMap::new();
    let (mut committed, mut unheard) = (0, 0);
    for round in 2..rounds + 2 {
        let (target, mut installing) = install(&device, round, Some(active_version));
        // Now and then before the agent has heard of the update at all.
        let wanted = PHASES.get(usize::try_from(round).unwrap() % (PHASES.len() + 1));
        if let Some(phase) = wanted {
            meet(&device, &target, phase);
        }
        std::thread::sleep(Duration::from_millis(draw(60)));
        let status = device.status().unwrap();
        let phase = status["slots"]["echo"]["phase"].as_str().unwrap().to_owned();
        let heard = status["assignment"] == round;
        let victim = if draw(2) == 0 { Victim::Agent } else { Victim::Workers };
        match victim {
            Victim::Agent => {
                device.kill();
                installing.wait().unwrap();
                device.start();
            }
            Victim::Workers => {
                for worker in device.workers() {
                    // It may have ended meanwhile.
                    let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
                }
                assert!(installing.wait().unwrap().success());
                wait("the update goes on", || {
                    let slot = device.slot();
                    (slot["candidate"] == *target || slot["active"] == *target).then_some(())
                });
            }
        }
        *met.entry((phase.clone(), victim)).or_default() += 1;
        let slot = settled(&device);
        let now = slot["active"].as_str().unwrap().to_owned();
        // An agent that was killed before it had heard of the update knows nothing of it.
        let may_stay = victim == Victim::Agent && !heard && now == active;
        assert!(
            now == target || may_stay,
            "round {round}, {victim:?} killed in {phase}: {now} runs; it was {active}, {target} was \
             on its way; {slot}"
        );
        if now == target {
            committed += 1;
            active_version = round;
        } else {
            unheard += 1;
        }
        eprintln!("round {round}: {victim:?} killed in {phase}");
        active = now;
    }
    let deltas = registry.recipes_given();
    eprintln!("{committed} committed, {unheard} unheard of, {deltas} recipes given, {met:?}");
    assert!(deltas > committed / 2, "{deltas} recipes were asked for in {committed} updates");
    let hits = |phase: &str| met.iter().filter(|((of, _), _)| of == phase).map(|(_, n)| n).sum();
    for phase in PHASES {
        let hits: u64 = hits(phase);
        assert!(hits > 0, "nobody was killed in {phase}: {met:?}");
    }
    for victim in [Victim::Agent, Victim::Workers] {
        assert!(met.keys().any(|(_, of)| *of == victim), "{victim:?}: {met:?}");
    }
    assert!(committed > rounds / 2, "{committed} of {rounds} updates came to their end");
    let counts = &device.slot()["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{counts}");
    device.kill();
    check_each_frame_once(&device.findings());
}
