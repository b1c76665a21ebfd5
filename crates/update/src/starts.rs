//! How often the device starts over while a release is being tried.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Starts in a row that a release survives while it is being staged or tried: at the next one it is
/// taken for what makes the device start over, and given up.
pub const BOOTS_MAX: u32 = 3;
/// Running time after which whatever happened before no longer counts.
pub const QUIET: Duration = Duration::from_secs(600);

/// Starts of the device that followed soon after another, without anybody having asked for it.
///
/// A line that is switched off every evening starts often and has nothing against the release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Starts {
    in_a_row: u32,
    /// Running time since the last start.
    since: Duration,
    /// The agent was told to stop: the next start is no surprise.
    stopped: bool,
}

impl Starts {
    /// How many have followed each other so far.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    pub(crate) fn pass(&mut self, ran: Duration) {
        self.since = self.since.saturating_add(ran);
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// With the start that is happening.
    pub(crate) fn next(&self) -> Starts {
        let in_a_row = match (self.since >= QUIET, self.stopped) {
            (true, _) => 0,
            (false, true) => self.in_a_row,
            (false, false) => self.in_a_row + 1,
        };
        Starts { in_a_row, ..Starts::default() }
    }

    pub(crate) fn are_too_many(&self) -> bool {
        self.in_a_row > BOOTS_MAX
    }

    /// The same without what a power cut may cost. That the last start was long ago must not survive
    /// the next one, or a device that starts over again and again is never found out.
    pub(crate) fn essence(&self) -> Starts {
        let since = if self.since >= QUIET { QUIET } else { Duration::ZERO };
        Starts { since, ..self.clone() }
    }
}
