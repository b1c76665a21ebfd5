//! What is known of a model, as it is told: by the process that has read it, and to whoever asked.

use lineside_runtime::{Declared, Dimension, Engines, ModelFacts, Operator, Port, unfit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an ONNX file says of its model, and which engines do not run it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// How many nodes of the graph have each: `Gemm`, `ai.onnx.ml.Scaler`.
    pub operators: BTreeMap<String, u64>,
    /// By domain; empty for ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    pub parameters: u64,
    pub parameter_bytes: u64,
    pub producer: String,
    /// By engine; those that are not named have all of its operators.
    pub unfit: BTreeMap<String, Unfit>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    /// `f32`; none for what is no tensor, or of a type that cannot be passed on.
    #[serde(rename = "type")]
    pub element: Option<String>,
    /// None where the file says nothing of it.
    pub shape: Option<Vec<Size>>,
}

#[cfg(test)]
impl Tensor {
    /// One of this type and shape, in which 0 stands for any number.
    pub(crate) fn of(name: &str, element: &str, shape: &[usize]) -> Tensor {
        let size = |size: &usize| match size {
            0 => Size::Free(None),
            size => Size::Fixed(*size),
        };
        let shape = Some(shape.iter().map(size).collect());
        Tensor { name: name.into(), element: Some(element.into()), shape }
    }
}

/// A dimension: so many, or any number, by name where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Fixed(usize),
    Free(Option<String>),
}

/// Why an engine does not run the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// `lacks Loop, gets Scaler wrong`, `has all operators and is not installed here`.
    pub said: String,
    /// What helps.
    pub cures: BTreeSet<String>,
}

/// What an engine did with the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The shape that each input had.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// What came out.
    pub outputs: Vec<Tensor>,
    pub load_ms: f64,
    /// How long a run took, the fastest of some; none where it could not run on what it was given.
    pub run_ms: Option<f64>,
    /// What the process needed for it, beside itself; none where the machine does not tell.
    pub memory_bytes: Option<u64>,
    /// What was seen besides.
    pub note: Option<String>,
}

/// What a worker has beside a model: the program, readings and findings.
const WORKER_MIB: u64 = 32;
/// A limit that is not worth being looked at again.
const MEMORY_MIB_MIN: u64 = 64;

impl Trial {
    /// The memory that a worker with the model may have, so that it has room everywhere: twice what it
    /// needed here, and what a worker has beside it.
    pub fn memory_mib(&self) -> Option<u64> {
        let wanted = 2 * (self.memory_bytes? >> 20) + WORKER_MIB;
        Some(wanted.next_multiple_of(16).max(MEMORY_MIB_MIN))
    }
}

impl Facts {
    /// Collects them, for the engines that there are.
    pub fn of(model: &ModelFacts, engines: &Engines) -> Facts {
        let operators = model.operators.iter().map(|(it, count)| (it.to_string(), *count));
        let used: Vec<&Operator> = model.operators.keys().collect();
        let unfit = engines.all().into_iter().filter_map(|engine| {
            let unfit = unfit(engine, &used)?;
            let cures = unfit.cures().into_iter().map(str::to_owned).collect();
            Some((engine.name().to_owned(), Unfit { said: unfit.to_string(), cures }))
        });
        Facts {
            inputs: model.inputs.iter().map(Tensor::declared).collect(),
            outputs: model.outputs.iter().map(Tensor::declared).collect(),
            operators: operators.collect(),
            opsets: model.opsets.clone(),
            parameters: model.parameters,
            parameter_bytes: model.parameter_bytes,
            producer: model.producer.clone(),
            unfit: unfit.collect(),
        }
    }

    /// Outputs that have the form of an input, and its name or nearly so (`h` and `hn`), with that input:
    /// what a model carries from frame to frame looks so.
    pub fn carried(&self) -> Vec<(&str, &str)> {
        // One number with a name such as `power` may be measured as well.
        let is_sized = |tensor: &Tensor| {
            let shape = tensor.shape.as_deref().unwrap_or_default();
            shape.len() > 1 && shape.iter().any(|size| matches!(size, Size::Fixed(2..)))
        };
        let is_named = |input: &str, output: &str| {
            let (input, output) = (input.to_lowercase(), output.to_lowercase());
            output.starts_with(&input) || input.starts_with(&output)
        };
        let ranks = |tensor: &Tensor| tensor.shape.as_ref().map(Vec::len);
        // What has one input reads from it: an autoencoder gives what it was given.
        let several = self.inputs.iter().filter(|_| self.inputs.len() > 1);
        let pairs = several.filter(|input| is_sized(input)).filter_map(|input| {
            let output = self.outputs.iter().find(|output| {
                is_named(&input.name, &output.name)
                    && ranks(output) == ranks(input)
                    && output.element == input.element
            })?;
            Some((&*output.name, &*input.name))
        });
        pairs.collect()
    }
}

impl Tensor {
    fn declared(declared: &Declared) -> Tensor {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => Size::Fixed(*size),
            Dimension::Free(name) => Size::Free(Some(name.clone()).filter(|it| !it.is_empty())),
        };
        Tensor {
            name: declared.name.clone(),
            element: declared.element.map(|element| element.to_string()),
            shape: declared.shape.as_ref().map(|shape| shape.iter().map(size).collect()),
        }
    }

    pub fn settled(port: &Port) -> Tensor {
        Tensor {
            name: port.name().to_owned(),
            element: Some(port.element().to_string()),
            shape: Some(port.shape().iter().map(|size| Size::Fixed(*size)).collect()),
        }
    }

    /// Type and shape, for people: `f32 [n, 6, ?]`.
    pub fn form(&self) -> String {
        let element = self.element.as_deref().unwrap_or("no tensor");
        let Some(shape) = &self.shape else { return format!("{element} of any shape") };
        let size = |size: &Size| match size {
            Size::Fixed(size) => size.to_string(),
            Size::Free(name) => name.clone().unwrap_or_else(|| "?".to_owned()),
        };
        format!("{element} [{}]", shape.iter().map(size).collect::<Vec<_>>().join(", "))
    }
}
