//! The release that is to take the route: it loads, warms up beside the one that has it, and takes
//! over between two readings.

use crate::update::StagedRelease;
use crate::worker::message::FromWorker;
use crate::worker::outage::Outage;
use crate::worker::placed::{Placed, UNASKED};
use crate::worker::route::{Feed, Shape};
use crate::worker::running::{Running, Stage, WorkerEvent};
use crate::worker::seen::Seen;
use crate::worker::slot::{SwapError, lock};
use crate::worker::task::Task;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest that a candidate may take to see the readings that warm it up.
const WARM_UP_MAX: Duration = Duration::from_secs(60);

/// A release on its way to the route.
pub(super) struct Candidate {
    pub(super) release: StagedRelease,
    pub(super) worker: Running,
    pub(super) feed: Option<Feed>,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<(), SwapError>>,
}

impl Task {
    pub(super) fn supersede(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            let _ = candidate.reply.send(Err(SwapError::Superseded));
        }
    }

    pub(super) fn refuse(
        &mut self,
        reply: oneshot::Sender<Result<(), SwapError>>,
        error: SwapError,
    ) {
        if self.placed.is_none() {
            let reason = format!("the release could not be started: {error}");
            self.tell_vacant(&reason);
        }
        let _ = reply.send(Err(error));
    }

    pub(super) fn candidate_said(&mut self, event: WorkerEvent) {
        let Some(candidate) = &mut self.candidate else { return };
        candidate.worker.heard = Instant::now();
        let failed = match event {
            WorkerEvent::Said(FromWorker::Loaded) if candidate.worker.stage == Stage::Loading => {
                candidate.worker.stage = Stage::Ready;
                candidate.since = Instant::now();
                let same_port = self
                    .placed
                    .as_ref()
                    .is_some_and(|p| *p.port == *candidate.release.manifest.bundle.port().1);
                // A dead or foreign worker on the route is not worth waiting for.
                if self.feed.is_none() || !same_port {
                    self.take_route();
                } else {
                    candidate.feed = Some(Feed::warming(&self.route));
                }
                None
            }
            WorkerEvent::Said(FromWorker::Done(count)) => {
                let honest = candidate.feed.as_mut().is_some_and(|feed| feed.done(count));
                (!honest).then(|| SwapError::Died(UNASKED.into()))
            }
            // What it answers while it warms up has been accounted for.
            WorkerEvent::Said(FromWorker::Outcome(_)) => None,
            WorkerEvent::Said(FromWorker::Failed(reason)) => Some(SwapError::Load(reason)),
            WorkerEvent::Said(
                FromWorker::Loaded | FromWorker::Finished | FromWorker::Checked(_),
            ) => Some(SwapError::Died(UNASKED.into())),
            WorkerEvent::Ended(end) => Some(end.into()),
        };
        if let Some(error) = failed {
            self.candidate_failed(error);
        }
    }

    pub(super) fn candidate_failed(&mut self, error: SwapError) {
        if let Some(candidate) = self.candidate.take() {
            if self.placed.is_none() {
                let reason = format!("{} could not be started: {error}", candidate.release.release);
                self.tell_vacant(&reason);
            }
            let _ = candidate.reply.send(Err(error));
        }
    }

    /// Changes the route to the candidate, between two readings.
    pub(super) fn take_route(&mut self) {
        let Some(candidate) = self.candidate.take() else { return };
        let Candidate { release, worker, feed, reply, .. } = candidate;
        let bundle = &release.manifest.bundle;
        let (rows, stride) = bundle.window();
        let shape = Shape {
            rows: u64::from(rows),
            stride: u64::from(stride),
            warm_up: bundle.warm_up_readings,
        };
        let port = Arc::new(bundle.port().1.clone());
        self.remember(bundle);
        self.route.set_shape(shape);
        self.change_port(&port);
        let feed = match feed {
            Some(mut feed) => {
                feed.go_live(&self.route);
                feed
            }
            None => Feed::again(&self.route, false),
        };
        tracing::info!(slot = %self.parts.slot, "{} has the route", release.release);
        self.parts.witness.placed(&self.parts.slot, &release.release, bundle);
        self.feed = Some(feed);
        self.deaths.clear();
        self.told_vacant = None;
        // Before anybody is told of the swap: a trial must not be judged by its forerunner's frames.
        *lock(&self.shared.seen) = Some((release.release.digest, Seen::default()));
        self.placed = Some(Placed {
            id: Arc::new(release.release.clone()),
            release,
            port: port.clone(),
            worker: Some(worker),
            restart_at: Instant::now(),
            deaths: 0,
            careful: false,
            finishing: false,
            outage: Outage::default(),
        });
        self.port.send_if_modified(|now| {
            let differs = now.as_deref() != Some(&*port);
            if differs {
                *now = Some(port);
            }
            differs
        });
        let _ = reply.send(Ok(()));
    }

    /// Gives up a candidate that takes too long.
    pub(super) fn look_at_candidate(&mut self) {
        if let Some(candidate) = &self.candidate {
            let waited = candidate.since.elapsed();
            let slow = match candidate.worker.stage {
                Stage::Loading if waited > self.parts.limits.load => Some("load"),
                Stage::Ready if waited > WARM_UP_MAX => Some("warm up"),
                Stage::Loading | Stage::Ready => None,
            };
            if let Some(doing) = slow {
                self.candidate_failed(SwapError::Slow(doing));
            }
        }
    }
}
