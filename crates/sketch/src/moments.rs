//! Count, mean and spread.

mod encoded;

use crate::wide::Wide;
use serde::{Deserialize, Serialize};

/// Steps per unit of the fixed-point sums: 2^23.
pub(crate) const STEPS_PER_UNIT: f64 = 8_388_608.0;
/// Values beyond are summed as this: 2^40.
pub const MAGNITUDE_MAX: f64 = 1_099_511_627_776.0;

/// Count, extremes, sum and sum of squares of finite values.
///
/// Sums of floating-point numbers depend on their order, so each value enters the sums as a whole
/// number of steps of 2^-23 (about 1.2e-7); these sums are exact, whatever their order, for 2^64
/// values. Magnitudes above 2^40 enter as 2^40 and are counted; the extremes stay exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Moments {
    count: u64,
    clamped: u64,
    min: f64,
    max: f64,
    sum: i128,
    squares: Wide,
}

/// Moments as they are written: the fields in this order.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    clamped: u64,
    min: f64,
    max: f64,
    sum: i128,
    squares: Wide,
}

impl From<Moments> for Written {
    fn from(moments: Moments) -> Written {
        let Moments { count, clamped, min, max, sum, squares } = moments;
        Written { count, clamped, min, max, sum, squares }
    }
}

impl TryFrom<Written> for Moments {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Moments, &'static str> {
        let Written { count, clamped, min, max, sum, squares } = written;
        let moments = Moments { count, clamped, min, max, sum, squares };
        if count == 0 {
            let empty = moments == Moments::default();
            return if empty { Ok(moments) } else { Err("moments of nothing that hold something") };
        }
        if !(min.is_finite() && max.is_finite() && min <= max) || clamped > count {
            return Err("moments whose extremes or counts cannot be");
        }
        Ok(moments)
    }
}

impl Default for Moments {
    fn default() -> Moments {
        Moments {
            count: 0,
            clamped: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0,
            squares: Wide::default(),
        }
    }
}

impl Moments {
    /// Takes a value. NaN and infinities are nobody's mean: count them elsewhere.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count = self.count.saturating_add(1);
        // Zero has two signs; which one came first must not show.
        let value = value + 0.0;
        self.min = lesser(self.min, value);
        self.max = -lesser(-self.max, -value);
        if let Some(steps) = few_steps(value) {
            self.sum = self.sum.saturating_add(steps.into());
            let magnitude = u128::from(steps.unsigned_abs());
            self.squares = self.squares.saturating_add(Wide::from(magnitude * magnitude));
        } else {
            self.add_many_steps(value);
        }
    }

    /// Takes finite values.
    pub(crate) fn add_finite(&mut self, values: &[f64]) {
        // So many sums of so many steps and of their squares fit 64 and 128 digits.
        for values in values.chunks(256) {
            let (mut sum, mut squares, mut are_few) = (0i64, 0u128, true);
            let (mut min, mut max) = (self.min, self.max);
            for value in values {
                let value = value + 0.0;
                min = lesser(min, value);
                max = -lesser(-max, -value);
                let steps = few_steps(value);
                are_few &= steps.is_some();
                let steps = steps.unwrap_or(0);
                sum += steps;
                let magnitude = u128::from(steps.unsigned_abs());
                squares += magnitude * magnitude;
            }
            if !are_few {
                values.iter().for_each(|value| self.add(*value));
                continue;
            }
            self.count = self.count.saturating_add(values.len() as u64);
            (self.min, self.max) = (min, max);
            self.sum = self.sum.saturating_add(sum.into());
            self.squares = self.squares.saturating_add(Wide::from(squares));
        }
    }

    #[inline(never)]
    fn add_many_steps(&mut self, value: f64) {
        if value.abs() > MAGNITUDE_MAX {
            self.clamped = self.clamped.saturating_add(1);
        }
        let steps = steps(value);
        self.sum = self.sum.saturating_add(steps);
        self.squares = self.squares.saturating_add(Wide::from(steps.unsigned_abs().pow(2)));
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Moments) {
        self.count = self.count.saturating_add(other.count);
        self.clamped = self.clamped.saturating_add(other.clamped);
        self.min = lesser(self.min, other.min);
        self.max = -lesser(-self.max, -other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// Values taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Values whose magnitude entered the sums as 2^40: mean and deviation are then not those of the
    /// values.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Smallest and largest value; none before the first.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// Mean; none before the first value. Off by at most half a step of 2^-23 and the rounding of a
    /// 64-bit float, as long as nothing was clamped.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / STEPS_PER_UNIT / self.count as f64)
    }

    /// Standard deviation of the values as a whole (divided by their number); none before the first.
    ///
    /// Exact for the values rounded to steps of 2^-23, but for the rounding of a 64-bit float: a
    /// constant gives 0, whatever its size. Spreads far below a step do not show.
    pub fn deviation(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // Around a whole number near the mean, so that large values do not drown a small spread:
        // sum((x - m)^2) = squares - m * (sum + rest) with sum = count * m + rest.
        let count = i128::from(self.count);
        let (near, rest) = (self.sum / count, self.sum % count);
        let near = u64::try_from(near.unsigned_abs()).unwrap_or(u64::MAX);
        let shift = Wide::product(near, self.sum.saturating_add(rest).unsigned_abs());
        let around = self.squares.saturating_sub(shift).to_f64() / self.count as f64;
        let off = rest as f64 / self.count as f64;
        Some((around - off * off).max(0.0).sqrt() / STEPS_PER_UNIT)
    }
}

/// A number in whole steps, the nearest, of two the even one, where they are below 2^51: magnitudes below
/// 2^28. Without a rounding instruction, which not every processor has.
#[inline]
fn few_steps(value: f64) -> Option<i64> {
    /// 2^52 and 2^51: all numbers as far from it as that are whole, and their digits are those of the
    /// distance.
    const MIDDLE: f64 = 6_755_399_441_055_744.0;
    const FEW: f64 = 2_251_799_813_685_248.0;
    let steps = value * STEPS_PER_UNIT;
    (steps.abs() < FEW)
        .then(|| ((steps + MIDDLE).to_bits() as i64).wrapping_sub(MIDDLE.to_bits() as i64))
}

/// A finite number in whole steps: at most 2^63, so a square fits 127 binary digits.
pub(crate) fn steps(value: f64) -> i128 {
    let bounded = value.clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX);
    let whole = (bounded * STEPS_PER_UNIT).round_ties_even();
    // 2^63 alone does not fit, and 128 digits take a call of the compiler's library.
    match whole as i64 {
        i64::MAX => whole as i128,
        steps => steps.into(),
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

    #[test]
    fn a_small_spread_around_a_large_value_is_not_lost() {
        assert_eq!(of(&[1000.3; 1000]).deviation(), Some(0.0));
        assert_eq!(of(&[1e9 - 1.0, 1e9 + 1.0]).deviation(), Some(1.0));
        assert_eq!(of(&[-1e12 - 1.0, -1e12 + 1.0]).deviation(), Some(1.0));
        assert_eq!(of(&[MAGNITUDE_MAX; 1000]).deviation(), Some(0.0));
        let far = of(&[MAGNITUDE_MAX, -MAGNITUDE_MAX, 1e300]);
        assert_eq!((far.clamped(), far.range()), (1, Some((-MAGNITUDE_MAX, 1e300))));
        assert_eq!(of(&[MAGNITUDE_MAX, -MAGNITUDE_MAX]).deviation(), Some(MAGNITUDE_MAX));
    }

    #[test]
    fn what_cannot_have_been_counted_is_not_read() {
        let written = |count, min, max| Written {
            count,
            clamped: 0,
            min,
            max,
            sum: i128::MIN,
            squares: Wide::default(),
        };
        assert!(Moments::try_from(written(0, 0.0, 0.0)).is_err());
        assert!(Moments::try_from(written(1, 2.0, 1.0)).is_err());
        assert!(Moments::try_from(written(1, f64::NAN, 1.0)).is_err());
        // Sums that do not fit the counts give a wrong figure, and no more than that.
        let mut strange = Moments::try_from(written(u64::MAX, 1.0, 1.0)).unwrap();
        strange.merge(&strange.clone());
        strange.add(1.0);
        assert!(strange.deviation().is_some_and(f64::is_finite));
    }

    proptest! {
        #[test]
        fn few_steps_are_those_of_any_number(bits: u64, small in -1e9f64..1e9, half in -9i64..9) {
            let halves = (half as f64 + 0.5) / STEPS_PER_UNIT;
            for value in [f64::from_bits(bits), small, halves, small.round() + halves] {
                if value.is_finite() {
                    let few = few_steps(value).map(i128::from);
                    prop_assert_eq!(few, (value.abs() < 2f64.powi(28)).then(|| steps(value)));
                }
            }
        }

        #[test]
        fn order_and_grouping_do_not_show(
            values in prop::collection::vec(-1e13f64..1e13, 0..60),
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
        fn mean_and_deviation_are_as_exact_as_promised(
            values in prop::collection::vec(-1e3f64..1e3, 1..100),
            offset in -1e9f64..1e9,
        ) {
            let values: Vec<f64> = values.iter().map(|value| value + offset).collect();
            // Two passes around the first value, where nothing large cancels.
            let count = values.len() as f64;
            let shifted: Vec<f64> = values.iter().map(|value| value - values[0]).collect();
            let mean = shifted.iter().sum::<f64>() / count;
            let square = shifted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let moments = of(&values);
            // One step of 2^-23, and what 64-bit floats round at a billion.
            prop_assert!((moments.mean().unwrap() - values[0] - mean).abs() < 5e-7);
            prop_assert!((moments.deviation().unwrap() - square.sqrt()).abs() < 3e-7);
        }
    }
}
