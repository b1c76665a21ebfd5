//! Several ports of one slot, each with a source of its own: whatever dies, every frame is answered once and
//! from the readings of all of them.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::{Bench, PATIENCE, Threads, Watched, config, drawn, ids, staged, worker_limits};
use lineside_agent::config::{NamedSource, Overflow, Pace, SlotConfig, SlotSources, SourceKind};
use lineside_agent::ledger::{Ledger, OutboxLimits, Position};
use lineside_agent::source::joined::{self, Joined};
use lineside_agent::source::turns::Gives;
use lineside_agent::source::{Arrival, Row, Step};
use lineside_agent::store::Store;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::SwapError;
use lineside_agent::worker::task::{Positions, TaskParts, open};
use lineside_bundle::{BundleFile, Port};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

const SECONDS: u64 = 1200;
const KEYS: u64 = 2;
const SECOND: i64 = 1_000_000_000;

/// A frame begins every 4 s and spans 8: `x` is what port `fast` says in the last of these seconds, `y` what
/// `slow` says in the last but one.
fn release(version: &str, join: &str) -> StagedRelease {
    let bundle = BundleFile::parse(&format!(
        "format = 1\nname = 'pair'\nversion = '{version}'\n{join}\n\
         [inputs.fast]\nkey = 'k'\ntime = 't'\nfields = [{{ name = 'x' }}]\n\
         [inputs.slow]\nkey = 'name'\ntime = 't'\nfields = [{{ name = 'y' }}]\n\
         [stages.seconds]\nkind = 'resample'\ninput = 'fast'\nrate_hz = 1\ngap_seconds = 3\n\
         [stages.pairs]\nkind = 'resample'\ninput = 'slow'\nrate_hz = 0.5\ngap_seconds = 3\n\
         [stages.short]\nkind = 'window'\ninput = 'seconds'\nseconds = 4\nstride_seconds = 4\n\
         [stages.long]\nkind = 'window'\ninput = 'pairs'\nseconds = 8\nstride_seconds = 4\n\
         [stages.last_x]\nkind = 'select'\ninput = 'short'\nindex = 3\n\
         [stages.last_y]\nkind = 'select'\ninput = 'long'\nindex = 3\n\
         [outputs]\nx = {{ from = 'last_x' }}\ny = {{ from = 'last_y' }}\n\
         [limits]\nframe_ms = 100\n[fail_safe]\nx = -1\n"
    ));
    staged(bundle.unwrap(), BTreeMap::new())
}

/// The readings of a port, every so many seconds one of each key. Each is its own second, and those of
/// `slow` a half more.
fn rows(every: u64, more: f64) -> Arc<Vec<Row>> {
    let seconds = (0..SECONDS).step_by(every as usize);
    let row = |second: u64, key: u64| Row {
        key: format!("k{key}"),
        time_unix_ns: second as i64 * SECOND,
        values: vec![second as f64 + more],
    };
    Arc::new(seconds.flat_map(|second| (0..KEYS).map(move |key| row(second, key))).collect())
}

fn settings(overflow: Overflow) -> SlotConfig {
    let source = |port: &str| {
        let kind = SourceKind::File { paths: vec![], pace: Pace::FlatOut };
        (port.to_owned(), NamedSource { name: format!("rows of {port}"), kind })
    };
    let sources = SlotSources::ByPort(["fast", "slow"].map(source).into());
    SlotConfig { sources, ..config(overflow, 50) }
}

async fn give(
    arrivals: mpsc::Sender<Arrival>,
    mut port: watch::Receiver<Option<Arc<Port>>>,
    position: Position,
    (gives, rows): (Gives, Arc<Vec<Row>>),
) {
    // What is live has no end.
    let until = rows.len() as u64 + u64::from(gives == Gives::Recorded);
    for at in position.row..until {
        let Ok(port) = port.wait_for(Option::is_some).await.map(|port| port.clone()) else {
            return;
        };
        let row = rows.get(at as usize).cloned();
        let step = match &row {
            Some(_) => Step::File { file: 0, row: at + 1, rows_before: 0 },
            None => Step::End,
        };
        let arrival = Arrival {
            port: port.unwrap(),
            feed: None,
            rows: row.into_iter().collect(),
            dropped: vec![],
            step: Some(step),
            receipt: None,
        };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// A slot in `folder` that is fed by what these ports have.
fn bench(folder: &Path, given: [(&str, Gives, Arc<Vec<Row>>); 2]) -> Bench {
    let store = Store::open(folder).unwrap();
    let limits = OutboxLimits { findings_max: 1_000_000, block: false };
    let ledger = Ledger::open(&store, limits).unwrap();
    let (arrivals, inbox) = mpsc::channel(4);
    let (receipts, heard) = mpsc::unbounded_channel();
    let (watched, threads) = (Arc::new(Watched::default()), Arc::new(Threads::default()));
    let parts = TaskParts {
        device: "bench".parse().unwrap(),
        slot: "pair".parse().unwrap(),
        config: settings(Overflow::Block),
        commit_every: Duration::from_millis(5),
        commit_frames: 8,
        limits: worker_limits(folder),
        starter: threads.clone(),
        capture: None,
        ledger: ledger.clone(),
        witness: watched.clone(),
        fires: tokio::sync::watch::Sender::default().subscribe(),
        arrivals: inbox,
        receipts,
    };
    let (slot, Positions { one, by_port }) = open(parts).unwrap();
    let mut sources = Vec::new();
    let mut givers = Vec::new();
    for (name, gives, rows) in given {
        let (arrived, arriving) = mpsc::channel(4);
        let (receipts, _) = mpsc::unbounded_channel();
        let (port, read_for) = watch::channel(None);
        let problem = watch::channel(None).1;
        let name: Arc<str> = name.into();
        givers.push(give(arrived, read_for, by_port[&*name].clone(), (gives, rows)));
        sources.push(joined::Source { name, gives, arrivals: arriving, receipts, port, problem });
    }
    let problem = watch::channel(None).0;
    let joined = Joined::new(sources, slot.ports(), arrivals, heard, problem);
    let is_over = one.ended;
    let source = tokio::spawn(async move {
        if is_over {
            return;
        }
        let mut givers = givers.into_iter();
        let (Some(one), Some(other)) = (givers.next(), givers.next()) else { return };
        tokio::select! {
            () = joined.read() => {}
            _ = async { tokio::join!(one, other) } => {}
        }
    });
    Bench { store, ledger, threads, slot, source, position: one, watched }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_swaps_and_crashes_lose_and_double_nothing_of_two_ports() {
    let versions = [release("1", ""), release("2", "")];
    let (fast, slow) = (rows(1, 0.0), rows(2, 0.5));
    let given = || {
        let recorded = Gives::Recorded;
        [("fast", recorded, fast.clone()), ("slow", recorded, slow.clone())]
    };
    for seed in 1..=4u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut below = drawn(seed);
        let mut one = bench(folder.path(), given());
        one.slot.place(&versions[0]).await.unwrap();
        let mut disorder = 0;
        while !one.slot.view().borrow().ended && disorder < 30 {
            disorder += 1;
            match below(5) {
                0 => one.threads.kill_all(),
                1 | 2 => {
                    let result = one.slot.place(&versions[below(2) as usize]).await;
                    assert!(!matches!(result, Err(SwapError::Load(_))), "{result:?}");
                }
                3 => {
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
                    one = bench(folder.path(), given());
                    one.slot.place(&versions[below(2) as usize]).await.unwrap();
                }
            }
            for _ in 0..below(300) {
                tokio::task::yield_now().await;
            }
        }
        let view = one.until("the recordings end", |view| view.ended).await;
        assert_eq!((view.counts.lost, view.counts.doubled, view.owed), (0, 0, 0), "seed {seed}");
        assert_eq!(view.counts.accepted, (fast.len() + slow.len()) as u64, "seed {seed}");
        assert_eq!(view.counts.dropped, BTreeMap::new(), "seed {seed}");
        check(&one, seed);
        one.crash().await;
        let again = bench(folder.path(), given());
        assert!(again.position.ended);
    }
}

/// Each frame was answered once, with what both ports say of it.
fn check(one: &Bench, seed: u64) {
    let findings = one.findings();
    let given = ids(&findings);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "seed {seed}");
    let mut frames = BTreeSet::new();
    for finding in findings.iter().filter(|finding| finding["fail_safe"] != true) {
        let (key, frame) = (finding["key"].as_str().unwrap(), finding["frame"].as_u64().unwrap());
        let outputs = &finding["outputs"];
        assert_eq!(outputs["x"].as_f64(), Some((4 * frame + 7) as f64), "seed {seed}: {finding}");
        assert_eq!(outputs["y"].as_f64(), Some((4 * frame + 6) as f64 + 0.5), "{finding}");
        assert!(frames.insert((key.to_owned(), frame)), "seed {seed}: {finding} is there twice");
    }
    // Of the last stride there is only half a frame.
    let whole = SECONDS / 4 - 1;
    let wanted = (0..KEYS).flat_map(|key| (0..whole).map(move |frame| (format!("k{key}"), frame)));
    let wanted: BTreeSet<_> = wanted.collect();
    let missing: Vec<_> = wanted.difference(&frames).collect();
    assert!(missing.is_empty() && frames.len() == wanted.len(), "seed {seed}: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_falls_silent_holds_the_other_one_up_no_longer_than_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let slow: Vec<Row> = rows(2, 0.5).iter().take(40).cloned().collect();
    let given = [("fast", Gives::Live, rows(1, 0.0)), ("slow", Gives::Live, Arc::new(slow))];
    let one = bench(folder.path(), given);
    one.slot.place(&release("1", "join.wait_seconds = 0.5")).await.unwrap();
    // 20 readings of each key until 38 s: with them 8 frames are whole, and the ninth still has its rows.
    let view = timeout(
        PATIENCE,
        one.until("all has come", |view| view.counts.frames >= KEYS * (SECONDS / 4 - 4)),
    );
    let view = view.await.unwrap();
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    let answered = |finding: &&serde_json::Value| finding["fail_safe"] != true;
    let findings = one.findings();
    let last = findings.iter().filter(answered).filter_map(|it| it["frame"].as_u64()).max();
    assert_eq!(last, Some(8), "{view:?}");
    assert_eq!(view.counts.errors.keys().collect::<Vec<_>>(), ["incomplete"]);
}
