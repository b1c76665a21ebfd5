//! The device: what `lineside-agent` is made of.
//!
//! Data: `SensorMessage -> Reading -> Frame -> Prediction -> Finding`, through `source`, `worker`,
//! `ledger` and `sink`; `capture` keeps the last of it. Updates: `Assignment -> TrustedTarget ->
//! Blob -> StagedRelease -> Candidate -> Committed | RolledBack`, through `fleet` and `update`.
//! `daemon` puts them together.

// What tests share names the crate as tests outside of it do.
#[cfg(test)]
extern crate self as lineside_agent;
#[cfg(test)]
#[path = "../tests/kit/medium.rs"]
mod test_medium;

pub mod api;
pub mod backoff;
pub mod capture;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod database;
pub mod error;
pub mod failpoint;
pub mod fleet;
mod heavy;
pub mod ledger;
pub mod local;
pub mod lock;
pub mod log;
pub mod medium;
pub mod plant;
pub mod sink;
pub mod source;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod update;
pub mod worker;
