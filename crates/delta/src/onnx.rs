//! Where in an ONNX file the tensors lie: a walk over the few fields that say so.
//!
//! Protocol buffers are read as they are encoded (protobuf.dev, "Encoding"), with the field numbers
//! of onnx.proto (ONNX 1.17). Only values of a fixed width are found: raw data, and packed floats
//! and doubles. Everything else stays bytes between tensors, as does what is kept outside the file.

use crate::TENSORS_MAX;
use crate::element::Element;
use std::collections::BTreeMap;
use std::ops::Range;

/// `TensorProto.DataType` of whole numbers.
pub(crate) const UINT8: u64 = 2;
pub(crate) const INT8: u64 = 3;
pub(crate) const INT32: u64 = 6;
/// Dimensions of a tensor.
const DIMENSIONS_MAX: usize = 16;
/// Graphs within graphs.
const DEPTH_MAX: u32 = 8;

/// A tensor's place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: &'a [u8],
    /// As in the file; empty for a single number.
    pub(crate) shape: Vec<u64>,
    /// As in `TensorProto.DataType`.
    pub(crate) data_type: u64,
    pub(crate) element: Element,
    /// Its elements, a whole number of them and at least one.
    pub(crate) range: Range<usize>,
}

/// Finds the tensors of a model, in the order in which they lie in the file.
///
/// What is no ONNX file has none, or some by chance; both are harmless.
pub(crate) fn tensors(file: &[u8]) -> Vec<Tensor<'_>> {
    let mut found = Vec::new();
    // ModelProto.graph = 7
    for field in fields(file, 0..file.len()) {
        if let (7, Value::Bytes(graph)) = (field.number, field.value) {
            graph_tensors(file, graph, 0, &mut found);
        }
    }
    found
}

fn graph_tensors<'a>(file: &'a [u8], graph: Range<usize>, depth: u32, found: &mut Vec<Tensor<'a>>) {
    if depth == DEPTH_MAX {
        return;
    }
    for field in fields(file, graph) {
        match (field.number, field.value) {
            // GraphProto.node = 1, NodeProto.attribute = 5
            (1, Value::Bytes(node)) => {
                for field in fields(file, node) {
                    if let (5, Value::Bytes(attribute)) = (field.number, field.value) {
                        attribute_tensors(file, attribute, depth, found);
                    }
                }
            }
            // GraphProto.initializer = 5
            (5, Value::Bytes(initializer)) => add_tensor(file, initializer, found),
            _ => {}
        }
    }
}

fn attribute_tensors<'a>(
    file: &'a [u8],
    attribute: Range<usize>,
    depth: u32,
    found: &mut Vec<Tensor<'a>>,
) {
    for field in fields(file, attribute) {
        match (field.number, field.value) {
            // AttributeProto.t = 5 (a Constant's value), tensors = 10
            (5 | 10, Value::Bytes(tensor)) => add_tensor(file, tensor, found),
            // AttributeProto.g = 6, graphs = 11
            (6 | 11, Value::Bytes(graph)) => graph_tensors(file, graph, depth + 1, found),
            _ => {}
        }
    }
}

fn add_tensor<'a>(file: &'a [u8], tensor: Range<usize>, found: &mut Vec<Tensor<'a>>) {
    if found.len() < TENSORS_MAX {
        found.extend(read_tensor(file, tensor));
    }
}

/// Reads a TensorProto: dims = 1, data_type = 2, float_data = 4, name = 8, raw_data = 9,
/// double_data = 10.
fn read_tensor(file: &[u8], message: Range<usize>) -> Option<Tensor<'_>> {
    let (mut name, mut shape, mut data_type) = (&[][..], Vec::new(), 0);
    let (mut raw, mut floats, mut doubles) = (None, None, None);
    for field in fields(file, message) {
        match (field.number, field.value) {
            (1, Value::Number(dimension)) => shape.push(dimension),
            (1, Value::Bytes(packed)) => {
                let mut at = packed.start;
                while at < packed.end && shape.len() <= DIMENSIONS_MAX {
                    shape.push(varint(file, &mut at, packed.end)?);
                }
            }
            (2, Value::Number(number)) => data_type = number,
            (4, Value::Bytes(range)) => floats = Some(range),
            (8, Value::Bytes(range)) => name = file.get(range)?,
            (9, Value::Bytes(range)) => raw = Some(range),
            (10, Value::Bytes(range)) => doubles = Some(range),
            _ => {}
        }
        if shape.len() > DIMENSIONS_MAX {
            return None;
        }
    }
    let (element, range) = match (raw, floats, doubles) {
        (Some(range), _, _) => (element(data_type)?, range),
        (None, Some(range), _) => (Element::F32, range),
        (None, None, Some(range)) => (Element::F64, range),
        (None, None, None) => return None,
    };
    let whole = !range.is_empty() && range.len().is_multiple_of(element.bytes());
    whole.then_some(Tensor { name, shape, data_type, element, range })
}

/// The numbers of the initializers of eight bits, by name, however they are kept: few of them are
/// mostly kept otherwise than tensors are.
pub(crate) fn small_numbers(file: &[u8]) -> BTreeMap<&[u8], Vec<i64>> {
    let mut found = BTreeMap::new();
    for field in fields(file, 0..file.len()) {
        let (7, Value::Bytes(graph)) = (field.number, field.value) else { continue };
        for field in fields(file, graph) {
            if let (5, Value::Bytes(tensor)) = (field.number, field.value) {
                found.extend(read_small_numbers(file, tensor));
            }
        }
    }
    found
}

/// Reads a TensorProto: data_type = 2, int32_data = 5, name = 8, raw_data = 9.
fn read_small_numbers(file: &[u8], message: Range<usize>) -> Option<(&[u8], Vec<i64>)> {
    let (mut name, mut data_type, mut raw, mut numbers) = (&[][..], 0, &[][..], Vec::new());
    for field in fields(file, message) {
        match (field.number, field.value) {
            (2, Value::Number(number)) => data_type = number,
            (5, Value::Number(number)) => numbers.push(number as i64),
            (5, Value::Bytes(packed)) => {
                let mut at = packed.start;
                while at < packed.end {
                    numbers.push(varint(file, &mut at, packed.end)? as i64);
                }
            }
            (8, Value::Bytes(range)) => name = file.get(range)?,
            (9, Value::Bytes(range)) => raw = file.get(range)?,
            _ => {}
        }
    }
    match data_type {
        UINT8 => numbers.extend(raw.iter().map(|byte| i64::from(*byte))),
        INT8 => numbers.extend(raw.iter().map(|byte| i64::from(*byte as i8))),
        _ => return None,
    }
    Some((name, numbers))
}

/// The kind of element of a `TensorProto.DataType`, where it fills whole bytes.
fn element(data_type: u64) -> Option<Element> {
    match data_type {
        1 => Some(Element::F32),
        // UINT8, INT8, BOOL, four kinds of FLOAT8, UINT4 and INT4 in pairs
        2 | 3 | 9 | 17..=22 => Some(Element::I8),
        4 | 5 => Some(Element::I16),
        6 | 12 => Some(Element::I32),
        7 | 13 => Some(Element::I64),
        10 => Some(Element::F16),
        11 => Some(Element::F64),
        16 => Some(Element::Bf16),
        _ => None,
    }
}

pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Number(u64),
    Bytes(Range<usize>),
    /// Of a fixed width; not needed here.
    Fixed,
}

/// The fields of a message, up to the first that is none.
pub(crate) fn fields(file: &[u8], message: Range<usize>) -> impl Iterator<Item = Field> {
    let (mut at, end) = (message.start, message.end.min(file.len()));
    std::iter::from_fn(move || {
        let key = varint(file, &mut at, end)?;
        let skip = |at: &mut usize, count: u64| {
            let from = *at;
            let to = from.checked_add(usize::try_from(count).ok()?)?;
            *at = to;
            (to <= end).then_some(from..to)
        };
        let value = match key & 7 {
            0 => Value::Number(varint(file, &mut at, end)?),
            1 => skip(&mut at, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = varint(file, &mut at, end)?;
                Value::Bytes(skip(&mut at, length)?)
            }
            5 => skip(&mut at, 4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some(Field { number: key >> 3, value })
    })
}

/// Reads a number of up to 64 bits, seven in a byte, the lowest first.
fn varint(file: &[u8], at: &mut usize, end: usize) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let byte = *file.get(..end)?.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ECG: &[u8] = include_bytes!("../../../examples/ecg/models/ecg-v1.onnx");

    #[test]
    fn the_tensors_of_a_real_model_are_found() {
        let found = tensors(ECG);
        let bytes: usize = found.iter().map(|tensor| tensor.range.len()).sum();
        assert!(bytes * 10 > ECG.len() * 8, "{bytes} of {} bytes", ECG.len());
        for tensor in &found {
            let count: u64 = tensor.shape.iter().product();
            assert_eq!(tensor.range.len() as u64, count * tensor.element.bytes() as u64);
        }
        assert!(found.is_sorted_by_key(|tensor| tensor.range.start));
    }

    #[test]
    fn what_is_no_model_has_no_tensors() {
        for file in [&b""[..], b"\x3A", b"\x3A\xFF\xFF\xFF\xFF\x0F", b"%PDF-1.7 and so on"] {
            assert_eq!(tensors(file), []);
        }
    }

    proptest! {
        #[test]
        fn ranges_lie_in_the_file_and_apart_whatever_the_bytes(
            changes in prop::collection::vec((0..ECG.len(), any::<u8>()), 0..40),
            length in 0..=ECG.len(),
        ) {
            let mut file = ECG.to_vec();
            for (at, byte) in changes {
                file[at] = byte;
            }
            file.truncate(length);
            let mut end = 0;
            for tensor in tensors(&file) {
                prop_assert!(end <= tensor.range.start && tensor.range.end <= length);
                end = tensor.range.end;
            }
        }
    }
}
