//! Why a model cannot be loaded or run.

use super::operator::Refusal;
use crate::tensor::PortError;

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not an ONNX model.
    #[error("it is no ONNX model: {0}")]
    Format(String),
    /// Weights outside the file. Nothing outside a bundle's file belongs to it.
    #[error("tensor {0} lies in another file: save the model in one (save_as_external_data=False)")]
    External(String),
    /// Weights of which only those are kept that are not nought.
    #[error(
        "it has sparse weights, which {0} does not take: save them as plain initializers, or run it in onnxruntime"
    )]
    Sparse(&'static str),
    /// Operators that no engine asked has, or gets right.
    #[error("no engine here runs it: {0}")]
    Refused(Refusal),
    /// An engine that this device does not have.
    #[error("there is no engine {wanted} here, only {}", .there.join(", "))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Those that there are.
        there: Vec<&'static str>,
    },
    /// Engines that have all operators, and still none can load it.
    #[error("no engine here runs it: {}", told(.0))]
    Unloaded(Vec<(&'static str, EngineError)>),
    /// Understood, and still not possible.
    #[error("cannot load it: {0}")]
    Load(String),
    /// An element type that cannot be passed.
    #[error("{tensor} is {element}, which {by} does not take")]
    Element {
        /// The model's input or output.
        tensor: String,
        /// Its type.
        element: String,
        /// Who does not take it.
        by: &'static str,
    },
    /// An input whose shape cannot be settled.
    #[error("input {input} is {form}: {problem}")]
    Shape {
        /// The model's input.
        input: String,
        /// What it is in the file.
        form: String,
        /// What is the matter.
        problem: String,
    },
    /// An input or output that cannot be passed on.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Something else came than what the model takes.
    #[error("{0}")]
    Input(String),
    /// Failed while running.
    #[error("the model failed: {0}")]
    Run(String),
    /// The answer holds NaN or infinity.
    #[error("output {0} is not finite")]
    NotFinite(String),
    /// A tensor within the model holds NaN, of which the engine would make a number.
    #[error("{0}, within the model, is not finite")]
    NotFiniteWithin(String),
    /// Numbers within a model from which on it is not certain any more that its answer is one.
    #[error(
        "{tensor}, within the model, has numbers beyond {limit:e}, of which nothing is certain"
    )]
    Beyond {
        /// The tensor.
        tensor: String,
        /// The largest size that is certain.
        limit: f64,
    },
}

impl EngineError {
    /// Whether a frame is without an answer because numbers of it are none, or too large.
    pub fn is_not_finite(&self) -> bool {
        use EngineError::{Beyond, NotFinite, NotFiniteWithin};
        matches!(self, NotFinite(_) | NotFiniteWithin(_) | Beyond { .. })
    }
}

fn told(errors: &[(&'static str, EngineError)]) -> String {
    let told = errors.iter().map(|(engine, error)| format!("{engine}: {error}"));
    told.collect::<Vec<_>>().join("; ")
}
