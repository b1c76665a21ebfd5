//! A class as one value for each class.

use super::{Fitted, Input, Stage, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use lineside_bundle::stages::{OneHot, Unknown};

struct Classes {
    shape: Vec<usize>,
    classes: usize,
    unknown: Unknown,
}

pub(super) fn fit(one_hot: &OneHot, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let classes = one_hot.classes as usize;
    let mut shape = input.flow.port.shape().to_vec();
    // One class by itself gives one dimension, not two.
    if input.flow.port.len() == 1 {
        shape.clear();
    }
    shape.push(classes);
    let output = Flow::new(Element::F32, shape.clone())?;
    Fitted::one(Classes { shape, classes, unknown: one_hot.unknown }, output)
}

impl Stage for Classes {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let mut hot = vec![0.0; values.len() * self.classes];
        for (value, hot) in values.iter().zip(hot.chunks_exact_mut(self.classes)) {
            let is_class = *value >= 0.0 && *value < self.classes as f64 && value.fract() == 0.0;
            match (is_class, self.unknown) {
                (true, _) => hot[*value as usize] = 1.0,
                (false, Unknown::Zeros) => {}
                (false, Unknown::Refuse) => {
                    let last = self.classes - 1;
                    return Err((
                        Fault::Value,
                        format!("input input: {value} is no class of 0 to {last}"),
                    ));
                }
            }
        }
        Ok(vec![tensor(&self.shape, Data::F32(hot))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};
    use super::*;

    const ONE_HOT: &str = "kind = 'one-hot'\ninput = 'mode'\nclasses = 3\n";

    #[test]
    fn each_class_has_its_place() {
        let mut one_hot = Bench::new(ONE_HOT, &[window(&[2])]);
        assert_eq!(one_hot.forms(), ["f32 [2, 3]"]);
        assert_eq!(one_hot.numbers(&[2.0, 0.0]), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let one = Flow::new(Element::I64, vec![1]).unwrap();
        let mut one_hot = Bench::new(ONE_HOT, &[one]);
        assert_eq!(one_hot.forms(), ["f32 [3]"]);
        let hot = one_hot.run("", &[Data::I64(vec![1])]).unwrap();
        assert_eq!(*hot[0].data(), Data::F32(vec![0.0, 1.0, 0.0]));
    }

    #[test]
    fn what_is_no_class_has_no_answer_or_belongs_to_none() {
        let zeros = format!("{ONE_HOT}unknown = 'zeros'");
        for value in [3.0, -1.0, 0.5, 1e30] {
            let mut strict = Bench::new(ONE_HOT, &[window(&[1])]);
            let (fault, said) = strict.run("", &[Data::F32(vec![value])]).unwrap_err();
            assert_eq!(fault, Fault::Value);
            assert!(said.ends_with("is no class of 0 to 2"), "{said}");
            assert_eq!(Bench::new(&zeros, &[window(&[1])]).numbers(&[value]), [0.0; 3]);
        }
    }

    #[test]
    fn more_than_can_be_passed_on_is_refused() {
        let none = ONE_HOT.replace('3', "0");
        assert_eq!(refused(&none, window(&[1])), "classes = 0 must be 1 to 65536");
        let many = ONE_HOT.replace('3', "65536");
        let said = refused(&many, window(&[1 << 20]));
        assert!(said.contains("more than 16777216 elements"), "{said}");
    }
}
