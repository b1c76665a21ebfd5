//! Student's test of two means.

use crate::function::student_two_sided;
use crate::pair::{Numbers, Sample};
use crate::sum::{mean, variance};

/// The two-sided p-value with one variance for both sides; NaN where nothing differs.
pub(super) fn p_value(numbers: &Numbers) -> f64 {
    let Numbers { reference, current, .. } = numbers;
    let (n1, n2) = (reference.count(), current.count());
    let unbiased = |sample: &Sample, n: f64| match sample.values.as_slice() {
        [_] => 0.0,
        values => variance(values) * (n / (n - 1.0)),
    };
    let degrees = n1 + n2 - 2.0;
    let pooled =
        ((n1 - 1.0) * unbiased(reference, n1) + (n2 - 1.0) * unbiased(current, n2)) / degrees;
    let error = (pooled * (1.0 / n1 + 1.0 / n2)).sqrt();
    student_two_sided((mean(&reference.values) - mean(&current.values)) / error, degrees)
}
