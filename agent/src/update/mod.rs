//! `Assignment -> TrustedTarget -> Blob -> StagedRelease -> Candidate -> Committed | RolledBack`
//!
//! The driver of `lineside_update`: the engine decides, the folder's other modules do. Every state
//! is journaled before its effects are carried out, and every effect may be repeated.

// Documents come from the server and from files, and what is believed of them is written down.
pub mod acceptance;
pub mod driver;
pub mod journal;
pub mod parcel;
pub mod shelf;

// Each slot is told what it shall hold, and does one thing after the other.
mod job;
pub mod slot;
pub mod states;

// Would a release run here?
pub mod preflight;
pub mod surroundings;

// Blobs are fetched, or made from what is here.
mod bearer;
mod deltas;
pub mod download;
pub mod limits;
mod server;

// They are kept as long as somebody needs them.
pub mod blobs;
pub mod disk;
pub mod garbage;

// What is whole is staged, and comes on the route when the site lets it.
pub mod consent;
pub mod engines;
pub mod hands;
pub mod library;
pub mod stage;

pub use stage::StagedRelease;
