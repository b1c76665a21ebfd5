//! How two columns go together.

use crate::encoding::{DecodeError, Parts, Reader, Writer};
use crate::moments::{MAGNITUDE_MAX, STEPS_PER_UNIT, steps};
use crate::wide::{Double, Wide};

/// Sums of two columns' values, of their squares and of their products, over rows in which both are
/// finite numbers.
///
/// In whole steps of 2^-23 as with [`Moments`](crate::Moments), exact in any order. Magnitudes above
/// 2^40 enter as 2^40 and are counted. Covariance and correlation are those of the values so rounded,
/// exact but for the rounding of a 64-bit float at the end: nothing cancels on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoMoments {
    count: u64,
    incomplete: u64,
    clamped: u64,
    sums: [i128; 2],
    squares: [Wide; 2],
    /// Products above nought, and those below without their sign: added up apart, no order shows.
    products: [Wide; 2],
}

impl CoMoments {
    /// Takes the values of a row.
    pub fn add(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite()) {
            self.add_incomplete();
            return;
        }
        self.count = self.count.saturating_add(1);
        if x.abs() > MAGNITUDE_MAX || y.abs() > MAGNITUDE_MAX {
            self.clamped = self.clamped.saturating_add(1);
        }
        let values = [steps(x), steps(y)];
        for (i, value) in values.into_iter().enumerate() {
            self.sums[i] = self.sums[i].saturating_add(value);
            let square = Wide::from(value.unsigned_abs().pow(2));
            self.squares[i] = self.squares[i].saturating_add(square);
        }
        let product = Wide::from(values[0].unsigned_abs() * values[1].unsigned_abs());
        let of_sign = &mut self.products[usize::from((values[0] < 0) != (values[1] < 0))];
        *of_sign = of_sign.saturating_add(product);
    }

    /// Takes a row in which one of the two is missing.
    pub fn add_incomplete(&mut self) {
        self.incomplete = self.incomplete.saturating_add(1);
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &CoMoments) {
        self.count = self.count.saturating_add(other.count);
        self.incomplete = self.incomplete.saturating_add(other.incomplete);
        self.clamped = self.clamped.saturating_add(other.clamped);
        for i in 0..2 {
            self.sums[i] = self.sums[i].saturating_add(other.sums[i]);
            self.squares[i] = self.squares[i].saturating_add(other.squares[i]);
            self.products[i] = self.products[i].saturating_add(other.products[i]);
        }
    }

    /// Rows in which both are finite numbers.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Rows in which one is missing or no finite number.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Rows with a magnitude that entered the sums as 2^40.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Covariance of the rows as a whole (divided by their number), in the product of both units; none
    /// before the first.
    pub fn covariance(&self) -> Option<f64> {
        let count = self.count as f64;
        let unit = STEPS_PER_UNIT * STEPS_PER_UNIT;
        (self.count > 0).then(|| self.together() / count / count / unit)
    }

    /// Pearson's correlation, -1 to 1; none where one of the two has no spread.
    pub fn correlation(&self) -> Option<f64> {
        let [x, y] = [0, 1].map(|i| {
            let (squares, sum) = (self.squares[i].times(self.count), self.sums[i].unsigned_abs());
            squares.less(Double::product(sum, sum))
        });
        let spread = x.to_f64().sqrt() * y.to_f64().sqrt();
        (spread > 0.0).then(|| (self.together() / spread).clamp(-1.0, 1.0))
    }

    /// `n * sum(x y) - sum(x) * sum(y)`, in squared steps.
    fn together(&self) -> f64 {
        let [x, y] = self.sums;
        let of_sums = Double::product(x.unsigned_abs(), y.unsigned_abs());
        let [above, below] = self.products.map(|products| products.times(self.count));
        // Both sides of a difference of which nothing is below nought.
        let (plus, minus) = match (x < 0) == (y < 0) {
            true => (above, below.plus(of_sums)),
            false => (above.plus(of_sums), below),
        };
        if plus >= minus { plus.less(minus).to_f64() } else { -minus.less(plus).to_f64() }
    }
}

impl Parts for CoMoments {
    const KIND: u8 = 6;

    fn write(&self, writer: &mut Writer) {
        writer.number(self.count);
        writer.number(self.incomplete);
        writer.number(self.clamped);
        self.sums.iter().for_each(|sum| writer.signed(*sum));
        self.squares.iter().chain(&self.products).for_each(|sum| writer.wide(*sum));
    }

    fn read(reader: &mut Reader<'_>) -> Result<CoMoments, DecodeError> {
        let (count, incomplete, clamped) = (reader.count()?, reader.count()?, reader.count()?);
        let sums = [reader.signed()?, reader.signed()?];
        let squares = [reader.wide()?, reader.wide()?];
        let products = [reader.wide()?, reader.wide()?];
        // No value has more than 2^63 steps.
        let largest = Wide::product(count, 1 << 126);
        let sum_max = u128::from(count) << 63;
        // The squares of a column are at least those of as many values that are all its mean, and the
        // products of two at most the mean of their squares.
        let fit = |i: usize| {
            let sum: i128 = sums[i];
            sum.unsigned_abs() <= sum_max
                && squares[i] <= largest
                && squares[i].times(count)
                    >= Double::product(sum.unsigned_abs(), sum.unsigned_abs())
        };
        let products_fit = products[0].saturating_add(products[1]).times(2)
            <= squares[0].saturating_add(squares[1]).times(1);
        if clamped > count || !(fit(0) && fit(1) && products_fit) {
            return Err(DecodeError::NotCanonical("sums of no pairs of values"));
        }
        Ok(CoMoments { count, incomplete, clamped, sums, squares, products })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    fn of(rows: &[(f64, f64)]) -> CoMoments {
        let mut moments = CoMoments::default();
        rows.iter().for_each(|(x, y)| moments.add(*x, *y));
        moments
    }

    #[test]
    fn agrees_with_a_worked_example() {
        // numpy: cov([1, 2, 3, 4], [2, 4, 5, 9], ddof=0) = 2.75, corrcoef = 0.96471...
        let moments = of(&[(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 9.0), (f64::NAN, 1.0)]);
        assert_eq!((moments.count(), moments.incomplete()), (4, 1));
        assert_eq!(moments.covariance(), Some(2.75));
        let wanted = 2.75 / (1.25f64 * 6.5).sqrt();
        assert!((moments.correlation().unwrap() - wanted).abs() < 1e-15);
        assert_eq!(CoMoments::default().covariance(), None);
    }

    #[test]
    fn large_offsets_and_constants_do_not_drown_what_is_small() {
        let rows: Vec<(f64, f64)> =
            (0..100).map(|i| (1e12 + f64::from(i), -1e12 - f64::from(i % 7))).collect();
        let near: Vec<(f64, f64)> = rows.iter().map(|(x, y)| (x - 1e12, y + 1e12)).collect();
        assert_eq!(of(&rows).covariance(), of(&near).covariance());
        assert_eq!(of(&rows).correlation(), of(&near).correlation());
        assert_eq!(of(&[(5.3, 1.0), (5.3, 2.0)]).correlation(), None);
        assert_eq!(of(&[(5.3, 1.0), (5.3, 2.0)]).covariance(), Some(0.0));
        let far = of(&[(1e300, 1e300), (-1e300, -1e300)]);
        assert_eq!((far.clamped(), far.correlation()), (2, Some(1.0)));
        assert_eq!(CoMoments::decode(&far.encode()), Ok(far));
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show(
            rows in prop::collection::vec((-1e13f64..1e13, -1e3f64..1e3), 0..40),
            split in 0usize..40,
        ) {
            let (left, right) = rows.split_at(split.min(rows.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            merged.merge(&CoMoments::default());
            prop_assert_eq!(&merged, &of(&rows));
            prop_assert_eq!(CoMoments::decode(&merged.encode()), Ok(merged));
        }

        #[test]
        fn covariance_is_that_of_two_passes(
            rows in prop::collection::vec((-1e3f64..1e3, -1e3f64..1e3), 1..40),
        ) {
            let n = rows.len() as f64;
            let mean = rows.iter().fold((0.0, 0.0), |sum, row| (sum.0 + row.0 / n, sum.1 + row.1 / n));
            let exact = rows.iter().map(|(x, y)| (x - mean.0) * (y - mean.1)).sum::<f64>() / n;
            // Each value is off by half of 2^-23 at most, against a deviation of 2,000.
            prop_assert!((of(&rows).covariance().unwrap() - exact).abs() < 5e-4);
        }
    }
}
