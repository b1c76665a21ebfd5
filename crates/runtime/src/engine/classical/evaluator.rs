//! The engine: a graph as a list of steps, each made ready for the shapes that will come.

use super::super::error::EngineError;
use super::super::loader::{Engine, Loader};
use super::super::model::OnnxModel;
use super::super::operator::{ML_DOMAIN, Objection, Operator, Reason};
use super::node::Operation;
use super::operators::find;
use super::plan::Plan;
use super::rest;
use super::value::texts_fit;
use crate::tensor::{Data, Element, Port, Tensor};
use std::mem::replace;
use std::sync::Arc;

/// The loader.
pub(in super::super) struct Classical;

/// A loaded graph.
pub(super) struct Loaded {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) constants: Vec<Arc<Data>>,
    pub(super) steps: Vec<Step>,
    /// Where each output lies.
    pub(super) answers: Vec<Answer>,
}

/// An operation, and where its inputs lie. Its outputs come after those of all steps before.
pub(super) struct Step {
    pub(super) operation: Box<dyn Operation>,
    pub(super) inputs: Vec<Place>,
    /// The operator and the node, for people.
    pub(super) told: String,
}

/// Where a value lies in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Given(usize),
    Constant(usize),
    Computed(usize),
}

pub(super) struct Answer {
    pub(super) place: Place,
    /// Whether no later answer lies there as well.
    pub(super) is_last: bool,
}

impl Loader for Classical {
    fn name(&self) -> &'static str {
        "classical"
    }

    fn objection(&self, operator: &Operator) -> Option<Reason> {
        find(operator).is_none().then_some(Reason::Lacking)
    }

    /// A model without any operator of this domain is not for this engine, whatever tract would run.
    fn objections(&self, operators: &[&Operator]) -> Vec<Objection> {
        let is_own = |operator: &&Operator| operator.domain() == ML_DOMAIN;
        let with_tract = operators.iter().any(is_own);
        let objection = |operator: &&Operator| {
            let reason = self.objection(operator)?;
            let here = with_tract && rest::takes(operator);
            (!here).then(|| Objection { operator: (*operator).clone(), reason })
        };
        operators.iter().filter_map(objection).collect()
    }

    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError> {
        let graph = model.proto().graph.as_ref().ok_or_else(|| {
            EngineError::Load("it has no graph".to_owned()) // The file was read, so there is one.
        })?;
        if !graph.sparse_initializer.is_empty() {
            return Err(EngineError::Sparse("classical"));
        }
        let plan = Plan::read(model, graph, inputs)?;
        Ok(Box::new(plan.finish(inputs)?))
    }
}

impl Engine for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn compute(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
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
            let given = step.operation.answers(&taken).map_err(|error| match error {
                // What is no number has no class and no largest, and is no whole number.
                EngineError::Run(_) if !taken.iter().all(|data| data.is_finite()) => {
                    EngineError::NotFiniteWithin(format!("what goes into {}", step.told))
                }
                EngineError::Run(problem) => EngineError::Run(format!("{}: {problem}", step.told)),
                other => other,
            })?;
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
            let tensor = Tensor::new(port.shape().to_vec(), data);
            answers.push(tensor.ok_or_else(|| {
                EngineError::Run(format!("{} is not {}", port.name(), port.form()))
            })?);
        }
        Ok(answers)
    }
}
