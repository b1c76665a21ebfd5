//! Limits of a trial: what a release may do while it is on probation.

use crate::distribution::DistanceLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Frames a trial lasts unless somebody asks for more.
const FRAMES_DEFAULT: u64 = 100;
/// Frames before shares and quantiles are judged unless somebody asks for another number.
const JUDGE_AFTER_DEFAULT: u64 = 30;
/// Hours of running after which a trial has to be decided, unless somebody asks for another number.
pub(crate) const HOURS_MAX_DEFAULT: u32 = 24;
/// Share of frames that may end in an error unless somebody asks for another one: a release that does
/// not answer must not be kept because nobody has thought of saying so.
pub(crate) const ERROR_SHARE_MAX_DEFAULT: f64 = 0.05;
/// Share of frames in which plugins may break unless somebody asks for another one: what breaks forgets
/// its stream, also where errors are forgiven.
const TRAP_SHARE_MAX_DEFAULT: f64 = 0.05;
/// Breaks of its plugins that a release survives unless somebody asks for another number.
const TRAPS_MAX_DEFAULT: u32 = 10;
/// Crashes of its worker that a candidate survives.
pub(crate) const CRASHES_MAX_DEFAULT: u32 = 2;

/// Most frames that a trial may ask for.
pub(crate) const FRAMES_MAX: u64 = 1_000_000;
/// Most hours of running that a trial may ask for: twelve weeks.
pub(crate) const HOURS_MAX: u32 = 2000;
/// Most breaks of plugins that limits may forgive.
pub(crate) const TRAPS_MAX: u32 = 1_000_000;
/// Most crashes that limits may forgive.
pub(crate) const CRASHES_MAX: u32 = 1000;

/// A closed range `[low, high]`; written as a pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Range {
    /// Lowest value allowed.
    pub low: f64,
    /// Highest value allowed.
    pub high: f64,
}

impl Range {
    /// Whether `value` lies inside. NaN lies in no range.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The values that both ranges allow; empty (`low > high`) where they share none.
    pub fn intersect(self, other: Range) -> Range {
        Range { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

impl From<[f64; 2]> for Range {
    fn from([low, high]: [f64; 2]) -> Range {
        Range { low, high }
    }
}

impl From<Range> for [f64; 2] {
    fn from(range: Range) -> [f64; 2] {
        [range.low, range.high]
    }
}

/// What a release may do while it is on probation.
///
/// Where nobody says otherwise, the defaults hold; latency, alarms, outputs and whatever compares with
/// the release before have none, because what is right there only the author knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialLimits {
    /// Frames after which a trial without a breach is passed (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Frames before shares and quantiles are judged (default 30): a share of three frames says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_after: Option<u64>,
    /// Hours of running within which the trial has to be decided (default 24). A candidate that has
    /// not answered enough frames by then is not worth its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_max: Option<u32>,
    /// Largest share of frames that may end in an error, 0 to 1 (default 0.05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_share_max: Option<f64>,
    /// Largest 95th percentile of a frame's latency, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p95_ms_max: Option<f64>,
    /// Largest 95th percentile of a frame's latency, as a multiple of that of the release before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ratio_max: Option<f64>,
    /// Answers a reading, as multiples of those of the release before. Too few are as suspect as too
    /// many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_ratio: Option<Range>,
    /// Largest difference of the share of answered frames with an alarm from that of the release
    /// before, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_difference_max: Option<f64>,
    /// How far the distribution of an output may lie from that of the release before.
    #[serde(default, skip_serializing_if = "DistanceLimits::is_empty")]
    pub distribution_max: DistanceLimits,
    /// Largest share of frames in which a plugin may break and has to be started anew, 0 to 1 (default
    /// 0.05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trap_share_max: Option<f64>,
    /// Breaks of a plugin that a release survives (default 10): one more, and the plugin is in quarantine,
    /// also after the trial. In a trial those of all its plugins count, and it ends at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traps_max: Option<u32>,
    /// Share of answered frames that may be alarms, 0 to 1. Too few is as suspect as too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_share: Option<Range>,
    /// Range of each output, in the output's unit. One value outside is a breach at once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Range>,
    /// Crashes of its worker that a candidate survives (default 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes_max: Option<u32>,
}

impl TrialLimits {
    /// Frames after which a trial without a breach is passed.
    pub fn frames(&self) -> u64 {
        self.frames.unwrap_or(FRAMES_DEFAULT).max(1)
    }

    /// Frames before shares and quantiles are judged; never more than the trial has.
    pub fn judge_after(&self) -> u64 {
        self.judge_after.unwrap_or(JUDGE_AFTER_DEFAULT).clamp(1, self.frames())
    }

    /// Time with readings within which the trial has to be decided.
    pub fn time_max(&self) -> Duration {
        let hours = self.hours_max.unwrap_or(HOURS_MAX_DEFAULT).clamp(1, HOURS_MAX);
        Duration::from_secs(u64::from(hours) * 3600)
    }

    /// Largest share of frames that may end in an error.
    pub fn error_share_max(&self) -> f64 {
        self.error_share_max.unwrap_or(ERROR_SHARE_MAX_DEFAULT)
    }

    /// Largest share of frames in which a plugin may break.
    pub fn trap_share_max(&self) -> f64 {
        self.trap_share_max.unwrap_or(TRAP_SHARE_MAX_DEFAULT)
    }

    /// Breaks of a plugin that a release survives.
    pub fn traps_max(&self) -> u32 {
        self.traps_max.unwrap_or(TRAPS_MAX_DEFAULT)
    }

    /// Crashes of its worker that a candidate survives.
    pub fn crashes_max(&self) -> u32 {
        self.crashes_max.unwrap_or(CRASHES_MAX_DEFAULT)
    }

    /// These limits, with the default wherever they say nothing.
    ///
    /// So others ask of a release for which one would be left that answers: its author may be stricter
    /// than the default, and not looser. Of the first release of a slot he alone knows how often it
    /// answers, and nothing is lost by it.
    pub fn or_defaults(self) -> TrialLimits {
        TrialLimits {
            frames: self.frames.or(Some(FRAMES_DEFAULT)),
            judge_after: self.judge_after.or(Some(JUDGE_AFTER_DEFAULT)),
            hours_max: self.hours_max.or(Some(HOURS_MAX_DEFAULT)),
            error_share_max: self.error_share_max.or(Some(ERROR_SHARE_MAX_DEFAULT)),
            trap_share_max: self.trap_share_max.or(Some(TRAP_SHARE_MAX_DEFAULT)),
            traps_max: self.traps_max.or(Some(TRAPS_MAX_DEFAULT)),
            crashes_max: self.crashes_max.or(Some(CRASHES_MAX_DEFAULT)),
            ..self
        }
    }

    /// The limits that hold when all of `limits` hold: the strictest of each.
    ///
    /// Most frames and fewest hours count. `judge_after` is the earliest asked for, so that an author cannot
    /// put off the verdict on his own release.
    pub fn strictest<'a>(limits: impl IntoIterator<Item = &'a TrialLimits>) -> TrialLimits {
        limits.into_iter().fold(TrialLimits::default(), |all, one| {
            let mut outputs = all.outputs;
            for (name, range) in &one.outputs {
                outputs
                    .entry(name.clone())
                    .and_modify(|r| *r = r.intersect(*range))
                    .or_insert(*range);
            }
            TrialLimits {
                frames: both(all.frames, one.frames, u64::max),
                judge_after: both(all.judge_after, one.judge_after, u64::min),
                hours_max: both(all.hours_max, one.hours_max, u32::min),
                error_share_max: both(all.error_share_max, one.error_share_max, f64::min),
                latency_p95_ms_max: both(all.latency_p95_ms_max, one.latency_p95_ms_max, f64::min),
                latency_ratio_max: both(all.latency_ratio_max, one.latency_ratio_max, f64::min),
                rate_ratio: both(all.rate_ratio, one.rate_ratio, Range::intersect),
                alarm_difference_max: both(
                    all.alarm_difference_max,
                    one.alarm_difference_max,
                    f64::min,
                ),
                distribution_max: all.distribution_max.strictest(&one.distribution_max),
                trap_share_max: both(all.trap_share_max, one.trap_share_max, f64::min),
                traps_max: both(all.traps_max, one.traps_max, u32::min),
                alarm_share: both(all.alarm_share, one.alarm_share, Range::intersect),
                outputs,
                crashes_max: both(all.crashes_max, one.crashes_max, u32::min),
            }
        })
    }
}

pub(crate) fn both<T>(a: Option<T>, b: Option<T>, choose: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(limits: &[(&str, f64)]) -> DistanceLimits {
        DistanceLimits(limits.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect())
    }

    #[test]
    fn an_author_cannot_loosen_his_own_trial() {
        let active = TrialLimits {
            frames: Some(120),
            judge_after: Some(40),
            error_share_max: Some(0.01),
            alarm_share: Some(Range { low: 0.0, high: 0.3 }),
            outputs: BTreeMap::from([("score".into(), Range { low: 0.0, high: 1e5 })]),
            ..TrialLimits::default()
        };
        let candidate = TrialLimits {
            frames: Some(10),
            judge_after: Some(1000),
            error_share_max: Some(1.0),
            alarm_share: Some(Range { low: 0.0, high: 1.0 }),
            outputs: BTreeMap::from([("score".into(), Range { low: -1e9, high: 1e9 })]),
            crashes_max: Some(100),
            hours_max: Some(2000),
            latency_p95_ms_max: Some(1000.0),
            latency_ratio_max: Some(100.0),
            rate_ratio: Some(Range { low: 0.0, high: 100.0 }),
            alarm_difference_max: Some(1.0),
            distribution_max: distances(&[("*", 1.0), ("score", 1.0)]),
            trap_share_max: Some(1.0),
            traps_max: Some(1000),
        };
        let site = TrialLimits {
            crashes_max: Some(0),
            latency_p95_ms_max: Some(20.0),
            hours_max: Some(48),
            latency_ratio_max: Some(2.0),
            rate_ratio: Some(Range { low: 0.5, high: 2.0 }),
            alarm_difference_max: Some(0.1),
            distribution_max: distances(&[("*", 0.2)]),
            trap_share_max: Some(0.0),
            traps_max: Some(3),
            ..TrialLimits::default()
        };
        let all = TrialLimits::strictest([&candidate, &active, &site]);
        assert_eq!((all.latency_ratio_max, all.alarm_difference_max), (Some(2.0), Some(0.1)));
        assert_eq!(all.rate_ratio, Some(Range { low: 0.5, high: 2.0 }));
        assert_eq!(all.distribution_max, distances(&[("*", 0.2), ("score", 0.2)]));
        assert_eq!((all.trap_share_max(), all.traps_max(), all.hours_max), (0.0, 3, Some(48)));
        assert_eq!(all.frames(), 120);
        assert_eq!(all.judge_after(), 40);
        assert_eq!(all.error_share_max, Some(0.01));
        assert_eq!(all.latency_p95_ms_max, Some(20.0));
        assert_eq!(all.alarm_share, Some(Range { low: 0.0, high: 0.3 }));
        assert_eq!(all.outputs["score"], Range { low: 0.0, high: 1e5 });
        assert_eq!(all.crashes_max(), 0);
    }

    #[test]
    fn an_author_of_whom_nobody_else_asks_anything_is_held_to_the_defaults() {
        let loose = TrialLimits {
            frames: Some(1),
            judge_after: Some(1000),
            hours_max: Some(2000),
            error_share_max: Some(1.0),
            trap_share_max: Some(1.0),
            traps_max: Some(1_000_000),
            crashes_max: Some(1000),
            ..TrialLimits::default()
        };
        let nothing = TrialLimits::default();
        let trial = TrialLimits::strictest([&loose, &nothing.clone().or_defaults()]);
        assert_eq!(trial, nothing.or_defaults());
        // Whoever else speaks is heard, and the author where he is stricter.
        let site = TrialLimits { frames: Some(10), crashes_max: Some(5), ..TrialLimits::default() };
        let strict = TrialLimits { crashes_max: Some(0), ..loose };
        let trial = TrialLimits::strictest([&strict, &site.or_defaults()]);
        assert_eq!((trial.frames(), trial.crashes_max(), trial.error_share_max()), (10, 0, 0.05));
    }

    #[test]
    fn a_range_is_written_as_it_was_read() {
        let range = Range::from([-0.5, 3.0]);
        assert_eq!((range.low, range.high), (-0.5, 3.0));
        assert_eq!(<[f64; 2]>::from(range), [-0.5, 3.0]);
    }

    #[test]
    fn ranges_that_share_nothing_allow_nothing() {
        let none = Range { low: 0.0, high: 1.0 }.intersect(Range { low: 2.0, high: 3.0 });
        for value in [0.5, 1.5, 2.5, f64::NAN] {
            assert!(!none.contains(value));
        }
    }
}
