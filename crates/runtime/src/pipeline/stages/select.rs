//! One element of a tensor.

use super::{Fitted, Input, Stage, input};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::Tensor;
use lineside_bundle::stages::Select;

struct Element(usize);

pub(super) fn fit(select: &Select, input: &Input<'_>) -> Result<Fitted, String> {
    let (port, index) = (&input.flow.port, select.index as usize);
    if index >= port.len() {
        return Err(input.wrong(format!("index {index} is beyond it")));
    }
    let unit = input.flow.units.of(index % input.flow.columns());
    Fitted::one(Element(index), Flow::new(port.element(), vec![1])?.in_units(unit))
}

impl Stage for Element {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let element = input(inputs, 0)?.select(self.0);
        Ok(vec![element.ok_or_else(|| (Fault::Input, format!("there is no element {}", self.0)))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};

    const SECOND: &str = "kind = 'select'\ninput = 'window'\nindex = 3";

    #[test]
    fn elements_are_counted_row_by_row_and_keep_the_unit_of_their_column() {
        let units = vec!["m/s".to_owned(), "kW".to_owned()];
        let mut select = Bench::new(SECOND, &[window(&[2, 2]).in_units(units)]);
        assert_eq!(
            (select.forms(), select.units()),
            (vec!["f32 [1]".into()], vec!["kW".to_owned()])
        );
        assert_eq!(select.numbers(&[1.0, 2.0, 3.0, 4.0]), [4.0]);
    }

    #[test]
    fn an_element_that_is_not_there_is_refused() {
        let said = "input input: window is f32 [3], index 3 is beyond it";
        assert_eq!(refused(SECOND, window(&[3])), said);
    }
}
