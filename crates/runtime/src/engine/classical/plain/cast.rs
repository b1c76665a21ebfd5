//! `Cast`: numbers of one kind as numbers of another.

use super::super::node::{Made, Node, Operation};
use super::super::real::Real;
use crate::tensor::{Data, Element};
use half::f16;

struct Cast(Element);

/// `Cast`. Of what has a fraction it is cut off, and what does not fit becomes the nearest that does; of
/// whole numbers the lowest bits remain. What is not finite is no whole number, and an error.
pub(in super::super) fn cast(node: &Node<'_>) -> Result<Made, String> {
    // The attribute speaks of kinds of number that are not ours.
    node.knows(&["to", "saturate"])?;
    let input = node.input(0)?;
    let to = node.int("to")?.and_then(|to| i32::try_from(to).ok());
    let to = to.and_then(Element::from_onnx).ok_or("it casts to something unknown")?;
    if to == input.element {
        return Ok(Made::Same(input.shape.clone()));
    }
    if !to.is_number() || !input.element.is_number() {
        return Err("it casts between numbers and text".to_owned());
    }
    Ok(Made::one(to, input.shape.clone(), Cast(to)))
}

impl Operation for Cast {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let is_whole =
            !matches!(self.0, Element::Bool | Element::F16 | Element::F32 | Element::F64);
        if is_whole && !inputs[0].is_finite() {
            return Err("what is to become whole numbers is not finite".to_owned());
        }
        Ok(vec![converted(inputs[0], self.0).ok_or("it takes numbers, text came")?])
    }
}

/// The numbers of `data` as others; none for text.
pub(in super::super) fn converted(data: &Data, to: Element) -> Option<Data> {
    // Whole numbers are cut to their lowest bits, as in C; others saturate.
    macro_rules! whole {
        ($to:ty) => {
            match data {
                Data::F16(_) | Data::F32(_) | Data::F64(_) => {
                    f64::numbers(data)?.iter().map(|value| *value as $to).collect()
                }
                _ => integers(data)?.map(|value| value as $to).collect(),
            }
        };
    }
    Some(match to {
        Element::Bool => Data::Bool(f64::numbers(data)?.iter().map(|it| *it != 0.0).collect()),
        Element::U8 => Data::U8(whole!(u8)),
        Element::U16 => Data::U16(whole!(u16)),
        Element::U32 => Data::U32(whole!(u32)),
        Element::U64 => Data::U64(whole!(u64)),
        Element::I8 => Data::I8(whole!(i8)),
        Element::I16 => Data::I16(whole!(i16)),
        Element::I32 => Data::I32(whole!(i32)),
        Element::I64 => Data::I64(whole!(i64)),
        Element::F16 => {
            Data::F16(f64::numbers(data)?.iter().map(|it| f16::from_f64(*it)).collect())
        }
        Element::F32 => Data::F32(f32::numbers(data)?.into_owned()),
        Element::F64 => Data::F64(f64::numbers(data)?.into_owned()),
        Element::Bytes => return None,
    })
}

/// Whole numbers in as many bits as hold all of them; none for others.
fn integers(data: &Data) -> Option<Box<dyn Iterator<Item = i128> + '_>> {
    Some(match data {
        Data::Bool(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::U8(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::U16(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::U32(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::U64(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::I8(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::I16(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::I32(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::I64(values) => Box::new(values.iter().map(|it| i128::from(*it))),
        Data::F16(_) | Data::F32(_) | Data::F64(_) | Data::Bytes(_) => return None,
    })
}
