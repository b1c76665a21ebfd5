//! What the nodes of an ONNX graph say of its tensors: which lie transposed, and which are whole numbers
//! with a scale.

use crate::onnx::{Value, fields};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A node, as far as it is looked at.
#[derive(Debug, Clone, Default)]
struct Node<'a> {
    operator: &'a [u8],
    inputs: Vec<&'a [u8]>,
    outputs: Vec<&'a [u8]>,
    is_transposed: bool,
    axis: Option<i64>,
}

impl<'a> Node<'a> {
    /// The inputs from this place on, as whole numbers, their scale and their zero.
    fn scaled(&self, from: usize, axis: i64) -> Option<Scaled<'a>> {
        let [numbers, scale, zero @ ..] = self.inputs.get(from..)? else { return None };
        Some(Scaled { numbers, scale, zero: zero.first().copied().unwrap_or_default(), axis })
    }
}

/// The nodes of the outermost graph.
fn nodes(file: &[u8]) -> Vec<Node<'_>> {
    let graphs = fields(file, 0..file.len()).filter(|field| field.number == 7);
    let nodes = graphs.flat_map(|graph| match graph.value {
        Value::Bytes(range) => fields(file, range).filter(|field| field.number == 1).collect(),
        _ => Vec::new(),
    });
    let ranges = nodes.filter_map(|node| match node.value {
        Value::Bytes(range) => Some(range),
        _ => None,
    });
    ranges.map(|range| node(file, range)).collect()
}

fn node(file: &[u8], range: Range<usize>) -> Node<'_> {
    let mut node = Node::default();
    for field in fields(file, range) {
        match (field.number, field.value) {
            // NodeProto.input = 1, output = 2, op_type = 4, attribute = 5
            (1, Value::Bytes(name)) => node.inputs.push(&file[name]),
            (2, Value::Bytes(name)) => node.outputs.push(&file[name]),
            (4, Value::Bytes(name)) => node.operator = &file[name],
            (5, Value::Bytes(range)) => match attribute(file, range) {
                (b"transB", number) => node.is_transposed |= number == Some(1),
                (b"axis", number) => node.axis = number,
                _ => {}
            },
            _ => {}
        }
    }
    node
}

/// An attribute's name and whole number: AttributeProto.name = 1, i = 3.
fn attribute(file: &[u8], range: Range<usize>) -> (&[u8], Option<i64>) {
    let (mut name, mut number) = (&[][..], None);
    for field in fields(file, range) {
        match (field.number, field.value) {
            (1, Value::Bytes(range)) => name = &file[range],
            // An int64 as its two's complement.
            (3, Value::Number(bits)) => number = Some(bits as i64),
            _ => {}
        }
    }
    (name, number)
}

/// The names of tensors in which each row belongs to one output, although they have two dimensions:
/// those that a `Gemm`, or a quantised one, takes transposed, themselves or through other nodes.
pub(crate) fn transposed(file: &[u8]) -> BTreeSet<&[u8]> {
    let (mut taken, mut made_of) = (Vec::new(), BTreeMap::new());
    for Node { inputs, outputs, is_transposed, .. } in nodes(file) {
        if is_transposed {
            taken.extend(inputs.iter().copied());
        }
        if let Some(first) = inputs.first() {
            made_of.extend(outputs.into_iter().map(|output| (output, *first)));
        }
    }
    let mut found = BTreeSet::new();
    for mut name in taken {
        // Weights that are quantised come through a node; a name seen before ends a ring, too.
        while found.insert(name)
            && let Some(before) = made_of.get(name)
        {
            name = before;
        }
    }
    found
}

/// Names of a tensor of whole numbers and of what makes values of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scaled<'a> {
    pub(crate) numbers: &'a [u8],
    pub(crate) scale: &'a [u8],
    /// Empty where zero is 0.
    pub(crate) zero: &'a [u8],
    /// The dimension that has a scale for each of its places, if there is more than one.
    pub(crate) axis: i64,
}

/// What is added to sums of quantised weights, as whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bias<'a> {
    pub(crate) numbers: &'a [u8],
    /// None where it is that of the weights times that of what they are multiplied with.
    pub(crate) scale: Option<&'a [u8]>,
}

/// Quantised weights, each with the bias that goes with them, where that is quantised too: those that
/// become values by a `DequantizeLinear` of their own, and those that an operator takes as they are.
///
/// Only those whose scale nothing else has, and which one node takes: what says more than one thing
/// cannot be changed for one of them.
pub(crate) fn quantized(file: &[u8]) -> Vec<(Scaled<'_>, Option<Bias<'_>>)> {
    let nodes = nodes(file);
    let mut uses: BTreeMap<&[u8], usize> = BTreeMap::new();
    for input in nodes.iter().flat_map(|node| &node.inputs) {
        *uses.entry(input).or_default() += 1;
    }
    let is_alone = |name: &&[u8]| uses.get(name) == Some(&1);
    let mut values = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.operator == b"DequantizeLinear") {
        // ONNX 1.17, "DequantizeLinear": the axis is 1 where nothing is said.
        if let (Some(scaled), [output]) =
            (node.scaled(0, node.axis.unwrap_or(1)), &node.outputs[..])
            && [scaled.numbers, scaled.scale, *output].iter().all(is_alone)
        {
            values.insert(*output, scaled);
        }
    }
    let taken = nodes.iter().filter_map(|node| {
        // ONNX 1.17, "QLinearConv" and "QLinearMatMul"; com.microsoft's "QGemm" as in ONNX Runtime 1.23.
        let (axis, bias) = match node.operator {
            b"QLinearConv" => (0, 8),
            b"QLinearMatMul" => (-1, usize::MAX),
            b"QGemm" if node.is_transposed => (0, 6),
            b"QGemm" => (1, 6),
            _ => {
                let weights = values.get(node.inputs.get(1)?)?;
                let bias = node.inputs.get(2).and_then(|bias| values.get(bias));
                let bias = bias.map(|bias| Bias { numbers: bias.numbers, scale: Some(bias.scale) });
                return Some((*weights, bias));
            }
        };
        let weights = node.scaled(3, axis)?;
        let numbers = node.inputs.get(bias).copied().filter(|name| !name.is_empty());
        let bias = numbers.map(|numbers| Bias { numbers, scale: None });
        let names = [weights.numbers, weights.scale];
        let all = names.iter().chain(bias.as_ref().map(|bias| &bias.numbers));
        all.into_iter().all(is_alone).then_some((weights, bias))
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let fields = fields.iter();
        fields.flat_map(|(n, b)| [&[n << 3 | 2, b.len() as u8], *b].concat()).collect()
    }

    fn attribute(name: &[u8], number: u8) -> Vec<u8> {
        [message(&[(1, name)]), vec![3 << 3, number]].concat()
    }

    fn file(nodes: &[Vec<u8>]) -> Vec<u8> {
        let nodes: Vec<(u8, &[u8])> = nodes.iter().map(|node| (1, &node[..])).collect();
        message(&[(7, &message(&nodes))])
    }

    #[test]
    fn weights_that_lie_transposed_are_known_through_other_nodes() {
        let file = file(&[
            message(&[(1, b"q"), (1, b"scale"), (2, b"w"), (4, b"DequantizeLinear")]),
            message(&[(1, b"x"), (1, b"w"), (2, b"y"), (5, &attribute(b"transB", 1))]),
            message(&[(1, b"y"), (1, b"v"), (2, b"x"), (5, &attribute(b"transB", 0))]),
        ]);
        let names = |names: &[&'static str]| names.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(transposed(&file), names(&["q", "w", "x", "y"]));
    }

    #[test]
    fn quantised_weights_are_found_with_their_bias_unless_others_have_their_scale() {
        let dequantize = |numbers: &[u8], scale: &[u8], output: &[u8]| {
            let zero = (1, &b"z"[..]);
            let operator = (4, &b"DequantizeLinear"[..]);
            message(&[(1, numbers), (1, scale), zero, (2, output), operator])
        };
        let multiply = |w: &[u8], b: &[u8]| message(&[(1, b"x"), (1, w), (1, b), (2, b"y")]);
        let scaled = |numbers, scale| Scaled { numbers, scale, zero: b"z", axis: 1 };
        let one =
            [dequantize(b"wq", b"ws", b"w"), dequantize(b"bq", b"bs", b"b"), multiply(b"w", b"b")];
        let found = (scaled(b"wq", b"ws"), Some(Bias { numbers: b"bq", scale: Some(b"bs") }));
        assert_eq!(quantized(&file(&one)), [found]);
        // A bias that is a float; a scale that another has; weights that another takes.
        let plain = [&one[..1], &[multiply(b"w", b"b")]].concat();
        assert_eq!(quantized(&file(&plain)), [(scaled(b"wq", b"ws"), None)]);
        let shared = [&one[..], &[dequantize(b"x", b"ws", b"v")]].concat();
        assert_eq!(quantized(&file(&shared)), []);
        let twice = [&one[..], &[multiply(b"w", b"c")]].concat();
        assert_eq!(quantized(&file(&twice)), []);
    }

    #[test]
    fn weights_that_an_operator_takes_as_whole_numbers_are_found_too() {
        let node = |operator: &[u8], inputs: &[&'static str]| {
            let inputs = inputs.iter().map(|name| (1, name.as_bytes()));
            message(&inputs.chain([(2, &b"y"[..]), (4, operator)]).collect::<Vec<_>>())
        };
        let weights = |axis| Scaled { numbers: b"w", scale: b"ws", zero: b"wz", axis };
        let bias = Some(Bias { numbers: b"b", scale: None });
        let convolution = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"];
        let product = ["x", "xs", "xz", "w", "ws", "wz", "b", "ys", "yz"];
        for (node, wanted) in [
            (node(b"QLinearConv", &convolution), (weights(0), bias)),
            (node(b"QLinearConv", &convolution[..8]), (weights(0), None)),
            (node(b"QGemm", &product), (weights(1), bias)),
            (node(b"QLinearMatMul", &convolution[..8]), (weights(-1), None)),
        ] {
            assert_eq!(quantized(&file(&[node])), [wanted]);
        }
        // One scale for two, and too few inputs.
        let shared = ["x", "xs", "xz", "w", "xs", "wz", "ys", "yz"];
        assert_eq!(quantized(&file(&[node(b"QLinearConv", &shared)])), []);
        assert_eq!(quantized(&file(&[node(b"QLinearConv", &shared[..4])])), []);
    }
}
