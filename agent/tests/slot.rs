//! A slot under every disorder: workers die, routes change, agents crash.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::config::{Overflow, SlotConfig};
use lineside_agent::telemetry::Fires;
use lineside_agent::worker::message::{Checked, FromWorker, ToWorker, read, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{SlotError, SlotEvent, SwapError};
use lineside_bundle::Digest;
use lineside_rules::ShadowLimits;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_swaps_and_crashes_at_any_moment_lose_and_double_nothing() {
    let values = Arc::new((0..4002).map(f64::from).collect::<Vec<_>>());
    let versions = [release("1", ""), release("2", "")];
    for seed in 1..=6u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut below = drawn(seed);
        let mut one = bench(folder.path(), values.clone(), Overflow::Block, 50);
        one.slot.place(&versions[0]).await.unwrap();
        let mut disorder = 0;
        while !one.slot.view().borrow().ended && disorder < 40 {
            disorder += 1;
            match below(6) {
                0 | 1 => one.threads.kill_all(),
                2 | 3 => {
                    let result = one.slot.place(&versions[below(2) as usize]).await;
                    assert!(!matches!(result, Err(SwapError::Load(_))), "{result:?}");
                }
                4 => {
                    // A kill in the middle of a swap.
                    let (slot, to) = (one.slot.clone(), versions[below(2) as usize].clone());
                    let swap = tokio::spawn(async move { slot.place(&to).await });
                    for _ in 0..below(200) {
                        tokio::task::yield_now().await;
                    }
                    one.threads.kill_all();
                    let _ = swap.await.unwrap();
                }
                _ => {
                    one.crash().await;
                    one = bench(folder.path(), values.clone(), Overflow::Block, 50);
                    one.slot.place(&versions[below(2) as usize]).await.unwrap();
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
        again.slot.place(&versions[0]).await.unwrap();
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
    one.slot.place(&release("1", "")).await.unwrap();
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
    let release = died(&mut events).await.0;
    assert_eq!(release, "echo v1");
}

/// The release whose worker has died next by its own fault, and why.
async fn died(events: &mut mpsc::Receiver<SlotEvent>) -> (String, String) {
    match events.recv().await.unwrap() {
        SlotEvent::WorkerFailed { release, reason } => (release.to_string(), reason),
        other @ (SlotEvent::WorkerKilled { .. } | SlotEvent::Quarantined { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_somebody_else_ends_are_started_again_and_not_held_against_the_release() {
    let folder = tempfile::tempdir().unwrap();
    let values: Arc<Vec<f64>> = Arc::new((0..4000).map(f64::from).collect());
    let one = bench(folder.path(), values, Overflow::Block, 50);
    one.threads.orders.let_through(100);
    let mut events = one.slot.subscribe();
    one.slot.place(&release("1", "")).await.unwrap();
    for kills in 1..=3 {
        one.until("it answers", |view| view.answering).await;
        one.threads.kill_all();
        one.until("it is seen", |view| view.counts.worker_kills == kills).await;
        let event = events.recv().await.unwrap();
        assert!(
            matches!(&event, SlotEvent::WorkerKilled { release, .. } if release.to_string() == "echo v1"),
            "{event:?}"
        );
    }
    one.threads.orders.let_through(u64::MAX);
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.worker_kills, view.counts.worker_deaths), (3, 0));
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    let seen = one.slot.observation(&release("1", "").release.digest);
    assert_eq!(seen.crashes, 0);
    assert!(seen.frames > 900, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_ready_follows_the_route_until_it_may_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let values: Arc<Vec<f64>> = Arc::new((0..4000).map(f64::from).collect());
    let one = bench(folder.path(), values.clone(), Overflow::Block, 50);
    one.threads.orders.let_through(1000);
    let versions = [release("1", ""), release("2", "")];
    for (version, from) in versions.iter().zip([0, 2000]) {
        let (tell, may) = watch::channel(false);
        let (slot, next) = (one.slot.clone(), version.clone());
        let placing = tokio::spawn(async move { slot.place_when(&next, may).await });
        if from > 0 {
            one.threads.orders.let_through(from);
            one.until("the one before answers all", |view| view.counts.frames == from / 4).await;
        }
        let seen = one.slot.observation(&version.release.digest);
        assert!(seen.frames == 0 && !placing.is_finished(), "{seen:?}");
        tell.send_replace(true);
        assert_eq!(placing.await.unwrap(), Ok(()));
        one.threads.orders.let_through(from + 1000);
        let upto = (from + 1000) / 4;
        one.until("it answers", |view| view.counts.frames == upto).await;
        assert_eq!(one.slot.observation(&version.release.digest).frames, upto - from / 4);
    }
    one.threads.orders.let_through(u64::MAX);
    one.until("the recording ends", |view| view.ended).await;
    check_whole(&one.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_never_answers_is_ended_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..32).map(f64::from).collect();
    values[14] = ENDLESS;
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 1000);
    let mut events = one.slot.subscribe();
    one.slot.place(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    assert_eq!(view.counts.errors, BTreeMap::from([("worker_died".to_owned(), 1)]));
    let (_, reason) = died(&mut events).await;
    assert!(reason.contains("no answer"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_does_not_load_leaves_the_route_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..400).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values.clone(), Overflow::Block, 10);
    let broken = broken();
    let error = one.slot.place(&broken).await.unwrap_err();
    assert!(matches!(&error, SwapError::Load(_)), "{error}");
    // The slot never had a release: it says so once, as its settings want.
    one.slot.vacate("no release has been committed yet").await;
    one.slot.place(&release("1", "")).await.unwrap();
    let error = one.slot.place(&broken).await.unwrap_err();
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
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("the recording ends", |view| view.ended).await;
    let frames = |version| one.slot.observation(&release(version, "").release.digest).frames;
    assert_eq!((frames("1"), frames("2")), (100, 0));
    // There is nothing left to read, so nothing can have been seen of what comes now.
    one.slot.place(&release("2", "")).await.unwrap();
    assert_eq!((frames("1"), frames("2")), (0, 0));
    one.slot.place(&release("1", "")).await.unwrap();
    assert_eq!(frames("1"), 0);
    one.slot.vacate("a test").await;
    assert_eq!(frames("1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_way_in_a_full_queue_is_counted_and_the_frames_say_so() {
    let folder = tempfile::tempdir().unwrap();
    // Any of them may be what gives way, so each can hold the worker up.
    let values = vec![HELD; 4000];
    let one = bench(folder.path(), Arc::new(values), Overflow::DropOldest, 8);
    Orders::give(&one.threads.orders.holds, true);
    one.slot.place(&release("1", "")).await.unwrap();
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
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("some frames", |view| view.counts.frames > 20).await;
    one.slot.drain().await;
    let view = one.slot.view().borrow().clone();
    let open = view.counts.accepted - 4 * view.counts.frames;
    assert_eq!(view.owed, open, "{view:?}");
    assert_eq!(one.slot.place(&release("1", "")).await, Err(SwapError::Stopping));
    one.crash().await;
    let two = bench(folder.path(), values.clone(), Overflow::Block, 10);
    two.slot.place(&release("1", "")).await.unwrap();
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
    one.slot.place(&release("1", "")).await.unwrap();
    one.until("the first half is answered", |view| view.counts.frames >= 240).await;
    one.slot.place(&cut("2", 8, "")).await.unwrap();
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
    one.slot.place(&release("1", "")).await.unwrap();
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
    one.slot.place(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!(view.counts.worker_deaths, 0);
    check_whole(&one.findings(), &values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_release_takes_long_to_load_no_more_is_kept_than_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..4000).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values, Overflow::Block, 50);
    one.slot.place(&release("1", "")).await.unwrap();
    Orders::give(&one.threads.orders.loads_later, true);
    let (slot, to) = (one.slot.clone(), release("2", ""));
    let swap = tokio::spawn(async move { slot.place(&to).await });
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
        Ok(Started { stream: ours, ended, life: Life { _end: life } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_says_what_it_was_not_asked_is_ended_and_ends_nothing_else() {
    for lie in [
        FromWorker::Finished,
        FromWorker::Loaded,
        FromWorker::Timed(BTreeMap::new()),
        FromWorker::TriedOut(Digest::of(b"any")),
        FromWorker::Checked(Checked::default()),
        // A sign of life that costs nothing.
        FromWorker::Done(0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let values = Arc::new((0..40).map(f64::from).collect::<Vec<_>>());
        let liars = Arc::new(Liars(lie));
        let config = config(Overflow::Block, 20);
        let one = bench_of(folder.path(), values.clone(), config, Arc::default(), liars);
        let mut events = one.slot.subscribe();
        one.slot.place(&release("1", "")).await.unwrap();
        let (_, reason) = died(&mut events).await;
        assert!(reason.contains("not asked") || reason.contains("not sent"), "{reason}");
        assert!(!one.slot.view().borrow().ended);
        one.crash().await;
        let two = bench(folder.path(), values.clone(), Overflow::Block, 20);
        assert!(!two.position.ended);
        two.slot.place(&release("2", "")).await.unwrap();
        let view = two.until("the recording ends", |view| view.ended).await;
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
        assert!(view.counts.findings >= 4, "{view:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_a_slot_hears_that_its_task_broke_down() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..40).map(f64::from).collect::<Vec<_>>());
    let one = bench(folder.path(), values, Overflow::Block, 20);
    // A mistake of ours: whoever is told of frames panics.
    let watched = one.watched.clone();
    let holder = std::thread::spawn(move || {
        let _held = watched.0.lock();
        panic!("the lock is poisoned");
    });
    assert!(holder.join().is_err());
    let _ = one.slot.place(&release("1", "")).await;
    let ended = timeout(PATIENCE, one.slot.ended()).await.unwrap();
    assert!(matches!(&ended, Err(SlotError::Broken(why)) if why.contains("Poison")), "{ended:?}");
}

/// The system starts no process, for so many times.
struct Full {
    threads: Arc<Threads>,
    times: AtomicUsize,
}

impl Starter for Full {
    fn start(&self) -> std::io::Result<Started> {
        let left =
            self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(std::io::ErrorKind::OutOfMemory.into()),
            Err(_) => self.threads.start(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_started_is_refused_and_whoever_has_the_route_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let values = Arc::new((0..4000).map(f64::from).collect::<Vec<_>>());
    let threads = Arc::new(Threads::default());
    let full = Arc::new(Full { threads: threads.clone(), times: AtomicUsize::new(1) });
    let config = config(Overflow::Block, 50);
    let one = bench_of(folder.path(), values, config, threads, full.clone());
    let refused = one.slot.place(&release("1", "")).await;
    assert!(
        matches!(&refused, Err(SwapError::Start(why)) if why.contains("memory")),
        "{refused:?}"
    );
    assert_eq!(one.slot.place(&release("1", "")).await, Ok(()));
    full.times.store(2, Ordering::SeqCst);
    let refused = one.slot.place(&release("2", "")).await;
    assert!(matches!(refused, Err(SwapError::Start(_))), "{refused:?}");
    let refused = one.slot.shadow(&release("2", ""), &ShadowLimits::default()).await;
    assert!(matches!(refused, Err(SwapError::Start(_))), "{refused:?}");
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0));
    assert_eq!(view.release.map(|release| release.version.to_string()), Some("1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_rule_fires_each_frame_is_told_fail_safe_once_and_what_the_release_answers_is_counted()
 {
    let step = 40 * KEYS;
    let values: Arc<Vec<f64>> = Arc::new((0..4 * step).map(|n| n as f64).collect());
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["1", "2"].map(|version| release(version, ""));
    let fires = Fires {
        rules: vec!["frost".into()],
        release: Some(first.release.digest),
        fail_safe: Some("frost".into()),
        interval_ms: None,
    };
    let open = || bench(folder.path(), values.clone(), Overflow::Block, 50);
    let one = open();
    let until = async |one: &Bench, steps: u64| {
        one.threads.orders.let_through(steps * step);
        one.until("they are answered", |view| view.counts.frames == steps * step / 4).await;
    };
    one.slot.place(&first).await.unwrap();
    until(&one, 1).await;
    one.threads.fires.send_replace(fires.clone());
    until(&one, 2).await;
    one.crash().await;
    let one = open();
    one.threads.fires.send_replace(fires);
    one.slot.place(&first).await.unwrap();
    until(&one, 3).await;
    // The rule was judged of another release.
    one.slot.place(&second).await.unwrap();
    one.threads.orders.let_through(u64::MAX);
    let view = one.until("the recording ends", |view| view.ended).await;
    let counts = &view.counts;
    assert_eq!((counts.lost, counts.doubled, counts.alarms, counts.errors.len()), (0, 0, 0, 0));
    let (instead, answers): (Vec<_>, Vec<_>) =
        one.findings().into_iter().partition(|finding| finding["fail_safe"] == true);
    let ids: BTreeSet<String> = ids(&instead).into_iter().chain(ids(&answers)).collect();
    assert_eq!(ids.len() as u64, step);
    // When the frame was whole, in steps.
    let at = |finding: &serde_json::Value| {
        let key: u64 = finding["key"].as_str().unwrap()[1..].parse().unwrap();
        (finding["last"].as_u64().unwrap() * KEYS + key) / step
    };
    assert!(
        answers
            .iter()
            .all(|answer| answer["outputs"]["x"].is_f64() && [0, 3].contains(&at(answer)))
    );
    assert_eq!(instead.len() as u64, step / 2);
    for finding in &instead {
        assert!([1, 2].contains(&at(finding)), "{finding}");
        assert_eq!(finding["outputs"], serde_json::json!({"alarm": true}));
        assert_eq!(
            (&finding["reason"], &finding["release"]),
            (&"rule frost".into(), &"echo v1".into())
        );
        assert_eq!(
            finding["alarm"],
            serde_json::Value::Null,
            "what the release answers is not told"
        );
    }
    let told = one.watched.0.lock().unwrap();
    assert!(told.len() as u64 >= step / 2 && told.iter().all(|settled| settled.result.is_ok()));
}
