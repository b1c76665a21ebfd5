//! The ledger, its outbox and the sinks, on a disk that can be full.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/medium.rs"]
mod medium;

use lineside_agent::ledger::{Addressed, Batch, Ledger, Outbox, OutboxLimits, SlotRecord};
use lineside_agent::sink;
use lineside_agent::telemetry::spool::Spool;
use lineside_agent::worker::route::JournalStep;
use medium::Disk;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: u64 = 64 << 20;
const LIMITS: OutboxLimits = OutboxLimits { findings_max: 1_000_000, block: false };

/// A batch with findings for `sinks` that say these numbers.
fn batch(sinks: &[&str], says: std::ops::Range<u64>) -> Box<Batch> {
    let sinks: Arc<[String]> = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    let finding = |says| Addressed { sinks: sinks.clone(), json: format!("{{\"says\":{says}}}") };
    Box::new(Batch {
        slot: "line".parse().unwrap(),
        record: SlotRecord::default(),
        journal: JournalStep::default(),
        spans: vec![],
        findings: says.map(finding).collect(),
    })
}

async fn commit(ledger: &Ledger, mut batch: Box<Batch>) {
    let began = Instant::now();
    loop {
        match ledger.commit(batch).await.await.unwrap() {
            Ok(_) => return,
            Err(again) => batch = again,
        }
        assert!(began.elapsed() < PATIENCE, "the disk has room and is not used");
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not seen: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn outbox(ledger: &Ledger, sink: &str) -> Outbox {
    ledger.outbox().unwrap_or_default().get(sink).copied().unwrap_or_default()
}

/// What the findings in a file say, and their numbers; a line that is being written is left out.
fn lines(path: &Path) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["number"].as_u64().unwrap(), line["says"].as_u64().unwrap())
    };
    whole.lines().map(line).collect()
}

/// Lets the sink `name` write to `path` until nothing waits for it.
async fn deliver(ledger: &Ledger, name: &str, path: &Path) {
    let sink = start(ledger, name, path);
    until("all is delivered", || outbox(ledger, name).waiting == 0).await;
    stop(sink).await;
}

fn start(ledger: &Ledger, name: &str, path: &Path) -> JoinHandle<()> {
    tokio::spawn(sink::file::run(name.to_owned(), path.to_owned(), ROOM, ledger.clone()))
}

async fn stop(sink: JoinHandle<()>) {
    sink.abort();
    assert!(sink.await.unwrap_err().is_cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_finding_and_no_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.jsonl");
    let disk = Disk::of(ROOM);
    let ledger = Ledger::of(disk.database(), LIMITS).unwrap();
    commit(&ledger, batch(&["log"], 0..2000)).await;
    disk.fill();
    // More than what is free in the database.
    let much = || {
        let mut much = batch(&["log"], 2000..2001);
        much.findings[0].json = format!("{{\"says\":2000,\"text\":\"{}\"}}", "x".repeat(8 << 20));
        much
    };
    let answer = ledger.commit(much()).await.await.unwrap();
    assert_eq!(answer.unwrap_err().findings.len(), 1, "the batch comes back whole");
    // What was committed can be read as soon as somebody tries to write.
    let sink = start(&ledger, "log", &path);
    until("the sink has written something", || !lines(&path).is_empty()).await;
    disk.resize(ROOM);
    commit(&ledger, much()).await;
    until("all is delivered", || outbox(&ledger, "log").waiting == 0).await;
    stop(sink).await;
    let wanted: Vec<(u64, u64)> = (0..2001).map(|says| (says + 1, says)).collect();
    assert_eq!(lines(&path), wanted);
}

#[test]
fn a_start_on_a_full_disk_finds_what_was_committed() {
    let disk = Disk::of(ROOM);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spool_bytes = {
        let database = disk.database();
        let ledger = Ledger::of(database.clone(), LIMITS).unwrap();
        runtime.block_on(commit(&ledger, batch(&["log"], 0..3)));
        drop(ledger);
        let bytes = Spool::open(database.clone(), 1, ROOM).unwrap().bytes();
        let began = Instant::now();
        // The writing thread lets go of the database when it has seen that nobody wants it.
        while Arc::strong_count(&database) > 1 {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        bytes
    };
    let database = disk.database();
    disk.refuse();
    let ledger = Ledger::of(database.clone(), LIMITS).unwrap();
    assert_eq!(ledger.findings("log", 0, 10).unwrap().len(), 3);
    assert_eq!(Spool::open(database, 2, ROOM).unwrap().bytes(), spool_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_writes_no_more_than_what_has_left_the_outbox_allows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.jsonl");
    let disk = Disk::of(ROOM);
    let ledger = Ledger::of(disk.database(), LIMITS).unwrap();
    commit(&ledger, batch(&["log"], 0..2000)).await;
    disk.refuse();
    let sink = start(&ledger, "log", &path);
    until("the sink has written something", || !lines(&path).is_empty()).await;
    let answer = ledger.commit(batch(&["log"], 2000..2001)).await;
    let written = lines(&path).len();
    assert!(written < 2000, "{written} lines, and none of them has left the outbox");
    disk.resize(ROOM);
    // Only now can the disk be asked whether it has taken the batch; where it was slow, it has.
    let taken = match answer.await.unwrap() {
        Ok(_) => 2001,
        Err(batch) => 2001 - batch.findings.len() as u64,
    };
    let whole = usize::try_from(taken).unwrap();
    until("all is delivered", || {
        outbox(&ledger, "log").waiting == 0 && lines(&path).len() == whole
    })
    .await;
    stop(sink).await;
    assert_eq!(lines(&path), (0..taken).map(|says| (says + 1, says)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_outbox_swallows_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.jsonl");
    let disk = Disk::of(ROOM);
    let ledger = Ledger::of(disk.database(), LIMITS).unwrap();
    commit(&ledger, batch(&["log"], 0..700)).await;
    deliver(&ledger, "log", &path).await;
    // The sink gets another name; the file stays. Its numbers begin at 1.
    commit(&ledger, batch(&["file"], 1000..1005)).await;
    deliver(&ledger, "file", &path).await;
    // The state folder is new, and more is found than the file has lines before the sink looks.
    let ledger = Ledger::of(Disk::of(ROOM).database(), LIMITS).unwrap();
    commit(&ledger, batch(&["file"], 2000..2010)).await;
    deliver(&ledger, "file", &path).await;
    let says: Vec<u64> = lines(&path).iter().map(|(_, says)| *says).collect();
    let wanted: Vec<u64> = (0..700).chain(1000..1005).chain(2000..2010).collect();
    assert_eq!(says, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_in_the_file_when_the_agent_died_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.jsonl");
    let disk = Disk::of(ROOM);
    let ledger = Ledger::of(disk.database(), LIMITS).unwrap();
    commit(&ledger, batch(&["log"], 0..900)).await;
    let waiting = ledger.findings("log", 0, 600).unwrap();
    let text: String = waiting.iter().map(|(_, finding)| format!("{finding}\n")).collect();
    // It died when these had been written and none had left the outbox.
    fs::write(&path, text).unwrap();
    deliver(&ledger, "log", &path).await;
    assert_eq!(lines(&path), (0..900).map(|says| (says + 1, says)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_takes_nothing_holds_up_only_who_tells_it() {
    let limits = OutboxLimits { findings_max: 100, block: true };
    let ledger = Ledger::of(Disk::of(ROOM).database(), limits).unwrap();
    commit(&ledger, batch(&["away", "log"], 0..100)).await;
    let full = |sinks: &[&str]| {
        ledger.is_full(&sinks.iter().map(|sink| (*sink).to_owned()).collect::<Vec<_>>())
    };
    assert!(full(&["log", "away"]) && full(&["away"]));
    assert!(!full(&[]) && !full(&["other"]));
    timeout(PATIENCE, ledger.delivered("log", (1..=100).collect())).await.unwrap();
    assert!(full(&["log", "away"]) && !full(&["log"]));
    // What has left once leaves nothing a second time.
    timeout(PATIENCE, ledger.delivered("log", (1..=100).collect())).await.unwrap();
    assert_eq!(outbox(&ledger, "log"), Outbox { waiting: 0, gave_way: 0 });
    assert_eq!(outbox(&ledger, "away").waiting, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_that_give_way_are_counted_by_sink() {
    let limits = OutboxLimits { findings_max: 100, block: false };
    let ledger = Ledger::of(Disk::of(ROOM).database(), limits).unwrap();
    commit(&ledger, batch(&["away"], 0..130)).await;
    commit(&ledger, batch(&["log"], 0..10)).await;
    assert_eq!(outbox(&ledger, "away"), Outbox { waiting: 100, gave_way: 30 });
    assert_eq!(outbox(&ledger, "log"), Outbox { waiting: 10, gave_way: 0 });
    assert_eq!(ledger.findings("away", 0, 1).unwrap()[0].0, 31, "the oldest");
}

#[tokio::test]
async fn a_disk_on_which_only_another_start_can_go_on_ends_the_ledger() {
    for error in [io::ErrorKind::InvalidData, io::ErrorKind::ReadOnlyFilesystem] {
        let disk = Disk::of(ROOM);
        let ledger = Ledger::of(disk.database(), LIMITS).unwrap();
        commit(&ledger, batch(&["a"], 0..1)).await;
        disk.fail(error);
        let slot = ledger.clone();
        let slot = tokio::spawn(async move {
            let mut next = batch(&["a"], 1..2);
            // As a slot does, until nobody is there to answer.
            while let Ok(answer) = slot.commit(next).await.await {
                next = answer.unwrap_err();
            }
        });
        timeout(PATIENCE, ledger.closed()).await.unwrap();
        slot.await.unwrap();
    }
}
