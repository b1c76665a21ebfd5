//! A slot with real pipelines behind real sockets, in threads instead of processes so that they can
//! be told to die, and the ledger that it commits to.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![allow(dead_code)] // Not every test needs all of it.

use lineside_agent::capture::{Keep, Permit, Recorder};
use lineside_agent::config::{NamedSource, Overflow, Pace, SlotConfig, SlotSources, SourceKind};
use lineside_agent::ledger::{Ledger, OutboxLimits, Position};
use lineside_agent::source::{Arrival, Row, Step};
use lineside_agent::store::Store;
use lineside_agent::telemetry::Fires;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::{StagedRelease, stage};
use lineside_agent::worker::message::Bundle;
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::route::Settled;
use lineside_agent::worker::serve::{Answers, Confinement, load, serve};
use lineside_agent::worker::task::{Positions, TaskParts, open};
use lineside_agent::worker::{SlotHandle, SlotView, Witness, WorkerLimits};
use lineside_bundle::{BuiltBundle, BundleFile, Manifest, ReleaseId, build, build_with_operators};
use lineside_rules::ShadowObservation;
use lineside_runtime::{
    Fault, FrameError, FrameOutcome, Instead, LoadOptions, MemoryFiles, OnnxModel, ReadingRef,
    Said, StandIn, record,
};
use lineside_wire::name::SlotName;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const KEYS: u64 = 2;
/// A reading with this value ends the worker, as a model that crashes would.
pub const DEADLY: f64 = -666.0;
/// A reading with this value never gets an answer.
pub const ENDLESS: f64 = -777.0;
/// A reading with this value gets its answer when the test allows it.
pub const HELD: f64 = -888.0;
/// A plugin breaks over a frame that ends with this value, and its last result is given instead.
pub const BROKEN: f64 = -555.0;
/// As [`BROKEN`], and it is not run any more.
pub const QUARANTINED: f64 = -444.0;
/// As [`HELD`], for workers of one version.
pub const STUCK: f64 = -999.0;
/// How long a worker that finishes slowly takes for one stream: less than it may be silent, and more
/// than that for all streams together.
pub const SLOW_FINISH: Duration = Duration::from_secs(2);

/// Draws numbers below the one that it is given, from a seed that is not nought.
pub fn drawn(seed: u64) -> impl FnMut(u64) -> u64 + Send {
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |end| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % end
    }
}

/// Workers in threads; keeps a door through which each can be killed.
#[derive(Default)]
pub struct Threads {
    pub doors: Mutex<Vec<Door>>,
    pub orders: Arc<Orders>,
    /// What rules want of the slot.
    pub fires: watch::Sender<Fires>,
    /// The last firings that want what comes in to be kept.
    pub keeps: watch::Sender<Option<Vec<Keep>>>,
}

/// A way to end one worker.
pub struct Door {
    stream: UnixStream,
    /// The version that the worker runs.
    version: Arc<OnceLock<String>>,
    killed: Arc<AtomicBool>,
}

impl Door {
    /// Somebody else ends the worker.
    fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What the test wants of all workers, or of those of one version.
#[derive(Default)]
pub struct Orders {
    /// The version whose workers heed values that are orders, but for [`HELD`]; without one all do.
    pub only: OnceLock<&'static str>,
    /// Workers of that version are stuck where they can be.
    pub sticks: AtomicBool,
    /// Readings that can be held are.
    pub holds: AtomicBool,
    /// What is to be loaded now takes until this ends.
    pub loads_later: AtomicBool,
    /// Nothing can be loaded.
    pub loads_nothing: AtomicBool,
    /// The end of each stream takes [`SLOW_FINISH`].
    pub finishes_slowly: AtomicBool,
    /// The first reading of each stream that a worker of each version has seen.
    pub first: Mutex<BTreeMap<(String, String), u64>>,
    /// Readings of the source that may be answered; all of them without.
    pub gate: OnceLock<AtomicU64>,
}

impl Orders {
    pub fn give(order: &AtomicBool, holds: bool) {
        order.store(holds, Ordering::SeqCst);
    }

    /// The source's first so many readings may be answered, and no more for now.
    pub fn let_through(&self, readings: u64) {
        self.gate.get_or_init(AtomicU64::default).store(readings, Ordering::SeqCst);
    }

    fn keep_back(&self, reading: &ReadingRef<'_>) {
        let Some(gate) = self.gate.get() else { return };
        // A reading's time is its place in the source.
        while reading.time_unix_ns as u64 >= gate.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub fn obey(order: &AtomicBool) {
        while order.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Threads {
    pub fn kill_all(&self) {
        self.doors.lock().unwrap().drain(..).for_each(|door| door.kill());
    }

    /// Kills the workers of one version.
    pub fn kill(&self, version: &str) {
        let doors = self.doors.lock().unwrap();
        let of = |door: &&Door| door.version.get().is_some_and(|of| of == version);
        doors.iter().filter(of).for_each(|door| door.kill());
    }

    /// Workers of one version that were started.
    pub fn started(&self, version: &str) -> usize {
        let doors = self.doors.lock().unwrap();
        doors.iter().filter(|door| door.version.get().is_some_and(|of| of == version)).count()
    }
}

pub struct Mortal {
    answers: Box<dyn Answers>,
    door: UnixStream,
    orders: Arc<Orders>,
    heeds: bool,
    version: String,
}

impl Answers for Mortal {
    fn push(&mut self, reading: ReadingRef<'_>) -> Vec<FrameOutcome> {
        let seen = (self.version.clone(), reading.key.to_owned());
        self.orders.first.lock().unwrap().entry(seen).or_insert(reading.sequence);
        self.orders.keep_back(&reading);
        let value = reading.values.get(0).unwrap();
        if value == HELD {
            Orders::obey(&self.orders.holds);
        }
        if !self.heeds {
            return self.answers.push(reading);
        }
        if value == DEADLY {
            self.door.shutdown(Shutdown::Both).unwrap();
        }
        while value == ENDLESS && self.door.take_error().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_secs(3600));
        }
        if value == STUCK {
            Orders::obey(&self.orders.sticks);
        }
        let outcomes = self.answers.push(reading);
        match value {
            BROKEN => outcomes.into_iter().map(|it| broken_in(it, Fault::PluginTrap)).collect(),
            QUARANTINED => {
                outcomes.into_iter().map(|it| broken_in(it, Fault::PluginQuarantined)).collect()
            }
            _ => outcomes,
        }
    }

    fn finish_one(&mut self) -> Option<Vec<FrameOutcome>> {
        let outcomes = self.answers.finish_one()?;
        if self.orders.finishes_slowly.load(Ordering::SeqCst) {
            std::thread::sleep(SLOW_FINISH);
        }
        Some(outcomes)
    }
}

/// The frame as a bundle with `on_trap = "hold-last"` has it told where a plugin has broken over it.
fn broken_in(outcome: FrameOutcome, fault: Fault) -> FrameOutcome {
    let parts = outcome.result.unwrap();
    let (stage, problem) = ("judge".to_owned(), "the plugin is broken".to_owned());
    let lines = vec![("judge".to_owned(), "I am not well".to_owned())];
    FrameOutcome {
        result: Err(FrameError::Stage { stage, fault, problem }),
        instead: Some(Instead { by: StandIn::Held, parts }),
        said: Said { lines, dropped: 3 },
        ..outcome
    }
}

impl Starter for Threads {
    fn start(&self) -> std::io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let door = theirs.try_clone()?;
        let (version, was_killed): (Arc<OnceLock<String>>, Arc<AtomicBool>) = Default::default();
        let (stream, runs, killed) = (door.try_clone()?, version.clone(), was_killed.clone());
        self.doors.lock().unwrap().push(Door { stream, version: runs, killed });
        let (tell, ended) = oneshot::channel();
        let (life, killed) = oneshot::channel();
        let inner = door.try_clone()?;
        let orders = self.orders.clone();
        std::thread::spawn(move || {
            let mut load = |bundle: &Bundle| {
                let manifest = Manifest::parse(&bundle.manifest).unwrap();
                let runs = version.get_or_init(|| manifest.bundle.version.to_string());
                let heeds = orders.only.get().is_none_or(|only| *only == *runs);
                if orders.loads_nothing.load(Ordering::SeqCst) {
                    return Err("a model is damaged".to_owned());
                }
                Orders::obey(&orders.loads_later);
                let (door, orders) = (inner.try_clone().unwrap(), orders.clone());
                let answers = load(bundle)?;
                let version = runs.clone();
                Ok(Box::new(Mortal { answers, door, orders, heeds, version }) as Box<dyn Answers>)
            };
            let served = serve(theirs, Confinement::Nothing, &mut load);
            let how = format!("the thread ended: {served:?}");
            let killed = was_killed.load(Ordering::SeqCst);
            let _ = tell.send(if killed { End::Killed(how) } else { End::Itself(how) });
        });
        tokio::spawn(async move {
            let _ = killed.await;
            let _ = door.shutdown(Shutdown::Both);
        });
        Ok(Started { stream: ours, ended, life: Life { _end: life } })
    }
}

/// A bundle without a model: `x` is the last value of each window of four, and above 1000 an alarm.
pub fn release(version: &str, more: &str) -> StagedRelease {
    cut(version, 4, more)
}

/// As [`release`], with windows of `rows`.
pub fn cut(version: &str, rows: u32, more: &str) -> StagedRelease {
    let last = rows - 1;
    let bundle = BundleFile::parse(&format!(
        "format = 1\nname = 'echo'\nversion = '{version}'\nalarm_output = 'alarm'\n\
         warm_up_readings = 6\n{more}\n\
         [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = {rows}\nstride = {rows}\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = {last}\n\
         [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 1000.0\n\
         [outputs]\nx = {{ from = 'last' }}\nalarm = {{ from = 'high' }}\n\
         [limits]\nframe_ms = 100\n[fail_safe]\nalarm = true\n"
    ));
    staged(bundle.unwrap(), BTreeMap::new())
}

/// As [`release`], with the port's fields as they are written, of which `x` is at `place`, and the
/// value that lies `back` readings back in the window.
pub fn ported(version: &str, fields: &[&str], place: usize, back: usize) -> StagedRelease {
    let index = (3 - back) * fields.len() + place;
    let names: Vec<String> = fields.iter().map(|name| format!("{{ name = '{name}' }}")).collect();
    let bundle = BundleFile::parse(&format!(
        "format = 1\nname = 'echo'\nversion = '{version}'\nalarm_output = 'alarm'\n\
         warm_up_readings = 6\n\
         [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 4\nstride = 4\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = {index}\n\
         [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 1000.0\n\
         [outputs]\nx = {{ from = 'last' }}\nalarm = {{ from = 'high' }}\n\
         [limits]\nframe_ms = 100\n[fail_safe]\nalarm = true\n",
        names.join(", ")
    ));
    staged(bundle.unwrap(), BTreeMap::new())
}

/// As [`release`], with a part of its description exchanged.
pub fn staged_with(version: &str, from: &str, to: &str) -> StagedRelease {
    let release = release(version, "");
    let text = toml::to_string(&release.manifest.bundle).unwrap();
    assert!(text.contains(from), "{text}");
    staged(BundleFile::parse(&text.replace(from, to)).unwrap(), BTreeMap::new())
}

/// A bundle whose model is none, so that no worker loads it.
pub fn broken() -> StagedRelease {
    let bundle = BundleFile::parse(
        "format = 1\nname = 'echo'\nversion = '9'\n\
         [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 4\nstride = 4\n\
         [stages.m]\nkind = 'model'\nfile = 'models/none.onnx'\ninputs = { w = 'w' }\n\
         [outputs]\nx = { from = 'm.x' }\n[fail_safe]\nx = 1\n",
    );
    let files = BTreeMap::from([("models/none.onnx".to_owned(), b"no model".to_vec())]);
    staged(bundle.unwrap(), files)
}

/// Only what was on disk is a release. The folder is gone afterwards; a bundle without files needs
/// it no more.
pub fn staged(bundle: BundleFile, files: BTreeMap<String, Vec<u8>>) -> StagedRelease {
    staged_in(tempfile::tempdir().unwrap().path(), bundle, files)
}

/// As [`staged`], in a folder that stays.
pub fn staged_in(
    folder: &Path,
    bundle: BundleFile,
    files: BTreeMap<String, Vec<u8>>,
) -> StagedRelease {
    laid(folder, &build(bundle, files).unwrap())
}

/// A bundle's blobs in a folder.
pub fn laid(folder: &Path, built: &BuiltBundle) -> StagedRelease {
    let blobs = Blobs::open(folder).unwrap();
    let release = built.release_id();
    fs::write(blobs.folder().join(release.digest.hex()), &built.oci_manifest).unwrap();
    for (digest, bytes) in &built.blobs {
        fs::write(blobs.folder().join(digest.hex()), bytes).unwrap();
    }
    stage::load(&release, &blobs).unwrap()
}

/// The operators of `m.onnx`, as a bundle's manifest tells them.
pub fn operators(model: &[u8]) -> BTreeMap<String, BTreeSet<String>> {
    let model = OnnxModel::read(model).unwrap();
    let operators = model.facts().operators.keys().map(ToString::to_string);
    BTreeMap::from([("m.onnx".to_owned(), operators.collect())])
}

/// A release with a model that every engine runs, and a check of its own answers.
pub fn with_model(folder: &Path) -> StagedRelease {
    with_model_in(folder, "")
}

/// As [`with_model`], with more said of the model.
pub fn with_model_in(folder: &Path, more: &str) -> StagedRelease {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/turbine/models/turbine-v1.onnx");
    let model = std::fs::read(model).unwrap();
    let bundle = BundleFile::parse(&format!(
        "format = 1\nname = 'turbine'\nversion = '1'\n\
         inputs.p = {{ key = 'k', rate_hz = 1.0, fields = [{{ name = 'a' }}, {{ name = 'b' }}, \
         {{ name = 'c' }}, {{ name = 'd' }}, {{ name = 'e' }}] }}\n\
         stages.w = {{ kind = 'window', input = 'p', rows = 6, stride = 6 }}\n\
         stages.judge = {{ kind = 'model', file = 'm.onnx', inputs = {{ window = 'w' }}{more} }}\n\
         outputs.score.from = 'judge.score'\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n\
         tolerance.score = {{ absolute = 1e-3, relative = 1e-3 }}\n"
    ));
    let bundle = bundle.unwrap();
    let row = |row: u32| format!("a,{}.5,{row}.0,1.0,2.0,3.0\n", row % 7);
    let rows: String = (0..120).map(row).collect();
    let used = operators(&model);
    let mut files = BTreeMap::from([
        ("m.onnx".to_owned(), model),
        ("in.csv".to_owned(), format!("k,a,b,c,d,e\n{rows}").into_bytes()),
        ("out.jsonl".to_owned(), vec![]),
    ]);
    let built = build_with_operators(bundle.clone(), files.clone(), used.clone()).unwrap();
    let check = &built.manifest.bundle.checks[0];
    let own = record(&built.manifest, &MemoryFiles(&built), check, &LoadOptions::default());
    files.insert("out.jsonl".to_owned(), own.unwrap().into_bytes());
    laid(folder, &build_with_operators(bundle, files, used).unwrap())
}

pub struct Bench {
    pub store: Store,
    pub ledger: Ledger,
    pub threads: Arc<Threads>,
    pub slot: SlotHandle,
    pub source: JoinHandle<()>,
    pub position: Position,
    pub watched: Arc<Watched>,
}

/// The frames that were committed, and what was told of shadows.
#[derive(Default)]
pub struct Watched(pub Mutex<Vec<Settled>>, pub Mutex<Vec<(String, ShadowObservation)>>);

impl Witness for Watched {
    fn placed(&self, _slot: &SlotName, _release: &StagedRelease) {}
    fn frames(&self, _slot: &SlotName, frames: Vec<(Arc<ReleaseId>, Settled)>) {
        self.0.lock().unwrap().extend(frames.into_iter().map(|(_, settled)| settled));
    }
    fn shadowed(&self, _slot: &SlotName, release: &ReleaseId, seen: &ShadowObservation) {
        self.1.lock().unwrap().push((release.to_string(), seen.clone()));
    }
    fn dropped(&self, _slot: &SlotName, _reason: &str, _count: u64) {}
    fn doubled(&self, _slot: &SlotName, _count: u64) {}
}

/// What a worker of a device at `folder` gets.
pub fn worker_limits(folder: &Path) -> WorkerLimits {
    WorkerLimits {
        memory_mib_max: 64,
        load: Duration::from_secs(20),
        self_test: Duration::from_secs(20),
        cache: folder.join("cache"),
        cache_key: [7; 32],
        engine: None,
        choices: Default::default(),
        library: Default::default(),
        plugin_traps: Default::default(),
    }
}

/// Settings of a slot that says 7 where it is vacant.
pub fn config(overflow: Overflow, queue: usize) -> SlotConfig {
    SlotConfig {
        sources: SlotSources::One(NamedSource {
            name: "test".into(),
            kind: SourceKind::File { paths: vec![], pace: Pace::FlatOut },
        }),
        queue_readings_max: queue,
        overflow,
        sinks: vec!["log".into()],
        policy: Default::default(),
        updates: Default::default(),
        shadow: Default::default(),
        capture: None,
        outcomes: None,
        fail_safe: BTreeMap::from([("alarm".to_owned(), lineside_bundle::FailSafe::Number(7.0))]),
        engine: None,
    }
}

/// Opens a slot in `folder` whose source gives `values`, one stream after the other, then ends.
pub fn bench(folder: &Path, values: Arc<Vec<f64>>, overflow: Overflow, queue: usize) -> Bench {
    let threads = Arc::new(Threads::default());
    bench_of(folder, values, config(overflow, queue), threads.clone(), threads)
}

/// As [`bench`], with other settings and other workers.
pub fn bench_of(
    folder: &Path,
    values: Arc<Vec<f64>>,
    config: SlotConfig,
    threads: Arc<Threads>,
    starter: Arc<dyn Starter>,
) -> Bench {
    let store = Store::open(folder).unwrap();
    let limits = OutboxLimits { findings_max: 1_000_000, block: false };
    let ledger = Ledger::open(&store, limits).unwrap();
    let (arrivals, inbox) = mpsc::channel(4);
    let (receipts, _heard) = mpsc::unbounded_channel();
    let watched = Arc::new(Watched::default());
    let capture = config.capture.map(|bounds| {
        let permit =
            Permit::new(bounds, "echo".parse().unwrap(), watch::Sender::default().subscribe());
        Recorder::start(&folder.join("capture"), permit, threads.keeps.subscribe())
    });
    let parts = TaskParts {
        device: "bench".parse().unwrap(),
        slot: "echo".parse().unwrap(),
        config,
        commit_every: Duration::from_millis(5),
        commit_frames: 8,
        limits: worker_limits(folder),
        starter,
        capture: capture.transpose().unwrap(),
        ledger: ledger.clone(),
        witness: watched.clone(),
        fires: threads.fires.subscribe(),
        arrivals: inbox,
        receipts,
    };
    let (slot, Positions { one: position, .. }) = open(parts).unwrap();
    let source = tokio::spawn(give(slot.clone(), arrivals, position.clone(), values));
    Bench { store, ledger, threads, slot, source, position, watched }
}

pub async fn give(
    slot: SlotHandle,
    arrivals: mpsc::Sender<Arrival>,
    position: Position,
    values: Arc<Vec<f64>>,
) {
    let mut at = position.row;
    let mut port = slot.port();
    drop(slot);
    if position.ended {
        return;
    }
    loop {
        if port.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let Some(port) = port.borrow().clone() else { continue };
        let end = (at + 3).min(values.len() as u64);
        let row = |at: u64| Row {
            key: format!("k{}", at % KEYS),
            time_unix_ns: at as i64,
            // Any other field is a little more.
            values: port
                .fields
                .iter()
                .map(|field| values[at as usize] + if field.name == "x" { 0.0 } else { 0.25 })
                .collect(),
        };
        let rows: Vec<Row> = (at..end).map(row).collect();
        let step = match rows.is_empty() {
            true => Step::End,
            false => Step::File { file: 0, row: end, rows_before: 0 },
        };
        let (dropped, step) = (vec![], Some(step));
        let arrival = Arrival { port, feed: None, rows, dropped, step, receipt: None };
        if arrivals.send(arrival).await.is_err() || step == Some(Step::End) {
            return;
        }
        at = end;
        tokio::task::yield_now().await;
    }
}

impl Bench {
    pub async fn until(&self, what: &str, holds: impl Fn(&SlotView) -> bool) -> SlotView {
        let mut view = self.slot.view();
        let seen = timeout(PATIENCE, view.wait_for(|view| holds(view))).await;
        if let Ok(Ok(view)) = seen {
            return view.clone();
        }
        panic!("not seen: {what}: {:?}", self.slot.view().borrow().clone())
    }

    /// The agent dies: nothing is finished, nothing is said.
    pub async fn crash(self) {
        self.source.abort();
        let _ = self.source.await;
        let mut view = self.slot.view();
        drop(self.slot);
        while view.changed().await.is_ok() {}
        self.threads.kill_all();
        drop(self.ledger);
        let database = self.store.database();
        drop(self.store);
        // The writing thread lets go of the database when it has seen that nobody wants it.
        while Arc::strong_count(&database) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until what was seen of the shadow is as it should be.
    pub async fn until_shadowed(
        &self,
        what: &str,
        release: &StagedRelease,
        holds: impl Fn(&ShadowObservation) -> bool,
    ) -> ShadowObservation {
        let digest = &release.release.digest;
        let seen = timeout(PATIENCE, async {
            loop {
                let seen = self.slot.shadowed(digest);
                if holds(&seen) {
                    return seen;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let seen = seen.await;
        seen.unwrap_or_else(|_| panic!("not seen: {what}: {:?}", self.slot.shadowed(digest)))
    }

    pub fn findings(&self) -> Vec<Value> {
        let findings = self.ledger.findings("log", 0, usize::MAX).unwrap();
        findings.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
    }
}

pub fn ids(findings: &[Value]) -> Vec<String> {
    findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
}

/// Every frame of `values` is there once, with the right answer.
pub fn check_whole(findings: &[Value], values: &[f64]) {
    let mut expected = BTreeMap::new();
    for key in 0..KEYS {
        let stream: Vec<f64> =
            values.iter().skip(key as usize).step_by(KEYS as usize).copied().collect();
        for (frame, window) in stream.chunks_exact(4).enumerate() {
            expected.insert(format!("echo/k{key}/{}/0", 4 * frame), window[3]);
        }
    }
    let given = ids(findings);
    let unique: BTreeSet<&String> = given.iter().collect();
    assert_eq!(unique.len(), given.len(), "a finding was given twice");
    assert_eq!(unique, expected.keys().collect());
    for finding in findings {
        assert_eq!(finding["outputs"]["x"], expected[finding["id"].as_str().unwrap()]);
        assert_eq!(finding["fail_safe"], Value::Null);
    }
}
