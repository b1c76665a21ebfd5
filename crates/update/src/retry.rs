//! When something that came to nothing is tried again.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest pause before the next attempt.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Attempts that came to nothing, and the running time until the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Retry {
    /// Attempts in a row that came to nothing.
    pub(crate) attempts: u32,
    /// Running time until the next one; none while none is due.
    pub(crate) wait: Option<Duration>,
}

impl Retry {
    /// Another attempt came to nothing: the next one is due after 1 s, doubled by each before.
    pub(crate) fn later(&mut self) {
        let pause = Duration::from_secs(1 << self.attempts.min(10)).min(PAUSE_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.wait = Some(pause);
    }

    pub(crate) fn pass(&mut self, ran: Duration) {
        self.wait = self.wait.map(|wait| wait.saturating_sub(ran));
    }

    pub(crate) fn is_due(&self) -> bool {
        self.wait == Some(Duration::ZERO)
    }

    /// The next attempt is made.
    pub(crate) fn again(&mut self) {
        self.wait = None;
    }
}
