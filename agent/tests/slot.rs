//! A slot with real pipelines behind real sockets, in threads instead of processes so that they can
//! be told to die, and the ledger that it commits to.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::config::{Overflow, Pace, SlotConfig, SourceKind};
use lineside_agent::ledger::{Ledger, OutboxLimits, Position};
use lineside_agent::source::{Arrival, Row, Step};
use lineside_agent::store::Store;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::{StagedRelease, stage};
use lineside_agent::worker::message::{FromWorker, ToWorker, read, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::route::Settled;
use lineside_agent::worker::serve::{Answers, Confinement, load, serve};
use lineside_agent::worker::task::{SlotParts, open};
use lineside_agent::worker::{
    SlotError, SlotEvent, SlotHandle, SlotView, SwapError, Witness, WorkerLimits,
};
use lineside_bundle::{BundleFile, ReleaseId, build};
use lineside_runtime::{FrameOutcome, Reading};
use lineside_wire::name::SlotName;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: u64 = 2;
/// A reading with this value ends the worker, as a model that crashes would.
const DEADLY: f64 = -666.0;
/// A reading with this value never gets an answer.
const ENDLESS: f64 = -777.0;
/// A reading with this value gets its answer when the test allows it.
const HELD: f64 = -888.0;
/// How long a worker that finishes slowly takes for one stream: less than it may be silent, and more
/// than that for all streams together.
const SLOW_FINISH: Duration = Duration::from_secs(2);

/// Workers in threads; keeps a door through which each can be killed.
#[derive(Default)]
struct Threads {
    doors: Mutex<Vec<UnixStream>>,
    orders: Arc<Orders>,
}

/// What the test wants of all workers.
#[derive(Default)]
struct Orders {
    /// Readings that can be held are.
    holds: AtomicBool,
    /// What is to be loaded now takes until this ends.
    loads_later: AtomicBool,
    /// Nothing can be loaded.
    loads_nothing: AtomicBool,
    /// The end of each stream takes [`SLOW_FINISH`].
    finishes_slowly: AtomicBool,
}

impl Orders {
    fn give(order: &AtomicBool, holds: bool) {
        order.store(holds, Ordering::SeqCst);
    }

    fn obey(order: &AtomicBool) {
        while order.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Threads {
    fn kill_all(&self) {
        for door in self.doors.lock().unwrap().drain(..) {
            // It may be gone already.
            let _ = door.shutdown(Shutdown::Both);
        }
    }
}

struct Mortal {
    answers: Box<dyn Answers>,
    door: UnixStream,
    orders: Arc<Orders>,
}

impl Answers for Mortal {
    fn push(&mut self, reading: &Reading) -> Vec<FrameOutcome> {
        if reading.values[0] == DEADLY {
            self.door.shutdown(Shutdown::Both).unwrap();
        }
        while reading.values[0] == ENDLESS && self.door.take_error().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_secs(3600));
        }
        if reading.values[0] == HELD {
            Orders::obey(&self.orders.holds);
        }
        self.answers.push(reading)
    }

    fn finish_one(&mut self) -> Option<Vec<FrameOutcome>> {
        let outcomes = self.answers.finish_one()?;
        if self.orders.finishes_slowly.load(Ordering::SeqCst) {
            std::thread::sleep(SLOW_FINISH);
        }
        Some(outcomes)
    }
}

impl Starter for Threads {
    fn start(&self) -> std::io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let door = theirs.try_clone()?;
        self.doors.lock().unwrap().push(door.try_clone()?);
        let (tell, ended) = oneshot::channel();
        let (life, killed) = oneshot::channel();
        let inner = door.try_clone()?;
        let orders = self.orders.clone();
        std::thread::spawn(move || {
            let mut load = |bundle: &_| {
                if orders.loads_nothing.load(Ordering::SeqCst) {
                    return Err("a model is damaged".to_owned());
                }
                Orders::obey(&orders.loads_later);
                let (door, orders) = (inner.try_clone().unwrap(), orders.clone());
                let answers = load(bundle)?;
                Ok(Box::new(Mortal { answers, door, orders }) as Box<dyn Answers>)
            };
            let served = serve(theirs, Confinement::Nothing, &mut load);
            let _ = tell.send(End::Itself(format!("the thread ended: {served:?}")));
        });
        tokio::spawn(async move {
            let _ = killed.await;
            let _ = door.shutdown(Shutdown::Both);
        });
        Ok(Started { stream: ours, ended, life: Life(life) })
    }
}

/// A bundle without a model: `x` is the last value of each window of four, and above 1000 an alarm.
fn release(version: &str, more: &str) -> StagedRelease {
    cut(version, 4, more)
}

/// As [`release`], with windows of `rows`.
fn cut(version: &str, rows: u32, more: &str) -> StagedRelease {
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

/// A bundle whose model is none, so that no worker loads it.
fn broken() -> StagedRelease {
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
fn staged(bundle: BundleFile, files: BTreeMap<String, Vec<u8>>) -> StagedRelease {
    let built = build(bundle, files).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(disk.path()).unwrap();
    let release = built.release_id();
    fs::write(blobs.folder().join(release.digest.hex()), &built.oci_manifest).unwrap();
    for (digest, bytes) in &built.blobs {
        fs::write(blobs.folder().join(digest.hex()), bytes).unwrap();
    }
    stage::load(&release, &blobs).unwrap()
}

struct Bench {
    store: Store,
    ledger: Ledger,
    threads: Arc<Threads>,
    slot: SlotHandle,
    source: JoinHandle<()>,
    position: Position,
    watched: Arc<Watched>,
}

/// The frames that were committed.
#[derive(Default)]
struct Watched(Mutex<Vec<Settled>>);

impl Witness for Watched {
    fn placed(&self, _slot: &SlotName, _release: &ReleaseId, _bundle: &BundleFile) {}
    fn frame(&self, _slot: &SlotName, _release: &ReleaseId, settled: &Settled) {
        self.0.lock().unwrap().push(settled.clone());
    }
    fn dropped(&self, _slot: &SlotName, _reason: &str, _count: u64) {}
    fn doubled(&self, _slot: &SlotName, _count: u64) {}
}

/// Settings of a slot that says 7 where it is vacant.
fn config(overflow: Overflow, queue: usize) -> SlotConfig {
    SlotConfig {
        source: "test".into(),
        source_kind: SourceKind::File { paths: vec![], pace: Pace::FlatOut },
        queue_readings_max: queue,
        overflow,
        sinks: vec!["log".into()],
        policy: Default::default(),
        fail_safe: BTreeMap::from([("alarm".to_owned(), lineside_bundle::FailSafe::Number(7.0))]),
    }
}

/// Opens a slot in `folder` whose source gives `values`, one stream after the other, then ends.
fn bench(folder: &Path, values: Arc<Vec<f64>>, overflow: Overflow, queue: usize) -> Bench {
    let threads = Arc::new(Threads::default());
    bench_of(folder, values, config(overflow, queue), threads.clone(), threads)
}

/// As [`bench`], with other settings and other workers.
fn bench_of(
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
    let parts = SlotParts {
        device: "bench".parse().unwrap(),
        slot: "echo".parse().unwrap(),
        config,
        commit_every: Duration::from_millis(5),
        commit_frames: 8,
        limits: WorkerLimits {
            memory_mib_max: 64,
            load: Duration::from_secs(20),
            self_test: Duration::from_secs(20),
            cache: folder.join("cache"),
            cache_key: [7; 32],
        },
        starter,
        ledger: ledger.clone(),
        witness: watched.clone(),
        arrivals: inbox,
        receipts,
    };
    let (slot, position) = open(parts).unwrap();
    let source = tokio::spawn(give(slot.clone(), arrivals, position.clone(), values));
    Bench { store, ledger, threads, slot, source, position, watched }
}

async fn give(
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
            values: vec![values[at as usize]],
        };
        let rows: Vec<Row> = (at..end).map(row).collect();
        let step = match rows.is_empty() {
            true => Step::End,
            false => Step::File { file: 0, row: end, rows_before: 0 },
        };
        let arrival = Arrival { port, rows, dropped: vec![], step: Some(step), receipt: None };
        if arrivals.send(arrival).await.is_err() || step == Step::End {
            return;
        }
        at = end;
        tokio::task::yield_now().await;
    }
}

impl Bench {
    async fn until(&self, what: &str, holds: impl Fn(&SlotView) -> bool) -> SlotView {
        let mut view = self.slot.view();
        let seen = timeout(PATIENCE, view.wait_for(|view| holds(view))).await;
        if let Ok(Ok(view)) = seen {
            return view.clone();
        }
        panic!("not seen: {what}: {:?}", self.slot.view().borrow().clone())
    }

    /// The agent dies: nothing is finished, nothing is said.
    async fn crash(self) {
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

    fn findings(&self) -> Vec<Value> {
        let findings = self.ledger.findings("log", 0, usize::MAX).unwrap();
        findings.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
    }
}

fn ids(findings: &[Value]) -> Vec<String> {
    findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
}

/// Every frame of `values` is there once, with the right answer.
fn check_whole(findings: &[Value], values: &[f64]) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_swaps_and_crashes_at_any_moment_lose_and_double_nothing() {
    let values = Arc::new((0..4002).map(f64::from).collect::<Vec<_>>());
    let versions = [release("1", ""), release("2", "")];
    for seed in 1..=6u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |end: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance % end
        };
        let mut one = bench(folder.path(), values.clone(), Overflow::Block, 50);
        one.slot.run(&versions[0]).await.unwrap();
        let mut disorder = 0;
        while !one.slot.view().borrow().ended && disorder < 40 {
            disorder += 1;
            match below(6) {
                0 | 1 => one.threads.kill_all(),
                2 | 3 => {
                    let result = one.slot.swap(&versions[below(2) as usize]).await;
                    assert!(!matches!(result, Err(SwapError::Load(_))), "{result:?}");
                }
                4 => {
                    // A kill in the middle of a swap.
                    let (slot, to) = (one.slot.clone(), versions[below(2) as usize].clone());
                    let swap = tokio::spawn(async move { slot.swap(&to).await });
                    for _ in 0..below(200) {
                        tokio::task::yield_now().await;
                    }
                    one.threads.kill_all();
                    let _ = swap.await.unwrap();
                }
                _ => {
                    one.crash().await;
                    one = bench(folder.path(), values.clone(), Overflow::Block, 50);
                    one.slot.run(&versions[below(2) as usize]).await.unwrap();
                }
            }
            for _ in 0..below(400) {
                tokio::task::yield_now().await;
            }
        }
        let view = one.until("the recording ends", |view| view.ended).await;
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0), "seed {seed}");
        assert_eq!(view.counts.accepted, 4002);
        // 2001 readings a stream: 500 frames, and one reading of a frame that never became whole.
        assert_eq!(view.counts.errors, BTreeMap::from([("incomplete".to_owned(), 2)]));
        check_whole(&one.findings(), &values);
        one.crash().await;
        let again = bench(folder.path(), values.clone(), Overflow::Block, 50);
        assert!(again.position.ended);
        again.slot.run(&versions[0]).await.unwrap();
        again.until("it stays ended", |view| view.ended && view.answering).await;
        check_whole(&again.findings(), &values);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_kills_workers_costs_one_frame_and_the_rest_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..80).map(f64::from).collect();
    // The last of the third window of k0, and one in the middle of the fifth of k1.
    values[22] = DEADLY;
    values[35] = DEADLY;
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 1000);
    let mut events = one.slot.subscribe();
    one.slot.run(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    assert!((3..=5).contains(&view.counts.worker_deaths), "{view:?}");
    let findings = one.findings();
    let (failed, answered): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding["fail_safe"] == true);
    let mut failed = ids(&failed);
    failed.sort();
    assert_eq!(failed, ["echo/k0/8/0", "echo/k1/16/0"]);
    assert_eq!(answered.len(), 18);
    assert_eq!(
        u64::from(one.slot.observation(&release("1", "").release.digest).crashes),
        view.counts.worker_deaths
    );
    let SlotEvent::WorkerFailed { release, .. } = events.recv().await.unwrap();
    assert_eq!(release.to_string(), "echo v1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_never_answers_is_ended_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..32).map(f64::from).collect();
    values[14] = ENDLESS;
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 1000);
    let mut events = one.slot.subscribe();
    one.slot.run(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    assert_eq!(view.counts.errors, BTreeMap::from([("worker_died".to_owned(), 1)]));
    let SlotEvent::WorkerFailed { reason, .. } = events.recv().await.unwrap();
    assert!(reason.contains("no answer"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_does_not_load_leaves_the_route_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..400).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values.clone(), Overflow::Block, 10);
    let broken = broken();
    let error = one.slot.run(&broken).await.unwrap_err();
    assert!(matches!(&error, SwapError::Load(_)), "{error}");
    // The slot never had a release: it says so once, as its settings want.
    one.slot.vacate("no release has been committed yet").await;
    one.slot.run(&release("1", "")).await.unwrap();
    let error = one.slot.swap(&broken).await.unwrap_err();
    assert!(matches!(&error, SwapError::Load(_)), "{error}");
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!(view.release.unwrap().to_string(), "echo v1");
    let (vacant, answered): (Vec<_>, Vec<_>) =
        one.findings().into_iter().partition(|finding| finding["fail_safe"] == true);
    assert_eq!(vacant.len(), 1, "{vacant:?}");
    assert_eq!(vacant[0]["outputs"]["alarm"], 7.0);
    assert_eq!(vacant[0]["id"], "echo/fail-safe/1");
    check_whole(&answered, &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_never_judged_by_the_frames_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..400).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values, Overflow::Block, 10);
    one.slot.run(&release("1", "")).await.unwrap();
    one.until("the recording ends", |view| view.ended).await;
    let frames = |version| one.slot.observation(&release(version, "").release.digest).frames;
    assert_eq!((frames("1"), frames("2")), (100, 0));
    // There is nothing left to read, so nothing can have been seen of what comes now.
    one.slot.swap(&release("2", "")).await.unwrap();
    assert_eq!((frames("1"), frames("2")), (0, 0));
    one.slot.run(&release("1", "")).await.unwrap();
    assert_eq!(frames("1"), 0);
    one.slot.vacate("a test").await;
    assert_eq!(frames("1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_way_in_a_full_queue_is_counted_and_the_frames_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..4000).map(f64::from).collect();
    values[100] = HELD;
    let one = bench(folder.path(), Arc::new(values), Overflow::DropOldest, 8);
    Orders::give(&one.threads.orders.holds, true);
    one.slot.run(&release("1", "")).await.unwrap();
    // The worker does not get on, and the source does.
    one.until("all has come", |view| view.counts.accepted == 4000).await;
    Orders::give(&one.threads.orders.holds, false);
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    assert_eq!(view.counts.accepted, 4000);
    let frames: u64 = view.counts.findings + view.counts.errors.values().sum::<u64>();
    assert_eq!(frames, 1000, "{view:?}");
    let gave_way = view.counts.dropped["overflow"];
    assert!(gave_way > 3000, "{view:?}");
    let mut missing = 0;
    for frame in one.watched.0.lock().unwrap().iter() {
        let without = frame.last + 1 - frame.first - frame.inputs.len() as u64;
        assert!(without == 0 || frame.result.is_err(), "{frame:?}");
        missing += without;
    }
    assert_eq!(missing, gave_way, "{view:?}");
    let given = ids(&one.findings());
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_finishes_what_was_taken_and_a_restart_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..4000).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values.clone(), Overflow::Block, 10);
    one.slot.run(&release("1", "")).await.unwrap();
    one.until("some frames", |view| view.counts.frames > 20).await;
    one.slot.drain().await;
    let view = one.slot.view().borrow().clone();
    let open = view.counts.accepted - 4 * view.counts.frames;
    assert_eq!(view.owed, open, "{view:?}");
    assert_eq!(one.slot.run(&release("1", "")).await, Err(SwapError::Stopping));
    one.crash().await;
    let two = bench(folder.path(), values.clone(), Overflow::Block, 10);
    two.slot.run(&release("1", "")).await.unwrap();
    two.until("the recording ends", |view| view.ended).await;
    check_whole(&two.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_findings_have_one_id_though_an_update_cuts_readings_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..2000).map(f64::from).collect();
    values[1000] = HELD;
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 50);
    Orders::give(&one.threads.orders.holds, true);
    one.slot.run(&release("1", "")).await.unwrap();
    one.until("the first half is answered", |view| view.counts.frames >= 240).await;
    one.slot.swap(&cut("2", 8, "")).await.unwrap();
    Orders::give(&one.threads.orders.holds, false);
    one.until("the recording ends", |view| view.ended).await;
    let findings = one.findings();
    for (version, at_least) in [("echo v1", 240), ("echo v2", 110)] {
        let by = findings.iter().filter(|finding| finding["release"] == version).count();
        assert!(by >= at_least, "{version}: {by}");
    }
    let given = ids(&findings);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacant_slot_says_what_its_last_bundle_wants_unless_its_settings_say_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let threads = Arc::new(Threads::default());
        let config = SlotConfig { fail_safe: BTreeMap::new(), ..config(Overflow::Block, 50) };
        bench_of(folder.path(), Arc::default(), config, threads.clone(), threads)
    };
    let said = |one: &Bench| {
        let findings = one.findings().into_iter();
        let said = findings.map(|finding| (finding["id"].clone(), finding["outputs"].clone()));
        said.map(|(id, outputs)| (id.as_str().unwrap().to_owned(), outputs)).collect::<Vec<_>>()
    };
    let one = open();
    one.slot.vacate("no release has been committed yet").await;
    // Whether or not it passes its checks here, it knows what is safe.
    one.slot.verified(&release("1", "")).await;
    one.slot.vacate("its checks say no").await;
    one.slot.vacate("its checks say no, still").await;
    let given = |count, outputs| (format!("echo/fail-safe/{count}"), outputs);
    let (nothing, alarm) = (serde_json::json!({}), serde_json::json!({"alarm": true}));
    one.slot.drain().await;
    let expected = [given(1, nothing.clone()), given(2, alarm.clone())];
    assert_eq!(said(&one), expected);
    assert_eq!(one.slot.ended().await, Ok(()));
    one.crash().await;
    let two = open();
    two.slot.vacate("no release has been committed yet").await;
    two.slot.drain().await;
    assert_eq!(said(&two), [given(1, nothing), given(2, alarm.clone()), given(3, alarm)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_workers_die_and_die_gives_its_fail_safe_output_once_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..400).map(f64::from).collect();
    values[100] = HELD;
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 20);
    let orders = one.threads.orders.clone();
    Orders::give(&orders.holds, true);
    one.slot.run(&release("1", "")).await.unwrap();
    one.until("frames are answered", |view| view.counts.frames > 20).await;
    Orders::give(&orders.loads_nothing, true);
    one.threads.kill_all();
    one.until("it dies over and over", |view| view.counts.worker_deaths >= 5).await;
    Orders::give(&orders.loads_nothing, false);
    Orders::give(&orders.holds, false);
    one.until("the recording ends", |view| view.ended).await;
    let mut findings = one.findings();
    findings.retain(|finding| finding["fail_safe"] == true && finding["frame"].is_null());
    assert_eq!(ids(&findings), ["echo/fail-safe/1"]);
    assert_eq!(findings[0]["release"], "echo v1");
    assert_eq!(findings[0]["outputs"], serde_json::json!({"alarm": true}));
    let reason = findings[0]["reason"].as_str().unwrap();
    assert!(reason.contains("a model is damaged"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_take_long_to_end_one_by_one_cost_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..32).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values.clone(), Overflow::Block, 50);
    Orders::give(&one.threads.orders.finishes_slowly, true);
    one.slot.run(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!(view.counts.worker_deaths, 0);
    check_whole(&one.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_release_takes_long_to_load_no_more_is_kept_than_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..4000).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values, Overflow::Block, 50);
    one.slot.run(&release("1", "")).await.unwrap();
    Orders::give(&one.threads.orders.loads_later, true);
    let (slot, to) = (one.slot.clone(), release("2", ""));
    let swap = tokio::spawn(async move { slot.swap(&to).await });
    one.until("the recording ends", |view| view.ended).await;
    let chunks = one.ledger.restore(&"echo".parse().unwrap()).unwrap().chunks;
    let kept: usize = chunks.iter().map(|(_, readings)| readings.len()).sum();
    // Chunks go when nothing of them is kept, and one holds what a commit brought.
    assert!(kept < 400, "{kept} readings are on the disk");
    Orders::give(&one.threads.orders.loads_later, false);
    assert_eq!(swap.await.unwrap(), Ok(()));
}

/// Workers that answer whatever they are sent with the same message.
struct Liars(FromWorker);

impl Starter for Liars {
    fn start(&self) -> std::io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let (life, killed) = oneshot::channel();
        let door = theirs.try_clone()?;
        let lie = self.0.clone();
        std::thread::spawn(move || {
            let mut stream = theirs;
            while let Ok(Some(message)) = read::<ToWorker>(&mut stream) {
                let said = match message {
                    ToWorker::Load(_) => FromWorker::Loaded,
                    _ => lie.clone(),
                };
                if write(&mut stream, &said).is_err() {
                    break;
                }
            }
            let _ = tell.send(End::Itself("it ended by itself".into()));
        });
        tokio::spawn(async move {
            let _ = killed.await;
            let _ = door.shutdown(Shutdown::Both);
        });
        Ok(Started { stream: ours, ended, life: Life(life) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_says_what_it_was_not_asked_is_ended_and_ends_nothing_else() {
    for lie in [FromWorker::Finished, FromWorker::Loaded, FromWorker::Checked(vec![])] {
        let folder = tempfile::tempdir().unwrap();
        let values = Arc::new((0..40).map(f64::from).collect::<Vec<_>>());
        let liars = Arc::new(Liars(lie));
        let config = config(Overflow::Block, 20);
        let one = bench_of(folder.path(), values.clone(), config, Arc::default(), liars);
        let mut events = one.slot.subscribe();
        one.slot.run(&release("1", "")).await.unwrap();
        let SlotEvent::WorkerFailed { reason, .. } = events.recv().await.unwrap();
        assert!(reason.contains("not asked"), "{reason}");
        assert!(!one.slot.view().borrow().ended);
        one.crash().await;
        let two = bench(folder.path(), values.clone(), Overflow::Block, 20);
        assert!(!two.position.ended);
        two.slot.run(&release("2", "")).await.unwrap();
        let view = two.until("the recording ends", |view| view.ended).await;
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
        assert!(view.counts.findings >= 4, "{view:?}");
    }
}

/// A mistake of ours.
struct Mistake;

impl Starter for Mistake {
    fn start(&self) -> std::io::Result<Started> {
        panic!("a mistake of ours")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_a_slot_hears_that_its_task_broke_down() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Overflow::Block, 20);
    let one = bench_of(folder.path(), Arc::default(), config, Arc::default(), Arc::new(Mistake));
    assert_eq!(one.slot.run(&release("1", "")).await, Err(SwapError::Stopping));
    let ended = timeout(PATIENCE, one.slot.ended()).await.unwrap();
    assert!(matches!(&ended, Err(SlotError::Broken(why)) if why.contains("mistake")), "{ended:?}");
}
