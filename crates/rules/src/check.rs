//! Whether limits can be kept and judged at all: what a person may write under `[trial]`.

use crate::limits::{CRASHES_MAX, FRAMES_MAX, HOURS_MAX, Range, TRAPS_MAX, TrialLimits};
use std::ops::RangeInclusive;

impl TrialLimits {
    /// Whether each limit is one that a trial can be judged by: numbers that are finite, ranges the
    /// right way round, shares between 0 and 1, and a trial that comes to an end.
    ///
    /// # Errors
    /// The first field that is wrong, as it is written under `[trial]`, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |(field, problem): (&str, String)| (field.to_owned(), problem);
        whole("frames", self.frames, 1..=FRAMES_MAX).map_err(wrong)?;
        whole("judge_after", self.judge_after, 1..=FRAMES_MAX).map_err(wrong)?;
        whole("hours_max", self.hours_max.map(u64::from), 1..=u64::from(HOURS_MAX))
            .map_err(wrong)?;
        whole("crashes_max", self.crashes_max.map(u64::from), 0..=u64::from(CRASHES_MAX))
            .map_err(wrong)?;
        whole("traps_max", self.traps_max.map(u64::from), 0..=u64::from(TRAPS_MAX))
            .map_err(wrong)?;
        share("error_share_max", self.error_share_max).map_err(wrong)?;
        share("trap_share_max", self.trap_share_max).map_err(wrong)?;
        share("alarm_difference_max", self.alarm_difference_max).map_err(wrong)?;
        ratio("latency_ratio_max", self.latency_ratio_max).map_err(wrong)?;
        self.distribution_max.check("distribution_max")?;
        if let Some(range) = self.rate_ratio {
            ordered(range).map_err(|problem| wrong(("rate_ratio", problem)))?;
            if range.low < 0.0 {
                let problem = format!("{} to {} are no ratios", range.low, range.high);
                return Err(wrong(("rate_ratio", problem)));
            }
        }
        if let Some(p95_ms) = self.latency_p95_ms_max
            && !(p95_ms.is_finite() && p95_ms > 0.0)
        {
            let problem = format!("{p95_ms} is no latency in milliseconds");
            return Err(wrong(("latency_p95_ms_max", problem)));
        }
        if let Some(range) = self.alarm_share {
            ordered(range).map_err(|problem| wrong(("alarm_share", problem)))?;
            if !(0.0..=1.0).contains(&range.low) || !(0.0..=1.0).contains(&range.high) {
                let problem =
                    format!("{} to {} are no shares between 0 and 1", range.low, range.high);
                return Err(wrong(("alarm_share", problem)));
            }
        }
        for (name, range) in &self.outputs {
            ordered(*range).map_err(|problem| (format!("outputs.{name}"), problem))?;
        }
        Ok(())
    }
}

/// A range that is not finite could not be written down: manifests and journals are JSON.
pub(crate) fn ordered(range: Range) -> Result<(), String> {
    let Range { low, high } = range;
    if !low.is_finite() || !high.is_finite() {
        return Err(format!("{low} to {high} is no range of finite numbers"));
    }
    if low > high {
        return Err(format!("{low} is above {high}; a range is written from low to high"));
    }
    Ok(())
}

pub(crate) fn share(field: &'static str, value: Option<f64>) -> Result<(), (&'static str, String)> {
    match value {
        Some(share) if !(0.0..=1.0).contains(&share) => {
            Err((field, format!("{share} is no share between 0 and 1")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn ratio(field: &'static str, value: Option<f64>) -> Result<(), (&'static str, String)> {
    match value {
        Some(ratio) if !(ratio.is_finite() && ratio > 0.0) => {
            Err((field, format!("{ratio} is no ratio above 0")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn whole(
    field: &'static str,
    value: Option<u64>,
    allowed: RangeInclusive<u64>,
) -> Result<(), (&'static str, String)> {
    match value {
        Some(value) if !allowed.contains(&value) => {
            let (least, most) = (allowed.start(), allowed.end());
            Err((field, format!("{value} is not between {least} and {most}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::DistanceLimits;
    use std::collections::BTreeMap;

    fn said(limits: TrialLimits) -> String {
        match limits.check() {
            Ok(()) => "fine".into(),
            Err((field, problem)) => format!("{field}: {problem}"),
        }
    }

    fn range(low: f64, high: f64) -> Range {
        Range { low, high }
    }

    fn output(range: Range) -> TrialLimits {
        TrialLimits { outputs: BTreeMap::from([("score".into(), range)]), ..TrialLimits::default() }
    }

    #[test]
    fn limits_that_no_trial_can_be_judged_by_are_named_with_their_field() {
        let none = TrialLimits::default;
        let frames = |frames| TrialLimits { frames: Some(frames), ..none() };
        let judge_after = |frames| TrialLimits { judge_after: Some(frames), ..none() };
        let hours = |hours| TrialLimits { hours_max: Some(hours), ..none() };
        let errors = |share| TrialLimits { error_share_max: Some(share), ..none() };
        let latency = |p95_ms| TrialLimits { latency_p95_ms_max: Some(p95_ms), ..none() };
        let alarms = |low, high| TrialLimits { alarm_share: Some(range(low, high)), ..none() };
        let rate = |low, high| TrialLimits { rate_ratio: Some(range(low, high)), ..none() };
        for (limits, wanted) in [
            (none(), "fine"),
            (frames(100), "fine"),
            (frames(0), "frames: 0 is not between 1 and 1000000"),
            (frames(u64::MAX), "frames: 18446744073709551615 is not between 1 and 1000000"),
            (judge_after(0), "judge_after: 0 is not between 1 and 1000000"),
            (hours(0), "hours_max: 0 is not between 1 and 2000"),
            (hours(72), "fine"),
            (
                TrialLimits { crashes_max: Some(u32::MAX), ..none() },
                "crashes_max: 4294967295 is not between 0 and 1000",
            ),
            (
                TrialLimits { traps_max: Some(1_000_001), ..none() },
                "traps_max: 1000001 is not between 0 and 1000000",
            ),
            (errors(0.0), "fine"),
            (errors(1.5), "error_share_max: 1.5 is no share between 0 and 1"),
            (errors(f64::NAN), "error_share_max: NaN is no share between 0 and 1"),
            (latency(50.0), "fine"),
            (latency(0.0), "latency_p95_ms_max: 0 is no latency in milliseconds"),
            (latency(f64::INFINITY), "latency_p95_ms_max: inf is no latency in milliseconds"),
            (alarms(0.0, 0.3), "fine"),
            (alarms(0.3, 0.0), "alarm_share: 0.3 is above 0; a range is written from low to high"),
            (alarms(0.0, 30.0), "alarm_share: 0 to 30 are no shares between 0 and 1"),
            (alarms(f64::NAN, 1.0), "alarm_share: NaN to 1 is no range of finite numbers"),
            (output(range(-1e300, 1e300)), "fine"),
            (output(range(1.0, 1.0)), "fine"),
            (rate(0.0, 2.0), "fine"),
            (rate(2.0, 0.5), "rate_ratio: 2 is above 0.5; a range is written from low to high"),
            (rate(-0.5, 2.0), "rate_ratio: -0.5 to 2 are no ratios"),
            (TrialLimits { latency_ratio_max: Some(1.5), ..none() }, "fine"),
            (
                TrialLimits { latency_ratio_max: Some(-1.0), ..none() },
                "latency_ratio_max: -1 is no ratio above 0",
            ),
            (
                TrialLimits { trap_share_max: Some(1.01), ..none() },
                "trap_share_max: 1.01 is no share between 0 and 1",
            ),
            (
                TrialLimits { alarm_difference_max: Some(f64::NAN), ..none() },
                "alarm_difference_max: NaN is no share between 0 and 1",
            ),
            (
                TrialLimits {
                    distribution_max: DistanceLimits(BTreeMap::from([("x".into(), 2.0)])),
                    ..none()
                },
                "distribution_max.x: 2 is no distance between 0 and 1",
            ),
            (
                output(range(0.0, f64::INFINITY)),
                "outputs.score: 0 to inf is no range of finite numbers",
            ),
            (
                output(range(2.0, 1.0)),
                "outputs.score: 2 is above 1; a range is written from low to high",
            ),
        ] {
            assert_eq!(said(limits.clone()), wanted, "{limits:?}");
        }
    }
}
