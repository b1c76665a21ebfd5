//! The device: what `lineside-agent` is made of.
//!
//! Data: `SensorMessage -> Reading -> Frame -> Prediction -> Finding`, through `source`, `worker`
//! and `sink`. Updates: `Assignment -> TrustedTarget -> Blob -> StagedRelease -> Candidate ->
//! Committed | RolledBack`, through `fleet` and `update`. `daemon` is the only module that knows
//! all others.

pub mod config;
pub mod fleet;
pub mod store;
pub mod update;
pub mod worker;
