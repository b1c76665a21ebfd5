//! ONNX files, written and read as the protobuf that they are: models of a single operator, and tensors.

use lineside_runtime::{Data, Element, Tensor};

/// A model of version `opset` of ONNX's own operators, whose `operator` takes `x` and gives `y`, both of this
/// element and shape.
pub fn single(operator: (&str, &str), opset: u8, element: Element, shape: &[u8]) -> Vec<u8> {
    let (domain, name) = operator;
    let node =
        [field(1, b"x"), field(2, b"y"), field(4, name.as_bytes()), field(7, domain.as_bytes())];
    let dimensions: Vec<u8> = shape.iter().flat_map(|size| field(1, &[1 << 3, *size])).collect();
    let kind = [vec![1 << 3, element.onnx() as u8], field(2, &dimensions)].concat();
    let port = |name: &[u8]| [field(1, name), field(2, &field(1, &kind))].concat();
    let graph = [
        field(1, &node.concat()),
        field(2, b"single"),
        field(11, &port(b"x")),
        field(12, &port(b"y")),
    ];
    let import = |domain: &str, version| {
        field(8, &[field(1, domain.as_bytes()), vec![2 << 3, version]].concat())
    };
    let imports = [import("", opset), import("ai.onnx.ml", 5), import("com.microsoft", 1)];
    [vec![1 << 3, 8], imports.concat(), field(7, &graph.concat())].concat()
}

/// The tensor of a file (ONNX, onnx.proto, `TensorProto`), of those whose elements are texts or raw bytes;
/// none for others, and for elements that are not for pipelines.
pub fn tensor(mut file: &[u8]) -> Option<Tensor> {
    let (mut shape, mut element, mut raw, mut texts) = (vec![], None, &[][..], vec![]);
    while !file.is_empty() {
        let (tag, rest) = varint(file)?;
        let (value, rest) = varint(rest)?;
        file = rest;
        let mut bytes: &[u8] = &[];
        if tag & 7 == 2 {
            (bytes, file) = file.split_at_checked(usize::try_from(value).ok()?)?;
        }
        match (tag >> 3, tag & 7) {
            (1, 0) => shape.push(usize::try_from(value).ok()?),
            (1, 2) => {
                while !bytes.is_empty() {
                    let (size, rest) = varint(bytes)?;
                    shape.push(usize::try_from(size).ok()?);
                    bytes = rest;
                }
            }
            (2, 0) => element = Some(Element::from_onnx(i32::try_from(value).ok()?)?),
            (6, 2) => texts.push(bytes.to_vec()),
            (9, 2) => raw = bytes,
            (8, 2) => {}
            _ => return None,
        }
    }
    match element? {
        Element::Bytes => Tensor::new(shape, Data::Bytes(texts)),
        element => Tensor::from_bytes(element, shape, raw).ok(),
    }
}

/// The number at the beginning, and what comes behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 + bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(length);
    let number =
        number.iter().rev().fold(0u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, rest))
}

/// A field of bytes (protobuf encoding, wire type 2).
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![number << 3 | 2];
    while length > 0x7f {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [field, bytes.to_vec()].concat()
}
