//! The agent as a whole: opens what there is, puts sources, slots, sinks and the drivers of updates
//! together, and ends them in order. The only module that knows all others.

mod api;
mod compiled;
mod drained;
mod fleet;
mod hands;
mod people;
mod sinks;
mod slots;
mod trust;
mod watched;

use crate::api::Access;
use crate::clock::now_unix_ms;
use crate::config::{Config, DownloadConfig, OutboxFull, SlotConfig};
use crate::error::chain;
use crate::fleet::identity::Renewal;
use crate::fleet::{Device, Proof};
use crate::ledger::{Ledger, OutboxLimits};
use crate::log::Log;
use crate::status;
use crate::store::Store;
use crate::telemetry::{TelemetryHandle, TelemetryParts};
use crate::update::blobs::Blobs;
use crate::update::consent::holds::{Hold, Holds};
use crate::update::download::Registry;
use crate::update::engines::EngineChoices;
use crate::update::journal::Journal;
use crate::update::limits::Limits;
use crate::update::states::{HoldTold, States};
use crate::update::surroundings::Surroundings;
use crate::worker::library::{FIRST_MAX, tried_out};
use crate::worker::process::{Processes, Starter};
use crate::worker::{SlotView, WorkerLimits};
use anyhow::{Context, anyhow};
use drained::check_drainable;
use lineside_rules::SitePolicy;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::event;
use people::Shown;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use trust::trust;
use watched::Watched;

/// Longest that the end of the agent may take.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Bytes of telemetry that may wait where there is no disk to wait on.
const SPOOL_IN_MEMORY_BYTES_MAX: u64 = 8 << 20;

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
    online: watch::Sender<()>,
    starter: Arc<dyn Starter>,
    limits: WorkerLimits,
    telemetry: TelemetryHandle,
    boot: u64,
    /// Says true once the agent has been told to stop.
    stop: watch::Receiver<bool>,
}

/// Runs the agent with the settings in `config`. Its workers write what they say as it does.
///
/// # Errors
/// Whatever keeps it from starting, naming the file and the field; and a part of it that has ended
/// although it must not, so that whoever started the agent starts it again.
pub async fn run(config: &Path, until: Until, log: Log) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    if until == Until::Drained {
        check_drainable(&config)?;
    }
    let access = config.api.as_ref().map(Access::read).transpose()?;
    let store = Store::open(&config.state_dir)?;
    let outbox = OutboxLimits {
        findings_max: config.limits.outbox_findings_max,
        block: config.limits.outbox_full == OutboxFull::Block,
    };
    let processes = Processes::new(Handle::current(), log.format)
        .context("cannot start the thread that starts workers")?;
    let starter: Arc<dyn Starter> = Arc::new(processes);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let (library, patience) = tokio::select! {
        tried = tried_out(config.onnxruntime.clone(), starter.clone(), FIRST_MAX) => tried,
        // Nothing runs yet.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let journal = Journal::open(store.database())?;
    let limits = WorkerLimits {
        memory_mib_max: config.limits.worker_memory_mib_max,
        load: config.limits.load,
        self_test: config.limits.self_test,
        cache: store.cache(),
        cache_key: store.device_key(),
        engine: None,
        choices: EngineChoices::open(journal.clone())?,
        library: library.clone(),
        plugin_traps: Default::default(),
    };
    let boot = journal.next_boot(now_unix_ms(), draw())?;
    if let Err(error) = journal.write_boot(boot) {
        tracing::warn!("this start is not counted: {}", chain(error));
    }
    let trust = trust(&journal, Device::read(&config.device_dir), config.site.clone());
    let has_values = |slot: &SlotConfig| !slot.fail_safe.is_empty();
    let capturing = config.slots.iter().filter(|(_, slot)| slot.capture.is_some());
    let telemetry = TelemetryHandle::open(TelemetryParts {
        database: store.database(),
        state_dir: config.state_dir.clone(),
        boot,
        interval: config.telemetry.interval,
        spool_bytes_max: match store.unwritable() {
            Some(_) => config.telemetry.spool_bytes_max.min(SPOOL_IN_MEMORY_BYTES_MAX),
            None => config.telemetry.spool_bytes_max,
        },
        spool_days_max: config.telemetry.spool_days_max,
        backfill_bytes_per_second: config.telemetry.backfill_bytes_per_second,
        answers: config.telemetry.answers,
        slots: config.slots.iter().map(|(name, it)| (name.clone(), has_values(it))).collect(),
        capturing: capturing.map(|(name, _)| name.clone()).collect(),
        policy: match &trust {
            Ok(trust) => trust.policy.clone(),
            Err(_) => watch::Sender::default().subscribe(),
        },
    })?;
    let mut watched = Watched::default();
    watched.task("the writing of telemetry", telemetry.clone().keep_writing());
    if let Some(patience) = patience {
        watched.task("the trying of onnxruntime", patience.go_on());
    }
    say_what_is_lost(&store, &telemetry).await;
    let name = status::name(&config, &journal)?;
    let mut trust = trust?;
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
        surroundings: Surroundings::of(&config, library, blobs.clone()),
        holds,
        blobs,
        states,
        online: watch::Sender::new(()),
        starter,
        limits,
        config,
    };
    let slots: Vec<&str> = house.config.slots.keys().map(SlotName::as_str).collect();
    tracing::info!("{name} runs; its slots: {}", slots.join(", "));
    let ledger = house.ledger.clone();
    watched.task("the ledger", async move { ledger.closed().await });
    watched.task("the count of holds", house.holds.clone().count());
    let mut slots = BTreeMap::new();
    let mut assign = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut shown = BTreeMap::new();
    let mut drivers = Vec::new();
    let mut served = BTreeMap::new();
    for (name, config) in &house.config.slots {
        let (problem, brings) = watch::channel(None);
        let opened = house
            .open_slot(name, config, problem, &mut watched, &mut drivers)
            .with_context(|| format!("slot {name}"))?;
        let (slot, limits) = (opened.slot.clone(), opened.limits);
        served.insert(name.clone(), api::Served { slot, limits });
        let fires = house.telemetry.fires(name);
        shown.insert(name.clone(), Shown { view: opened.slot.view(), fires, site: opened.site });
        slots.insert(name.clone(), opened.slot);
        assign.insert(name.clone(), opened.assign);
        sources.insert(name.clone(), brings);
    }
    let compiled = compiled::keep_compiled(house.states.clone(), house.limits.clone());
    watched.task("the upkeep of compiled plugins", compiled);
    let updates = house.updates(trust.accepted, assign);
    let (connected, is_connected) = watch::channel(false);
    let mut identity = None;
    if let Some(device) = trust.device {
        if let Proof::Key(own) = &device.proof {
            let renewal = Renewal::new(own.clone(), device.server_http.clone());
            watched.task("the renewal of the device's certificate", renewal.run());
            identity = Some(own.clone());
        }
        let session = house.session(device, &sources, &updates, connected, log.tap);
        watched.task("the session with the server", session.run());
    }
    let known = people::Known { identity, connected: is_connected };
    house.open_door(&store, shown, &sources, updates, known, &mut watched);
    house.start_sinks(&mut watched)?;
    if let Some((config, access)) = house.config.api.as_ref().zip(access) {
        drivers.push(house.open_api(config, access, served, &mut watched));
    }
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
