//! Candidates that answer beside the route.

use super::bench::*;
use crate::update::hands::Failure;
use crate::update::slot::*;
use lineside_rules::SlotPolicy;
use lineside_update::FAILURES_MAX;
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_agrees_beside_the_route_takes_it_with_the_worker_that_is_there() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.until("it is told", |state, _| matches!(state.phase(), Phase::Shadow(_))).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"), "it does not act");
    slot.played.compare(10, 9);
    slot.commits("echo v2").await;
    let play = slot.stop().await;
    assert_eq!((play.asked("shadow echo v2"), play.asked("swap echo v2")), (1, 1));
    let before = |asked: &str| play.lock().asked.iter().position(|one| one == asked).unwrap();
    assert!(before("shadow echo v2") < before("swap echo v2"));
    assert_eq!(play.asked("shadow echo v1"), 0, "there was nothing to compare the first with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_answers_otherwise_beside_the_route_never_takes_it() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(4, 2);
    slot.until("it is refused", |state, play| {
        state.note().contains("agreed with the active release in 2 of 4") && play.beside.is_none()
    })
    .await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!((slot.played.asked("swap echo v2"), slot.played.asked("end shadow")), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_has_signed_is_compared_though_the_device_asks_for_none() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&first);
    bench.store(&second);
    let signed = SlotPolicy { shadow: ten_frames(None), ..SlotPolicy::default() };
    let site =
        SitePolicy { slots: BTreeMap::from([("*".to_owned(), signed)]), ..SitePolicy::default() };
    let site = watch::channel(site).1;
    let slot = bench.drive_at("a", Played::default(), ShadowLimits::default(), site);
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(10, 5);
    slot.until("it is given up", |state, _| matches!(state.phase(), Phase::Idle)).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!(slot.played.asked("swap echo v2"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_goes_on_after_a_power_cut_where_it_was() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(6, 6);
    slot.until("it is seen", |state, _| state.note().contains("6 frames compared")).await;
    // Progress is written as the agent stops, and every so often.
    slot.stop().await;
    let slot = bench.drive_by("a", Played::default(), ten_frames(None));
    slot.until("it is compared again", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(4, 4);
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_candidate_from_answering_beside_the_route_is_told_from_its_own_fault() {
    let bench = Bench::new();
    let (slot, [_, second, third]) = on_the_first(
        &bench,
        bench.drive_by("a", Played::default(), ten_frames(None)),
        ["1", "2", "3"],
    )
    .await;
    slot.played.fail("shadow echo v2", Failure::Elsewhere("no memory for two".into()));
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried again", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    assert_eq!(slot.played.asked("shadow echo v2"), 2);
    slot.played.fail("shadow echo v3", Failure::Release("it does not load".into()));
    slot.assign(&third, 3, 0).await;
    slot.until("it is refused", |state, _| state.note().contains("it does not load")).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!(slot.played.lock().beside, None, "the second was ended by the assignment");
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_waits_for_what_it_is_compared_with_and_then_answers_beside_it_again() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(10, 10);
    slot.commits("echo v2").await;
    let third = echo("3", "");
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v3")).await;
    // What the slot goes back to cannot be started for a while, so the slot is vacant.
    slot.played.fail("swap echo v1", Failure::Elsewhere("no process".into()));
    for _ in 0..2 {
        slot.played.fail("run echo v1", Failure::Elsewhere("no process".into()));
    }
    for _ in 0..FAILURES_MAX {
        let second = echo("2", "").release_id().digest;
        slot.failures.send((second, "it died".into())).await.unwrap();
    }
    slot.until("it is compared again", |_, play| {
        play.route.as_deref() == Some("echo v1") && play.beside.as_deref() == Some("echo v3")
    })
    .await;
    assert_eq!(slot.played.asked("shadow echo v3"), 2, "it is not asked for beside a vacant route");
    slot.played.compare(10, 10);
    slot.commits("echo v3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_takes_the_route_where_what_it_is_compared_with_is_gone() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.stop().await;
    bench.lose(&echo("1", ""));
    let slot = bench.drive_by("a", Played::default(), ten_frames(None));
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("shadow echo v2"), 0);
}
