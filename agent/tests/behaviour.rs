//! What a release does on the route and beside it, as the worker's real answers show it, is held against
//! the one before.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::config::Overflow;
use lineside_agent::update::StagedRelease;
use lineside_rules::{Breach, DistanceLimits, Observation, Range, TrialLimits, Verdict, judge};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What is seen of a release that answers all of it.
async fn seen(folder: &Path, release: &StagedRelease) -> Observation {
    let values: Vec<f64> = (0..1600).map(|i| f64::from(i % 100)).collect();
    let one = bench(folder, Arc::new(values), Overflow::Block, 50);
    one.slot.place(release).await.unwrap();
    one.until("the recording ends", |view| view.ended).await;
    one.slot.observation(&release.release.digest)
}

fn breach(limits: TrialLimits, seen: &Observation, before: &Observation) -> Option<Breach> {
    match judge(&TrialLimits { frames: Some(100), ..limits }, seen, Some(before)) {
        Verdict::Failed(breach) => Some(breach),
        Verdict::Passed => None,
        Verdict::Undecided => panic!("{seen:?}"),
    }
}

fn none() -> TrialLimits {
    TrialLimits::default()
}

fn far(distance: f64) -> TrialLimits {
    TrialLimits {
        distribution_max: DistanceLimits(BTreeMap::from([("x".into(), distance)])),
        ..none()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_answers_are_measured_and_compared_with_those_of_the_release_before() {
    let folder = tempfile::tempdir().unwrap();
    let before = seen(&folder.path().join("1"), &release("1", "")).await;
    assert_eq!((before.frames, before.answers, before.readings, before.traps), (400, 400, 1600, 0));

    let same = seen(&folder.path().join("2"), &release("2", "")).await;
    let rate = |low, high| TrialLimits { rate_ratio: Some(Range { low, high }), ..none() };
    let alarms = |max| TrialLimits { alarm_difference_max: Some(max), ..none() };
    for limits in [far(0.0), rate(1.0, 1.0), alarms(0.0)] {
        assert_eq!(breach(limits, &same, &before), None);
    }

    // It takes windows of eight, so it answers half as often.
    let rare = seen(&folder.path().join("3"), &cut("3", 8, "")).await;
    assert_eq!(breach(rate(0.5, 1.0), &rare, &before), None);
    assert!(matches!(breach(rate(0.51, 1.0), &rare, &before), Some(Breach::Rate { .. })));

    // An alarm above 10 instead of 1000: nine in ten of the answers.
    let loud = staged_with("4", "above = 1000.0", "above = 10.0");
    let loud = seen(&folder.path().join("4"), &loud).await;
    assert_eq!(breach(far(0.0), &loud, &before), None, "x is as before");
    assert!(matches!(
        breach(alarms(0.5), &loud, &before),
        Some(Breach::AlarmDifference { share, other: 0.0, .. }) if share > 0.8
    ));
    let every = DistanceLimits(BTreeMap::from([("*".into(), 0.5)]));
    let every = TrialLimits { distribution_max: every, ..none() };
    assert!(matches!(
        breach(every, &loud, &before),
        Some(Breach::Distribution { name, distance, .. }) if name == "alarm" && distance > 0.8
    ));
}
