//! Count, mean and spread.

use serde::{Deserialize, Serialize};

/// Steps per unit of the fixed-point sum: a resolution of about 2.3e-10.
const STEPS_PER_UNIT: f64 = 4_294_967_296.0;
/// Values beyond are summed as this: 2^40. The sum has room for 2^55 such values, the sum of squares
/// for 2^7; then they stay at their largest.
const MAGNITUDE_MAX: f64 = 1_099_511_627_776.0;

/// Count, extremes, sum and sum of squares of finite values.
///
/// Sums are kept in fixed point with 32 binary digits after the point, in 128 bits, because sums
/// of floating-point numbers depend on their order. Magnitudes above 2^40 count as 2^40 in the
/// sums; the extremes stay exact. The sum of squares holds values rounded to 2^-20 (about 1e-6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    min: f64,
    max: f64,
    sum: i128,
    squares: i128,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0, squares: 0 }
    }
}

impl Moments {
    /// Takes a value. NaN and infinities are nobody's mean: count them elsewhere.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        // Zero has two signs; which one came first must not show.
        let value = value + 0.0;
        self.min = lesser(self.min, value);
        self.max = -lesser(-self.max, -value);
        let bounded = value.clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX);
        self.sum = self.sum.saturating_add((bounded * STEPS_PER_UNIT).round_ties_even() as i128);
        let coarse = (bounded * 1_048_576.0).round_ties_even() as i128;
        self.squares = self.squares.saturating_add(coarse.saturating_mul(coarse));
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.min = lesser(self.min, other.min);
        self.max = -lesser(-self.max, -other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// Values taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Smallest and largest value; none before the first.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// Mean; none before the first value. Off by at most 2.4e-10 and the rounding of a 64-bit float,
    /// as long as no value was beyond 2^40.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / STEPS_PER_UNIT / self.count as f64)
    }

    /// Standard deviation of the values as a whole (divided by their number); none before the first.
    ///
    /// A rough figure where the spread is small beside the values: around magnitude `m` it may be off
    /// by `sqrt(m) / 1024 + m / 2^25`, because squares are kept to 2^-20. A constant 1000.3 gives
    /// 0.02, and a spread of 1 around 1e9 is lost.
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        let square = self.squares as f64 / (1_048_576.0 * 1_048_576.0) / self.count as f64;
        Some((square - mean * mean).max(0.0).sqrt())
    }
}

/// The lesser of two numbers that are not NaN; the standard's minimum may give either zero.
fn lesser(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value));
        moments
    }

    #[test]
    fn agrees_with_a_worked_example() {
        // 2, 4, 4, 4, 5, 5, 7, 9: mean 5, standard deviation 2.
        let moments = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, f64::NAN, f64::INFINITY]);
        assert_eq!((moments.count(), moments.range()), (8, Some((2.0, 9.0))));
        assert_eq!((moments.mean(), moments.deviation()), (Some(5.0), Some(2.0)));
        assert_eq!(Moments::default().mean(), None);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show(
            values in prop::collection::vec(-1e9f64..1e9, 0..60),
            split in 0usize..60,
            turn in 0usize..60,
        ) {
            let whole = of(&values);
            let mut turned = values.clone();
            turned.rotate_left(turn.min(values.len()));
            let (left, right) = turned.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn the_mean_is_as_exact_as_promised(values in prop::collection::vec(-1e6f64..1e6, 1..100)) {
            let exact = values.iter().sum::<f64>() / values.len() as f64;
            let mean = of(&values).mean().unwrap();
            // The exact one is itself a floating-point sum of up to a hundred millions.
            prop_assert!((mean - exact).abs() < 1e-8, "{} {}", mean, exact);
        }
    }
}
