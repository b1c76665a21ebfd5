//! A candidate that waits for people: for an approval, or until the site lets the route be changed.

use crate::{Installed, Starts};
use lineside_bundle::Digest;
use lineside_rules::{Decide, ShadowLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Different reasons that are reported of one wait; the note always has the last one.
const REASONS_MAX: usize = 8;

/// A candidate that may take the route when people let it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The release.
    pub candidate: Installed,
    /// Whether a person has to approve it first.
    pub decide: Decide,
    /// How the site wants any release to be compared, as last heard.
    #[serde(default)]
    pub policy: Box<ShadowLimits>,
    /// What it was compared with; none where there was nothing.
    pub(crate) compared: Option<Compared>,
    /// Why the site does not let the route be changed, as last heard.
    pub withheld: Option<Withheld>,
    /// How long the device has been running since the site withholds its consent. What a candidate has
    /// waited for a person counts for nobody's deadline.
    pub ran: Duration,
    /// Reasons that have been reported.
    told: BTreeSet<String>,
    /// How often the device has started over while it was about to take the route.
    #[serde(default)]
    pub(crate) starts: Starts,
    /// How often something else has kept it from taking the route.
    #[serde(default)]
    pub(crate) attempts: u32,
}

/// That a candidate has answered as it should beside another release, as far as anybody asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) with: Digest,
    pub(crate) by: Box<ShadowLimits>,
}

/// Why the site does not let the route be changed now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// For people.
    pub reason: String,
    /// Whether it takes longer than the site wants any update to wait.
    pub overdue: bool,
}

impl Held {
    pub(crate) fn of(
        candidate: Installed,
        policy: Box<ShadowLimits>,
        compared: Option<Compared>,
        decide: Decide,
    ) -> Held {
        let (withheld, ran, told) = (None, Duration::ZERO, BTreeSet::new());
        let (starts, attempts) = (Starts::default(), 0);
        Held { candidate, decide, policy, compared, withheld, ran, told, starts, attempts }
    }

    /// Takes note of why the site withholds its consent. Returns whether people have not been told.
    pub(crate) fn withhold(&mut self, reason: String, overdue: bool) -> bool {
        // What is overdue once stays so, whatever the reason becomes.
        let overdue = overdue || self.is_overdue();
        let news = self.told.len() < REASONS_MAX && self.told.insert(reason.clone());
        self.withheld = Some(Withheld { reason, overdue });
        news
    }

    /// The site is not asked while a person is.
    pub(crate) fn wait_for_person(&mut self) {
        self.withheld = None;
    }

    pub(crate) fn pass(&mut self, ran: Duration) {
        if self.withheld.is_some() {
            self.ran = self.ran.saturating_add(ran);
        }
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.withheld.as_ref().is_some_and(|withheld| withheld.overdue)
    }

    /// The same without what a power cut may cost.
    pub(crate) fn essence(&self) -> Held {
        // A reason may have a number in it that changes every second.
        let quiet = |it: &Withheld| Withheld { reason: String::new(), overdue: it.overdue };
        let withheld = self.withheld.as_ref().map(quiet);
        Held { ran: Duration::ZERO, withheld, starts: self.starts.essence(), ..self.clone() }
    }
}
