//! A slot's task: takes what the source brings, feeds the worker on the route, settles frames,
//! commits them, and replaces workers.

use crate::config::{Overflow, SlotConfig};
use crate::ledger::{
    Addressed, Answer, Batch, Committed, Continuation, Ledger, LedgerError, Position,
    RECENT_PACKETS_MAX, SlotRecord, Span,
};
use crate::sink::finding::{self, Author};
use crate::source::{self, Arrival, Step};
use crate::update::StagedRelease;
use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::process::Starter;
use crate::worker::route::{Feed, JournalStep, Route, Settled, Shape};
use crate::worker::running::{Running, Stage, WorkerEvent};
use crate::worker::seen::Seen;
use crate::worker::selftest::WorkerLimits;
use crate::worker::slot::{Shared, SlotEvent, SlotHandle, SlotView, SwapError, lock};
use crate::worker::witness::Witness;
use lineside_bundle::{BundleFile, Port, ReleaseId};
use lineside_runtime::FrameOutcome;
use lineside_wire::name::{DeviceId, SlotName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Readings that are sent to a worker at once.
const SEND_READINGS: usize = 64;
/// Readings that may be on their way to a worker.
const IN_FLIGHT_MAX: usize = 128;
/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a worker may be silent beyond the time its bundle has for a frame: a loaded device is slow.
const GRACE: Duration = Duration::from_secs(3);
/// Longest that a candidate may take to see the readings that warm it up.
const WARM_UP_MAX: Duration = Duration::from_secs(60);
/// First and longest pause before a worker is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long a worker lives before earlier deaths no longer make it wait.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Frames that may wait for a commit before the source has to wait with them.
const BATCH_FRAMES_MAX: usize = 4096;
/// How long a commit may take before the slot takes the disk for full and goes on without it.
const COMMIT_SLOW: Duration = Duration::from_secs(5);

/// What handles ask of the task.
pub(super) enum Command {
    /// Put a release on the route.
    Place { release: Box<StagedRelease>, reply: oneshot::Sender<Result<(), SwapError>> },
    /// Take off the route whatever is on it.
    Vacate { reason: String, reply: oneshot::Sender<()> },
    /// Finish what was taken, and stop.
    Drain { reply: oneshot::Sender<()> },
}

/// What a slot works with.
pub struct SlotParts {
    /// The device.
    pub device: DeviceId,
    /// The slot.
    pub slot: SlotName,
    /// Its settings.
    pub config: SlotConfig,
    /// How often it commits.
    pub commit_every: Duration,
    /// Frames after which it commits earlier.
    pub commit_frames: usize,
    /// What its workers get.
    pub limits: WorkerLimits,
    /// What starts them.
    pub starter: Arc<dyn Starter>,
    /// Where it commits.
    pub ledger: Ledger,
    /// Who is told of every frame.
    pub witness: Arc<dyn Witness>,
    /// What the source brings.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// Where the source hears what is committed.
    pub receipts: mpsc::UnboundedSender<u64>,
}

/// Opens a slot as the ledger has it and starts its task. Nothing runs before a release is placed.
/// Also gives the position from which the source goes on.
///
/// # Errors
/// [`LedgerError`].
pub fn open(parts: SlotParts) -> Result<(SlotHandle, Position), LedgerError> {
    let mut restored = parts.ledger.restore(&parts.slot)?;
    let position = &mut restored.record.position;
    if position.follow(source::marks(&parts.config.source_kind)) == Continuation::Anew {
        tracing::warn!(slot = %parts.slot, "another source than before: it is read from its beginning");
    }
    let shape = Shape { rows: 1, stride: 1, warm_up: u64::MAX };
    let route = Route::restore(shape, restored.streams, restored.chunks);
    let position = restored.record.position.clone();
    let (commands, inbox) = mpsc::channel(16);
    let (view, view_out) = watch::channel(SlotView::default());
    let (port, port_out) = watch::channel(None);
    let shared = Arc::new(Shared::default());
    let (events, from_workers) = mpsc::channel(256);
    let task = Task {
        sinks: parts.config.sinks.clone().into(),
        ended: position.ended,
        ending: position.ended,
        record: restored.record,
        parts,
        route,
        placed: None,
        candidate: None,
        feed: None,
        seen: Seen::default(),
        deaths: BTreeMap::new(),
        pending: Pending::default(),
        commit: None,
        last_commit: Instant::now(),
        view,
        port,
        shared: shared.clone(),
        events,
        workers: 0,
        draining: None,
        told_vacant: false,
    };
    tokio::spawn(task.run(inbox, from_workers));
    Ok((SlotHandle { commands, shared, view: view_out, port: port_out }, position))
}

/// The release that has the route.
struct Placed {
    release: StagedRelease,
    port: Arc<Port>,
    /// None while its worker is dead.
    worker: Option<Running>,
    /// When the next worker is to be started, and how many died in a row.
    restart_at: Instant,
    deaths: u32,
    /// The last death came with readings on their way.
    careful: bool,
    /// The end of the recording has been said to the worker.
    finishing: bool,
}

struct Candidate {
    release: StagedRelease,
    worker: Running,
    feed: Option<Feed>,
    since: Instant,
    reply: oneshot::Sender<Result<(), SwapError>>,
}

/// What waits for the next commit.
#[derive(Default)]
struct Pending {
    spans: Vec<Span>,
    findings: Vec<Addressed>,
    frames: Vec<(ReleaseId, Settled)>,
    receipts: Vec<u64>,
    dirty: bool,
}

struct Committing {
    answer: oneshot::Receiver<Answer>,
    step: JournalStep,
    frames: Vec<(ReleaseId, Settled)>,
    receipts: Vec<u64>,
    since: Instant,
}

struct Task {
    parts: SlotParts,
    sinks: Arc<[String]>,
    route: Route,
    record: SlotRecord,
    placed: Option<Placed>,
    candidate: Option<Candidate>,
    /// How far the worker on the route has been fed; none while it is not ready.
    feed: Option<Feed>,
    seen: Seen,
    /// How often a reading was on its way to a worker that died.
    deaths: BTreeMap<(String, u64), u32>,
    pending: Pending,
    commit: Option<Committing>,
    last_commit: Instant,
    /// The source has said that the recording ends.
    ending: bool,
    /// Everything of it is accounted for.
    ended: bool,
    view: watch::Sender<SlotView>,
    port: watch::Sender<Option<Arc<Port>>>,
    shared: Arc<Shared>,
    events: mpsc::Sender<(u64, WorkerEvent)>,
    workers: u64,
    draining: Option<(oneshot::Sender<()>, bool)>,
    told_vacant: bool,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut from_workers: mpsc::Receiver<(u64, WorkerEvent)>,
    ) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let takes = self.takes_readings();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some((worker, event)) = from_workers.recv() => self.heard(worker, event),
                Some(arrival) = self.parts.arrivals.recv(), if takes => self.arrived(arrival),
                answer = answered(&mut self.commit) => self.committed(answer),
                _ = look.tick() => self.look(),
            }
            self.feed_workers();
            self.commit_if_due().await;
            self.show();
            if self.is_drained() {
                if let Some((reply, _)) = self.draining.take() {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Place { release, reply } => {
                self.supersede();
                let release = *release;
                match self.start(&release) {
                    Ok(worker) => {
                        let since = Instant::now();
                        self.candidate =
                            Some(Candidate { release, worker, feed: None, since, reply });
                    }
                    Err(reason) => self.refuse(reply, SwapError::Load(reason)),
                }
            }
            Command::Vacate { reason, reply } => {
                self.supersede();
                self.placed = None;
                self.feed = None;
                self.seen = Seen::default();
                self.show_observation();
                self.port.send_replace(None);
                self.told_vacant = false;
                self.tell_vacant(&reason, None);
                let _ = reply.send(());
            }
            Command::Drain { reply } => {
                self.supersede();
                self.draining = Some((reply, false));
            }
        }
    }

    fn supersede(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            let _ = candidate.reply.send(Err(SwapError::Superseded));
        }
    }

    fn refuse(&mut self, reply: oneshot::Sender<Result<(), SwapError>>, error: SwapError) {
        if self.placed.is_none() {
            let reason = format!("the release could not be started: {error}");
            self.tell_vacant(&reason, None);
        }
        let _ = reply.send(Err(error));
    }

    /// Says the fail-safe output, once until a release has had the route again.
    fn tell_vacant(&mut self, reason: &str, bundle: Option<&BundleFile>) {
        if std::mem::replace(&mut self.told_vacant, true) {
            return;
        }
        let outputs = match bundle {
            Some(bundle) if self.parts.config.fail_safe.is_empty() => &bundle.fail_safe,
            _ => &self.parts.config.fail_safe,
        };
        let author = Author { device: &self.parts.device, slot: &self.parts.slot, release: None };
        let json = finding::vacant(author, reason, outputs);
        tracing::warn!(slot = %self.parts.slot, "the slot is vacant and gives its fail-safe output: {reason}");
        self.pending.findings.push(Addressed { sinks: self.sinks.clone(), json });
        self.pending.dirty = true;
    }

    fn start(&mut self, release: &StagedRelease) -> Result<Running, String> {
        self.workers += 1;
        Running::start(
            self.workers,
            &*self.parts.starter,
            ToWorker::Load(self.parts.limits.bundle(release)),
            self.events.clone(),
        )
        .map_err(|error| format!("no worker can be started: {error}"))
    }

    fn heard(&mut self, worker: u64, event: WorkerEvent) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.worker.number == worker) {
            self.candidate_said(event);
        } else if self.placed_worker().is_some_and(|running| running.number == worker) {
            self.worker_said(event);
        }
        // Otherwise it has lost the route, and whatever it says is late.
    }

    fn placed_worker(&mut self) -> Option<&mut Running> {
        self.placed.as_mut().and_then(|placed| placed.worker.as_mut())
    }

    fn candidate_said(&mut self, event: WorkerEvent) {
        let Some(candidate) = &mut self.candidate else { return };
        candidate.worker.heard = Instant::now();
        let failed = match event {
            WorkerEvent::Said(FromWorker::Loaded) => {
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
                match &mut candidate.feed {
                    Some(feed) => {
                        feed.done(count);
                    }
                    None => tracing::debug!("a worker has taken readings that it was not sent"),
                }
                None
            }
            // What it answers while it warms up has been accounted for.
            WorkerEvent::Said(FromWorker::Outcome(_)) => None,
            WorkerEvent::Said(FromWorker::Failed(reason)) => Some(SwapError::Load(reason)),
            WorkerEvent::Said(FromWorker::Finished | FromWorker::Checked(_)) => {
                Some(SwapError::Died("it said what it was not asked".into()))
            }
            WorkerEvent::Ended(reason) => Some(SwapError::Died(reason)),
        };
        if let Some(error) = failed {
            self.candidate_failed(error);
        }
    }

    fn candidate_failed(&mut self, error: SwapError) {
        if let Some(candidate) = self.candidate.take() {
            if self.placed.is_none() {
                let reason = format!("{} could not be started: {error}", candidate.release.release);
                self.tell_vacant(&reason, Some(&candidate.release.manifest.bundle));
            }
            let _ = candidate.reply.send(Err(error));
        }
    }

    /// Lets others see what was seen of the release on the route.
    fn show_observation(&self) {
        let release = self.placed.as_ref().map(|placed| placed.release.release.digest);
        *lock(&self.shared.observation) = release.map(|of| (of, self.seen.observation()));
    }

    /// Changes the route to the candidate, between two readings.
    fn take_route(&mut self) {
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
        self.seen = Seen::default();
        self.deaths.clear();
        self.told_vacant = false;
        self.placed = Some(Placed {
            release,
            port: port.clone(),
            worker: Some(worker),
            restart_at: Instant::now(),
            deaths: 0,
            careful: false,
            finishing: false,
        });
        // Before anybody is told of the swap: a trial must not be judged by its forerunner's frames.
        self.show_observation();
        self.port.send_if_modified(|now| {
            let differs = now.as_deref() != Some(&*port);
            if differs {
                *now = Some(port);
            }
            differs
        });
        let _ = reply.send(Ok(()));
    }

    /// Readings that are kept were read for another port: what is still there by name is moved to
    /// its place; readings that lack a field of the new port cannot be answered any more.
    fn change_port(&mut self, port: &Port) {
        let names: Vec<String> = port.fields.iter().map(|field| field.name.clone()).collect();
        let before = std::mem::replace(&mut self.record.fields, names);
        if before == self.record.fields || self.route.kept() == 0 {
            return;
        }
        match places(&before, &self.record.fields) {
            Some(places) => {
                self.route.map_values(|values| places.iter().map(|at| values[*at]).collect())
            }
            None => {
                let rest = self.route.settle_rest("port", "its readings lack a field of the port");
                self.route.forget();
                let release = self.placed.as_ref().map(|placed| placed.release.release.clone());
                for settled in rest {
                    self.account(settled, release.as_ref());
                }
            }
        }
    }

    fn worker_said(&mut self, event: WorkerEvent) {
        if let Some(worker) = self.placed_worker() {
            worker.heard = Instant::now();
        }
        match event {
            WorkerEvent::Said(FromWorker::Loaded) => {
                let Some(placed) = &mut self.placed else { return };
                if let Some(worker) = &mut placed.worker {
                    worker.stage = Stage::Ready;
                }
                self.feed = Some(Feed::again(&self.route, placed.careful));
            }
            WorkerEvent::Said(FromWorker::Outcome(outcome)) => self.outcome(outcome),
            WorkerEvent::Said(FromWorker::Done(count)) => {
                let honest = self.feed.as_mut().is_some_and(|feed| feed.done(count));
                if !honest {
                    self.worker_died("it has taken readings that it was not sent".into());
                }
            }
            WorkerEvent::Said(FromWorker::Finished) => {
                let release = self.placed.as_ref().map(|placed| placed.release.release.clone());
                for settled in self.route.settle_rest("incomplete", "the recording ended in it") {
                    self.account(settled, release.as_ref());
                }
                self.ended = true;
                self.record.position.ended = true;
                self.pending.dirty = true;
            }
            WorkerEvent::Said(FromWorker::Failed(reason)) | WorkerEvent::Ended(reason) => {
                self.worker_died(reason);
            }
            WorkerEvent::Said(FromWorker::Checked(_)) => {
                self.worker_died("it said what it was not asked".into());
            }
        }
    }

    fn outcome(&mut self, outcome: FrameOutcome) {
        let release = self.placed.as_ref().map(|placed| placed.release.release.clone());
        let key = outcome.key.clone();
        match self.route.settle(outcome) {
            Ok(all) => {
                for settled in all {
                    self.account(settled, release.as_ref());
                }
                self.trim(&key);
            }
            Err(error) => self.worker_died(error.to_string()),
        }
    }

    fn trim(&mut self, key: &str) {
        // While a candidate warms up it must find what it has still to see.
        if self.candidate.is_none() {
            self.route.trim(key, self.feed.as_ref());
        }
    }

    /// Takes a frame into the next commit.
    fn account(&mut self, settled: Settled, release: Option<&ReleaseId>) {
        self.seen.settled(&settled);
        self.show_observation();
        let author = Author { device: &self.parts.device, slot: &self.parts.slot, release };
        let counts = &mut self.record.counts;
        counts.frames += 1;
        let mut found = Vec::new();
        match &settled.result {
            Ok(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    counts.alarms += u64::from(part.alarm == Some(true));
                    found.push(finding::answer(author, &settled, number, part));
                }
                counts.findings += parts.len() as u64;
            }
            Err(failure) => {
                *counts.errors.entry(failure.reason.clone()).or_insert(0) += 1;
                // That a recording ends is no failure.
                if let Some(placed) = self.placed.as_ref().filter(|placed| !placed.finishing) {
                    let outputs = &placed.release.manifest.bundle.fail_safe;
                    if !outputs.is_empty() {
                        found.push(finding::failed_frame(author, &settled, failure, outputs));
                    }
                }
            }
        }
        let sinks = &self.sinks;
        self.pending
            .findings
            .extend(found.into_iter().map(|json| Addressed { sinks: sinks.clone(), json }));
        let Settled { key, first, last, .. } = &settled;
        self.pending.spans.push(Span { key: key.clone(), first: *first, last: *last });
        if let Some(release) = release {
            self.pending.frames.push((release.clone(), settled));
        }
        self.pending.dirty = true;
    }

    /// The worker on the route is gone or has to go. Another one gets what is still owed.
    fn worker_died(&mut self, reason: String) {
        let feed = self.feed.take();
        let Some(placed) = &mut self.placed else { return };
        let Some(worker) = placed.worker.take() else { return };
        let was_ready = worker.stage == Stage::Ready;
        drop(worker);
        placed.finishing = false;
        placed.careful = feed.as_ref().is_some_and(|feed| feed.in_flight() > 0);
        if placed.restart_at.elapsed() > SETTLED_AFTER {
            placed.deaths = 0;
        }
        // The first death after a quiet time costs no time at all.
        let (first, longest) = RESTART_PAUSE;
        let pause = match placed.deaths {
            0 => Duration::ZERO,
            deaths => first.saturating_mul(1 << (deaths - 1).min(10)).min(longest),
        };
        placed.deaths += 1;
        placed.restart_at = Instant::now() + pause;
        let release = placed.release.release.clone();
        self.record.counts.worker_deaths += 1;
        self.pending.dirty = true;
        self.seen.crashed();
        self.show_observation();
        tracing::warn!(slot = %self.parts.slot, "the worker of {release} is gone: {reason}");
        self.shared.tell(&SlotEvent::WorkerFailed { release: release.clone(), reason });
        if let Some(feed) = feed.filter(|_| was_ready) {
            self.suspect(&feed, &release);
        }
    }

    /// Remembers which readings were on their way, and gives up the one that killed two workers.
    fn suspect(&mut self, feed: &Feed, release: &ReleaseId) {
        let on_their_way = feed.on_their_way();
        self.deaths.retain(|reading, _| on_their_way.contains(&reading));
        for reading in on_their_way {
            *self.deaths.entry(reading.clone()).or_insert(0) += 1;
        }
        let Some((key, sequence)) = feed.suspect() else { return };
        if self.deaths.get(&(key.clone(), sequence)).is_some_and(|deaths| *deaths >= 2) {
            tracing::error!(slot = %self.parts.slot, "reading {sequence} of {key:?} is given up: two workers died over it");
            for settled in self.route.skip(&key, sequence) {
                self.account(settled, Some(release));
            }
        }
    }

    fn takes_readings(&self) -> bool {
        let Some(_) = &self.placed else { return false };
        if self.ending || self.draining.is_some() || self.parts.ledger.is_full(&self.sinks) {
            return false;
        }
        if self.pending.spans.len() >= BATCH_FRAMES_MAX && !self.disk_is_stuck() {
            return false;
        }
        match self.parts.config.overflow {
            Overflow::Block => self.backlog() < self.parts.config.queue_readings_max,
            Overflow::DropOldest => true,
        }
    }

    fn disk_is_stuck(&self) -> bool {
        self.commit.as_ref().is_some_and(|commit| commit.since.elapsed() > COMMIT_SLOW)
    }

    fn backlog(&self) -> usize {
        match &self.feed {
            Some(feed) => feed.backlog(),
            None => usize::try_from(self.route.owed()).unwrap_or(usize::MAX),
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        let Arrival { port, rows, dropped, step, receipt } = arrival;
        for (reason, count) in dropped {
            self.dropped(reason, count);
        }
        let names: Vec<String> = port.fields.iter().map(|field| field.name.clone()).collect();
        let places = match names == self.record.fields {
            true => None,
            false => Some(places(&names, &self.record.fields)),
        };
        for row in rows {
            let values = match &places {
                None => row.values,
                Some(Some(places)) => places.iter().map(|at| row.values[*at]).collect(),
                Some(None) => {
                    self.dropped("port", 1);
                    continue;
                }
            };
            if self.route.accept(&row.key, row.time_unix_ns, values).is_none() {
                self.dropped("streams", 1);
                continue;
            }
            self.record.counts.accepted += 1;
            for feed in [&mut self.feed]
                .into_iter()
                .chain(self.candidate.as_mut().map(|candidate| &mut candidate.feed))
                .flatten()
            {
                feed.accepted();
            }
            self.give_way();
        }
        match step {
            Some(Step::File { file, row, rows_before }) => {
                let position = &mut self.record.position;
                (position.file, position.row, position.rows_before) = (file, row, rows_before);
            }
            Some(Step::Packet { identifier, digest }) => {
                let recent = &mut self.record.position.recent;
                if recent.len() == RECENT_PACKETS_MAX {
                    recent.pop_front();
                }
                recent.push_back((identifier, digest));
            }
            Some(Step::End) => self.ending = true,
            None => {}
        }
        self.pending.receipts.extend(receipt);
        self.pending.dirty = true;
    }

    /// Drops the oldest readings where the settings say so.
    fn give_way(&mut self) {
        let max = self.parts.config.queue_readings_max;
        if self.parts.config.overflow != Overflow::DropOldest || self.backlog() <= max {
            return;
        }
        let gave_way = match &mut self.feed {
            Some(feed) => self.route.drop_oldest(feed),
            None => self.route.drop_oldest(&mut Feed::warming(&self.route)),
        };
        if gave_way.is_some() {
            self.dropped("overflow", 1);
        }
    }

    fn dropped(&mut self, reason: &'static str, count: u64) {
        *self.record.counts.dropped.entry(reason.to_owned()).or_insert(0) += count;
        self.parts.witness.dropped(&self.parts.slot, reason, count);
        self.pending.dirty = true;
    }

    /// Sends what the workers can take now, and changes the route where the candidate is ready.
    fn feed_workers(&mut self) {
        if let Some(candidate) = &mut self.candidate
            && let Some(feed) = &mut candidate.feed
        {
            let readings = feed.take(&self.route, SEND_READINGS, IN_FLIGHT_MAX);
            candidate.worker.send_readings(readings);
            if feed.is_warm() {
                self.take_route();
            }
        }
        let Some(placed) = &mut self.placed else { return };
        let (Some(worker), Some(feed)) = (&mut placed.worker, &mut self.feed) else { return };
        loop {
            let readings = feed.take(&self.route, SEND_READINGS, IN_FLIGHT_MAX);
            if readings.is_empty() {
                break;
            }
            if feed.in_flight() == readings.len() {
                // It had nothing to do until now.
                worker.heard = Instant::now();
            }
            worker.send_readings(readings);
        }
        if self.ending && !self.ended && !placed.finishing && feed.backlog() == 0 {
            placed.finishing = true;
            worker.heard = Instant::now();
            worker.send(ToWorker::Finish);
        }
    }

    /// Looks at deadlines, and starts a worker in place of one that died.
    fn look(&mut self) {
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
        let Some(placed) = &mut self.placed else { return };
        let frame = placed.release.manifest.bundle.limits.frame();
        match &placed.worker {
            None if placed.restart_at <= Instant::now() => {
                let release = placed.release.clone();
                match self.start(&release) {
                    Ok(worker) => {
                        if let Some(placed) = &mut self.placed {
                            placed.worker = Some(worker);
                            placed.restart_at = Instant::now();
                        }
                    }
                    Err(reason) => {
                        tracing::warn!(slot = %self.parts.slot, "{reason}");
                        if let Some(placed) = &mut self.placed {
                            placed.restart_at = Instant::now() + RESTART_PAUSE.1;
                        }
                    }
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

    async fn commit_if_due(&mut self) {
        if self.commit.is_some() {
            self.shed_while_stuck();
            return;
        }
        let due = self.last_commit.elapsed() >= self.parts.commit_every
            || self.pending.spans.len() >= self.parts.commit_frames
            || self.draining.is_some();
        if !self.pending.dirty || !due {
            return;
        }
        let step = self.route.journal();
        let Pending { spans, findings, frames, receipts, .. } = std::mem::take(&mut self.pending);
        let batch = Batch {
            slot: self.parts.slot.clone(),
            record: self.record.clone(),
            journal: step.clone(),
            spans,
            findings,
        };
        let answer = self.parts.ledger.commit(Box::new(batch)).await;
        let since = Instant::now();
        self.last_commit = since;
        self.commit = Some(Committing { answer, step, frames, receipts, since });
    }

    /// The disk takes nothing: what waits stays bounded, and the source is not kept waiting.
    fn shed_while_stuck(&mut self) {
        if !self.disk_is_stuck() {
            return;
        }
        let over = self.pending.findings.len().saturating_sub(BATCH_FRAMES_MAX);
        if over > 0 {
            self.pending.findings.drain(..over);
            self.dropped("disk", over as u64);
        }
        merge(&mut self.pending.spans);
        for (release, settled) in self.pending.frames.drain(..) {
            self.parts.witness.frame(&self.parts.slot, &release, &settled);
        }
        // Accepted in memory only; a power cut while the disk is full loses them.
        for receipt in self.pending.receipts.drain(..) {
            let _ = self.parts.receipts.send(receipt);
        }
    }

    fn committed(&mut self, answer: Option<Answer>) {
        let Some(commit) = self.commit.take() else { return };
        let Committing { step, frames, receipts, .. } = commit;
        match answer {
            Some(Ok(Committed { lost, doubled })) => {
                self.record.counts.lost += lost;
                self.record.counts.doubled += doubled;
                if lost > 0 {
                    self.parts.witness.dropped(&self.parts.slot, "lost", lost);
                }
                if doubled > 0 {
                    self.parts.witness.doubled(&self.parts.slot, doubled);
                }
                if lost + doubled > 0 {
                    tracing::error!(slot = %self.parts.slot, "{lost} readings lost, {doubled} frames doubled");
                }
                for (release, settled) in frames {
                    self.parts.witness.frame(&self.parts.slot, &release, &settled);
                }
                for receipt in receipts {
                    // A source that is gone hears it again from its broker.
                    let _ = self.parts.receipts.send(receipt);
                }
            }
            Some(Err(batch)) => {
                self.route.unwritten(step);
                let pending = std::mem::take(&mut self.pending);
                self.pending = Pending {
                    spans: [batch.spans, pending.spans].concat(),
                    findings: [batch.findings, pending.findings].concat(),
                    frames: [frames, pending.frames].concat(),
                    receipts: [receipts, pending.receipts].concat(),
                    dirty: true,
                };
                self.shed_if_failing();
            }
            // The ledger is gone: the agent stops.
            None => {}
        }
    }

    /// As [`Task::shed_while_stuck`], where the database says no instead of nothing.
    fn shed_if_failing(&mut self) {
        if self.pending.findings.len() > BATCH_FRAMES_MAX {
            let over = self.pending.findings.len() - BATCH_FRAMES_MAX;
            self.pending.findings.drain(..over);
            self.dropped("disk", over as u64);
        }
        merge(&mut self.pending.spans);
        let over = self.pending.frames.len().saturating_sub(BATCH_FRAMES_MAX);
        self.pending.frames.drain(..over);
    }

    fn is_drained(&mut self) -> bool {
        let idle = self.feed.as_ref().is_none_or(|feed| feed.backlog() == 0);
        self.draining.is_some() && idle && self.commit.is_none() && !self.pending.dirty
    }

    fn show(&self) {
        let committed = self.commit.is_none() && !self.pending.dirty;
        let view = SlotView {
            release: self.placed.as_ref().map(|placed| placed.release.release.clone()),
            answering: self.feed.is_some(),
            counts: self.record.counts.clone(),
            owed: self.route.owed(),
            ended: self.ended && committed,
        };
        self.view.send_if_modified(|now| {
            let differs = *now != view;
            if differs {
                *now = view;
            }
            differs
        });
    }
}

/// Where each of `wanted` stands in `names`; none if one is missing.
fn places(names: &[String], wanted: &[String]) -> Option<Vec<usize>> {
    wanted.iter().map(|name| names.iter().position(|other| other == name)).collect()
}

/// Joins neighboring spans of a stream, so that waiting for the disk takes no more room.
fn merge(spans: &mut Vec<Span>) {
    // The source waits from this number on, so it must not be kept.
    if spans.len() < BATCH_FRAMES_MAX {
        return;
    }
    let mut merged: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in spans.drain(..) {
        let stream = merged.entry(span.key.clone()).or_default();
        match stream.last_mut() {
            Some(last) if last.last.wrapping_add(1) == span.first => last.last = span.last,
            _ => stream.push(span),
        }
    }
    spans.extend(merged.into_values().flatten());
}

async fn answered(commit: &mut Option<Committing>) -> Option<Answer> {
    match commit {
        Some(commit) => (&mut commit.answer).await.ok(),
        None => std::future::pending().await,
    }
}
