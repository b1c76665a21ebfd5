//! The verdict on what a release did, by its limits.

use crate::comparison::Agreement;
use crate::limits::{Range, TrialLimits};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Share of frames that a release may leave without their readings because it is too slow for them:
/// beyond it the plant gets no answers.
const GAP_SHARE_MAX: f64 = 0.5;

/// What was seen of a release since it took the route. Merely counted, in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Frames accounted for, with or without an answer.
    pub frames: u64,
    /// Frames that ended in an error.
    pub errors: u64,
    /// Frames with at least one alarm.
    pub alarms: u64,
    /// Frames, counted nowhere else, whose readings gave way while the release was answering others:
    /// it did not keep up.
    pub gaps: u64,
    /// How long the device has been running with the release on trial.
    pub ran: Duration,
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
    /// While its checks were replayed: a frame takes longer than it ever may.
    Replay {
        /// What a frame takes, in milliseconds.
        ms: f64,
        /// The limit.
        limit: &'static str,
        /// What it allows.
        max_ms: f64,
        /// Frames that were measured.
        frames: u64,
    },
    /// While its checks were replayed: the worker had more memory than it may have.
    Memory {
        /// Most that it had, in MiB.
        mib: f64,
        /// What is allowed.
        max_mib: f64,
    },
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
    /// Limits on answers, and no answer at all.
    Unanswered {
        /// Frames without one.
        frames: u64,
    },
    /// Too slow for what the source brings.
    Behind {
        /// Frames whose readings gave way.
        gaps: u64,
        /// Frames that should have been answered.
        frames: u64,
    },
    /// Not decided in the time that a trial may take.
    Time {
        /// Frames accounted for.
        frames: u64,
        /// Frames that the trial lasts.
        needed: u64,
        /// The time that it had.
        time: Duration,
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
    /// Beside the active release: too few frames in which both agree.
    Disagreement {
        /// Frames in which they agree.
        agreed: u64,
        /// Frames that were compared.
        frames: u64,
        /// Smallest share wanted, 0 to 1.
        min: f64,
        /// The output that agrees least often.
        worst: Option<(String, Agreement)>,
    },
    /// Beside the active release: too slow against it.
    Slower {
        /// 95th percentile in milliseconds; NaN where it was not measured.
        p95_ms: f64,
        /// The active release's.
        active_ms: f64,
        /// Largest multiple allowed.
        ratio_max: f64,
        /// Frames that the percentile is of.
        frames: u64,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Replay { ms, limit, max_ms, frames } => {
                write!(
                    f,
                    "a frame of its checks takes {ms:.1} ms, {limit} allows {max_ms:.1} ms (over {frames} frames)"
                )
            }
            Breach::Memory { mib, max_mib } => {
                write!(f, "its checks took {mib:.1} MiB of memory, memory_mib allows {max_mib} MiB")
            }
            Breach::Crashes { seen, max } => {
                write!(f, "the worker died {seen} times, {max} allowed")
            }
            Breach::Errors { share, max, frames } => {
                write!(f, "share of errors {share:.3} is above {max:.3} over {frames} frames")
            }
            Breach::Unanswered { frames } => {
                write!(f, "none of {frames} frames was answered")
            }
            Breach::Behind { gaps, frames } => {
                write!(f, "it does not keep up: readings of {gaps} in {frames} frames gave way")
            }
            Breach::Time { frames, needed, time } => {
                let hours = time.as_secs() / 3600;
                write!(f, "only {frames} of {needed} frames in {hours} hours of running")
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
            Breach::Disagreement { agreed, frames, min, worst } => {
                write!(
                    f,
                    "it agreed with the active release in {agreed} of {frames} frames, a share of {min:.3} is wanted"
                )?;
                match worst {
                    Some((name, Agreement { compared, agreed, difference_max })) => write!(
                        f,
                        "; output {name} in {agreed} of {compared}, by up to {difference_max}"
                    ),
                    None => Ok(()),
                }
            }
            Breach::Slower { p95_ms, active_ms, ratio_max, frames } => {
                write!(
                    f,
                    "95th percentile of latency {p95_ms:.1} ms is more than {ratio_max:.1} times the active release's {active_ms:.1} ms over {frames} frames"
                )
            }
        }
    }
}

/// Judges `seen` by `limits`.
///
/// Crashes and outputs out of range count at once; shares and quantiles from
/// [`TrialLimits::judge_after`] frames on. A trial comes to an end whatever is seen of it: after
/// [`TrialLimits::time_max`] of running it has failed.
pub fn judge(limits: &TrialLimits, seen: &Observation) -> Verdict {
    let (frames, needed, time) = (seen.frames, limits.frames(), limits.time_max());
    match breach(limits, seen) {
        Some(breach) => Verdict::Failed(breach),
        None if frames >= needed => Verdict::Passed,
        None if seen.ran >= time => Verdict::Failed(Breach::Time { frames, needed, time }),
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
    let due = seen.frames.saturating_add(seen.gaps);
    if due >= limits.judge_after() && seen.gaps as f64 > GAP_SHARE_MAX * due as f64 {
        return Some(Breach::Behind { gaps: seen.gaps, frames: due });
    }
    if seen.frames < limits.judge_after() {
        return None;
    }
    let frames = seen.frames;
    let (share, max) = (seen.errors as f64 / frames as f64, limits.error_share_max());
    if share > max {
        return Some(Breach::Errors { share, max, frames });
    }
    if let (Some(max_ms), Some(p95_ms)) = (limits.latency_p95_ms_max, seen.latency_ms_p95)
        && p95_ms > max_ms
    {
        return Some(Breach::Latency { p95_ms, max_ms, frames });
    }
    let answered = frames.saturating_sub(seen.errors);
    let limits_answers = limits.alarm_share.is_some() || !limits.outputs.is_empty();
    if answered == 0 && limits_answers {
        return Some(Breach::Unanswered { frames });
    }
    if let Some(range) = limits.alarm_share {
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
        let told = |limits: &TrialLimits| match judge(limits, &seen) {
            Verdict::Failed(breach) => breach.to_string(),
            other => format!("{other:?}"),
        };
        let errors = "share of errors 1.000 is above 0.010 over 120 frames";
        assert_eq!(told(&limits()), errors);
        // Nobody has limited errors.
        let silent = "share of errors 1.000 is above 0.050 over 120 frames";
        assert_eq!(told(&TrialLimits::default()), silent);
        let unlimited = TrialLimits { error_share_max: None, ..limits() };
        assert_eq!(told(&unlimited), silent);
        // Somebody has allowed every frame to fail, and asks for something of the answers.
        let all = TrialLimits { error_share_max: Some(1.0), ..TrialLimits::default() };
        let alarms = TrialLimits { alarm_share: limits().alarm_share, ..all.clone() };
        let outputs = TrialLimits { outputs: limits().outputs, ..all.clone() };
        assert_eq!(told(&alarms), "none of 120 frames was answered");
        assert_eq!(told(&outputs), "none of 120 frames was answered");
        assert_eq!(told(&all), "Passed");
    }

    #[test]
    fn a_trial_ends_after_its_time_whatever_was_seen() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let seen = Observation { frames: 5, ran: hours(23), ..Observation::default() };
        assert_eq!(said(seen.clone()), "Undecided");
        let late = Observation { ran: hours(24), ..seen };
        assert_eq!(said(late.clone()), "only 5 of 120 frames in 24 hours of running");
        assert_eq!(said(Observation { frames: 120, alarms: 9, ..late.clone() }), "Passed");
        let slow = TrialLimits { hours_max: Some(72), ..limits() };
        assert_eq!(judge(&slow, &late), Verdict::Undecided);
        let silent = Observation { frames: 0, ran: hours(30), ..Observation::default() };
        assert_eq!(said(silent), "only 0 of 120 frames in 24 hours of running");
    }

    #[test]
    fn a_release_that_does_not_keep_up_is_taken_back_even_though_it_answers_little() {
        let seen = |frames, gaps| said(Observation { frames, gaps, ..Observation::default() });
        assert_eq!(seen(2, 30), "Undecided");
        assert_eq!(seen(2, 38), "it does not keep up: readings of 38 in 40 frames gave way");
        assert_eq!(seen(25, 25), "Undecided");
        assert_eq!(seen(25, 26), "it does not keep up: readings of 26 in 51 frames gave way");
    }
}
