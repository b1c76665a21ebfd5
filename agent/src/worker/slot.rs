//! The handle to a slot's data way.

use crate::update::StagedRelease;
use lineside_bundle::ReleaseId;
use lineside_rules::Observation;
use tokio::sync::mpsc;

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
}

/// Why a release did not take the route. The route is as it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SwapError {
    /// It does not load.
    #[error("{0}")]
    Load(String),
    /// Its worker died before it took the route.
    #[error("its worker died: {0}")]
    Died(String),
    /// It took too long to load or to warm up.
    #[error("it took too long to {0}")]
    Slow(&'static str),
    /// Another change of the route came in between.
    #[error("another change of the route came in between")]
    Superseded,
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// A slot: its source, its worker on the route, its findings.
#[derive(Clone)]
pub struct SlotHandle {}

impl SlotHandle {
    /// Starts `release` as what the slot runs. Answers when it has taken the route.
    ///
    /// # Errors
    /// [`SwapError`].
    pub async fn run(&self, release: &StagedRelease) -> Result<(), SwapError> {
        self.swap(release).await
    }

    /// Starts a second worker, warms it up, and changes the route to it between two readings.
    /// The old worker is stopped after the change.
    ///
    /// # Errors
    /// [`SwapError`]; the route is as it was.
    pub async fn swap(&self, to: &StagedRelease) -> Result<(), SwapError> {
        let _ = to;
        Err(SwapError::Stopping)
    }

    /// Takes whatever is on the route off it; the slot gives its fail-safe output once.
    pub async fn vacate(&self, reason: &str) {
        let _ = reason;
    }

    /// What was seen of the release on the route since it took it.
    pub fn observation(&self) -> Observation {
        Observation::default()
    }

    /// Events from now on; when the receiver does not keep up, events are dropped.
    pub fn subscribe(&self) -> mpsc::Receiver<SlotEvent> {
        mpsc::channel(1).1
    }

    /// Waits until everything accepted so far is accounted for and committed.
    pub async fn drain(&self) {}
}
