//! The Anderson-Darling test of k samples, here two.

use super::Method;
use crate::pair::Numbers;
use crate::sum::{sum, sum_of};
use crate::verdict::NotComputable;

/// Critical values of two samples (Scholz & Stephens 1987, table 1 and equation for its interpolation: b0 +
/// b1 + b2 at m = 1), and the p-values that belong to them.
const CRITICAL: [(f64, f64, f64, f64); 7] = [
    (0.675, -0.245, -0.105, 0.25),
    (1.281, 0.25, -0.305, 0.1),
    (1.645, 0.678, -0.362, 0.05),
    (1.96, 1.149, -0.391, 0.025),
    (2.326, 1.822, -0.396, 0.01),
    (2.573, 2.364, -0.345, 0.005),
    (3.085, 3.615, -0.154, 0.001),
];

/// The p-value, by the statistic with midranks, interpolated between 0.001 and 0.25 and held there beyond (scipy
/// 1.17, `anderson_ksamp`).
///
/// # Errors
/// [`NotComputable::Constant`] if all values are one, [`NotComputable::TooFewTogether`] for less than four.
pub(super) fn p_value(numbers: &Numbers) -> Result<f64, NotComputable> {
    let (n1, n2) = (numbers.reference.count(), numbers.current.count());
    let n = n1 + n2;
    let groups = numbers.groups();
    let method = Method::Anderson;
    if groups.len() < 2 {
        return Err(NotComputable::Constant { method, what: "all there is" });
    }
    if n < 4.0 {
        return Err(NotComputable::TooFewTogether { method, rows: n as usize });
    }
    // Equation 7, with half of each tie counted below it.
    let (mut below, mut terms) = ((0.0, 0.0), (Vec::new(), Vec::new()));
    for group in &groups {
        let (r, c) = (group.reference as f64, group.current as f64);
        let tied = r + c;
        let middle = below.0 + below.1 + tied / 2.0;
        let weight = tied / n / (middle * (n - middle) - n * tied / 4.0);
        terms.0.push(weight * (n * (below.0 + r / 2.0) - middle * n1).powi(2));
        terms.1.push(weight * (n * (below.1 + c / 2.0) - middle * n2).powi(2));
        below = (below.0 + r, below.1 + c);
    }
    let statistic = (sum(&terms.0) / n1 + sum(&terms.1) / n2) * (n - 1.0) / n;
    Ok(interpolated((statistic - 1.0) / variance(n1, n2).sqrt()))
}

/// The variance of the statistic of two samples (equation 4).
fn variance(n1: f64, n2: f64) -> f64 {
    let (n, k) = (n1 + n2, 2.0);
    let both = 1.0 / n1 + 1.0 / n2;
    // h = Σ 1/i for i below n; g = Σ Σ 1/((n − i) j) for i below n − 1 and j from i + 1 below n.
    let mut parts = Vec::new();
    let (mut harmonic, mut at) = (0.0, n - 1.0);
    while at > 1.0 {
        harmonic += 1.0 / at;
        parts.push(harmonic / (n + 1.0 - at));
        at -= 1.0;
    }
    let (h, g) = (harmonic + 1.0, sum(&parts));
    let a = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * both;
    let b = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * both - 8.0 * h
        + 4.0 * g
        - 6.0;
    let c = (6.0 * h + 2.0 * g - 2.0) * k * k
        + (4.0 * h - 4.0 * g + 6.0) * k
        + (2.0 * h - 6.0) * both
        + 4.0 * h;
    let d = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
    (a * n.powi(3) + b * n * n + c * n + d) / ((n - 1.0) * (n - 2.0) * (n - 3.0))
}

/// The p-value of a normalised statistic: the logarithm of the table's p-values by the parabola that comes
/// nearest to them.
fn interpolated(statistic: f64) -> f64 {
    let points = CRITICAL.map(|(b0, b1, b2, p)| (b0 + b1 + b2, f64::ln(p)));
    let (first, last) = (points[0], points[points.len() - 1]);
    if statistic < first.0 {
        return CRITICAL[0].3;
    }
    if statistic > last.0 {
        return CRITICAL[CRITICAL.len() - 1].3;
    }
    // Least squares by polynomials that are orthogonal on the points: 1, x − m, (x − m)² − s (x − m) − v.
    let count = points.len() as f64;
    let middle = sum_of(&points, |point| point.0) / count;
    let square = sum_of(&points, |point| (point.0 - middle).powi(2));
    let cube = sum_of(&points, |point| (point.0 - middle).powi(3));
    let second = |x: f64| (x - middle).powi(2) - cube / square * (x - middle) - square / count;
    let level = sum_of(&points, |point| point.1) / count;
    let slope = sum_of(&points, |point| point.1 * (point.0 - middle)) / square;
    let bend = sum_of(&points, |point| point.1 * second(point.0))
        / sum_of(&points, |point| second(point.0).powi(2));
    (level + slope * (statistic - middle) + bend * second(statistic)).exp()
}
