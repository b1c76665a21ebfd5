//! The upper tail of the chi-square distribution.

use super::stirling::poisson;

/// Terms below this share of a sum change nothing any more.
const NEGLIGIBLE: f64 = 1e-18;

/// The share of a chi-square distribution with `degrees` of freedom above `x`; NaN without any degree.
///
/// It is the regularised incomplete gamma function Q(degrees/2, x/2), for whole degrees a finite sum
/// (Abramowitz & Stegun 26.4.4 and 26.4.5).
pub(crate) fn chi_square_tail(degrees: u64, x: f64) -> f64 {
    if x.is_nan() || (degrees == 0 && x <= 0.0) {
        return f64::NAN;
    }
    if degrees == 0 || x == f64::INFINITY {
        return 0.0;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let (a, x) = (degrees as f64 / 2.0, x / 2.0);
    if x < a {
        // The lower part has fewer terms, and no less than two fifths are left for the upper one.
        let (mut term, mut sum, mut above) = (1.0, 1.0, a);
        while term > sum * NEGLIGIBLE {
            above += 1.0;
            term *= x / above;
            sum += term;
        }
        return 1.0 - poisson(a, x) * sum;
    }
    let mut sum = if degrees % 2 == 1 { libm::erfc(x.sqrt()) } else { 0.0 };
    let mut at = a - 1.0;
    let mut term = poisson(a, x) * a / x;
    while at >= 0.0 && term > sum * NEGLIGIBLE {
        sum += term;
        term *= at / x;
        at -= 1.0;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_scipy_from_one_degree_to_a_million() {
        // scipy.special.chdtrc(degrees, x) of scipy 1.17.1.
        for (degrees, x, expected) in CASES {
            let tail = chi_square_tail(degrees, x);
            assert!((tail / expected - 1.0).abs() < 1e-11, "{degrees} {x}: {tail} {expected}");
        }
        assert_eq!(chi_square_tail(3, f64::INFINITY), 0.0);
        assert_eq!(chi_square_tail(3, 0.0), 1.0);
        assert!(chi_square_tail(0, 0.0).is_nan());
    }

    const CASES: [(u64, f64, f64); 16] = [
        (1, 1e-06, 0.9992021155721779),
        (1, 3.8, 0.051252582857369534),
        (1, 700.0, 2.990226975124623e-154),
        (2, 5.0, 0.0820849986238988),
        (3, 1.0, 0.8012519569012009),
        (3, 90.0, 2.190570119285308e-19),
        (9, 9.0, 0.43727418891386693),
        (29, 20.0, 0.8929270887559888),
        (30, 60.0, 0.0009206823961486636),
        (49, 120.0, 6.876961427062773e-08),
        (999, 900.0, 0.9886211870834188),
        (999, 1100.0, 0.013818467525532353),
        (100000, 99000.0, 0.9875216843619172),
        (100001, 103000.0, 1.5521771341029858e-11),
        (1000000, 1000001.0, 0.4995298422231916),
        (1000000, 1009000.0, 1.1089545090602917e-10),
    ];
}
