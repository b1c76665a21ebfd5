//! A slot with what brings its readings and what drives its updates.

use super::House;
use super::hands::SlotHands;
use super::watched::Watched;
use crate::capture::{Permit, Place, Recorder, folder, forget};
use crate::config::{NamedSource, SlotConfig, SlotSources, SourceKind};
use crate::error::chain;
use crate::ledger::Position;
use crate::source::Arrival;
use crate::source::file::{Files, ROWS_AT_ONCE};
use crate::source::joined::{self, Joined};
use crate::source::mqtt::Topic;
use crate::source::outcomes;
use crate::source::turns::Gives;
use crate::telemetry::TelemetryHandle;
use crate::traces::Installing;
use crate::update::consent::Site;
use crate::update::consent::topic::{Used, listen};
use crate::update::slot::{DriverParts, Order, QUEUE_MAX, SlotDriver};
use crate::worker::task::{Positions, TaskParts, open};
use crate::worker::{PluginTraps, SlotEvent, SlotHandle, WorkerLimits};
use anyhow::Context;
use lineside_bundle::{Digest, Port};
use lineside_runtime::Engines;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::event;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Arrivals that wait for a slot, besides its own queue.
const ARRIVALS_MAX: usize = 4;

/// A slot that has been opened.
pub(super) struct Opened {
    /// The slot itself.
    pub(super) slot: SlotHandle,
    /// Where its driver hears of assignments.
    pub(super) assign: mpsc::Sender<Order>,
    /// Whether its route may be changed.
    pub(super) site: Site,
    /// What its workers get.
    pub(super) limits: WorkerLimits,
}

impl House {
    /// Hears on the topic of a slot, if it has one, what became of what its findings are about.
    fn hear_outcomes(&self, name: &SlotName, config: &SlotConfig, watched: &mut Watched) {
        let Some(end) = config.outcomes.clone() else { return };
        let client = format!("lineside-{}-{name}-outcomes-{}", self.name, end.mark());
        let hearing = outcomes::hear(name.clone(), end, client, self.telemetry.clone());
        watched.task(format!("the outcomes of slot {name}"), hearing);
    }

    /// What says whether the route of a slot may be changed, with the topic that it listens to.
    fn site(&self, name: &SlotName, config: &SlotConfig, watched: &mut Watched) -> Site {
        let updates = config.updates.clone();
        let in_use = updates.in_use.clone().map(|in_use| {
            let (tell, used) = watch::channel(Used::unknown(&in_use));
            let client = format!("lineside-{}-{name}-in-use", self.name);
            watched.task(format!("the topic of slot {name}"), listen(in_use, client, tell));
            used
        });
        Site::new(name.clone(), updates, in_use, self.holds.clone(), self.journal.clone())
    }

    /// Where what is captured of each slot lies, and what may.
    pub(super) fn captures(&self) -> BTreeMap<SlotName, Place> {
        let place = |(name, config): (&SlotName, &SlotConfig)| {
            let permit = |bounds| Permit::new(bounds, name.clone(), self.site.clone());
            let place = Place { folder: self.captured(name), permit: config.capture.map(permit) };
            (name.clone(), place)
        };
        self.config.slots.iter().map(place).collect()
    }

    fn captured(&self, slot: &SlotName) -> PathBuf {
        folder(&self.config.state_dir, slot)
    }

    /// Opens a slot with its source and the driver of its updates. `drivers` hears when that has ended.
    pub(super) fn open_slot(
        &self,
        name: &SlotName,
        config: &SlotConfig,
        problem: watch::Sender<Option<String>>,
        watched: &mut Watched,
        drivers: &mut Vec<oneshot::Receiver<()>>,
    ) -> anyhow::Result<Opened> {
        let (arrivals, inbox) = mpsc::channel(ARRIVALS_MAX);
        let (receipts, committed) = mpsc::unbounded_channel();
        let captured = self.captured(name);
        let capture = config.capture.map(|bounds| {
            let permit = Permit::new(bounds, name.clone(), self.site.clone());
            Recorder::start(&captured, permit, self.telemetry.keeps(name))
        });
        // Of a slot that captures no longer nothing is kept.
        if capture.is_none()
            && let Err(error) = forget(&captured)
        {
            tracing::warn!("{} is not removed: {error}", captured.display());
        }
        let (engine, choices) = (config.engine.clone(), self.limits.choices.of_slot(name));
        let onnxruntime = self.limits.library.now().onnxruntime;
        let here = Engines { onnxruntime, ..Engines::default() };
        let lacking = engine.as_deref().and_then(|wanted| match here.engine(wanted) {
            Ok(engine) => engine.absence().map(|why| format!("{wanted} {why}")),
            Err(error) => Some(chain(error)),
        });
        if let Some(lacking) = lacking {
            tracing::warn!("slot {name} takes no release with a model: {lacking}");
        }
        let plugin_traps = PluginTraps::of(name.clone(), config.policy.clone(), self.site.clone());
        let limits = WorkerLimits { engine, choices, plugin_traps, ..self.limits.clone() };
        let (slot, positions) = open(TaskParts {
            device: self.name.clone(),
            slot: name.clone(),
            config: config.clone(),
            commit_every: self.config.limits.commit_every,
            commit_frames: self.config.limits.commit_frames,
            limits: limits.clone(),
            starter: self.starter.clone(),
            capture: capture.transpose().context("cannot start a thread for the capture")?,
            ledger: self.ledger.clone(),
            witness: Arc::new(self.telemetry.clone()),
            fires: self.telemetry.fires(name),
            arrivals: inbox,
            receipts,
        })?;
        let working = slot.clone();
        watched.task(format!("slot {name}"), async move {
            if let Err(error) = working.ended().await {
                tracing::error!("{}", chain(error));
            }
        });
        let parts = SourcesParts {
            device: &self.name,
            name,
            config,
            slot: &slot,
            positions,
            arrivals,
            receipts: committed,
            problem,
        };
        parts.start(watched)?;
        self.hear_outcomes(name, config, watched);
        let site = self.site(name, config, watched);
        let (assign, orders) = mpsc::channel(QUEUE_MAX);
        let driver = SlotDriver::new(DriverParts {
            slot: name.clone(),
            orders,
            policy: config.policy.clone(),
            shadow: config.shadow.clone(),
            site: self.site.clone(),
            journal: self.journal.clone(),
            blobs: self.blobs.clone(),
            registry: self.registry.clone(),
            preflight: self.surroundings.preflight(name),
            hands: SlotHands {
                slot: slot.clone(),
                starter: self.starter.clone(),
                limits: limits.clone(),
                telemetry: self.telemetry.clone(),
                installing: Installing::new(name.clone(), self.config.traces.clone()),
                name: name.clone(),
                site: site.clone(),
                given_up: Notify::new(),
                tested: Mutex::default(),
            },
            states: self.states.clone(),
            online: self.online.subscribe(),
        })?;
        let (failures, telling) = failures(&slot, name.clone(), self.telemetry.clone());
        watched.task(format!("the count of deaths of slot {name}"), telling);
        let driving = driver.drive(failures, self.stop.clone());
        let (end, ended) = oneshot::channel();
        drivers.push(ended);
        watched.task(format!("the driver of updates of slot {name}"), async move {
            driving.await;
            // Nobody waits for it unless the agent stops.
            let _ = end.send(());
        });
        Ok(Opened { slot, assign, site, limits })
    }
}

/// Deaths of the slot's workers, as the driver of its updates wants them, and what passes them on. What
/// others do to them is not for it to judge, and only told.
fn failures(
    slot: &SlotHandle,
    name: SlotName,
    telemetry: TelemetryHandle,
) -> (mpsc::Receiver<(Digest, String)>, impl Future<Output = ()> + use<>) {
    let mut events = slot.subscribe();
    let (tell, failures) = mpsc::channel(QUEUE_MAX);
    let telling = async move {
        while let Some(event) = events.recv().await {
            match event {
                SlotEvent::WorkerFailed { release, reason } => {
                    if tell.send((release.digest, reason)).await.is_err() {
                        return;
                    }
                }
                SlotEvent::WorkerKilled { release, reason } => {
                    let text = format!(
                        "worker of {release}: {reason} by somebody else, which is not held against it; \
                         it is started again"
                    );
                    telemetry.event(name.as_str(), event::WORKER_KILLED, &text);
                }
                SlotEvent::Quarantined { release, reason } => {
                    let text = format!("{release}: {reason}");
                    telemetry.event(name.as_str(), event::QUARANTINED, &text);
                }
            }
        }
    };
    (failures, telling)
}

/// What the sources of a slot work with.
struct SourcesParts<'a> {
    device: &'a DeviceId,
    name: &'a SlotName,
    config: &'a SlotConfig,
    slot: &'a SlotHandle,
    positions: Positions,
    arrivals: mpsc::Sender<Arrival>,
    receipts: mpsc::UnboundedReceiver<u64>,
    problem: watch::Sender<Option<String>>,
}

impl SourcesParts<'_> {
    /// Starts the only source, or one for each port and what joins them.
    fn start(self, watched: &mut Watched) -> anyhow::Result<()> {
        let SourcesParts { device, name, config, slot, positions, arrivals, receipts, problem } =
            self;
        let Positions { one, by_port: mut positions } = positions;
        let by_port = match &config.sources {
            SlotSources::One(source) => {
                let ends = (slot.port(), arrivals, receipts, problem);
                let parts = SourceParts { device, name, feed: None, source, position: one, ends };
                return parts.start(watched);
            }
            SlotSources::ByPort(sources) => sources,
        };
        if one.ended {
            tracing::info!("slot {name}: its sources are at their ends; nothing is read");
            return Ok(());
        }
        let mut sources = Vec::new();
        for (feed, source) in by_port {
            let (arrived, arriving) = mpsc::channel(ARRIVALS_MAX);
            let (committed, hears) = mpsc::unbounded_channel();
            let (port, read_for) = watch::channel(None);
            let (told, has) = watch::channel(None);
            sources.push(joined::Source {
                name: Arc::from(feed.as_str()),
                gives: match source.kind {
                    SourceKind::File { .. } => Gives::Recorded,
                    SourceKind::Mqtt(_) => Gives::Live,
                },
                arrivals: arriving,
                receipts: committed,
                port,
                problem: has,
            });
            let position = positions.remove(feed).unwrap_or_default();
            let ends = (read_for, arrived, hears, told);
            let feed = Some(feed.as_str());
            SourceParts { device, name, feed, source, position, ends }.start(watched)?;
        }
        let joined = Joined::new(sources, slot.ports(), arrivals, receipts, problem);
        watched.task(format!("what joins the sources of slot {name}"), joined.read());
        Ok(())
    }
}

/// What a source tells, and is told.
type Ends = (
    watch::Receiver<Option<Arc<Port>>>,
    mpsc::Sender<Arrival>,
    mpsc::UnboundedReceiver<u64>,
    watch::Sender<Option<String>>,
);

/// What a source works with.
struct SourceParts<'a> {
    device: &'a DeviceId,
    name: &'a SlotName,
    /// The port that it feeds; none of the only source.
    feed: Option<&'a str>,
    source: &'a NamedSource,
    position: Position,
    ends: Ends,
}

impl SourceParts<'_> {
    fn start(self, watched: &mut Watched) -> anyhow::Result<()> {
        let SourceParts { device, name, feed, source, position, ends } = self;
        let NamedSource { name: source, kind } = source;
        let (port, arrivals, receipts, problem) = ends;
        let of = feed.map_or(String::new(), |feed| format!(" for port {feed}"));
        let named = format!("the source of slot {name}{of}");
        match kind {
            SourceKind::File { .. } if position.ended => {
                tracing::info!("slot {name}: source {source} is at its end; nothing is read");
            }
            SourceKind::File { paths, pace } => {
                // Where others wait for it each row has a turn of its own.
                let at_once = if feed.is_some() { 1 } else { ROWS_AT_ONCE };
                let (paths, pace) = (paths.clone(), *pace);
                let files = Files { paths, pace, at_once, port, arrivals, problem };
                let (end, ended) = oneshot::channel();
                std::thread::Builder::new()
                    .name(format!("source {name}"))
                    .spawn(move || {
                        files.read(&position);
                        // Nobody listens any more when the agent stops.
                        let _ = end.send(());
                    })
                    .context("cannot start a thread for the source")?;
                watched.thread(named, ended);
            }
            SourceKind::Mqtt(end) => {
                // Another broker or topic is another session: nothing of the old one belongs to it.
                let mark = end.mark();
                let client_id = match feed {
                    None => format!("lineside-{device}-{name}-{mark}"),
                    Some(feed) => {
                        let port = Digest::of(feed.as_bytes()).short();
                        format!("lineside-{device}-{name}-{port}-{mark}")
                    }
                };
                let (end, recent) = (end.clone(), position.recent);
                let topic = Topic { end, client_id, port, arrivals, receipts, recent, problem };
                watched.task(named, topic.read());
            }
        }
        Ok(())
    }
}
