//! What a slot captures of its readings, and what that is good for.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::capture::{Bounds, read};
use lineside_agent::config::{Overflow, SlotConfig};
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::SwapError;
use lineside_rules::{ShadowLimits, Since};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const BOUNDS: Bounds = Bounds { bytes_max: 16 << 20, age_max: Duration::from_secs(3600) };

fn capturing(folder: &Path, values: &Arc<Vec<f64>>, capture: Option<Bounds>) -> Bench {
    let config = SlotConfig { capture, ..config(Overflow::Block, 50) };
    let threads = Arc::new(Threads::default());
    bench_of(folder, values.clone(), config, threads.clone(), threads)
}

fn values(count: u32) -> Arc<Vec<f64>> {
    Arc::new((0..count).map(f64::from).collect())
}

fn wait<T>(mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

/// As version 2, for which a fresh worker wants to see many readings.
fn long_warm_up() -> StagedRelease {
    staged_with("2", "warm_up_readings = 6", "warm_up_readings = 300")
}

/// The first reading of stream `k0` that a worker of version 2 has seen.
fn first_seen(one: &Bench) -> u64 {
    one.threads.orders.first.lock().unwrap()[&("2".to_owned(), "k0".to_owned())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_wants_more_than_the_route_keeps_is_shown_what_was_captured() {
    let values = values(4000);
    for capture in [None, Some(BOUNDS)] {
        let folder = tempfile::tempdir().unwrap();
        let one = capturing(folder.path(), &values, capture);
        // Up to reading 999 of both streams, of which a frame accounts for 996 to 999.
        one.threads.orders.let_through(2000);
        one.slot.place(&release("1", "")).await.unwrap();
        one.until("half is answered", |view| view.counts.frames == 500).await;
        one.slot.place(&long_warm_up()).await.unwrap();
        one.threads.orders.let_through(u64::MAX);
        let view = one.until("the recording ends", |view| view.ended).await;
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
        check_whole(&one.findings(), &values);
        let first = first_seen(&one);
        match capture {
            None => assert!(first >= 990, "{first}"),
            Some(_) => assert_eq!(first, 700),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_cannot_be_read_holds_no_candidate_back() {
    let values = values(4000);
    let folder = tempfile::tempdir().unwrap();
    let one = capturing(folder.path(), &values, Some(BOUNDS));
    one.threads.orders.let_through(2000);
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("half is answered", |view| view.counts.frames == 500).await;
    // As on a disk that hangs: whoever reads it waits for somebody who writes.
    let hangs = folder.path().join(format!("capture/{:016x}", u64::MAX));
    mkfifoat(CWD, &hangs, Mode::from_raw_mode(0o600)).unwrap();
    let next = long_warm_up();
    let swap = one.slot.place(&next);
    tokio::pin!(swap);
    // Who gives it up while it gets ready keeps what he has.
    tokio::select! {
        biased;
        swapped = &mut swap => panic!("{swapped:?}"),
        () = one.slot.give_up() => {}
    }
    assert_eq!(swap.as_mut().await, Err(SwapError::GivenUp));
    swap.set(one.slot.place(&next));
    let mut through = 2000;
    loop {
        // The line goes on: a worker that gets no answer out is another matter.
        tokio::select! {
            swapped = &mut swap => break swapped.unwrap(),
            () = sleep(Duration::from_millis(20)) => through += 2,
        }
        one.threads.orders.let_through(through);
    }
    one.threads.orders.let_through(u64::MAX);
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    check_whole(&one.findings(), &values);
    assert!(first_seen(&one) >= 990, "it began with what the route keeps");
    // Nothing is left waiting.
    let mut end = OpenOptions::new();
    drop(end.write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&hangs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_finds_what_was_captured() {
    let values = values(4000);
    let folder = tempfile::tempdir().unwrap();
    let one = capturing(folder.path(), &values, Some(BOUNDS));
    one.threads.orders.let_through(2000);
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("half is answered", |view| view.counts.frames == 500).await;
    one.crash().await;
    let past = wait(|| {
        let past = read(&folder.path().join("capture"), usize::MAX).unwrap();
        (past.readings.len() >= 2000).then_some(past)
    });
    assert!(past.readings.iter().all(|(_, names)| **names == ["x".to_owned()]));
    let active = release("1", "").release.digest;
    assert_eq!(past.answers.iter().filter(|(_, by)| *by == active).count(), 500);
    let two = capturing(folder.path(), &values, Some(BOUNDS));
    two.threads.orders.let_through(2000);
    two.slot.place(&release("1", "")).await.unwrap();
    two.until("half is answered", |view| view.counts.frames == 500).await;
    two.slot.place(&long_warm_up()).await.unwrap();
    two.threads.orders.let_through(u64::MAX);
    two.until("the recording ends", |view| view.ended).await;
    assert_eq!(first_seen(&two), 700);
    check_whole(&two.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_from_the_past_is_compared_at_once_and_only_once() {
    let values = values(4000);
    let folder = tempfile::tempdir().unwrap();
    let limits =
        ShadowLimits { frames: Some(100), from: Some(Since::Capture), ..ShadowLimits::default() };
    let one = capturing(folder.path(), &values, Some(BOUNDS));
    one.threads.orders.let_through(2000);
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("half is answered", |view| view.counts.frames == 500).await;
    // No reading comes, and all the same there is something to compare.
    let next = ported("2", &["x"], 0, 1);
    one.slot.shadow(&next, &limits).await.unwrap();
    let seen = one.until_shadowed("the past", &next, |seen| seen.frames == 500).await;
    assert_eq!((seen.agreed, seen.errors, seen.gaps), (0, 0, 0));
    assert_eq!(seen.outputs["x"].difference_max, 2.0);
    // What was seen of it is kept by others; it is not to be seen again.
    one.slot.end_shadow().await;
    one.slot.shadow(&next, &limits).await.unwrap();
    let through = AtomicU64::new(2000);
    one.until_shadowed("live", &next, |seen| {
        one.threads.orders.let_through(through.fetch_add(8, Ordering::SeqCst));
        seen.frames > 20
    })
    .await;
    one.threads.orders.let_through(u64::MAX);
    let view = one.until("the recording ends", |view| view.ended).await;
    let seen = one.slot.shadowed(&next.release.digest);
    assert!(seen.frames <= 500, "{seen:?}");
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    check_whole(&one.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_capture_disturbs_nothing_and_what_is_missing_is_counted() {
    let values = values(6000);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("capture"), "no folder").unwrap();
    let one = capturing(folder.path(), &values, Some(BOUNDS));
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.place(&long_warm_up()).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    check_whole(&one.findings(), &values);
    one.until("it is counted", |view| view.counts.capture_dropped >= 6000).await;
}
