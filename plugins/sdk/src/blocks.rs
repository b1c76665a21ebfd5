//! Loops over many values that are fast in the sandbox.
//!
//! A plugin looks at its time limit in every round of a loop. So these take 64 values a round (the least
//! and the greatest 16), in which the compiler uses instructions for four at once (simd128, with which
//! `lineside plugin build` compiles). The same values give the same bits on every machine: sums have a fixed
//! order, and nothing is fused.

/// Values in a round.
const BLOCK: usize = 64;
/// Sums that are kept apart until the end.
const LANES: usize = 16;

/// `f(x)` of each value.
pub fn map(values: &[f32], f: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut mapped = Vec::with_capacity(values.len());
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for block in blocks {
        mapped.extend(block.iter().map(|value| f(*value)));
    }
    mapped.extend(rest.iter().map(|value| f(*value)));
    mapped
}

/// `f(x)` of each value, in its place.
pub fn map_in_place(values: &mut [f32], f: impl Fn(f32) -> f32) {
    let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
    for block in blocks {
        block.iter_mut().for_each(|value| *value = f(*value));
    }
    rest.iter_mut().for_each(|value| *value = f(*value));
}

/// `f(x, y)` of each pair of values; as many as the shorter of both has.
pub fn zip(left: &[f32], right: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let count = left.len().min(right.len());
    let mut zipped = Vec::with_capacity(count);
    let (blocks, rest) = left[..count].as_chunks::<BLOCK>();
    let (others, others_rest) = right[..count].as_chunks::<BLOCK>();
    for (block, other) in blocks.iter().zip(others) {
        zipped.extend(block.iter().zip(other).map(|(x, y)| f(*x, *y)));
    }
    zipped.extend(rest.iter().zip(others_rest).map(|(x, y)| f(*x, *y)));
    zipped
}

/// `gain * x + offset` of each value, rounded after each of both.
pub fn multiply_add(values: &[f32], gain: f32, offset: f32) -> Vec<f32> {
    map(values, |value| gain * value + offset)
}

/// The sum: of each sixteenth value first, then of these sums from the first to the last, then of what is
/// left over.
pub fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// The sum of `x * y` of each pair, in the order of [`sum`]; of as many as the shorter of both has.
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(&zip(left, right, |x, y| x * y))
}

/// The mean; NaN of no values.
pub fn mean(values: &[f32]) -> f32 {
    sum(values) / values.len() as f32
}

/// The least and the greatest value; infinite of no values. NaN is passed over.
pub fn least_and_greatest(values: &[f32]) -> (f32, f32) {
    let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            let value = block[lane];
            least[lane] = if value < least[lane] { value } else { least[lane] };
            greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
        }
    }
    let least = least.iter().chain(rest).fold(f32::INFINITY, |a, b| if *b < a { *b } else { a });
    let greatest =
        greatest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    (least, greatest)
}

/// The sum of `f(x)`, in the order of [`sum`].
pub fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for block in blocks {
        for (at, value) in block.iter().enumerate() {
            lanes[at % LANES] += f(*value);
        }
    }
    let (rows, rest) = rest.as_chunks::<LANES>();
    for (lane, value) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        lanes[lane] += f(*value);
    }
    let rest = rest.iter().map(|value| f(*value));
    lanes.into_iter().chain(rest).fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around every block and lane.
    const LENGTHS: [usize; 9] = [0, 1, 15, 16, 17, 63, 64, 65, 1000];

    fn values(length: usize) -> Vec<f32> {
        (0..length).map(|at| (at as f32 * 0.37).sin() * 3.0 - 1.0).collect()
    }

    #[test]
    fn blocks_give_what_single_values_give() {
        for length in LENGTHS {
            let (x, y) = (values(length), values(length + 3));
            let single: Vec<f32> = x.iter().map(|x| 1.5 * x + 0.25).collect();
            assert_eq!(multiply_add(&x, 1.5, 0.25), single, "{length}");
            let mut changed = x.clone();
            map_in_place(&mut changed, |x| 1.5 * x + 0.25);
            assert_eq!(changed, single, "{length}");
            let pairs: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
            assert_eq!(zip(&x, &y, |x, y| x - y), pairs, "{length}");
            let least = x.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(least_and_greatest(&x), (least, greatest), "{length}");
        }
        assert_eq!(least_and_greatest(&[f32::NAN, 2.0, f32::NAN]), (2.0, 2.0));
    }

    #[test]
    fn sums_have_the_order_that_is_written() {
        for length in LENGTHS {
            let x = values(length);
            let mut lanes = [0.0f32; LANES];
            let whole = length / LANES * LANES;
            for (at, value) in x[..whole].iter().enumerate() {
                lanes[at % LANES] += value;
            }
            let expected = lanes.iter().chain(&x[whole..]).fold(0.0, |sum, value| sum + value);
            assert_eq!(sum(&x).to_bits(), f32::to_bits(expected), "{length}");
            let doubled = sum_of(&x, |x| 2.0 * x);
            assert!((doubled - 2.0 * expected).abs() < 1e-3, "{length}");
            let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            assert!((f64::from(dot(&x, &x)) - squares).abs() < 1e-2, "{length}");
        }
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert!(mean(&[]).is_nan());
    }
}
