//! Quantiles from a log-linear histogram.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Linear steps between two powers of two, as a number of binary digits: 32 steps.
const STEP_BITS: u32 = 5;
/// Largest relative error of a quantile: half a step of 1/32 of a power of two. It holds until
/// there are more than [`BUCKETS_MAX`] buckets; then quantiles near zero no longer keep to it.
pub const RELATIVE_ERROR: f64 = 1.0 / 64.0;
/// Buckets kept at most. Beyond it the ones nearest to zero are joined, whatever their sign, so
/// that large magnitudes stay sharp.
pub const BUCKETS_MAX: usize = 512;

/// How many values fell into each of many narrow buckets, wider as magnitudes grow.
///
/// A value's bucket is read off its bits (sign, exponent, first five digits of the significand), so
/// no two processors differ. Zero, and magnitudes below the smallest normal number, share a
/// bucket; NaN and infinities are counted apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: BTreeMap<i32, u64>,
    not_finite: u64,
}

impl Histogram {
    /// Takes a value.
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            *self.buckets.entry(bucket(value)).or_insert(0) += 1;
            self.bound();
        } else {
            self.not_finite += 1;
        }
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_insert(0) += count;
        }
        self.not_finite += other.not_finite;
        self.bound();
    }

    /// Finite values taken.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// NaN and infinities taken.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// The value below which a share `q` (0 to 1) of the finite values lies, within
    /// [`RELATIVE_ERROR`] of one of them; none before the first.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut passed = 0;
        self.buckets.iter().find_map(|(bucket, count)| {
            passed += count;
            (passed >= rank).then(|| middle(*bucket))
        })
    }

    fn bound(&mut self) {
        while self.buckets.len() > BUCKETS_MAX {
            let smallest = |bucket: &&i32| bucket.unsigned_abs();
            let Some(nearest) = self.buckets.keys().min_by_key(smallest).copied() else { return };
            let count = self.buckets.remove(&nearest).unwrap_or(0);
            let Some(next) = self.buckets.keys().min_by_key(smallest).copied() else { return };
            *self.buckets.entry(next).or_insert(0) += count;
        }
    }
}

fn bucket(value: f64) -> i32 {
    if !value.is_normal() {
        return 0;
    }
    // Exponent and first digits side by side: consecutive numbers for consecutive steps.
    let step = (value.abs().to_bits() >> (52 - STEP_BITS)) as i32;
    if value < 0.0 { -step } else { step }
}

fn middle(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let bits = u64::from(bucket.unsigned_abs()) << (52 - STEP_BITS) | 1 << (51 - STEP_BITS);
    f64::from_bits(bits).copysign(f64::from(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    #[test]
    fn buckets_keep_the_order_of_values() {
        let values = [-1e300, -2.0, -1.0, -1e-300, 0.0, 1e-300, 0.5, 1.0, 1.04, 2.0, 1e300];
        let buckets: Vec<i32> = values.iter().map(|value| bucket(*value)).collect();
        assert!(buckets.is_sorted_by(|a, b| a < b), "{buckets:?}");
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let histogram = of(&[f64::NAN, f64::INFINITY, 1.0, -0.0, 0.0]);
        assert_eq!((histogram.count(), histogram.not_finite()), (3, 2));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn it_never_grows_beyond_its_bound_and_keeps_large_values_sharp() {
        let values: Vec<f64> = (0..5000).map(|i| 1.02f64.powi(i)).collect();
        let histogram = of(&values);
        assert!(histogram.buckets.len() <= BUCKETS_MAX);
        assert_eq!(histogram.count(), 5000);
        let top = histogram.quantile(1.0).unwrap();
        assert!((top / values[4999] - 1.0).abs() <= RELATIVE_ERROR);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show(
            values in prop::collection::vec(-1e9f64..1e9, 0..200),
            split in 0usize..200,
        ) {
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(merged, of(&values));
        }

        #[test]
        fn a_quantile_is_near_the_value_of_its_rank(
            mut values in prop::collection::vec(-1e6f64..1e6, 1..200),
            q in 0f64..=1.0,
        ) {
            let quantile = of(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            prop_assert!((quantile - exact).abs() <= RELATIVE_ERROR * exact.abs() + 1e-300,
                "{} is not near {}", quantile, exact);
        }
    }
}
