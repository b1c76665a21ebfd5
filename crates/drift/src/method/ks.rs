//! The Kolmogorov-Smirnov test of two samples.

use crate::function::kolmogorov_tail;
use crate::pair::Numbers;

/// Samples up to this size are counted exactly.
const EXACT_MAX: u64 = 10_000;

/// The two-sided p-value, as scipy 1.17 chooses (`ks_2samp`, `method="auto"`): exact up to [`EXACT_MAX`] values
/// on the larger side, asymptotic above.
pub(super) fn p_value(numbers: &Numbers) -> f64 {
    let (n1, n2) = (numbers.reference.sorted.len() as u64, numbers.current.sorted.len() as u64);
    p_value_of(n1, n2, distance(numbers))
}

/// The p-value of this distance between samples of these sizes.
pub(crate) fn p_value_of(n1: u64, n2: u64, distance: f64) -> f64 {
    if n1.max(n2) <= EXACT_MAX
        && let Some(exact) = exact(n1, n2, distance)
    {
        return exact;
    }
    let (n1, n2) = (n1 as f64, n2 as f64);
    kolmogorov_tail((n1 * n2 / (n1 + n2)).round_ties_even() as u64, distance)
}

/// The largest distance of the two cumulative distributions (0 to 1).
fn distance(numbers: &Numbers) -> f64 {
    let (n1, n2) = (numbers.reference.count(), numbers.current.count());
    let (mut below, mut distance) = ((0, 0), 0.0f64);
    for group in numbers.groups() {
        below = (below.0 + group.reference, below.1 + group.current);
        distance = distance.max((below.0 as f64 / n1 - below.1 as f64 / n2).abs());
    }
    distance
}

/// The share of all ways to mix the two samples that have this distance or a larger one; none if rounding has
/// led out of 0 to 1.
fn exact(n1: u64, n2: u64, distance: f64) -> Option<f64> {
    let divisor = greatest_common_divisor(n1, n2);
    let multiple = n1 / divisor * n2;
    // The distance is a whole number of these steps.
    let steps = (distance * multiple as f64).round_ties_even() as u64;
    let share = match steps {
        0 => 1.0,
        _ if n1 == n2 => equal_sizes(n1, steps),
        _ => paths(n1.max(n2), n1.min(n2), divisor, steps),
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Of samples of one size: 2 Σ (−1)^(k+1) C(2n, n+kh) / C(2n, n) over k ≥ 1 (Gnedenko & Korolyuk 1951), from
/// its smallest term on and by products of ratios.
fn equal_sizes(n: u64, steps: u64) -> f64 {
    let mut share = 0.0;
    for k in (0..=n / steps).rev() {
        let mut ratio = 1.0;
        for j in 0..steps {
            ratio = (n as f64 - (k * steps + j) as f64) * ratio / ((n + k * steps + j + 1) as f64);
        }
        share = ratio * (1.0 - share);
    }
    2.0 * share
}

/// Of samples of two sizes, `n1` the larger: the probability that a path from (0, 0) to (n1, n2), all being
/// as likely, comes as far from the diagonal as `steps` (Hodges 1957). A path that has come to (i, j) was at
/// (i − 1, j) before with probability i / (i + j).
fn paths(n1: u64, n2: u64, divisor: u64, steps: u64) -> f64 {
    let (width, height) = ((n1 / divisor) as i64, (n2 / divisor) as i64);
    let (rows, last, steps) = (n2 as i64, n1 as i64, steps as i64);
    // Inside are the places whose distance i height − j width is smaller than `steps`.
    let inside = |i: i64| {
        let from = (i * height - steps).div_euclid(width) + 1;
        let to = (i * height + steps - 1).div_euclid(width);
        (from.max(0), to.min(rows))
    };
    // Shares of paths that were outside, of those to each place in the column; all of those to places outside.
    let mut outside = vec![1.0; rows as usize + 1];
    let (_, to) = inside(0);
    outside[..=to as usize].fill(0.0);
    for i in 1..=last {
        let (from, to) = inside(i);
        if from > to {
            return 1.0;
        }
        let mut below = if from == 0 { 0.0 } else { 1.0 };
        for j in from..=to {
            let place = &mut outside[j as usize];
            let total = (i + j) as f64;
            below = (*place * i as f64 + below * j as f64) / total;
            *place = below;
        }
        if from > 0 {
            outside[from as usize - 1] = 1.0;
        }
    }
    outside[rows as usize]
}
