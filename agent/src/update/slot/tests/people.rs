//! Updates that wait for people: the site, and who approves.

use super::bench::*;
use crate::update::slot::*;
use lineside_rules::{Decide, SlotPolicy};
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_says_no_holds_an_update_back_until_it_says_yes() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |state, _| state.note().contains("held back: the line runs")).await;
    slot.until("all is told", |state, _| state.reports().count() == 0).await;
    let told = slot.played.lock().reports.len();
    slot.played.lock().withheld = Some(("the line runs".into(), true));
    slot.until("it is late", |state, _| state.note().contains("longer than it should")).await;
    slot.until("that is told", |_, play| play.reports.len() == told + 1).await;
    // Neither a stop nor a start asks anybody's leave in the site's place.
    slot.stop().await;
    let played = Played::default();
    played.lock().withheld = Some(("the line runs".into(), true));
    let slot = bench.drive_with("a", played);
    slot.until("it runs", |_, play| play.route.as_deref() == Some("echo v1")).await;
    assert!(is_held(&slot.state()) && slot.played.asked("swap echo v2") == 0);
    slot.played.lock().withheld = None;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gets_ready_takes_the_route_only_when_the_site_says_nothing_against_it_by_then() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.lock().slow = vec!["swap echo v2".into()];
    slot.assign(&second, 2, 0).await;
    slot.until("its worker loads", |state, _| is_on_trial(state)).await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.until("it is told so", |_, play| play.refusals > 0).await;
    slot.played.lock().slow.clear();
    let before = slot.played.lock().refusals;
    slot.until("it is asked again", |_, play| play.refusals > before + 2).await;
    assert_eq!(slot.played.asked("swap echo v2"), 0);
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"));
    slot.played.lock().withheld = None;
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("swap echo v2"), 1, "nothing was given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_holds_back_does_not_take_the_route_in_the_moment_after_he_was_told_so() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.lock().slow = vec!["swap echo v2".into()];
    slot.assign(&second, 2, 0).await;
    slot.until("its worker loads", |state, _| is_on_trial(state)).await;
    slot.played.hold("surgery");
    // Its worker is warm just then, and nobody has asked the site since.
    slot.played.lock().slow.clear();
    slot.until("it is asked twice", |_, play| play.refusals > 1).await;
    assert_eq!(slot.played.asked("swap echo v2"), 0);
    slot.played.lock().withheld = None;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_a_slot_is_heard_while_a_candidate_gets_ready() {
    let bench = Bench::new();
    let (signs, site) = watch::channel(SitePolicy::default());
    let slot = bench.drive_at("a", Played::default(), ShadowLimits::default(), site);
    let (slot, [_, second, third]) = on_the_first(&bench, slot, ["1", "2", "3"]).await;
    slot.played.lock().slow = vec!["swap echo v2".into(), "swap echo v3".into()];
    slot.assign(&second, 2, 0).await;
    slot.until("its worker loads", |state, _| is_on_trial(state)).await;
    slot.assign(&third, 3, 0).await;
    let on_trial = |state: &SlotState, _: &Play| {
        let candidate = state.candidate().map(ToString::to_string);
        is_on_trial(state) && candidate.as_deref() == Some("echo v3")
    };
    slot.until("the third is tried", on_trial).await;
    let policy = SlotPolicy { shadow: ten_frames(Some(Decide::Ask)), ..SlotPolicy::default() };
    signs.send_replace(SitePolicy {
        slots: BTreeMap::from([("*".to_owned(), policy)]),
        ..SitePolicy::default()
    });
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v3")).await;
    slot.played.compare(10, 10);
    slot.until("a person is asked", |state, _| state.waits_for_approval()).await;
    assert_eq!((slot.played.asked("swap echo v2"), slot.played.asked("swap echo v3")), (0, 0));
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leave_that_was_given_while_the_disk_was_full_is_none_when_there_is_room_hours_later() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |state, _| is_held(state)).await;
    bench.disk.resize(FULL);
    let before = slot.played.lock().consents;
    slot.played.lock().withheld = None;
    slot.until("it is let go", |_, play| play.consents > before).await;
    slot.played.lock().withheld = Some(("the night shift".into(), false));
    bench.disk.resize(ROOMY);
    slot.until("it waits again", |state, _| state.note().contains("the night shift")).await;
    assert!(is_held(&slot.state()) && slot.played.asked("swap echo v2") == 0);
    slot.played.lock().withheld = None;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_a_person_has_to_approve_waits_for_that_and_for_nobody_else() {
    let bench = Bench::new();
    let slot = beside(&bench, Some(Decide::Ask)).await;
    slot.played.compare(10, 10);
    slot.until("it waits", |state, play| is_held(state) && play.beside.is_none()).await;
    let second = echo("2", "").release_id();
    assert!(slot.state().note().contains("waits for a person"), "{}", slot.state().note());
    // The same again without an approval changes nothing.
    slot.assign(&echo("2", ""), 2, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert!(is_held(&slot.state()));
    let target = Target { release: second, number: 2, floor: 0 };
    slot.order(Order::Assigned(Assigned { target, approved: true, newer: false, again: 0 })).await;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_to_what_was_committed_here_waits_neither_for_the_bad_release_nor_for_the_site()
 {
    let bench = Bench::new();
    let first = echo("1", "[trial]\nalarm_share = [0.0, 0.3]\n");
    let second = echo("2", "[trial]\nalarm_share = [0.0, 0.01]\n");
    bench.store(&first);
    bench.store(&second);
    let slot = bench.drive_by("a", Played::default(), ten_frames(None));
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(10, 10);
    slot.commits("echo v2").await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&first, 1, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v1")).await;
    // More alarms than the release that is left allows anybody.
    slot.played.see(100, 20);
    slot.until("it is committed", |state, _| is_active(state, "echo v1")).await;
    assert_eq!(slot.played.asked("shadow echo v1"), 0);
    assert_eq!(slot.played.asked("check echo v1"), 2, "its checks are replayed all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_update_has_waited_for_the_site_is_counted_over_starts_of_the_agent() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    let busy = Some(("the line runs".to_owned(), false));
    slot.played.lock().withheld = busy.clone();
    slot.assign(&second, 2, 0).await;
    // Longer than what the site is asked about at once after a start.
    slot.until("it waits", |_, play| play.waited >= Duration::from_secs(3)).await;
    let before = slot.stop().await.lock().waited;
    let played = Played::default();
    played.lock().withheld = busy;
    let slot = bench.drive_with("a", played);
    slot.until("it is asked again", |_, play| play.first_waited.is_some()).await;
    let first = slot.played.lock().first_waited;
    assert!(first >= Some(before), "{first:?} after {before:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_becomes_stricter_reaches_an_update_that_waits_already() {
    let bench = Bench::new();
    let (signs, site) = watch::channel(SitePolicy::default());
    let slot = bench.drive_at("a", Played::default(), ShadowLimits::default(), site);
    let (slot, [_, second]) = on_the_first(&bench, slot, ["1", "2"]).await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |state, _| state.note().contains("held back: the line runs")).await;
    let asks = |shadow| {
        let policy = SlotPolicy { shadow, ..SlotPolicy::default() };
        SitePolicy { slots: BTreeMap::from([("*".to_owned(), policy)]), ..SitePolicy::default() }
    };
    signs.send_replace(asks(ten_frames(Some(Decide::Ask))));
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(10, 10);
    slot.until("a person is asked", |state, _| state.waits_for_approval()).await;
    slot.played.lock().withheld = None;
    let target = Target { release: second.release_id(), number: 2, floor: 0 };
    assert_eq!(slot.played.asked("swap echo v2"), 0);
    slot.order(Order::Assigned(Assigned { target, approved: true, newer: false, again: 0 })).await;
    slot.commits("echo v2").await;
}
