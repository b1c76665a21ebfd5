//! What a slot's driver does to the world through others: the worker on the route, the checks in a
//! worker of their own, the telemetry.

use crate::update::StagedRelease;
use lineside_bundle::Digest;
use lineside_rules::{Observation, Replayed, ShadowLimits, ShadowObservation};
use lineside_update::{Event, Report};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;

/// Why something was not done with a release. Whose fault it is decides what becomes of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The release's: what it says, how it died, how long it took.
    Release(String),
    /// The disk's: a blob is no longer as it was signed.
    Damaged(String),
    /// Something else that may pass: no process can be started, somebody has ended it.
    Elsewhere(String),
    /// Nobody's: it was [given up](Hands::give_up).
    GivenUp,
    /// Nobody's: the agent stops.
    Stopping,
}

impl Failure {
    /// What the engine is told; nothing where nobody is to blame. `own` tells of the release's fault.
    pub fn event(self, release: Digest, own: fn(Digest, String) -> Event) -> Option<Event> {
        match self {
            Failure::Release(reason) => Some(own(release, reason)),
            Failure::Damaged(reason) => Some(Event::Damaged { release, reason }),
            Failure::Elsewhere(reason) => Some(Event::Interrupted { release, reason }),
            Failure::GivenUp | Failure::Stopping => None,
        }
    }
}

/// What an update would take the route from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A release that answers, or is to.
    Taken,
    /// Nothing.
    Vacant,
}

/// Whether the route may be changed now, as far as the site says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// It may.
    Given,
    /// Not now.
    Withheld {
        /// Why, for people.
        reason: String,
        /// The update has waited longer than the site wants any to wait.
        overdue: bool,
    },
}

/// The slot's worker and the telemetry, so that tests can play them.
pub trait Hands: Send + Sync + 'static {
    /// Puts `release` on the route, where another one has it between two readings, as soon as it is ready and
    /// `may` says that it may. Where it answers beside the route already, the worker that does takes the
    /// route. If it fails, the route is as before.
    ///
    /// One that is ready waits some minutes for its leave; then it is given up.
    fn place(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Has what is being placed not take the route, where it has not yet: [`Hands::place`] answers
    /// [`Failure::GivenUp`] then.
    fn give_up(&self) -> impl Future<Output = ()> + Send;
    /// Takes whatever is on the route off it; the slot gives its fail-safe output.
    fn vacate(&self, reason: &str) -> impl Future<Output = ()> + Send;
    /// What was seen of `release` since it took the route; nothing while another one has it.
    fn observation(&self, release: &Digest) -> Observation;
    /// Replays the checks of `release` in a worker of its own. Gives what that took.
    fn self_test(
        &self,
        release: &StagedRelease,
    ) -> impl Future<Output = Result<Replayed, Failure>> + Send;
    /// Has `release` answer beside the route in a worker of its own, without acting, compared with
    /// what the route answers by the tolerances of `limits`; nothing to do where it already does.
    fn shadow(
        &self,
        release: &StagedRelease,
        limits: &ShadowLimits,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// What was seen of `release` since it answers beside the route; nothing if it does not.
    fn shadowed(&self, release: &Digest) -> ShadowObservation;
    /// Has nothing answer beside the route.
    fn end_shadow(&self) -> impl Future<Output = ()> + Send;
    /// Whether the route may be changed now, as far as the site says, for an update that it has held
    /// back for so long already, in running time.
    fn consent(&self, route: Route, waited: Duration) -> impl Future<Output = Consent> + Send;
    /// The leave of what gets ready to take the route, now that the site has answered whether it may. It is
    /// none as long as a person holds the slot back, from before he is told that he does.
    fn leave(&self, given: bool) -> watch::Receiver<bool>;
    /// Has a report in the telemetry's hands, on disk; false if it is not.
    fn report(&self, report: &Report) -> impl Future<Output = bool> + Send;
}
