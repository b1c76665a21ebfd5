//! Tails of distributions. Sums of positive terms wherever there are such, so that small tails keep their
//! digits. Libraries did not do: statrs 0.19 is off by 7e-10 in the incomplete gamma function of many degrees,
//! puruspe 0.4 has no value for some of them, and an incomplete beta function that is given x alone cannot know
//! 1 − x, on which Student's distribution of many degrees depends, to more digits than x has left of it.

mod bessel;
mod chi_square;
mod kolmogorov;
mod stirling;
mod student;

pub(crate) use bessel::bessel_k_quarter_scaled;
pub(crate) use chi_square::chi_square_tail;
pub(crate) use kolmogorov::kolmogorov_tail;
pub(crate) use student::student_two_sided;

/// The share of a standard normal distribution below `z`.
pub(crate) fn normal_below(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}
