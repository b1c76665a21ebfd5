//! The nodes of a model and the constants that they take: what an engine gets wrong of an operator is often
//! one use of it, which is seen in the file.

use super::classical::constant;
use crate::tensor::{Data, Tensor};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Operators whose answers are yes or no.
pub(super) const LOGICAL: [&str; 11] = [
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Xor",
];

/// All nodes of a model, those of graphs within its graph among them.
pub(super) struct Nodes<'a> {
    nodes: Vec<&'a NodeProto>,
    /// By name; none where graphs have different ones of the same name.
    constants: HashMap<&'a str, Option<&'a TensorProto>>,
}

impl<'a> Nodes<'a> {
    pub(super) fn of(model: &'a ModelProto) -> Nodes<'a> {
        let mut nodes = Nodes { nodes: vec![], constants: HashMap::new() };
        model.graph.iter().for_each(|graph| nodes.graph(graph));
        nodes
    }

    // The depth is bounded by whoever decodes, as elsewhere.
    fn graph(&mut self, graph: &'a GraphProto) {
        for tensor in &graph.initializer {
            self.constant(&tensor.name, tensor);
        }
        for node in &graph.node {
            let value = attribute(node, "value").and_then(|value| value.t.as_ref());
            if let (true, Some(tensor), Some(output)) =
                (is(node, "Constant"), value, node.output.first())
            {
                self.constant(output, tensor);
            }
            self.nodes.push(node);
            let graphs = node.attribute.iter().flat_map(|it| it.g.iter().chain(&it.graphs));
            graphs.for_each(|graph| self.graph(graph));
        }
    }

    fn constant(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let known = self.constants.entry(name).or_insert(Some(tensor));
        if known.is_some_and(|known| known != tensor) {
            *known = None;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a NodeProto> {
        self.nodes.iter().copied()
    }

    /// What a node takes at this place in every run, if that is the same and known.
    pub(super) fn known(&self, node: &NodeProto, place: usize) -> Option<Tensor> {
        self.constant_called(input(node, place)?)
    }

    /// The constant of this name, if it is known.
    pub(super) fn constant_called(&self, name: &str) -> Option<Tensor> {
        constant(self.constants.get(name)?.as_ref()?).ok()
    }

    /// Whether there is a constant of this name, be it known or not.
    pub(super) fn has_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// Whether there is a constant of this kind (ONNX, `TensorProto.DataType`).
    pub(super) fn has_constant_of(&self, kind: i32) -> bool {
        self.constants.values().flatten().any(|tensor| tensor.data_type == kind)
    }

    /// Whether a Resize aligns the corners of sizes that may be cut to whole numbers, which engines do before
    /// they align and ONNX's own implementation after.
    pub(super) fn aligns_parts(&self, resize: &NodeProto) -> bool {
        let is_whole = |scales: Tensor| matches!(scales.data(), Data::F32(scales) if scales.iter().all(|it| it.fract() == 0.0));
        text(resize, "coordinate_transformation_mode") == Some(b"align_corners")
            && input(resize, 2).is_some()
            && !self.known(resize, 2).is_some_and(is_whole)
    }
}

/// Whether a node is of this one of ONNX's own operators.
pub(super) fn is(node: &NodeProto, operator: &str) -> bool {
    node.op_type == operator && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// The value that a node takes at this place; none where it takes none.
pub(super) fn input(node: &NodeProto, place: usize) -> Option<&str> {
    node.input.get(place).map(String::as_str).filter(|name| !name.is_empty())
}

/// Whether a node gives a value at this place.
pub(super) fn gives(node: &NodeProto, place: usize) -> bool {
    node.output.get(place).is_some_and(|name| !name.is_empty())
}

/// The whole number of an attribute.
pub(super) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|attribute| attribute.i)
}

/// The text of an attribute.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    attribute(node, name).map(|attribute| attribute.s.as_slice())
}

/// The attribute of this name.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}
