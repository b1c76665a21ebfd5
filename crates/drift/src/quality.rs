//! How well answers were, by the outcomes that were heard of later: from counts, histograms and moments, as
//! devices tell them. Definitions are those of scikit-learn 1.9.

use lineside_sketch::{Histogram, Moments};
use std::collections::{BTreeMap, BTreeSet};

/// How often each answer met each outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    /// By answer and outcome. Yes and no are `true` and `false`.
    counts: BTreeMap<(String, String), u64>,
}

/// The same, for one category against all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OneCategory {
    /// It was answered, and was so.
    pub true_positives: u64,
    /// It was answered, and was not so.
    pub false_positives: u64,
    /// It was not answered, and was so.
    pub false_negatives: u64,
    /// It was not answered, and was not so.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts that an answer has met an outcome, `count` times.
    pub fn add(&mut self, answered: &str, outcome: &str, count: u64) {
        let counted = self.counts.entry((answered.to_owned(), outcome.to_owned())).or_insert(0);
        *counted = counted.saturating_add(count);
    }

    /// How often, by answer and outcome, in rising order.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counts.iter().map(|((answered, outcome), count)| (&**answered, &**outcome, *count))
    }

    /// Outcomes in all.
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The share of answers that were so; none before the first.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.counts().filter(|(answered, outcome, _)| answered == outcome);
        share(right.fold(0, |sum: u64, (.., count)| sum.saturating_add(count)), self.total())
    }

    /// Everything that was answered or was so, in rising order.
    pub fn categories(&self) -> BTreeSet<&str> {
        self.counts().flat_map(|(answered, outcome, _)| [answered, outcome]).collect()
    }

    /// One category against all others; `true` is yes.
    pub fn of(&self, category: &str) -> OneCategory {
        let mut one = OneCategory::default();
        for (answered, outcome, count) in self.counts() {
            let counted = match (answered == category, outcome == category) {
                (true, true) => &mut one.true_positives,
                (true, false) => &mut one.false_positives,
                (false, true) => &mut one.false_negatives,
                (false, false) => &mut one.true_negatives,
            };
            *counted = counted.saturating_add(count);
        }
        one
    }

    /// The mean of F1 over all categories, each of the same weight; one that has none counts as 0. None
    /// before the first outcome.
    pub fn f1_macro(&self) -> Option<f64> {
        let categories = self.categories();
        let sum: f64 = categories.iter().map(|it| self.of(it).f1().unwrap_or(0.0)).sum();
        (!categories.is_empty()).then(|| sum / categories.len() as f64)
    }
}

impl OneCategory {
    /// The share of those answered that were so; none where it was never answered.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives.saturating_add(self.false_positives))
    }

    /// The share of those that were so that was answered; none where none was so.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives.saturating_add(self.false_negatives))
    }

    /// The harmonic mean of both: `2 tp / (2 tp + fp + fn)`; none where it was neither answered nor so.
    pub fn f1(&self) -> Option<f64> {
        let doubled = self.true_positives.saturating_mul(2);
        let all = doubled.saturating_add(self.false_positives);
        share(doubled, all.saturating_add(self.false_negatives))
    }
}

/// The area under the receiver operating characteristic, as far as histograms tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Pairs whose scores fall into the same bucket count as half.
    pub area: f64,
    /// That of the values themselves is no less …
    pub low: f64,
    /// … and no more.
    pub high: f64,
}

/// The share of pairs of a score where the outcome was so and one where it was not in which the former is
/// higher, equal ones as half: 0 to 1. None where one of both has no finite score; those that are not finite
/// have no part in it.
pub fn area(so: &Histogram, not_so: &Histogram) -> Option<Area> {
    let pairs = so.count() as f64 * not_so.count() as f64;
    if pairs == 0.0 {
        return None;
    }
    let below: Vec<(f64, f64, u64)> = not_so.ranges().collect();
    let (mut higher, mut untold) = (0.0, 0.0);
    for (first, end, count) in so.ranges() {
        // Ranges hold their first number and not their end.
        for (other_first, other_end, other_count) in &below {
            let pairs = count as f64 * *other_count as f64;
            if *other_end <= first {
                higher += pairs;
            } else if *other_first < end {
                untold += pairs;
            }
        }
    }
    let (low, high) = (higher / pairs, ((higher + untold) / pairs).min(1.0));
    Some(Area { area: ((higher + untold / 2.0) / pairs).min(1.0), low, high })
}

/// How far numbers were from their outcomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Mean of answer less outcome.
    pub bias: f64,
    /// Mean of the absolute difference.
    pub mean_absolute: f64,
    /// Root of the mean square of the difference.
    pub root_mean_square: f64,
}

/// From the moments of answer less outcome, and of that without its sign; none before the first. In the unit
/// of the answers, as exact as [`Moments`] are.
pub fn errors(error: &Moments, absolute: &Moments) -> Option<Errors> {
    let (bias, deviation) = (error.mean()?, error.deviation()?);
    let root_mean_square = libm::hypot(bias, deviation);
    Some(Errors { bias, mean_absolute: absolute.mean()?, root_mean_square })
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// To the rounding of a few 64-bit operations.
    fn close(found: Option<f64>, wanted: f64) {
        let found = found.unwrap();
        assert!((found - wanted).abs() < 1e-12, "{found}, not {wanted}");
    }

    #[test]
    fn yes_and_no_are_judged_as_by_scikit_learn() {
        // y = [1]*40 + [0]*10 + [1]*5 + [0]*945; p = [1]*50 + [0]*950
        // accuracy_score, precision_score, recall_score, f1_score (y, p)
        let mut confusion = Confusion::default();
        for (answered, outcome, count) in [
            ("true", "true", 40),
            ("true", "false", 10),
            ("false", "true", 5),
            ("false", "false", 945),
        ] {
            confusion.add(answered, outcome, count);
        }
        let yes = confusion.of("true");
        close(confusion.accuracy(), 0.985);
        close(yes.precision(), 0.8);
        close(yes.recall(), 0.8888888888888888);
        close(yes.f1(), 0.8421052631578947);
        assert_eq!((yes.true_negatives, confusion.total()), (945, 1000));
        let nothing = Confusion::default();
        assert_eq!(
            (nothing.accuracy(), nothing.f1_macro(), nothing.of("true").f1()),
            (None, None, None)
        );
    }

    #[test]
    fn categories_are_judged_as_by_scikit_learn() {
        // y and p of these counts: accuracy_score(y, p); precision_recall_fscore_support(y, p);
        // f1_score(y, p, average="macro")
        let mut confusion = Confusion::default();
        for (answered, outcome, count) in [
            ("a", "a", 30),
            ("a", "b", 4),
            ("a", "c", 1),
            ("b", "a", 3),
            ("b", "b", 25),
            ("b", "c", 7),
            ("c", "b", 2),
            ("c", "c", 28),
        ] {
            confusion.add(answered, outcome, count);
        }
        close(confusion.accuracy(), 0.83);
        close(confusion.f1_macro(), 0.8294711824123588);
        for (category, precision, recall, f1) in [
            ("a", 30.0 / 35.0, 30.0 / 33.0, 0.8823529411764706),
            ("b", 25.0 / 35.0, 25.0 / 31.0, 0.7575757575757576),
            ("c", 28.0 / 30.0, 28.0 / 36.0, 0.8484848484848485),
        ] {
            let one = confusion.of(category);
            close(one.precision(), precision);
            close(one.recall(), recall);
            close(one.f1(), f1);
        }
    }

    fn histogram(values: impl IntoIterator<Item = f64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }

    #[test]
    fn the_area_is_that_of_scikit_learn_within_its_bounds() {
        // roc_auc_score([1]*6 + [0]*7, so + not_so): no two share a bucket.
        let so = histogram([0.9, 0.8, 0.7, 0.55, 0.4, 0.85]);
        let not_so = histogram([0.1, 0.2, 0.35, 0.6, 0.3, 0.05, 0.75]);
        let Area { area: found, low, high } = area(&so, &not_so).unwrap();
        close(Some(found), 0.8809523809523809);
        assert_eq!((low, high), (found, found));
        // so = [1 + (i*37 % 100)/50 for i in range(200)]; not_so = [0.5 + (i*61 % 100)/60 for i in range(300)]
        // roc_auc_score([1]*200 + [0]*300, so + not_so)
        let so = histogram((0..200).map(|i| 1.0 + f64::from(i * 37 % 100) / 50.0));
        let not_so = histogram((0..300).map(|i| 0.5 + f64::from(i * 61 % 100) / 60.0));
        let Area { area: found, low, high } = area(&so, &not_so).unwrap();
        assert!(low <= 0.7953 && 0.7953 <= high && high - low < 0.02, "{low} to {high}");
        assert!((found - 0.7953).abs() < 0.002, "{found}");
        assert_eq!(area(&so, &histogram([f64::NAN])), None);
        assert_eq!(area(&histogram([0.0]), &histogram([0.0])).unwrap().area, 0.5);
    }

    #[test]
    fn numbers_are_judged_as_by_scikit_learn() {
        // y = [2, 3.5, -1, 4.25, 0.5]; a = [2.5, 3, -0.25, 4, 1.5]
        // mean_absolute_error(y, a), root_mean_squared_error(y, a), mean(a - y)
        let (mut error, mut absolute) = (Moments::default(), Moments::default());
        assert_eq!(errors(&error, &absolute), None);
        for (outcome, answered) in [(2.0, 2.5), (3.5, 3.0), (-1.0, -0.25), (4.25, 4.0), (0.5, 1.5)]
        {
            error.add(answered - outcome);
            absolute.add(f64::abs(answered - outcome));
        }
        let found = errors(&error, &absolute).unwrap();
        close(Some(found.mean_absolute), 0.6);
        close(Some(found.root_mean_square), 0.6519202405202649);
        close(Some(found.bias), 0.3);
    }

    proptest! {
        #[test]
        fn the_area_of_the_values_is_within_the_bounds(
            so in prop::collection::vec(-3.0f64..3.0, 1..60),
            not_so in prop::collection::vec(-3.0f64..3.0, 1..60),
        ) {
            let mut doubled = 0;
            for one in &so {
                for other in &not_so {
                    doubled += if one > other { 2 } else { u64::from(one == other) };
                }
            }
            let exact = doubled as f64 / 2.0 / (so.len() * not_so.len()) as f64;
            let found = area(&histogram(so), &histogram(not_so)).unwrap();
            prop_assert!(found.low - 1e-12 <= exact && exact <= found.high + 1e-12, "{exact}: {found:?}");
            prop_assert!(found.low <= found.area && found.area <= found.high);
        }
    }
}
