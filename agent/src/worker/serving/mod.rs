//! `Request -> answer`: the models of a slot's active release, for whoever asks beside the plant's readings.
//!
//! They run in a worker of their own, which is beside the route: it gives way to the one that answers
//! readings, in time as in memory, and what dies in it takes no reading with it. Requests wait here in
//! queues with a bound in rows, and those that go together are sent to the worker together.

pub mod answering;
mod keep;
mod link;
pub mod message;
mod queue;
mod served;
mod task;

pub use keep::{Means, Seat, Wanted, keep};
pub use queue::Rule;
pub(crate) use queue::bytes_of;
pub use served::{AskError, Counts, ServedModel, Serving};
