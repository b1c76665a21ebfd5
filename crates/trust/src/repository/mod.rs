//! A whole TUF repository, followed from a pinned root: root, timestamp, snapshot, targets and what
//! they delegate (The Update Framework specification 1.0, section 5).

mod client;
mod error;
mod file;
mod link;
mod memory;
pub(crate) mod rules;

pub use client::{Client, Versions};
pub use error::{Fault, RepositoryError};
pub use file::{FileCheck, TrustedFile};
pub use link::{Mirror, Shelf};
pub use memory::{Carried, InMemory};
