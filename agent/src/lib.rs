//! The device: what `lineside-agent` is made of.
//!
//! So far: the agent's settings, its state folder, and the driver of updates with the store of
//! blobs and the journal. Sources, workers, sinks and the program around them are not there yet.

pub mod config;
pub mod fleet;
pub mod store;
pub mod update;
