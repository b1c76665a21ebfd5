//! A release beside the route: compared, never heard, and nothing that becomes of it disturbs the
//! release that has the route.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::config::Overflow;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::message::{Checked, FromWorker, ToWorker, frame_in, read, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{SwapError, WorkerLimits};
use lineside_bundle::Digest;
use lineside_rules::{ShadowLimits, Tolerance};
use lineside_runtime::{FrameOutcome, Part, Reading};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Readings that come before the test has placed the shadow.
const GATE: u64 = 100;

fn numbered(count: u32) -> Vec<f64> {
    (0..count).map(f64::from).collect()
}

fn equal() -> ShadowLimits {
    ShadowLimits { frames: Some(100), ..ShadowLimits::default() }
}

/// A slot in which version 1 has the route, and `beside` answers beside it from reading
/// [`GATE`] on.
async fn shadowed(folder: &std::path::Path, values: Vec<f64>, beside: &StagedRelease) -> Bench {
    let one = bench(folder, Arc::new(values), Overflow::Block, 50);
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(beside, &equal()).await.unwrap();
    open(&one, beside).await;
    one
}

/// Gives a few readings at a time until the shadow has been compared, and then all of them.
async fn open(one: &Bench, beside: &StagedRelease) {
    let through = AtomicU64::new(GATE);
    one.until_shadowed("it follows", beside, |seen| {
        one.threads.orders.let_through(through.fetch_add(8, Ordering::SeqCst));
        seen.frames > 0
    })
    .await;
    one.threads.orders.let_through(u64::MAX);
}

/// The recording has ended, every frame was answered once and right, by version 1.
async fn check_undisturbed(one: &Bench, values: &[f64]) {
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    assert_eq!(view.counts.worker_deaths, 0);
    let findings = one.findings();
    check_whole(&findings, values);
    assert!(findings.iter().all(|finding| finding["release"] == "echo v1"));
    let seen = one.slot.observation(&release("1", "").release.digest);
    assert_eq!((seen.crashes, seen.errors, seen.gaps), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_answers_the_same_readings_and_the_plant_hears_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(4000);
    let same = release("2", "");
    let one = shadowed(folder.path(), values.clone(), &same).await;
    check_undisturbed(&one, &values).await;
    let seen = one.until_shadowed("much is compared", &same, |seen| seen.alarms > 200).await;
    assert_eq!((seen.agreed, seen.errors, seen.crashes, seen.gaps), (seen.frames, 0, 0, 0));
    assert_eq!(seen.outputs.keys().collect::<Vec<_>>(), ["alarm", "x"]);
    assert!(seen.outputs.values().all(|output| output.compared == seen.frames));
    assert_eq!(seen.alarms, seen.active_alarms);
    assert!(seen.latency_ms_p95.is_some() && seen.active_latency_ms_p95.is_some());
    assert_eq!(one.slot.shadowed(&release("1", "").release.digest).frames, 0);
    one.slot.end_shadow().await;
    assert_eq!(one.slot.shadowed(&same.release.digest).frames, 0);
    let told = one.watched.1.lock().unwrap().clone();
    let [(release, last)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((release.as_str(), last.agreed), ("echo v2", last.frames));
    assert!(last.frames >= seen.frames);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_answers_otherwise_is_seen_to_by_the_output_and_the_tolerance() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(2000);
    // The third value from the end: four less, for two streams take turns.
    let off = ported("2", &["x"], 0, 2);
    let one = shadowed(folder.path(), values.clone(), &off).await;
    let near = Tolerance { absolute: 4.0, relative: 0.0 };
    let limits = ShadowLimits { tolerance: BTreeMap::from([("x".into(), near)]), ..equal() };
    // The same shadow with other limits goes on.
    one.slot.shadow(&off, &limits).await.unwrap();
    assert_eq!(one.threads.started("2"), 1);
    check_undisturbed(&one, &values).await;
    let seen = one.until_shadowed("all is compared", &off, |seen| seen.agreed > 50).await;
    assert!(seen.agreed < seen.frames, "{seen:?}");
    assert_eq!(seen.outputs["x"].difference_max, 4.0);
    assert_eq!(seen.errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_is_killed_from_outside_has_not_crashed_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(4000);
    let beside = release("2", "");
    let one = shadowed(folder.path(), values.clone(), &beside).await;
    one.until_shadowed("it is compared", &beside, |seen| seen.frames > 20).await;
    one.threads.kill("2");
    let seen = one.until_shadowed("it goes on", &beside, |_| one.threads.started("2") == 2).await;
    assert_eq!((seen.crashes, seen.errors), (0, 0));
    check_undisturbed(&one, &values).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_crashes_is_counted_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(4000);
    values[3001] = DEADLY;
    let beside = release("2", "");
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    one.threads.orders.only.set("2").unwrap();
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(&beside, &equal()).await.unwrap();
    open(&one, &beside).await;
    let seen = one.until_shadowed("it crashes", &beside, |seen| seen.crashes == 1).await;
    assert_eq!(seen.agreed, seen.frames);
    one.until_shadowed("it goes on", &beside, |_| one.threads.started("2") == 2).await;
    check_undisturbed(&one, &values).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_does_not_get_on_holds_nothing_up_and_misses_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(30_000);
    values[2001] = STUCK;
    let beside = release("2", "");
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    one.threads.orders.only.set("2").unwrap();
    Orders::give(&one.threads.orders.sticks, true);
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(&beside, &equal()).await.unwrap();
    open(&one, &beside).await;
    check_undisturbed(&one, &values).await;
    let chunks = one.ledger.restore(&"echo".parse().unwrap()).unwrap().chunks;
    let kept: usize = chunks.iter().map(|(_, readings)| readings.len()).sum();
    assert!(kept < 1000, "{kept} readings are on the disk");
    let seen = one.until_shadowed("all is told", &beside, |seen| seen.frames > 10).await;
    assert!(seen.gaps > 4000, "{seen:?}");
    Orders::give(&one.threads.orders.sticks, false);
    let seen = one.until_shadowed("it gets on", &beside, |seen| seen.frames > 2500).await;
    assert_eq!((seen.agreed, seen.errors, seen.crashes), (seen.frames, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_hangs_is_ended_and_that_is_its_crash_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(2000);
    values[1801] = ENDLESS;
    let beside = release("2", "");
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    one.threads.orders.only.set("2").unwrap();
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(&beside, &equal()).await.unwrap();
    open(&one, &beside).await;
    check_undisturbed(&one, &values).await;
    one.until_shadowed("it is ended", &beside, |seen| seen.crashes == 1).await;
}

/// The first worker is honest; the others answer readings with what nobody has asked for, without end.
struct Flood {
    honest: Threads,
    started: AtomicUsize,
    lie: FromWorker,
}

impl Starter for Flood {
    fn start(&self) -> std::io::Result<Started> {
        if self.started.fetch_add(1, Ordering::SeqCst) == 0 {
            return self.honest.start();
        }
        let (ours, theirs) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let (life, killed) = oneshot::channel();
        let door = theirs.try_clone()?;
        let lie = self.lie.clone();
        std::thread::spawn(move || {
            let mut stream = theirs;
            while let Ok(Some(message)) = read::<ToWorker>(&mut stream) {
                match message {
                    ToWorker::Load(_) => write(&mut stream, &FromWorker::Loaded).unwrap(),
                    ToWorker::Readings(_) => while write(&mut stream, &lie).is_ok() {},
                    _ => {}
                }
            }
            let _ = tell.send(End::Itself("it ended by itself".into()));
        });
        tokio::spawn(async move {
            let _ = killed.await;
            let _ = door.shutdown(Shutdown::Both);
        });
        Ok(Started { stream: ours, ended, life: Life { _end: life } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_floods_or_says_what_it_was_not_asked_is_ended_and_counts_for_nothing() {
    let outcome = |key: &str, frame: u64| {
        FromWorker::Outcome(FrameOutcome {
            key: key.into(),
            frame,
            first: frame.wrapping_mul(4),
            last: frame.wrapping_mul(4).wrapping_add(3),
            spans: vec![],
            unused: Default::default(),
            time_unix_ns: 0,
            result: Ok(vec![Part { outputs: BTreeMap::new(), alarm: Some(true) }]),
            instead: None,
            said: Default::default(),
            elapsed: Duration::ZERO,
        })
    };
    for lie in [
        outcome("k0", 0),
        outcome("k0", u64::MAX),
        outcome("nobody", 0),
        FromWorker::Done(0),
        FromWorker::Done(u32::MAX),
        FromWorker::Finished,
        FromWorker::TriedOut(Digest::of(b"any")),
        FromWorker::Checked(Checked::default()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let values = numbered(800);
        let flood = Flood { honest: Threads::default(), started: AtomicUsize::new(0), lie };
        let orders = flood.honest.orders.clone();
        orders.let_through(GATE);
        let config = config(Overflow::Block, 50);
        let one = bench_of(
            folder.path(),
            Arc::new(values.clone()),
            config,
            Arc::default(),
            Arc::new(flood),
        );
        one.slot.place(&release("1", "")).await.unwrap();
        let beside = release("2", "");
        one.slot.shadow(&beside, &equal()).await.unwrap();
        let seen = one.until_shadowed("it is ended", &beside, |seen| seen.crashes > 0).await;
        assert_eq!(seen.agreed, 0);
        orders.let_through(u64::MAX);
        check_undisturbed(&one, &values).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_to_the_shadow_takes_its_warm_worker() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(4000);
    values[2000] = STUCK;
    let next = release("2", "");
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    one.threads.orders.only.set("1").unwrap();
    Orders::give(&one.threads.orders.sticks, true);
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(&next, &equal()).await.unwrap();
    open(&one, &next).await;
    one.until_shadowed("it is compared", &next, |seen| seen.frames > 50).await;
    // Nothing can be loaded any more.
    Orders::give(&one.threads.orders.loads_nothing, true);
    one.slot.place(&next).await.unwrap();
    assert_eq!(one.threads.started("2"), 1);
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    assert_eq!(view.release.unwrap().to_string(), "echo v2");
    check_whole(&one.findings(), &values);
    let told = one.watched.1.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.frames > 50 && told[0].1.agreed == told[0].1.frames);
    assert_eq!(one.slot.shadowed(&next.release.digest).frames, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_on_the_route_may_die_beside_a_shadow() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(6000);
    let beside = release("2", "");
    let one = shadowed(folder.path(), values.clone(), &beside).await;
    for frames in [200, 500, 900] {
        one.until("it gets on", |view| view.counts.frames > frames).await;
        one.threads.kill("1");
    }
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    check_whole(&one.findings(), &values);
    let seen = one.until_shadowed("all is compared", &beside, |seen| seen.frames > 600).await;
    assert_eq!((seen.agreed, seen.crashes, seen.errors), (seen.frames, 0, 0));
    assert_eq!(one.threads.started("2"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_another_length_are_compared_where_they_end_alike_and_may_take_the_route() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(4000);
    values[2000] = STUCK;
    let longer = cut("2", 8, "");
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 50);
    one.threads.orders.only.set("1").unwrap();
    Orders::give(&one.threads.orders.sticks, true);
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    one.slot.shadow(&longer, &equal()).await.unwrap();
    open(&one, &longer).await;
    let seen = one.until_shadowed("it is compared", &longer, |seen| seen.frames > 20).await;
    assert_eq!((seen.agreed, seen.errors, seen.gaps), (seen.frames, 0, 0));
    one.slot.place(&longer).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    let findings = one.findings();
    let given = ids(&findings);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
    assert!(findings.iter().all(|finding| finding["fail_safe"].is_null()), "none without answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_lies_within_the_routes_is_served_and_any_other_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = numbered(2000);
    values[1000] = STUCK;
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    one.threads.orders.only.set("1").unwrap();
    Orders::give(&one.threads.orders.sticks, true);
    one.threads.orders.let_through(GATE);
    one.slot.place(&ported("1", &["x", "y"], 0, 0)).await.unwrap();
    for (other, problem) in [
        (ported("2", &["x", "z"], 0, 0), "the readings have no field \"z\""),
        (staged_with("2", "key = \"k\"", "key = \"other\""), "streams apart by another field"),
        (staged_with("2", "rate_hz = 1.0", "rate_hz = 2.0"), "time of readings from elsewhere"),
    ] {
        let error = one.slot.shadow(&other, &equal()).await.unwrap_err();
        assert!(matches!(&error, SwapError::Beside { .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(one.threads.started("2"), 0);
    let turned = ported("3", &["y", "x"], 1, 0);
    one.slot.shadow(&turned, &equal()).await.unwrap();
    open(&one, &turned).await;
    let seen = one.until_shadowed("it is compared", &turned, |seen| seen.frames > 50).await;
    assert_eq!(seen.agreed, seen.frames);
    one.slot.place(&turned).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    check_whole(&one.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_does_not_load_or_has_no_route_beside_it_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let values = numbered(400);
    let one = bench(folder.path(), Arc::new(values.clone()), Overflow::Block, 50);
    let error = one.slot.shadow(&release("2", ""), &equal()).await.unwrap_err();
    assert_eq!(error, SwapError::Vacant);
    one.threads.orders.let_through(GATE);
    one.slot.place(&release("1", "")).await.unwrap();
    let error = one.slot.shadow(&broken(), &equal()).await.unwrap_err();
    assert!(matches!(error, SwapError::Load(_)), "{error}");
    one.threads.orders.let_through(u64::MAX);
    check_undisturbed(&one, &values).await;
    // Another release takes the route: there is nothing left to compare the shadow with.
    one.slot.shadow(&release("2", ""), &equal()).await.unwrap();
    one.slot.place(&release("3", "")).await.unwrap();
    assert_eq!(one.watched.1.lock().unwrap().len(), 1);
    one.slot.vacate("a test").await;
    let error = one.slot.shadow(&release("2", ""), &equal()).await.unwrap_err();
    assert_eq!(error, SwapError::Vacant);
}

/// How nice each thread of a process is.
fn nices(process: u32) -> Vec<i64> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // One may end between being listed and being read.
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    // The name stands in brackets and may have blanks; niceness is the seventeenth field behind it.
    let nice =
        |stat: String| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).map(str::parse);
    let mut nices: Vec<i64> = stats.map(|stat| nice(stat).unwrap().unwrap()).collect();
    nices.sort_unstable();
    nices
}

/// Waits until it is so.
fn wait_for(mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_beside_the_route_gives_way_to_others_until_it_has_the_route() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_lineside-agent"))
        .arg("worker")
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let limits = WorkerLimits {
        memory_mib_max: 64,
        load: PATIENCE,
        self_test: PATIENCE,
        cache: folder.path().to_owned(),
        cache_key: [7; 32],
        engine: None,
        choices: Default::default(),
        library: Default::default(),
        plugin_traps: Default::default(),
    };
    let mut hears = ours.try_clone().unwrap();
    let mut say = |message: ToWorker| ours.write_all(&frame_in(&message, vec![]).unwrap()).unwrap();
    let mut hear = || read::<FromWorker>(&mut hears).unwrap().unwrap();
    let readings = |from: u64| {
        let reading = |sequence: u64| {
            let values = vec![sequence as f64];
            Arc::new(Reading { key: "k".into(), sequence, time_unix_ns: 0, values })
        };
        ToWorker::Readings((from..from + 2).map(reading).collect())
    };
    say(ToWorker::Follow);
    say(ToWorker::Load(limits.bundle(&release("1", ""))));
    assert_eq!(hear(), FromWorker::Loaded);
    // Where memory is short it goes before what has the route.
    let badness = |process: u32| {
        let told = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")).unwrap();
        told.trim().parse::<i32>().unwrap()
    };
    let own_badness = badness(std::process::id());
    assert_eq!(badness(worker.id()), (own_badness + 500).min(1000));
    let own = nices(std::process::id())[0];
    let nice = (own + 10).min(19);
    // The first thread waits for those that work; those that have ended may take a moment to be gone.
    wait_for(|| {
        let nices = nices(worker.id());
        nices[0] == own && nices.len() > 1 && nices[1..].iter().all(|it| *it == nice)
    });
    say(readings(0));
    assert_eq!(hear(), FromWorker::Done(2));
    // In the middle of a window it gets the route, and goes on.
    say(ToWorker::Lead);
    say(readings(2));
    assert!(matches!(hear(), FromWorker::Outcome(outcome) if outcome.frame == 0));
    assert_eq!(hear(), FromWorker::Done(2));
    wait_for(|| nices(worker.id()).iter().all(|it| *it == own));
    assert_eq!(badness(worker.id()), own_badness);
    ours.shutdown(Shutdown::Both).unwrap();
    assert!(worker.wait().unwrap().success());
}
