//! What was done here and by whom: the words of it, and the log of it, signed.

mod by;
mod given;
mod log;
mod said;

pub(crate) use by::By;
pub(crate) use log::Log;
pub(crate) use said::{did, digest, of_slot, release_name, text};
