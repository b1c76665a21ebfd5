//! Whether a file with a log is what was recorded and signed, and if not, where it begins to differ.
//!
//! Memory is bounded however long the file is: the right edge of the tree, the checkpoints that whoever
//! verifies has brought, and ranges of what was erased or is withheld.

mod fault;
mod report;
mod verifier;

pub use fault::{Fault, Problem, VerifyError};
pub use report::Report;
pub use verifier::{RANGES_FOLLOWED_MAX, Verifier, verify};
