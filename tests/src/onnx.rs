//! ONNX files of a single operator, written as the protobuf that they are.

use lineside_runtime::Element;

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
