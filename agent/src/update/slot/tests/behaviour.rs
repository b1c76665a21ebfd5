//! What a release does decides what becomes of it: its limits are kept by the driver, and a breach says
//! rule, value and limit.

use super::bench::*;
use crate::update::slot::*;
use lineside_rules::{Observation, Replayed, ShadowObservation, Values};

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

/// So many frames as the release before is seen to have answered them.
fn lived(frames: u64) -> Observation {
    let mut values = Values::default();
    (0..frames).for_each(|frame| values.add("x", (frame % 10) as f64));
    Observation {
        frames,
        readings: 4 * frames,
        answers: frames,
        alarms: frames / 10,
        latency_ms_p95: Some(2.0),
        values,
        ..Observation::default()
    }
}

/// How a release that is held against the one before may behave.
const MEASURED: &str = "[trial]\nframes = 100\nlatency_ratio_max = 2.0\nrate_ratio = [0.5, 2.0]\n\
    alarm_difference_max = 0.2\ndistribution_max.x = 0.3\nerror_share_max = 1.0\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_release_before_did_not_do_takes_a_release_back_and_the_reason_has_the_numbers() {
    let bench = Bench::new();
    let slot = bench.drive("a");
    let first = echo("1", MEASURED);
    bench.store(&first);
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.played.lock().seen = lived(1000);
    let mut shifted = Values::default();
    (0..100).for_each(|_| shifted.add("x", 9.0));
    let fine = lived(100);
    let bad = [
        (
            Observation { latency_ms_p95: Some(5.0), ..fine.clone() },
            "95th percentile of latency 5.0 ms is more than 2.0 times the release before's 2.0 ms over 100 frames",
        ),
        (
            Observation { answers: 40, ..fine.clone() },
            "0.1000 answers a reading where the release before gave 0.2500, 0.5 to 2 times that allowed, over 100 frames",
        ),
        (
            Observation { alarms: 50, ..fine.clone() },
            "share of alarms 0.500 differs from the release before's 0.100 by more than 0.200 over 100 frames",
        ),
        (
            Observation { values: shifted, ..fine.clone() },
            "output x lies 0.900 from the release before's distribution, 0.300 allowed, over 100 frames",
        ),
        (
            Observation { traps: 6, errors: 6, ..fine.clone() },
            "share of frames that plugins broke in 0.060 is above 0.050 over 100 frames",
        ),
    ];
    for (number, (seen, wanted)) in (2..).zip(bad) {
        // Its author allows himself anything.
        let version = number.to_string();
        let release = echo(&version, "[trial]\nlatency_ratio_max = 99.0\ntrap_share_max = 0.05\n");
        bench.store(&release);
        slot.assign(&release, number, 0).await;
        let name = format!("echo v{version}");
        slot.until("it is tried", |_, play| play.route.as_deref() == Some(&name)).await;
        slot.played.lock().seen = seen;
        slot.until("it is taken back", |state, _| {
            state.blocked().any(|blocked| blocked.reason == format!("rolled back: {wanted}"))
        })
        .await;
        slot.until("the first is back", |_, play| play.route.as_deref() == Some("echo v1")).await;
        slot.played.lock().seen = lived(1000);
    }
    let last = echo("9", "");
    bench.store(&last);
    slot.assign(&last, 9, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v9")).await;
    slot.played.lock().seen = fine;
    slot.until("it is committed", |state, _| is_active(state, "echo v9")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_does_not_make_the_release_before_forgotten() {
    let bench = Bench::new();
    let slot = bench.drive("a");
    let [first, second] = ["1", "2"].map(|version| echo(version, MEASURED));
    [&first, &second].into_iter().for_each(|release| bench.store(release));
    slot.assign(&first, 1, 0).await;
    slot.until("its trial", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.played.lock().seen = lived(100);
    slot.until("it is committed", |state, _| is_active(state, "echo v1")).await;
    slot.cut().await;
    // Since then it has answered next to nothing.
    let slot = bench.drive("a");
    slot.until("it runs", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.played.lock().seen = lived(3);
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.cut().await;
    let slot = bench.drive("a");
    slot.until("its trial goes on", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.played.lock().seen = Observation { latency_ms_p95: Some(5.0), ..lived(100) };
    slot.until("it is taken back", |state, _| {
        state.blocked().any(|blocked| blocked.reason.contains("2.0 times the release before's 2.0"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_release_and_one_that_is_gone_back_to_are_compared_with_nothing() {
    let bench = Bench::new();
    let slot = bench.drive("a");
    let odd = |frames| Observation { latency_ms_p95: Some(50.0), alarms: frames, ..lived(frames) };
    let first = echo("1", MEASURED);
    let second = echo("2", "");
    [&first, &second].into_iter().for_each(|release| bench.store(release));
    slot.assign(&first, 1, 0).await;
    slot.until("its trial", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.played.lock().seen = odd(100);
    slot.until("it is committed", |state, _| is_active(state, "echo v1")).await;
    slot.assign(&second, 2, 0).await;
    slot.until("its trial", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.played.lock().seen = Observation { alarms: 100, ..lived(100) };
    slot.until("it is committed", |state, _| is_active(state, "echo v2")).await;
    slot.assign(&first, 1, 0).await;
    slot.until("its trial", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.played.lock().seen = odd(100);
    slot.until("it is back", |state, _| is_active(state, "echo v1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_whose_answers_lie_elsewhere_beside_the_route_never_takes_it() {
    let bench = Bench::new();
    let wanted = ShadowLimits { frames: Some(100), ..ShadowLimits::default() };
    let slot = bench.drive_by("a", Played::default(), wanted);
    let first = echo("1", "[shadow]\ndistribution_max.\"*\" = 0.3\nalarm_difference_max = 0.1\n");
    let [second, third] = ["2", "3"].map(|version| echo(version, ""));
    [&first, &second, &third].into_iter().for_each(|release| bench.store(release));
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    let compared = |alarms, candidate: Values| ShadowObservation {
        frames: 100,
        agreed: 100,
        alarms,
        active_alarms: 10,
        values: candidate,
        active_values: lived(100).values,
        ..ShadowObservation::default()
    };
    let mut elsewhere = Values::default();
    (0..100).for_each(|_| elsewhere.add("x", 4.5));
    let cases = [
        (
            &second,
            "echo v2",
            compared(10, elsewhere),
            "output x lies 0.500 from the active release's distribution, 0.300 allowed, over 100 frames",
        ),
        (
            &third,
            "echo v3",
            compared(30, lived(100).values),
            "share of alarms 0.300 differs from the active release's 0.100 by more than 0.100 over 100 frames",
        ),
    ];
    for (number, (release, name, seen, wanted)) in (2..).zip(cases) {
        slot.assign(release, number, 0).await;
        slot.until("it answers", |_, play| play.beside.as_deref() == Some(name)).await;
        slot.played.lock().compared = seen;
        slot.until("it is refused", |state, _| {
            state.blocked().any(|blocked| blocked.reason == format!("refused: {wanted}"))
        })
        .await;
        assert_eq!(slot.played.asked(&format!("swap {name}")), 0);
    }
}
