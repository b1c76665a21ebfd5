//! `Concat`: several tensors as one.

use super::super::node::{Made, Node, Operation};
use super::super::value::{Known, texts_fit};
use super::shape::axis;
use crate::tensor::Data;

/// Blocks of so many elements of each input, one after the other.
struct Concat {
    blocks: Vec<usize>,
    outer: usize,
}

/// `Concat`.
pub(in super::super) fn concat(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["axis"])?;
    let inputs = node.inputs()?;
    let first = node.input(0)?;
    // Its first version took 1 where nothing was said.
    let axis = axis(node.int("axis")?.unwrap_or(1), first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for input in &inputs {
        let fits = input.element == first.element
            && input.shape.len() == shape.len()
            && (0..shape.len()).all(|place| place == axis || input.shape[place] == shape[place]);
        if !fits {
            return Err(format!("{:?} and {:?} do not go together", first.shape, input.shape));
        }
        shape[axis] = shape[axis].checked_add(input.shape[axis]).ok_or("it is too large")?;
    }
    let block = |input: &Known| input.shape[axis..].iter().product();
    let blocks = inputs.iter().map(|input| block(input)).collect();
    let outer = shape[..axis].iter().product();
    Ok(Made::one(first.element, shape, Concat { blocks, outer }))
}

impl Operation for Concat {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        macro_rules! joined {
            ($($kind:ident)*) => {
                match inputs[0] {
                    $(Data::$kind(_) => {
                        let mut parts = Vec::with_capacity(inputs.len());
                        for input in inputs {
                            let Data::$kind(values) = input else {
                                return Err("it takes elements of one kind".to_owned());
                            };
                            parts.push(values.as_slice());
                        }
                        Data::$kind(self.join(&parts))
                    })*
                }
            };
        }
        let texts = |input: &&Data| match input {
            Data::Bytes(values) => values.iter().map(Vec::len).sum(),
            _ => 0,
        };
        texts_fit(1, inputs.iter().map(texts).sum())?;
        Ok(vec![joined!(Bool U8 U16 U32 U64 I8 I16 I32 I64 F16 F32 F64 Bytes)])
    }
}

impl Concat {
    fn join<T: Clone>(&self, parts: &[&[T]]) -> Vec<T> {
        let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for at in 0..self.outer {
            for (part, block) in parts.iter().zip(&self.blocks) {
                joined.extend_from_slice(&part[at * block..(at + 1) * block]);
            }
        }
        joined
    }
}
