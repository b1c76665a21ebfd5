//! The handle to a slot's data way.

use crate::ledger::SlotCounts;
use crate::lock::lock;
use crate::source::Ports;
use crate::update::StagedRelease;
use crate::worker::compare::Comparison;
use crate::worker::process::End;
use crate::worker::seen::Seen;
use crate::worker::task::Command;
use lineside_bundle::{Digest, Port, ReleaseId};
use lineside_rules::{Observation, ShadowLimits, ShadowObservation};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot, watch};

/// Events that wait for one subscriber.
const EVENTS_MAX: usize = 64;

/// What a slot tells whoever subscribed.
#[derive(Debug, Clone)]
pub enum SlotEvent {
    /// The worker on the route died. It is being started again.
    WorkerFailed {
        /// The release that it ran.
        release: ReleaseId,
        /// Why, for people.
        reason: String,
    },
    /// Somebody else has ended the worker on the route: a person, or a system that has no memory left.
    /// That says nothing about the release. It is being started again.
    WorkerKilled {
        /// The release that it ran.
        release: ReleaseId,
        /// How, for people.
        reason: String,
    },
    /// A plugin of the release on the route broke too often and is not run any more.
    Quarantined {
        /// The release.
        release: ReleaseId,
        /// Which plugin, for people.
        reason: String,
    },
}

/// Why a release did not take the route. The route is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// It does not load.
    #[error("{0}")]
    Load(String),
    /// Its worker died before it took the route.
    #[error("its worker died: {0}")]
    Died(String),
    /// Somebody else has ended its worker.
    #[error("its worker was ended from outside: {0}")]
    Killed(String),
    /// No worker can be started now.
    #[error("{0}")]
    Start(String),
    /// It took too long to load or to warm up.
    #[error("it took too long to {0}")]
    Slow(&'static str),
    /// It cannot be compared with the release on the route.
    #[error("it cannot answer beside {active}: {problem}")]
    Beside {
        /// The release on the route.
        active: ReleaseId,
        /// Why.
        problem: String,
    },
    /// Nothing has the route beside which it could answer.
    #[error("nothing has the route beside which it could answer")]
    Vacant,
    /// It was given up before it took the route.
    #[error("it was given up")]
    GivenUp,
    /// Another change of the route came in between.
    #[error("another change of the route came in between")]
    Superseded,
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// Why a slot's task has ended although nobody asked for it. The agent cannot go on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Nothing can be committed any more.
    #[error("the ledger is gone, so nothing that the slot does would be kept")]
    Ledger,
    /// A mistake of ours.
    #[error("the slot's task broke down: {0}")]
    Broken(String),
}

impl SwapError {
    /// What a worker does before it takes readings, in [`SwapError::Slow`].
    pub const LOAD: &str = "load";
}

impl From<End> for SwapError {
    fn from(end: End) -> SwapError {
        match end {
            End::Itself(how) => SwapError::Died(how),
            End::Killed(how) => SwapError::Killed(how),
        }
    }
}

/// What can be seen of a slot at any time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SlotView {
    /// What has the route.
    pub release: Option<ReleaseId>,
    /// Whether a worker is ready to answer.
    pub answering: bool,
    /// What the slot has counted since it exists.
    pub counts: SlotCounts,
    /// Readings accepted that no frame has accounted for yet.
    pub owed: u64,
    /// Which plugin broke too often and is not run any more; none if each is run.
    pub quarantined: Option<String>,
    /// The recording has ended and everything is accounted for and committed.
    pub ended: bool,
}

/// What the slot's task shares with its handles.
#[derive(Default)]
pub(super) struct Shared {
    /// What was seen of the release on the route, and which that is.
    pub seen: Mutex<Option<(Digest, Seen)>>,
    /// What was seen of the release beside the route, and which that is.
    pub shadow: Mutex<Option<(Digest, Comparison)>>,
    pub subscribers: Mutex<Vec<mpsc::Sender<SlotEvent>>>,
}

impl Shared {
    pub(super) fn tell(&self, event: &SlotEvent) {
        // A full subscriber misses it; one that is gone is forgotten.
        lock(&self.subscribers).retain(|subscriber| {
            !matches!(subscriber.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }
}

/// A slot: its source, its worker on the route, its findings.
#[derive(Clone)]
pub struct SlotHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Receiver<SlotView>,
    pub(super) port: watch::Receiver<Option<Arc<Port>>>,
    pub(super) ports: watch::Receiver<Option<Arc<Ports>>>,
    pub(super) end: watch::Receiver<Option<Result<(), SlotError>>>,
}

impl SlotHandle {
    /// Puts `release` on the route. Where another one has it, starts a second worker, or takes the one
    /// that answers beside the route already, warms it up, and changes the route to it between two
    /// readings: what no frame has accounted for then is for the new worker to answer. The old one is
    /// stopped.
    ///
    /// # Errors
    /// [`SwapError`]; the route is as it was.
    pub async fn place(&self, release: &StagedRelease) -> Result<(), SwapError> {
        self.place_when(release, watch::channel(true).1).await
    }

    /// The same, as soon as `may` says that it may. A candidate that is ready follows the route until then,
    /// for some minutes.
    ///
    /// # Errors
    /// [`SwapError`]; the route is as it was.
    pub async fn place_when(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> Result<(), SwapError> {
        let (reply, replied) = oneshot::channel();
        let command = Command::Place { release: Box::new(release.clone()), may, reply };
        self.commands.send(command).await.map_err(|_| SwapError::Stopping)?;
        replied.await.unwrap_or(Err(SwapError::Stopping))
    }

    /// Has what is being placed not take the route, where it has not yet.
    pub async fn give_up(&self) {
        // A slot that is gone places nothing any more.
        let _ = self.commands.send(Command::GiveUp).await;
    }

    /// Has `release` answer beside the route in a worker of its own, at lower priority. It sees what
    /// the release on the route has answered; its answers are compared, and go nowhere. Answers when
    /// its worker has loaded. Where it answers already, only the limits are new.
    ///
    /// # Errors
    /// [`SwapError`]; there is then no shadow, and the route is as it was.
    pub async fn shadow(
        &self,
        release: &StagedRelease,
        limits: &ShadowLimits,
    ) -> Result<(), SwapError> {
        let (reply, replied) = oneshot::channel();
        let (release, limits) = (Box::new(release.clone()), limits.clone());
        let command = Command::Shadow { release, limits, reply };
        self.commands.send(command).await.map_err(|_| SwapError::Stopping)?;
        replied.await.unwrap_or(Err(SwapError::Stopping))
    }

    /// What was seen of `release` since it answers beside the route; nothing if it does not.
    pub fn shadowed(&self, release: &Digest) -> ShadowObservation {
        let shadow = lock(&self.shared.shadow);
        let shadow = shadow.as_ref().filter(|(of, _)| of == release);
        shadow.map(|(_, comparison)| comparison.observation()).unwrap_or_default()
    }

    /// Has nothing answer beside the route.
    pub async fn end_shadow(&self) {
        let (reply, replied) = oneshot::channel();
        if self.commands.send(Command::EndShadow { reply }).await.is_ok() {
            let _ = replied.await;
        }
    }

    /// Takes whatever is on the route off it; the slot gives its fail-safe output once.
    pub async fn vacate(&self, reason: &str) {
        let (reply, replied) = oneshot::channel();
        let command = Command::Vacate { reason: reason.to_owned(), reply };
        if self.commands.send(command).await.is_ok() {
            let _ = replied.await;
        }
    }

    /// Tells the plant, where nothing has the route, that this goes on; once, by the fail-safe output.
    pub async fn late(&self, reason: &str) {
        // A slot that is gone says nothing any more.
        let _ = self.commands.send(Command::Late { reason: reason.to_owned() }).await;
    }

    /// Tells the slot of a release that is verified, and is to be tried if its checks agree. While
    /// the slot has nothing else, the fail-safe output is that release's.
    pub async fn verified(&self, release: &StagedRelease) {
        let command = Command::Verified { release: Box::new(release.clone()) };
        // A slot that is gone says nothing any more.
        let _ = self.commands.send(command).await;
    }

    /// What was seen of `release` since it took the route; nothing while another one has it.
    pub fn observation(&self, release: &Digest) -> Observation {
        let seen = lock(&self.shared.seen);
        let seen = seen.as_ref().filter(|(of, _)| of == release);
        seen.map(|(_, seen)| seen.observation()).unwrap_or_default()
    }

    /// Events from now on; when the receiver does not keep up, events are dropped.
    pub fn subscribe(&self) -> mpsc::Receiver<SlotEvent> {
        let (subscriber, events) = mpsc::channel(EVENTS_MAX);
        lock(&self.shared.subscribers).push(subscriber);
        events
    }

    /// Takes no more readings, and waits until the worker has seen all that were taken and the
    /// outcome is committed. The slot then stops for good.
    pub async fn drain(&self) {
        let (reply, replied) = oneshot::channel();
        if self.commands.send(Command::Drain { reply }).await.is_ok() {
            let _ = replied.await;
        }
    }

    /// Waits until the slot's task has ended: it does so when it is drained, and by an error.
    ///
    /// # Errors
    /// [`SlotError`].
    pub async fn ended(&self) -> Result<(), SlotError> {
        let mut end = self.end.clone();
        let end = end.wait_for(Option::is_some).await;
        // Who tells the end outlives the task, but for the end of the whole runtime.
        end.ok().and_then(|end| end.clone()).unwrap_or(Ok(()))
    }

    /// What can be seen of the slot.
    pub fn view(&self) -> watch::Receiver<SlotView> {
        self.view.clone()
    }

    /// The port that the source is to read rows for; none while the slot takes no readings.
    pub fn port(&self) -> watch::Receiver<Option<Arc<Port>>> {
        self.port.clone()
    }

    /// As [`SlotHandle::port`], of a slot with a source for each port.
    pub fn ports(&self) -> watch::Receiver<Option<Arc<Ports>>> {
        self.ports.clone()
    }
}
