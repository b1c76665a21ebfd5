//! `Add`, `Sub`, `Mul` and `Div`, with one side repeated along dimensions that it does not have.

use super::super::node::{Made, Node, Operation};
use crate::tensor::{Data, Element};

/// `Add`.
pub(in super::super) fn add(node: &Node<'_>) -> Result<Made, String> {
    made(node, Kind::Add)
}

/// `Sub`.
pub(in super::super) fn sub(node: &Node<'_>) -> Result<Made, String> {
    made(node, Kind::Sub)
}

/// `Mul`.
pub(in super::super) fn mul(node: &Node<'_>) -> Result<Made, String> {
    made(node, Kind::Mul)
}

/// `Div`. Whole numbers are divided without rest, and not by nought.
pub(in super::super) fn div(node: &Node<'_>) -> Result<Made, String> {
    made(node, Kind::Div)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
}

struct Arithmetic {
    kind: Kind,
    elements: usize,
    sides: [Side; 2],
}

/// Where the elements of the result come from on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// What it has lies together.
    Repeated(Repeated),
    /// Dimensions that it has lie around others that it does not have.
    Spread(Vec<Step>),
}

/// A dimension of the result: how many elements lie within one of its places, how many places there are, and how
/// far a place moves on in the side's own elements; not at all where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    within: usize,
    places: usize,
    own: usize,
}

impl Side {
    /// A side of this shape, whose dimensions are those of the result or of one.
    fn new(shape: &[usize], result: &[usize]) -> Option<Side> {
        if let Some(repeated) = Repeated::new(shape, result) {
            return Some(Side::Repeated(repeated));
        }
        let missing = result.len().checked_sub(shape.len())?;
        let (mut within, mut own) = (1usize, 1usize);
        let mut steps = Vec::new();
        for (place, size) in result.iter().enumerate().rev() {
            let its = place.checked_sub(missing).map_or(1, |place| shape[place]);
            if its == *size && its > 1 {
                steps.push(Step { within, places: *size, own });
            }
            own = own.checked_mul(its)?;
            within = within.checked_mul(*size)?;
        }
        Some(Side::Spread(steps))
    }

    fn place(&self, at: usize) -> usize {
        match self {
            Side::Repeated(repeated) => repeated.place(at),
            Side::Spread(steps) => {
                steps.iter().map(|step| at / step.within % step.places * step.own).sum()
            }
        }
    }
}

/// How the elements of one side are repeated: each so many times, and all of them over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Repeated {
    each: usize,
    count: usize,
}

impl Repeated {
    fn new(shape: &[usize], result: &[usize]) -> Option<Repeated> {
        let padded = std::iter::repeat_n(1, result.len().checked_sub(shape.len())?);
        let padded: Vec<usize> = padded.chain(shape.iter().copied()).collect();
        let own = |place: &usize| padded[*place] == result[*place];
        // Those that it has lie together: others are of one or come from the other side.
        let real = |place: &usize| padded[*place] != 1;
        let first = (0..padded.len()).find(real).unwrap_or(padded.len());
        let last = (0..padded.len()).rev().find(real).map_or(first, |last| last + 1);
        (first..last).all(|place| own(&place)).then(|| Repeated {
            each: result[last..].iter().product::<usize>().max(1),
            count: padded[first..last].iter().product::<usize>().max(1),
        })
    }

    fn place(self, at: usize) -> usize {
        at / self.each % self.count
    }
}

fn made(node: &Node<'_>, kind: Kind) -> Result<Made, String> {
    node.knows(&[])?;
    let (left, right) = (node.input(0)?, node.input(1)?);
    if left.element != right.element {
        return Err(format!("its inputs are {} and {}", left.element, right.element));
    }
    if !matches!(left.element, Element::F32 | Element::F64 | Element::I32 | Element::I64) {
        return Err(format!("it is not here for {}", left.element));
    }
    let misfit = || format!("{:?} and {:?} do not go together here", left.shape, right.shape);
    let rank = left.shape.len().max(right.shape.len());
    let size = |shape: &[usize], place: usize| {
        (place + shape.len()).checked_sub(rank).map_or(1, |place| shape[place])
    };
    let mut shape = Vec::with_capacity(rank);
    for place in 0..rank {
        let (one, other) = (size(&left.shape, place), size(&right.shape, place));
        shape.push(match (one, other) {
            (1, other) => other,
            (one, 1) => one,
            (one, other) if one == other => one,
            _ => return Err(misfit()),
        });
    }
    let side = |its: &[usize]| Side::new(its, &shape).ok_or_else(misfit);
    let sides = [side(&left.shape)?, side(&right.shape)?];
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let elements = elements.ok_or_else(misfit)?;
    Ok(Made::one(left.element, shape, Arithmetic { kind, elements, sides }))
}

impl Operation for Arithmetic {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        macro_rules! floats {
            ($left:expr, $right:expr) => {
                match self.kind {
                    Kind::Add => self.each($left, $right, |a, b| a + b),
                    Kind::Sub => self.each($left, $right, |a, b| a - b),
                    Kind::Mul => self.each($left, $right, |a, b| a * b),
                    Kind::Div => self.each($left, $right, |a, b| a / b),
                }
            };
        }
        macro_rules! integers {
            ($left:expr, $right:expr) => {
                match self.kind {
                    Kind::Add => self.each($left, $right, |a, b| a.wrapping_add(b)),
                    Kind::Sub => self.each($left, $right, |a, b| a.wrapping_sub(b)),
                    Kind::Mul => self.each($left, $right, |a, b| a.wrapping_mul(b)),
                    Kind::Div if $right.contains(&0) => return Err("it divides by nought".into()),
                    Kind::Div => self.each($left, $right, |a, b| a.wrapping_div(b)),
                }
            };
        }
        Ok(vec![match (inputs[0], inputs[1]) {
            (Data::F32(left), Data::F32(right)) => Data::F32(floats!(left, right)),
            (Data::F64(left), Data::F64(right)) => Data::F64(floats!(left, right)),
            (Data::I32(left), Data::I32(right)) => Data::I32(integers!(left, right)),
            (Data::I64(left), Data::I64(right)) => Data::I64(integers!(left, right)),
            _ => return Err("it takes numbers of one kind".into()),
        }])
    }
}

impl Arithmetic {
    fn each<T: Copy>(&self, left: &[T], right: &[T], compute: impl Fn(T, T) -> T) -> Vec<T> {
        let [one, other] = &self.sides;
        if let (Side::Repeated(one), Side::Repeated(other)) = (one, other) {
            let element = |at| compute(left[one.place(at)], right[other.place(at)]);
            return (0..self.elements).map(element).collect();
        }
        let element = |at| compute(left[one.place(at)], right[other.place(at)]);
        (0..self.elements).map(element).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_repeated_along_the_dimensions_that_it_does_not_have() {
        let places = |shape: &[usize], result: &[usize]| {
            let side = Side::new(shape, result)?;
            let count = result.iter().product();
            Some((0..count).map(|at| side.place(at)).collect::<Vec<_>>())
        };
        assert_eq!(places(&[], &[2, 2]), Some(vec![0; 4]));
        assert_eq!(places(&[2, 2], &[2, 2]), Some(vec![0, 1, 2, 3]));
        assert_eq!(places(&[2], &[2, 2]), Some(vec![0, 1, 0, 1]));
        assert_eq!(places(&[2, 1], &[2, 2]), Some(vec![0, 0, 1, 1]));
        assert_eq!(places(&[2, 1], &[2, 2, 2]), Some(vec![0, 0, 1, 1, 0, 0, 1, 1]));
        assert_eq!(places(&[2, 1, 2], &[2, 2, 2]), Some(vec![0, 1, 0, 1, 2, 3, 2, 3]));
        // As of a free batch: [rows, 1, features] less [1, classes, features].
        assert_eq!(places(&[2, 1, 1], &[2, 2, 1]), Some(vec![0, 0, 1, 1]));
        assert_eq!(places(&[1, 2, 1, 2], &[2, 2, 2, 2]).unwrap()[6..10], [2, 3, 0, 1]);
        assert_eq!(places(&[1, 2], &[2]), None);
    }
}
