//! Rules over intervals of a turbine that is well, and of one that is not.

use super::rule::Band;
use super::*;
use crate::SitePolicy;
use lineside_drift::{
    Chunk, ColumnProfile, Estimate, Learnt, Limits, Marks, Profile, Role, SketchMethod, Statistic,
};
use lineside_sketch::{Categories, Edges, Histogram, NumberColumn, TextColumn};
use lineside_wire::v1::{Column, Interval, ReleaseRef, Summary};
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;

fn edges() -> Edges {
    Edges::new((0..=20).map(f64::from).collect()).unwrap()
}

/// An hour in which the output `score` and the input `wind` took these values.
pub(super) fn interval(hour: i64, values: &[f64]) -> Interval {
    let mut column = NumberColumn::new(Some(&edges()));
    let mut latency_us = Histogram::default();
    for value in values {
        column.add(Some(&edges()), *value).unwrap();
        latency_us.add(2000.0);
    }
    let summary = |name: &str| Summary {
        name: name.into(),
        column: Column::Numbers(Box::new(column.clone())),
        out_of_range: 1,
    };
    let rows = values.len() as u64;
    Interval {
        readings: rows,
        frames: rows,
        findings: rows,
        alarms: rows / 4,
        errors: vec![("stage".into(), rows / 5)],
        dropped: vec![("late".into(), rows)],
        latency_us,
        inputs: vec![summary("wind")],
        outputs: vec![summary("score")],
        ..Interval::of(
            "line",
            ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [1; 32] },
            (hour * HOUR_MS, (hour + 1) * HOUR_MS),
        )
    }
}

/// Medians of days should lie between 2 and 4.
fn profile(chunk: Chunk) -> Profile {
    let marks = Marks::Edges(edges());
    let column = |name: &str, role| {
        let mut reference = marks.empty();
        (0..200)
            .for_each(|at| reference.add_number(&marks, 2.0 + f64::from(at % 20) / 10.0).unwrap());
        let limits = Limits { mean: 3.0, sigma: 0.3, lower: Some(2.0), upper: Some(4.0) };
        let limits = BTreeMap::from([(Statistic::Median, limits)]);
        let learnt = Some(Learnt { chunks: 7, sigmas: 3.0, limits });
        ColumnProfile {
            name: name.into(),
            role,
            reference,
            marks: marks.clone(),
            method: SketchMethod::PROFILE,
            threshold: 0.1,
            learnt,
        }
    };
    let columns = vec![column("wind", Role::Input), column("score", Role::Output)];
    Profile::new(Some(chunk), 30, columns).unwrap()
}

fn days() -> Profile {
    profile(Chunk::Milliseconds(24 * HOUR_MS))
}

/// Three hours of a day around this value.
fn day(number: i64, value: f64) -> Vec<Interval> {
    let values = [value; 20];
    [0, 8, 16].map(|hour| interval(24 * number + hour, &values)).to_vec()
}

/// What becomes of days of such medians: the days after which something fires or is over.
fn story(
    monitor: &mut Monitor,
    rules: &Rules,
    profile: Option<&Profile>,
    days: &[f64],
) -> Vec<(i64, Firing)> {
    let mut told = vec![];
    for (number, value) in days.iter().enumerate() {
        for interval in day(number as i64, *value) {
            // Written down and read again each time, as on a device that is switched off each time.
            let bytes = postcard::to_stdvec(monitor).unwrap();
            *monitor = postcard::from_bytes(&bytes).unwrap();
            let firings = monitor.take(&interval, rules, profile);
            told.extend(firings.into_iter().map(|firing| (number as i64, firing)));
        }
    }
    told
}

fn brief(told: &[(i64, Firing)]) -> Vec<(i64, bool)> {
    told.iter().map(|(day, firing)| (*day, firing.fired)).collect()
}

#[test]
fn a_profile_brings_rules_about_its_outputs_alone() {
    let rules = rules_of(&days(), None);
    assert!(rules_of(&days(), Some(&["power".to_owned()])).is_empty());
    assert_eq!(rules, rules_of(&days(), Some(&["score".to_owned()])));
    assert_eq!(rules.keys().collect::<Vec<_>>(), ["profile.score"]);
    assert_eq!(rules["profile.score"].check(), Ok(()));
}

#[test]
fn medians_of_days_outside_of_what_was_learnt_fire_after_two_in_a_row() {
    let profile = days();
    let rules = rules_of(&profile, None);
    let medians = [3.0, 9.0, 3.0, 9.0, 9.0, 9.0, 3.0, 3.0, 3.0];
    let told = story(&mut Monitor::of_device(), &rules, Some(&profile), &medians);
    // A day ends when the next begins.
    assert_eq!(brief(&told), [(5, true), (8, false)]);
    let fired = &told[0].1;
    assert_eq!((fired.start_unix_ms, fired.end_unix_ms), (72 * HOUR_MS, 113 * HOUR_MS));
    assert_eq!((&*fired.signal, fired.low, fired.high), ("median of score", 2.0, 4.0));
    assert!(fired.values.iter().all(|value| (value - 9.0).abs() < 0.2), "{fired:?}");
    assert_eq!((fired.values.len(), &*fired.explained[0].0), (2, "wind"));
    assert_eq!(fired.evidence.as_ref().unwrap().readings, 60);
    let alert = fired.alert("line", vec![], 7);
    assert_eq!((&*alert.rule, alert.fired, &alert.values), ("profile.score", true, &fired.values));
}

#[test]
fn noughts_are_within_limits_that_noughts_have_taught() {
    let nought = f64::MIN_POSITIVE / 2.0;
    let within = Band { low: nought, high: nought };
    let estimate = |value| Estimate { value, low: value, high: value };
    assert!(!within.excludes(estimate(0.0)) && !within.excludes(estimate(-0.0)));
    assert!(within.excludes(estimate(1e-300)) && within.excludes(estimate(f64::NAN)));
}

#[test]
fn what_was_learnt_from_rows_is_held_against_as_many() {
    let profile = profile(Chunk::Rows(60));
    let rules = rules_of(&profile, None);
    let told = story(&mut Monitor::of_device(), &rules, Some(&profile), &[3.0, 9.0, 9.0]);
    assert_eq!(brief(&told), [(2, true)]);
}

/// A rule as a site signs it.
fn rule(text: &str) -> Rules {
    let json = format!(r#"{{"slots": {{"*": {{"rules": {{"it": {{{text}}}}}}}}}}}"#);
    let policy: SitePolicy = serde_json::from_str(&json).unwrap();
    assert_eq!(policy.check(), Ok(()), "{text}");
    policy.rules("line")
}

#[test]
fn every_signal_is_measured() {
    let profile = days();
    for (signal, value) in [
        (r#""signal": "median", "output": "score""#, 9.0),
        (r#""signal": "mean", "input": "wind""#, 9.0),
        (r#""signal": "missing_share", "input": "wind""#, 0.0),
        (r#""signal": "out_of_range_share", "input": "wind""#, 0.05),
        (r#""signal": "drift", "input": "wind""#, 0.8325),
        (r#""signal": "error_share""#, 0.2),
        (r#""signal": "dropped_share""#, 0.5),
        (r#""signal": "alarm_share""#, 0.25),
        (r#""signal": "latency_p95_ms""#, 2.0),
    ] {
        let rules =
            rule(&format!(r#"{signal}, "within": [100, 101], "intervals": 1, "values_min": 1"#));
        let mut hour = interval(1, &[9.0; 20]);
        if signal.contains("drift") {
            hour = interval(1, &[9.0; 40]);
        }
        let told = Monitor::of_device().take(&hour, &rules, Some(&profile));
        let [Firing { values, .. }] = told.as_slice() else { panic!("{signal}: {told:?}") };
        assert!((values[0] - value).abs() < 0.15, "{signal}: {values:?}");
    }
}

#[test]
fn drift_of_yes_and_no_is_a_signal_too() {
    let marks = Marks::Categories(Categories::new(vec!["0".into(), "1".into()]).unwrap());
    let mut reference = marks.empty();
    (0..100).for_each(|_| reference.add_text(&marks, "0").unwrap());
    let alarm = ColumnProfile {
        name: "alarm".into(),
        role: Role::Output,
        reference,
        marks,
        method: SketchMethod::PROFILE,
        threshold: 0.1,
        learnt: None,
    };
    let profile = Profile::new(None, 30, vec![alarm]).unwrap();
    let mut texts = TextColumn::default();
    (0..40).for_each(|_| texts.add("true"));
    let mut hour = interval(1, &[1.0; 40]);
    hour.outputs =
        vec![Summary { name: "alarm".into(), column: Column::Texts(texts), out_of_range: 0 }];
    let rules = rule(r#""signal": "drift", "output": "alarm", "within": [0, 0.1], "intervals": 1"#);
    let told = Monitor::of_device().take(&hour, &rules, Some(&profile));
    assert!(told[0].fired && told[0].values[0] > 0.8, "{told:?}");
}

#[test]
fn another_release_and_another_rule_begin_anew_and_what_fired_is_over() {
    let mut monitor = Monitor::of_device();
    let high = rule(r#""signal": "median", "output": "score", "within": [0, 5], "intervals": 1"#);
    let values = [9.0; 40];
    assert!(monitor.take(&interval(1, &values), &high, None)[0].fired);
    assert_eq!(monitor.firing().collect::<Vec<_>>(), ["it"]);
    let mut second = interval(2, &values);
    second.release.version = "2".into();
    let told = monitor.take(&second, &high, None);
    let brief: Vec<_> = told.iter().map(|it| (&*it.release.version, it.fired)).collect();
    assert_eq!(brief, [("1", false), ("2", true)]);
    second.start_unix_ms += HOUR_MS;
    let higher = rule(r#""signal": "median", "output": "score", "within": [0, 7], "intervals": 1"#);
    let told = monitor.take(&second, &higher, None);
    assert_eq!(told.iter().map(|it| it.fired).collect::<Vec<_>>(), [false, true]);
    second.start_unix_ms += HOUR_MS;
    let told = monitor.take(&second, &Rules::new(), None);
    assert_eq!(told.iter().map(|it| it.fired).collect::<Vec<_>>(), [false]);
    assert_eq!(monitor.firing().count() + monitor.end().len(), 0);
}

#[test]
fn a_rule_about_what_was_not_learnt_or_is_not_there_says_nothing() {
    let learnt = rule(r#""signal": "median", "output": "score", "learnt": true, "intervals": 1"#);
    let other = rule(r#""signal": "median", "output": "level", "within": [0, 1], "intervals": 1"#);
    for rules in [learnt, other] {
        let told = Monitor::of_device().take(&interval(1, &[9.0; 40]), &rules, None);
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn of_many_devices_the_day_is_judged_as_one() {
    let rules = rule(
        r#""signal": "median", "output": "score", "within": [0, 5], "hours": 24, "scope": "site", "intervals": 1"#,
    );
    let mut monitor = Monitor::of_many();
    let mut told = vec![];
    for day_number in 0..4 {
        // Two devices of three are well.
        for value in [3.0, 9.0, 3.0] {
            for interval in day(day_number, value) {
                told.extend(monitor.take(&interval, &rules, None));
            }
        }
    }
    assert!(told.is_empty(), "{told:?}");
    for value in [9.0, 9.0, 9.0, 9.0] {
        for interval in day(4, value).into_iter().chain(day(6, value)) {
            told.extend(monitor.take(&interval, &rules, None));
        }
    }
    assert!(told.is_empty(), "{told:?}");
    day(7, 9.0).iter().for_each(|interval| told.extend(monitor.take(interval, &rules, None)));
    assert!(told[0].fired && told[0].evidence.as_ref().unwrap().readings == 240, "{told:?}");
}

#[test]
fn the_rules_of_a_site_are_checked_with_their_place() {
    let policy = |text: &str| -> SitePolicy { serde_json::from_str(text).unwrap() };
    let rules =
        |text: &str| policy(&format!(r#"{{"slots": {{"line": {{"rules": {{{text}}}}}}}}}"#));
    for (wrong, field) in [
        (r#""a": {"signal": "median", "within": [0, 1]}"#.to_owned(), "slots.line.rules.a.signal"),
        (
            r#""a b": {"signal": "alarm_share", "within": [0, 1]}"#.to_owned(),
            "slots.line.rules.a b",
        ),
        (
            (1..8)
                .map(|n| {
                    format!(
                        r#""r{n}": {{"signal": "alarm_share", "within": [0, 1], "hours": {n}}}"#
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
            "slots.line.rules",
        ),
    ] {
        assert_eq!(rules(&wrong).check().unwrap_err().0, field);
    }
    let both = policy(
        r#"{"slots": {
            "*": {"rules": {"a": {"signal": "alarm_share", "within": [0, 1]}, "b": {"signal": "error_share", "within": [0, 1]}}},
            "line": {"rules": {"a": {"signal": "alarm_share", "within": [0, 0.5]}}}
        }}"#,
    );
    assert_eq!(both.rules("line")["a"].within.unwrap().high, 0.5);
    assert_eq!((both.rules("line").len(), both.rules("other")["a"].within.unwrap().high), (2, 1.0));
}
