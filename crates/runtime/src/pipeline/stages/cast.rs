//! The same numbers as another type.

use super::constant::{data, element};
use super::{Fitted, Input, Stage, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::Cast;

struct As {
    element: Element,
    shape: Vec<usize>,
}

pub(super) fn fit(cast: &Cast, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let element = element(&cast.element)?;
    let shape = input.flow.port.shape().to_vec();
    let output =
        Flow::new(element, shape.clone())?.in_units(input.flow.units.clone()).moving_as(input.flow);
    Fitted::one(As { element, shape }, output)
}

impl Stage for As {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let data = data(self.element, &numbers(inputs, 0)?);
        Ok(vec![tensor(&self.shape, data.map_err(|problem| (Fault::Value, problem))?)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};
    use super::*;
    use crate::tensor::Data;

    fn cast(element: &str) -> String {
        format!("kind = 'cast'\ninput = 'window'\nelement = '{element}'")
    }

    #[test]
    fn numbers_stay_what_they_are() {
        let mut wide = Bench::new(&cast("f64"), &[window(&[2]).in_units("bar")]);
        assert_eq!((wide.forms(), wide.units()), (vec!["f64 [2]".into()], vec!["bar".to_owned()]));
        let given = [Data::F32(vec![0.5, -3.0])];
        assert_eq!(*wide.run("", &given).unwrap()[0].data(), Data::F64(vec![0.5, -3.0]));
        let whole = Bench::new(&cast("i64"), &[window(&[1])]).run("", &[Data::F32(vec![-3.0])]);
        assert_eq!(*whole.unwrap()[0].data(), Data::I64(vec![-3]));
    }

    #[test]
    fn a_number_that_the_type_does_not_hold_has_no_answer() {
        for (element, value) in
            [("i64", 0.5), ("u8", 256.0), ("u8", -1.0), ("bool", 2.0), ("i64", 1e17)]
        {
            let answer =
                Bench::new(&cast(element), &[window(&[1])]).run("", &[Data::F32(vec![value])]);
            assert_eq!(answer.unwrap_err().0, Fault::Value, "{value} as {element}");
        }
    }

    #[test]
    fn what_is_no_type_of_numbers_is_refused_with_those_that_are() {
        let said = refused(&cast("text"), window(&[1]));
        assert!(said.starts_with("element = \"text\" is none of bool, u8"), "{said}");
        assert!(
            refused(&cast("bytes"), window(&[1])).starts_with("element = \"bytes\" is none of")
        );
    }
}
