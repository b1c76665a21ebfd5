//! Models that are small as files and without a bound as models: whoever makes something of one has to end
//! with an error within the memory and the time that he has. Each takes `x`, one number, and gives `y`.

/// A size that no memory holds, and whose square is beyond 64 bits.
const HUGE: i64 = 1 << 40;
/// A size of which two together are more than any memory.
const LARGE: i64 = 1 << 20;
/// Codes of element types (onnx.proto, `TensorProto.DataType`).
const FLOAT: u8 = 1;
const INT64: u8 = 7;
const BOOL: u8 = 9;

/// All of them, by what is the matter with each.
pub fn giants() -> Vec<(&'static str, Vec<u8>)> {
    let shape = || integers("s", &[LARGE, LARGE]);
    let giants = vec![
        ("ConstantOfShape", [shape(), node("ConstantOfShape", "s", "a", &[]), summed()].concat()),
        ("Tile", [integers("s", &[HUGE]), node("Tile", "x s", "a", &[]), summed()].concat()),
        ("Expand", [shape(), node("Expand", "x s", "a", &[]), summed()].concat()),
        (
            "Range",
            [
                [number("f", INT64, &[0; 8]), number("t", INT64, &HUGE.to_le_bytes())].concat(),
                [number("d", INT64, &1i64.to_le_bytes()), node("Range", "f t d", "b", &[])]
                    .concat(),
                [node("Cast", "b", "a", &[integer("to", 1)]), summed()].concat(),
            ]
            .concat(),
        ),
        ("Pad", [integers("s", &[HUGE, HUGE]), node("Pad", "x s", "a", &[]), summed()].concat()),
        (
            "OneHot",
            [
                [integers("i", &[0]), number("d", INT64, &HUGE.to_le_bytes())].concat(),
                tensor("v", FLOAT, &[2], &[0; 8]),
                [node("OneHot", "i d v", "a", &[]), summed()].concat(),
            ]
            .concat(),
        ),
        (
            "EyeLike",
            [
                shape(),
                node("ConstantOfShape", "s", "b", &[]),
                node("EyeLike", "b", "a", &[]),
                summed(),
            ]
            .concat(),
        ),
        (
            "RandomNormal",
            [node("RandomNormal", "", "a", &[list("shape", &[LARGE, LARGE])]), summed()].concat(),
        ),
        (
            "MatMul",
            [
                [integers("s", &[LARGE, 1]), integers("t", &[1, LARGE])].concat(),
                [node("Expand", "x s", "b", &[]), node("Expand", "x t", "c", &[])].concat(),
                [node("MatMul", "b c", "a", &[]), summed()].concat(),
            ]
            .concat(),
        ),
        (
            "Conv",
            [
                [integers("s", &[1, 1, 1]), node("Reshape", "x s", "b", &[])].concat(),
                tensor("w", FLOAT, &[1, 1, 1], &[0; 4]),
                [node("Conv", "b w", "a", &[list("pads", &[HUGE, HUGE])]), summed()].concat(),
            ]
            .concat(),
        ),
        (
            "MaxPool with a window",
            [
                [integers("s", &[1, 1, 1]), node("Reshape", "x s", "b", &[])].concat(),
                node(
                    "MaxPool",
                    "b",
                    "a",
                    &[list("kernel_shape", &[HUGE]), list("pads", &[HUGE; 2])],
                ),
                summed(),
            ]
            .concat(),
        ),
        ("Tile, again and again", {
            let tile = |from, to| node("Tile", &format!("{from} s"), to, &[]);
            let tiles = [tile("x", "b"), tile("b", "c"), tile("c", "a")].concat();
            [integers("s", &[LARGE]), tiles, summed()].concat()
        }),
        ("Concat, doubled", {
            let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("d{at}") };
            let double = |at: usize| {
                let from = name(at);
                node("Concat", &format!("{from} {from}"), &name(at + 1), &[integer("axis", 0)])
            };
            let doubled: Vec<u8> = (0..40).flat_map(double).collect();
            [doubled, node("Identity", "d40", "a", &[]), summed()].concat()
        }),
        (
            "Loop without an end",
            [truth("go"), node("Loop", " go x", "y", &[graph("body", &looping(&[]))])].concat(),
        ),
        ("Loop that collects", {
            let body = graph("body", &looping(&[output("k"), node("Identity", "h", "k", &[])]));
            let times = number("m", INT64, &i64::MAX.to_le_bytes());
            [times, truth("go"), node("Loop", "m go x", "z a", &[body]), summed()].concat()
        }),
        (
            "weights that are not there",
            [tensor("w", FLOAT, &[LARGE, LARGE], &[]), node("Add", "x w", "a", &[]), summed()]
                .concat(),
        ),
        (
            "weights of fewer bytes",
            [tensor("w", FLOAT, &[HUGE], &[0; 4]), node("Add", "x w", "a", &[]), summed()].concat(),
        ),
        (
            "weights of a size beyond all numbers",
            [tensor("w", FLOAT, &[i64::MAX, i64::MAX], &[0; 4]), node("Add", "x w", "y", &[])]
                .concat(),
        ),
        (
            "weights of less than no size",
            [tensor("w", FLOAT, &[-1, 4], &[0; 4]), node("Add", "x w", "y", &[])].concat(),
        ),
        ("branches within branches", {
            let leaf = [node("Identity", "x", "y", &[]), output("y")].concat();
            let nest = |within: Vec<u8>, _| {
                let branches = [graph("then_branch", &within), graph("else_branch", &output("y"))];
                [node("If", "go", "y", &branches), output("y")].concat()
            };
            let nested = (0..28).fold(leaf, nest);
            [truth("go"), nested].concat()
        }),
    ];
    let whole = |graph: Vec<u8>| model(&[graph, input("x"), output("y")].concat());
    giants.into_iter().map(|(name, graph)| (name, whole(graph))).collect()
}

/// A loop's body that goes on for ever, with more in it.
fn looping(more: &[Vec<u8>]) -> Vec<u8> {
    let ports = [declared(11, "i", INT64, &[]), declared(11, "c", BOOL, &[]), input("h")].concat();
    let nodes = [node("Identity", "c", "d", &[]), node("Add", "h h", "g", &[])].concat();
    [ports, declared(12, "d", BOOL, &[]), output("g"), nodes, more.concat()].concat()
}

/// `y` is `x` and the sum of all that `a` holds.
fn summed() -> Vec<u8> {
    let sum = node("ReduceSum", "a", "sum", &[integer("keepdims", 0)]);
    [sum, node("Add", "x sum", "y", &[])].concat()
}

fn input(name: &str) -> Vec<u8> {
    declared(11, name, FLOAT, &[1])
}

fn output(name: &str) -> Vec<u8> {
    declared(12, name, FLOAT, &[1])
}

/// A model of opset 17 with the fields of a graph.
pub fn model(graph: &[u8]) -> Vec<u8> {
    let opset = [field(1, b""), varint(2, 17)].concat();
    [varint(1, 8), field(8, &opset), field(7, &[graph, &field(2, b"g")].concat())].concat()
}

/// A node, with inputs and outputs written one behind the other.
pub fn node(operator: &str, inputs: &str, outputs: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let names = |number, names: &str| -> Vec<u8> {
        if names.is_empty() {
            return vec![];
        }
        names.split(' ').flat_map(|name| field(number, name.as_bytes())).collect()
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    let name = field(4, operator.as_bytes());
    field(1, &[names(1, inputs), names(2, outputs), name, attributes].concat())
}

/// The field of a graph that declares an input (11) or output (12).
pub fn declared(number: u8, name: &str, element: u8, shape: &[u8]) -> Vec<u8> {
    let shape: Vec<u8> =
        shape.iter().flat_map(|size| field(1, &varint(1, i64::from(*size)))).collect();
    let kind = [varint(1, i64::from(element)), field(2, &shape)].concat();
    field(number, &[field(1, name.as_bytes()), field(2, &field(1, &kind))].concat())
}

/// A weight of these dimensions, with these bytes.
pub fn tensor(name: &str, element: u8, dimensions: &[i64], raw: &[u8]) -> Vec<u8> {
    field(5, &values(name, element, dimensions, raw))
}

fn values(name: &str, element: u8, dimensions: &[i64], raw: &[u8]) -> Vec<u8> {
    let dimensions: Vec<u8> = dimensions.iter().flat_map(|size| varint(1, *size)).collect();
    [dimensions, varint(2, i64::from(element)), field(8, name.as_bytes()), field(9, raw)].concat()
}

/// A weight of one dimension.
pub fn integers(name: &str, numbers: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    tensor(name, INT64, &[numbers.len() as i64], &raw)
}

/// A weight of no dimension.
fn number(name: &str, element: u8, raw: &[u8]) -> Vec<u8> {
    tensor(name, element, &[], raw)
}

fn truth(name: &str) -> Vec<u8> {
    number(name, BOOL, &[1])
}

/// Attributes (onnx.proto, `AttributeProto`, with its type).
pub fn integer(name: &str, number: i64) -> Vec<u8> {
    [field(1, name.as_bytes()), varint(3, number), wide(20, 2)].concat()
}

/// A list of whole numbers.
pub fn list(name: &str, numbers: &[i64]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| varint(8, *number)).collect();
    [field(1, name.as_bytes()), numbers, wide(20, 7)].concat()
}

/// A graph within a node.
fn graph(name: &str, fields: &[u8]) -> Vec<u8> {
    let graph = [fields, &field(2, b"within")].concat();
    [field(1, name.as_bytes()), field(6, &graph), wide(20, 5)].concat()
}

/// A field that holds a number (protobuf encoding, wire type 0).
fn varint(number: u8, value: i64) -> Vec<u8> {
    [vec![number << 3], digits(value as u64)].concat()
}

/// The same for a field whose number does not fit in one byte.
fn wide(number: u64, value: i64) -> Vec<u8> {
    [digits(number << 3), digits(value as u64)].concat()
}

/// A field that holds bytes (wire type 2).
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], digits(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Seven bits a byte, the lowest first.
fn digits(mut value: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while value > 0x7f {
        digits.push(value as u8 | 0x80);
        value >>= 7;
    }
    digits.push(value as u8);
    digits
}
