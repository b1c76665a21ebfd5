//! Signed documents: what people bring, what is signed here, and the repository that they make.

mod clock;
mod dates;
mod director;
mod documents;
mod kept;
mod keys;
mod listed;
mod memo;
mod own;
mod questions;
mod released;
mod repository;

pub(crate) use clock::Clock;
pub(crate) use director::{Assigned, Director, Tried, is_behind};
pub(crate) use documents::{
    FILE_BYTES_MAX, RELEASES_BYTES_MAX, ROLE_BYTES_MAX, ROOT_BYTES_MAX, SignedDocuments,
};
pub(crate) use keys::{OnlineKeys, ServerKeys};
pub(crate) use own::Own;
pub(crate) use questions::Questions;
pub(crate) use released::Released;
pub(crate) use repository::Repository;
