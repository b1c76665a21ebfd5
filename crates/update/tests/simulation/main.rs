//! Thousands of small fleets with random lives: releases that are good and bad in every way, lost,
//! doubled, late and replayed documents, failures, full disks, sleep of years, and power cuts between
//! any two effects. Whatever happens, every promise is kept.
//!
//! A seed that breaks one is kept in `seeds.txt`, and is the first to be tried from then on.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod breakages;
mod device;
mod dice;
mod fleet;
mod life;
mod promises;

use breakages::BREAKAGES;
use device::Device;
use fleet::{lived, shrunk, told};
use life::{Fault, Happening, Life, Nature, published};
use lineside_rules::{Decide, ShadowLimits};
use lineside_update::{Target, step};
use promises::{Broken, Promise};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Lives that are lived, unless `LINESIDE_SEEDS` says how many.
const SEEDS: u64 = 10_000;
/// Lives in which a broken table must have been found out.
const BROKEN_SEEDS: u64 = 20_000;
/// Happenings that the shortest life with a broken table may need.
const SHRUNK_MAX: usize = 45;

/// Whether nothing comes from the source of this life once the storms have ended: a trial then has
/// nothing to be judged by, and waits.
fn is_silent(seed: u64) -> bool {
    seed.is_multiple_of(10)
}

fn seeds() -> u64 {
    std::env::var("LINESIDE_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())
}

fn seeds_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/seeds.txt")
}

/// Seeds that once broke a promise.
fn kept_seeds() -> Vec<u64> {
    let text = fs::read_to_string(seeds_file()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

/// Says what happened in the shortest life that breaks the same promise.
fn complain(seed: u64, broken: &Broken) -> String {
    let (life, silent) = (Life::of(seed), is_silent(seed));
    let short = shrunk(&life, step, silent, broken.promise);
    let releases = short.releases.iter().map(|one| {
        let Target { release, number, floor } = &one.target;
        format!("{release}: number {number}, floor {floor}, {:?}", one.nature)
    });
    let releases = releases.collect::<Vec<_>>().join("\n");
    format!("seed {seed}: {broken}\n\n{releases}\n\n{}", told(&short, step, silent))
}

#[test]
fn ten_thousand_fleets_keep_every_promise() {
    let kept = kept_seeds();
    let count = kept.len() as u64 + seeds();
    let (next, committed, reports) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Option<(u64, Broken)>> = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let first = kept.get(index as usize).copied();
                    let seed = first.unwrap_or(index - (kept.len() as u64).min(index));
                    match lived(&Life::of(seed), step, is_silent(seed)) {
                        Ok(lived) => {
                            committed.fetch_add(lived.committed as u64, Ordering::Relaxed);
                            reports.fetch_add(lived.reports, Ordering::Relaxed);
                        }
                        Err(broken) => *failed.lock().unwrap() = Some((seed, broken)),
                    }
                }
            });
        }
    });
    if let Some((seed, broken)) = failed.into_inner().unwrap() {
        if !kept.contains(&seed) {
            let text = fs::read_to_string(seeds_file()).unwrap();
            // A tree that cannot be written is no reason to say nothing.
            let _ = fs::write(seeds_file(), format!("{text}{seed} {broken}\n"));
        }
        panic!("{}", complain(seed, &broken));
    }
    // Lives are worth something only if much happens in them, and if not all end well.
    let (committed, reports) = (committed.into_inner(), reports.into_inner());
    let devices = seeds() * life::DEVICES as u64;
    assert!(committed > devices / 3 && committed < devices, "{committed} of {devices}");
    assert!(reports > devices * 5, "{reports} reports");
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in [7, 8] {
        let life = || told(&Life::of(seed), step, is_silent(seed));
        assert_eq!(life(), life());
    }
}

#[test]
fn a_table_that_is_broken_in_any_one_way_is_found_out() {
    let mut unbroken: BTreeSet<Promise> = promises().into_iter().collect();
    for (what, promise, broken_step) in BREAKAGES {
        let found = (0..BROKEN_SEEDS).find_map(|seed| {
            let (life, silent) = (Life::of(seed), is_silent(seed));
            match lived(&life, broken_step, silent) {
                Err(broken) if broken.promise == promise => Some((life, silent)),
                _ => None,
            }
        });
        let (life, silent) = found.unwrap_or_else(|| panic!("{what}: nobody has noticed"));
        let short = shrunk(&life, broken_step, silent, promise);
        let (log, length) = (told(&short, broken_step, silent), short.happenings.len());
        assert!(length <= SHRUNK_MAX, "{what}: {length} happenings\n{log}");
        assert!(log.contains(&format!("{promise:?}")), "{what}: {log}");
        unbroken.remove(&promise);
    }
    // What no table can break here is the driver's to keep, or holds by the types.
    let rest = [Promise::FullDisk, Promise::NothingGrows, Promise::NeverPanics];
    assert_eq!(unbroken, BTreeSet::from(rest));
}

fn promises() -> [Promise; 19] {
    use Promise::*;
    [
        OldOrNew,
        BadGoesBack,
        Bounded,
        Next,
        Floors,
        DownloadGoesOn,
        GoesOnAnswering,
        FullDisk,
        Told,
        Consent,
        Approval,
        WayBack,
        Vouched,
        Compared,
        Fair,
        Beside,
        NothingGrows,
        Rest,
        NeverPanics,
    ]
}

/// A device that gets one release, then another one that is compared and approved. At the `n`-th
/// step something happens.
fn updated(n: usize, what: &[Happening]) -> Result<(Device, bool), Broken> {
    let asked = ShadowLimits {
        frames: Some(10),
        agreement_min: Some(0.9),
        decide: Some(Decide::Ask),
        ..ShadowLimits::default()
    };
    let releases = [1, 2].map(|number| published("pump", number, 0, Nature::Good, asked.clone()));
    let mut device = Device::new(step, &releases, &ShadowLimits::default());
    let (mut count, mut happened) = (0, false);
    device.power_cut()?;
    for release in 0..releases.len() {
        device.publish(release, true, 0);
        device.deliver(0)?;
        for _ in 0..60 {
            if count == n {
                what.iter().try_for_each(|happening| device.live(*happening))?;
                happened = true;
            }
            count += 1;
            device.calm_step()?;
        }
    }
    device.calm(false)?;
    Ok((device, happened))
}

#[test]
fn an_update_survives_whatever_happens_at_any_one_of_its_steps() {
    use Happening::*;
    let device = 0;
    let carry = |fault| Carry { device, fault };
    let disk = |full| Disk { device, full };
    let wanted = published("pump", 2, 0, Nature::Good, ShadowLimits::default());
    let wanted = Some(wanted.target.release.digest);
    for what in [
        vec![],
        vec![Cut { device }],
        vec![CutAtWrite { device }],
        vec![Restart { device }],
        vec![carry(Fault::Elsewhere)],
        vec![carry(Fault::Rot)],
        vec![carry(Fault::Nothing), Cut { device }],
        vec![disk(true), carry(Fault::Nothing), Run { device, seconds: 1, frames: 8 }, disk(false)],
        vec![disk(true), carry(Fault::Nothing), Answer { device, which: 0 }, Cut { device }],
        vec![disk(true), carry(Fault::Nothing), carry(Fault::Nothing), Cut { device }],
        vec![Network { device, up: false }, carry(Fault::Nothing), Network { device, up: true }],
        vec![Retell { device }, Deliver { device, back: 1 }],
        vec![Run { device, seconds: u64::MAX, frames: 0 }],
        vec![Die { device, release: None, times: 3 }],
    ] {
        let mut steps = 0;
        loop {
            let kept = updated(steps, &what);
            let (device, happened) =
                kept.unwrap_or_else(|broken| panic!("{what:?} at step {steps}: {broken}"));
            assert_eq!(device.active(), wanted, "{what:?} at step {steps}");
            if !happened {
                break;
            }
            steps += 1;
        }
        assert!(steps > 100, "{steps} steps");
    }
}
