//! Factorials without loss: what Stirling's formula leaves (Loader, "Fast and accurate computation of
//! binomial probabilities", 2000).

use std::f64::consts::PI;

/// From here on the series has all digits.
const SERIES_FROM: f64 = 15.0;

/// `ln Γ(z + 1) − (z + ½) ln z + z − ½ ln 2π`, for z > 0.
pub(crate) fn stirling_error(z: f64) -> f64 {
    if z < SERIES_FROM {
        return libm::lgamma(z + 1.0) - (z + 0.5) * z.ln() + z - 0.5 * (2.0 * PI).ln();
    }
    let square = z * z;
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0];
    series.iter().rev().fold(0.0, |sum, term| sum / square + term) / z
}

/// `ln Γ(a + ½) − ln Γ(a)`, for a > 0.
pub(crate) fn half_step(a: f64) -> f64 {
    if a < SERIES_FROM {
        return libm::lgamma(a + 0.5) - libm::lgamma(a);
    }
    // Γ(z) = Γ(z + 1) / z.
    let above = stirling_error(a + 0.5) - stirling_error(a);
    a * (0.5 / a).ln_1p() - 0.5 + 0.5 * a.ln() + above
}

/// `x^a e^−x / Γ(a + 1)`, for a ≥ 0 and x > 0: the probability of `a` in a Poisson distribution of mean `x`.
pub(crate) fn poisson(a: f64, x: f64) -> f64 {
    if a < SERIES_FROM {
        return (a * x.ln() - x - libm::lgamma(a + 1.0)).exp();
    }
    let step = (x - a) / a;
    (a * (step.ln_1p() - step) - stirling_error(a)).exp() / (2.0 * PI * a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_a_factorial_agree_where_they_meet() {
        for (below, above) in [(14.999_999, 15.0), (14.999_999, 15.000_001)] {
            assert!((stirling_error(below) - stirling_error(above)).abs() < 1e-9);
            assert!((half_step(below) - half_step(above)).abs() < 1e-6);
            assert!((poisson(below, 14.0) / poisson(above, 14.0) - 1.0).abs() < 1e-6);
        }
        // Γ(20.5) / Γ(20) and e^−20 20^20 / 20!, of mpmath with 40 digits.
        assert!((half_step(20.0).exp() / 4.444_275_161_239_915 - 1.0).abs() < 1e-14);
        assert!((poisson(20.0, 20.0) - 0.088_835_317_392_084_82).abs() < 1e-15);
    }
}
