//! What runs a model. One trait; every engine is tried against a bundle's checks before it is used.

pub mod operators;
pub mod tract;

use crate::tensor::{Port, PortError, Tensor};

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not an ONNX model.
    #[error("it is no ONNX model: {0}")]
    Format(String),
    /// Operators that the engine does not have, by name.
    #[error("the engine lacks operator {}", .0.join(", "))]
    Operators(Vec<String>),
    /// Understood, and still not possible.
    #[error("the engine cannot load it: {0}")]
    Load(String),
    /// An element type we do not pass on.
    #[error("{tensor} is of type {element}, only f32, i64 and bool can be passed")]
    Element {
        /// The model's input or output.
        tensor: String,
        /// Its type.
        element: String,
    },
    /// An input or output that cannot be passed on.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Failed while running.
    #[error("the model failed: {0}")]
    Run(String),
    /// The answer holds NaN or infinity.
    #[error("output {0} is not finite")]
    NotFinite(String),
}

/// A loaded model.
pub trait Engine: Send {
    /// What it takes, in order.
    fn inputs(&self) -> &[Port];
    /// What it gives, in order.
    fn outputs(&self) -> &[Port];
    /// Runs the model on tensors of exactly the declared shapes and types.
    ///
    /// # Errors
    /// [`EngineError::Run`], or [`EngineError::NotFinite`] for an answer nobody may act on.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError>;
}
