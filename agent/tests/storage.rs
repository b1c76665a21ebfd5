//! The driver of a slot over storage whose power is cut and whose calls fail, for many seeds: after any
//! cut the slot runs a whole release, or never had one; no floor falls; and once errors stop it comes
//! to its end.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/power.rs"]
mod power;

use lineside_agent::database::{Database, Memory, SecondCopy, open_on};
use lineside_agent::update::StagedRelease;
use lineside_agent::update::blobs::{BlobError, Blobs};
use lineside_agent::update::download::Registry;
use lineside_agent::update::garbage;
use lineside_agent::update::hands::{Consent, Failure, Hands, Route};
use lineside_agent::update::journal::{Accepted, Journal, JournalError};
use lineside_agent::update::slot::{Assigned, DriverParts, Order, QUEUE_MAX, SlotDriver};
use lineside_agent::update::stage;
use lineside_agent::update::states::States;
use lineside_agent::update::surroundings::Preflight;
use lineside_bundle::{BuiltBundle, BundleFile, BundleName, Digest, build};
use lineside_rules::{
    Observation, Replayed, ShadowLimits, ShadowObservation, SitePolicy, TrialLimits,
};
use lineside_update::{Phase, Report, SlotState, Target};
use lineside_wire::name::SlotName;
use power::{Chance, Fault, Flaw, Powered, Storage};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::sleep;

/// Seeds of a run; `LINESIDE_STORAGE_SEEDS` asks for others, as `0..1000` or as one of them. Devices meet
/// in threads, so a seed is no promise that the same happens again: what has happened is printed.
const SEEDS: Range<u64> = 0..1500;
/// Seeds beyond these that once failed.
const KEPT: [u64; 3] = [5080, 5948, 6301];
/// Seeds after which a flaw must have been found, and how many live before that is looked at.
const FLAW_SEEDS: (u64, u64) = (9000, 300);
/// Devices at a time: they wait most of the time.
const DEVICES: usize = 150;
/// Lives of a device, each ended by a power cut, before errors stop.
const LIVES: usize = 5;
/// Longest that one may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(120);
/// The release whose checks fail.
const WRONG: usize = 2;
/// The release that is installed in the end.
const LAST: usize = 4;

/// Five releases, the last of them for the end; whoever has had the second may not go below it.
static BUNDLES: LazyLock<Vec<BuiltBundle>> =
    LazyLock::new(|| ["1", "2", "3", "4", "5"].map(bundle).into());

fn bundle(version: &str) -> BuiltBundle {
    let text = format!(
        "format = 1\nname = 'echo'\nversion = '{version}'\noutputs.y.from = 'w'\n\
         stages.w = {{ kind = 'window', input = 'p', rows = 1, stride = 1 }}\n\
         [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
         [trial]\nframes = 10\n\
         [[checks]]\nname = 'c'\ninput = 'c.csv'\nexpected = 'c.jsonl'\n"
    );
    let files = BTreeMap::from([
        ("c.csv".to_owned(), format!("x\n{version}\n").repeat(2000).into_bytes()),
        ("c.jsonl".to_owned(), format!("{{\"y\":{version}}}\n").into_bytes()),
    ]);
    build(BundleFile::parse(&text).unwrap(), files).unwrap()
}

fn target(which: usize) -> Target {
    let number = which as u64 + 1;
    Target { release: BUNDLES[which].release_id(), number, floor: number.min(2) }
}

fn order(which: usize) -> Order {
    Order::Assigned(Assigned { target: target(which), approved: false, newer: false, again: 0 })
}

fn slot() -> SlotName {
    "echo".parse().unwrap()
}

/// Hands whose releases do well, but for one.
#[derive(Clone, Default)]
struct Played {
    route: Arc<Mutex<Option<Digest>>>,
}

impl Played {
    fn route(&self) -> Option<Digest> {
        *self.route.lock().unwrap()
    }
}

impl Hands for Played {
    async fn place(
        &self,
        release: &StagedRelease,
        _may: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        *self.route.lock().unwrap() = Some(release.release.digest);
        Ok(())
    }

    async fn give_up(&self) {}

    async fn vacate(&self, _reason: &str) {
        *self.route.lock().unwrap() = None;
    }

    fn observation(&self, _release: &Digest) -> Observation {
        Observation { frames: 10, ..Observation::default() }
    }

    async fn self_test(&self, release: &StagedRelease) -> Result<Replayed, Failure> {
        match release.release.digest == target(WRONG).release.digest {
            true => Err(Failure::Release("it answers wrongly".into())),
            false => Ok(Replayed::default()),
        }
    }

    async fn shadow(&self, _: &StagedRelease, _: &ShadowLimits) -> Result<(), Failure> {
        Ok(())
    }

    fn shadowed(&self, _: &Digest) -> ShadowObservation {
        ShadowObservation::default()
    }

    async fn end_shadow(&self) {}

    async fn consent(&self, _route: Route, _waited: Duration) -> Consent {
        Consent::Given
    }

    fn leave(&self, given: bool) -> watch::Receiver<bool> {
        watch::channel(given).1
    }

    async fn report(&self, _: &Report) -> bool {
        true
    }
}

/// A device that is switched on.
struct Device {
    journal: Journal,
    blobs: Blobs,
    hands: Played,
    states: Arc<States>,
    online: watch::Sender<()>,
    assign: mpsc::Sender<Order>,
    driving: JoinHandle<()>,
    /// Never used, and not to be dropped: their ends would end the driver.
    _kept: (mpsc::Sender<(Digest, String)>, watch::Sender<bool>),
}

impl Device {
    /// Switches it on; nothing if its disk does not let it start.
    async fn start(powered: &Powered) -> Option<Device> {
        let (database, disk) = (powered.clone(), powered.clone());
        let opened = spawn_blocking(move || {
            let copy = SecondCopy::on(Path::new("/state"), Arc::new(database.clone()));
            let open = move || open_on(database.medium()?);
            let database = Database::open(open).ok()?.with_copy(copy);
            database.renew_copy().ok()?;
            let journal = Journal::open(Arc::new(database)).ok()?;
            Some((journal, Blobs::on(Path::new("/state"), Arc::new(disk)).ok()?))
        });
        let (journal, blobs) = opened.await.unwrap()?;
        let (hands, states) = (Played::default(), Arc::default());
        let online = watch::Sender::new(());
        let preflight = Preflight {
            judge: Arc::new(|_, _| Vec::new()),
            facts: Arc::new(|| Digest::of(b"the same device")),
        };
        let (assign, orders) = mpsc::channel(QUEUE_MAX);
        let driver = SlotDriver::new(DriverParts {
            slot: slot(),
            orders,
            policy: TrialLimits::default(),
            shadow: ShadowLimits::default(),
            site: watch::channel(SitePolicy::default()).1,
            journal: journal.clone(),
            blobs: blobs.clone(),
            registry: Registry::none(),
            preflight,
            hands: hands.clone(),
            states: Arc::clone(&states),
            online: online.subscribe(),
        });
        let (failures, failed) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = watch::channel(false);
        let driving = tokio::spawn(driver.ok()?.drive(failed, stopped));
        let _kept = (failures, stop);
        Some(Device { journal, blobs, hands, states, online, assign, driving, _kept })
    }

    fn state(&self) -> SlotState {
        self.states.all().remove(&slot()).unwrap_or_default()
    }

    /// Brings a release by hand, and assigns it: the journal names it only once its blobs are there.
    async fn install(&self, which: usize) -> bool {
        let (journal, blobs) = (self.journal.clone(), self.blobs.clone());
        let brought = spawn_blocking(move || {
            let by_hand = blobs.by_hand();
            let bundle = &BUNDLES[which];
            let manifest = (bundle.release_id().digest, &bundle.oci_manifest);
            let all = bundle.blobs.iter().map(|(digest, bytes)| (*digest, bytes));
            let mut taken = true;
            for (digest, bytes) in all.chain([manifest]) {
                let _claim = by_hand.claim(&digest);
                let size = bytes.len() as u64;
                if !blobs.holds(&digest, size) {
                    let take = || {
                        blobs.forget_partial(&digest)?;
                        blobs.receive(&digest, size, &bytes[..], &|| false)
                    };
                    taken &= take().is_ok_and(|whole| whole);
                }
            }
            let targets = BTreeMap::from([(slot(), target(which))]);
            taken && journal.accept(&Accepted { targets, ..Accepted::default() }, &[], &[]).is_ok()
        });
        let accepted = brought.await.unwrap();
        if accepted {
            self.assign.send(order(which)).await.unwrap();
            self.online.send_replace(());
        }
        accepted
    }

    /// Brings the first half of a blob, as a download that is cut off does.
    async fn begin(&self, which: usize) {
        let blobs = self.blobs.clone();
        let begun = spawn_blocking(move || {
            for (digest, bytes) in &BUNDLES[which].blobs {
                let half = &bytes[..bytes.len() / 2];
                let claim = blobs.claim(digest, &|| false)?;
                if !blobs.holds(digest, bytes.len() as u64) && blobs.partial_bytes(digest) == 0 {
                    blobs.receive(digest, bytes.len() as u64, half, &|| false)?;
                }
                drop(claim);
            }
            Ok::<_, BlobError>(())
        });
        // The disk may not take it.
        let _ = begun.await.unwrap();
    }
}

/// What must never fall or be forgotten.
#[derive(Default)]
struct Known {
    floors: BTreeMap<BundleName, u64>,
    had_one: bool,
    assigned: Option<usize>,
    /// The same as far as others were told of it: only that need be in the second copy. A cut may come
    /// between the two.
    told: Told,
}

/// What others were told of.
#[derive(Default)]
struct Told {
    floors: BTreeMap<BundleName, u64>,
    had_one: bool,
    accepted: bool,
}

impl Told {
    fn note(&mut self, state: &SlotState) {
        self.floors.extend(state.floors().map(|(bundle, floor)| (bundle.clone(), floor)));
        self.had_one |= state.active().is_some();
    }
}

impl Known {
    /// Takes note of a state that others were told of: it is in the journal.
    fn note(&mut self, state: &SlotState) {
        for (bundle, floor) in state.floors() {
            let known = self.floors.entry(bundle.clone()).or_default();
            assert!(floor >= *known, "the floor of {bundle} has fallen from {known} to {floor}");
            *known = floor;
        }
        assert!(!self.had_one || state.active().is_some(), "it had a release, and has none");
        self.had_one |= state.active().is_some();
    }

    /// Looks at a device after a cut, before it does anything.
    async fn check(&mut self, storage: &Storage) {
        let (database, disk) = (storage.powered(), storage.powered());
        let read = spawn_blocking(move || {
            let open = move || open_on(database.medium()?);
            let database = Arc::new(Database::open(open).expect("the journal opens after a cut"));
            let journal = Journal::open(database)?;
            let (state, accepted) = (journal.slot(&slot())?, journal.accepted()?);
            let blobs = Blobs::on(Path::new("/state"), Arc::new(disk)).unwrap();
            for held in [state.active(), state.previous()].into_iter().flatten() {
                let loaded = stage::load(&held.release, &blobs);
                assert!(loaded.is_ok(), "{} is not whole: {:?}", held.release, loaded.err());
            }
            if let Phase::Trial(trial) = state.phase() {
                let loaded = stage::load(&trial.candidate.release, &blobs);
                assert!(loaded.is_ok(), "the candidate is not whole: {:?}", loaded.err());
            }
            Ok::<_, JournalError>((state, accepted))
        });
        let (state, accepted) = read.await.unwrap().unwrap();
        // First, because it may be a step behind.
        self.check_copy(storage);
        self.note(&state);
        let has = accepted.targets.get(&slot()).map(|target| target.number as usize - 1);
        assert!(self.assigned.is_none() || has.is_some(), "what was accepted is forgotten");
        self.assigned = has;
    }

    /// Finds that a device whose database cannot be read any more could go on: nothing that others were
    /// told of is missing in the second copy.
    fn check_copy(&self, storage: &Storage) {
        let disk = Arc::new(storage.powered());
        let copy = SecondCopy::on(Path::new("/state"), disk.clone()).read();
        let Some(kept) = copy.expect("one of the copies is whole") else {
            assert!(!self.told.had_one && !self.told.accepted, "there is no copy");
            return;
        };
        let memory = Memory::default();
        let database = Database::open(move || memory.open()).unwrap();
        let transaction = database.begin_write().unwrap();
        kept.restore(&transaction).unwrap();
        transaction.commit().unwrap();
        let journal = Journal::open(Arc::new(database)).unwrap();
        let state = journal.slot(&slot()).unwrap();
        for (bundle, known) in &self.told.floors {
            let floor = state.floor(bundle);
            assert!(floor >= *known, "by the copy the floor of {bundle} is {floor}, not {known}");
        }
        let has_one = state.active().is_some();
        assert!(!self.told.had_one || has_one, "by the copy it has no release");
        let blobs = Blobs::on(Path::new("/state"), disk).unwrap();
        if let Some(held) = state.active() {
            let loaded = stage::load(&held.release, &blobs);
            assert!(loaded.is_ok(), "{} of the copy is not whole", held.release);
        }
        let targets = journal.accepted().unwrap().targets;
        assert!(!self.told.accepted || !targets.is_empty(), "the copy lacks what was accepted");
    }
}

/// Has some calls fail soon.
fn fail(storage: &Storage, chance: &mut Chance) {
    let (fault, within) = [(Fault::Any, 80), (Fault::Syncs, 20)][chance.draw(2)];
    storage.fail(fault, chance.draw(within), 1 + chance.draw(4));
}

/// A device through some lives, and to its end.
async fn lives(seed: u64, storage: Storage) {
    let mut chance = Chance::new(seed ^ 0xABCD);
    let mut known = Known::default();
    // A database has its name once it is made.
    let made = storage.powered();
    assert!(Device::start(&made).await.is_some());
    storage.cut(&made);
    for life in 1..=LIVES {
        storage.note(format!("life {life}"));
        let powered = storage.powered();
        if chance.draw(3) > 0 {
            fail(&storage, &mut chance);
        }
        if chance.draw(4) > 0 {
            storage.cut_after(chance.draw(300));
        }
        let device = Device::start(&powered).await;
        if let Some(device) = &device {
            if let Some(which) = known.assigned {
                device.assign.send(order(which)).await.unwrap();
            }
            for _ in 0..1 + chance.draw(3) {
                if chance.draw(3) == 0 {
                    fail(&storage, &mut chance);
                }
                match chance.draw(3) {
                    0 => device.begin(chance.draw(LAST)).await,
                    _ => {
                        let which = chance.draw(LAST);
                        storage.note(format!("install {which}"));
                        if device.install(which).await {
                            known.assigned = Some(which);
                            known.told.accepted = true;
                        }
                    }
                }
                sleep(Duration::from_millis(chance.draw(500) as u64)).await;
                known.note(&device.state());
                known.told.note(&device.state());
            }
        }
        storage.cut(&powered);
        if let Some(device) = device {
            device.driving.abort();
            let _ = device.driving.await;
        }
        known.check(&storage).await;
    }
    let device =
        Device::start(&storage.powered()).await.expect("it starts once errors have stopped");
    assert!(device.install(LAST).await, "a file is installed once errors have stopped");
    let wanted = target(LAST).release.digest;
    let began = Instant::now();
    loop {
        let state = device.state();
        known.note(&state);
        let active = state.active().map(|held| held.release.digest);
        let idle = matches!(state.phase(), Phase::Idle);
        if idle && active == Some(wanted) && device.hands.route() == Some(wanted) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it comes to no end: {state:?}");
        device.online.send_replace(());
        sleep(Duration::from_millis(50)).await;
    }
    device.driving.abort();
    let (journal, blobs) = (device.journal.clone(), device.blobs.clone());
    spawn_blocking(move || garbage::collect(&journal, &blobs).unwrap()).await.unwrap();
}

/// Lets devices of these seeds live, and gives those whose device did not live well, with what
/// happened to it.
async fn live(seeds: impl Iterator<Item = u64>, flaw: Flaw) -> BTreeMap<u64, Vec<String>> {
    let places = Arc::new(Semaphore::new(DEVICES));
    let mut devices = JoinSet::new();
    for seed in seeds {
        let place = places.clone().acquire_owned().await.unwrap();
        devices.spawn(async move {
            let storage = Storage::new(seed, flaw);
            let lived = tokio::spawn(lives(seed, storage.clone())).await;
            drop(place);
            let error = lived.err()?;
            storage.note(error.to_string());
            Some((seed, storage.events()))
        });
    }
    let lived = devices.join_all().await;
    lived.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_cut_leaves_the_slot_runs_a_whole_release_and_comes_to_its_end() {
    let asked = std::env::var("LINESIDE_STORAGE_SEEDS").ok().map(|asked| {
        let number = |text: &str| text.parse::<u64>().unwrap();
        match asked.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => number(&asked)..number(&asked) + 1,
        }
    });
    let failed = match asked {
        Some(asked) => live(asked, Flaw::None).await,
        None => live(KEPT.into_iter().chain(SEEDS), Flaw::None).await,
    };
    if let Some((seed, events)) = failed.first_key_value() {
        eprintln!("{}", events.join("\n"));
        panic!("seeds {:?} failed; above is what happened to {seed}", failed.keys());
    }
}

/// A storage that does not do what it says ruins devices, and this test sees it: so it would see an
/// agent that does not ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_left_out_or_a_memory_that_is_trusted_does_not_go_unseen() {
    for flaw in [Flaw::SyncLeftOut, Flaw::FolderNotSynced, Flaw::MemoryKept] {
        let (most, at_once) = FLAW_SEEDS;
        let mut seeds = 0..most;
        loop {
            let some: Vec<u64> = seeds.by_ref().take(at_once as usize).collect();
            assert!(!some.is_empty(), "{flaw:?} was not noticed in {most} seeds");
            if !live(some.into_iter(), flaw).await.is_empty() {
                break;
            }
        }
    }
}
