//! Whose fault it is when something fails, and what becomes of the release.

use super::bench::*;
use crate::update::hands::Failure;
use crate::update::slot::*;
use lineside_rules::Observation;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_the_active_release_hold_even_if_its_blobs_are_gone() {
    let bench = Bench::new();
    let first = echo("1", "[trial]\nalarm_share = [0.0, 0.3]\n");
    let second = echo("2", "[trial]\nframes = 40\n");
    bench.store(&first);
    bench.store(&second);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    bench.lose(&first);
    slot.played.see(100, 90);
    slot.until("it is taken back", |state, _| !is_on_trial(state)).await;
    let state = slot.state();
    let reason = &state.blocked().next().unwrap().reason;
    assert!(reason.contains("share of alarms 0.90 is above 0.30"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_because_the_agent_stops_is_held_against_no_release() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.fail("check echo v2", Failure::Stopping);
    slot.assign(&second, 2, 0).await;
    slot.until("its checks are replayed", |_, play| {
        play.asked.last().is_some_and(|asked| asked == "check echo v2")
    })
    .await;
    let reports = slot.stop().await.lock().reports.clone();
    // More starts than any trial survives, each ended in the middle of the change of the route.
    for _ in 0..2 * lineside_update::BOOTS_MAX {
        let played = Played::default();
        for asked in ["run echo v2", "swap echo v2"] {
            played.fail(asked, Failure::Stopping);
        }
        let slot = bench.drive_with("a", played);
        slot.until("it is to be tried", |_, play| {
            play.asked.iter().any(|asked| asked.ends_with("echo v2") && !asked.starts_with("check"))
        })
        .await;
        let played = slot.stop().await;
        assert_eq!(played.asked("vacate"), 0);
    }
    let slot = bench.drive("a");
    slot.commits("echo v2").await;
    let state = slot.state();
    assert!(state.blocked().next().is_none(), "{state:?}");
    assert!(reports.is_sorted_by(|a, b| a + 1 == *b), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_something_else_prevents_is_tried_again_by_itself() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    let no_process = || Failure::Elsewhere("no worker can be started: out of memory".into());
    slot.played.fail("check echo v2", no_process());
    slot.played.fail("swap echo v2", no_process());
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |_, play| play.asked.iter().any(|a| a == "swap echo v2")).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"), "who has it keeps the route");
    slot.commits("echo v2").await;
    assert_eq!((slot.played.asked("check echo v2"), slot.played.asked("swap echo v2")), (2, 2));
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_breaks_a_limit_or_cannot_run_is_not_tried_again() {
    let bench = Bench::new();
    let (slot, [_, second, third]) = on_the_first(&bench, bench.drive("a"), ["1", "2", "3"]).await;
    slot.played.fail("check echo v2", Failure::Release("wrong answers".into()));
    slot.assign(&second, 2, 0).await;
    slot.until("it is refused", |state, _| state.note().contains("wrong answers")).await;
    slot.played.fail("swap echo v3", Failure::Release("it does not load".into()));
    slot.assign(&third, 3, 0).await;
    slot.until("it is taken back", |state, _| state.note().contains("it does not load")).await;
    slot.assign(&third, 3, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!((slot.played.asked("check echo v3"), slot.played.asked("swap echo v2")), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_has_its_time_with_readings_however_often_the_agent_starts() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    let hours = |count: u64| Duration::from_secs(count * 3600);
    let see = |slot: &Driven, ran| {
        slot.played.lock().seen = Observation { frames: 10, ran, ..Observation::default() };
    };
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    see(&slot, hours(23));
    let seen = |state: &SlotState| match state.phase() {
        Phase::Trial(trial) => trial.seen.ran,
        _ => Duration::ZERO,
    };
    slot.until("it is seen", |state, _| seen(state) == hours(23)).await;
    slot.stop().await;
    let slot = bench.drive("a");
    slot.until("it goes on", |_, play| play.route.as_deref() == Some("echo v2")).await;
    see(&slot, hours(1));
    slot.until("it is taken back", |state, _| !is_on_trial(state)).await;
    let note = slot.state().note();
    assert!(note.contains("20 of 100 frames"), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committed_release_answers_while_a_candidate_cannot_be_started_after_a_boot() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.stop().await;
    let played = Played::default();
    played.fail("run echo v2", Failure::Elsewhere("no memory".into()));
    let slot = bench.drive_with("a", played);
    slot.commits("echo v2").await;
    let asked = slot.played.lock().asked.clone();
    assert_eq!(asked, ["run echo v2", "run echo v1", "swap echo v2"]);
}
