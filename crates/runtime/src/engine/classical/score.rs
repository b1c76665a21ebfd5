//! What becomes of raw scores: the post-transforms of ONNX's operators for machine learning.

use super::node::Node;

/// A post-transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

impl Transform {
    /// The one that a node asks for.
    pub(super) fn read(node: &Node<'_>) -> Result<Transform, String> {
        node.word(
            "post_transform",
            &[
                ("NONE", Transform::None),
                ("LOGISTIC", Transform::Logistic),
                ("SOFTMAX", Transform::Softmax),
                ("SOFTMAX_ZERO", Transform::SoftmaxZero),
                ("PROBIT", Transform::Probit),
            ],
        )
    }

    /// Transforms the scores of one row.
    pub(super) fn apply(self, scores: &mut [f32]) {
        let each = |scores: &mut [f32], change: fn(f32) -> f32| {
            scores.iter_mut().for_each(|score| *score = change(*score));
        };
        match self {
            Transform::None => {}
            Transform::Logistic => each(scores, logistic),
            Transform::Probit => each(scores, probit),
            Transform::Softmax => softmax(scores, |_| true),
            // A score of nought says that there was none, and remains nought.
            Transform::SoftmaxZero => softmax(scores, |score| score.abs() > 1e-7),
        }
    }
}

/// 1 / (1 + exp(-x)), computed from the side on which nothing overflows.
pub(super) fn logistic(score: f32) -> f32 {
    let upper = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - upper } else { upper }
}

/// The quantile of the normal distribution, by the approximation of the inverse error function that
/// onnxruntime takes (Winitzki 2008, "A handy approximation for the error function and its inverse",
/// with a = 0.147). Outside of 0 to 1 it is no number.
fn probit(score: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * score - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    let root = ((half * half - log / A).sqrt() - half).sqrt();
    std::f32::consts::SQRT_2 * if x < 0.0 { -root } else { root }
}

/// Exponentials of the scores that `counts` in parts of their sum; the others become next to nothing.
fn softmax(scores: &mut [f32], counts: impl Fn(f32) -> bool) {
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if counts(*score) {
            *score = (*score - largest).exp();
            sum += *score;
        } else {
            *score *= (-largest).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(transform: Transform, scores: &[f32]) -> Vec<f32> {
        let mut scores = scores.to_vec();
        transform.apply(&mut scores);
        scores
    }

    fn near(got: &[f32], wanted: &[f32]) {
        assert_eq!(got.len(), wanted.len());
        for (one, other) in got.iter().zip(wanted) {
            assert!((one - other).abs() < 2e-3, "{got:?}, expected {wanted:?}");
        }
    }

    #[test]
    fn scores_are_transformed_by_the_formulas_of_their_names() {
        let scores = [-1.0, 0.0, 2.0];
        assert_eq!(after(Transform::None, &scores), scores);
        near(&after(Transform::Logistic, &scores), &[0.26894, 0.5, 0.88080]);
        near(&after(Transform::Softmax, &scores), &[0.04201, 0.11420, 0.84379]);
        near(&after(Transform::SoftmaxZero, &scores), &[0.04743, 0.0, 0.95257]);
        // Quantiles of the normal distribution from a table.
        near(&after(Transform::Probit, &[0.025, 0.5, 0.8413]), &[-1.95996, 0.0, 0.99982]);
    }

    #[test]
    fn scores_of_any_size_give_probabilities() {
        for scores in [[1e30, -1e30], [-1e30, -1e30], [88.0, 89.0], [0.0, 0.0]] {
            for transform in [Transform::Logistic, Transform::Softmax] {
                let after = after(transform, &scores);
                assert!(after.iter().all(|it| (0.0..=1.0).contains(it)), "{scores:?} {after:?}");
            }
        }
    }
}
