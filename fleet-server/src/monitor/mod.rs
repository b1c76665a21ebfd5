//! How the fleet behaves: intervals of many devices merged over any time, and held against what releases know of
//! their training data.

mod declared;
mod drift;
mod merged;
mod overview;
mod profiles;
mod scope;
mod summary;

pub(crate) use overview::{DriftShown, Overview, SummariesShown};
#[cfg(test)]
pub(crate) use scope::Scope;
pub(crate) use scope::{AskedScope, Question};
