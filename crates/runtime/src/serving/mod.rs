//! `Request -> answer`: tensors that somebody brings, through the models of a bundle, beside its pipeline.
//!
//! Requests that came together are put together row by row where that changes no answer, which is tried out
//! before it is done.

mod apart;
mod models;
mod served;

pub use models::{Models, Offer, Offered, ServingBounds};
pub use served::ServeError;
