//! What is not for this engine in a graph: plain operators between its own, which tract runs. Nodes that
//! follow from one another lie in one piece, for every piece costs a call.

use super::super::error::EngineError;
use super::super::loader::{Engine, Loader};
use super::super::operator::Operator;
use super::super::tract::{self, Tract};
use super::node::Operation;
use super::value::Known;
use crate::tensor::{Data, Element, Port, Tensor};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value as TypeValue};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto,
};

/// Operators of this engine that lie in a piece as well as outside, where they would part it.
const EITHER: [&str; 11] = [
    "Add",
    "Cast",
    "Concat",
    "Div",
    "Flatten",
    "Identity",
    "Mul",
    "Reshape",
    "Squeeze",
    "Sub",
    "Unsqueeze",
];
/// Operators with graphs of their own, which take values that they do not name.
const WITH_GRAPHS: [&str; 3] = ["If", "Loop", "Scan"];

/// Whether tract runs `operator` where this engine has none.
pub(super) fn takes(operator: &Operator) -> bool {
    Tract.objection(operator).is_none() && !WITH_GRAPHS.contains(&operator.name())
}

/// Whether `operator` may lie in a piece although this engine has it, too.
pub(super) fn may_take(operator: &Operator) -> bool {
    operator.domain().is_empty() && EITHER.contains(&operator.name())
}

/// Nodes that wait to be made a piece.
#[derive(Default)]
pub(super) struct Rest<'a> {
    nodes: Vec<&'a NodeProto>,
    /// What each of them gives, and how often another of them takes it.
    gives: HashMap<&'a str, usize>,
}

/// Nodes in tract.
pub(super) struct Piece(tract::Loaded);

impl<'a> Rest<'a> {
    pub(super) fn push(&mut self, node: &'a NodeProto) {
        for input in &node.input {
            if let Some(uses) = self.gives.get_mut(input.as_str()) {
                *uses += 1;
            }
        }
        let outputs = node.output.iter().filter(|output| !output.is_empty());
        self.gives.extend(outputs.map(|output| (output.as_str(), 0)));
        self.nodes.push(node);
    }

    /// Whether one of them gives this value.
    pub(super) fn gives(&self, value: &str) -> bool {
        self.gives.contains_key(value)
    }

    /// Whether `node` takes anything that these give.
    pub(super) fn leads_to(&self, node: &NodeProto) -> bool {
        node.input.iter().any(|input| self.gives.contains_key(input.as_str()))
    }

    /// What they take from others, each once.
    pub(super) fn inputs(&self) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        let inputs = self.nodes.iter().flat_map(|node| &node.input).map(String::as_str);
        let outside = |input: &&str| !input.is_empty() && !self.gives.contains_key(input);
        inputs.filter(outside).filter(|input| seen.insert(*input)).collect()
    }

    /// What others take from them, if so many nodes and answers take each value in all.
    pub(super) fn outputs(&self, uses: &HashMap<&str, usize>) -> Vec<&'a str> {
        let outputs = self.nodes.iter().flat_map(|node| &node.output).map(String::as_str);
        let outside = |output: &&str| {
            self.gives.get(output).is_some_and(|own| uses.get(output).is_some_and(|all| all > own))
        };
        outputs.filter(outside).collect()
    }

    /// The operators, for people.
    pub(super) fn told(&self) -> String {
        let mut names: Vec<&str> = self.nodes.iter().map(|node| node.op_type.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }

    /// Loads them into tract, with what they take in every run, what is the same in all runs, and what
    /// others take from them.
    pub(super) fn load(
        self,
        opsets: &[OperatorSetIdProto],
        inputs: &[Port],
        constants: &[(&str, &Known)],
        outputs: &[&str],
    ) -> Result<Piece, EngineError> {
        let constants = constants.iter().map(|(name, known)| constant(name, known));
        let typed = |port: &Port| ValueInfoProto {
            name: port.name().to_owned(),
            r#type: Some(TypeProto {
                value: Some(TypeValue::TensorType(TensorType {
                    elem_type: port.element().onnx(),
                    // tract is told with the inputs.
                    shape: None,
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        };
        let named =
            |name: &&str| ValueInfoProto { name: (*name).to_owned(), ..ValueInfoProto::default() };
        let graph = GraphProto {
            node: self.nodes.into_iter().cloned().collect(),
            initializer: constants.collect::<Result<_, _>>()?,
            input: inputs.iter().map(typed).collect(),
            output: outputs.iter().map(named).collect(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            opset_import: opsets.to_vec(),
            graph: Some(graph),
            ..ModelProto::default()
        };
        tract::load(&model, outputs, inputs).map(Piece)
    }
}

impl Piece {
    /// Kind and shape of each output.
    pub(super) fn outputs(&self) -> Vec<(Element, Vec<usize>)> {
        self.0.outputs().iter().map(|port| (port.element(), port.shape().to_vec())).collect()
    }
}

impl Operation for Piece {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        self.answers(inputs).map_err(|error| error.to_string())
    }

    fn answers(&self, inputs: &[&Data]) -> Result<Vec<Data>, EngineError> {
        let answers = self.0.answers(inputs)?;
        Ok(answers.into_iter().map(Tensor::into_data).collect())
    }
}

/// A constant as a file has it.
fn constant(name: &str, known: &Known) -> Result<TensorProto, EngineError> {
    let data = known.constant.as_ref().filter(|_| known.element != Element::Bytes);
    let tensor = data.and_then(|data| Tensor::new(known.shape.clone(), Data::clone(data)));
    let tensor = tensor.ok_or_else(|| {
        EngineError::Load(format!("{name} is text, which the operator that takes it does not"))
    })?;
    Ok(TensorProto {
        name: name.to_owned(),
        data_type: known.element.onnx(),
        // A shape that is in memory has sizes below 2^63.
        dims: known.shape.iter().map(|size| *size as i64).collect(),
        raw_data: tensor.to_bytes(),
        ..TensorProto::default()
    })
}
