//! A disk that neither takes nor refuses anything: who has not asked it for something goes on. Each
//! test has one thread for everything that must not wait.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/gate.rs"]
mod gate;
mod kit;

use gate::Gate;
use kit::{Device, PATIENCE, Vendor, echo};
use lineside_agent::config::{Then, UpdatesConfig, Windows};
use lineside_agent::fleet;
use lineside_agent::telemetry::{TelemetryHandle, TelemetryParts};
use lineside_agent::update::acceptance::Acceptance;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::consent::Site;
use lineside_agent::update::consent::holds::Holds;
use lineside_agent::update::driver::{Parts, Updates};
use lineside_agent::update::hands::{Consent, Route};
use lineside_agent::update::journal::Journal;
use lineside_bundle::parcel::Papers;
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Documents, event};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

fn slot() -> SlotName {
    "echo".parse().unwrap()
}

/// Opens the gate when the test has waited long enough, for what waits would wait for ever.
fn patience(gate: &Gate) -> Arc<AtomicBool> {
    let (late, gate) = (Arc::new(AtomicBool::new(false)), gate.clone());
    let told = late.clone();
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        told.store(true, Ordering::Relaxed);
        gate.open();
    });
    late
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not seen: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn holds(gate: &Gate) -> Holds {
    Holds::open(gate.database(), BTreeSet::from([slot()]), Arc::new(|_, _, _| {})).unwrap()
}

#[tokio::test]
async fn who_asks_what_is_held_back_does_not_wait_for_who_holds_back() {
    let gate = Gate::default();
    let holds = holds(&gate);
    holds.hold(&slot(), "anna", "surgery", None).unwrap();
    gate.close();
    let late = patience(&gate);
    let others = holds.clone();
    let releasing = spawn_blocking(move || others.release(&slot(), "otto"));
    until("the release waits for the disk", || gate.is_waited_for()).await;
    assert_eq!(holds.of(&slot()).unwrap().by, "anna");
    assert!(!late.load(Ordering::Relaxed), "the disk was waited for");
    gate.open();
    releasing.await.unwrap().unwrap();
    assert_eq!(holds.of(&slot()), None);
}

#[tokio::test]
async fn a_new_connection_does_not_wait_for_telemetry_that_is_written() {
    let gate = Gate::default();
    let folder = tempfile::tempdir().unwrap();
    let telemetry = TelemetryHandle::open(TelemetryParts {
        database: gate.database(),
        state_dir: folder.path().to_owned(),
        boot: 1,
        interval: Duration::from_secs(3600),
        spool_bytes_max: 1 << 20,
        spool_days_max: 800,
        backfill_bytes_per_second: 1 << 30,
        answers: Default::default(),
        slots: [(slot(), false)].into(),
        capturing: Default::default(),
        policy: tokio::sync::watch::Sender::default().subscribe(),
    })
    .unwrap();
    tokio::spawn(telemetry.clone().keep_writing());
    gate.close();
    let late = patience(&gate);
    telemetry.event("echo", event::ALARM, "high");
    until("the event waits for the disk", || gate.is_waited_for()).await;
    telemetry.connected();
    assert!(!late.load(Ordering::Relaxed), "the disk was waited for");
    gate.open();
    assert!(telemetry.flush().await);
}

#[tokio::test]
async fn a_slot_whose_site_cannot_be_asked_is_perhaps_in_use_and_nobody_else_waits() {
    let gate = Gate::default();
    let journal = Journal::open(gate.database()).unwrap();
    let config = UpdatesConfig {
        windows: Windows::default(),
        lock_file: Some("/nowhere/busy".into()),
        in_use: None,
        deadline: None,
        then: Then::Wait,
    };
    let site = Site::new(slot(), config, None, holds(&Gate::default()), journal);
    gate.close();
    let late = patience(&gate);
    for _ in 0..3 {
        let Consent::Withheld { reason, .. } = site.consent(Route::Taken, Duration::ZERO).await
        else {
            panic!("it was let go without an answer");
        };
        assert_eq!(reason, "perhaps in use: /nowhere/busy: it does not answer");
    }
    assert!(!late.load(Ordering::Relaxed), "the disk was waited for");
    gate.open();
    let began = Instant::now();
    while site.consent(Route::Taken, Duration::ZERO).await != Consent::Given {
        assert!(began.elapsed() < PATIENCE, "it answers, and is not heard");
    }
}

#[tokio::test]
async fn documents_that_wait_for_the_disk_hold_nothing_else_up() {
    let gate = Gate::default();
    let vendor = Vendor::new();
    let device = Device::new(&vendor, 0);
    let read = fleet::Device::read(&device.folder.path().join("device")).unwrap();
    let journal = Journal::open(gate.database()).unwrap();
    let updates = Updates::start(Parts {
        acceptance: Acceptance::restore(&read, journal.clone()).unwrap(),
        journal,
        blobs: Blobs::open(&device.folder.path().join("state")).unwrap(),
        slots: BTreeMap::new(),
        refused: Box::new(|reason| panic!("{reason}")),
    });
    let bundle = echo("1", "");
    let papers = vendor.papers(std::slice::from_ref(&bundle), &bundle, 1, "line-3");
    let Papers { metadata, assignment, files, .. } = papers;
    gate.close();
    let late = patience(&gate);
    assert!(updates.deliver(Documents { metadata, assignment, files }));
    until("the documents wait for the disk", || gate.is_waited_for()).await;
    assert!(!late.load(Ordering::Relaxed), "the disk was waited for");
    gate.open();
    let mut versions = updates.versions();
    versions.wait_for(|versions| versions.assignment == 1).await.unwrap();
}
