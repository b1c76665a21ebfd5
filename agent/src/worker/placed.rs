//! The worker on the route: what it says, how long it may be silent, and what follows when it dies.

use crate::backoff;
use crate::lock::lock;
use crate::log::OF_READINGS;
use crate::update::StagedRelease;
use crate::worker::follower::Follower;
use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::outage::Outage;
use crate::worker::process::End;
use crate::worker::route::{Feed, WARM_UP_READINGS_MAX};
use crate::worker::running::{Running, Stage, WorkerEvent};
use crate::worker::slot::SlotEvent;
use crate::worker::task::Task;
use lineside_bundle::ReleaseId;
use lineside_runtime::{FrameOutcome, Said};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker may be silent beyond the time its bundle has for a frame: a loaded device is slow.
pub(super) const GRACE: Duration = Duration::from_secs(3);
/// First and longest pause before a worker is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Readings that are kept while a candidate warms up.
const KEPT_WHILE_WARMING_MAX: usize = 2 * WARM_UP_READINGS_MAX as usize;
/// What is wrong with a worker that says what nobody wanted to hear.
pub(super) const UNASKED: &str = "it said what it was not asked";
/// How long a worker lives before earlier deaths no longer make it wait.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The release that has the route.
pub(super) struct Placed {
    pub(super) release: StagedRelease,
    pub(super) id: Arc<ReleaseId>,
    /// None while its worker is dead.
    pub(super) worker: Option<Running>,
    /// When the next worker is to be started.
    pub(super) restart_at: Instant,
    /// How many died in a row, or could not be started.
    pub(super) deaths: u32,
    /// The last death came with readings on their way.
    pub(super) careful: bool,
    /// The end of the recording has been said to the worker.
    pub(super) finishing: bool,
    pub(super) outage: Outage,
    /// Which plugin its worker does not run any more, and why.
    pub(super) quarantined: Option<String>,
}

impl Placed {
    /// Has the next worker wait: longer each time, and not at all after a quiet time.
    fn put_off(&mut self) {
        if self.restart_at.elapsed() > SETTLED_AFTER {
            self.deaths = 0;
        }
        let (first, longest) = RESTART_PAUSE;
        let pause = match self.deaths {
            0 => Duration::ZERO,
            deaths => backoff::doubled(first, longest, deaths - 1),
        };
        self.deaths = self.deaths.saturating_add(1);
        self.restart_at = Instant::now() + pause;
    }
}

impl Task {
    pub(super) fn start(&mut self, release: &StagedRelease) -> Running {
        let load = ToWorker::Load(self.parts.limits.bundle(release));
        self.start_with(load)
    }

    /// Starts a worker that takes nothing from the one on the route.
    pub(super) fn start_beside(&mut self, release: &StagedRelease) -> Running {
        let worker = self.start_with(ToWorker::Follow);
        worker.send(ToWorker::Load(self.parts.limits.bundle(release)));
        worker
    }

    fn start_with(&mut self, first: ToWorker) -> Running {
        self.workers += 1;
        Running::start(self.workers, self.parts.starter.clone(), first, self.events.clone())
    }

    pub(super) fn placed_worker(&mut self) -> Option<&mut Running> {
        self.placed.as_mut().and_then(|placed| placed.worker.as_mut())
    }

    pub(super) fn worker_said(&mut self, event: WorkerEvent) {
        if let Some(worker) = self.placed_worker() {
            worker.heard = Instant::now();
        }
        match event {
            WorkerEvent::Said(FromWorker::Loaded) => {
                let Some(placed) = &mut self.placed else { return };
                match &mut placed.worker {
                    Some(worker) if worker.stage == Stage::Loading => {
                        worker.stage = Stage::Ready;
                        placed.outage.ready();
                        self.feed = Some(Feed::again(&self.route, placed.careful));
                    }
                    _ => self.worker_died(UNASKED.into()),
                }
            }
            WorkerEvent::Said(FromWorker::Outcome(outcome)) => self.outcome(outcome),
            WorkerEvent::Said(FromWorker::Done(count)) => {
                // Only the end of a recording takes long without a reading being taken. From anybody
                // else it would be a sign of life that costs nothing.
                let finishing = self.placed.as_ref().is_some_and(|placed| placed.finishing);
                let honest = (count > 0 || finishing)
                    && self.feed.as_mut().is_some_and(|feed| feed.done(count));
                if !honest {
                    self.worker_died("it has taken readings that it was not sent".into());
                }
            }
            // Believed from anybody else, it would end the recording for good.
            WorkerEvent::Said(FromWorker::Finished)
                if self.placed.as_ref().is_some_and(|placed| placed.finishing) =>
            {
                for settled in self.route.settle_rest("incomplete", "the recording ended in it") {
                    self.account(settled);
                }
                self.ended = true;
                self.record.position.ended = true;
                self.commits.touch();
            }
            WorkerEvent::Said(FromWorker::Failed(reason)) => self.worker_died(reason),
            WorkerEvent::Ended(end) => self.worker_gone(end),
            WorkerEvent::Unstarted(reason) => {
                tracing::warn!(slot = %self.parts.slot, "{reason}");
                if let Some(placed) = &mut self.placed {
                    placed.worker = None;
                    placed.put_off();
                }
            }
            // It took the route before that came.
            WorkerEvent::Past(_) => {}
            WorkerEvent::Said(
                FromWorker::Finished
                | FromWorker::Timed(_)
                | FromWorker::TriedOut(_)
                | FromWorker::Checked(_),
            ) => {
                self.worker_died(UNASKED.into());
            }
        }
    }

    pub(super) fn outcome(&mut self, mut outcome: FrameOutcome) {
        let Some(feed) = &self.feed else { return self.worker_died(UNASKED.into()) };
        let mut streams: Vec<String> = outcome.spans.iter().map(|(it, _)| it.clone()).collect();
        if streams.is_empty() {
            streams.push(outcome.key.clone());
        }
        let said = std::mem::take(&mut outcome.said);
        let quarantine = outcome.result.as_ref().err().filter(|error| error.is_quarantine());
        let quarantine = quarantine.map(ToString::to_string);
        match self.route.settle(feed, outcome) {
            Ok(all) => {
                all.into_iter().for_each(|settled| self.account(settled));
                streams.iter().for_each(|stream| self.trim(stream));
                self.pass_on(said);
                quarantine.into_iter().for_each(|reason| self.quarantined(reason));
            }
            Err(error) => self.worker_died(error.to_string()),
        }
    }

    /// Passes on what plugins have said.
    fn pass_on(&mut self, said: Said) {
        for (stage, line) in &said.lines {
            tracing::info!(target: OF_READINGS, slot = %self.parts.slot, "stage {stage} says: {line}");
        }
        if said.dropped > 0 {
            self.dropped("plugin_lines", said.dropped);
        }
    }

    /// Tells that a plugin is not run any more, once for each worker.
    fn quarantined(&mut self, reason: String) {
        let placed = self.placed.as_mut().filter(|placed| placed.quarantined.is_none());
        let Some(placed) = placed else { return };
        let release = ReleaseId::clone(&placed.id);
        tracing::error!(slot = %self.parts.slot, "{release}: {reason}");
        placed.quarantined = Some(reason.clone());
        self.shared.tell(&SlotEvent::Quarantined { release, reason });
    }

    pub(super) fn trim(&mut self, key: &str) {
        // While a worker warms up beside the route it should find what it has still to see. One that
        // is so slow, or beside a source so fast, that this has no end misses some of it. Before it
        // has loaded it needs nothing: it begins with what is kept then.
        let mut beside = [
            self.candidate.as_ref().map(|candidate| &candidate.beside),
            self.shadow.as_ref().and_then(|shadow| shadow.beside.as_ref()),
        ]
        .into_iter()
        .flatten();
        let needed = beside.any(|it| it.follower.as_ref().is_some_and(Follower::needs_kept));
        if !needed || self.route.kept() > KEPT_WHILE_WARMING_MAX {
            self.route.trim(key, self.feed.as_ref());
        }
    }

    /// The worker on the route has to go: what it does is its own fault.
    pub(super) fn worker_died(&mut self, reason: String) {
        self.worker_gone(End::Itself(reason));
    }

    /// The worker on the route is gone or has to go. Another one gets what is still owed.
    ///
    /// Where somebody else has ended it, that is not held against the release. The next one waits all
    /// the same, and the plant is told of an outage: a system without memory kills again. And a reading
    /// over which that happens twice is given up all the same: it may be what takes the memory.
    fn worker_gone(&mut self, end: End) {
        let feed = self.feed.take();
        let Some(placed) = &mut self.placed else { return };
        let Some(worker) = placed.worker.take() else { return };
        let was_ready = worker.stage == Stage::Ready;
        drop(worker);
        placed.finishing = false;
        // The next one runs it anew.
        placed.quarantined = None;
        placed.careful = feed.as_ref().is_some_and(|feed| feed.in_flight() > 0);
        placed.put_off();
        let reason = end.to_string();
        placed.outage.died(Instant::now(), &reason);
        let release = ReleaseId::clone(&placed.id);
        tracing::warn!(slot = %self.parts.slot, "the worker of {release} is gone: {reason}");
        let counts = &mut self.record.counts;
        let (count, event) = match end {
            End::Itself(_) => {
                (&mut counts.worker_deaths, SlotEvent::WorkerFailed { release, reason })
            }
            End::Killed(_) => {
                (&mut counts.worker_kills, SlotEvent::WorkerKilled { release, reason })
            }
        };
        *count += 1;
        self.commits.touch();
        if let Some((_, seen)) = lock(&self.shared.seen).as_mut() {
            match &event {
                SlotEvent::WorkerFailed { .. } => seen.crashed(),
                SlotEvent::WorkerKilled { .. } => seen.killed(),
                SlotEvent::Quarantined { .. } => {}
            }
        }
        self.shared.tell(&event);
        if let Some(feed) = feed.filter(|_| was_ready) {
            self.suspect(&feed);
        }
    }

    /// Remembers which readings were on their way, and gives up the one that killed two workers.
    pub(super) fn suspect(&mut self, feed: &Feed) {
        let on_their_way = feed.on_their_way();
        self.deaths.retain(|reading, _| on_their_way.contains(reading));
        for reading in on_their_way {
            *self.deaths.entry(reading).or_insert(0) += 1;
        }
        let Some((key, sequence)) = feed.suspect() else { return };
        if self.deaths.get(&(key.clone(), sequence)).is_some_and(|deaths| *deaths >= 2) {
            tracing::error!(target: OF_READINGS, slot = %self.parts.slot, "reading {sequence} of {key:?} is given up: two workers died over it");
            for settled in self.route.skip(&key, sequence) {
                self.account(settled);
            }
        }
    }

    /// Ends a worker that is silent for too long, starts one in place of one that died, and tells
    /// the plant where that does not help.
    pub(super) fn look_at_placed(&mut self) {
        let Some(placed) = &mut self.placed else { return };
        if !self.ended
            && let Some(reason) = placed.outage.untold(Instant::now())
        {
            self.tell_outage(&reason);
        }
        let Some(placed) = &mut self.placed else { return };
        let frame = placed.release.manifest.bundle.limits.frame();
        match &placed.worker {
            None if placed.restart_at <= Instant::now() => {
                let release = placed.release.clone();
                let worker = self.start(&release);
                if let Some(placed) = &mut self.placed {
                    placed.worker = Some(worker);
                    placed.restart_at = Instant::now();
                }
            }
            None => {}
            Some(worker) => {
                let silent = worker.heard.elapsed();
                let busy =
                    placed.finishing || self.feed.as_ref().is_some_and(|f| f.in_flight() > 0);
                let too_long = match worker.stage {
                    Stage::Loading => silent > self.parts.limits.load,
                    Stage::Ready => busy && !self.ended && silent > frame + GRACE,
                };
                if too_long {
                    let reason = format!(
                        "it gave no answer for {:.1} s and was ended",
                        silent.as_secs_f64()
                    );
                    self.worker_died(reason);
                }
            }
        }
    }
}
