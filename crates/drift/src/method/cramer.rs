//! The Cramér-von Mises test of two samples.

use super::Method;
use crate::function::bessel_k_quarter_scaled;
use crate::pair::Numbers;
use crate::verdict::{NotComputable, Side};
use half::f16;
use std::f64::consts::PI;

/// Samples up to this size are counted.
const EXACT_MAX: usize = 20;
const ROWS_MIN: usize = 2;
/// The asymptotic series ends with the first term below this.
const LAST_TERM: f64 = 1e-7;

/// The p-value, as Evidently 0.7.23 chooses: counted up to [`EXACT_MAX`] values on both sides, asymptotic above
/// (Anderson 1962; Anderson & Darling 1952 for the limit).
///
/// # Errors
/// [`NotComputable::TooFew`] for less than two values on a side.
pub(super) fn p_value(numbers: &Numbers) -> Result<f64, NotComputable> {
    let (m, n) = (numbers.reference.sorted.len(), numbers.current.sorted.len());
    for (side, rows) in [(Side::Reference, m), (Side::Current, n)] {
        if rows < ROWS_MIN {
            let method = Method::CramerVonMises;
            return Err(NotComputable::TooFew { method, needed: ROWS_MIN, side, rows });
        }
    }
    let u = rank_distances(numbers);
    if m.max(n) <= EXACT_MAX {
        return Ok(counted(u, m as u64, n as u64));
    }
    let (nx, ny) = (m as f64, n as f64);
    let (product, all) = (nx * ny, nx + ny);
    let t = u / (product * all) - (4.0 * product - 1.0) / (6.0 * all);
    let mean = (1.0 + 1.0 / all) / 6.0;
    let variance = (all + 1.0) * (4.0 * product * all - 3.0 * (nx * nx + ny * ny) - 2.0 * product)
        / (45.0 * all * all * 4.0 * product);
    let standardised = 1.0 / 6.0 + (t - mean) / (45.0 * variance).sqrt();
    Ok(if standardised < 0.003 { 1.0 } else { (1.0 - limit_below(standardised)).max(0.0) })
}

/// nx Σ (rank of the i-th of x − i)² + ny Σ (rank of the j-th of y − j)², with midranks.
fn rank_distances(numbers: &Numbers) -> f64 {
    let (mut below, mut sums) = ((0u64, 0u64), (0u128, 0u128));
    for group in numbers.groups() {
        // In halves: midranks of ties are whole or half numbers.
        let twice_rank = 2 * (below.0 + below.1) + group.reference + group.current + 1;
        let squares = |from: u64, size: u64| -> u128 {
            (from + 1..=from + size).map(|at| u128::from(twice_rank.abs_diff(2 * at)).pow(2)).sum()
        };
        sums.0 += squares(below.0, group.reference);
        sums.1 += squares(below.1, group.current);
        below = (below.0 + group.reference, below.1 + group.current);
    }
    (u128::from(below.0) * sums.0 + u128::from(below.1) * sums.1) as f64 / 4.0
}

/// The limiting distribution below `x` (Anderson & Darling 1952, equation 4.35), with terms down to
/// [`LAST_TERM`], where Evidently ends it.
fn limit_below(x: f64) -> f64 {
    // Γ(k + ½) / Γ(k + 1).
    let mut gamma = PI.sqrt();
    let mut below = 0.0;
    for k in 0.. {
        let k = f64::from(k);
        let y = 4.0 * k + 1.0;
        let q = y * y / (16.0 * x);
        let term = gamma / (PI.powf(1.5) * x.sqrt())
            * y.sqrt()
            * (-2.0 * q).exp()
            * bessel_k_quarter_scaled(q);
        below += term;
        if term.abs() < LAST_TERM {
            break;
        }
        gamma *= (k + 0.5) / (k + 1.0);
    }
    below
}

/// In what Evidently's numpy keeps the counts: the smallest floating type that reaches the number of ways to
/// mix the samples. Where that is smaller than the largest statistic, it takes integers instead, of which
/// numpy 2 refuses the addition; there everything is exact here.
#[derive(Clone, Copy)]
enum Kept {
    Half,
    Single,
    Whole,
}

impl Kept {
    fn round(self, value: f64) -> f64 {
        match self {
            Kept::Half => f16::from_f64(value).to_f64(),
            Kept::Single => f64::from(value as f32),
            Kept::Whole => value,
        }
    }
}

/// The share of all ways to mix samples of `m` and `n` values that have a statistic of `u` or more (Xiao,
/// Gordon & Yakovlev 2006), with the rounding of Evidently 0.7.23, which is up to some hundredths of the
/// p-value.
fn counted(u: f64, m: u64, n: u64) -> f64 {
    let multiple = m / greatest_common_divisor(m, n) * n;
    let (a, b) = (multiple / m, multiple / n);
    let product = (m * n) as f64;
    let largest = (multiple * multiple * (m + n)) as f64;
    let bound =
        (largest * (6.0 * u - product * (4.0 * product - 1.0)) / (6.0 * product * product)).floor();
    let ways = (1..=m).fold(1.0, |ways, i| ways * (n + i) as f64 / i as f64).round();
    let kept = match ways {
        ways if ways <= largest => Kept::Whole,
        ways if ways <= f16::MAX.to_f64() => Kept::Half,
        _ => Kept::Single,
    };
    // For each place of one row of the grid: statistics, and by how many ways they come.
    let mut row: Vec<Vec<(f64, f64)>> = vec![Vec::new(); m as usize + 1];
    row[0].push((0.0, 1.0));
    for j in 0..=n {
        let mut left: Vec<(f64, f64)> = Vec::new();
        for (i, place) in row.iter_mut().enumerate() {
            let distance = (a * i as u64) as f64 - (b * j) as f64;
            left = joined(left, place, kept);
            left.iter_mut().for_each(|way| way.0 = kept.round(way.0 + distance * distance));
            place.clone_from(&left);
        }
    }
    let beyond: Vec<f64> =
        row[m as usize].iter().filter(|way| way.0 >= bound).map(|way| way.1).collect();
    match kept {
        Kept::Whole => beyond.iter().sum::<f64>() / ways,
        Kept::Half => {
            let total = Kept::Half.round(beyond.iter().sum());
            Kept::Half.round(Kept::Single.round(total / Kept::Half.round(ways)))
        }
        Kept::Single => f64::from(sum_in_singles(&beyond) / ways as f32),
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Two lists of ways in one: those of statistics in both first and in order, then the rest of each as it
/// stands. Where rounding has made statistics equal, the first one meets its like.
fn joined(left: Vec<(f64, f64)>, right: &[(f64, f64)], kept: Kept) -> Vec<(f64, f64)> {
    let order = |ways: &[(f64, f64)]| {
        let mut order: Vec<usize> = (0..ways.len()).collect();
        order.sort_by(|one, other| ways[*one].0.total_cmp(&ways[*other].0));
        order.dedup_by(|later, first| ways[*later].0 == ways[*first].0);
        order
    };
    let (lefts, rights) = (order(&left), order(right));
    let (mut met_left, mut met_right) = (vec![false; left.len()], vec![false; right.len()]);
    let mut all = Vec::with_capacity(left.len() + right.len());
    let mut others = rights.iter().peekable();
    for at in lefts {
        let (value, ways) = left[at];
        while others.next_if(|other| right[**other].0 < value).is_some() {}
        if let Some(other) = others.next_if(|other| right[**other].0 == value) {
            (met_left[at], met_right[*other]) = (true, true);
            all.push((value, kept.round(ways + right[*other].1)));
        }
    }
    let rest = |ways: &[(f64, f64)], met: &[bool]| -> Vec<(f64, f64)> {
        ways.iter().zip(met).filter(|(_, met)| !**met).map(|(way, _)| *way).collect()
    };
    all.extend(rest(&left, &met_left));
    all.extend(rest(right, &met_right));
    all
}

/// The sum in single precision, in numpy's order.
fn sum_in_singles(values: &[f64]) -> f32 {
    let length = values.len();
    if length < 8 {
        return values.iter().fold(0.0, |sum, value| sum + *value as f32);
    }
    if length > 128 {
        let half = length / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum_in_singles(left) + sum_in_singles(right);
    }
    let (blocks, rest) = values.as_chunks::<8>();
    let mut lanes = [0f32; 8];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += *value as f32);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + *value as f32)
}
