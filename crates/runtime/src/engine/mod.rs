//! What runs a model. One trait; every engine is tried against a bundle's checks before it is used.

mod choice;
mod classical;
mod error;
mod guard;
mod loader;
mod model;
mod nodes;
mod onnxruntime;
mod operator;
mod order;
mod registers;
#[cfg(target_pointer_width = "64")]
mod rten;
mod shapes;
mod sound;
mod thread;
mod tract;

pub use choice::Engines;
pub use error::EngineError;
pub use loader::{ENGINE_NAMES, ENGINES, Engine, Loader, fit, is_contained, unfit};
#[cfg(all(test, target_pointer_width = "64"))]
pub(crate) use model::tests::{field, model, node, value};
pub use model::{Declared, Dimension, ModelFacts, OnnxModel};
pub use onnxruntime::{Onnxruntime, SharedLibrary};
pub use operator::{Objection, Operator, Reason, Refusal, Unfit};
pub use thread::in_engine_thread;
