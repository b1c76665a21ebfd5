//! Sums in numpy's order: pairwise, in blocks of 128 by eight accumulators (`pairwise_sum` of
//! `loops_utils.h`). Accurate to a few units in the last place times the logarithm of the length; and in the
//! same order, so that where a difference of sums cancels, what is left is the same.

const BLOCK: usize = 128;
const LANES: usize = 8;

/// The sum of these numbers.
pub(crate) fn sum(values: &[f64]) -> f64 {
    let length = values.len();
    if length < LANES {
        return values.iter().sum::<f64>() + 0.0;
    }
    if length > BLOCK {
        let half = length / 2;
        let (left, right) = values.split_at(half - half % LANES);
        return sum(left) + sum(right);
    }
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (at, block) in blocks.iter().enumerate() {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = if at == 0 { *value } else { *lane + value };
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}

/// The sum of what `of` gives for each item.
pub(crate) fn sum_of<T>(items: &[T], of: impl FnMut(&T) -> f64) -> f64 {
    sum(&items.iter().map(of).collect::<Vec<f64>>())
}

/// The mean; NaN of none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

/// The mean of the squared deviations from the mean (divided by n); NaN of none.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    sum_of(values, |value| (value - mean) * (value - mean)) / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_numbers_beside_a_large_one_are_not_lost() {
        let mut values = vec![1e-16; 100_000];
        values[0] = 1.0;
        assert!((sum(&values) - (1.0 + 99_999e-16)).abs() < 1e-14);
        assert_eq!(values.iter().sum::<f64>(), 1.0, "one after the other they are");
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 9]), 0.9);
    }
}
