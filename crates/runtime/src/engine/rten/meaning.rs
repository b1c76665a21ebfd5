//! What a model means that rten would compute otherwise, without a word (rten 0.27): seen in the file, before
//! it is loaded.

use crate::engine::nodes::{LOGICAL, Nodes, input, is, text};
use crate::engine::operator::Operator;
use crate::tensor::Element;
use std::collections::{BTreeSet, HashSet};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// Operators that give elements of their first input as they are.
const MOVING: [&str; 12] = [
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];
/// Operators whose answers are whole numbers, whatever they take.
const NUMBERING: [&str; 6] = ["ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "Shape", "Size"];
/// Operators of which other inputs than the first say what kind of numbers comes out: which.
const KIND_OF: [(&str, usize); 2] = [("OneHot", 2), ("Where", 1)];
/// Operators that give numbers of 32 bits of whole ones.
const FLOATING: [&str; 2] = ["DequantizeLinear", "EyeLike"];
/// Operators that count.
const COUNTING: [&str; 2] = ["Shape", "Size"];
const TO_BOOL: &str = "Cast of numbers to bool";
/// The version of ONNX's operators since which softmax is taken along one axis.
const SOFTMAX_SINCE: i64 = 13;

/// What has to be looked at in a model before rten may run it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Meaning {
    /// What rten gets wrong.
    pub(super) wrong: BTreeSet<String>,
    /// Tensors that must have no dimension behind this one, other than of 1: softmax took all of them
    /// together in earlier versions, and rten takes one.
    pub(super) last: Vec<(String, i64)>,
}

impl Meaning {
    /// Reads a model whose operators come from version `opset` of ONNX's own.
    pub(super) fn of(model: &ModelProto, opset: i64) -> Meaning {
        let mut meaning = Meaning::default();
        if let Some(graph) = &model.graph {
            meaning.graph(graph, opset, &Known::default(), true);
        }
        let nodes = Nodes::of(model);
        for node in nodes.iter() {
            // What is left over of an uneven padding it has at the end, as for SAME_UPPER.
            if text(node, "auto_pad") == Some(b"SAME_LOWER") {
                meaning.wrong.insert(format!("{} with auto_pad = SAME_LOWER", node.op_type));
            }
            // It goes through all that is there, however long a sequence is said to be.
            if (is(node, "LSTM") || is(node, "GRU")) && input(node, 4).is_some() {
                meaning.wrong.insert(format!("{} with sequence_lens", node.op_type));
            }
        }
        for node in nodes.iter().filter(|node| is(node, "Resize")) {
            // It takes the nearest in its place.
            if text(node, "mode") == Some(b"cubic") {
                meaning.wrong.insert("cubic Resize".into());
            }
            if nodes.aligns_parts(node) {
                meaning.wrong.insert("Resize with aligned corners by parts of a size".into());
            }
        }
        meaning
    }

    // The depth is bounded by whoever decodes, as elsewhere.
    fn graph(&mut self, graph: &GraphProto, opset: i64, around: &Known, is_outer: bool) {
        let mut known = around.clone();
        let inputs = graph.input.iter();
        for input in inputs {
            match element(input) {
                Some(Element::Bool) => drop(known.logical.insert(input.name.clone())),
                Some(Element::I64) => drop(known.long.insert(input.name.clone())),
                _ => {}
            }
            if element(input).is_some_and(is_integral) {
                known.integral.insert(input.name.clone());
            }
        }
        graph.initializer.iter().for_each(|tensor| self.constant(&tensor.name, tensor, &mut known));
        for node in &graph.node {
            self.node(node, opset, &mut known, is_outer);
        }
        // What leaves the whole model becomes yes or no there.
        if !is_outer && graph.output.iter().any(|output| known.counted.contains(&output.name)) {
            self.wrong.insert(TO_BOOL.into());
        }
    }

    fn node(&mut self, node: &NodeProto, opset: i64, known: &mut Known, is_outer: bool) {
        let is_own = Operator::new(&node.domain, &node.op_type).domain().is_empty();
        let operator = if is_own { node.op_type.as_str() } else { "" };
        let first = node.input.first().map_or("", String::as_str);
        let attribute = |name: &str| node.attribute.iter().find(|it| it.name == name);
        for (place, input) in node.input.iter().enumerate() {
            // What lies beyond all readings is only an end there.
            let is_end = operator == "Slice" && (1..=2).contains(&place);
            if known.wide.contains(input) && !is_end {
                self.wrong.insert("whole numbers beyond 32 bits".into());
            }
            let is_asked = operator == "Not" || (operator == "If" && place == 0);
            if known.counted.contains(input) && !is_asked {
                self.wrong.insert(TO_BOOL.into());
            }
        }
        let kind = KIND_OF.iter().find(|(name, _)| *name == operator).map_or(0, |(_, at)| *at);
        let takes_integral = node.input.get(kind).is_some_and(|it| known.integral.contains(it));
        let mut is_integral_answer = NUMBERING.contains(&operator)
            || (takes_integral && !FLOATING.contains(&operator) && !LOGICAL.contains(&operator));
        let mut is_whole = COUNTING.contains(&operator);
        let mut is_logical = LOGICAL.contains(&operator);
        match operator {
            "Cast" => {
                let to = attribute("to").and_then(|to| Element::from_onnx(to.i as i32));
                is_integral_answer = to.is_some_and(is_integral);
                is_logical = to == Some(Element::Bool) && known.logical.contains(first);
                match to {
                    Some(Element::Bool) if known.whole.contains(first) => {
                        known.counted.extend(node.output.iter().cloned());
                    }
                    Some(Element::Bool) if !is_logical => drop(self.wrong.insert(TO_BOOL.into())),
                    Some(Element::F64) => drop(self.wrong.insert("Cast to f64".into())),
                    _ => {}
                }
            }
            // What is too large goes on as another number, where other operators give up.
            "Pow" if takes_integral => drop(self.wrong.insert("Pow of whole numbers".into())),
            "ConstantOfShape" => {
                let value = attribute("value").and_then(|value| value.t.as_ref());
                let element = value.and_then(|value| Element::from_onnx(value.data_type));
                is_integral_answer = element.is_some_and(is_integral);
            }
            "CastLike" => {
                is_integral_answer =
                    node.input.get(1).is_some_and(|like| known.integral.contains(like));
                // What it makes of larger numbers is seen of a Cast alone.
                if node.input.get(1).is_some_and(|like| known.long.contains(like)) {
                    self.wrong.insert("CastLike to whole numbers of 64 bits".into());
                }
            }
            "Constant" => {
                if let (Some(tensor), Some(output)) =
                    (attribute("value").and_then(|it| it.t.as_ref()), node.output.first())
                {
                    self.constant(output, tensor, known);
                }
            }
            "Softmax" | "LogSoftmax" if opset < SOFTMAX_SINCE => {
                match attribute("axis").map_or(1, |axis| axis.i) {
                    -1 if attribute("axis").is_some() => {}
                    axis if is_outer && attribute("axis").is_some() => {
                        // Of its answer, which has the same shape: what it takes may be none any more,
                        // when it has become one with what comes before it.
                        let answer = node.output.first().cloned().unwrap_or_default();
                        self.last.push((answer, axis));
                    }
                    _ => drop(self.wrong.insert(format!("{operator} of version {opset}"))),
                }
            }
            _ if MOVING.contains(&operator) => {
                is_logical = known.logical.contains(first);
                is_whole = known.whole.contains(first);
            }
            _ => {}
        }
        if is_logical {
            known.logical.extend(node.output.iter().cloned());
        }
        if is_whole {
            known.whole.extend(node.output.iter().cloned());
        }
        if is_integral_answer {
            known.integral.extend(node.output.iter().cloned());
        }
        for graph in node.attribute.iter().flat_map(|it| it.g.iter().chain(&it.graphs)) {
            self.graph(graph, opset, known, false);
        }
    }

    fn constant(&mut self, name: &str, tensor: &TensorProto, known: &mut Known) {
        if Element::from_onnx(tensor.data_type).is_some_and(is_integral) {
            known.integral.insert(name.to_owned());
        }
        match Element::from_onnx(tensor.data_type) {
            Some(Element::Bool) => drop(known.logical.insert(name.to_owned())),
            Some(Element::F64) => drop(self.wrong.insert("numbers in 64 bits".into())),
            Some(Element::I64) => {
                known.long.insert(name.to_owned());
                let raw = tensor.raw_data.chunks_exact(8);
                let raw = raw.map(|it| i64::from_le_bytes(it.try_into().unwrap_or_default()));
                if raw.chain(tensor.int64_data.iter().copied()).any(|it| i32::try_from(it).is_err())
                {
                    known.wide.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// What is known of tensors by name, in a graph and those around it.
#[derive(Clone, Default)]
struct Known {
    /// Those that are yes or no.
    logical: HashSet<String>,
    /// Those that are counts.
    whole: HashSet<String>,
    /// Those that should be yes or no and are counts there: any but 0 is a yes to who asks.
    counted: HashSet<String>,
    /// Those with whole numbers beyond 32 bits.
    wide: HashSet<String>,
    /// Those of whole numbers of 64 bits.
    long: HashSet<String>,
    /// Those of whole numbers, as far as that can be told.
    integral: HashSet<String>,
}

/// Whether rten computes with whole numbers of 32 bits where a file has these.
fn is_integral(element: Element) -> bool {
    matches!(element, Element::I32 | Element::I64)
}

/// The type of what a graph declares.
fn element(info: &tract_onnx::pb::ValueInfoProto) -> Option<Element> {
    let tensor = info.r#type.as_ref().and_then(|it| it.value.as_ref());
    tensor.and_then(|tract_onnx::pb::type_proto::Value::TensorType(tensor)| {
        Element::from_onnx(tensor.elem_type)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OnnxModel;
    use crate::engine::model::tests::{field, model, node};

    /// What is to be looked at in a graph of these fields, at version `opset`.
    fn meaning(graph: &[Vec<u8>], opset: i64) -> (Vec<String>, Vec<(String, i64)>) {
        let file = model(&graph.concat());
        let read = OnnxModel::read(&file).unwrap();
        let Meaning { wrong, last } = Meaning::of(read.proto(), opset);
        (wrong.into_iter().collect(), last)
    }

    fn operator(name: &str, ports: (&[&str], &[&str]), attributes: &[(&str, u8)]) -> Vec<u8> {
        let attribute = |(name, value): &(&str, u8)| {
            field(5, &[field(1, name.as_bytes()), vec![3 << 3, *value]].concat())
        };
        let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
        field(1, &[node(name, "", ports), attributes].concat())
    }

    fn constant(name: &str, element: Element, bytes: &[u8]) -> Vec<u8> {
        let kind = vec![2 << 3, element.onnx() as u8];
        field(5, &[kind, field(8, name.as_bytes()), field(9, bytes)].concat())
    }

    #[test]
    fn only_what_is_yes_or_no_already_is_cast_to_it() {
        let to_bool = [("to", Element::Bool.onnx() as u8)];
        let cast = |from| operator("Cast", (&[from], &["y"]), &to_bool);
        let (wrong, _) = meaning(&[cast("x")], 17);
        assert_eq!(wrong, ["Cast of numbers to bool"]);
        let less = operator("Less", (&["a", "b"], &["l"]), &[]);
        let squeezed = operator("Squeeze", (&["l"], &["x"]), &[]);
        assert_eq!(meaning(&[less, squeezed, cast("x")], 17).0, [""; 0]);
    }

    #[test]
    fn a_count_that_is_cast_to_bool_is_one_to_who_asks_and_to_nobody_else() {
        let count = [
            operator("Shape", (&["x"], &["shape"]), &[]),
            operator("Gather", (&["shape", "first"], &["n"]), &[]),
            operator("Cast", (&["n"], &["c"]), &[("to", Element::Bool.onnx() as u8)]),
        ];
        let with = |node: Vec<u8>| meaning(&[count.concat(), node], 17).0;
        assert_eq!(with(operator("If", (&["c"], &["y"]), &[])), [""; 0]);
        assert_eq!(with(operator("Not", (&["c"], &["y"]), &[])), [""; 0]);
        assert_eq!(with(operator("Where", (&["c", "x", "x"], &["y"]), &[])), [TO_BOOL]);
        // Whoever takes it within a branch is nobody who asks, nor is who takes it out of one.
        let branch = |fields: &[u8]| {
            let graph = [field(1, b"then_branch"), field(6, fields)].concat();
            field(1, &[node("If", "", (&["c"], &["y"])), field(5, &graph)].concat())
        };
        let cast = operator("Cast", (&["c"], &["f"]), &[("to", Element::F32.onnx() as u8)]);
        assert_eq!(with(branch(&cast)), [TO_BOOL]);
        assert_eq!(with(branch(&field(12, &field(1, b"c")))), [TO_BOOL]);
    }

    #[test]
    fn whole_numbers_beyond_32_bits_are_but_the_ends_of_slices() {
        let end = constant("end", Element::I64, &i64::MAX.to_le_bytes());
        let slice = operator("Slice", (&["x", "start", "end"], &["y"]), &[]);
        assert_eq!(meaning(&[end.clone(), slice], 17).0, [""; 0]);
        let add = operator("Add", (&["x", "end"], &["y"]), &[]);
        assert_eq!(meaning(&[end, add], 17).0, ["whole numbers beyond 32 bits"]);
        let small = constant("one", Element::I64, &1i64.to_le_bytes());
        let add = operator("Add", (&["x", "one"], &["y"]), &[]);
        assert_eq!(meaning(&[small, add], 17).0, [""; 0]);
    }

    #[test]
    fn a_cast_to_the_type_of_whole_numbers_of_64_bits_is_told_of() {
        let like = |element: Element| {
            let like = constant("like", element, &[0; 8]);
            meaning(&[like, operator("CastLike", (&["x", "like"], &["y"]), &[])], 17).0
        };
        assert_eq!(like(Element::I64), ["CastLike to whole numbers of 64 bits"]);
        assert_eq!(like(Element::F32), [""; 0]);
    }

    #[test]
    fn powers_of_whole_numbers_are_told_of_and_of_others_not() {
        let cast = |to: Element| operator("Cast", (&["x"], &["n"]), &[("to", to.onnx() as u8)]);
        let two = constant("two", Element::I64, &2i64.to_le_bytes());
        let pow = |base| operator("Pow", (&[base, "two"], &["y"]), &[]);
        let said = |nodes: &[Vec<u8>]| meaning(&[two.clone(), nodes.concat()], 17).0;
        let told = ["Pow of whole numbers"];
        assert_eq!(said(&[pow("two")]), told);
        assert_eq!(said(&[cast(Element::I32), pow("n")]), told);
        let sum = operator("Add", (&["n", "n"], &["s"]), &[]);
        assert_eq!(said(&[cast(Element::I64), sum.clone(), pow("s")]), told);
        assert_eq!(said(&[operator("ArgMax", (&["x"], &["n"]), &[]), pow("n")]), told);
        assert_eq!(said(&[operator("Where", (&["c", "two", "two"], &["n"]), &[]), pow("n")]), told);
        assert_eq!(said(&[pow("x")]), [""; 0]);
        assert_eq!(said(&[cast(Element::F32), sum, pow("s")]), [""; 0]);
    }

    #[test]
    fn doubles_are_not_made_of_what_is_none() {
        assert_eq!(meaning(&[constant("w", Element::F64, &[0; 8])], 17).0, ["numbers in 64 bits"]);
        let cast = operator("Cast", (&["x"], &["y"]), &[("to", Element::F64.onnx() as u8)]);
        assert_eq!(meaning(&[cast], 17).0, ["Cast to f64"]);
    }

    #[test]
    fn cubic_interpolation_is_not_taken_for_another() {
        let resize = |mode: &[u8]| {
            let mode = [field(1, b"mode"), field(4, mode)].concat();
            let node = node("Resize", "", (&["x", "", "s"], &["y"]));
            field(1, &[node, field(5, &mode)].concat())
        };
        assert_eq!(meaning(&[resize(b"cubic")], 17).0, ["cubic Resize"]);
        assert_eq!(meaning(&[resize(b"linear")], 17).0, [""; 0]);
    }

    #[test]
    fn an_uneven_padding_at_the_beginning_and_lengths_of_sequences_are_told_of() {
        let pool = |padding: &[u8]| {
            let padding = [field(1, b"auto_pad"), field(4, padding)].concat();
            let node = node("MaxPool", "", (&["x"], &["y"]));
            meaning(&[field(1, &[node, field(5, &padding)].concat())], 17).0
        };
        assert_eq!(pool(b"SAME_LOWER"), ["MaxPool with auto_pad = SAME_LOWER"]);
        assert_eq!(pool(b"SAME_UPPER"), [""; 0]);
        let lstm = |inputs: &[&str]| meaning(&[operator("LSTM", (inputs, &["y"]), &[])], 17).0;
        assert_eq!(lstm(&["x", "w", "r", "b", "lens"]), ["LSTM with sequence_lens"]);
        assert_eq!(lstm(&["x", "w", "r", "b", "", "h"]), [""; 0]);
    }

    #[test]
    fn a_softmax_of_earlier_versions_is_looked_at() {
        let softmax = |axis: &[(&str, u8)]| operator("Softmax", (&["x"], &["y"]), axis);
        assert_eq!(meaning(&[softmax(&[])], 17), (vec![], vec![]));
        assert_eq!(meaning(&[softmax(&[])], 12).0, ["Softmax of version 12"]);
        assert_eq!(meaning(&[softmax(&[("axis", 2)])], 12), (vec![], vec![("y".into(), 2)]));
    }
}
