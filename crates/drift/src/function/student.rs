//! The tails of Student's distribution.

use super::stirling::half_step;
use std::f64::consts::PI;

/// The share of Student's distribution with `degrees` of freedom (above 0) beyond ±`t`.
///
/// It is the integral of the density (Abramowitz & Stegun 26.7.2) by the exp-sinh rule of Takahasi and Mori
/// (1974). All terms are positive, so that small tails keep their digits; the continued fraction of the
/// incomplete beta function, which libraries use, loses them with the number of degrees.
pub(crate) fn student_two_sided(t: f64, degrees: f64) -> f64 {
    /// Halving it changes nothing any more.
    const STEP: f64 = 1.0 / 32.0;
    /// Beyond this, points lie within 1e-18 of the end, and without 1e18.
    const LAST: i32 = 4 * 32;
    if t.is_nan() || degrees <= 0.0 {
        return f64::NAN;
    }
    let t = t.abs();
    if t == f64::INFINITY {
        return 0.0;
    }
    if t == 0.0 {
        return 1.0;
    }
    // Where the density falls off: within the bulk over about one, in the tail over a part of t.
    let scale = if t < 1.0 { 1.0 } else { (degrees / t + t) / (degrees + 1.0) };
    let power = -(degrees + 1.0) / 2.0;
    let mut sum = 0.0;
    for at in -LAST..=LAST {
        let place = f64::from(at) * STEP;
        let beyond = (PI / 2.0 * place.sinh()).exp() * scale;
        let value = t + beyond;
        sum += (power * (value / degrees.sqrt()).powi(2).ln_1p()).exp() * beyond * place.cosh();
    }
    let front = half_step(degrees / 2.0).exp() / (degrees * PI).sqrt();
    (2.0 * front * sum * STEP * PI / 2.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_scipy_from_one_degree_to_two_million() {
        // 2 scipy.special.stdtr(degrees, -t) of scipy 1.17.1.
        for (degrees, t, expected) in CASES {
            let tail = student_two_sided(t, degrees);
            assert!((tail / expected - 1.0).abs() < 1e-11, "{degrees} {t}: {tail} {expected}");
            assert_eq!(student_two_sided(-t, degrees), tail);
        }
        assert_eq!(student_two_sided(f64::INFINITY, 3.0), 0.0);
        assert!((student_two_sided(1e100, 1.0) * 1e100 * PI / 2.0 - 1.0).abs() < 1e-13);
    }

    const CASES: [(f64, f64, f64); 16] = [
        (1.0, 0.001, 0.9993633804398159),
        (1.0, 1.0, 0.5000000000000001),
        (1.0, 1000000.0, 6.366197723673691e-07),
        (2.0, 4.3, 0.05005715411709159),
        (3.0, 0.7, 0.5343269983047636),
        (10.0, 2.2, 0.05244106844935316),
        (10.0, 40.0, 2.2808577430857535e-12),
        (58.0, 1.1, 0.27587683558209053),
        (198.0, 2.0, 0.046866883601488274),
        (198.0, 30.0, 1.3995382240240815e-75),
        (1998.0, 0.01, 0.9920222857121997),
        (19998.0, 3.5, 0.0004662707259878855),
        (2000000.0, 0.0001, 0.9999202115540263),
        (2000000.0, 1.3, 0.19360111899019258),
        (2000000.0, 1.9, 0.05743326331425276),
        (2000000.0, 9.0, 2.259074176233909e-19),
    ];
}
