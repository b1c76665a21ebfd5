//! The fleet server: one process with broker, database, artifacts and pages.
//!
//! The data's way, folder by folder: `broker` takes messages of known devices only and waits until
//! `ingest` has turned each into facts, `store` keeps them, `monitor` sees the fleet as a whole and what is wrong
//! with it, `registry`, `artifact` and `release` are what people bring, `rollout` brings it to the fleet, `api`
//! shows it all. `identity` says which devices are let in, `access` what people and programs may do, `audit` what was
//! done. It signs assignments and nothing else; releases are signed elsewhere.

mod backup;
mod bounds;
mod config;
mod descriptors;
mod error;
mod fleet;
mod http;
mod quiet;
mod secret_file;
mod server;
mod traces;

mod access;
mod api;
mod artifact;
mod audit;
mod broker;
mod identity;
mod ingest;
mod monitor;
mod registry;
mod release;
mod rollout;
mod store;
mod strangers;

pub mod cli;
pub mod log;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use server::Server;
