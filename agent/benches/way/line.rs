//! A slot as the daemon opens it: with a ledger and a telemetry on disk, and a worker that is a process.

use crate::Result;
use crate::bundles::Case;
use lineside_agent::config::{NamedSource, Overflow, Pace, SlotConfig, SlotSources, SourceKind};
use lineside_agent::ledger::{Ledger, OutboxLimits};
use lineside_agent::log::Format;
use lineside_agent::source::{Arrival, Row};
use lineside_agent::store::Store;
use lineside_agent::telemetry::{TelemetryHandle, TelemetryParts};
use lineside_agent::update::{StagedRelease, blobs::Blobs, stage};
use lineside_agent::worker::process::Processes;
use lineside_agent::worker::route::Settled;
use lineside_agent::worker::task::{TaskParts, open};
use lineside_agent::worker::{SlotHandle, Witness, WorkerLimits};
use lineside_bundle::{Port, ReleaseId};
use lineside_rules::ShadowObservation;
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOT: &str = "bench";

/// What became of a frame.
pub struct Answered {
    /// When the slot had its answer.
    pub at: Instant,
    /// What its stages took in the worker.
    pub stages: Duration,
    /// Findings: how often the model ran.
    pub parts: f64,
}

/// A slot with a release on its route, and its source.
pub struct Line<'a> {
    case: &'a Case,
    slot: SlotHandle,
    arrivals: mpsc::Sender<Arrival>,
    answers: std::sync::mpsc::Receiver<std::result::Result<Answered, String>>,
    port: Arc<Port>,
    row: usize,
    _store: Store,
    _receipts: mpsc::UnboundedReceiver<u64>,
}

impl<'a> Line<'a> {
    /// Opens it in `folder` and waits until its worker answers.
    ///
    /// # Errors
    /// What keeps the release from running.
    pub fn open(folder: &Path, case: &'a Case) -> Result<Line<'a>> {
        let release = staged(folder, case)?;
        let store = Store::open(folder)?;
        let ledger = Ledger::open(&store, OutboxLimits { findings_max: 10_000, block: false })?;
        let slot: SlotName = SLOT.parse()?;
        let telemetry = TelemetryHandle::open(TelemetryParts {
            database: store.database(),
            state_dir: folder.to_owned(),
            boot: 1,
            interval: Duration::from_secs(60),
            spool_bytes_max: 16 << 20,
            spool_days_max: 800,
            backfill_bytes_per_second: 1 << 30,
            answers: Default::default(),
            slots: [(slot.clone(), false)].into(),
            capturing: Default::default(),
            policy: tokio::sync::watch::Sender::default().subscribe(),
        })?;
        tokio::spawn(telemetry.clone().keep_writing());
        let (tell, answers) = std::sync::mpsc::channel();
        let (arrivals, inbox) = mpsc::channel(4);
        let (receipts, heard) = mpsc::unbounded_channel();
        let (handle, _) = open(TaskParts {
            device: "bench".parse()?,
            slot,
            config: config(),
            // As by default.
            commit_every: Duration::from_millis(200),
            commit_frames: 256,
            limits: WorkerLimits {
                memory_mib_max: 512,
                load: PATIENCE,
                self_test: PATIENCE,
                cache: folder.join("cache"),
                cache_key: [7; 32],
                engine: Some(crate::bundles::ENGINE.to_owned()),
                choices: Default::default(),
                library: Default::default(),
                plugin_traps: Default::default(),
            },
            starter: Arc::new(Processes::new(Handle::current(), Format::Text)?),
            capture: None,
            ledger,
            witness: Arc::new(Watch { telemetry, tell: Mutex::new(tell) }),
            fires: tokio::sync::watch::Sender::default().subscribe(),
            arrivals: inbox,
            receipts,
        })?;
        let placing = handle.clone();
        Handle::current().block_on(async move { placing.place(&release).await })?;
        let port = handle.port().borrow().clone().ok_or("the slot takes no readings")?;
        Ok(Line {
            case,
            slot: handle,
            arrivals,
            answers,
            port,
            row: 0,
            _store: store,
            _receipts: heard,
        })
    }

    /// The readings of the next frame.
    pub fn next_rows(&mut self) -> Vec<Row> {
        let row = |at: usize| Row {
            key: String::new(),
            time_unix_ns: (at as f64 * self.case.period_ns) as i64,
            values: self.case.values(at),
        };
        let rows = (self.row..self.row + self.case.rows).map(row).collect();
        self.row += self.case.rows;
        rows
    }

    /// How many frames it was given readings for.
    pub fn frames(&self) -> usize {
        self.row / self.case.rows
    }

    /// Gives readings to the slot.
    ///
    /// # Errors
    /// It is gone.
    pub fn give(&self, rows: Vec<Row>) -> Result<()> {
        let port = self.port.clone();
        let arrival =
            Arrival { port, feed: None, rows, dropped: vec![], step: None, receipt: None };
        Ok(self.arrivals.blocking_send(arrival)?)
    }

    /// The answer to the frame that has waited longest.
    ///
    /// # Errors
    /// It has none.
    pub fn answer(&self) -> Result<Answered> {
        Ok(self.answers.recv_timeout(PATIENCE)??)
    }

    /// Stops it.
    ///
    /// # Errors
    /// None so far.
    pub fn close(self) -> Result<()> {
        let slot = self.slot;
        drop(self.arrivals);
        Handle::current().block_on(async move { slot.drain().await });
        Ok(())
    }
}

/// How long the thread of the slot has had a processor.
///
/// # Errors
/// There is no such thread, or the system does not tell.
pub fn slot_time() -> Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == format!("slot {SLOT}") {
            let told = std::fs::read_to_string(task.join("schedstat"))?;
            let ns = told.split_whitespace().next().ok_or("the system does not tell")?;
            return Ok(Duration::from_nanos(ns.parse()?));
        }
    }
    Err("there is no thread of the slot".into())
}

/// The bundle's blobs in the folder of a device.
fn staged(folder: &Path, case: &Case) -> Result<StagedRelease> {
    let blobs = Blobs::open(folder)?;
    let release = case.bundle.release_id();
    std::fs::write(blobs.folder().join(release.digest.hex()), &case.bundle.oci_manifest)?;
    for (digest, bytes) in &case.bundle.blobs {
        std::fs::write(blobs.folder().join(digest.hex()), bytes)?;
    }
    Ok(stage::load(&release, &blobs)?)
}

fn config() -> SlotConfig {
    SlotConfig {
        sources: SlotSources::One(NamedSource {
            name: "bench".into(),
            kind: SourceKind::File { paths: vec![], pace: Pace::FlatOut },
        }),
        queue_readings_max: 10_000,
        overflow: Overflow::Block,
        sinks: vec!["log".into()],
        policy: Default::default(),
        updates: Default::default(),
        shadow: Default::default(),
        capture: None,
        outcomes: None,
        fail_safe: BTreeMap::new(),
        engine: None,
    }
}

/// The telemetry, and who waits for answers.
struct Watch {
    telemetry: TelemetryHandle,
    tell: Mutex<std::sync::mpsc::Sender<std::result::Result<Answered, String>>>,
}

impl Witness for Watch {
    fn placed(&self, slot: &SlotName, release: &StagedRelease) {
        self.telemetry.placed(slot, release);
    }

    fn answered(&self, _slot: &SlotName, settled: &Settled) {
        let at = Instant::now();
        let answered = match &settled.result {
            Ok(parts) => Ok(Answered { at, stages: settled.elapsed, parts: parts.len() as f64 }),
            Err(failure) => Err(failure.text.clone()),
        };
        if let Ok(tell) = self.tell.lock() {
            // Nobody listens any more only when the measurement has ended.
            let _ = tell.send(answered);
        }
    }

    fn frames(&self, slot: &SlotName, frames: Vec<(Arc<ReleaseId>, Settled)>) {
        self.telemetry.frames(slot, frames);
    }

    fn shadowed(&self, slot: &SlotName, release: &ReleaseId, seen: &ShadowObservation) {
        self.telemetry.shadowed(slot, release, seen);
    }

    fn dropped(&self, slot: &SlotName, reason: &str, count: u64) {
        self.telemetry.dropped(slot, reason, count);
    }

    fn doubled(&self, slot: &SlotName, count: u64) {
        self.telemetry.doubled(slot, count);
    }
}
