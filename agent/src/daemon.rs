//! The agent as a whole: opens what there is, puts sources, slots, sinks and the drivers of updates
//! together, and ends them in order. The only module that knows all others.

use crate::clock::now_unix_ms;
use crate::config::{Config, OutboxFull, SinkKind, SlotConfig, SourceKind};
use crate::error::chain;
use crate::fleet::Device;
use crate::fleet::device::DeviceError;
use crate::fleet::session::Session;
use crate::fleet::status::Reporter;
use crate::ledger::{Ledger, Outbox, OutboxLimits, Position};
use crate::local;
use crate::sink;
use crate::source::Arrival;
use crate::source::file::Files;
use crate::source::mqtt::Topic;
use crate::status::{self, DeviceStatus, SlotReport, by_sink};
use crate::store::Store;
use crate::telemetry::{TelemetryHandle, TelemetryParts};
use crate::update::StagedRelease;
use crate::update::acceptance::{Acceptance, RestoreError};
use crate::update::blobs::Blobs;
use crate::update::download::Registry;
use crate::update::driver::{Parts, Updates};
use crate::update::hands::{Failure, Hands};
use crate::update::journal::Journal;
use crate::update::slot::{QUEUE_MAX, SlotDriver, SlotParts as DriverParts};
use crate::update::states::States;
use crate::worker::process::{Processes, Starter};
use crate::worker::task::{SlotParts, open};
use crate::worker::{
    SelfTestError, SlotEvent, SlotHandle, SlotView, SwapError, WorkerLimits, self_test,
};
use anyhow::{Context, anyhow, bail};
use lineside_bundle::{Digest, Port};
use lineside_rules::Observation;
use lineside_update::{Report, Target};
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::event;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinSet, block_in_place, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Arrivals that wait for a slot, besides its own queue.
const ARRIVALS_MAX: usize = 4;
/// Longest that the end of the agent may take.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether everything is drained.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the server is told of findings that gave way.
const GAVE_WAY_EVERY: Duration = Duration::from_secs(60);

/// When the agent ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only when it is told to.
    Stopped,
    /// When all recordings are at their end and all findings are delivered.
    Drained,
}

/// What all slots share.
struct House {
    config: Config,
    name: DeviceId,
    registry: Registry,
    ledger: Ledger,
    journal: Journal,
    blobs: Blobs,
    states: Arc<States>,
    online: Arc<Notify>,
    starter: Arc<dyn Starter>,
    limits: WorkerLimits,
    telemetry: TelemetryHandle,
    boot: u64,
    /// Says true once the agent has been told to stop.
    stop: watch::Receiver<bool>,
}

/// Runs the agent with the settings in `config`.
///
/// # Errors
/// Whatever keeps it from starting, naming the file and the field; and a part of it that has ended
/// although it must not, so that whoever started the agent starts it again.
pub async fn run(config: &Path, until: Until) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    if until == Until::Drained {
        check_drainable(&config)?;
    }
    let store = Store::open(&config.state_dir)?;
    let outbox = OutboxLimits {
        findings_max: config.limits.outbox_findings_max,
        block: config.limits.outbox_full == OutboxFull::Block,
    };
    let limits = WorkerLimits {
        memory_mib_max: config.limits.worker_memory_mib_max,
        load: config.limits.load,
        self_test: config.limits.self_test,
        cache: store.cache(),
        cache_key: store.device_key()?,
    };
    let processes = Processes::new(tokio::runtime::Handle::current())
        .context("cannot start the thread that starts workers")?;
    let journal = Journal::open(store.database())?;
    let boot = journal.next_boot(now_unix_ms(), draw())?;
    if let Err(error) = journal.write_boot(boot) {
        tracing::warn!("this start is not counted: {}", chain(error));
    }
    let telemetry = TelemetryHandle::open(TelemetryParts {
        database: store.database(),
        state_dir: config.state_dir.clone(),
        boot,
        interval: config.telemetry.interval,
        spool_bytes_max: config.telemetry.spool_bytes_max,
        slots: config.slots.keys().cloned().collect(),
    })?;
    let name = status::name(&config, &journal)?;
    let trust = trust(&journal, Device::read(&config.device_dir))?;
    let (stop, told_to_stop) = watch::channel(false);
    let house = House {
        stop: told_to_stop,
        telemetry: telemetry.clone(),
        boot,
        registry: trust.device.as_ref().map_or_else(Registry::none, Registry::of),
        name: name.clone(),
        journal,
        ledger: Ledger::open(&store, outbox)?,
        blobs: Blobs::open(&config.state_dir)?,
        states: Arc::new(States::default()),
        online: Arc::new(Notify::new()),
        starter: Arc::new(processes),
        limits,
        config,
    };
    tracing::info!("{name} runs with {} slots", house.config.slots.len());
    let mut watched = Watched::default();
    let ledger = house.ledger.clone();
    watched.task("the ledger", async move { ledger.closed().await });
    let mut slots = BTreeMap::new();
    let mut assign = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut drivers = Vec::new();
    for (name, config) in &house.config.slots {
        let (problem, brings) = watch::channel(None);
        let (slot, told) = house
            .open_slot(name, config, problem, &mut watched, &mut drivers)
            .with_context(|| format!("slot {name}"))?;
        slots.insert(name.clone(), slot);
        assign.insert(name.clone(), told);
        sources.insert(name.clone(), brings);
    }
    house.follow_the_server(&store, &slots, assign, sources.clone(), trust);
    house.start_sinks(&mut watched)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let done = tokio::select! {
        _ = terminate.recv() => {
            tracing::info!("told to stop");
            Ok(())
        }
        _ = interrupt.recv() => {
            tracing::info!("told to stop");
            Ok(())
        }
        done = house.drained(&slots, sources), if until == Until::Drained => done,
        // Without it readings would be lost in silence. A fresh start goes on from the disk.
        what = watched.ended() => Err(anyhow!("{what} has ended, which it must not; see above")),
    };
    let stopping = async {
        // Before any worker ends, so that its end is held against no release.
        stop.send_replace(true);
        for slot in slots.values() {
            slot.drain().await;
        }
        for ended in drivers {
            // One that broke down has been told of.
            let _ = ended.await;
        }
        telemetry.flush().await;
    };
    if timeout(STOP_MAX, stopping).await.is_err() {
        tracing::warn!("not everything is on disk; the next start goes on from what is");
    }
    for slot in slots.values() {
        say_counts(&slot.view().borrow());
    }
    done
}

/// Tasks and threads that end only with the agent.
#[derive(Default)]
struct Watched {
    ends: JoinSet<String>,
}

impl Watched {
    /// Starts a task; its end is told with this name.
    fn task(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        let task = tokio::spawn(task);
        self.ends.spawn(async move {
            // A panic has been told where it happened.
            let _ = task.await;
            name
        });
    }

    /// Watches a thread that says when it has ended as it may.
    fn thread(&mut self, name: impl Into<String>, ended: oneshot::Receiver<()>) {
        let name = name.into();
        self.ends.spawn(async move {
            if ended.await.is_ok() {
                std::future::pending::<()>().await;
            }
            name
        });
    }

    /// Waits until one of them has ended. Gives its name.
    async fn ended(&mut self) -> String {
        match self.ends.join_next().await {
            Some(Ok(name)) => name,
            // These tasks only wait, and nobody cancels them.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}

/// A random number, for [`Journal::next_boot`].
fn draw() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the clock alone has to tell starts apart.
    let _ = SystemRandom::new().fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

fn check_drainable(config: &Config) -> anyhow::Result<()> {
    for (name, slot) in &config.slots {
        if matches!(slot.source_kind, SourceKind::Mqtt(_)) {
            bail!(
                "--until-drained needs recordings, and source {} of slot {name} is a topic",
                slot.source
            );
        }
    }
    Ok(())
}

fn say_counts(view: &SlotView) {
    let counts = &view.counts;
    tracing::info!(
        "{} readings, {} frames, {} findings, lost {}, doubled {}, dropped {:?}, errors {:?}",
        counts.accepted,
        counts.frames,
        counts.findings,
        counts.lost,
        counts.doubled,
        counts.dropped,
        counts.errors
    );
}

impl House {
    /// Waits until all recordings are at their end and all findings are delivered.
    ///
    /// # Errors
    /// A recording that cannot be read.
    async fn drained(
        &self,
        slots: &BTreeMap<SlotName, SlotHandle>,
        mut sources: BTreeMap<SlotName, watch::Receiver<Option<String>>>,
    ) -> anyhow::Result<()> {
        for (name, slot) in slots {
            let mut view = slot.view();
            let source = sources.get_mut(name).context("every slot has a source")?;
            tokio::select! {
                // A slot that is gone is told of by who watches it.
                _ = view.wait_for(|view| view.ended) => {}
                Ok(problem) = source.wait_for(Option::is_some) => {
                    let problem = problem.clone().unwrap_or_default();
                    bail!("the recording of slot {name} cannot be read: {problem}");
                }
            }
        }
        loop {
            let ledger = self.ledger.clone();
            match spawn_blocking(move || ledger.outbox()).await? {
                Ok(outbox) => {
                    let wanted = |sink: &String| self.config.sinks.contains_key(sink);
                    if outbox.iter().all(|(sink, findings)| !wanted(sink) || findings.waiting == 0)
                    {
                        return Ok(());
                    }
                }
                Err(error) => tracing::error!("{:#}", anyhow::Error::from(error)),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn start_sinks(&self, watched: &mut Watched) -> anyhow::Result<()> {
        for (name, kind) in &self.config.sinks {
            let (sink, ledger) = (name.clone(), self.ledger.clone());
            let named = format!("sink {name}");
            match kind.clone() {
                SinkKind::File { path, bytes_max } => {
                    watched.task(named, sink::file::run(sink, path, bytes_max, ledger));
                }
                SinkKind::Mqtt(end) => {
                    let client = format!("lineside-{}-sink-{name}", self.name);
                    watched.task(named, sink::mqtt::run(sink, end, client, ledger));
                }
            }
        }
        let outbox = self.ledger.outbox()?;
        for (sink, findings) in &outbox {
            if findings.waiting > 0 && !self.config.sinks.contains_key(sink) {
                tracing::warn!(
                    "{} findings wait for sink {sink}, which the settings no longer name",
                    findings.waiting
                );
            }
        }
        let (ledger, telemetry) = (self.ledger.clone(), self.telemetry.clone());
        tokio::spawn(tell_what_gives_way(ledger, telemetry, outbox));
        Ok(())
    }
}

/// Tells the server of findings that give way because a sink takes none, from what they were on.
async fn tell_what_gives_way(
    ledger: Ledger,
    telemetry: TelemetryHandle,
    mut told: BTreeMap<String, Outbox>,
) {
    loop {
        sleep(GAVE_WAY_EVERY).await;
        let ledger = ledger.clone();
        // While the disk gives no numbers, they wait.
        let Ok(Ok(outbox)) = spawn_blocking(move || ledger.outbox()).await else { continue };
        for (sink, findings) in &outbox {
            let before = told.get(sink).map_or(0, |findings| findings.gave_way);
            let count = findings.gave_way.saturating_sub(before);
            if count > 0 {
                let text = format!("{count} findings gave way: too many waited for sink {sink}");
                telemetry.event("", event::FINDINGS_DROPPED, &text);
            }
        }
        told = outbox;
    }
}

impl House {
    fn open_slot(
        &self,
        name: &SlotName,
        config: &SlotConfig,
        problem: watch::Sender<Option<String>>,
        watched: &mut Watched,
        drivers: &mut Vec<oneshot::Receiver<()>>,
    ) -> anyhow::Result<(SlotHandle, mpsc::Sender<Target>)> {
        let (arrivals, inbox) = mpsc::channel(ARRIVALS_MAX);
        let (receipts, committed) = mpsc::unbounded_channel();
        let (slot, position) = open(SlotParts {
            device: self.name.clone(),
            slot: name.clone(),
            config: config.clone(),
            commit_every: self.config.limits.commit_every,
            commit_frames: self.config.limits.commit_frames,
            limits: self.limits.clone(),
            starter: self.starter.clone(),
            ledger: self.ledger.clone(),
            witness: Arc::new(self.telemetry.clone()),
            arrivals: inbox,
            receipts,
        })?;
        let working = slot.clone();
        watched.task(format!("slot {name}"), async move {
            if let Err(error) = working.ended().await {
                tracing::error!("{:#}", anyhow::Error::from(error));
            }
        });
        let source = SourceParts {
            device: &self.name,
            name,
            config,
            port: slot.port(),
            position,
            arrivals,
            receipts: committed,
            problem,
        };
        start_source(source, watched)?;
        let (assign, assignments) = mpsc::channel(QUEUE_MAX);
        let driver = SlotDriver::new(DriverParts {
            slot: name.clone(),
            policy: config.policy.clone(),
            journal: self.journal.clone(),
            blobs: self.blobs.clone(),
            registry: self.registry.clone(),
            hands: SlotHands {
                slot: slot.clone(),
                starter: self.starter.clone(),
                limits: self.limits.clone(),
                telemetry: self.telemetry.clone(),
                name: name.clone(),
            },
            states: self.states.clone(),
            online: self.online.clone(),
        })?;
        let driving = driver.drive(assignments, failures(&slot), self.stop.clone());
        let (end, ended) = oneshot::channel();
        drivers.push(ended);
        watched.task(format!("the driver of updates of slot {name}"), async move {
            driving.await;
            // Nobody waits for it unless the agent stops.
            let _ = end.send(());
        });
        Ok((slot, assign))
    }
}

/// What is trusted at the start.
struct Trust {
    /// The device's folder; none where there is no server that may be spoken to.
    device: Option<Device>,
    /// What was accepted and is still to be told to the slots, or why nothing is taken.
    accepted: Result<(Acceptance, BTreeMap<SlotName, Target>), String>,
}

/// What is trusted. Trouble with it turns off updates and stops nothing that runs.
///
/// # Errors
/// The state folder is another device's: its readings, findings and telemetry are not this one's.
fn trust(journal: &Journal, device: Result<Device, DeviceError>) -> Result<Trust, RestoreError> {
    let device = match device {
        Ok(device) => device,
        Err(error) => return Ok(Trust { device: None, accepted: Err(chain(error)) }),
    };
    let restored = Acceptance::restore(&device, journal.clone());
    let (device, accepted) = match restored.and_then(|it| Ok((it, journal.accepted()?.targets))) {
        Ok(accepted) => (Some(device), Ok(accepted)),
        Err(error @ RestoreError::OtherDevice { .. }) => return Err(error),
        // What the spool holds is not for whoever the device belongs to now.
        Err(error @ RestoreError::OtherRoot) => (None, Err(chain(error))),
        // The server hears how the device is, and nothing is taken from it.
        Err(error) => (Some(device), Err(chain(error))),
    };
    Ok(Trust { device, accepted })
}

impl House {
    /// Starts what brings releases: the driver of updates, the session with the server, the door for
    /// people on the device.
    fn follow_the_server(
        &self,
        store: &Store,
        slots: &BTreeMap<SlotName, SlotHandle>,
        assign: BTreeMap<SlotName, mpsc::Sender<Target>>,
        sources: BTreeMap<SlotName, watch::Receiver<Option<String>>>,
        trust: Trust,
    ) {
        let telemetry = self.telemetry.clone();
        let updates = match trust.accepted {
            Ok((acceptance, targets)) => {
                let refused = move |reason: &str| {
                    telemetry.event("", event::DOCUMENTS_REFUSED, reason);
                };
                Updates::start(Parts {
                    acceptance,
                    targets,
                    journal: self.journal.clone(),
                    blobs: self.blobs.clone(),
                    slots: assign,
                    refused: Box::new(refused),
                })
            }
            Err(why) => Updates::off(&why, assign),
        };
        if let Some(trouble) = updates.trouble() {
            tracing::error!("{trouble}; what runs goes on");
            self.telemetry.event("", event::DOCUMENTS_REFUSED, &trouble);
        }
        let (connected, is_connected) = watch::channel(false);
        if let Some(device) = trust.device {
            let session = Session {
                device,
                reporter: Reporter::new(self.states.clone(), self.boot),
                updates: updates.clone(),
                telemetry: self.telemetry.clone(),
                online: self.online.clone(),
                connected,
            };
            tokio::spawn(session.run());
        }
        let views: BTreeMap<_, _> =
            slots.iter().map(|(name, slot)| (name.clone(), slot.view())).collect();
        let (device, states, ledger) =
            (self.name.clone(), self.states.clone(), self.ledger.clone());
        let (versions, asked) = (updates.versions(), updates.clone());
        let status = move || {
            let reports = states.all().into_iter().filter_map(|(name, state)| {
                let view = views.get(&name)?.borrow().clone();
                let source = sources.get(&name).and_then(|problem| problem.borrow().clone());
                Some((name, SlotReport::of(&state, view, source)))
            });
            // A disk that gives no numbers must not hide the rest.
            let outbox = block_in_place(|| ledger.outbox()).unwrap_or_default();
            let versions = *versions.borrow();
            DeviceStatus {
                device: device.clone(),
                running: true,
                connected: *is_connected.borrow(),
                trouble: asked.trouble(),
                assignment: versions.assignment,
                releases: versions.releases,
                slots: reports.collect(),
                waiting: by_sink(&outbox, |findings| findings.waiting),
                gave_way: by_sink(&outbox, |findings| findings.gave_way),
            }
        };
        // Without the door the device works as before; only people have to look elsewhere.
        if let Err(error) = local::serve(store.folder(), status, updates) {
            tracing::warn!("`lineside-agent status` and `install` will not work: {error}");
        }
    }
}

/// Deaths of the slot's workers, as the driver of its updates wants them.
fn failures(slot: &SlotHandle) -> mpsc::Receiver<(Digest, String)> {
    let mut events = slot.subscribe();
    let (tell, failures) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(async move {
        while let Some(SlotEvent::WorkerFailed { release, reason }) = events.recv().await {
            if tell.send((release.digest, reason)).await.is_err() {
                return;
            }
        }
    });
    failures
}

/// What a source works with.
struct SourceParts<'a> {
    device: &'a DeviceId,
    name: &'a SlotName,
    config: &'a SlotConfig,
    port: watch::Receiver<Option<Arc<Port>>>,
    position: Position,
    arrivals: mpsc::Sender<Arrival>,
    receipts: mpsc::UnboundedReceiver<u64>,
    problem: watch::Sender<Option<String>>,
}

fn start_source(parts: SourceParts<'_>, watched: &mut Watched) -> anyhow::Result<()> {
    let SourceParts { device, name, config, port, position, arrivals, receipts, problem } = parts;
    let named = format!("the source of slot {name}");
    match &config.source_kind {
        SourceKind::File { .. } if position.ended => {
            tracing::info!("slot {name}: source {} is at its end; nothing is read", config.source);
        }
        SourceKind::File { paths, pace } => {
            let files = Files { paths: paths.clone(), pace: *pace, port, arrivals, problem };
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
            let mark = Digest::of(format!("{end:?}").as_bytes()).short();
            let client_id = format!("lineside-{device}-{name}-{mark}");
            let recent = position.recent;
            let topic =
                Topic { end: end.clone(), client_id, port, arrivals, receipts, recent, problem };
            watched.task(named, topic.read());
        }
    }
    Ok(())
}

/// What a slot's driver does to the slot.
struct SlotHands {
    slot: SlotHandle,
    starter: Arc<dyn Starter>,
    limits: WorkerLimits,
    telemetry: TelemetryHandle,
    name: SlotName,
}

impl Hands for SlotHands {
    async fn run(&self, release: &StagedRelease) -> Result<(), Failure> {
        self.slot.run(release).await.map_err(not_placed)
    }

    async fn swap(&self, release: &StagedRelease) -> Result<(), Failure> {
        self.slot.swap(release).await.map_err(not_placed)
    }

    async fn vacate(&self, reason: &str) {
        self.slot.vacate(reason).await;
    }

    fn observation(&self, release: &Digest) -> Observation {
        self.slot.observation(release)
    }

    async fn self_test(&self, release: &StagedRelease) -> Result<(), Failure> {
        self.slot.verified(release).await;
        match self_test(release, &self.limits, &*self.starter).await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_checked(error)),
        }
    }

    async fn report(&self, report: &Report) -> bool {
        self.telemetry.report(&self.name, report).await
    }
}

fn not_placed(error: SwapError) -> Failure {
    let reason = error.to_string();
    match error {
        SwapError::Load(_) | SwapError::Died(_) | SwapError::Slow(_) => Failure::Release(reason),
        SwapError::Killed(_) | SwapError::Start(_) => Failure::Elsewhere(reason),
        // A driver asks for one change after the other: what comes in between is the agent's end.
        SwapError::Superseded | SwapError::Stopping => Failure::Stopping,
    }
}

fn not_checked(error: SelfTestError) -> Failure {
    let reason = error.to_string();
    match error {
        SelfTestError::Refused(_) | SelfTestError::Died(_) | SelfTestError::Slow(_) => {
            Failure::Release(reason)
        }
        SelfTestError::Killed(_) | SelfTestError::Start(_) => Failure::Elsewhere(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_of_the_agent_that_breaks_down_is_named() {
        let mut watched = Watched::default();
        watched.task("the task that runs", std::future::pending());
        let (end, ended) = oneshot::channel();
        watched.thread("the recording that is at its end", ended);
        end.send(()).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        watched.thread("the thread that breaks", ended);
        let thread = std::thread::spawn(move || {
            let _end = end;
            panic!("a thread of a test");
        });
        thread.join().unwrap_err();
        assert_eq!(watched.ended().await, "the thread that breaks");
        watched.task("the task that breaks", async { panic!("a task of a test") });
        assert_eq!(watched.ended().await, "the task that breaks");
        watched.task("the task that just ends", async {});
        assert_eq!(watched.ended().await, "the task that just ends");
    }
}
