//! How good answers of yes and no should be by their own probabilities, where no outcome is known yet: what
//! confidence-based performance estimation computes (CBPE, Białek et al. 2023), from a histogram.

use crate::sketched::Estimate;
use lineside_sketch::Histogram;

/// How often answers are expected to be right and wrong, if the probabilities are calibrated: of the findings with
/// a probability of 0.8, eight in ten turn out to be so. It is an estimate, and says nothing where the process
/// has changed in a way that the probabilities do not know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Yes, and it was so.
    pub true_positives: Estimate,
    /// Yes, and it was not so.
    pub false_positives: Estimate,
    /// No, and it was so.
    pub false_negatives: Estimate,
    /// No, and it was not so.
    pub true_negatives: Estimate,
}

/// What is expected of answers that are yes where the probability of a yes is above `above`: of each probability p
/// that is, p true and 1 − p false positives; of each other one, p false and 1 − p true negatives.
///
/// A bucket of the histogram reaches 1/64 of its middle to both sides, which the bounds say. None without values,
/// or where some are no probabilities.
pub fn expected(probabilities: &Histogram, above: f64) -> Option<Expected> {
    let none = Estimate::exact(0.0);
    let mut sums = [none; 4];
    if probabilities.count() == 0 || probabilities.not_finite() > 0 {
        return None;
    }
    for (first, end, count) in probabilities.ranges() {
        if end < 0.0 || first > 1.0 {
            return None;
        }
        let count = count as f64;
        let (low, high) = (first.clamp(0.0, 1.0), end.clamp(0.0, 1.0));
        let middle = low + (high - low) / 2.0;
        let (so, not_so) = (
            Estimate { value: count * middle, low: count * low, high: count * high },
            Estimate {
                value: count * (1.0 - middle),
                low: count * (1.0 - high),
                high: count * (1.0 - low),
            },
        );
        let [yes, no] = [[0, 1], [2, 3]];
        let is_yes = middle > above;
        // Where the bucket lies on both sides of it, some of them may be on either.
        let is_split = first <= above && above < end;
        for (places, is_it) in [(yes, is_yes), (no, !is_yes)] {
            for (place, part) in places.into_iter().zip([so, not_so]) {
                let part = match (is_it, is_split) {
                    (true, false) => part,
                    (true, true) => Estimate { low: 0.0, ..part },
                    (false, true) => Estimate { value: 0.0, low: 0.0, ..part },
                    (false, false) => continue,
                };
                let sum = &mut sums[place];
                sum.value += part.value;
                sum.low += part.low;
                sum.high += part.high;
            }
        }
    }
    let [true_positives, false_positives, false_negatives, true_negatives] = sums;
    Some(Expected { true_positives, false_positives, false_negatives, true_negatives })
}

impl Expected {
    /// The share of answers that are right.
    pub fn accuracy(&self) -> Option<Estimate> {
        let right = sum(self.true_positives, self.true_negatives);
        share(right, sum(self.false_positives, self.false_negatives))
    }

    /// The share of yeses that are right; none where there is none.
    pub fn precision(&self) -> Option<Estimate> {
        share(self.true_positives, self.false_positives)
    }

    /// The share of what is so that is answered with yes.
    pub fn recall(&self) -> Option<Estimate> {
        share(self.true_positives, self.false_negatives)
    }

    /// The harmonic mean of both.
    pub fn f1(&self) -> Option<Estimate> {
        let doubled = sum(self.true_positives, self.true_positives);
        share(doubled, sum(self.false_positives, self.false_negatives))
    }
}

fn sum(a: Estimate, b: Estimate) -> Estimate {
    Estimate { value: a.value + b.value, low: a.low + b.low, high: a.high + b.high }
}

/// `part / (part + rest)`: it grows with the part and shrinks with the rest.
fn share(part: Estimate, rest: Estimate) -> Option<Estimate> {
    let of = |part: f64, rest: f64| if part + rest > 0.0 { part / (part + rest) } else { 0.0 };
    (part.value + rest.value > 0.0).then(|| Estimate {
        value: of(part.value, rest.value),
        low: of(part.low, rest.high),
        high: of(part.high, rest.low),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    #[test]
    fn what_is_expected_is_the_sum_of_the_probabilities() {
        // By hand: yes are 0.9, 0.8, 0.6; tp = 2.3, fp = 0.7; no are 0.3, 0.1: fn = 0.4, tn = 1.6.
        let expected = expected(&histogram(&[0.9, 0.8, 0.6, 0.3, 0.1]), 0.5).unwrap();
        for (found, wanted) in [
            (expected.accuracy(), 3.9 / 5.0),
            (expected.precision(), 2.3 / 3.0),
            (expected.recall(), 2.3 / 2.7),
            (expected.f1(), 4.6 / 5.7),
        ] {
            let found = found.unwrap();
            assert!(found.low <= wanted && wanted <= found.high, "{found:?}, not {wanted}");
            assert!((found.value - wanted).abs() < 0.01, "{found:?}, not {wanted}");
        }
    }

    #[test]
    fn what_is_no_probability_is_not_taken_for_one() {
        for values in [&[][..], &[0.5, 1.5], &[0.5, -0.5], &[0.5, f64::NAN]] {
            assert_eq!(expected(&histogram(values), 0.5), None, "{values:?}");
        }
        let none = expected(&histogram(&[0.1, 0.2]), 0.5).unwrap();
        assert_eq!(none.precision(), None);
        let sure = expected(&histogram(&[0.0, 1.0, 1.0]), 0.5).unwrap();
        assert!(sure.accuracy().is_some_and(|it| it.low <= 1.0 && it.high >= 0.99), "{sure:?}");
    }

    proptest! {
        #[test]
        fn the_bounds_hold(
            values in prop::collection::vec(0.0f64..=1.0, 1..200),
            above in 0.0f64..1.0,
        ) {
            let [mut tp, mut fp, mut missed, mut tn] = [0.0; 4];
            for p in &values {
                let [so, not_so] = if *p > above { [&mut tp, &mut fp] } else { [&mut missed, &mut tn] };
                *so += p;
                *not_so += 1.0 - p;
            }
            let found = expected(&histogram(&values), above).unwrap();
            for (found, wanted) in [
                (found.true_positives, tp),
                (found.false_positives, fp),
                (found.false_negatives, missed),
                (found.true_negatives, tn),
            ] {
                let near = 1e-9 * (1.0 + wanted);
                prop_assert!(
                    found.low - near <= wanted && wanted <= found.high + near,
                    "{:?}, not {}", found, wanted);
            }
            if let (Some(f1), true) = (found.f1(), tp > 0.0) {
                let wanted = 2.0 * tp / (2.0 * tp + fp + missed);
                prop_assert!(f1.low - 1e-9 <= wanted && wanted <= f1.high + 1e-9, "{:?}", f1);
            }
        }
    }
}
