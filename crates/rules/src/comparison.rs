//! What a candidate has shown beside the active release, and the verdict on it.

use crate::distribution::Values;
use crate::shadow::ShadowLimits;
use crate::verdict::{Against, Breach, Verdict, holds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Values of an output that the active release has to have given before their distribution says anything.
const VALUES_MIN: u64 = 30;

/// What was seen of a candidate that answers beside the active release. Merely counted.
///
/// Readings that gave way are no breach here: a shadow has the lower priority, and what it has not
/// answered is not compared. Whether it keeps up is judged on trial.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowObservation {
    /// Frames that the active release has answered and the candidate has answered too or failed on.
    pub frames: u64,
    /// Of these, those in which every output is within its tolerance.
    pub agreed: u64,
    /// What was compared of each output.
    pub outputs: BTreeMap<String, Agreement>,
    /// What the candidate has answered in them.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub values: Values,
    /// What the active release has answered in them.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub active_values: Values,
    /// Of the frames, those on which the candidate failed.
    pub errors: u64,
    /// Frames with at least one alarm of the candidate.
    pub alarms: u64,
    /// Frames with at least one alarm of the active release.
    pub active_alarms: u64,
    /// Frames, counted nowhere else, that the candidate did not get round to.
    pub gaps: u64,
    /// Deaths of the candidate's worker.
    pub crashes: u32,
    /// 95th percentile of the candidate's latency in milliseconds.
    pub latency_ms_p95: Option<f64>,
    /// The same of the active release, over the same time.
    pub active_latency_ms_p95: Option<f64>,
    /// How long the candidate has been beside the route while readings came.
    pub ran: Duration,
}

/// How one output of two releases compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// Frames in which both have it.
    pub compared: u64,
    /// Of these, those within the tolerance.
    pub agreed: u64,
    /// Largest difference; [`f64::MAX`] where one of the two was no number.
    pub difference_max: f64,
}

impl Agreement {
    /// Counts one more frame.
    pub fn count(&mut self, agrees: bool, difference: f64) {
        self.compared = self.compared.saturating_add(1);
        self.agreed = self.agreed.saturating_add(u64::from(agrees));
        self.difference_max = self.difference_max.max(finite(difference));
    }

    fn and(self, later: Agreement) -> Agreement {
        Agreement {
            compared: self.compared.saturating_add(later.compared),
            agreed: self.agreed.saturating_add(later.agreed),
            difference_max: finite(self.difference_max).max(finite(later.difference_max)),
        }
    }

    fn share(&self) -> f64 {
        self.agreed as f64 / self.compared as f64
    }
}

/// JSON, as a journal has it, has no NaN and no infinity.
fn finite(difference: f64) -> f64 {
    if difference.is_nan() { f64::MAX } else { difference.clamp(0.0, f64::MAX) }
}

impl ShadowObservation {
    /// What was seen before a boot together with what was seen `later`, in numbers that a journal
    /// can keep. The percentiles of the part with more frames stand for both.
    pub fn and(&self, later: &ShadowObservation) -> ShadowObservation {
        let mut outputs = self.outputs.clone();
        for (name, agreement) in &later.outputs {
            let before = outputs.get(name).copied().unwrap_or_default();
            outputs.insert(name.clone(), before.and(*agreement));
        }
        let together = |of: fn(&ShadowObservation) -> &Values| {
            let mut values = of(self).clone();
            values.merge(of(later));
            values
        };
        let (longer, shorter) =
            if later.frames >= self.frames { (later, self) } else { (self, later) };
        let p95 = |of: fn(&ShadowObservation) -> Option<f64>| {
            of(longer).or(of(shorter)).filter(|p95| p95.is_finite())
        };
        ShadowObservation {
            frames: self.frames.saturating_add(later.frames),
            agreed: self.agreed.saturating_add(later.agreed),
            outputs,
            values: together(|seen| &seen.values),
            active_values: together(|seen| &seen.active_values),
            errors: self.errors.saturating_add(later.errors),
            alarms: self.alarms.saturating_add(later.alarms),
            active_alarms: self.active_alarms.saturating_add(later.active_alarms),
            gaps: self.gaps.saturating_add(later.gaps),
            crashes: self.crashes.saturating_add(later.crashes),
            latency_ms_p95: p95(|seen| seen.latency_ms_p95),
            active_latency_ms_p95: p95(|seen| seen.active_latency_ms_p95),
            ran: self.ran.saturating_add(later.ran),
        }
    }

    /// The output that agreed in the smallest share of its frames.
    fn worst(&self) -> Option<(String, Agreement)> {
        let compared = self.outputs.iter().filter(|(_, agreement)| agreement.compared > 0);
        compared
            .min_by(|(_, one), (_, other)| one.share().total_cmp(&other.share()))
            .map(|(name, agreement)| (name.clone(), *agreement))
    }
}

/// Judges what a shadow has shown by `limits`.
///
/// Crashes count at once. Errors and disagreements count as soon as the frames that are left could
/// not make up for them; latency, alarms and distributions when all frames have been compared. A
/// latency that is limited and was not measured is a breach. An output is judged by its distribution
/// where the active release has given at least 30 values of it, or one a frame where fewer frames are
/// asked for. A shadow that nobody asks for is passed.
pub fn judge_shadow(limits: &ShadowLimits, seen: &ShadowObservation) -> Verdict {
    if !limits.is_wanted() {
        return Verdict::Passed;
    }
    let (frames, needed, time) = (seen.frames, limits.frames(), limits.time_max());
    match breach(limits, seen) {
        Some(breach) => Verdict::Failed(breach),
        None if frames >= needed => Verdict::Passed,
        None if seen.ran >= time => Verdict::Failed(Breach::Time { frames, needed, time }),
        None => Verdict::Undecided,
    }
}

fn breach(limits: &ShadowLimits, seen: &ShadowObservation) -> Option<Breach> {
    if seen.crashes > limits.crashes_max() {
        return Some(Breach::Crashes { seen: seen.crashes, max: limits.crashes_max() });
    }
    let frames = seen.frames;
    let whole = frames.max(limits.frames());
    let max = limits.error_share_max();
    if !holds(seen.errors as f64 / whole as f64, max) {
        return Some(Breach::Errors { share: seen.errors as f64 / frames as f64, max, frames });
    }
    if let Some(min) = limits.agreement_min {
        let best = seen.agreed.saturating_add(whole - frames);
        if !holds(min, best as f64 / whole as f64) {
            let (agreed, worst) = (seen.agreed, seen.worst());
            return Some(Breach::Disagreement { agreed, frames, min, worst });
        }
    }
    if frames < limits.frames() {
        return None;
    }
    let against = Against::Active;
    if let Some(ratio_max) = limits.latency_ratio_max {
        let p95_ms = seen.latency_ms_p95.unwrap_or(f64::NAN);
        let other_ms = seen.active_latency_ms_p95.unwrap_or(f64::NAN);
        if !holds(p95_ms, ratio_max * other_ms) {
            return Some(Breach::Slower { p95_ms, other_ms, ratio_max, frames, against });
        }
    }
    // What the candidate failed on is no answer without an alarm.
    let answered = frames.saturating_sub(seen.errors);
    if let Some(max) = limits.alarm_difference_max
        && answered > 0
    {
        let (share, other) = (seen.alarms, seen.active_alarms);
        let [share, other] = [share, other].map(|alarms| alarms as f64 / answered as f64);
        if !holds((share - other).abs(), max) {
            return Some(Breach::AlarmDifference { share, other, max, frames: answered, against });
        }
    }
    let needed = VALUES_MIN.min(limits.frames());
    limits.distribution_max.breach((&seen.values, answered), &seen.active_values, needed, against)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::DistanceLimits;

    fn limits() -> ShadowLimits {
        ShadowLimits {
            frames: Some(100),
            agreement_min: Some(0.95),
            latency_ratio_max: Some(2.0),
            error_share_max: Some(0.02),
            crashes_max: Some(1),
            hours_max: Some(5),
            ..ShadowLimits::default()
        }
    }

    fn fine() -> ShadowObservation {
        ShadowObservation {
            frames: 100,
            agreed: 100,
            latency_ms_p95: Some(5.0),
            active_latency_ms_p95: Some(3.0),
            ..ShadowObservation::default()
        }
    }

    fn told(limits: &ShadowLimits, seen: &ShadowObservation) -> String {
        match judge_shadow(limits, seen) {
            Verdict::Failed(breach) => breach.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn said(seen: ShadowObservation) -> String {
        told(&limits(), &seen)
    }

    #[test]
    fn each_limit_is_kept_just_at_it_and_broken_just_beyond() {
        assert_eq!(said(fine()), "Passed");
        assert_eq!(said(ShadowObservation { frames: 99, agreed: 99, ..fine() }), "Undecided");
        assert_eq!(said(ShadowObservation { agreed: 95, ..fine() }), "Passed");
        assert_eq!(
            said(ShadowObservation { agreed: 94, ..fine() }),
            "it agreed with the active release in 94 of 100 frames, a share of 0.950 is wanted"
        );
        assert_eq!(said(ShadowObservation { errors: 2, ..fine() }), "Passed");
        assert_eq!(
            said(ShadowObservation { errors: 3, ..fine() }),
            "share of errors 0.030 is above 0.020 over 100 frames"
        );
        assert_eq!(said(ShadowObservation { latency_ms_p95: Some(6.0), ..fine() }), "Passed");
        assert_eq!(
            said(ShadowObservation { latency_ms_p95: Some(6.01), ..fine() }),
            "95th percentile of latency 6.0 ms is more than 2.0 times the active release's 3.0 ms \
             over 100 frames"
        );
        assert_eq!(said(ShadowObservation { crashes: 1, ..fine() }), "Passed");
        let crashes = "the worker died 2 times, 1 allowed";
        assert_eq!(said(ShadowObservation { crashes: 2, ..fine() }), crashes);
        let hours =
            |hours: u64, seen| ShadowObservation { ran: Duration::from_secs(hours * 3600), ..seen };
        let few = ShadowObservation { frames: 99, agreed: 99, ..fine() };
        assert_eq!(said(hours(4, few.clone())), "Undecided");
        assert_eq!(said(hours(5, few)), "only 99 of 100 frames in 5 hours of running");
        assert_eq!(said(hours(9, fine())), "Passed");
    }

    #[test]
    fn alarms_and_distributions_are_held_against_the_active_release_over_all_frames() {
        let limits = ShadowLimits {
            frames: Some(100),
            alarm_difference_max: Some(0.25),
            distribution_max: DistanceLimits(BTreeMap::from([("score".into(), 0.25)])),
            ..ShadowLimits::default()
        };
        let fine = ShadowObservation { alarms: 25, active_alarms: 50, ..fine() };
        assert_eq!(told(&limits, &fine), "Passed");
        assert_eq!(
            told(&limits, &ShadowObservation { alarms: 24, ..fine.clone() }),
            "share of alarms 0.240 differs from the active release's 0.500 by more than 0.250 over 100 frames"
        );
        let few = ShadowObservation { alarms: 0, frames: 99, ..fine.clone() };
        assert_eq!(told(&limits, &few), "Undecided");
        // What it failed on is judged as errors are, and not as answers without an alarm.
        let half = ShadowLimits { error_share_max: Some(0.5), ..limits.clone() };
        let failed =
            ShadowObservation { errors: 50, alarms: 25, active_alarms: 25, ..fine.clone() };
        assert_eq!(told(&half, &failed), "Passed");
        let all = ShadowLimits { error_share_max: Some(1.0), ..limits.clone() };
        assert_eq!(told(&all, &ShadowObservation { errors: 100, ..fine.clone() }), "Passed");

        let values = |zeros: u32, ones: u32| {
            let mut values = Values::default();
            (0..zeros).for_each(|_| values.add("score", 0.0));
            (0..ones).for_each(|_| values.add("score", 1.0));
            values
        };
        let active_values = values(40, 60);
        let seen = |values| ShadowObservation {
            values,
            active_values: active_values.clone(),
            ..fine.clone()
        };
        assert_eq!(told(&limits, &seen(values(15, 85))), "Passed");
        assert_eq!(
            told(&limits, &seen(values(14, 86))),
            "output score lies 0.260 from the active release's distribution, 0.250 allowed, over 100 frames"
        );
        assert!(told(&limits, &seen(Values::default())).starts_with("output score lies 1.000"));
        let rare =
            |count| ShadowObservation { active_values: values(count, 0), ..seen(values(0, 9)) };
        assert_eq!(told(&limits, &rare(29)), "Passed");
        assert_ne!(told(&limits, &rare(30)), "Passed");
        let short = ShadowLimits { frames: Some(10), ..limits };
        assert_eq!(told(&short, &rare(9)), "Passed");
        assert_ne!(told(&short, &rare(10)), "Passed");
    }

    #[test]
    fn what_cannot_be_made_up_for_any_more_is_a_breach_before_the_last_frame() {
        let seen = |frames, agreed, errors| {
            said(ShadowObservation { frames, agreed, errors, ..ShadowObservation::default() })
        };
        assert_eq!(seen(6, 1, 0), "Undecided");
        assert!(seen(6, 0, 0).starts_with("it agreed with the active release in 0 of 6 frames"));
        assert_eq!(seen(3, 1, 2), "Undecided");
        assert!(seen(3, 0, 3).starts_with("share of errors 1.000 is above 0.020 over 3 frames"));
        let died = ShadowObservation { crashes: 2, ..ShadowObservation::default() };
        assert_eq!(said(died), "the worker died 2 times, 1 allowed");
    }

    #[test]
    fn what_is_no_number_or_was_not_measured_never_passes() {
        for wrong in [None, Some(f64::NAN)] {
            let candidate = ShadowObservation { latency_ms_p95: wrong, ..fine() };
            let active = ShadowObservation { active_latency_ms_p95: wrong, ..fine() };
            for seen in [candidate, active] {
                assert!(said(seen.clone()).contains("latency"), "{seen:?}");
            }
        }
        let nan = Some(f64::NAN);
        for limits in [
            ShadowLimits { agreement_min: nan, ..limits() },
            ShadowLimits { latency_ratio_max: nan, ..limits() },
            ShadowLimits { error_share_max: nan, ..limits() },
        ] {
            assert!(matches!(judge_shadow(&limits, &fine()), Verdict::Failed(_)), "{limits:?}");
        }
    }

    #[test]
    fn a_disagreement_names_the_output_that_differs_most_often() {
        let mut seen = ShadowObservation { frames: 100, agreed: 50, ..fine() };
        // Most often of those in which it was compared: one may be in few of them.
        for (name, agreed, compared, difference) in
            [("level", 9, 10, 0.5), ("score", 50, 100, 3.25)]
        {
            let mut agreement = Agreement::default();
            (0..compared).for_each(|frame| agreement.count(frame < agreed, difference));
            seen.outputs.insert(name.into(), agreement);
        }
        seen.outputs.insert("never".into(), Agreement::default());
        assert_eq!(
            said(seen),
            "it agreed with the active release in 50 of 100 frames, a share of 0.950 is wanted; \
             output score in 50 of 100, by up to 3.25"
        );
    }

    #[test]
    fn a_shadow_that_nobody_asks_for_is_passed() {
        let silent = ShadowLimits { frames: None, ..limits() };
        assert_eq!(told(&silent, &ShadowObservation::default()), "Passed");
        let asked = ShadowLimits { frames: Some(1), ..ShadowLimits::default() };
        assert_eq!(told(&asked, &ShadowObservation::default()), "Undecided");
        let one = ShadowObservation { frames: 1, ..ShadowObservation::default() };
        assert_eq!(told(&asked, &one), "Passed", "nobody asks for agreement");
    }

    #[test]
    fn two_parts_add_up_and_hold_no_number_that_a_journal_cannot_keep() {
        let of = |all: &[f64]| {
            let mut values = Values::default();
            all.iter().for_each(|value| values.add("score", *value));
            values
        };
        let mut wild = Agreement::default();
        wild.count(false, f64::NAN);
        wild.count(true, 0.5);
        let before = ShadowObservation {
            outputs: BTreeMap::from([("score".into(), wild)]),
            ran: Duration::from_secs(7),
            crashes: 1,
            gaps: 3,
            values: of(&[1.0]),
            active_values: of(&[2.0]),
            ..fine()
        };
        let later = ShadowObservation {
            values: of(&[3.0]),
            active_values: of(&[4.0, 4.0]),
            frames: 10,
            agreed: 9,
            latency_ms_p95: Some(9.0),
            active_latency_ms_p95: Some(f64::NAN),
            outputs: BTreeMap::from([(
                "score".into(),
                Agreement { compared: 10, agreed: 9, difference_max: f64::INFINITY },
            )]),
            ..ShadowObservation::default()
        };
        let both = before.and(&later);
        assert_eq!((both.frames, both.agreed, both.crashes, both.gaps), (110, 109, 1, 3));
        assert_eq!((both.latency_ms_p95, both.active_latency_ms_p95), (Some(5.0), Some(3.0)));
        assert_eq!(both.ran, Duration::from_secs(7));
        assert_eq!((&both.values, &both.active_values), (&of(&[1.0, 3.0]), &of(&[2.0, 4.0, 4.0])));
        let score = both.outputs["score"];
        assert_eq!((score.compared, score.agreed, score.difference_max), (12, 10, f64::MAX));
        let alone = ShadowObservation::default().and(&later);
        assert_eq!(alone.latency_ms_p95, Some(9.0));
        assert_eq!(alone.active_latency_ms_p95, None);
    }
}
