//! What is assigned while something else is under way, and what may not be.

use super::bench::*;
use crate::update::slot::*;
use lineside_update::FAILURES_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_a_release_that_was_replaced_changes_nothing() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&second);
    let slot = bench.drive("a");
    // The first is not on disk, and there is no server: its download fails again and again.
    slot.assign(&first, 1, 0).await;
    slot.until("it fails", |state, _| state.note().contains("cannot be reached")).await;
    slot.assign(&second, 2, 0).await;
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("check echo v1"), 0);
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
    // A late death of what is not active is nobody's failure.
    slot.failures.send((first.release_id().digest, "it died".into())).await.unwrap();
    slot.until("it is heard", |_, _| slot.failures.capacity() == QUEUE_MAX).await;
    let name = slot.name.clone();
    slot.stop().await;
    let state = bench.journal().slot(&name).unwrap();
    assert!(is_active(&state, "echo v2") && state.blocked().next().is_none(), "{state:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_cannot_go_below_a_floor_through_another_slot_or_a_renamed_one() {
    let bench = Bench::new();
    let [first, third] = ["1", "3"].map(|version| echo(version, ""));
    bench.store(&first);
    bench.store(&third);
    let one = bench.drive("a");
    one.assign(&third, 3, 3).await;
    one.commits("echo v3").await;
    let other = bench.drive("b");
    other.assign(&first, 1, 0).await;
    other.until("it is refused", |state, _| state.note().contains("below the floor 3")).await;
    assert_eq!(other.played.asked("check echo v1"), 0);
    one.stop().await;
    other.stop().await;
    // Another start, after somebody has renamed both slots in agent.toml.
    let later = Bench { states: Arc::default(), ..bench };
    let renamed = later.drive("c");
    renamed.assign(&first, 1, 0).await;
    renamed.until("it is refused", |state, _| state.note().contains("below the floor 3")).await;
    assert_eq!(renamed.played.asked("check echo v1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_floor_that_one_slot_has_brought_ends_what_is_on_its_way_in_another() {
    let bench = Bench::new();
    let [first, second, third] = ["1", "2", "3"].map(|version| echo(version, ""));
    [&first, &third].into_iter().for_each(|bundle| bench.store(bundle));
    let (one, other) = (bench.drive("a"), bench.drive("b"));
    for slot in [&one, &other] {
        slot.assign(&first, 1, 0).await;
        slot.commits("echo v1").await;
    }
    // Somebody assigns the second, and holds its blobs back until the floor has risen above it.
    other.assign(&second, 2, 0).await;
    let fetched = |state: &SlotState, _: &Play| matches!(state.phase(), Phase::Downloading { .. });
    other.until("it is fetched", fetched).await;
    one.assign(&third, 3, 3).await;
    one.commits("echo v3").await;
    let note = |state: &SlotState, _: &Play| state.note().contains("number 2 is below the floor 3");
    other.until("it is refused", note).await;
    assert!(is_active(&other.state(), "echo v1"), "what runs stays");
    other.assign(&first, 1, 0).await;
    one.assign(&first, 1, 0).await;
    let note = |state: &SlotState, _: &Play| state.note().contains("number 1 is below the floor 3");
    one.until("it is refused as well", note).await;
    assert!(is_active(&one.state(), "echo v3") && is_active(&other.state(), "echo v1"));
    // By itself a slot goes back to what it ran before.
    for _ in 0..FAILURES_MAX {
        one.failures.send((third.release_id().digest, "it died".into())).await.unwrap();
    }
    one.until("it is back", |state, _| is_active(state, "echo v1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_during_a_first_trial_leaves_no_slot_without_an_answer() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&first);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v1")).await;
    // The second cannot be fetched yet.
    slot.assign(&second, 2, 0).await;
    slot.until("it stands in", |state, _| state.note().contains("echo v1 answers meanwhile")).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"));
    slot.cut().await;
    let slot = bench.drive("a");
    slot.until("it answers again", |_, play| play.route.as_deref() == Some("echo v1")).await;
    assert_eq!(slot.played.asked("vacate"), 0);
    // It is not committed by that, and it stays on probation.
    slot.played.see(100, 0);
    bench.store(&second);
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("vacate"), 0);
    assert_eq!(slot.state().previous().map(|held| held.release.to_string()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_never_comes_does_not_keep_the_next_one_or_another_slot_waiting() {
    let bench = Bench::new();
    let (slot, [first]) = on_the_first(&bench, bench.drive("a"), ["1"]).await;
    let [stuck, third] = ["2", "3"].map(|version| echo(version, ""));
    slot.assign(&stuck, 2, 0).await;
    slot.until("it does not come", |state, _| state.note().contains("trying again")).await;
    let other = bench.drive("b");
    other.assign(&first, 1, 0).await;
    other.commits("echo v1").await;
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.commits("echo v3").await;
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}
