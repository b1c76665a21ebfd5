//! Reads a graph, node by node, into the steps that are done in every run.

use super::super::error::EngineError;
use super::super::model::OnnxModel;
use super::super::operator::Operator;
use super::evaluator::{Answer, Loaded, Place, Step};
use super::node::{Made, Node, Operation};
use super::operators::find;
use super::rest::{self, Rest};
use super::value::{Known, constant};
use crate::tensor::{Data, ELEMENTS_MAX, Element, Port, Tensor};
use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto};

/// Number of the type for text (ONNX, `TensorProto.DataType`).
const TEXT: i64 = 8;

/// A graph as far as it was read.
#[derive(Default)]
pub(super) struct Plan<'a> {
    values: HashMap<&'a str, (Place, Known)>,
    constants: Vec<Arc<Data>>,
    steps: Vec<Step>,
    /// Values that the steps compute, and their elements together.
    computed: usize,
    elements: usize,
    /// Names of the values that are the graph's answers.
    outputs: Vec<&'a str>,
    /// Nodes that were read and are not among the steps yet.
    rest: Rest<'a>,
    /// How many nodes and answers take each value.
    uses: HashMap<&'a str, usize>,
    /// The versions that the operators are of.
    opsets: &'a [OperatorSetIdProto],
}

impl<'a> Plan<'a> {
    /// Reads a graph whose inputs are settled.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn read(
        model: &'a OnnxModel<'_>,
        graph: &'a GraphProto,
        inputs: &'a [Port],
    ) -> Result<Plan<'a>, EngineError> {
        let outputs = model.facts().outputs.iter().map(|output| output.name.as_str());
        let opsets = &model.proto().opset_import;
        let mut plan = Plan { opsets, outputs: outputs.collect(), ..Plan::default() };
        let taken = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str));
        for name in taken.chain(plan.outputs.clone()) {
            *plan.uses.entry(name).or_default() += 1;
        }
        for (place, port) in inputs.iter().enumerate() {
            let known =
                Known { element: port.element(), shape: port.shape().to_vec(), constant: None };
            plan.name(port.name(), Place::Given(place), known)?;
        }
        for tensor in &graph.initializer {
            plan.constant(&tensor.name, constant(tensor).map_err(EngineError::Load)?)?;
        }
        graph.node.iter().try_for_each(|node| plan.node(node))?;
        plan.piece()?;
        Ok(plan)
    }

    fn name(&mut self, name: &'a str, place: Place, known: Known) -> Result<(), EngineError> {
        match self.values.insert(name, (place, known)) {
            None if !self.rest.gives(name) => Ok(()),
            _ => Err(EngineError::Load(format!("two values are called {name}"))),
        }
    }

    fn constant(&mut self, name: &'a str, tensor: Tensor) -> Result<(), EngineError> {
        let (element, shape) = (tensor.element(), tensor.shape().to_vec());
        let data = Arc::new(tensor.into_data());
        let place = Place::Constant(self.constants.len());
        self.constants.push(Arc::clone(&data));
        self.name(name, place, Known { element, shape, constant: Some(data) })
    }

    /// Reads the next node.
    fn node(&mut self, proto: &'a NodeProto) -> Result<(), EngineError> {
        let operator = Operator::new(&proto.domain, &proto.op_type);
        let follows = self.rest.leads_to(proto);
        let is_rest = match find(&operator) {
            None => rest::takes(&operator),
            Some(_) => follows && rest::may_take(&operator) && !self.has_text(proto),
        };
        if is_rest {
            self.check_order(proto)?;
            self.rest.push(proto);
            return Ok(());
        }
        if follows {
            self.piece()?;
        }
        self.step(proto)
    }

    /// Checks that a node takes what comes before it, and gives what nobody else does. Then there can be no
    /// circle (ONNX, IR.md, "Graphs").
    fn check_order(&self, proto: &NodeProto) -> Result<(), EngineError> {
        let known = |name: &&String| {
            self.values.contains_key(name.as_str()) || self.rest.gives(name.as_str())
        };
        let wrong =
            |problem: String| Err(EngineError::Load(format!("{}: {problem}", proto.op_type)));
        let mut inputs = proto.input.iter().filter(|input| !input.is_empty());
        if let Some(missing) = inputs.find(|input| !known(input)) {
            return wrong(format!("nothing before it gives {missing}"));
        }
        match proto.output.iter().find(known) {
            Some(twice) => wrong(format!("two values are called {twice}")),
            None => Ok(()),
        }
    }

    /// Whether a node takes or gives text, as far as can be told before it is made.
    fn has_text(&self, proto: &NodeProto) -> bool {
        let is_text = |name: &String| {
            let known = self.values.get(name.as_str());
            known.is_some_and(|(_, known)| known.element == Element::Bytes)
        };
        let to = |attribute: &AttributeProto| attribute.name == "to" && attribute.i == TEXT;
        proto.input.iter().any(is_text) || proto.attribute.iter().any(to)
    }

    /// Adds what the nodes compute that are not among the steps yet.
    fn piece(&mut self) -> Result<(), EngineError> {
        let rest = take(&mut self.rest);
        let outputs = rest.outputs(&self.uses);
        if outputs.is_empty() {
            return Ok(());
        }
        let told = rest.told();
        let (mut inputs, mut places, mut constants) = (Vec::new(), Vec::new(), Vec::new());
        for name in rest.inputs() {
            let known = self.values.get(name);
            let (place, known) = known.expect("a node waits only for what was known before it");
            match known.constant {
                Some(_) => constants.push((name, known)),
                None => {
                    inputs.push(Port::new(name.to_owned(), known.element, known.shape.clone())?);
                    places.push(*place);
                }
            }
        }
        let piece = rest.load(self.opsets, &inputs, &constants, &outputs)?;
        if places.is_empty() {
            let failed = |problem| EngineError::Load(format!("{told}: {problem}"));
            let shapes = piece.outputs();
            let given = piece.run(&[]).map_err(failed)?;
            for ((name, (_, shape)), data) in outputs.into_iter().zip(shapes).zip(given) {
                let tensor = Tensor::new(shape, data);
                let tensor = tensor.ok_or_else(|| failed("its shape is another".to_owned()))?;
                self.constant(name, tensor)?;
            }
            return Ok(());
        }
        self.computed(told, &outputs, places, piece.outputs(), Box::new(piece))
    }

    /// Adds what a node computes. Nodes come after those that they take something from, so that there
    /// can be no circle (ONNX, IR.md, "Graphs").
    fn step(&mut self, proto: &'a NodeProto) -> Result<(), EngineError> {
        let operator = Operator::new(&proto.domain, &proto.op_type);
        let output = proto.output.first().map_or("", String::as_str);
        let told = format!("{operator} for {output}");
        let failed = |problem: String| EngineError::Load(format!("{told}: {problem}"));
        let make = find(&operator).ok_or_else(|| failed("there is none here".to_owned()))?;
        let (mut places, mut inputs) = (Vec::new(), Vec::new());
        for name in &proto.input {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            let found = self.values.get(name.as_str());
            let (place, known) =
                found.ok_or_else(|| failed(format!("nothing before it gives {name}")))?;
            places.push(*place);
            inputs.push(Some(known));
        }
        let made = make(&Node::new(proto, inputs)).map_err(failed)?;
        let names: Vec<&'a str> = proto.output.iter().map(String::as_str).collect();
        match made {
            Made::Constant(tensor) => {
                let name = names.first().ok_or_else(|| failed("it has no output".to_owned()))?;
                self.constant(name, tensor)
            }
            Made::Same(shape) => {
                let first = proto.input.first().and_then(|name| self.values.get(name.as_str()));
                let (place, known) = first.ok_or_else(|| failed("it has no input".to_owned()))?;
                let (place, known) = (*place, Known { shape, ..known.clone() });
                let name = names.first().ok_or_else(|| failed("it has no output".to_owned()))?;
                self.name(name, place, known)
            }
            Made::Computed(outputs, operation) => {
                self.computed(told, &names, places, outputs, operation)
            }
        }
    }

    /// Adds a step that gives `outputs` under these names.
    fn computed(
        &mut self,
        told: String,
        names: &[&'a str],
        inputs: Vec<Place>,
        outputs: Vec<(Element, Vec<usize>)>,
        operation: Box<dyn Operation>,
    ) -> Result<(), EngineError> {
        if names.len() > outputs.len() {
            return Err(EngineError::Load(format!("{told}: it gives {} values", outputs.len())));
        }
        let first = self.computed;
        self.computed += outputs.len();
        for (at, (element, shape)) in outputs.into_iter().enumerate() {
            // The port of a value knows what is too much.
            let port = Port::new(told.clone(), element, shape)?;
            self.elements += port.len();
            if self.elements > ELEMENTS_MAX {
                let most = format!("it computes more than {ELEMENTS_MAX} elements");
                return Err(EngineError::Load(most));
            }
            let place = Place::Computed(first + at);
            let shape = port.shape().to_vec();
            if let Some(name) = names.get(at).filter(|name| !name.is_empty()) {
                self.name(name, place, Known { element, shape, constant: None })?;
            }
        }
        self.steps.push(Step { operation, inputs, told });
        Ok(())
    }

    /// The graph, ready to run.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn finish(self, inputs: &[Port]) -> Result<Loaded, EngineError> {
        let (mut outputs, mut answers) = (Vec::new(), Vec::<Answer>::new());
        for name in self.outputs {
            let found = self.values.get(name);
            let (place, known) =
                found.ok_or_else(|| EngineError::Load(format!("nothing gives output {name}")))?;
            outputs.push(Port::new(name.to_owned(), known.element, known.shape.clone())?);
            for earlier in answers.iter_mut().filter(|answer| answer.place == *place) {
                earlier.is_last = false;
            }
            answers.push(Answer { place: *place, is_last: true });
        }
        let Plan { constants, steps, .. } = self;
        Ok(Loaded { inputs: inputs.to_vec(), outputs, constants, steps, answers })
    }
}
