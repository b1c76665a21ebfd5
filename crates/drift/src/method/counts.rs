//! Tests on how often each value is there.

use super::Method;
use crate::function::{chi_square_tail, normal_below};
use crate::pair::Tally;
use crate::sum::sum_of;
use crate::verdict::NotComputable;

/// Weights are made smaller beyond this, before they overflow.
const LARGE: f64 = 1e250;

/// Pearson's test (p-value): the current counts against the reference's, brought to as many rows. A value that
/// the reference does not have gives 0.
pub(crate) fn chi_square(tally: &Tally) -> f64 {
    let scale = tally.rows.1 as f64 / tally.rows.0 as f64;
    let statistic = sum_of(&tally.counts, |(reference, current)| {
        let expected = *reference as f64 * scale;
        (*current as f64 - expected).powi(2) / expected
    });
    chi_square_tail(tally.counts.len() as u64 - 1, statistic)
}

/// The likelihood-ratio test (p-value): the current counts against the reference's.
///
/// # Errors
/// [`NotComputable::Lengths`] if there are not as many on both sides.
pub(super) fn g_test(tally: &Tally) -> Result<f64, NotComputable> {
    let (reference, current) = tally.rows;
    // scipy lets the sums differ by √ε of the smaller one.
    if reference.abs_diff(current) as f64 > reference.min(current) as f64 * f64::EPSILON.sqrt() {
        return Err(NotComputable::Lengths { method: Method::GTest, reference, current });
    }
    let statistic = sum_of(&tally.counts, |(reference, current)| match current {
        0 => 0.0,
        current => 2.0 * *current as f64 * (*current as f64 / *reference as f64).ln(),
    });
    Ok(chi_square_tail(tally.counts.len() as u64 - 1, statistic))
}

/// The two-sided test with pooled variance (p-value) of the shares that are not the first value in order;
/// 1 where both sides are one and the same value.
///
/// # Errors
/// [`NotComputable::Mixed`] where there is no order.
pub(crate) fn z(tally: &Tally) -> Result<f64, NotComputable> {
    if tally.mixed {
        return Err(NotComputable::Mixed { method: Method::Z });
    }
    let [(reference, current), _, ..] = tally.counts.as_slice() else { return Ok(1.0) };
    let (n1, n2) = (tally.rows.0 as f64, tally.rows.1 as f64);
    let (p1, p2) = ((n1 - *reference as f64) / n1, (n2 - *current as f64) / n2);
    let pooled = (p1 * n1 + p2 * n2) / (n1 + n2);
    let statistic = (p1 - p2) / (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    Ok(2.0 * (1.0 - normal_below(statistic.abs())))
}

/// Fisher's exact test (p-value, two-sided) of two values on two sides of as many rows.
///
/// # Errors
/// [`NotComputable::NotBinary`] for more than two values, [`NotComputable::Lengths`] for sides that differ in
/// length.
pub(super) fn fisher_exact(tally: &Tally) -> Result<f64, NotComputable> {
    let method = Method::FisherExact;
    let values = tally.counts.len();
    if values > 2 {
        return Err(NotComputable::NotBinary { method, values });
    }
    let (reference, current) = tally.rows;
    if reference != current {
        return Err(NotComputable::Lengths { method, reference, current });
    }
    let [(left, right), _] = tally.counts.as_slice() else { return Ok(1.0) };
    // Of sides that are as long, the distribution has two equal halves, and the two-sided value is twice that
    // of the side on which these counts lie.
    let (together, below) = (left + right, *left.min(right));
    if 2 * below + 1 >= together {
        return Ok(1.0);
    }
    // Weights from the smallest count up to the middle, which are whole numbers while doubles hold such.
    let fewest = together.saturating_sub(current);
    let rows = current as f64;
    let (mut weight, mut tail, mut half) = (1.0, 0.0, 0.0);
    for count in fewest..=together / 2 {
        // A middle of its own is in both halves.
        half += if 2 * count == together { weight / 2.0 } else { weight };
        if count <= below {
            tail += weight;
        }
        let (count, other) = (count as f64, (together - count) as f64);
        weight = weight * ((rows - count) * other) / ((count + 1.0) * (rows - other + 1.0));
        if weight > LARGE {
            (weight, tail, half) = (weight / LARGE, tail / LARGE, half / LARGE);
        }
    }
    Ok((tail / half).min(1.0))
}
