//! The Epps-Singleton test: whether two empirical characteristic functions differ (Epps & Singleton 1986).

use super::Method;
use crate::function::chi_square_tail;
use crate::pair::{Numbers, Sample};
use crate::sum::{mean, sum};
use crate::verdict::{NotComputable, Side};

/// Where the characteristic functions are compared, in halves of the interquartile range.
const PLACES: [f64; 2] = [0.4, 0.8];
const SIZE: usize = 2 * PLACES.len();
const ROWS_MIN: usize = 5;
/// Below this size a correction for small samples is made.
const CORRECTED_BELOW: f64 = 25.0;
/// Variances below this share of the largest are noughts that rounding has left (numpy's `pinv`).
const NOUGHT: f64 = 1e-15;

type Matrix = [[f64; SIZE]; SIZE];

/// The p-value.
///
/// # Errors
/// [`NotComputable::TooFew`], and [`NotComputable::Constant`] if the middle half of all values is one.
pub(super) fn p_value(numbers: &Numbers) -> Result<f64, NotComputable> {
    let method = Method::EppsSingleton;
    let mut all = [numbers.reference.sorted.as_slice(), &numbers.current.sorted].concat();
    all.sort_by(f64::total_cmp);
    let range = quantile(&all, 0.75) - quantile(&all, 0.25);
    if range == 0.0 {
        return Err(NotComputable::Constant { method, what: "the middle half" });
    }
    for (side, sample) in [(Side::Reference, &numbers.reference), (Side::Current, &numbers.current)]
    {
        let rows = sample.values.len();
        if rows < ROWS_MIN {
            return Err(NotComputable::TooFew { method, needed: ROWS_MIN, side, rows });
        }
    }
    let (n1, n2) = (numbers.reference.count(), numbers.current.count());
    let n = n1 + n2;
    let (mean1, covariance1) = characteristic(&numbers.reference, range / 2.0);
    let (mean2, covariance2) = characteristic(&numbers.current, range / 2.0);
    let covariance = std::array::from_fn(|row| {
        std::array::from_fn(|at| n / n1 * covariance1[row][at] + n / n2 * covariance2[row][at])
    });
    let (variances, directions) = eigen(covariance);
    let greatest = variances.iter().copied().fold(0.0, f64::max);
    let mut kept: Vec<f64> = Vec::new();
    let mut statistic = 0.0;
    for (variance, direction) in variances.iter().zip(directions) {
        if variance.abs() > greatest * NOUGHT {
            let along: f64 = (0..SIZE).map(|at| direction[at] * (mean1[at] - mean2[at])).sum();
            statistic += along * along / variance;
            kept.push(1.0 / variance.abs());
        }
    }
    statistic *= n;
    if n1.max(n2) < CORRECTED_BELOW {
        statistic /= 1.0 + n.powf(-0.45) + 10.1 * (n1.powf(-1.7) + n2.powf(-1.7));
    }
    // The rank of the inverse, as numpy tells it.
    let least = kept.iter().copied().fold(0.0, f64::max) * SIZE as f64 * f64::EPSILON;
    let rank = kept.iter().filter(|value| **value > least).count();
    Ok(chi_square_tail(rank as u64, statistic))
}

/// Between the two values next to it, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len() as f64 + (1.0 - share);
    let (whole, part) = (place.floor(), place.fract());
    let last = sorted.len() - 1;
    let (low, high) = (sorted[(whole as usize - 1).min(last)], sorted[(whole as usize).min(last)]);
    (1.0 - part) * low + part * high
}

/// Means and covariances (divided by n) of the cosines and sines of the values at the places.
fn characteristic(sample: &Sample, unit: f64) -> ([f64; SIZE], Matrix) {
    let scales = PLACES.map(|place| place / unit);
    let rows: [Vec<f64>; SIZE] = std::array::from_fn(|row| {
        let scale = scales[row % PLACES.len()];
        let wave = if row < PLACES.len() { f64::cos } else { f64::sin };
        sample.values.iter().map(|value| wave(scale * value)).collect()
    });
    let means = std::array::from_fn(|row| mean(&rows[row]));
    let covariance = std::array::from_fn(|row| {
        std::array::from_fn(|other| {
            let pairs = rows[row].iter().zip(&rows[other]);
            let products: Vec<f64> =
                pairs.map(|(a, b)| (a - means[row]) * (b - means[other])).collect();
            sum(&products) / sample.count()
        })
    });
    (means, covariance)
}

/// Eigenvalues and eigenvectors (a row each) of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut matrix: Matrix) -> ([f64; SIZE], Matrix) {
    const SWEEPS: usize = 50;
    let mut vectors: Matrix =
        std::array::from_fn(|row| std::array::from_fn(|at| f64::from(u8::from(row == at))));
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..SIZE {
            for q in p + 1..SIZE {
                let off = matrix[p][q];
                if off.abs() <= f64::EPSILON * 1e-3 * (matrix[p][p] * matrix[q][q]).abs().sqrt() {
                    continue;
                }
                turned = true;
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * off);
                let tangent = 1f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                for row in &mut matrix {
                    (row[p], row[q]) =
                        (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
                }
                let turn = |matrix: &mut Matrix| {
                    let (one, other) = (matrix[p], matrix[q]);
                    matrix[p] = std::array::from_fn(|at| cosine * one[at] - sine * other[at]);
                    matrix[q] = std::array::from_fn(|at| sine * one[at] + cosine * other[at]);
                };
                turn(&mut matrix);
                turn(&mut vectors);
            }
        }
        if !turned {
            break;
        }
    }
    (std::array::from_fn(|at| matrix[at][at]), vectors)
}
