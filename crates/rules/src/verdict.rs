//! The verdict on what a release did, by its limits.

use crate::limits::{Range, TrialLimits};
use std::collections::BTreeMap;
use std::fmt;

/// What was seen of a release since it took the route. Merely counted, in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Frames accounted for, with or without an answer.
    pub frames: u64,
    /// Frames that ended in an error.
    pub errors: u64,
    /// Frames with at least one alarm.
    pub alarms: u64,
    /// 95th percentile of the frames' latency in milliseconds; absent before the first frame.
    pub latency_ms_p95: Option<f64>,
    /// Smallest and largest value of each output. NaN in either is outside of every range.
    pub outputs: BTreeMap<String, (f64, f64)>,
    /// Deaths of the release's worker.
    pub crashes: u32,
}

/// What the limits say of an observation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// No breach, but not enough frames yet.
    Undecided,
    /// No breach over the whole trial.
    Passed,
    /// A limit was broken.
    Failed(Breach),
}

/// The limit that was broken, with the numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Breach {
    /// The worker died too often.
    Crashes {
        /// Deaths seen.
        seen: u32,
        /// Deaths allowed.
        max: u32,
    },
    /// Too many frames ended in an error.
    Errors {
        /// Share of frames, 0 to 1.
        share: f64,
        /// Largest share allowed.
        max: f64,
        /// Frames that the share is of.
        frames: u64,
    },
    /// Too slow.
    Latency {
        /// 95th percentile in milliseconds.
        p95_ms: f64,
        /// Largest allowed.
        max_ms: f64,
        /// Frames that the percentile is of.
        frames: u64,
    },
    /// Too many or too few alarms.
    Alarms {
        /// Share of answered frames, 0 to 1.
        share: f64,
        /// Range allowed.
        range: Range,
        /// Frames that the share is of.
        frames: u64,
    },
    /// An output left its range.
    Output {
        /// The output's name.
        name: String,
        /// The value outside.
        value: f64,
        /// Range allowed.
        range: Range,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Crashes { seen, max } => {
                write!(f, "the worker died {seen} times, {max} allowed")
            }
            Breach::Errors { share, max, frames } => {
                write!(f, "share of errors {share:.3} is above {max:.3} over {frames} frames")
            }
            Breach::Latency { p95_ms, max_ms, frames } => {
                write!(
                    f,
                    "95th percentile of latency {p95_ms:.1} ms is above {max_ms:.1} ms over {frames} frames"
                )
            }
            Breach::Alarms { share, range, frames } => {
                let (side, limit) =
                    if *share > range.high { ("above", range.high) } else { ("below", range.low) };
                write!(f, "share of alarms {share:.2} is {side} {limit:.2} over {frames} frames")
            }
            Breach::Output { name, value, range } => {
                write!(f, "output {name} was {value}, outside of {} to {}", range.low, range.high)
            }
        }
    }
}

/// Judges `seen` by `limits`.
///
/// Crashes and outputs out of range count at once; shares and quantiles from
/// [`TrialLimits::judge_after`] frames on.
pub fn judge(limits: &TrialLimits, seen: &Observation) -> Verdict {
    match breach(limits, seen) {
        Some(breach) => Verdict::Failed(breach),
        None if seen.frames >= limits.frames() => Verdict::Passed,
        None => Verdict::Undecided,
    }
}

fn breach(limits: &TrialLimits, seen: &Observation) -> Option<Breach> {
    if seen.crashes > limits.crashes_max() {
        return Some(Breach::Crashes { seen: seen.crashes, max: limits.crashes_max() });
    }
    for (name, range) in &limits.outputs {
        if let Some(&(low, high)) = seen.outputs.get(name)
            && let Some(value) = [low, high].into_iter().find(|value| !range.contains(*value))
        {
            return Some(Breach::Output { name: name.clone(), value, range: *range });
        }
    }
    if seen.frames < limits.judge_after() {
        return None;
    }
    let frames = seen.frames;
    if let Some(max) = limits.error_share_max {
        let share = seen.errors as f64 / frames as f64;
        if share > max {
            return Some(Breach::Errors { share, max, frames });
        }
    }
    if let (Some(max_ms), Some(p95_ms)) = (limits.latency_p95_ms_max, seen.latency_ms_p95)
        && p95_ms > max_ms
    {
        return Some(Breach::Latency { p95_ms, max_ms, frames });
    }
    let answered = frames.saturating_sub(seen.errors);
    if let Some(range) = limits.alarm_share
        && answered > 0
    {
        let share = seen.alarms as f64 / answered as f64;
        if !range.contains(share) {
            return Some(Breach::Alarms { share, range, frames: answered });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> TrialLimits {
        TrialLimits {
            frames: Some(120),
            judge_after: Some(40),
            hours_max: None,
            error_share_max: Some(0.01),
            latency_p95_ms_max: Some(50.0),
            alarm_share: Some(Range { low: 0.0, high: 0.3 }),
            outputs: BTreeMap::from([("score".into(), Range { low: 0.0, high: 1e5 })]),
            crashes_max: None,
        }
    }

    fn said(seen: Observation) -> String {
        match judge(&limits(), &seen) {
            Verdict::Failed(breach) => breach.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_verdict_names_the_limit_and_the_numbers() {
        let fine = Observation {
            frames: 60,
            alarms: 6,
            latency_ms_p95: Some(1.0),
            ..Observation::default()
        };
        assert_eq!(said(fine.clone()), "Undecided");
        assert_eq!(said(Observation { frames: 120, ..fine.clone() }), "Passed");
        assert_eq!(
            said(Observation { alarms: 45, ..fine.clone() }),
            "share of alarms 0.75 is above 0.30 over 60 frames"
        );
        assert_eq!(
            said(Observation { errors: 6, ..fine.clone() }),
            "share of errors 0.100 is above 0.010 over 60 frames"
        );
        assert_eq!(
            said(Observation { latency_ms_p95: Some(80.0), ..fine.clone() }),
            "95th percentile of latency 80.0 ms is above 50.0 ms over 60 frames"
        );
        assert_eq!(said(Observation { crashes: 3, ..fine }), "the worker died 3 times, 2 allowed");
    }

    #[test]
    fn a_share_is_not_judged_over_a_handful_of_frames() {
        assert_eq!(
            said(Observation { frames: 39, alarms: 39, errors: 0, ..Observation::default() }),
            "Undecided"
        );
    }

    #[test]
    fn one_output_out_of_range_or_not_a_number_fails_at_once() {
        for (low, high) in [(-1.0, 5.0), (1.0, 2e5), (f64::NAN, 5.0), (1.0, f64::INFINITY)] {
            let seen = Observation {
                frames: 1,
                outputs: BTreeMap::from([("score".into(), (low, high))]),
                ..Observation::default()
            };
            assert!(said(seen).starts_with("output score was"), "{low} {high}");
        }
    }

    #[test]
    fn a_release_that_only_errs_is_not_cleared_by_its_lack_of_alarms() {
        let seen = Observation { frames: 120, errors: 120, ..Observation::default() };
        assert!(matches!(judge(&limits(), &seen), Verdict::Failed(Breach::Errors { .. })));
    }
}
