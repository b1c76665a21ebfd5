//! What the limits of the examples are for, by what their models answer to the recordings.
//!
//! The answers are those of the reference runtime: no agent, no clock.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_rules::{
    Observation, Range, ShadowLimits, ShadowObservation, TrialLimits, Verdict, judge, judge_shadow,
};
use lineside_tests::root;
use serde_json::Value;
use std::time::Duration;

/// What `turbine` v1, v2 and v4 say to a window. The model of v4 is that of v3: its wind speed is taken for
/// km/h.
type Window = [Said; 3];
const V1: usize = 0;
const V2: usize = 1;
const V4: usize = 2;

#[derive(Clone, Copy)]
struct Said {
    score: f64,
    expected_power_kw: f64,
    alarm: bool,
}

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("examples").join(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn table(example: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join("examples").join(example).join("bundle.toml"));
    toml::from_str(&text.unwrap()).unwrap()
}

fn trial(example: &str) -> TrialLimits {
    table(example)["trial"].clone().try_into().unwrap()
}

/// Two mild days and three of frost, which come over and over: the winter of the demo.
fn winter() -> (Vec<Window>, Vec<Window>) {
    let windows = |recording: &str, rows: std::ops::Range<usize>| -> Vec<Window> {
        let lines = lines(&format!("turbine/expected/{recording}.jsonl"));
        let window = |line: &Value| {
            let said = |name: &str, above: f64| {
                let number = |at: usize| line[name][at].as_f64().unwrap();
                Said { score: number(0), expected_power_kw: number(1), alarm: number(0) > above }
            };
            [said("v1", 3.146884), said("v2", 4.61235), said("v3", 4.61235)]
        };
        lines[rows.start / 6..rows.end / 6].iter().map(window).collect()
    };
    (windows("reference", 0..1152), windows("shifted", 6336..7776))
}

/// What a release has done on the route.
fn seen<'a>(windows: impl IntoIterator<Item = &'a Window>, release: usize) -> Observation {
    let mut seen = Observation { latency_ms_p95: Some(1.0), ..Observation::default() };
    for window in windows {
        let Said { score, expected_power_kw, alarm } = window[release];
        seen.frames += 1;
        seen.readings += 6;
        seen.answers += 1;
        seen.alarms += u64::from(alarm);
        for (name, value) in [("score", score), ("expected_power_kw", expected_power_kw)] {
            seen.values.add(name, value);
            let range = seen.outputs.entry(name.to_owned()).or_insert((value, value));
            *range = (range.0.min(value), range.1.max(value));
        }
    }
    seen
}

/// A stretch of days of frost, from any window on.
fn stretch(frost: &[Window], from: usize, count: usize) -> impl Iterator<Item = &Window> {
    frost.iter().cycle().skip(from).take(count)
}

/// Only the limits that compare a release with the one before.
fn comparing(limits: &TrialLimits) -> Vec<(&'static str, TrialLimits)> {
    let length = || TrialLimits {
        frames: limits.frames,
        judge_after: limits.judge_after,
        ..TrialLimits::default()
    };
    let distribution_max = limits.distribution_max.clone();
    vec![
        ("alarms", TrialLimits { alarm_difference_max: limits.alarm_difference_max, ..length() }),
        ("distribution", TrialLimits { distribution_max, ..length() }),
    ]
}

#[test]
fn a_trial_keeps_the_better_model_whenever_it_begins_and_takes_the_wrong_one_back() {
    let limits = trial("turbine");
    let frames = usize::try_from(limits.frames()).unwrap();
    let (mild, frost) = winter();
    // v1 has answered for a while, mostly in mild weather or mostly in frost.
    for days in [120, mild.len(), mild.len() + 120, mild.len() + 3 * frost.len()] {
        let before = seen(mild.iter().chain(frost.iter().cycle()).take(days), V1);
        for from in 0..frost.len() {
            let verdict = judge(&limits, &seen(stretch(&frost, from, frames), V2), Some(&before));
            assert_eq!(verdict, Verdict::Passed, "{days} windows before, from window {from}");
        }
    }
    for from in 0..frost.len() {
        let before = seen(stretch(&frost, from + 60, frames), V2);
        let wrong = seen(stretch(&frost, from, frames), V4);
        for (what, limits) in comparing(&limits) {
            let verdict = judge(&limits, &wrong, Some(&before));
            assert!(matches!(verdict, Verdict::Failed(_)), "{what}, from window {from}");
        }
    }
}

#[test]
fn a_release_that_answers_more_or_less_often_than_the_one_before_is_taken_back() {
    let frost = winter().1;
    for (example, often) in [("turbine", [1, 1]), ("ecg", [2, 3])] {
        let limits = TrialLimits {
            rate_ratio: trial(example).rate_ratio,
            frames: trial(example).frames,
            ..TrialLimits::default()
        };
        let before = seen(stretch(&frost, 0, 300), V2);
        let judged = |answers: u64| {
            let now = Observation { answers, ..before.clone() };
            judge(&limits, &now, Some(&before))
        };
        let [part, whole] = often;
        assert_eq!(judged(before.answers * part / whole), Verdict::Passed, "{example}");
        assert_eq!(judged(before.answers * whole / part), Verdict::Passed, "{example}");
        for answers in [before.answers * 3, before.answers / 3] {
            assert!(matches!(judged(answers), Verdict::Failed(_)), "{example}: {answers}");
        }
    }
}

#[test]
fn a_shadow_sees_in_the_same_readings_what_a_trial_cannot_ask_of_others() {
    // What card.md advises a site to ask.
    const FRAMES: usize = 96;
    let limits: ShadowLimits = toml::from_str(
        "frames = 96\nagreement_min = 0.0\ndistribution_max.expected_power_kw = 0.3",
    )
    .unwrap();
    let frost = winter().1;
    let compared = |from: usize, active: usize, candidate: usize| {
        let of = |release| seen(stretch(&frost, from, FRAMES), release).values;
        let (values, active_values) = (of(candidate), of(active));
        let frames = FRAMES as u64;
        let seen = ShadowObservation { frames, values, active_values, ..Default::default() };
        judge_shadow(&limits, &seen)
    };
    let trial = TrialLimits {
        frames: Some(120),
        distribution_max: limits.distribution_max.clone(),
        ..TrialLimits::default()
    };
    let before = seen(stretch(&frost, 0, 120), V2);
    let mut apart = 0;
    for from in 0..frost.len() {
        assert_eq!(compared(from, V1, V2), Verdict::Passed, "from window {from}");
        assert!(matches!(compared(from, V2, V4), Verdict::Failed(_)), "from window {from}");
        // On other days the wind is another one, and the same model differs from itself.
        let later = judge(&trial, &seen(stretch(&frost, from, 120), V2), Some(&before));
        apart += usize::from(later != Verdict::Passed);
    }
    assert!(apart > 0);
}

#[test]
fn two_versions_of_the_heart_beats_agree_as_their_bundle_asks() {
    let limits: ShadowLimits = table("ecg")["shadow"].clone().try_into().unwrap();
    let trial = trial("ecg");
    let beats = lines("ecg/expected/excerpt.jsonl");
    let said = |beat: &Value, release: &str| beat[release].as_f64().unwrap();
    // Most frames hold no beat, and there both say the same: nothing.
    let frames = 108_000 / 36;
    let agree = |beat: &&Value| {
        let (one, other) = (said(beat, "v1"), said(beat, "v2"));
        limits.tolerance("probability").allows(one, other) && (one > 0.5) == (other > 0.5)
    };
    let agreed = frames - (beats.len() - beats.iter().filter(agree).count());
    let alarms = |release| beats.iter().filter(|beat| said(beat, release) > 0.5).count() as u64;
    let seen = |agreed: usize, alarms: u64, active_alarms: u64| ShadowObservation {
        frames: frames as u64,
        agreed: agreed as u64,
        alarms,
        active_alarms,
        latency_ms_p95: Some(2.0),
        active_latency_ms_p95: Some(1.0),
        ran: Duration::from_secs(300),
        ..Default::default()
    };
    let limits = ShadowLimits { frames: Some(frames as u64), ..limits };
    let judged = |seen| judge_shadow(&limits, &seen);
    assert_eq!(judged(seen(agreed, alarms("v2"), alarms("v1"))), Verdict::Passed);
    // One that takes every fourth beat for another, or every beat for a ventricular one.
    let differ = judged(seen(frames - beats.len() / 4, alarms("v2"), alarms("v1")));
    assert!(matches!(differ, Verdict::Failed(_)), "{differ:?}");
    let all = judged(seen(agreed, beats.len() as u64, alarms("v1")));
    assert!(matches!(all, Verdict::Failed(_)), "{all:?}");
    let share = |alarms: u64| alarms as f64 / frames as f64;
    let difference = share(alarms("v1")).max(share(alarms("v2")));
    assert!(difference < trial.alarm_difference_max.unwrap(), "{difference}");
    let Range { low, high } = trial.rate_ratio.unwrap();
    assert!(low <= 1.0 / 1.41 && 1.41 <= high, "beats come as they come");
}
