//! The engine: a graph as a list of steps, each made ready for the shapes that will come.

use super::super::error::EngineError;
use super::super::loader::{Engine, Loader, check};
use super::super::model::OnnxModel;
use super::super::operator::{Operator, Reason};
use super::node::{Made, Node, Operation};
use super::operators::find;
use super::value::{Known, constant, texts_fit};
use crate::tensor::{Data, ELEMENTS_MAX, Element, Port, Tensor};
use std::collections::HashMap;
use std::mem::replace;
use std::sync::Arc;
use tract_onnx::pb::NodeProto;

/// The loader.
pub(in super::super) struct Classical;

/// A loaded graph.
struct Loaded {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    constants: Vec<Arc<Data>>,
    steps: Vec<Step>,
    /// Where each output lies.
    answers: Vec<Answer>,
}

/// An operation, and where its inputs lie. Its outputs come after those of all steps before.
struct Step {
    operation: Box<dyn Operation>,
    inputs: Vec<Place>,
    /// The operator and the node, for people.
    told: String,
}

/// Where a value lies in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Given(usize),
    Constant(usize),
    Computed(usize),
}

struct Answer {
    place: Place,
    /// Whether no later answer lies there as well.
    is_last: bool,
}

impl Loader for Classical {
    fn name(&self) -> &'static str {
        "classical"
    }

    fn objection(&self, operator: &Operator) -> Option<Reason> {
        find(operator).is_none().then_some(Reason::Lacking)
    }

    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError> {
        let graph = model.proto().graph.as_ref().ok_or_else(|| {
            EngineError::Load("it has no graph".to_owned()) // The file was read, so there is one.
        })?;
        if !graph.sparse_initializer.is_empty() {
            return Err(EngineError::Load("it has sparse constants".to_owned()));
        }
        let mut plan = Plan::default();
        for (place, port) in inputs.iter().enumerate() {
            let known =
                Known { element: port.element(), shape: port.shape().to_vec(), constant: None };
            plan.name(port.name(), Place::Given(place), known)?;
        }
        for tensor in &graph.initializer {
            plan.constant(&tensor.name, constant(tensor).map_err(EngineError::Load)?)?;
        }
        graph.node.iter().try_for_each(|node| plan.step(node))?;
        let names = model.facts().outputs.iter().map(|output| output.name.as_str());
        Ok(Box::new(plan.finish(inputs, names)?))
    }
}

/// A graph as far as it was read.
#[derive(Default)]
struct Plan<'a> {
    values: HashMap<&'a str, (Place, Known)>,
    constants: Vec<Arc<Data>>,
    steps: Vec<Step>,
    /// Values that the steps compute, and their elements together.
    computed: usize,
    elements: usize,
}

impl<'a> Plan<'a> {
    fn name(&mut self, name: &'a str, place: Place, known: Known) -> Result<(), EngineError> {
        match self.values.insert(name, (place, known)) {
            None => Ok(()),
            Some(_) => Err(EngineError::Load(format!("two values are called {name}"))),
        }
    }

    fn constant(&mut self, name: &'a str, tensor: Tensor) -> Result<(), EngineError> {
        let (element, shape) = (tensor.element(), tensor.shape().to_vec());
        let data = Arc::new(tensor.into_data());
        let place = Place::Constant(self.constants.len());
        self.constants.push(Arc::clone(&data));
        self.name(name, place, Known { element, shape, constant: Some(data) })
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
                if names.len() > outputs.len() {
                    return Err(failed(format!("it gives {} values", outputs.len())));
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
                self.steps.push(Step { operation, inputs: places, told });
                Ok(())
            }
        }
    }

    fn finish(
        self,
        inputs: &[Port],
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Loaded, EngineError> {
        let (mut outputs, mut answers) = (Vec::new(), Vec::<Answer>::new());
        for name in names {
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

impl Engine for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        check(&self.inputs, inputs)?;
        let mut computed: Vec<Data> = Vec::with_capacity(2 * self.steps.len());
        // Numbers were counted when it was loaded; how long texts are is seen now.
        let mut texts = 0usize;
        for step in &self.steps {
            let input = |place: &Place| match *place {
                Place::Given(at) => inputs[at].data(),
                Place::Constant(at) => &self.constants[at],
                Place::Computed(at) => &computed[at],
            };
            let taken: Vec<&Data> = step.inputs.iter().map(input).collect();
            let given = step.operation.run(&taken);
            let given =
                given.map_err(|problem| EngineError::Run(format!("{}: {problem}", step.told)))?;
            for data in given {
                if let Data::Bytes(values) = &data {
                    texts = texts.saturating_add(values.iter().map(Vec::len).sum());
                }
                computed.push(data);
            }
            texts_fit(1, texts).map_err(EngineError::Run)?;
        }
        let mut answers = Vec::with_capacity(self.answers.len());
        for (answer, port) in self.answers.iter().zip(&self.outputs) {
            let data = match answer.place {
                Place::Given(at) => inputs[at].data().clone(),
                Place::Constant(at) => Data::clone(&self.constants[at]),
                Place::Computed(at) if answer.is_last => {
                    replace(&mut computed[at], Data::zeros(Element::Bool, 0))
                }
                Place::Computed(at) => computed[at].clone(),
            };
            if !data.is_finite() {
                return Err(EngineError::NotFinite(port.name().to_owned()));
            }
            let tensor = Tensor::new(port.shape().to_vec(), data);
            answers.push(tensor.ok_or_else(|| {
                EngineError::Run(format!("{} is not {}", port.name(), port.form()))
            })?);
        }
        Ok(answers)
    }
}
