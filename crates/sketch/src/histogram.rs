//! Quantiles from a log-linear histogram.

mod encoded;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Linear steps between two powers of two, as a number of binary digits: 32 steps.
const STEP_BITS: u32 = 5;
/// Largest relative error of a quantile: half a step of 1/32 of a power of two. It holds for the
/// [`BUCKETS_MAX`] largest magnitudes in use of each sign, twelve powers of two where all are in
/// use. What is nearer to zero counts as the smallest of these.
pub const RELATIVE_ERROR: f64 = 1.0 / 64.0;
/// Buckets kept of each sign. Beyond it the ones nearest to zero are joined, so that large
/// magnitudes stay sharp; zero and the other sign are left alone.
pub const BUCKETS_MAX: usize = 384;
/// Largest bucket: that of the largest finite number.
const BUCKET_LAST: i32 = (2047 << STEP_BITS) - 1;
/// First bucket: that of the smallest normal number.
const BUCKET_FIRST: i32 = 1 << STEP_BITS;

/// How many values fell into each of many narrow buckets, wider as magnitudes grow.
///
/// A value's bucket is read off its bits (sign, exponent, first five digits of the significand), so
/// no two processors differ. Zero, and magnitudes below the smallest normal number, share a
/// bucket; NaN and infinities are counted apart. At most 4 KiB when written with variable-length
/// numbers and counts below 16,384.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Histogram {
    below: Side,
    noughts: u64,
    above: Side,
    not_finite: u64,
}

/// Buckets of one sign with their counts, the one nearest to nought first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side(Vec<(u32, u64)>);

/// A histogram as it is written: buckets in rising order, with their counts.
#[derive(Serialize, Deserialize)]
struct Written {
    buckets: Vec<(i32, u64)>,
    not_finite: u64,
}

impl From<Histogram> for Written {
    fn from(histogram: Histogram) -> Written {
        Written { buckets: histogram.buckets().collect(), not_finite: histogram.not_finite }
    }
}

impl TryFrom<Written> for Histogram {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Histogram, &'static str> {
        let Written { buckets, not_finite } = written;
        if !buckets.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("buckets out of order");
        }
        let of_sign = |sign| buckets.iter().filter(|(bucket, _)| bucket.signum() == sign).count();
        if of_sign(1) > BUCKETS_MAX || of_sign(-1) > BUCKETS_MAX {
            return Err("too many buckets");
        }
        let known = BUCKET_FIRST.unsigned_abs()..=BUCKET_LAST.unsigned_abs();
        let unknown = |bucket: i32| bucket != 0 && !known.contains(&bucket.unsigned_abs());
        if buckets.iter().any(|(bucket, count)| unknown(*bucket) || *count == 0) {
            return Err("a bucket that no value falls into");
        }
        let total = buckets.iter().try_fold(0u64, |sum, (_, count)| sum.checked_add(*count));
        if total.is_none() {
            return Err("more values than can be counted");
        }
        let mut histogram = Histogram { not_finite, ..Histogram::default() };
        buckets.into_iter().for_each(|(bucket, count)| histogram.count_in(bucket, count));
        Ok(histogram)
    }
}

impl Histogram {
    /// Takes a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        // Exponent and first digits, without the sign.
        let magnitude = (value.to_bits() << 1 >> (53 - STEP_BITS)) as u32;
        if (BUCKET_FIRST as u32..=BUCKET_LAST as u32).contains(&magnitude) {
            let side = if value < 0.0 { &mut self.below } else { &mut self.above };
            side.count_in(magnitude, 1);
        } else if value.is_finite() {
            self.noughts = self.noughts.saturating_add(1);
        } else {
            self.not_finite = self.not_finite.saturating_add(1);
        }
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.below.merge(&other.below);
        self.noughts = self.noughts.saturating_add(other.noughts);
        self.above.merge(&other.above);
        self.not_finite = self.not_finite.saturating_add(other.not_finite);
    }

    /// Finite values taken.
    pub fn count(&self) -> u64 {
        self.buckets().fold(0, |sum, (_, count)| sum.saturating_add(count))
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
        self.buckets().find_map(|(bucket, count)| {
            passed = u64::saturating_add(passed, count);
            (passed >= rank).then(|| middle(bucket))
        })
    }

    /// The largest difference between the share of this one's values and of the other's that lie at
    /// or below any value, 0 to 1: the two-sample Kolmogorov–Smirnov distance. None where one of the
    /// two has no values. What is no finite number lies beyond all others.
    ///
    /// It is never above the distance of the values themselves, and below it by less than the largest
    /// share that one bucket holds: values that fall into the same bucket are not told apart.
    pub fn distance(&self, other: &Histogram) -> Option<f64> {
        let total = |of: &Histogram| of.count().saturating_add(of.not_finite);
        let (mine, theirs) = (u128::from(total(self)), u128::from(total(other)));
        if mine == 0 || theirs == 0 {
            return None;
        }
        // Where one of the two has joined its nearest buckets, the other's are joined as well.
        let low = joined_up_to(&self.below, &other.below).map(|magnitude| -magnitude);
        let high = joined_up_to(&self.above, &other.above);
        let common = |bucket: i32| match bucket.signum() {
            -1 => low.map_or(bucket, |low| bucket.min(low)),
            1 => high.map_or(bucket, |high| bucket.max(high)),
            _ => bucket,
        };
        let mut counts: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
        for (bucket, count) in self.buckets() {
            let counted = &mut counts.entry(common(bucket)).or_default().0;
            *counted = counted.saturating_add(count);
        }
        for (bucket, count) in other.buckets() {
            let counted = &mut counts.entry(common(bucket)).or_default().1;
            *counted = counted.saturating_add(count);
        }
        let (mut below, mut largest) = ((0u128, 0u128), 0u128);
        for (one, another) in counts.values() {
            below = (below.0 + u128::from(*one), below.1 + u128::from(*another));
            // Of counts below 2^64 each, so it fits.
            let (one, another) = (below.0.min(mine) * theirs, below.1.min(theirs) * mine);
            largest = largest.max(one.abs_diff(another));
        }
        Some(largest as f64 / (mine * theirs) as f64)
    }

    /// The ranges that hold values, in rising order, with how many: from the first number on, and below the
    /// second, which is infinite behind the last of all numbers. Exact: no value is counted elsewhere.
    pub fn ranges(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let is_joined = |bucket: i32| {
            let side = if bucket < 0 { &self.below } else { &self.above };
            side.0.len() >= BUCKETS_MAX
                && side.0.first().is_some_and(|(nearest, _)| *nearest == bucket.unsigned_abs())
        };
        self.buckets().map(move |(bucket, count)| {
            let magnitude = |bucket: u32| f64::from_bits(u64::from(bucket) << (52 - STEP_BITS));
            // What is nearest may hold all that is nearer.
            let nearest = if bucket == 0 || is_joined(bucket) {
                f64::MIN_POSITIVE
            } else {
                magnitude(bucket.unsigned_abs())
            };
            let farthest = match bucket {
                0 => f64::MIN_POSITIVE,
                bucket => magnitude(bucket.unsigned_abs() + 1),
            };
            // A bucket holds its nearer end, so below nought it reaches up to the number behind it.
            match bucket.signum() {
                1 => (nearest, farthest, count),
                -1 => ((-farthest).next_up(), (-nearest).next_up(), count),
                _ => ((-farthest).next_up(), farthest, count),
            }
        })
    }

    /// Buckets in use in rising order, with their counts.
    fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        let below =
            self.below.0.iter().rev().map(|(magnitude, count)| (-(*magnitude as i32), *count));
        let noughts = Some((0, self.noughts)).filter(|(_, count)| *count > 0);
        let above = self.above.0.iter().map(|(magnitude, count)| (*magnitude as i32, *count));
        below.chain(noughts).chain(above)
    }

    fn count_in(&mut self, bucket: i32, count: u64) {
        match bucket.signum() {
            1 => self.above.count_in(bucket.unsigned_abs(), count),
            -1 => self.below.count_in(bucket.unsigned_abs(), count),
            _ => self.noughts = self.noughts.saturating_add(count),
        }
    }
}

impl Side {
    #[inline]
    fn count_in(&mut self, magnitude: u32, count: u64) {
        // Where they lie side by side, which many do, it need not be looked for; beyond a gap they often do
        // up to the farthest.
        if let [(nearest, _), .., (farthest, _)] = *self.0 {
            let from_nearest = magnitude.wrapping_sub(nearest) as usize;
            let from_farthest =
                (self.0.len() - 1).wrapping_sub(farthest.wrapping_sub(magnitude) as usize);
            for at in [from_nearest, from_farthest] {
                if let Some((ours, counted)) = self.0.get_mut(at)
                    && *ours == magnitude
                {
                    return add_to(counted, count);
                }
            }
        }
        self.count_where_it_belongs(magnitude, count);
    }

    /// Which buckets are left depends on all values together, never on their order: the largest
    /// magnitudes ever seen, the nearest of which holds all that are nearer as well.
    #[inline(never)]
    fn count_where_it_belongs(&mut self, magnitude: u32, count: u64) {
        let is_full = self.0.len() >= BUCKETS_MAX;
        if is_full && magnitude <= self.0[0].0 {
            return add_to(&mut self.0[0].1, count);
        }
        match self.0.binary_search_by_key(&magnitude, |(magnitude, _)| *magnitude) {
            Ok(at) => add_to(&mut self.0[at].1, count),
            Err(at) if is_full => {
                let nearest = self.0[0].1;
                self.0[..at].rotate_left(1);
                self.0[at - 1] = (magnitude, count);
                add_to(&mut self.0[0].1, nearest);
            }
            Err(at) => self.0.insert(at, (magnitude, count)),
        }
    }

    fn merge(&mut self, other: &Side) {
        let mut at = 0;
        for (magnitude, count) in &other.0 {
            while self.0.get(at).is_some_and(|(ours, _)| ours < magnitude) {
                at += 1;
            }
            match self.0.get_mut(at) {
                Some((ours, counted)) if ours == magnitude => add_to(counted, *count),
                _ => {
                    self.count_in(*magnitude, *count);
                    // Whatever moved, it moved by one place.
                    at = at.saturating_sub(1);
                }
            }
        }
    }
}

fn add_to(counted: &mut u64, count: u64) {
    *counted = counted.saturating_add(count);
}

/// The magnitude that all nearer ones may have been joined with, in one side or the other.
fn joined_up_to(one: &Side, other: &Side) -> Option<i32> {
    let full = [one, other].into_iter().filter(|side| side.0.len() >= BUCKETS_MAX);
    full.filter_map(|side| side.0.first()).map(|(nearest, _)| *nearest as i32).max()
}

#[cfg(test)]
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
    fn ranges_hold_the_values_that_they_count_and_no_others() {
        let mut values =
            vec![f64::MIN, -2.0, -1.0, -1e-310, 0.0, f64::MIN_POSITIVE, 1.0, 1.04, f64::MAX];
        let check = |values: &[f64]| {
            let histogram = of(values);
            let ranges: Vec<_> = histogram.ranges().collect();
            assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
            for (from, to, count) in ranges {
                let inside = values.iter().filter(|value| (from..to).contains(*value)).count();
                assert_eq!(inside as u64, count, "{from} {to}");
            }
        };
        check(&values);
        // Where the nearest were joined, too.
        values.extend((0..900).map(|i| 1.03f64.powi(i - 400)));
        values.extend((0..900).map(|i| -1.03f64.powi(i - 400)));
        check(&values);
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
        assert_eq!(histogram.buckets().count(), BUCKETS_MAX);
        assert_eq!(histogram.count(), 5000);
        let top = histogram.quantile(1.0).unwrap();
        assert!((top / values[4999] - 1.0).abs() <= RELATIVE_ERROR);
    }

    #[test]
    fn joining_leaves_zero_and_the_other_sign_alone() {
        let mut histogram = of(&[0.0, -0.5, -3.0]);
        for i in 0..5000 {
            histogram.add(1.02f64.powi(i));
        }
        assert_eq!(histogram.count(), 5003);
        assert_eq!(histogram.quantile(0.0), Some(middle(bucket(-3.0))));
        assert_eq!(histogram.noughts, 1);
        assert_eq!(histogram.below.0.len(), 2);
    }

    #[test]
    fn what_no_histogram_holds_is_not_read() {
        let read = |buckets: &[(i32, u64)]| {
            Histogram::try_from(Written { buckets: buckets.to_vec(), not_finite: 0 })
        };
        assert!(read(&[(40, 1), (50, 2)]).is_ok());
        assert!(read(&[(50, 1), (40, 2)]).is_err());
        assert!(read(&[(40, 1), (40, 2)]).is_err());
        assert!(read(&[(40, 0)]).is_err());
        assert!(read(&[(1, 1)]).is_err());
        assert!(read(&[(i32::MIN, 1)]).is_err());
        assert!(read(&[(i32::MAX, 1)]).is_err());
        assert!(read(&[(40, u64::MAX), (50, 1)]).is_err());
        let many: Vec<(i32, u64)> = (0..=BUCKETS_MAX as i32).map(|i| (40 + i, 1)).collect();
        assert!(read(&many).is_err());
        let mut full = read(&[(40, u64::MAX)]).unwrap();
        full.merge(&full.clone());
        full.add(1.0);
        assert_eq!((full.count(), full.quantile(0.5)), (u64::MAX, Some(middle(40))));
    }

    #[test]
    fn the_distance_of_two_is_that_of_their_values_as_far_as_buckets_tell_them_apart() {
        // Reference and current of the golden numbers that scipy 1.17.1 was run for: 0.2.
        let (reference, current): (Vec<f64>, Vec<f64>) =
            (1..=100).map(|i| (f64::from(i), f64::from(i + 20))).unzip();
        let distance = of(&reference).distance(&of(&current)).unwrap();
        assert!((0.18..=0.2).contains(&distance), "{distance}");
        let halves = |low, high| of(&[vec![0.0; low], vec![1.0; high]].concat());
        assert_eq!(halves(70, 30).distance(&halves(6, 4)), Some(0.1));
        assert_eq!(halves(70, 30).distance(&halves(7, 3)), Some(0.0));
        assert_eq!(halves(7, 0).distance(&halves(0, 3)), Some(1.0));
        assert_eq!(halves(0, 3).distance(&of(&[-1.0])), Some(1.0));
        assert_eq!(halves(1, 1).distance(&of(&[])), None);
        assert_eq!(of(&[]).distance(&halves(1, 1)), None);
        assert_eq!(of(&[1.0, f64::NAN]).distance(&of(&[1.0])), Some(0.5));
        assert_eq!(of(&[1.0]).distance(&of(&[f64::INFINITY])), Some(1.0));
    }

    #[test]
    fn what_was_joined_in_one_is_no_distance_to_the_other() {
        let small: Vec<f64> = (0..300).map(|i| 1.03f64.powi(i)).collect();
        for sign in [1.0, -1.0] {
            let small = of(&small.iter().map(|value| value * sign).collect::<Vec<_>>());
            let mut joined = small.clone();
            (1000..1200).for_each(|i| joined.add(sign * 1.03f64.powi(i)));
            assert!(
                joined.buckets().count() == BUCKETS_MAX && small.buckets().count() < BUCKETS_MAX
            );
            // 300 of 500 values lie where the other has all of its own.
            let distance = 200.0 / 500.0;
            assert_eq!(joined.distance(&small), Some(distance), "{sign}");
            assert_eq!(small.distance(&joined), Some(distance), "{sign}");
        }
    }

    proptest! {
        #[test]
        fn the_distance_is_never_above_the_exact_one_and_off_by_no_more_than_a_bucket(
            a in prop::collection::vec(-8f64..8.0, 1..80),
            b in prop::collection::vec(-4f64..12.0, 1..80),
        ) {
            let share = |values: &[f64], at: f64| {
                values.iter().filter(|value| **value <= at).count() as f64 / values.len() as f64
            };
            let all = a.iter().chain(&b);
            let exact = all.map(|at| (share(&a, *at) - share(&b, *at)).abs()).fold(0.0, f64::max);
            let largest = |values: &[f64]| {
                let most = of(values).buckets().map(|(_, count)| count).max().unwrap();
                most as f64 / values.len() as f64
            };
            let distance = of(&a).distance(&of(&b)).unwrap();
            prop_assert!(distance <= exact + 1e-12);
            prop_assert!(distance >= exact - largest(&a).max(largest(&b)) - 1e-12);
        }

        #[test]
        fn order_and_grouping_do_not_show_even_where_buckets_were_joined(
            exponents in prop::collection::vec((-300f64..300.0, any::<bool>()), 400..900),
            split in 0usize..900,
        ) {
            let values: Vec<f64> = exponents
                .iter()
                .map(|(exponent, negative)| if *negative { -1.0 } else { 1.0 } * 10f64.powf(*exponent))
                .collect();
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(merged, of(&values));
        }

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
