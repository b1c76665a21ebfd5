//! Signed documents: roots and lists of releases that people bring, assignments signed here.

mod director;
mod documents;
mod keys;

pub(crate) use director::{Assigned, Director};
pub(crate) use documents::{RELEASES_BYTES_MAX, ROOT_BYTES_MAX, Released, SignedDocuments};
pub(crate) use keys::{OnlineKeys, ServerKeys};
