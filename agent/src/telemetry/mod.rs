//! `Frame -> Interval -> Record -> server`: what the device tells of its slots, in few bytes.
//!
//! `summarise` counts in the readings' own time, so that a recording replayed a thousand times
//! faster gives the same intervals; `counting` has that done beside the slots. `judging` judges what has
//! ended by the rules of the slot, which then acts. `outcomes` joins what was answered with what became of
//! it. `spool` keeps records on disk until the server has said that
//! they are stored. Telemetry gives way where it must; inference never waits for it.

mod backfill;
#[cfg(test)]
mod chaos;
mod counting;
mod handle;
mod judging;
pub mod outcomes;
mod resources;
mod sending;
pub mod spool;
pub mod summarise;

pub use handle::{TelemetryHandle, TelemetryParts};
pub use judging::{Fires, firing};
