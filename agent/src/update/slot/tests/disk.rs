//! A slot and its disk: one that takes nothing, one that loses what it had, power that goes.

use super::bench::*;
use crate::update::slot::*;
use lineside_rules::Observation;
use lineside_update::FAILURES_MAX;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_handed_over_in_their_order_however_often_nobody_takes_them() {
    let bench = Bench::new();
    let first = echo("1", "");
    bench.store(&first);
    let slot = bench.drive("a");
    slot.played.lock().deaf = 2;
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.until("all are handed over", |state, _| state.reports().count() == 0).await;
    let reports = slot.played.lock().reports.clone();
    // Assigned, downloaded, on trial, committed; and that it was fetched again, where it was.
    assert!(reports.len() >= 4 && reports[0] == 0, "{reports:?}");
    assert!(reports.is_sorted_by(|a, b| a + 1 == *b), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journal_fails_a_candidate_is_taken_back_and_nothing_else_is_begun_or_told() {
    let bench = Bench::new();
    let (slot, [first, second, third]) =
        on_the_first(&bench, bench.drive("a"), ["1", "2", "3"]).await;
    slot.assign(&second, 2, 0).await;
    let on_route = |release: &'static str| {
        move |_: &SlotState, play: &Play| play.route.as_deref() == Some(release)
    };
    slot.until("the second is tried", on_route("echo v2")).await;
    let reports = |slot: &Driven| slot.state().reports().count() + slot.played.lock().reports.len();
    slot.until("its reports are taken", |state, _| state.reports().count() == 0).await;
    let told = reports(&slot);

    bench.disk.resize(FULL);
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("the first is back at once", on_route("echo v1")).await;
    // What others hear is what a power cut would find.
    assert!(is_on_trial(&slot.state()));
    assert_eq!(reports(&slot), told);
    slot.assign(&third, 3, 0).await;
    slot.failures.send((first.release_id().digest, "it died".into())).await.unwrap();
    slot.until("both are heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert_eq!((slot.played.asked("check echo v3"), reports(&slot)), (0, told));

    bench.disk.resize(ROOMY);
    slot.commits("echo v3").await;
    slot.until("all is told", |state, _| state.reports().count() == 0).await;
    assert!(slot.played.lock().reports.is_sorted_by(|a, b| a + 1 == *b));
    let name = slot.name.clone();
    slot.stop().await;
    assert!(is_active(&bench.journal().slot(&name).unwrap(), "echo v3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_while_the_journal_fails_ends_a_bad_trial_the_same_way() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    bench.disk.resize(FULL);
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("it is back", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.cut().await;
    bench.disk.resize(ROOMY);
    let name: SlotName = "a".parse().unwrap();
    let began = Instant::now();
    // The database is opened again by whoever writes next.
    while Journal::open(bench.database.clone()).and_then(|j| j.slot(&name)).is_err() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let slot = bench.drive("a");
    slot.until("it is tried again", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("it is taken back again", |state, play| {
        is_active(state, "echo v1") && play.route.as_deref() == Some("echo v1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_release_that_rots_on_disk_is_replaced_by_the_previous_one_and_comes_back() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.commits("echo v2").await;
    slot.stop().await;
    bench.lose(&second);
    let slot = bench.drive("a");
    slot.until("the first runs", |state, play| {
        let fetching = matches!(state.phase(), Phase::Downloading { .. });
        play.route.as_deref() == Some("echo v1") && fetching
    })
    .await;
    // The server has it again.
    bench.store(&second);
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("vacate"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_active_release_comes_back_though_another_one_is_wanted_that_never_comes() {
    let bench = Bench::new();
    let (slot, [first]) = on_the_first(&bench, bench.drive("a"), ["1"]).await;
    let [stuck, third] = ["2", "3"].map(|version| echo(version, ""));
    slot.assign(&stuck, 2, 0).await;
    slot.until("it does not come", |state, _| state.note().contains("trying again")).await;
    slot.stop().await;
    bench.lose(&first);
    let slot = bench.drive("a");
    // That it is damaged is told, and that nobody has it; so the other one is asked for again.
    slot.until("it is missed", |state, play| {
        play.reports.len() >= 2 && play.route.is_none() && state.mending().is_none()
    })
    .await;
    // Somebody has it again.
    bench.store(&first);
    slot.until("it answers", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.until("the other is wanted still", |state, _| {
        matches!(state.phase(), Phase::Downloading { target, .. }
            if target.release == stuck.release_id())
            && state.mending().is_none()
    })
    .await;
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.commits("echo v3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_keeps_dying_is_not_left_for_one_that_is_rotten_until_that_has_come_again() {
    let bench = Bench::new();
    let (slot, [first, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.commits("echo v2").await;
    bench.lose(&first);
    for _ in 0..FAILURES_MAX {
        slot.failures.send((second.release_id().digest, "it died".into())).await.unwrap();
    }
    let missed = |state: &SlotState, _: &Play| {
        state.at_work() == Some(&first.release_id()) && *state.phase() == Phase::Idle
    };
    slot.until("it is missed", missed).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v2"));
    assert!(slot.state().blocked().next().is_none());
    // The server has it again.
    bench.store(&first);
    slot.until("it is back", |state, play| {
        is_active(state, "echo v1") && play.route.as_deref() == Some("echo v1")
    })
    .await;
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}
