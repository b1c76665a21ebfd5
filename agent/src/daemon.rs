//! The agent as a whole: opens what there is, puts sources, slots, sinks and the drivers of updates
//! together, and ends them in order. The only module that knows all others.

mod hands;
mod slots;
mod trust;
mod watched;

use crate::capture::CaptureReport;
use crate::clock::now_unix_ms;
use crate::config::{Config, DownloadConfig, OutboxFull, SinkKind, SlotConfig, SourceKind};
use crate::error::chain;
use crate::fleet::carry::Carrier;
use crate::fleet::session::Session;
use crate::fleet::status::Reporter;
use crate::fleet::{Device, asked};
use crate::ledger::{Ledger, Outbox, OutboxLimits};
use crate::local;
use crate::sink;
use crate::status::{self, DeviceStatus, SlotReport, by_sink};
use crate::store::Store;
use crate::telemetry::{TelemetryHandle, TelemetryParts};
use crate::update::blobs::Blobs;
use crate::update::consent::Site;
use crate::update::consent::holds::{Hold, Holds};
use crate::update::download::Registry;
use crate::update::driver::{Parts, Updates};
use crate::update::journal::Journal;
use crate::update::limits::Limits;
use crate::update::slot::Order;
use crate::update::states::{HoldTold, States};
use crate::update::surroundings::Surroundings;
use crate::worker::process::{Processes, Starter};
use crate::worker::{SlotHandle, SlotView, WorkerLimits};
use anyhow::{Context, anyhow, bail};
use lineside_rules::SitePolicy;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::event;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{sleep, timeout};
use trust::{Trust, trust};
use watched::Watched;

/// Longest that the end of the agent may take.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether everything is drained.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of telemetry that may wait where there is no disk to wait on.
const SPOOL_IN_MEMORY_BYTES_MAX: u64 = 8 << 20;
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
    /// What the site has signed.
    site: watch::Receiver<SitePolicy>,
    surroundings: Surroundings,
    holds: Holds,
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
        cache_key: store.device_key(),
    };
    let processes =
        Processes::new(Handle::current()).context("cannot start the thread that starts workers")?;
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
        spool_bytes_max: match store.unwritable() {
            Some(_) => config.telemetry.spool_bytes_max.min(SPOOL_IN_MEMORY_BYTES_MAX),
            None => config.telemetry.spool_bytes_max,
        },
        slots: config.slots.keys().cloned().collect(),
    })?;
    say_what_is_lost(&store, &telemetry).await;
    let name = status::name(&config, &journal)?;
    let mut trust = trust(&journal, Device::read(&config.device_dir), config.site.clone())?;
    if store.unwritable().is_some() {
        trust.accepted = Err("what would be installed could not be written down".to_owned());
    }
    let (stop, told_to_stop) = watch::channel(false);
    let states = Arc::new(States::default());
    let (news, shown) = (telemetry.clone(), states.clone());
    let tell = move |slot: &SlotName, hold: Option<&Hold>, text: &str| {
        let kind = if hold.is_some() { event::HOLD_BEGAN } else { event::HOLD_ENDED };
        tracing::info!(%slot, "updates: {text}");
        news.event(slot.as_str(), kind, text);
        shown.hold(slot, hold.map(HoldTold::from));
    };
    let names = config.slots.keys().cloned().collect();
    let holds = Holds::open(store.database(), names, Arc::new(tell))?;
    for slot in config.slots.keys() {
        states.hold(slot, holds.of(slot).as_ref().map(HoldTold::from));
    }
    let blobs = Blobs::open(&config.state_dir)?;
    let house = House {
        stop: told_to_stop,
        telemetry: telemetry.clone(),
        boot,
        site: trust.policy.clone(),
        registry: match &trust.device {
            Some(device) => {
                let DownloadConfig { bytes_per_second_max, budget_bytes, .. } = config.download;
                let limits = Limits::open(bytes_per_second_max, budget_bytes, store.database())?;
                Registry::of(device, &config.download, limits)
            }
            None => Registry::none(),
        },
        name: name.clone(),
        journal,
        ledger: Ledger::open(&store, outbox)?,
        surroundings: Surroundings::of(&config, blobs.clone()),
        holds,
        blobs,
        states,
        online: Arc::new(Notify::new()),
        starter: Arc::new(processes),
        limits,
        config,
    };
    let slots: Vec<&str> = house.config.slots.keys().map(SlotName::as_str).collect();
    tracing::info!("{name} runs; its slots: {}", slots.join(", "));
    let mut watched = Watched::default();
    let ledger = house.ledger.clone();
    watched.task("the ledger", async move { ledger.closed().await });
    watched.task("the count of holds", house.holds.clone().count());
    let mut slots = BTreeMap::new();
    let mut assign = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut sites = BTreeMap::new();
    let mut drivers = Vec::new();
    for (name, config) in &house.config.slots {
        let (problem, brings) = watch::channel(None);
        let opened = house
            .open_slot(name, config, problem, &mut watched, &mut drivers)
            .with_context(|| format!("slot {name}"))?;
        slots.insert(name.clone(), opened.slot);
        assign.insert(name.clone(), opened.assign);
        sites.insert(name.clone(), opened.site);
        sources.insert(name.clone(), brings);
    }
    let session = house.follow_the_server(&store, &slots, assign, sites, sources.clone(), trust);
    if let Some(session) = session {
        watched.task("the session with the server", session.run());
    }
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
    for (name, slot) in &slots {
        say_counts(name, &slot.view().borrow());
    }
    done
}

/// Says what has become of what the device had written down: here, and to the server.
async fn say_what_is_lost(store: &Store, telemetry: &TelemetryHandle) {
    if let Some(why) = store.unwritable() {
        tracing::error!("{why}");
        telemetry.event("", event::STATE_UNWRITABLE, why);
    }
    if store.lost().is_empty() {
        return;
    }
    for text in store.lost() {
        tracing::error!("{text}");
        telemetry.event("", event::STATE_LOST, text);
    }
    // Where that does not reach the disk, the next start says it again.
    if telemetry.flush().await
        && let Err(error) = store.told()
    {
        tracing::warn!("what was lost is told again at the next start: {}", chain(error));
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

fn say_counts(slot: &SlotName, view: &SlotView) {
    let counts = &view.counts;
    tracing::info!(
        %slot,
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
    fn reporter(&self, sources: &BTreeMap<SlotName, watch::Receiver<Option<String>>>) -> Reporter {
        let slots = self.config.slots.iter();
        let deadline = |(name, slot): (&SlotName, &SlotConfig)| {
            slot.updates.deadline.map(|deadline| (name.clone(), deadline))
        };
        Reporter::new(
            self.states.clone(),
            sources.clone(),
            slots.filter_map(deadline).collect(),
            self.boot,
        )
    }

    /// Starts what brings releases: the driver of updates, the door for people on the device. Gives the
    /// session with the server, where there is one, which has still to be run.
    fn follow_the_server(
        &self,
        store: &Store,
        slots: &BTreeMap<SlotName, SlotHandle>,
        assign: BTreeMap<SlotName, mpsc::Sender<Order>>,
        sites: BTreeMap<SlotName, Site>,
        sources: BTreeMap<SlotName, watch::Receiver<Option<String>>>,
        trust: Trust,
    ) -> Option<Session> {
        let telemetry = self.telemetry.clone();
        let updates = match trust.accepted {
            Ok(acceptance) => {
                let refused = move |reason: &str| {
                    telemetry.event("", event::DOCUMENTS_REFUSED, reason);
                };
                Updates::start(Parts {
                    acceptance,
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
        let session = trust.device.map(|device| {
            let surroundings = self.surroundings.clone();
            Session {
                device,
                reporter: self.reporter(&sources),
                updates: updates.clone(),
                answerer: Arc::new(move |ask| asked::answer(ask, &surroundings)),
                telemetry: self.telemetry.clone(),
                online: self.online.clone(),
                connected,
            }
        });
        let views: BTreeMap<_, _> =
            slots.iter().map(|(name, slot)| (name.clone(), slot.view())).collect();
        let (device, states, ledger) =
            (self.name.clone(), self.states.clone(), self.ledger.clone());
        let (versions, asked) = (updates.versions(), updates.clone());
        let told_sources = sources.clone();
        let state: Vec<String> = store
            .lost()
            .iter()
            .map(String::as_str)
            .chain(store.unwritable())
            .map(str::to_owned)
            .collect();
        let status = move || {
            let reports = states.all().into_iter().filter_map(|(name, state)| {
                let view = views.get(&name)?.borrow().clone();
                let source = told_sources.get(&name).and_then(|problem| problem.borrow().clone());
                let held = sites
                    .get(&name)
                    .map(|site| block_in_place(|| Handle::current().block_on(site.reasons())));
                Some((name, SlotReport::of(&state, view, source, held.unwrap_or_default())))
            });
            // A disk that gives no numbers must not hide the rest.
            let outbox = block_in_place(|| ledger.outbox()).unwrap_or_default();
            let versions = *versions.borrow();
            DeviceStatus {
                device: device.clone(),
                running: true,
                connected: *is_connected.borrow(),
                trouble: asked.trouble(),
                state: state.clone(),
                assignment: versions.assignment,
                releases: versions.releases,
                slots: reports.collect(),
                waiting: by_sink(&outbox, |findings| findings.waiting),
                gave_way: by_sink(&outbox, |findings| findings.gave_way),
            }
        };
        let places = self.captures();
        let captured = move || {
            let told = places.iter().map(|(slot, place)| (slot.clone(), CaptureReport::of(place)));
            told.collect()
        };
        // Without the door the device works as before; only people have to look elsewhere.
        let carrier = Carrier {
            device_dir: self.config.device_dir.clone(),
            reporter: self.reporter(&sources),
            updates: updates.clone(),
            telemetry: self.telemetry.clone(),
        };
        if let Err(error) =
            local::serve(store.folder(), status, captured, updates, self.holds.clone(), carrier)
        {
            tracing::warn!(
                "`lineside-agent status`, `install`, `hold` and `report` will not work: {error}"
            );
        }
        session
    }
}
