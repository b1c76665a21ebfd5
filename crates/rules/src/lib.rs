//! When to act: limits on how a release may behave, and the verdict on what was observed.
//!
//! Evaluated alike on device and server. Reads no clock and no file.

mod alert;
mod capture;
mod check;
mod comparison;
mod distribution;
mod limits;
mod shadow;
mod site;
mod staging;
mod verdict;

pub use alert::{
    Actions, AlertRule, Firing, Monitor, Rules, Scope, Signal, Source, rules_of, sketched,
};
pub use capture::CaptureLimits;
pub use comparison::{Agreement, ShadowObservation, judge_shadow};
pub use distribution::{DistanceLimits, OUTPUTS_MAX, Values};
pub use limits::{Range, TrialLimits};
pub use shadow::{Decide, EVERY_OUTPUT, ShadowLimits, Since, Tolerance};
pub use site::{LogLimits, SitePolicy, SlotPolicy};
pub use staging::{Budget, Replayed, judge_replay};
pub use verdict::{Against, Breach, Observation, Verdict, judge};
