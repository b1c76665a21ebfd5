//! `ArgMax`: where the largest number is.

use super::super::node::{Made, Node, Operation};
use super::super::real::Real;
use super::shape::axis;
use crate::tensor::{Data, Element};

/// As many groups of numbers as `outer` times `inner`, each of `size`, which lie `inner` apart.
struct ArgMax {
    size: usize,
    inner: usize,
    last: bool,
}

/// `ArgMax`. Of what is no number there is no largest, but an error.
pub(in super::super) fn arg_max(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["axis", "keepdims", "select_last_index"])?;
    let input = node.input(0)?;
    if matches!(input.element, Element::I64 | Element::U64 | Element::Bytes) {
        return Err(format!("it is not here for {}", input.element));
    }
    let axis = axis(node.int("axis")?.unwrap_or(0), input.shape.len())?;
    let size = input.shape[axis];
    if size == 0 {
        return Err("there is no largest of nothing".to_owned());
    }
    let inner = input.shape[axis + 1..].iter().product();
    let mut shape = input.shape.clone();
    match node.int("keepdims")?.unwrap_or(1) {
        0 => drop(shape.remove(axis)),
        _ => shape[axis] = 1,
    }
    let last = node.int("select_last_index")?.unwrap_or(0) != 0;
    Ok(Made::one(Element::I64, shape, ArgMax { size, inner, last }))
}

impl Operation for ArgMax {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let numbers = f64::numbers(inputs[0]).ok_or("it takes numbers, text came")?;
        if numbers.iter().any(|number| number.is_nan()) {
            return Err("what it takes the largest of is not finite".to_owned());
        }
        let mut places = Vec::with_capacity(numbers.len() / self.size);
        for group in numbers.chunks_exact((self.size * self.inner).max(1)) {
            for first in 0..self.inner {
                let mut best = 0;
                for place in 1..self.size {
                    let [before, here] = [best, place].map(|at| group[first + at * self.inner]);
                    if here > before || (self.last && here == before) {
                        best = place;
                    }
                }
                places.push(best as i64);
            }
        }
        Ok(vec![Data::I64(places)])
    }
}
