//! A candidate that answers beside the active release, without acting.

use crate::retry::Retry;
use crate::{Installed, Starts};
use lineside_rules::{ShadowLimits, ShadowObservation};
use serde::{Deserialize, Serialize};

/// A shadow run, as it survives a power cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowRun {
    /// The release that answers beside the route.
    pub candidate: Installed,
    /// How the site wants any release to be compared, as last heard.
    #[serde(default)]
    pub policy: Box<ShadowLimits>,
    /// How often the device has started over meanwhile.
    pub starts: Starts,
    /// What was seen before the last boot.
    pub before: ShadowObservation,
    /// What has been seen over the whole shadow, compared with the release that is active now.
    pub seen: ShadowObservation,
    /// When it is started again, where something other than the release prevented it.
    pub(crate) retry: Retry,
}

impl ShadowRun {
    /// What is seen `now`, since the last boot, together with what this shadow has seen before.
    pub fn with(&self, now: &ShadowObservation) -> ShadowObservation {
        self.before.and(now)
    }

    pub(crate) fn of(candidate: Installed, policy: Box<ShadowLimits>) -> ShadowRun {
        ShadowRun {
            candidate,
            policy,
            starts: Starts::default(),
            before: ShadowObservation::default(),
            seen: ShadowObservation::default(),
            retry: Retry::default(),
        }
    }

    /// The same from the beginning, because what was seen so far says nothing any more. Starts of the
    /// device still count.
    pub(crate) fn anew(self) -> ShadowRun {
        ShadowRun { starts: self.starts, ..ShadowRun::of(self.candidate, self.policy) }
    }

    /// How often it was tried, with the attempt that has come to nothing now.
    pub(crate) fn attempts(&self) -> u32 {
        (self.starts.in_a_row() + 1).saturating_add(self.retry.attempts)
    }

    /// The same without what a power cut may cost.
    pub(crate) fn essence(&self) -> ShadowRun {
        let mut retry = self.retry.clone();
        retry.again();
        let anew = ShadowRun::of(self.candidate.clone(), self.policy.clone());
        ShadowRun { starts: self.starts.essence(), retry, ..anew }
    }
}
