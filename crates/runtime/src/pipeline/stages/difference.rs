//! Each row less an earlier one.

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::Difference;

struct Differences {
    shape: Vec<usize>,
    /// Elements from one to the one that it is subtracted from.
    back: usize,
}

pub(super) fn fit(difference: &Difference, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let lag = difference.lag as usize;
    let mut shape = input.flow.port.shape().to_vec();
    // Rows are the dimension before the columns.
    let place = shape.len().saturating_sub(2);
    match shape.get_mut(place) {
        Some(rows) if *rows > lag && place == 0 => *rows -= lag,
        Some(_) if place > 0 => return Err(input.wrong("rows and columns are needed")),
        _ => return Err(input.wrong(format!("lag = {lag} leaves no row"))),
    }
    let output = Flow::new(Element::F32, shape.clone())?
        .in_units(input.flow.units.clone())
        .moving_as(input.flow);
    Fitted::one(Differences { shape, back: lag * input.flow.columns() }, output)
}

impl Stage for Differences {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let pairs = values.iter().zip(values.iter().skip(self.back));
        Ok(vec![tensor(&self.shape, narrow(pairs.map(|(before, now)| now - before)))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};

    const DIFFERENCE: &str = "kind = 'difference'\ninput = 'window'\n";

    #[test]
    fn each_row_is_less_the_one_before_column_by_column() {
        let units = vec!["mm".to_owned(), "l".to_owned()];
        let mut difference = Bench::new(DIFFERENCE, &[window(&[3, 2]).in_units(units.clone())]);
        assert_eq!(difference.forms(), ["f32 [2, 2]"]);
        assert_eq!(difference.units(), units);
        close(&difference.numbers(&[1.0, 10.0, 3.0, 10.0, 6.0, 4.0]), &[2.0, 0.0, 3.0, -6.0]);
        let mut difference = Bench::new(&format!("{DIFFERENCE}lag = 2"), &[window(&[4])]);
        close(&difference.numbers(&[1.0, 2.0, 4.0, 8.0]), &[3.0, 6.0]);
    }

    #[test]
    fn a_lag_that_leaves_nothing_is_refused() {
        let lag =
            |lag: u32, shape: &[usize]| refused(&format!("{DIFFERENCE}lag = {lag}"), window(shape));
        assert_eq!(lag(0, &[4]), "lag = 0 must be 1 to 1048576");
        assert_eq!(lag(4, &[4]), "input input: window is f32 [4], lag = 4 leaves no row");
        assert_eq!(lag(1, &[1, 4]), "input input: window is f32 [1, 4], lag = 1 leaves no row");
        assert_eq!(
            lag(1, &[2, 3, 4]),
            "input input: window is f32 [2, 3, 4], rows and columns are needed"
        );
    }
}
