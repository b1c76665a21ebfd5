//! When to act: limits on how a release may behave, and the verdict on what was observed.
//!
//! Evaluated alike on device and server. Reads no clock and no file.

mod check;
mod limits;
mod verdict;

pub use limits::{Range, TrialLimits};
pub use verdict::{Breach, Observation, Verdict, judge};
