//! What a release does decides what becomes of it: its limits are kept by the driver, and a breach says
//! rule, value and limit.

use super::bench::*;
use crate::update::slot::*;
use lineside_rules::Replayed;

/// A frame takes that long.
fn took(ms: u64) -> Replayed {
    let frame = Duration::from_millis(ms);
    Replayed { frames: 40, p50: frame, p95: frame, processor: Some(frame), ..Replayed::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_could_not_keep_to_the_trials_latency_never_gets_the_route() {
    let bench = Bench::new();
    let first = echo("1", "[trial]\nlatency_p95_ms_max = 50.0\n");
    // Its author allows himself more.
    let second = echo("2", "[trial]\nlatency_p95_ms_max = 9000.0\n");
    [&first, &second].into_iter().for_each(|release| bench.store(release));
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.played.lock().took = took(5000);
    slot.assign(&second, 2, 0).await;
    slot.until("it is refused", |state, _| state.blocked().next().is_some()).await;
    let state = slot.state();
    let reason = &state.blocked().next().unwrap().reason;
    assert_eq!(
        reason,
        "refused: a frame of its checks takes 5000.0 ms, latency_p95_ms_max allows 50.0 ms (over 40 frames)"
    );
    assert_eq!(slot.played.asked("swap echo v2"), 0);
    assert!(is_active(&state, "echo v1"));
    // Where one was committed before, what runs now has no say.
    let third = echo("3", "[trial]\nlatency_p95_ms_max = 10.0\n");
    bench.store(&third);
    slot.played.lock().took = took(9);
    slot.assign(&third, 3, 0).await;
    slot.commits("echo v3").await;
    slot.played.lock().took = took(40);
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replaying_the_checks_took_is_told() {
    let bench = Bench::new();
    let first = echo("1", "");
    bench.store(&first);
    let slot = bench.drive("a");
    slot.played.lock().took = took(3);
    slot.played.lock().deaf = u32::MAX;
    slot.assign(&first, 1, 0).await;
    slot.until("it is on trial", |state, _| is_on_trial(state)).await;
    let state = slot.state();
    let mut told = state.reports().map(|report| report.text.as_str());
    assert!(
        told.any(|text| text.contains("passed its checks (40 frames, p95 3.0 ms")),
        "{:?}",
        state.reports().collect::<Vec<_>>()
    );
}
