//! When somebody is to be told of how a release behaves: rules on what intervals say, and what follows from one
//! interval after the other. The same code on devices and on the server.

mod actions;
mod measure;
mod monitor;
mod rule;
mod span;
#[cfg(test)]
mod tests;
mod watch;

pub use actions::Actions;
pub use measure::sketched;
pub use monitor::{Firing, Monitor, Rules, rules_of};
pub use rule::{AlertRule, Scope, Signal, Source};
