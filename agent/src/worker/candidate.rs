//! The release that is to take the route: it loads, warms up beside the one that has it, and takes
//! over between two readings.

use crate::lock::lock;
use crate::source::Ports;
use crate::update::StagedRelease;
use crate::worker::beside::{Beside, failure};
use crate::worker::follower::Follower;
use crate::worker::message::FromWorker;
use crate::worker::outage::Outage;
use crate::worker::placed::Placed;
use crate::worker::route::{Feed, Shape};
use crate::worker::running::{Stage, WorkerEvent};
use crate::worker::seen::Seen;
use crate::worker::slot::SwapError;
use crate::worker::task::{IN_FLIGHT_MAX, SEND_READINGS, Task};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Longest that a candidate may take to see the readings that warm it up.
pub(super) const WARM_UP_MAX: Duration = Duration::from_secs(60);
/// Longest of that which it waits for what was captured: the capture is a convenience, and a disk that
/// hangs is no fault of a release.
const PAST_MAX: Duration = Duration::from_secs(10);
/// Longest that a warm candidate waits for a moment in which nothing is under way.
const MOMENT_MAX: Duration = Duration::from_millis(200);
/// Longest that a candidate that is ready waits for its leave: its worker takes memory.
const LEAVE_MAX: Duration = Duration::from_secs(300);

/// A release on its way to the route.
pub(super) struct Candidate {
    release: StagedRelease,
    pub(super) beside: Beside,
    /// Whether it may take the route.
    may: watch::Receiver<bool>,
    /// When it was ready, but for its leave.
    ready: Option<Instant>,
    /// When it had both; from then on it waits for its moment.
    since: Option<Instant>,
    reply: oneshot::Sender<Result<(), SwapError>>,
}

impl Candidate {
    pub(super) fn new(
        release: StagedRelease,
        beside: Beside,
        may: watch::Receiver<bool>,
        reply: oneshot::Sender<Result<(), SwapError>>,
    ) -> Candidate {
        Candidate { release, beside, may, ready: None, since: None, reply }
    }

    /// It is ready. Returns since when it may take the route, where it may.
    fn waits(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.ready.get_or_insert(now);
        if *self.may.borrow() {
            Some(*self.since.get_or_insert(now))
        } else {
            self.since = None;
            None
        }
    }
}

impl Task {
    pub(super) fn supersede(&mut self) {
        self.end_candidate(SwapError::Superseded);
    }

    /// Has nothing be placed any more, through no fault of the candidate.
    pub(super) fn end_candidate(&mut self, why: SwapError) {
        if let Some(candidate) = self.candidate.take() {
            let _ = candidate.reply.send(Err(why));
        }
    }

    pub(super) fn candidate_said(&mut self, event: WorkerEvent) {
        let Some(candidate) = &mut self.candidate else { return };
        let beside = &mut candidate.beside;
        beside.worker.heard = Instant::now();
        let taken = match event {
            WorkerEvent::Said(FromWorker::Loaded) if beside.worker.stage == Stage::Loading => {
                beside.loaded();
                let ports = &candidate.release.manifest.bundle.inputs;
                let same_port = self
                    .placed
                    .as_ref()
                    .is_some_and(|placed| placed.release.manifest.bundle.inputs == *ports);
                // A dead or foreign worker on the route is not worth following.
                if self.feed.is_some() && same_port {
                    let shape = Shape::of(&candidate.release.manifest.bundle);
                    let mut follower = Follower::new(&self.route, shape, None);
                    let number = candidate.beside.worker.number;
                    // The route keeps what the release on it wants.
                    if shape.warm_up > self.route.shape().warm_up && self.ask_for_past(number, None)
                    {
                        follower.wait_for_past();
                    }
                    if let Some(candidate) = &mut self.candidate {
                        candidate.beside.follower = Some(follower);
                    }
                }
                Ok(())
            }
            WorkerEvent::Said(FromWorker::Done(count)) => beside.done(count),
            // What it answers while it warms up has been accounted for.
            WorkerEvent::Said(FromWorker::Outcome(_)) => Ok(()),
            WorkerEvent::Past(mut past) => {
                let warm_up = candidate.release.manifest.bundle.warm_up_readings;
                let readings = self.readings_of(&mut past, warm_up);
                if let Some(candidate) = &mut self.candidate {
                    candidate.beside.past(readings);
                }
                Ok(())
            }
            other @ (WorkerEvent::Said(_) | WorkerEvent::Ended(_) | WorkerEvent::Unstarted(_)) => {
                Err(failure(other))
            }
        };
        if let Err(error) = taken {
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
        let Candidate { release, beside: Beside { worker, follower, .. }, reply, .. } = candidate;
        let bundle = &release.manifest.bundle;
        // It was compared with what had the route until now.
        self.drop_shadow();
        let shape = Shape::of(bundle);
        let (port, ports) = (Arc::new(bundle.port().1.clone()), Ports::of(bundle));
        self.remember(bundle);
        self.route.set_shape(shape);
        self.change_ports(bundle);
        let feed = match follower {
            Some(follower) => follower.lead(&self.route),
            None => Feed::again(&self.route, false),
        };
        tracing::info!(slot = %self.parts.slot, "{} has the route", release.release);
        self.parts.witness.placed(&self.parts.slot, &release);
        self.feed = Some(feed);
        self.deaths.clear();
        self.told_vacant = None;
        // Before anybody is told of the swap: a trial must not be judged by its forerunner's frames.
        let seen = Seen::of(bundle.outputs.keys());
        *lock(&self.shared.seen) = Some((release.release.digest, seen));
        self.placed = Some(Placed {
            id: Arc::new(release.release.clone()),
            release,
            worker: Some(worker),
            restart_at: Instant::now(),
            deaths: 0,
            careful: false,
            finishing: false,
            outage: Outage::default(),
            quarantined: None,
        });
        self.capture_head();
        let (port, ports) = (Some(port), Some(Arc::new(ports)));
        self.port.send_if_modified(|now| std::mem::replace(now, port.clone()) != port);
        self.ports.send_if_modified(|now| std::mem::replace(now, ports.clone()) != ports);
        let _ = reply.send(Ok(()));
    }

    /// Shows the candidate what it can take, and changes the route where it is ready.
    pub(super) fn feed_candidate(&mut self) {
        let Some(candidate) = &mut self.candidate else { return };
        if candidate.beside.worker.stage == Stage::Loading {
            return;
        }
        let Beside { worker, follower: Some(follower), .. } = &mut candidate.beside else {
            if candidate.waits().is_some() {
                self.take_route();
            }
            return;
        };
        let readings = follower.take(&self.route, SEND_READINGS, IN_FLIGHT_MAX);
        worker.send_readings(readings);
        if !follower.is_warm() {
            return;
        }
        let Some(since) = candidate.waits() else { return };
        let Some(follower) = &mut candidate.beside.follower else { return };
        let waited = since.elapsed();
        // Best is a moment in which nothing is under way: the worker on the route has answered all
        // that it was sent, and the candidate has seen as much. Beside a source that leaves no such
        // moment, what is answered meanwhile is shown to the candidate when it has the route.
        if waited > MOMENT_MAX {
            follower.end(&self.route);
        }
        let idle = self.feed.as_ref().is_none_or(|feed| feed.in_flight() == 0);
        if follower.is_level() && (idle || waited > MOMENT_MAX) {
            self.take_route();
        }
    }

    /// Gives up a candidate that takes too long.
    pub(super) fn look_at_candidate(&mut self) {
        if let Some(candidate) = &mut self.candidate {
            let waits_for_leave = candidate.ready.filter(|_| candidate.since.is_none());
            if waits_for_leave.is_some_and(|ready| ready.elapsed() > LEAVE_MAX) {
                return self.end_candidate(SwapError::GivenUp);
            }
            let waited = candidate.beside.since.elapsed();
            if waited > PAST_MAX {
                // Without it the candidate begins with what the route keeps, as it does without a capture.
                candidate.beside.past(Vec::new());
            }
            let slow = match candidate.beside.worker.stage {
                Stage::Loading if waited > self.parts.limits.load => Some(SwapError::LOAD),
                // A worker that does not keep up has no leave to wait for.
                Stage::Ready => {
                    let since = candidate.since.map_or(waited, |since| since.elapsed());
                    (waits_for_leave.is_none() && since > WARM_UP_MAX).then_some("warm up")
                }
                Stage::Loading => None,
            };
            if let Some(doing) = slow {
                self.candidate_failed(SwapError::Slow(doing));
            }
        }
    }
}
