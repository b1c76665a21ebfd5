//! The dimensions of a tensor in another order.

use super::{Fitted, Input, Stage, input};
use crate::pipeline::flow::{Flow, Units};
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::Tensor;
use lineside_bundle::stages::Transpose;

struct Transposed {
    shape: Vec<usize>,
    /// Where each element comes from.
    places: Vec<usize>,
}

pub(super) fn fit(transpose: &Transpose, input: &Input<'_>) -> Result<Fitted, String> {
    let from = input.flow.port.shape();
    let axes: Vec<usize> = transpose.axes.iter().map(|axis| *axis as usize).collect();
    if axes.len() != from.len() {
        return Err(input.wrong(format!("axes = {axes:?} are {} dimensions", axes.len())));
    }
    let shape: Vec<usize> = axes.iter().map(|axis| from[*axis]).collect();
    let places = places(from, &axes);
    let flow = Flow::new(input.flow.port.element(), shape.clone())?;
    // Columns stay columns, and rows rows, only where they stay in their place.
    let last = axes.len().checked_sub(1);
    let units = match axes.last().copied() == last {
        true => input.flow.units.clone(),
        false => Units::from(""),
    };
    let stride = input.flow.stride.filter(|_| axes.first() == Some(&0));
    Fitted::one(Transposed { shape, places }, Flow { stride, ..flow.in_units(units) })
}

/// The places, row by row, of the elements of a tensor of the shape `from` with its dimensions in the order
/// `axes`.
fn places(from: &[usize], axes: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for axis in axes {
        let step: usize = from[axis + 1..].iter().product();
        let along = |place: usize| (0..from[*axis]).map(move |at| place + at * step);
        places = places.into_iter().flat_map(along).collect();
    }
    places
}

impl Stage for Transposed {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let unfit = || (Fault::Input, "what came has another shape than was declared".into());
        let data = input(inputs, 0)?.data().picked(&self.places).ok_or_else(unfit)?;
        Ok(vec![super::tensor(&self.shape, data)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};
    use super::*;
    use crate::tensor::{Data, Element};
    use proptest::prelude::*;

    fn transpose(axes: &str) -> String {
        format!("kind = 'transpose'\ninput = 'window'\naxes = {axes}")
    }

    #[test]
    fn rows_become_columns_and_back() {
        let units = vec!["m/s".to_owned(), "kW".to_owned()];
        let mut turned = Bench::new(&transpose("[1, 0]"), &[window(&[3, 2]).in_units(units)]);
        assert_eq!(
            (turned.forms(), turned.units()),
            (vec!["f32 [2, 3]".into()], vec![String::new(); 3])
        );
        assert_eq!(turned.numbers(&[1., 2., 3., 4., 5., 6.]), [1., 3., 5., 2., 4., 6.]);
        // As numpy.transpose has it.
        let mut cube = Bench::new(&transpose("[2, 0, 1]"), &[window(&[2, 2, 3])]);
        assert_eq!(cube.forms(), ["f32 [3, 2, 2]"]);
        let steps: Vec<f32> = (0..12).map(|at| at as f32).collect();
        assert_eq!(cube.numbers(&steps), [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
    }

    #[test]
    fn every_type_is_taken() {
        let texts = Flow::new(Element::Bytes, vec![2, 1]).unwrap();
        let data = Data::Bytes(vec![b"a".to_vec(), b"b".to_vec()]);
        let turned = Bench::new(&transpose("[1, 0]"), &[texts])
            .run("", std::slice::from_ref(&data))
            .unwrap();
        assert_eq!((turned[0].shape(), turned[0].data()), (&[1, 2][..], &data));
    }

    #[test]
    fn axes_that_are_not_those_of_the_input_are_refused() {
        let said = "input input: window is f32 [3], axes = [1, 0] are 2 dimensions";
        assert_eq!(refused(&transpose("[1, 0]"), window(&[3])), said);
        for axes in ["[0, 0]", "[1, 2]", "[]"] {
            let said = refused(&transpose(axes), window(&[3, 2]));
            assert_eq!(said, format!("axes = {axes} must name each dimension once, from 0"));
        }
    }

    proptest! {
        #[test]
        fn turned_twice_it_is_what_it_was(rows in 1..6usize, columns in 1..6usize) {
            let values: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
            let mut there = Bench::new(&transpose("[1, 0]"), &[window(&[rows, columns])]);
            let turned: Vec<f32> = there.numbers(&values).iter().map(|it| *it as f32).collect();
            let mut back = Bench::new(&transpose("[1, 0]"), &[window(&[columns, rows])]);
            let wanted: Vec<f64> = values.iter().map(|it| f64::from(*it)).collect();
            prop_assert_eq!(back.numbers(&turned), wanted);
        }
    }
}
