//! How the values of outputs are distributed, and how far those of two releases may lie apart.

use crate::limits::both;
use crate::shadow::EVERY_OUTPUT;
use crate::verdict::{Against, Breach, holds};
use lineside_sketch::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Outputs of which values are kept, the first by name: a journal has to hold them.
pub const OUTPUTS_MAX: usize = 16;

/// How often which values were given, by output. Yes counts as 1, no as 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, Histogram>);

/// Largest distance of each output's distribution from another release's, 0 to 1; `*` stands for every
/// output that is not named. Where nothing is said there is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DistanceLimits(pub BTreeMap<String, f64>);

impl Values {
    /// Takes a value of an output. Those of one output too many are not kept.
    pub fn add(&mut self, output: &str, value: f64) {
        match self.0.get_mut(output) {
            Some(histogram) => histogram.add(value),
            None => self.entry(output).into_iter().for_each(|histogram| histogram.add(value)),
        }
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Values) {
        for (output, histogram) in &other.0 {
            self.entry(output).into_iter().for_each(|mine| mine.merge(histogram));
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How far the values of an output lie from what they are with another release: the two-sample
    /// Kolmogorov–Smirnov distance, 0 to 1. An output that is missing here is as far as can be; none
    /// where the other release has fewer than `needed` values of it.
    pub fn distance(&self, other: &Values, output: &str, needed: u64) -> Option<f64> {
        let theirs = other.0.get(output)?;
        let count = theirs.count().saturating_add(theirs.not_finite());
        if count < needed.max(1) {
            return None;
        }
        Some(self.0.get(output).and_then(|mine| mine.distance(theirs)).unwrap_or(1.0))
    }

    /// The output that lies furthest from what it is with another release.
    pub fn furthest(&self, other: &Values) -> Option<(&str, f64)> {
        let outputs = self.0.keys();
        let distances = outputs.filter_map(|name| Some((&**name, self.distance(other, name, 1)?)));
        distances.max_by(|(_, one), (_, another)| one.total_cmp(another))
    }

    fn entry(&mut self, output: &str) -> Option<&mut Histogram> {
        if self.0.len() >= OUTPUTS_MAX && !self.0.contains_key(output) {
            return None;
        }
        Some(self.0.entry(output.to_owned()).or_default())
    }
}

impl DistanceLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limit of an output.
    pub fn of(&self, output: &str) -> Option<f64> {
        self.0.get(output).or_else(|| self.0.get(EVERY_OUTPUT)).copied()
    }

    pub(crate) fn strictest(&self, other: &DistanceLimits) -> DistanceLimits {
        let named: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let strictest = |name: &String| both(self.of(name), other.of(name), f64::min);
        DistanceLimits(
            named.into_iter().filter_map(|name| Some((name.clone(), strictest(name)?))).collect(),
        )
    }

    /// The output that lies furthest beyond its limit. Outputs are judged of which the other release
    /// has given `needed` values.
    pub(crate) fn breach(
        &self,
        (seen, frames): (&Values, u64),
        other: &Values,
        needed: u64,
        against: Against,
    ) -> Option<Breach> {
        let beyond = other.0.keys().filter_map(|name| {
            let (distance, max) = (seen.distance(other, name, needed)?, self.of(name)?);
            (!holds(distance, max)).then_some((name, distance, max))
        });
        let (name, distance, max) = beyond.max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)))?;
        Some(Breach::Distribution { name: name.clone(), distance, max, frames, against })
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), (String, String)> {
        match self.0.iter().find(|(_, max)| !(0.0..=1.0).contains(*max)) {
            Some((name, max)) => {
                Err((format!("{field}.{name}"), format!("{max} is no distance between 0 and 1")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(output: &str, values: &[f64]) -> Values {
        let mut counted = Values::default();
        values.iter().for_each(|value| counted.add(output, *value));
        counted
    }

    fn limits(limits: &[(&str, f64)]) -> DistanceLimits {
        DistanceLimits(limits.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect())
    }

    #[test]
    fn the_output_that_lies_furthest_beyond_its_limit_is_named() {
        let mut seen = values("level", &[1.0, 1.0, 1.0, 5.0]);
        seen.merge(&values("score", &[1.0, 9.0]));
        let mut other = values("level", &[1.0, 1.0, 1.0, 1.0]);
        other.merge(&values("score", &[1.0, 1.0]));
        let told = |limits: &DistanceLimits, needed| {
            let breach = limits.breach((&seen, 60), &other, needed, Against::Active);
            breach.map_or("fine".into(), |breach| breach.to_string())
        };
        assert_eq!(
            told(&limits(&[("*", 0.125)]), 1),
            "output score lies 0.500 from the active release's distribution, 0.125 allowed, over 60 frames"
        );
        assert!(told(&limits(&[("*", 0.125), ("score", 0.5)]), 1).starts_with("output level"));
        assert_eq!(told(&limits(&[("level", 0.25), ("score", 0.5)]), 2), "fine");
        assert!(told(&limits(&[("level", 0.24)]), 4).starts_with("output level lies 0.250"));
        assert_eq!(told(&limits(&[("*", 0.0)]), 5), "fine", "four values are too few");
        assert_ne!(told(&limits(&[("*", f64::NAN)]), 4), "fine");
        // Not the one that lies furthest, nor the one whose limit is widest.
        let named = |level, score| told(&limits(&[("level", level), ("score", score)]), 1);
        assert!(named(0.2, 0.4).starts_with("output score"), "0.1 beyond rather than 0.05");
        assert!(named(0.05, 0.4).starts_with("output level"), "0.2 beyond rather than 0.1");
        assert_eq!(seen.furthest(&other), Some(("score", 0.5)));
    }

    #[test]
    fn an_output_that_is_gone_is_as_far_as_can_be_and_one_that_is_new_is_not_judged() {
        let (old, new) = (values("old", &[1.0; 30]), values("new", &[1.0; 30]));
        let limits = limits(&[("*", 0.9), ("new", 0.0)]);
        let breach = limits.breach((&new, 30), &old, 30, Against::Previous).unwrap();
        assert_eq!(
            breach.to_string(),
            "output old lies 1.000 from the release before's distribution, 0.900 allowed, over 30 frames"
        );
        assert_eq!(new.distance(&old, "new", 0), None);
        assert_eq!(new.distance(&Values::default(), "old", 0), None);
        let mut empty = Values::default();
        empty.merge(&Values(BTreeMap::from([("old".into(), Histogram::default())])));
        assert_eq!(
            (old.distance(&empty, "old", 0), empty.distance(&old, "old", 30)),
            (None, Some(1.0))
        );
    }

    #[test]
    fn an_author_cannot_loosen_a_limit_by_its_name_nor_by_that_of_all() {
        let active = limits(&[("score", 0.1), ("*", 0.3)]);
        let candidate = limits(&[("score", 0.9), ("level", 0.2), ("*", 1.0)]);
        for all in [active.strictest(&candidate), candidate.strictest(&active)] {
            assert_eq!(
                (all.of("score"), all.of("level"), all.of("other")),
                (Some(0.1), Some(0.2), Some(0.3))
            );
        }
        let named = limits(&[("score", 0.5)]);
        for all in [active.strictest(&named), named.strictest(&active)] {
            assert_eq!((all.of("score"), all.of("other")), (Some(0.1), Some(0.3)));
        }
        let named = named.strictest(&DistanceLimits::default());
        assert_eq!((named.of("score"), named.of("other")), (Some(0.5), None));
        assert!(limits(&[]).is_empty() && !named.is_empty());
    }

    #[test]
    fn what_is_kept_has_a_bound_and_adds_up() {
        let mut many = Values::default();
        for output in 0..2 * OUTPUTS_MAX {
            many.add(&format!("{output:02}"), 1.0);
            many.merge(&values(&format!("{output:02}"), &[2.0, 2.0, 2.0]));
        }
        assert_eq!(many.0.len(), OUTPUTS_MAX);
        assert!(!many.is_empty() && Values::default().is_empty());
        let apart = many.distance(&values("00", &[1.0, 2.0]), "00", 2);
        assert_eq!(apart, Some(0.25));
    }

    #[test]
    fn a_limit_that_is_no_distance_is_named() {
        for wrong in [-0.1, 1.1, f64::NAN] {
            let (field, problem) =
                limits(&[("score", wrong)]).check("distribution_max").unwrap_err();
            assert_eq!(field, "distribution_max.score");
            assert!(problem.ends_with("is no distance between 0 and 1"), "{problem}");
        }
        assert_eq!(limits(&[("a", 0.0), ("b", 1.0)]).check("distribution_max"), Ok(()));
    }
}
