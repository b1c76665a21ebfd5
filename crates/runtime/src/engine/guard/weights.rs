//! What is known of the constants of a model: the range of each, and its sums along the ways that are asked for.

use super::range::Range;
use crate::engine::nodes::Nodes;
use crate::tensor::{Data, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;

/// Which numbers of a constant go into one number of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sums {
    /// Those of one place of the first dimension.
    Rows,
    /// Those of one place of the last dimension, of each matrix.
    Columns,
    /// Perhaps all.
    All,
}

/// The constants of a model.
pub(super) struct Weights<'a> {
    nodes: &'a Nodes<'a>,
    ranges: RefCell<HashMap<&'a str, Option<Range>>>,
    sums: RefCell<HashMap<(&'a str, Sums), Option<f64>>>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(nodes: &'a Nodes<'a>) -> Weights<'a> {
        Weights { nodes, ranges: RefCell::default(), sums: RefCell::default() }
    }

    /// The constant of this name.
    pub(super) fn tensor(&self, name: &str) -> Option<Tensor> {
        self.nodes.constant_called(name)
    }

    /// Between which its numbers lie; none if there is no such constant, or nothing is known of it.
    pub(super) fn range(&self, name: &'a str) -> Option<Range> {
        if !self.nodes.has_constant(name) {
            return None;
        }
        let mut ranges = self.ranges.borrow_mut();
        *ranges.entry(name).or_insert_with(|| self.tensor(name).as_ref().map(range))
    }

    /// The sizes of the numbers that go into one number of the answer, together at most.
    pub(super) fn sum(&self, name: &'a str, sums: Sums) -> Option<f64> {
        if !self.nodes.has_constant(name) {
            return None;
        }
        let mut known = self.sums.borrow_mut();
        *known.entry((name, sums)).or_insert_with(|| self.tensor(name).map(|it| sum(&it, sums)))
    }
}

/// Has a function go through the numbers of a tensor, in which `$numbers` are.
macro_rules! with_numbers {
    ($tensor:expr, $numbers:ident => $function:expr) => {
        match $tensor.data() {
            // Nearly all weights; large models have millions of them.
            Data::F32(values) => {
                let $numbers = values.iter().map(|value| f64::from(*value));
                $function
            }
            data => {
                let $numbers = (0..data.len()).filter_map(|at| data.number(at));
                $function
            }
        }
    };
}

fn range(tensor: &Tensor) -> Range {
    let start = Range { low: f64::INFINITY, high: f64::NEG_INFINITY, nan: false };
    let widened = |range: Range, number: f64| Range {
        low: range.low.min(number),
        high: range.high.max(number),
        nan: range.nan || number.is_nan(),
    };
    let known = with_numbers!(tensor, numbers => numbers.fold(start, widened));
    // Texts, and what is empty.
    if known.low > known.high { Range::within(0.0).or_nan(known.nan) } else { known }
}

fn sum(tensor: &Tensor, sums: Sums) -> f64 {
    let most = with_numbers!(tensor, numbers => largest_sum(numbers.map(f64::abs), tensor, sums));
    // What is no number makes no sum that is known.
    if most.is_nan() { f64::INFINITY } else { most }
}

/// The largest sum of these sizes; NaN if it is none.
fn largest_sum(sizes: impl Iterator<Item = f64>, tensor: &Tensor, which: Sums) -> f64 {
    let larger = |one: f64, two: f64| if one > two || one.is_nan() { one } else { two };
    let mut sizes = sizes;
    match (which, tensor.shape()) {
        (Sums::Rows, [first, ..]) if *first > 0 => {
            let row = (tensor.len() / first).max(1);
            let sums = (0..*first).map(|_| sizes.by_ref().take(row).sum::<f64>());
            sums.fold(0.0, larger)
        }
        (Sums::Columns, [.., rows, columns]) if rows * columns > 0 => {
            let mut most = 0.0;
            for _ in 0..tensor.len() / (rows * columns) {
                let mut sums = vec![0.0; *columns];
                for _ in 0..*rows {
                    sums.iter_mut().zip(&mut sizes).for_each(|(sum, size)| *sum += size);
                }
                most = sums.into_iter().fold(most, larger);
            }
            most
        }
        _ => sizes.sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_one_number_of_an_answer_is_added_up() {
        let tensor = |shape: &[usize], numbers: &[f32]| {
            Tensor::new(shape.to_vec(), Data::F32(numbers.to_vec())).unwrap()
        };
        let matrix = tensor(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
        for (sums, most) in [(Sums::Rows, 15.0), (Sums::Columns, 9.0), (Sums::All, 21.0)] {
            assert_eq!(sum(&matrix, sums), most, "{sums:?}");
        }
        let two = tensor(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((sum(&two, Sums::Columns), sum(&two, Sums::Rows)), (7.0, 7.0));
        assert_eq!(sum(&tensor(&[2], &[1.0, 4.0]), Sums::Columns), 5.0);
        assert!(sum(&tensor(&[2], &[1.0, f32::NAN]), Sums::All).is_infinite());
        assert_eq!(range(&matrix), Range::new(-6.0, 5.0));
        assert!(range(&tensor(&[2], &[1.0, f32::NAN])).nan);
        assert_eq!(range(&tensor(&[0], &[])), Range::within(0.0));
    }
}
