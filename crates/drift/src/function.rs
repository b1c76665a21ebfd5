//! Tails of distributions. Sums of positive terms wherever there are such, so that small tails keep their
//! digits: the libraries that were tried (statrs 0.19, puruspe 0.4) lose up to all of them on data of ours.

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
