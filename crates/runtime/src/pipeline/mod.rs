//! The pipeline: `Reading -> Frame -> Prediction`, by the stages of a bundle.

mod cutter;
mod fit;
mod flow;
mod frame;
mod graph;
mod joiner;
mod lane;
mod load;
mod made;
mod model;
mod plugin;
mod profile;
mod reading;
mod said;
mod stages;
mod streams;
mod window;

pub use fit::check_fit;
pub use frame::{Fault, FrameError, FrameOutcome, Instead, Part, Span, StandIn, Unused, Value};
pub use graph::Pipeline;
pub use load::{Before, LoadError, LoadOptions};
pub(crate) use model::Seen;
pub use plugin::PluginCall;
pub use profile::profile;
pub use reading::{Reading, ReadingRef, Values};
pub use said::Said;
pub use streams::is_same_key;
