//! Releases that would not run on a device such as this one.

use super::bench::*;
use crate::update::preflight::Objection;
use crate::update::slot::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_here_is_refused_and_one_that_has_to_wait_goes_on() {
    let mut bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let disk = full.clone();
    bench.preflight.judge = Arc::new(move |_, manifest| match manifest.bundle.version.as_str() {
        "1" => vec![Objection::Licence { licence: "acme".into() }],
        _ if disk.load(std::sync::atomic::Ordering::Relaxed) => {
            vec![Objection::Disk { needed: 2, free: 1 }]
        }
        _ => Vec::new(),
    });
    let (unfit, waiting) = (echo("1", ""), echo("2", ""));
    bench.store(&unfit);
    bench.store(&waiting);
    let slot = bench.drive("a");
    slot.assign(&unfit, 1, 0).await;
    slot.until("it is refused", |state, _| state.blocked().count() == 1).await;
    let note = slot.state().note();
    assert!(note.contains("refused: would not run here: it needs the licence acme"), "{note}");
    slot.assign(&waiting, 2, 0).await;
    slot.until("it waits", |state, _| state.note().contains("2 bytes on disk")).await;
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    slot.commits("echo v2").await;
}

/// A device on which no release runs as long as it is `small`; and a way to change that.
fn small(bench: &mut Bench) -> Arc<AtomicBool> {
    let small = Arc::new(AtomicBool::new(true));
    let is_small = |small: &AtomicBool| small.load(std::sync::atomic::Ordering::Relaxed);
    let (judged, looked) = (small.clone(), small.clone());
    bench.preflight = Preflight {
        judge: Arc::new(move |_, _| match is_small(&judged) {
            true => vec![Objection::Memory { needed: 2, all: 1 }],
            false => Vec::new(),
        }),
        facts: Arc::new(move || Digest::of(if is_small(&looked) { b"small" } else { b"grown" })),
    };
    small
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_is_tried_when_the_device_is_another_one() {
    for while_it_runs in [true, false] {
        let mut bench = Bench::new();
        let small = small(&mut bench);
        let first = echo("1", "");
        bench.store(&first);
        let slot = bench.drive("a");
        slot.assign(&first, 1, 0).await;
        slot.until("it is refused", |state, _| state.note().contains("2 MiB of memory")).await;
        let slot = if while_it_runs {
            small.store(false, std::sync::atomic::Ordering::Relaxed);
            slot
        } else {
            slot.stop().await;
            small.store(false, std::sync::atomic::Ordering::Relaxed);
            let slot = bench.drive("a");
            slot.assign(&first, 1, 0).await;
            slot
        };
        slot.commits("echo v1").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_is_judged_again_only_when_a_person_asks_or_the_device_changes()
 {
    let mut bench = Bench::new();
    let _ = small(&mut bench);
    let first = echo("1", "");
    bench.store(&first);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    let is_refused = |state: &SlotState, play: &Play| {
        let told = state.reports().count() == 0 && !play.reports.is_empty();
        told && *state.phase() == Phase::Idle && state.blocked().count() == 1
    };
    slot.until("it is refused", is_refused).await;
    slot.stop().await;
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert_eq!((slot.state().reports().count(), slot.played.lock().reports.len()), (0, 0));
    let target = Target { release: first.release_id(), number: 1, floor: 0 };
    slot.order(Order::Assigned(Assigned { target, approved: false, newer: true, again: 0 })).await;
    slot.until("it is refused again", is_refused).await;
}
