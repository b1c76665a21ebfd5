//! Limits of a shadow run: how a candidate has to answer beside the active release before it may
//! take the route.

use crate::check::{ratio, share, whole};
use crate::distribution::DistanceLimits;
use crate::limits::{
    CRASHES_MAX, CRASHES_MAX_DEFAULT, ERROR_SHARE_MAX_DEFAULT, FRAMES_MAX, HOURS_MAX,
    HOURS_MAX_DEFAULT, both,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Stands among limits by output for every output that is not named there.
pub const EVERY_OUTPUT: &str = "*";

/// How a candidate has to answer beside the active release, from the same readings, before it may
/// take the route.
///
/// A shadow runs only if somebody asks for its frames: the candidate's author, the active release's,
/// or the site. Agreement, latency, alarms and distributions have no default, because what is right there only they know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowLimits {
    /// Frames that are compared. No shadow runs while nobody asks for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Smallest share of frames in which both releases agree, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement_min: Option<f64>,
    /// How far an output may differ from the active release's in a frame that counts as agreed; `*`
    /// stands for every output that is not named. Where nothing is said they have to be equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tolerance: BTreeMap<String, Tolerance>,
    /// Largest 95th percentile of a frame's latency, as a multiple of the active release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ratio_max: Option<f64>,
    /// Largest difference of the share of frames with an alarm from the active release's, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_difference_max: Option<f64>,
    /// How far the distribution of an output may lie from the active release's.
    #[serde(default, skip_serializing_if = "DistanceLimits::is_empty")]
    pub distribution_max: DistanceLimits,
    /// Largest share of frames that may end in an error, 0 to 1 (default 0.05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_share_max: Option<f64>,
    /// Crashes of its worker that a candidate survives (default 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes_max: Option<u32>,
    /// Hours of running within which the frames have to be compared (default 24).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_max: Option<u32>,
    /// Who decides after a shadow without a breach (default `promote`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide: Option<Decide>,
    /// Which readings are compared (default `live`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Since>,
}

/// Which readings a shadow is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// Those that the device has captured, with the answers that were given then, and after them
    /// those that come. Where nothing is captured, those that come.
    Capture,
    /// Those that come.
    Live,
}

/// How far a value may differ from the one expected, the active release's or a check's:
/// `absolute + relative × |expected|`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In the output's unit.
    pub absolute: f64,
    /// As a share of the value expected.
    pub relative: f64,
}

/// Who decides after a shadow without a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decide {
    /// The candidate goes on trial by itself.
    Promote,
    /// A person has to approve it.
    Ask,
}

impl Tolerance {
    /// Whether what was `got` is close enough to what was `expected`. Nothing is close to NaN.
    pub fn allows(&self, expected: f64, got: f64) -> bool {
        expected == got || (got - expected).abs() <= self.absolute + self.relative * expected.abs()
    }

    fn strictest(self, other: Tolerance) -> Tolerance {
        Tolerance {
            absolute: self.absolute.min(other.absolute),
            relative: self.relative.min(other.relative),
        }
    }
}

impl ShadowLimits {
    /// Whether anybody asks for a shadow at all.
    pub fn is_wanted(&self) -> bool {
        self.frames() > 0
    }

    /// Frames that are compared.
    pub fn frames(&self) -> u64 {
        self.frames.unwrap_or(0)
    }

    /// How far `output` may differ.
    pub fn tolerance(&self, output: &str) -> Tolerance {
        let named = self.tolerance.get(output).or_else(|| self.tolerance.get(EVERY_OUTPUT));
        named.copied().unwrap_or_default()
    }

    /// Time with readings within which the frames have to be compared.
    pub fn time_max(&self) -> Duration {
        let hours = self.hours_max.unwrap_or(HOURS_MAX_DEFAULT).clamp(1, HOURS_MAX);
        Duration::from_secs(u64::from(hours) * 3600)
    }

    /// Largest share of frames that may end in an error.
    pub fn error_share_max(&self) -> f64 {
        self.error_share_max.unwrap_or(ERROR_SHARE_MAX_DEFAULT)
    }

    /// Crashes of its worker that a candidate survives.
    pub fn crashes_max(&self) -> u32 {
        self.crashes_max.unwrap_or(CRASHES_MAX_DEFAULT)
    }

    /// Who decides after a shadow without a breach.
    pub fn decide(&self) -> Decide {
        self.decide.unwrap_or(Decide::Promote)
    }

    /// Which readings are compared.
    pub fn from(&self) -> Since {
        self.from.unwrap_or(Since::Live)
    }

    /// The limits that hold when all of `limits` hold: the strictest of each.
    ///
    /// Who speaks of agreement and names no tolerance for an output wants it equal, so an author
    /// cannot loosen the comparison by a tolerance that nobody else has thought of.
    pub fn strictest<'a>(limits: impl IntoIterator<Item = &'a ShadowLimits>) -> ShadowLimits {
        limits.into_iter().fold(ShadowLimits::default(), |all, one| ShadowLimits {
            frames: both(all.frames, one.frames, u64::max),
            agreement_min: both(all.agreement_min, one.agreement_min, f64::max),
            tolerance: all.strictest_tolerance(one),
            latency_ratio_max: both(all.latency_ratio_max, one.latency_ratio_max, f64::min),
            alarm_difference_max: both(
                all.alarm_difference_max,
                one.alarm_difference_max,
                f64::min,
            ),
            distribution_max: all.distribution_max.strictest(&one.distribution_max),
            error_share_max: both(all.error_share_max, one.error_share_max, f64::min),
            crashes_max: both(all.crashes_max, one.crashes_max, u32::min),
            hours_max: both(all.hours_max, one.hours_max, u32::min),
            decide: both(all.decide, one.decide, Decide::strictest),
            from: both(all.from, one.from, Since::strictest),
        })
    }

    fn strictest_tolerance(&self, other: &ShadowLimits) -> BTreeMap<String, Tolerance> {
        match (self.speaks_of_agreement(), other.speaks_of_agreement()) {
            (false, _) => other.tolerance.clone(),
            (true, false) => self.tolerance.clone(),
            (true, true) => {
                let named = self.tolerance.keys().chain(other.tolerance.keys());
                let strictest =
                    |name: &String| self.tolerance(name).strictest(other.tolerance(name));
                named.map(|name| (name.clone(), strictest(name))).collect()
            }
        }
    }

    fn speaks_of_agreement(&self) -> bool {
        self.agreement_min.is_some() || !self.tolerance.is_empty()
    }

    /// Whether each limit is one that a shadow can be judged by: numbers that are finite, shares
    /// between 0 and 1, and a shadow that comes to an end.
    ///
    /// # Errors
    /// The first field that is wrong, as it is written under `[shadow]`, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |(field, problem): (&str, String)| (field.to_owned(), problem);
        whole("frames", self.frames, 1..=FRAMES_MAX).map_err(wrong)?;
        whole("hours_max", self.hours_max.map(u64::from), 1..=u64::from(HOURS_MAX))
            .map_err(wrong)?;
        whole("crashes_max", self.crashes_max.map(u64::from), 0..=u64::from(CRASHES_MAX))
            .map_err(wrong)?;
        share("agreement_min", self.agreement_min).map_err(wrong)?;
        share("error_share_max", self.error_share_max).map_err(wrong)?;
        share("alarm_difference_max", self.alarm_difference_max).map_err(wrong)?;
        self.distribution_max.check("distribution_max")?;
        ratio("latency_ratio_max", self.latency_ratio_max).map_err(wrong)?;
        for (name, Tolerance { absolute, relative }) in &self.tolerance {
            for value in [absolute, relative] {
                if !(value.is_finite() && *value >= 0.0) {
                    let problem = format!("{value} is no tolerance: a finite number, at least 0");
                    return Err((format!("tolerance.{name}"), problem));
                }
            }
        }
        Ok(())
    }
}

impl Decide {
    fn strictest(self, other: Decide) -> Decide {
        match (self, other) {
            (Decide::Promote, Decide::Promote) => Decide::Promote,
            (Decide::Ask, _) | (_, Decide::Ask) => Decide::Ask,
        }
    }
}

impl Since {
    /// Who wants to see it live is not served by a recording.
    fn strictest(self, other: Since) -> Since {
        match (self, other) {
            (Since::Capture, Since::Capture) => Since::Capture,
            (Since::Live, _) | (_, Since::Live) => Since::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tolerance(absolute: f64, relative: f64) -> Tolerance {
        Tolerance { absolute, relative }
    }

    fn distances(limits: &[(&str, f64)]) -> DistanceLimits {
        DistanceLimits(limits.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect())
    }

    fn named(outputs: &[(&str, Tolerance)]) -> BTreeMap<String, Tolerance> {
        outputs.iter().map(|(name, tolerance)| ((*name).to_owned(), *tolerance)).collect()
    }

    #[test]
    fn an_author_cannot_loosen_his_own_shadow() {
        let active = ShadowLimits {
            frames: Some(500),
            agreement_min: Some(0.98),
            tolerance: named(&[("score", tolerance(0.1, 0.0)), ("*", tolerance(0.5, 0.01))]),
            decide: Some(Decide::Ask),
            from: Some(Since::Live),
            ..ShadowLimits::default()
        };
        let candidate = ShadowLimits {
            frames: Some(10),
            agreement_min: Some(0.0),
            tolerance: named(&[("score", tolerance(1e9, 1.0)), ("level", tolerance(1e9, 1.0))]),
            latency_ratio_max: Some(100.0),
            alarm_difference_max: Some(1.0),
            distribution_max: distances(&[("*", 1.0), ("score", 1.0)]),
            error_share_max: Some(1.0),
            crashes_max: Some(1000),
            hours_max: Some(2000),
            decide: Some(Decide::Promote),
            from: Some(Since::Capture),
        };
        let site = ShadowLimits {
            latency_ratio_max: Some(2.0),
            alarm_difference_max: Some(0.05),
            distribution_max: distances(&[("*", 0.1)]),
            error_share_max: Some(0.0),
            crashes_max: Some(0),
            hours_max: Some(48),
            ..ShadowLimits::default()
        };
        for all in [
            ShadowLimits::strictest([&candidate, &active, &site]),
            ShadowLimits::strictest([&site, &active, &candidate]),
        ] {
            assert_eq!((all.frames(), all.agreement_min), (500, Some(0.98)));
            assert_eq!(all.tolerance("score"), tolerance(0.1, 0.0));
            assert_eq!(all.tolerance("level"), tolerance(0.5, 0.01));
            // The candidate has named no tolerance for it, so it has to be equal.
            assert_eq!(all.tolerance("other"), Tolerance::default());
            assert_eq!((all.latency_ratio_max, all.error_share_max()), (Some(2.0), 0.0));
            assert_eq!((all.crashes_max(), all.hours_max), (0, Some(48)));
            assert_eq!(all.alarm_difference_max, Some(0.05));
            assert_eq!(all.distribution_max, distances(&[("*", 0.1), ("score", 0.1)]));
            assert_eq!((all.decide(), all.from()), (Decide::Ask, Since::Live));
        }
        // Who asks for agreement and names no tolerance asks for equality.
        let equal = ShadowLimits { agreement_min: Some(0.9), ..ShadowLimits::default() };
        for all in [[&equal, &candidate], [&candidate, &equal]] {
            assert_eq!(ShadowLimits::strictest(all).tolerance("score"), Tolerance::default());
        }
        // Who says nothing of agreement leaves it to the others.
        let all = ShadowLimits::strictest([&site, &active]);
        assert_eq!(all.tolerance("other"), tolerance(0.5, 0.01));
    }

    #[test]
    fn a_shadow_runs_if_anybody_asks_for_frames_and_not_otherwise() {
        let silent = ShadowLimits { agreement_min: Some(0.9), ..ShadowLimits::default() };
        let asking = ShadowLimits { frames: Some(1), ..ShadowLimits::default() };
        assert!(!ShadowLimits::strictest([]).is_wanted());
        assert!(!ShadowLimits::strictest([&silent, &silent]).is_wanted());
        assert!(ShadowLimits::strictest([&silent, &asking]).is_wanted());
        assert!(ShadowLimits::strictest([&asking, &silent]).is_wanted());
    }

    #[test]
    fn values_agree_up_to_their_tolerance_and_nothing_agrees_with_nan() {
        let (exact, near) = (Tolerance::default(), tolerance(0.5, 0.25));
        for (tolerance, active, candidate, agree) in [
            (exact, 1.0, 1.0, true),
            (exact, 1.0, 1.0 + f64::EPSILON, false),
            (exact, f64::INFINITY, f64::INFINITY, true),
            (exact, f64::INFINITY, f64::NEG_INFINITY, false),
            (exact, f64::NAN, f64::NAN, false),
            (near, 2.0, 3.0, true),
            (near, 2.0, 3.0 + 1e-15, false),
            (near, -2.0, -3.0, true),
            (near, -2.0, 2.0, false),
            (near, 0.0, 0.5, true),
            (near, 1.0, f64::NAN, false),
            (near, f64::NAN, 1.0, false),
            (near, 1.0, f64::INFINITY, false),
        ] {
            let says = tolerance.allows(active, candidate);
            assert_eq!(says, agree, "{tolerance:?}: {active} and {candidate}");
        }
    }

    #[test]
    fn limits_that_no_shadow_can_be_judged_by_are_named_with_their_field() {
        let none = ShadowLimits::default;
        let near = |absolute, relative| ShadowLimits {
            tolerance: named(&[("score", tolerance(absolute, relative))]),
            ..none()
        };
        for (limits, wanted) in [
            (none(), "fine"),
            (near(0.0, 1e300), "fine"),
            (ShadowLimits { frames: Some(0), ..none() }, "frames: 0 is not between 1 and 1000000"),
            (
                ShadowLimits { hours_max: Some(2001), ..none() },
                "hours_max: 2001 is not between 1 and 2000",
            ),
            (
                ShadowLimits { crashes_max: Some(1001), ..none() },
                "crashes_max: 1001 is not between 0 and 1000",
            ),
            (
                ShadowLimits { agreement_min: Some(f64::NAN), ..none() },
                "agreement_min: NaN is no share between 0 and 1",
            ),
            (
                ShadowLimits { error_share_max: Some(-0.1), ..none() },
                "error_share_max: -0.1 is no share between 0 and 1",
            ),
            (
                ShadowLimits { latency_ratio_max: Some(0.0), ..none() },
                "latency_ratio_max: 0 is no ratio above 0",
            ),
            (
                ShadowLimits { latency_ratio_max: Some(f64::INFINITY), ..none() },
                "latency_ratio_max: inf is no ratio above 0",
            ),
            (
                ShadowLimits { alarm_difference_max: Some(1.5), ..none() },
                "alarm_difference_max: 1.5 is no share between 0 and 1",
            ),
            (
                ShadowLimits { distribution_max: distances(&[("*", -1.0)]), ..none() },
                "distribution_max.*: -1 is no distance between 0 and 1",
            ),
            (near(-1.0, 0.0), "tolerance.score: -1 is no tolerance: a finite number, at least 0"),
            (
                near(0.0, f64::NAN),
                "tolerance.score: NaN is no tolerance: a finite number, at least 0",
            ),
        ] {
            let said = match limits.check() {
                Ok(()) => "fine".into(),
                Err((field, problem)) => format!("{field}: {problem}"),
            };
            assert_eq!(said, wanted, "{limits:?}");
        }
    }
}
