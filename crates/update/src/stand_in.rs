//! What answers in a slot that never had a committed release, until its successor's trial begins.

use crate::{Installed, Starts};
use serde::{Deserialize, Serialize};

/// The candidate of a first trial that another assignment has ended. It keeps the route, because
/// the slot would give nothing but its fail-safe output until the next candidate is ready.
///
/// It is not committed by that, however long it stands in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StandIn {
    pub(crate) release: Installed,
    /// How often the device has started over since.
    pub(crate) starts: Starts,
}
