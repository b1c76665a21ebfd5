//! Shares of scores: `exp(x) / sum(exp(x))` along the last dimension.

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};

struct Shares {
    shape: Vec<usize>,
    classes: usize,
}

pub(super) fn fit(input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let shape = input.flow.port.shape().to_vec();
    let output = Flow::new(Element::F32, shape.clone())?;
    let output = output.in_units("1");
    Fitted::one(Shares { shape, classes: input.last() }, output)
}

impl Stage for Shares {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let mut values = numbers(inputs, 0)?;
        for scores in values.chunks_exact_mut(self.classes) {
            // Less the greatest, so that no exponential is infinite.
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            scores.iter_mut().for_each(|score| *score = libm::exp(*score - greatest));
            let sum: f64 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
        Ok(vec![tensor(&self.shape, narrow(values))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, window};
    use proptest::prelude::*;

    const SOFTMAX: &str = "kind = 'softmax'\ninput = 'judge.logits'";

    #[test]
    fn shares_are_those_of_the_formula_row_by_row() {
        let mut softmax = Bench::new(SOFTMAX, &[window(&[2, 2])]);
        assert_eq!(softmax.forms(), ["f32 [2, 2]"]);
        // ln 3 against nought is 3 to 1.
        let shares = softmax.numbers(&[0.0, 3.0f32.ln(), 5.0, 5.0]);
        close(&shares, &[0.25, 0.75, 0.5, 0.5]);
        close(&Bench::new(SOFTMAX, &[window(&[])]).numbers(&[9.0]), &[1.0]);
    }

    #[test]
    fn scores_that_no_exponential_holds_have_shares_all_the_same() {
        let mut softmax = Bench::new(SOFTMAX, &[window(&[3])]);
        assert_eq!(softmax.numbers(&[f32::MAX, 0.0, f32::MIN]), [1.0, 0.0, 0.0]);
    }

    /// The same bits on every processor. These were computed by Python in 64 bits, and rounded.
    #[test]
    fn shares_are_the_same_to_the_last_bit_wherever_they_are_computed() {
        let mut softmax = Bench::new(SOFTMAX, &[window(&[3])]);
        let bits: Vec<u32> =
            softmax.numbers(&[0.1, -1.7, 2.3]).iter().map(|it| (*it as f32).to_bits()).collect();
        assert_eq!(bits, [0x3dc8_f9a7, 0x3c84_e247, 0x3f62_b9b9]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one_and_keep_the_order(
            scores in proptest::collection::vec(-100f32..100.0, 1..40),
        ) {
            let shares = Bench::new(SOFTMAX, &[window(&[scores.len()])]).numbers(&scores);
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
            for (a, share) in scores.iter().zip(&shares) {
                for (b, other) in scores.iter().zip(&shares) {
                    prop_assert!(a > b || share <= other);
                }
            }
        }
    }
}
