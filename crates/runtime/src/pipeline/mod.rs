//! The pipeline: `Reading -> Frame -> Prediction`, by the stages of a bundle.

mod fit;
mod flow;
mod frame;
mod graph;
mod load;
mod made;
mod model;
mod stages;
mod window;

pub use fit::check_fit;
pub use frame::{Fault, FrameError, FrameOutcome, PLUGIN_BROKE, Part, Reading, Value};
pub use graph::Pipeline;
pub use load::{LoadError, LoadOptions};
pub(crate) use model::Seen;
