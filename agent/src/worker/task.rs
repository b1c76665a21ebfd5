//! A slot's task: takes what the source brings, feeds the worker on the route, settles frames,
//! commits them, and replaces workers.

use crate::capture::Recorder;
use crate::config::{NamedSource, SlotConfig, SlotSources};
use crate::ledger::{Answer, Continuation, Ledger, LedgerError, Position, SlotRecord};
use crate::lock::lock;
use crate::source::{self, Arrival, Ports};
use crate::telemetry::Fires;
use crate::update::StagedRelease;
use crate::worker::beside::Beside;
use crate::worker::candidate::Candidate;
use crate::worker::commit::{Commits, answered};
use crate::worker::flow::Flow;
use crate::worker::intake::KnownPorts;
use crate::worker::message::ToWorker;
use crate::worker::placed::Placed;
use crate::worker::process::Starter;
use crate::worker::route::{Feed, Route, Shape};
use crate::worker::running::WorkerEvent;
use crate::worker::selftest::WorkerLimits;
use crate::worker::shadow::Shadow;
use crate::worker::slot::{Shared, SlotError, SlotHandle, SlotView, SwapError};
use crate::worker::witness::Witness;
use lineside_bundle::{FailSafe, Port};
use lineside_rules::ShadowLimits;
use lineside_wire::name::{DeviceId, SlotName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Readings that are sent to a worker at once.
pub(super) const SEND_READINGS: usize = 64;
/// Readings that may be on their way to a worker.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// As many where a frame has more: it need not wait for its own beginning to be taken.
pub(super) const IN_FLIGHT_OF_FRAME_MAX: usize = 1024;
/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What handles ask of the task.
pub(super) enum Command {
    /// Put a release on the route.
    Place {
        release: Box<StagedRelease>,
        may: watch::Receiver<bool>,
        reply: oneshot::Sender<Result<(), SwapError>>,
    },
    /// Give up what is being placed.
    GiveUp,
    /// Take off the route whatever is on it.
    Vacate { reason: String, reply: oneshot::Sender<()> },
    /// Have a release answer beside the route.
    Shadow {
        release: Box<StagedRelease>,
        limits: ShadowLimits,
        reply: oneshot::Sender<Result<(), SwapError>>,
    },
    /// Have nothing answer beside the route.
    EndShadow { reply: oneshot::Sender<()> },
    /// What is to have the route takes its time before it can even be placed.
    Late { reason: String },
    /// A release that may come is verified.
    Verified { release: Box<StagedRelease> },
    /// Finish what was taken, and stop.
    Drain { reply: oneshot::Sender<()> },
}

/// What a slot works with.
pub struct TaskParts {
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
    /// Keeps its readings, where its settings want it.
    pub capture: Option<Recorder>,
    /// Where it commits.
    pub ledger: Ledger,
    /// Who is told of every frame.
    pub witness: Arc<dyn Witness>,
    /// What the rules of the slot want that fire.
    pub fires: watch::Receiver<Fires>,
    /// What the source brings.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// Where the source hears what is committed.
    pub receipts: mpsc::UnboundedSender<u64>,
}

/// Opens a slot as the ledger has it and starts its task. Nothing runs before a release is placed.
/// Also gives the positions from which its sources go on.
///
/// # Errors
/// [`LedgerError`].
pub fn open(parts: TaskParts) -> Result<(SlotHandle, Positions), LedgerError> {
    let mut restored = parts.ledger.restore(&parts.slot)?;
    follow(&mut restored.record, &parts.config, &parts.slot);
    let slot = parts.slot.clone();
    let shape = Shape { rows: 1, stride: 1, warm_up: u64::MAX, time: None };
    let route = Route::restore(shape, restored.streams, restored.chunks);
    let mut route = route.numbered_from(restored.first);
    route.set_joined(restored.record.is_joined);
    let one = restored.record.position.clone();
    let positions = Positions { one, by_port: restored.record.positions.clone() };
    let (commands, inbox) = mpsc::channel(16);
    let (view, view_out) = watch::channel(SlotView::default());
    let (port, port_out) = watch::channel(None);
    let (ports, ports_out) = watch::channel(None);
    let shared = Arc::new(Shared::default());
    let (events, from_workers) = mpsc::channel(256);
    let task = Task {
        sinks: parts.config.sinks.clone().into(),
        ended: positions.one.ended,
        ending: positions.one.ended,
        record: restored.record,
        parts,
        route,
        placed: None,
        candidate: None,
        shadow: None,
        feed: None,
        deaths: BTreeMap::new(),
        commits: Commits::new(Instant::now()),
        answer: None,
        view,
        port,
        ports,
        shared: shared.clone(),
        events,
        workers: 0,
        draining: None,
        told_vacant: None,
        flow: Flow::new(Instant::now()),
        known_ports: KnownPorts::default(),
    };
    let (tell_end, end) = watch::channel(None);
    // In a thread of its own. The tasks of a runtime wait for each other, and behind one of its threads
    // that a busy system keeps waiting waits what that thread has taken: to verify a document or to
    // speak with the server must not hold up an answer.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(redb::Error::Io)?;
    let run = move || {
        let ended = runtime.block_on(async { tokio::spawn(task.run(inbox, from_workers)).await });
        let ended = ended.unwrap_or_else(|error| Err(SlotError::Broken(error.to_string())));
        tell_end.send_replace(Some(ended));
    };
    let thread = std::thread::Builder::new().name(format!("slot {slot}"));
    thread.spawn(run).map_err(redb::Error::Io)?;
    let (view, port, ports) = (view_out, port_out, ports_out);
    Ok((SlotHandle { commands, shared, view, port, ports, end }, positions))
}

/// How far the sources of a slot have been read.
#[derive(Debug, Clone)]
pub struct Positions {
    /// The only one; where there are several, only whether all have ended.
    pub one: Position,
    /// Each of several, by the port that it feeds.
    pub by_port: BTreeMap<String, Position>,
}

/// Goes on with the sources that the settings name now.
fn follow(record: &mut SlotRecord, config: &SlotConfig, slot: &SlotName) {
    let anew = "another source than before: it is read from its beginning";
    let by_port = match &config.sources {
        SlotSources::One(source) => {
            record.positions.clear();
            let marks = source::marks(&source.kind);
            if record.position.follow(marks) == Continuation::Anew {
                tracing::warn!(slot = %slot, "{anew}");
            }
            return;
        }
        SlotSources::ByPort(sources) => sources,
    };
    // What one source had for all ports is at an end.
    record.position.follow(vec![]);
    record.positions.retain(|port, _| by_port.contains_key(port));
    for (port, NamedSource { kind, .. }) in by_port {
        let position = record.positions.entry(port.clone()).or_default();
        let marks = source::marks(kind);
        record.position.ended &= position.source == marks;
        if position.follow(marks) == Continuation::Anew {
            tracing::warn!(slot = %slot, port = %port, "{anew}");
        }
    }
}

/// What a slot holds in memory.
pub(super) struct Task {
    pub(super) parts: TaskParts,
    pub(super) sinks: Arc<[String]>,
    pub(super) route: Route,
    pub(super) record: SlotRecord,
    pub(super) placed: Option<Placed>,
    pub(super) candidate: Option<Candidate>,
    pub(super) shadow: Option<Shadow>,
    /// How far the worker on the route has been fed; none while it is not ready.
    pub(super) feed: Option<Feed>,
    /// How often a reading was on its way to a worker that died.
    pub(super) deaths: BTreeMap<(String, u64), u32>,
    pub(super) commits: Commits,
    /// The commit under way.
    pub(super) answer: Option<JoinHandle<Option<Answer>>>,
    /// The source has said that the recording ends.
    pub(super) ending: bool,
    /// Everything of it is accounted for.
    pub(super) ended: bool,
    pub(super) view: watch::Sender<SlotView>,
    pub(super) port: watch::Sender<Option<Arc<Port>>>,
    pub(super) ports: watch::Sender<Option<Arc<Ports>>>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<(u64, WorkerEvent)>,
    pub(super) workers: u64,
    pub(super) draining: Option<oneshot::Sender<()>>,
    /// The fail-safe output that was said since a release had the route.
    pub(super) told_vacant: Option<BTreeMap<String, FailSafe>>,
    /// Whether readings come.
    pub(super) flow: Flow,
    /// Where the values of the route's readings stand in what sources bring.
    pub(super) known_ports: KnownPorts,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut from_workers: mpsc::Receiver<(u64, WorkerEvent)>,
    ) -> Result<(), SlotError> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let takes = self.takes_readings();
            let mut looked = false;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return Ok(()),
                },
                Some((worker, event)) = from_workers.recv() => self.heard(worker, event),
                Some(arrival) = self.parts.arrivals.recv(), if takes => self.arrived(arrival),
                answer = answered(&mut self.answer) => self.committed(answer)?,
                _ = look.tick() => {
                    self.look();
                    looked = true;
                }
            }
            self.feed_workers();
            self.commit_if_due();
            let drained = self.is_drained();
            self.show(looked || drained);
            if drained {
                if let Some(reply) = self.draining.take() {
                    let _ = reply.send(());
                }
                return Ok(());
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Place { release, may, reply } => {
                self.supersede();
                let release = *release;
                if self.placed.is_none() {
                    self.remember(&release.manifest.bundle);
                }
                if self.is_shadow(&release) {
                    return self.promote(may, reply);
                }
                let beside = Beside::new(self.start(&release));
                self.candidate = Some(Candidate::new(release, beside, may, reply));
            }
            Command::GiveUp => self.end_candidate(SwapError::GivenUp),
            Command::Vacate { reason, reply } => {
                self.supersede();
                self.drop_shadow();
                self.placed = None;
                self.feed = None;
                self.capture_head();
                *lock(&self.shared.seen) = None;
                self.port.send_replace(None);
                self.ports.send_replace(None);
                self.tell_vacant(&reason);
                self.parts.witness.vacated(&self.parts.slot);
                let _ = reply.send(());
            }
            Command::Shadow { release, limits, reply } => {
                self.begin_shadow(*release, limits, reply);
            }
            Command::EndShadow { reply } => {
                self.drop_shadow();
                let _ = reply.send(());
            }
            Command::Late { reason } => {
                if self.placed.is_none() {
                    self.tell_vacant(&reason);
                }
            }
            Command::Verified { release } => {
                if self.placed.is_none() {
                    self.remember(&release.manifest.bundle);
                }
                // The plant need not wait for the safe value until the release has been tried.
                if self.told_vacant.is_some() {
                    self.tell_vacant(&format!("{} is not committed yet", release.release));
                }
            }
            Command::Drain { reply } => {
                self.supersede();
                self.drop_shadow();
                self.draining = Some(reply);
            }
        }
    }

    fn heard(&mut self, worker: u64, event: WorkerEvent) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.beside.worker.number == worker)
        {
            self.candidate_said(event);
        } else if self.placed_worker().is_some_and(|running| running.number == worker) {
            self.worker_said(event);
        } else if self.shadow_worker().is_some_and(|running| running.number == worker) {
            self.shadow_said(event);
        }
        // Otherwise it has lost the route, and whatever it says is late.
    }

    /// Sends what the workers can take now, and changes the route where a candidate is ready.
    fn feed_workers(&mut self) {
        self.feed_candidate();
        self.feed_placed();
        // Last, so that it waits for the others and they not for it.
        self.feed_shadow();
    }

    fn feed_placed(&mut self) {
        let Some(placed) = &mut self.placed else { return };
        let (Some(worker), Some(feed)) = (&mut placed.worker, &mut self.feed) else { return };
        let in_flight_max = in_flight_max(self.route.shape());
        loop {
            let readings = feed.take(&self.route, SEND_READINGS, in_flight_max);
            if readings.is_empty() {
                break;
            }
            if feed.in_flight() == readings.len() {
                // It had nothing to do until now.
                worker.heard = Instant::now();
            }
            worker.send_readings(readings);
        }
        let takes_more = placed.finishing || !feed.has_taken_all(&self.route);
        if self.ending && !self.ended && !takes_more {
            placed.finishing = true;
            worker.heard = Instant::now();
            worker.send(ToWorker::Finish);
        }
    }

    /// Looks at deadlines.
    fn look(&mut self) {
        self.count_time();
        self.look_at_candidate();
        self.look_at_placed();
        self.look_at_shadow();
        self.look_at_capture();
    }

    /// Counts how long what answers has been given readings: a line that stands still is held against
    /// nobody.
    fn count_time(&mut self) {
        let wait = self.backlog() > 0;
        let passed = self.flow.passed(Instant::now(), wait);
        if self.placed.is_none() || passed.is_zero() {
            return;
        }
        if let Some((_, seen)) = lock(&self.shared.seen).as_mut() {
            seen.passed(passed);
        }
        if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut() {
            comparison.passed(passed);
        }
    }

    fn is_drained(&mut self) -> bool {
        let idle = self.feed.as_ref().is_none_or(|feed| feed.backlog() == 0);
        self.draining.is_some() && idle && self.commits.is_clean()
    }

    /// Lets others see the slot: at once what it does, and now and then what it has counted.
    fn show(&self, counts: bool) {
        let release = self.placed.as_ref().map(|placed| &*placed.id);
        let answering = self.feed.is_some();
        let ended = self.ended && self.commits.is_clean();
        let owed = self.route.owed();
        let quarantined = self.placed.as_ref().and_then(|placed| placed.quarantined.as_ref());
        self.view.send_if_modified(|now| {
            let differs = now.release.as_ref() != release
                || now.answering != answering
                || now.ended != ended
                || now.quarantined.as_ref() != quarantined
                || (counts && (now.owed != owed || now.counts != self.record.counts));
            if differs {
                let (release, counts) = (release.cloned(), self.record.counts.clone());
                let quarantined = quarantined.cloned();
                *now = SlotView { release, answering, counts, owed, quarantined, ended };
            }
            differs
        });
    }
}

/// Readings that may be on their way to the worker on the route.
fn in_flight_max(shape: Shape) -> usize {
    let rows = usize::try_from(shape.rows).unwrap_or(IN_FLIGHT_OF_FRAME_MAX);
    rows.clamp(IN_FLIGHT_MAX, IN_FLIGHT_OF_FRAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_need_not_wait_for_its_own_beginning_to_be_taken() {
        let of_rows = |rows| in_flight_max(Shape { rows, stride: rows, warm_up: 0, time: None });
        assert_eq!(
            [1, 128, 144, 1024, 1025, u64::MAX].map(of_rows),
            [128, 128, 144, 1024, 1024, 1024]
        );
    }
}
