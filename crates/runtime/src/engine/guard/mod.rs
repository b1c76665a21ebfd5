//! Keeps an engine from making a number of what is none.
//!
//! 0/0 within a model is no number, and what comes of it is none either, so that the answer is refused. But
//! some engines give the larger of NaN and nought as nought, and then nobody sees it. So a file is gone
//! through before it is loaded: from what is known of the weights it is told where there can be no NaN,
//! since nothing is large enough to overflow and nothing is divided by nought. Where one may be, and an
//! operator takes it that the engine is not known to pass it on from, the tensor is looked at in each run.

mod bounds;
mod outputs;
mod range;
#[cfg(test)]
mod tests;
mod walk;
mod watch;
mod weights;

pub(super) use outputs::with_outputs;
pub(super) use watch::{Number, Watch};

use super::error::EngineError;
use super::nodes::{Nodes, int, is};
use super::operator::Operator;
use crate::tensor::{Data, Element, Port};
use range::Range;
use std::collections::BTreeMap;
use tract_onnx::pb::{ModelProto, NodeProto, ValueInfoProto, type_proto};
use walk::Walk;
use weights::Weights;

/// Sizes beyond which numbers are not let into a model, or past some tensors within it; the first with
/// which the fewest tensors have to be looked at. In 32 bits, and in 16.
const LIMITS: [f64; 4] = [1e30, 1e24, 1e18, 1e12];
const HALF_LIMITS: [f64; 2] = [1e3, 3e1];
/// What is larger may be infinity: less than the largest numbers, for sums are made in another order.
const CEILING: f64 = 1e37;
const HALF_CEILING: f64 = 3e4;

/// How an engine treats what is no number.
pub(super) struct Habits {
    /// The engine.
    pub(super) engine: &'static str,
    /// From which operators it comes out again.
    pub(super) passing: Passing,
    /// Whether logarithms pass it on, and powers of which the exponent is constant and nowhere nought (IEEE 754: of
    /// exponent nought even the power of NaN is 1).
    pub(super) powers: bool,
    /// Whether whole numbers of 64 bits are made by way of 32.
    pub(super) narrow: bool,
    /// Whether numbers of 16 bits are computed in 32.
    pub(super) widens: bool,
}

/// Operators from which what is no number comes out again.
pub(super) enum Passing {
    /// These.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

impl Habits {
    /// Whether what a node makes of NaN is right.
    fn passes(&self, node: &NodeProto) -> bool {
        if is(node, "Cast") {
            let to = int(node, "to").and_then(|to| i32::try_from(to).ok());
            let to = to.and_then(Element::from_onnx);
            return matches!(to, Some(Element::Bool | Element::F16 | Element::F32 | Element::F64));
        }
        let is_own = Operator::new(&node.domain, &node.op_type).domain().is_empty();
        match self.passing {
            Passing::Only(these) => is_own && these.contains(&node.op_type.as_str()),
            Passing::AllBut(these) => !is_own || !these.contains(&node.op_type.as_str()),
        }
    }
}

/// What is looked at in each run of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Guard {
    /// Of its inputs, by their place.
    pub(super) inputs: Vec<(usize, Watch)>,
    /// Of what it computes.
    pub(super) within: Vec<Watch>,
}

impl Guard {
    /// What has to be looked at in a model that takes `inputs`.
    ///
    /// # Errors
    /// [`EngineError::Load`] where something would have to be that cannot.
    pub(super) fn of(
        model: &ModelProto,
        inputs: &[Port],
        habits: &Habits,
    ) -> Result<Guard, EngineError> {
        let Some(graph) = &model.graph else { return Ok(Guard::default()) };
        let nodes = Nodes::of(model);
        let weights = Weights::new(&nodes);
        let is_half = !habits.widens && has_halves(model, inputs, &nodes);
        let (limits, ceiling): (&[f64], f64) = match is_half {
            true => (&HALF_LIMITS, HALF_CEILING),
            false => (&LIMITS, CEILING),
        };
        let known = inputs.iter().map(|port| (port.name(), of_element(Some(port.element()))));
        let known: Vec<(&str, Range)> = known.collect();
        let mut best: Option<(usize, BTreeMap<&str, Option<f64>>)> = None;
        let mut blocked = String::new();
        for limit in limits {
            if best.as_ref().is_some_and(|(fewest, _)| *fewest == 0) {
                break;
            }
            let mut walk = Walk::new(habits, &weights, *limit, ceiling);
            walk.model(graph, &known);
            match walk.finish() {
                Err(operator) => blocked = operator,
                Ok(watched) => {
                    let is_input = |name: &&str| known.iter().any(|(input, _)| input == name);
                    let within = watched.keys().filter(|name| !is_input(name)).count();
                    if best.as_ref().is_none_or(|(fewest, _)| within < *fewest) {
                        best = Some((within, watched));
                    }
                }
            }
        }
        let Some((_, watched)) = best else {
            let engine = habits.engine;
            return Err(EngineError::Load(format!(
                "{engine} may make a number of NaN, which {blocked} may take or make where nothing can \
                 be looked at; what helps: export the model without it, or run it in onnxruntime"
            )));
        };
        let mut guard = Guard::default();
        for (tensor, limit) in watched {
            let watch = Watch { tensor: tensor.to_owned(), limit };
            match inputs.iter().position(|port| port.name() == tensor) {
                Some(place) => guard.inputs.push((place, watch)),
                None => guard.within.push(watch),
            }
        }
        Ok(guard)
    }

    /// Looks at what a model is given.
    ///
    /// # Errors
    /// [`EngineError::NotFiniteWithin`], [`EngineError::Beyond`].
    pub(super) fn check<'a>(&self, input: impl Fn(usize) -> &'a Data) -> Result<(), EngineError> {
        self.inputs.iter().try_for_each(|(place, watch)| watch.check_data(input(*place)))
    }
}

/// What numbers of this kind may be.
fn of_element(element: Option<Element>) -> Range {
    match element {
        None | Some(Element::F16 | Element::F32 | Element::F64) => Range::ANY,
        Some(Element::Bool) => Range::PART,
        Some(Element::Bytes) => Range::within(0.0),
        Some(Element::I8 | Element::U8) => Range::within(256.0),
        Some(Element::I16 | Element::U16) => Range::within(65536.0),
        Some(Element::I32 | Element::U32) => Range::within(4.3e9),
        Some(Element::I64 | Element::U64) => Range::within(1.9e19),
    }
}

/// The same of what a graph declares.
fn of_declared(info: &ValueInfoProto) -> Range {
    let tensor = info.r#type.as_ref().and_then(|it| it.value.as_ref());
    let element = tensor
        .and_then(|type_proto::Value::TensorType(tensor)| Element::from_onnx(tensor.elem_type));
    of_element(element)
}

/// Whether a model computes in 16 bits anywhere.
fn has_halves(model: &ModelProto, inputs: &[Port], nodes: &Nodes<'_>) -> bool {
    let half = Element::F16.onnx();
    let casts = |node: &NodeProto| {
        ["to", "dtype"].iter().any(|name| int(node, name) == Some(i64::from(half)))
    };
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
    inputs.iter().any(|port| port.element() == Element::F16)
        || initializers.into_iter().any(|tensor| tensor.data_type == half)
        || nodes.iter().any(casts)
        || nodes.has_constant_of(half)
}
