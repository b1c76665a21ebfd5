//! A long run with many swaps: every reading is accounted for once, and every frame was answered by
//! exactly one release that had the route.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::config::Overflow;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::SwapError;
use lineside_rules::ShadowLimits;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of the route.
const ROUNDS: u64 = 64;
/// Readings that the source gives from one to the next.
const STEP: u64 = 500;

/// A release, and the readings of its windows.
struct Version {
    release: StagedRelease,
    name: String,
    rows: usize,
}

fn version(number: &str, rows: u32) -> Version {
    let release = cut(number, rows, "");
    Version { name: release.release.to_string(), release, rows: rows as usize }
}

/// Each finding is of one release, right by its windows, and follows the one before without a hole.
fn check_account(findings: &[Value], values: &[f64], versions: &[Version]) {
    let mut streams: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding["frame"].is_u64()) {
        streams.entry(finding["key"].as_str().unwrap()).or_default().push(finding);
    }
    assert_eq!(streams.len() as u64, KEYS);
    for (key, frames) in streams {
        let place: usize = key[1..].parse().unwrap();
        let stream: Vec<f64> = values.iter().skip(place).step_by(KEYS as usize).copied().collect();
        let mut owed = 0;
        for finding in frames {
            let number = |field: &str| finding[field].as_u64().unwrap();
            assert_eq!(number("first"), owed, "lost or doubled: {finding}");
            owed = number("last") + 1;
            if finding["fail_safe"] == true {
                continue;
            }
            let by = versions.iter().find(|version| finding["release"] == version.name.as_str());
            let rows = by.unwrap().rows;
            let end = number("frame") as usize * rows + rows - 1;
            assert_eq!(number("last") as usize, end);
            assert_eq!(finding["outputs"]["x"], stream[end], "{finding}");
        }
        let rest = stream.len() as u64 - owed;
        assert!(rest < 8, "{rest} readings at the end of {key} have no frame");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_many_swaps_each_reading_has_one_frame_and_each_frame_one_release() {
    let versions = [version("1", 4), version("2", 4), version("3", 8), version("4", 2)];
    let values: Arc<Vec<f64>> = Arc::new((0..(ROUNDS + 2) * STEP).map(|n| n as f64).collect());
    let limits = ShadowLimits { frames: Some(100), ..ShadowLimits::default() };
    for seed in [1u64, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut below = drawn(seed);
        let gate = |one: &Bench, readings: u64| one.threads.orders.let_through(readings);
        let mut one = bench(folder.path(), values.clone(), Overflow::Block, 50);
        gate(&one, STEP);
        one.slot.place(&versions[0].release).await.unwrap();
        let mut swaps = 0;
        for round in 1..=ROUNDS {
            let to = &versions[below(4) as usize];
            let beside = below(3) == 0;
            if beside {
                one.slot.shadow(&to.release, &limits).await.unwrap();
            }
            // The source goes on while the route changes.
            gate(&one, (round + 1) * STEP);
            let (slot, release) = (one.slot.clone(), to.release.clone());
            let swap = tokio::spawn(async move { slot.place(&release).await });
            match below(6) {
                0 => one.threads.kill_all(),
                1 => one.threads.kill(&to.release.manifest.bundle.version.to_string()),
                _ => {}
            }
            match swap.await.unwrap() {
                Ok(()) => swaps += 1,
                Err(error) => assert!(matches!(error, SwapError::Killed(_)), "{error}"),
            }
            if below(8) == 0 {
                one.crash().await;
                one = bench(folder.path(), values.clone(), Overflow::Block, 50);
                gate(&one, (round + 1) * STEP);
                one.slot.place(&to.release).await.unwrap();
            }
        }
        gate(&one, u64::MAX);
        let view = one.until("the recording ends", |view| view.ended).await;
        assert!(swaps > ROUNDS * 2 / 3, "seed {seed}: {swaps} swaps");
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0), "seed {seed}");
        assert_eq!(view.counts.accepted, values.len() as u64);
        check_account(&one.findings(), &values, &versions);
    }
}
