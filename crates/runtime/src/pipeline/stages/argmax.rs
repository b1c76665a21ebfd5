//! The place of the greatest value along the last dimension; the first of several.

use super::{Fitted, Input, Stage, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};

struct Greatest {
    shape: Vec<usize>,
    classes: usize,
}

pub(super) fn fit(input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let shape = input.shape_with(None);
    let output = Flow::new(Element::I64, shape.clone())?;
    Fitted::one(Greatest { shape, classes: input.last() }, output)
}

impl Stage for Greatest {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let places = values.chunks_exact(self.classes).map(greatest).collect();
        Ok(vec![tensor(&self.shape, Data::I64(places))?])
    }
}

fn greatest(values: &[f64]) -> i64 {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best as i64
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, window};

    const ARGMAX: &str = "kind = 'argmax'\ninput = 'judge.scores'";

    #[test]
    fn the_first_of_the_greatest_is_named_row_by_row() {
        let mut argmax = Bench::new(ARGMAX, &[window(&[2, 3])]);
        assert_eq!(argmax.forms(), ["i64 [2]"]);
        assert_eq!(argmax.numbers(&[0.0, 7.0, 7.0, -1.0, -3.0, -2.0]), [1.0, 0.0]);
        let mut argmax = Bench::new(ARGMAX, &[window(&[3])]);
        assert_eq!(argmax.forms(), ["i64 [1]"]);
        assert_eq!(argmax.numbers(&[0.0, 1.0, 2.0]), [2.0]);
        assert_eq!(Bench::new(ARGMAX, &[window(&[])]).numbers(&[5.0]), [0.0]);
    }
}
