//! `Assignment -> TrustedTarget -> Blob -> StagedRelease -> Candidate -> Committed | RolledBack`
//!
//! The driver of `lineside_update`: the engine decides, the folder's other modules do. Every state
//! is journaled before its effects are carried out, and every effect may be repeated.

pub mod acceptance;
mod bearer;
pub mod blobs;
pub mod consent;
mod deltas;
pub mod disk;
pub mod download;
pub mod driver;
pub mod garbage;
pub mod hands;
mod job;
pub mod journal;
pub mod limits;
pub mod parcel;
pub mod preflight;
mod server;
pub mod shelf;
pub mod slot;
pub mod stage;
pub mod states;
pub mod surroundings;

pub use stage::StagedRelease;
