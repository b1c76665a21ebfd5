//! What a slot tells, counts and reports of frames in which a plugin breaks.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::config::Overflow;
use lineside_agent::worker::SlotEvent;
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_is_told_as_such_and_counts_as_an_error_and_not_as_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..80).map(f64::from).collect();
    // The last of the third window of k0.
    values[22] = BROKEN;
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 1000);
    one.slot.place(&release("1", "")).await.unwrap();
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.frames, view.counts.findings), (20, 19));
    assert_eq!(view.counts.errors, BTreeMap::from([("plugin_trap_held".to_owned(), 1)]));
    assert_eq!(view.counts.dropped, BTreeMap::from([("plugin_lines".to_owned(), 3)]));
    assert_eq!(view.quarantined, None);

    let findings = one.findings();
    assert_eq!(findings.len(), 20);
    let held: Vec<_> = findings.iter().filter(|finding| finding["held"] == true).collect();
    let [held] = held[..] else { panic!("{held:?}") };
    assert_eq!(held["id"], "echo/k0/8/0");
    assert_eq!(held["outputs"]["x"], BROKEN);
    assert_eq!(held["reason"], "stage judge: the plugin is broken");
    assert!(held.get("fail_safe").is_none() && held.get("latency_us").is_none());

    let seen = one.slot.observation(&release("1", "").release.digest);
    assert_eq!((seen.frames, seen.errors, seen.traps, seen.answers), (20, 1, 1, 19));
    assert!(seen.outputs["x"].0 > BROKEN, "what was held is no value of the release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_quarantine_is_reported_once_until_a_worker_runs_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<f64> = (0..400).map(f64::from).collect();
    for at in [22, 30, 38] {
        values[at] = QUARANTINED;
    }
    let one = bench(folder.path(), Arc::new(values), Overflow::Block, 1000);
    one.threads.orders.let_through(100);
    let mut events = one.slot.subscribe();
    one.slot.place(&release("1", "")).await.unwrap();
    let view = one.until("it is in quarantine", |view| view.quarantined.is_some()).await;
    assert_eq!(view.quarantined.unwrap(), "stage judge: the plugin is broken");
    let event = events.recv().await.unwrap();
    assert!(
        matches!(&event, SlotEvent::Quarantined { release, reason }
            if release.to_string() == "echo v1" && reason.contains("broken")),
        "{event:?}"
    );
    let errors = |count| BTreeMap::from([("plugin_quarantined_held".to_owned(), count)]);
    one.until("all three are seen", |view| view.counts.errors == errors(3)).await;
    one.threads.kill_all();
    one.until("it is forgotten", |view| view.quarantined.is_none()).await;
    let event = events.recv().await.unwrap();
    assert!(!matches!(event, SlotEvent::Quarantined { .. }), "one report, not {event:?}");
    one.threads.orders.let_through(u64::MAX);
    let view = one.until("the recording ends", |view| view.ended).await;
    assert_eq!((view.counts.lost, view.counts.doubled), (0, 0));
    assert_eq!(view.counts.errors, errors(3));
}
