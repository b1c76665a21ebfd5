//! The Mann-Whitney test.

use super::Method;
use crate::function::normal_below;
use crate::pair::Numbers;
use crate::verdict::NotComputable;

/// Up to this size of one side, and without ties, ranks are counted exactly.
const EXACT_MAX: u64 = 8;
/// Longest table of counts; its numbers have 128 bits, which suffice for it.
const TABLE_MAX: u64 = 1_500_000;

/// The p-value that the reference is not less than the current data, as scipy 1.17 chooses (`mannwhitneyu`,
/// `alternative="less"`): exact where one side has [`EXACT_MAX`] values at most and nothing is tied, else
/// by the normal distribution with corrections for ties and continuity.
///
/// # Errors
/// [`NotComputable::TooMany`] where the exact table would be longer than [`TABLE_MAX`].
pub(super) fn mann_whitney(numbers: &Numbers) -> Result<f64, NotComputable> {
    let (n1, n2) = (numbers.reference.sorted.len() as u64, numbers.current.sorted.len() as u64);
    // Twice the rank sum of the reference, and Σ t³ − t over ties.
    let (mut below, mut twice_ranks, mut ties, mut tied) = (0u64, 0u128, 0.0, false);
    for group in numbers.groups() {
        let size = group.reference + group.current;
        twice_ranks += u128::from(group.reference) * u128::from(2 * below + size + 1);
        below += size;
        tied |= size > 1;
        ties += (size as f64).powi(3) - size as f64;
    }
    let twice_least = u128::from(n1) * (u128::from(n1) + 1);
    let u1 = (twice_ranks - twice_least) as f64 / 2.0;
    let product = n1 as f64 * n2 as f64;
    let u = product - u1;
    if n1.min(n2) <= EXACT_MAX && !tied {
        return exact(n1.min(n2), n1.max(n2), u as u64);
    }
    let n = (n1 + n2) as f64;
    let deviation = (product / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)))).sqrt();
    Ok(normal_below(-(u - product / 2.0 - 0.5) / deviation).clamp(0.0, 1.0))
}

/// The share of all orders of `n1` and `n2` values, `n1` being the smaller, with a statistic of `u` or more.
fn exact(n1: u64, n2: u64, u: u64) -> Result<f64, NotComputable> {
    let product = n1 * n2;
    // The counts are symmetric: so many have `u` or more as have the rest or less.
    let most = product - u;
    if product > TABLE_MAX {
        return Err(NotComputable::TooMany { method: Method::MannWhitney });
    }
    // The coefficients of Π (1 − x^(n2+i)) / (1 − x^i), i from 1 to n1.
    let mut counts = vec![0u128; most.min(product / 2) as usize + 1];
    counts[0] = 1;
    for i in 1..=n1 as usize {
        let above = n2 as usize + i;
        for at in (above..counts.len()).rev() {
            counts[at] = counts[at].wrapping_sub(counts[at - above]);
        }
        for at in i..counts.len() {
            counts[at] = counts[at].wrapping_add(counts[at - i]);
        }
    }
    let all = (1..=n1).fold(1.0, |all, i| all * (n2 + i) as f64 / i as f64);
    // As scipy adds them up, so that a value that is a threshold is one there too.
    let share = |place: u64| counts[place as usize] as f64 / all;
    let up_to = |place: u64| (0..=place).map(share).fold(0.0, |sum, share| sum + share);
    Ok(if most <= product / 2 { up_to(most) } else { 1.0 - up_to(u) + share(u) })
}
