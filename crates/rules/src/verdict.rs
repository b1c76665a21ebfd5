//! The verdict on what a release did, by its limits.

use crate::comparison::Agreement;
use crate::distribution::Values;
use crate::limits::{Range, TrialLimits};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Share of frames that a release may leave without their readings because it is too slow for them:
/// beyond it the plant gets no answers.
const GAP_SHARE_MAX: f64 = 0.5;

/// Workers that somebody else may end before a trial is given up.
const KILLS_MAX: u32 = 5;

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
    /// How long the release has had the route while readings came.
    pub ran: Duration,
    /// 95th percentile of the frames' latency in milliseconds; absent before the first frame.
    pub latency_ms_p95: Option<f64>,
    /// Smallest and largest value of each output. NaN in either is outside of every range.
    pub outputs: BTreeMap<String, (f64, f64)>,
    /// Deaths of the release's worker.
    pub crashes: u32,
    /// Workers that somebody else has ended, as a system without memory does.
    pub kills: u32,
    /// Frames in which a plugin broke, and had to be started anew: a part of the errors.
    pub traps: u64,
    /// Readings that the frames account for.
    pub readings: u64,
    /// Answers in them; a frame may have none or several.
    pub answers: u64,
    /// What was answered.
    pub values: Values,
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
    /// Somebody else ends its workers over and over. That may be no fault of its own, but the plant
    /// needs answers, and the release before gives them.
    Killed {
        /// Workers that were ended.
        seen: u32,
        /// How many a trial goes on for.
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
    /// Too slow against another release.
    Slower {
        /// 95th percentile in milliseconds; NaN where it was not measured.
        p95_ms: f64,
        /// The other release's.
        other_ms: f64,
        /// Largest multiple allowed.
        ratio_max: f64,
        /// Frames that the percentile is of.
        frames: u64,
        /// Which release that is.
        against: Against,
    },
    /// Alarms more or less often than another release.
    AlarmDifference {
        /// Share of answered frames, 0 to 1.
        share: f64,
        /// The other release's.
        other: f64,
        /// Largest difference allowed.
        max: f64,
        /// Frames that the share is of.
        frames: u64,
        /// Which release that is.
        against: Against,
    },
    /// An output is distributed otherwise than another release's.
    Distribution {
        /// The output's name.
        name: String,
        /// Distance of both, 0 to 1.
        distance: f64,
        /// Largest allowed.
        max: f64,
        /// Answered frames that it was seen in.
        frames: u64,
        /// Which release that is.
        against: Against,
    },
    /// Answers more or less often than another release.
    Rate {
        /// Answers a reading.
        rate: f64,
        /// The other release's.
        other: f64,
        /// Multiples allowed.
        ratio: Range,
        /// Frames that the rate is of.
        frames: u64,
        /// Which release that is.
        against: Against,
    },
    /// Plugins broke too often, whatever share of frames that is: they would be in quarantine.
    Quarantine {
        /// Frames in which they broke.
        seen: u64,
        /// How many are allowed.
        max: u32,
    },
    /// Plugins broke in too many frames, and had to be started anew.
    Traps {
        /// Share of frames, 0 to 1.
        share: f64,
        /// Largest share allowed.
        max: f64,
        /// Frames that the share is of.
        frames: u64,
    },
}

/// The release that another one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The one that has the route, beside which it answers.
    Active,
    /// The one that had the route before it.
    Previous,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Against::Active => "the active release",
            Against::Previous => "the release before",
        })
    }
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
            Breach::Killed { seen, max } => write!(
                f,
                "somebody else has ended its worker {seen} times, {max} are waited for: it may be that \
                 this device lacks memory for it"
            ),
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
            Breach::Slower { p95_ms, other_ms, ratio_max, frames, against } => {
                write!(
                    f,
                    "95th percentile of latency {p95_ms:.1} ms is more than {ratio_max:.1} times {against}'s {other_ms:.1} ms over {frames} frames"
                )
            }
            Breach::AlarmDifference { share, other, max, frames, against } => {
                write!(
                    f,
                    "share of alarms {share:.3} differs from {against}'s {other:.3} by more than {max:.3} over {frames} frames"
                )
            }
            Breach::Distribution { name, distance, max, frames, against } => {
                write!(
                    f,
                    "output {name} lies {distance:.3} from {against}'s distribution, {max:.3} allowed, over {frames} frames"
                )
            }
            Breach::Rate { rate, other, ratio, frames, against } => {
                write!(
                    f,
                    "{rate:.4} answers a reading where {against} gave {other:.4}, {} to {} times that allowed, over {frames} frames",
                    ratio.low, ratio.high
                )
            }
            Breach::Quarantine { seen, max } => {
                write!(f, "plugins broke in {seen} frames, {max} are allowed")
            }
            Breach::Traps { share, max, frames } => {
                write!(
                    f,
                    "share of frames that plugins broke in {share:.3} is above {max:.3} over {frames} frames"
                )
            }
        }
    }
}

/// Judges `seen` by `limits`, some of which compare it with what the release `before` has done; where
/// that has not done enough, they say nothing.
///
/// Crashes, breaks of plugins by number and outputs out of range count at once; shares and quantiles from
/// [`TrialLimits::judge_after`] frames on; alarms, answers and distributions are compared over the whole
/// trial, because those of a few frames differ by chance. A trial comes to an end whatever is seen of it: after
/// [`TrialLimits::time_max`] of running it has failed.
pub fn judge(limits: &TrialLimits, seen: &Observation, before: Option<&Observation>) -> Verdict {
    let (frames, needed, time) = (seen.frames, limits.frames(), limits.time_max());
    let before = before.filter(|before| before.frames >= limits.judge_after());
    match breach(limits, seen, before) {
        Some(breach) => Verdict::Failed(breach),
        None if frames >= needed => Verdict::Passed,
        None if seen.ran >= time => Verdict::Failed(Breach::Time { frames, needed, time }),
        None => Verdict::Undecided,
    }
}

fn breach(
    limits: &TrialLimits,
    seen: &Observation,
    before: Option<&Observation>,
) -> Option<Breach> {
    if seen.crashes > limits.crashes_max() {
        return Some(Breach::Crashes { seen: seen.crashes, max: limits.crashes_max() });
    }
    if seen.kills > KILLS_MAX {
        return Some(Breach::Killed { seen: seen.kills, max: KILLS_MAX });
    }
    if seen.traps > u64::from(limits.traps_max()) {
        return Some(Breach::Quarantine { seen: seen.traps, max: limits.traps_max() });
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
    let (share, max) = (seen.traps as f64 / frames as f64, limits.trap_share_max());
    if !holds(share, max) {
        return Some(Breach::Traps { share, max, frames });
    }
    let (share, max) = (seen.errors as f64 / frames as f64, limits.error_share_max());
    if !holds(share, max) {
        return Some(Breach::Errors { share, max, frames });
    }
    if let (Some(max_ms), Some(p95_ms)) = (limits.latency_p95_ms_max, seen.latency_ms_p95)
        && !holds(p95_ms, max_ms)
    {
        return Some(Breach::Latency { p95_ms, max_ms, frames });
    }
    let answered = seen.answered();
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
    before.and_then(|before| difference(limits, seen, before))
}

/// Whether a value keeps within a limit. Not written as "is not above", so that what is no number does not.
pub(crate) fn holds(value: f64, max: f64) -> bool {
    value <= max
}

/// What differs by more than it may from what the release before has done.
fn difference(limits: &TrialLimits, seen: &Observation, before: &Observation) -> Option<Breach> {
    let (frames, against) = (seen.frames, Against::Previous);
    if let (Some(ratio_max), Some(p95_ms), Some(other_ms)) =
        (limits.latency_ratio_max, seen.latency_ms_p95, before.latency_ms_p95)
        && !holds(p95_ms, ratio_max * other_ms)
    {
        return Some(Breach::Slower { p95_ms, other_ms, ratio_max, frames, against });
    }
    if frames < limits.frames() {
        return None;
    }
    if let (Some(ratio), Some(rate), Some(other)) = (limits.rate_ratio, seen.rate(), before.rate())
        && other > 0.0
        && !ratio.contains(rate / other)
    {
        return Some(Breach::Rate { rate, other, ratio, frames, against });
    }
    let answered = seen.answered();
    if let Some(max) = limits.alarm_difference_max
        && answered > 0
        && before.answered() > 0
    {
        let [share, other] = [seen, before].map(|seen| seen.alarms as f64 / seen.answered() as f64);
        if !holds((share - other).abs(), max) {
            return Some(Breach::AlarmDifference { share, other, max, frames: answered, against });
        }
    }
    let (seen, needed) = ((&seen.values, answered), limits.judge_after());
    limits.distribution_max.breach(seen, &before.values, needed, against)
}

impl Observation {
    fn answered(&self) -> u64 {
        self.frames.saturating_sub(self.errors)
    }

    /// Answers a reading; none before the first.
    fn rate(&self) -> Option<f64> {
        (self.readings > 0).then(|| self.answers as f64 / self.readings as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::DistanceLimits;

    fn limits() -> TrialLimits {
        TrialLimits {
            frames: Some(120),
            judge_after: Some(40),
            error_share_max: Some(0.01),
            latency_p95_ms_max: Some(50.0),
            alarm_share: Some(Range { low: 0.0, high: 0.3 }),
            outputs: BTreeMap::from([("score".into(), Range { low: 0.0, high: 1e5 })]),
            ..TrialLimits::default()
        }
    }

    fn said(seen: Observation) -> String {
        match judge(&limits(), &seen, None) {
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
        assert_eq!(
            said(Observation { crashes: 3, ..fine.clone() }),
            "the worker died 3 times, 2 allowed"
        );
        assert_eq!(said(Observation { crashes: 2, ..fine.clone() }), "Undecided");
        assert_eq!(said(Observation { kills: 5, ..fine.clone() }), "Undecided");
        assert_eq!(
            said(Observation { kills: 6, ..fine }),
            "somebody else has ended its worker 6 times, 5 are waited for: it may be that this device \
             lacks memory for it"
        );
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
        for (low, high, wanted) in [
            (0.0, 1e5, "Undecided"),
            (-1.0, 5.0, "output score was -1, outside of 0 to 100000"),
            (1.0, 2e5, "output score was 200000, outside of 0 to 100000"),
            (f64::NAN, 5.0, "output score was NaN, outside of 0 to 100000"),
            (1.0, f64::INFINITY, "output score was inf, outside of 0 to 100000"),
        ] {
            let seen = Observation {
                frames: 1,
                outputs: BTreeMap::from([("score".into(), (low, high))]),
                ..Observation::default()
            };
            assert_eq!(said(seen), wanted);
        }
    }

    #[test]
    fn a_release_that_only_errs_is_not_cleared_by_its_lack_of_alarms() {
        let seen = Observation { frames: 120, errors: 120, ..Observation::default() };
        let told = |limits: &TrialLimits| match judge(limits, &seen, None) {
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
        assert_eq!(judge(&slow, &late, None), Verdict::Undecided);
        let silent = Observation { frames: 0, ran: hours(30), ..Observation::default() };
        assert_eq!(said(silent), "only 0 of 120 frames in 24 hours of running");
    }

    /// Over twelve readings a frame, of which each is answered once and every tenth with an alarm.
    fn lived(frames: u64) -> Observation {
        let mut values = Values::default();
        (0..frames).for_each(|frame| values.add("score", (frame % 4) as f64));
        Observation {
            frames,
            alarms: frames / 10,
            latency_ms_p95: Some(2.0),
            readings: 12 * frames,
            answers: frames,
            values,
            ..Observation::default()
        }
    }

    fn compared(seen: &Observation, before: Option<&Observation>) -> String {
        let limits = TrialLimits {
            frames: Some(100),
            judge_after: Some(40),
            latency_ratio_max: Some(1.5),
            rate_ratio: Some(Range { low: 0.5, high: 2.0 }),
            alarm_difference_max: Some(0.25),
            distribution_max: DistanceLimits(BTreeMap::from([("*".into(), 0.25)])),
            trap_share_max: Some(0.02),
            ..TrialLimits::default()
        };
        match judge(&limits, seen, before) {
            Verdict::Failed(breach) => breach.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_release_is_held_against_the_one_before_up_to_each_limit_and_not_beyond() {
        let (before, fine) = (lived(1000), lived(100));
        let said = |seen: Observation| compared(&seen, Some(&before));
        assert_eq!(said(fine.clone()), "Passed");
        assert_eq!(said(Observation { latency_ms_p95: Some(3.0), ..fine.clone() }), "Passed");
        assert_eq!(
            said(Observation { latency_ms_p95: Some(3.1), ..fine.clone() }),
            "95th percentile of latency 3.1 ms is more than 1.5 times the release before's 2.0 ms over 100 frames"
        );
        for answers in [50, 200] {
            assert_eq!(said(Observation { answers, ..fine.clone() }), "Passed", "{answers}");
        }
        assert_eq!(
            said(Observation { answers: 49, ..fine.clone() }),
            "0.0408 answers a reading where the release before gave 0.0833, 0.5 to 2 times that allowed, over 100 frames"
        );
        assert!(said(Observation { answers: 201, ..fine.clone() }).contains("answers a reading"));
        assert_eq!(said(Observation { alarms: 35, ..fine.clone() }), "Passed");
        assert_eq!(
            said(Observation { alarms: 36, ..fine.clone() }),
            "share of alarms 0.360 differs from the release before's 0.100 by more than 0.250 over 100 frames"
        );
        let never = Observation { alarms: 400, ..before.clone() };
        assert!(
            compared(&Observation { alarms: 14, ..fine.clone() }, Some(&never))
                .contains("share of alarms 0.140")
        );
        let mut otherwise = fine.clone();
        (0..50).for_each(|_| otherwise.values.add("score", 0.0));
        assert_eq!(said(otherwise.clone()), "Passed");
        otherwise.values.add("score", 0.0);
        assert_eq!(
            said(otherwise),
            "output score lies 0.253 from the release before's distribution, 0.250 allowed, over 100 frames"
        );
        let silent = Observation { values: Values::default(), errors: 4, ..fine };
        assert!(said(silent).starts_with("output score lies 1.000"));
    }

    #[test]
    fn plugins_that_break_end_a_trial_also_where_errors_are_forgiven() {
        let limits = TrialLimits {
            error_share_max: Some(1.0),
            traps_max: Some(100),
            ..TrialLimits::default()
        };
        let said = |frames, traps| {
            let seen = Observation { frames, traps, errors: traps, ..Observation::default() };
            judge(&limits, &seen, None)
        };
        assert_eq!(said(29, 29), Verdict::Undecided);
        assert_eq!(said(30, 1), Verdict::Undecided);
        assert_eq!(said(100, 5), Verdict::Passed);
        let Verdict::Failed(breach) = said(100, 6) else { panic!("{:?}", said(100, 6)) };
        assert_eq!(
            breach.to_string(),
            "share of frames that plugins broke in 0.060 is above 0.050 over 100 frames"
        );
        assert!(matches!(said(30, 2), Verdict::Failed(Breach::Traps { .. })));
        // So many end it at once, and in a long trial, where they are a small share.
        for frames in [101, 100_000] {
            let Verdict::Failed(breach) = said(frames, 101) else { panic!("{frames}") };
            assert_eq!(breach.to_string(), "plugins broke in 101 frames, 100 are allowed");
        }
    }

    #[test]
    fn a_limit_or_a_value_that_is_no_number_never_passes() {
        let nan = Some(f64::NAN);
        let none = TrialLimits::default;
        let seen = Observation { traps: 1, errors: 1, ..lived(100) };
        for limits in [
            TrialLimits { trap_share_max: nan, ..none() },
            TrialLimits { error_share_max: nan, ..none() },
            TrialLimits { latency_p95_ms_max: nan, ..none() },
            TrialLimits { latency_ratio_max: nan, ..none() },
            TrialLimits { alarm_difference_max: nan, ..none() },
        ] {
            let verdict = judge(&limits, &seen, Some(&lived(1000)));
            assert!(matches!(verdict, Verdict::Failed(_)), "{limits:?}");
        }
        let unmeasured = Observation { latency_ms_p95: nan, ..lived(100) };
        assert!(said(unmeasured).contains("latency"));
    }

    #[test]
    fn what_a_few_frames_show_by_chance_is_not_compared() {
        let (before, mut early) = (lived(1000), lived(99));
        (0..99).for_each(|_| early.values.add("score", 9.0));
        let early = Observation { alarms: 99, answers: 0, ..early };
        assert_eq!(compared(&early, Some(&before)), "Undecided");
        let slow = Observation { latency_ms_p95: Some(9.0), ..early };
        assert!(compared(&slow, Some(&before)).contains("times the release before's"));
        let few = Observation { frames: 39, ..slow };
        assert_eq!(compared(&few, Some(&before)), "Undecided");
    }

    #[test]
    fn without_a_release_before_or_with_too_little_of_it_nothing_is_compared() {
        let mut odd = lived(100);
        (0..100).for_each(|_| odd.values.add("score", 9.0));
        let odd = Observation { latency_ms_p95: Some(99.0), alarms: 100, answers: 9, ..odd };
        assert_ne!(compared(&odd, Some(&lived(40))), "Passed");
        assert_eq!(compared(&odd, Some(&lived(39))), "Passed");
        assert_eq!(compared(&odd, None), "Passed");
        // The one before has answered nothing: whatever comes is better.
        let mute =
            Observation { errors: 500, frames: 500, readings: 6000, ..Observation::default() };
        assert_eq!(compared(&odd, Some(&mute)), "Passed");
    }

    #[test]
    fn what_has_answered_nothing_has_no_share_of_alarms_and_no_rate() {
        let limits = TrialLimits {
            error_share_max: Some(1.0),
            rate_ratio: Some(Range { low: 0.5, high: 2.0 }),
            alarm_difference_max: Some(0.25),
            ..TrialLimits::default()
        };
        let before = lived(1000);
        let failed = Observation { errors: 100, ..lived(100) };
        assert_eq!(judge(&limits, &failed, Some(&before)), Verdict::Passed);
        let unread = Observation { readings: 0, answers: 0, ..lived(100) };
        assert_eq!(judge(&limits, &unread, Some(&before)), Verdict::Passed);
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
