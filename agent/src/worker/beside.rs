//! A worker beside the route: it loads, is shown what the route has accounted for, and warms up.

use crate::worker::follower::Follower;
use crate::worker::message::FromWorker;
use crate::worker::placed::UNASKED;
use crate::worker::running::{Running, Stage, WorkerEvent};
use crate::worker::slot::SwapError;
use lineside_runtime::Reading;
use std::time::Instant;

/// A worker beside the route, and what it is shown.
pub(super) struct Beside {
    pub(super) worker: Running,
    /// None while the worker is loading.
    pub(super) follower: Option<Follower>,
    /// When the worker began to load or to warm up.
    pub(super) since: Instant,
}

impl Beside {
    /// A worker that was just started.
    pub(super) fn new(worker: Running) -> Beside {
        Beside { worker, follower: None, since: Instant::now() }
    }

    /// Takes that it has loaded: it begins to warm up.
    pub(super) fn loaded(&mut self) {
        self.worker.stage = Stage::Ready;
        self.since = Instant::now();
    }

    /// Takes that it has taken so many readings.
    ///
    /// # Errors
    /// It was not shown as many.
    pub(super) fn done(&mut self, count: u32) -> Result<(), SwapError> {
        match self.follower.as_mut().is_some_and(|follower| follower.done(count)) {
            true => Ok(()),
            false => Err(SwapError::Died(UNASKED.into())),
        }
    }

    /// Takes what was captured before it came.
    pub(super) fn past(&mut self, readings: Vec<Reading>) {
        if let Some(follower) = &mut self.follower {
            follower.past(readings);
        }
    }
}

/// Why a worker beside the route is of no use after an event that is none of its ordinary ones.
pub(super) fn failure(event: WorkerEvent) -> SwapError {
    match event {
        WorkerEvent::Said(FromWorker::Failed(reason)) => SwapError::Load(reason),
        WorkerEvent::Ended(end) => end.into(),
        WorkerEvent::Unstarted(reason) => SwapError::Start(reason),
        WorkerEvent::Said(_) | WorkerEvent::Past(_) => SwapError::Died(UNASKED.into()),
    }
}
