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

/// A model of version `opset` of ONNX's own operators, with these nodes and constants. An input has its element
/// and shape, an output its element.
pub fn model(
    opset: u8,
    nodes: &[Vec<u8>],
    constants: &[(&str, &Tensor)],
    inputs: &[(&str, Element, &[usize])],
    outputs: &[(&str, Element)],
) -> Vec<u8> {
    let port =
        |name: &str, kind: &[u8]| [field(1, name.as_bytes()), field(2, &field(1, kind))].concat();
    let element = |element: Element| vec![1 << 3, element.onnx() as u8];
    let mut graph = field(2, b"graph");
    graph.extend(nodes.iter().flat_map(|node| field(1, node)));
    graph.extend(constants.iter().flat_map(|(name, tensor)| field(5, &constant(name, tensor))));
    for (name, kind, shape) in inputs {
        let sizes: Vec<u8> = shape.iter().flat_map(|size| field(1, &number(1, *size))).collect();
        graph.extend(field(11, &port(name, &[element(*kind), field(2, &sizes)].concat())));
    }
    for (name, kind) in outputs {
        graph.extend(field(12, &port(name, &element(*kind))));
    }
    let import = |domain: &str, version| {
        field(8, &[field(1, domain.as_bytes()), vec![2 << 3, version]].concat())
    };
    let imports = [import("", opset), import("ai.onnx.ml", 3)].concat();
    [vec![1 << 3, 8], imports, field(7, &graph)].concat()
}

/// A node of one of ONNX's own operators, or, named behind a dot, of those for classical models.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let (domain, operator) = operator.rsplit_once('.').unwrap_or(("", operator));
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    node.extend(outputs.iter().flat_map(|name| field(2, name.as_bytes())));
    node.extend([field(4, operator.as_bytes()), field(7, domain.as_bytes())].concat());
    node.extend(attributes.iter().flat_map(|attribute| field(5, attribute)));
    node
}

/// An attribute that is a whole number of at least nought.
pub fn whole(name: &str, value: usize) -> Vec<u8> {
    [field(1, name.as_bytes()), number(3, value), number(20, 2)].concat()
}

/// An attribute of several of these.
pub fn wholes(name: &str, values: &[usize]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value)).collect();
    [field(1, name.as_bytes()), values, number(20, 7)].concat()
}

/// A tensor as files hold it.
fn constant(name: &str, tensor: &Tensor) -> Vec<u8> {
    let mut file: Vec<u8> = tensor.shape().iter().flat_map(|size| number(1, *size)).collect();
    file.extend(number(2, tensor.element().onnx() as usize));
    file.extend([field(8, name.as_bytes()), field(9, &tensor.to_bytes())].concat());
    file
}

/// The model with these of its inputs constant: each is what a file says that holds a tensor. None if the file
/// is no model.
pub fn with_constants(model: &[u8], constants: &[(&str, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    for (tag, whole, body) in fields(model)? {
        if tag != 7 << 3 | 2 {
            changed.extend(whole);
            continue;
        }
        let mut graph = Vec::new();
        for (tag, whole, body) in fields(body)? {
            let name = fields(body).filter(|_| tag == 11 << 3 | 2);
            let name = name.and_then(|it| it.into_iter().find(|(tag, ..)| *tag == 1 << 3 | 2));
            let is_constant = name.is_some_and(|(_, _, name)| {
                constants.iter().any(|(constant, _)| constant.as_bytes() == name)
            });
            if !is_constant {
                graph.extend(whole);
            }
        }
        for (name, tensor) in constants {
            // Of a name that is there twice, the last holds.
            graph.extend(field(5, &[tensor.clone(), field(8, name.as_bytes())].concat()));
        }
        changed.extend(field(7, &graph));
    }
    Some(changed)
}

/// A field of a message: its tag, all of it, and what is in it where it has a length.
type Field<'a> = (u64, &'a [u8], &'a [u8]);

fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        let (body, rest) = match tag & 7 {
            0 => (&[][..], varint(rest)?.1),
            1 => (&[][..], rest.get(8..)?),
            5 => (&[][..], rest.get(4..)?),
            2 => {
                let (length, rest) = varint(rest)?;
                rest.split_at_checked(usize::try_from(length).ok()?)?
            }
            _ => return None,
        };
        fields.push((tag, &message[..message.len() - rest.len()], body));
        message = rest;
    }
    Some(fields)
}

/// A field that is a number (protobuf encoding, wire type 0).
fn number(field: u8, value: usize) -> Vec<u8> {
    [varint_of(usize::from(field) << 3), varint_of(value)].concat()
}

fn varint_of(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
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
    [vec![number << 3 | 2], varint_of(bytes.len()), bytes.to_vec()].concat()
}
