//! The driver of a slot with a real journal, real blobs, and hands that are played.

use super::*;
use crate::config::DownloadConfig;
use crate::database::Database;
use crate::fleet::Device;
use crate::update::StagedRelease;
use crate::update::hands::{Consent, Failure};
use crate::update::limits::Limits;
use crate::update::preflight::Objection;
use lineside_bundle::{BuiltBundle, BundleFile, build};
use lineside_rules::{Decide, Observation, ShadowLimits, ShadowObservation, SlotPolicy};
use lineside_update::{FAILURES_MAX, Report};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::sleep;

#[path = "../../../tests/kit/medium.rs"]
mod medium;
use medium::Disk;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const FULL: u64 = 0;
const ROOMY: u64 = 64 << 20;

/// What the hands have done and will say.
#[derive(Default)]
struct Play {
    route: Option<String>,
    /// What was asked for, in its order: `run echo v1`, `check echo v2`, `vacate`.
    asked: Vec<String>,
    /// What is said to that before it is done.
    failures: BTreeMap<String, VecDeque<Failure>>,
    /// What is seen of whatever has the route.
    seen: Observation,
    /// What answers beside the route.
    beside: Option<String>,
    /// What is seen of that.
    compared: ShadowObservation,
    /// Why the route may not be changed now, and whether that is overdue.
    withheld: Option<(String, bool)>,
    /// How long the update that asked last had waited.
    waited: Duration,
    /// Numbers of the reports that were taken.
    reports: Vec<u64>,
    /// Reports that are not taken yet.
    deaf: u32,
}

#[derive(Clone, Default)]
struct Played(Arc<Mutex<Play>>);

impl Played {
    fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap()
    }

    /// Has the next `asked` fail.
    fn fail(&self, asked: &str, failure: Failure) {
        self.lock().failures.entry(asked.into()).or_default().push_back(failure);
    }

    fn see(&self, frames: u64, alarms: u64) {
        self.lock().seen = Observation { frames, alarms, ..Observation::default() };
    }

    fn compare(&self, frames: u64, agreed: u64) {
        self.lock().compared = ShadowObservation { frames, agreed, ..ShadowObservation::default() };
    }

    fn asked(&self, asked: &str) -> usize {
        self.lock().asked.iter().filter(|one| *one == asked).count()
    }

    fn does(&self, what: &str, release: &StagedRelease) -> Result<(), Failure> {
        let asked = format!("{what} {}", release.release);
        let mut play = self.lock();
        play.asked.push(asked.clone());
        match play.failures.get_mut(&asked).and_then(VecDeque::pop_front) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn place(&self, what: &str, release: &StagedRelease) -> Result<(), Failure> {
        self.does(what, release)?;
        let mut play = self.lock();
        // Either it has the route now, or it was compared with what had it.
        play.beside = None;
        play.route = Some(release.release.to_string());
        play.seen = Observation::default();
        Ok(())
    }
}

impl Hands for Played {
    async fn run(&self, release: &StagedRelease) -> Result<(), Failure> {
        assert_eq!(self.lock().route, None, "a route that is taken is changed by a swap");
        self.place("run", release)
    }

    async fn swap(&self, release: &StagedRelease) -> Result<(), Failure> {
        self.place("swap", release)
    }

    async fn vacate(&self, _reason: &str) {
        let mut play = self.lock();
        play.asked.push("vacate".into());
        play.route = None;
        play.beside = None;
    }

    fn observation(&self, _release: &Digest) -> Observation {
        self.lock().seen.clone()
    }

    async fn self_test(&self, release: &StagedRelease) -> Result<(), Failure> {
        self.does("check", release)
    }

    async fn shadow(&self, release: &StagedRelease, _limits: &ShadowLimits) -> Result<(), Failure> {
        self.does("shadow", release)?;
        let mut play = self.lock();
        play.beside = Some(release.release.to_string());
        play.compared = ShadowObservation::default();
        Ok(())
    }

    fn shadowed(&self, _release: &Digest) -> ShadowObservation {
        self.lock().compared.clone()
    }

    async fn end_shadow(&self) {
        let mut play = self.lock();
        play.asked.push("end shadow".into());
        play.beside = None;
    }

    fn consent(&self, waited: Duration) -> Consent {
        let mut play = self.lock();
        play.waited = waited;
        match play.withheld.clone() {
            Some((reason, overdue)) => Consent::Withheld { reason, overdue },
            None => Consent::Given,
        }
    }

    async fn report(&self, report: &Report) -> bool {
        let mut play = self.lock();
        if play.deaf > 0 {
            play.deaf -= 1;
            return false;
        }
        play.reports.push(report.number);
        true
    }
}

/// A device: its disk, and what is known of its slots.
struct Bench {
    folder: tempfile::TempDir,
    disk: Disk,
    database: Arc<Database>,
    blobs: Blobs,
    served: Served,
    states: Arc<States>,
    preflight: Preflight,
}

/// Blobs that a server has: they are there again soon after garbage was collected.
#[derive(Clone, Default)]
struct Served(Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>);

impl Served {
    fn deliver(&self, blobs: &Blobs) {
        for (digest, bytes) in &*self.0.lock().unwrap() {
            let path = blobs.folder().join(digest.hex());
            if !path.exists() {
                let partial = path.with_extension("partial");
                fs::write(&partial, bytes).unwrap();
                // It may have been collected meanwhile.
                let _ = fs::rename(partial, path);
            }
        }
    }
}

/// A slot that is driven.
struct Driven {
    name: SlotName,
    blobs: Blobs,
    served: Served,
    played: Played,
    states: Arc<States>,
    assign: mpsc::Sender<Order>,
    failures: mpsc::Sender<(Digest, String)>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let file = "device = 'line-3'\nserver_http = 'http://127.0.0.1:1'\nmqtt_host = 'x'\n\
            mqtt_port = 1\nuser = 'line-3'\npassword = 'x'\n";
        let path = folder.path().join("device.toml");
        fs::write(&path, file).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("root.json"), "{}").unwrap();
        let disk = Disk::of(ROOMY);
        let open = {
            let disk = disk.clone();
            move || redb::Database::builder().create_with_backend(disk.clone())
        };
        let database = Arc::new(Database::open(open).unwrap());
        let blobs = Blobs::open(folder.path()).unwrap();
        let (served, states) = (Served::default(), Arc::default());
        let facts = Arc::new(|| Digest::of(b"this device"));
        let preflight = Preflight { judge: Arc::new(|_, _| Vec::new()), facts };
        Bench { folder, disk, database, blobs, served, states, preflight }
    }

    fn journal(&self) -> Journal {
        Journal::open(self.database.clone()).unwrap()
    }

    /// The server has a bundle, and whoever fetches it finds it on the disk already.
    fn store(&self, bundle: &BuiltBundle) {
        let mut served = self.served.0.lock().unwrap();
        served.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
        served.extend(bundle.blobs.clone());
    }

    /// Neither the server nor the disk has a bundle any more.
    fn lose(&self, bundle: &BuiltBundle) {
        let lost = [bundle.release_id().digest];
        for digest in lost.iter().chain(bundle.blobs.keys()) {
            self.served.0.lock().unwrap().remove(digest);
            fs::remove_file(self.blobs.folder().join(digest.hex())).unwrap();
        }
    }

    fn drive(&self, slot: &str) -> Driven {
        self.drive_with(slot, Played::default())
    }

    fn drive_with(&self, slot: &str, played: Played) -> Driven {
        self.drive_by(slot, played, ShadowLimits::default())
    }

    /// Drives a slot of a device whose settings want releases compared.
    fn drive_by(&self, slot: &str, played: Played, shadow: ShadowLimits) -> Driven {
        self.drive_at(slot, played, shadow, SitePolicy::default())
    }

    /// Drives a slot at a site that has signed something.
    fn drive_at(
        &self,
        slot: &str,
        played: Played,
        shadow: ShadowLimits,
        site: SitePolicy,
    ) -> Driven {
        let name: SlotName = slot.parse().unwrap();
        let driver = SlotDriver::new(SlotParts {
            slot: name.clone(),
            policy: TrialLimits::default(),
            shadow,
            site: watch::channel(site).1,
            journal: self.journal(),
            blobs: self.blobs.clone(),
            registry: Registry::of(
                &Device::read(self.folder.path()).unwrap(),
                &DownloadConfig::default(),
                Limits::default(),
            ),
            preflight: self.preflight.clone(),
            hands: played.clone(),
            states: self.states.clone(),
            online: Arc::default(),
        });
        let (assign, assignments) = mpsc::channel(QUEUE_MAX);
        let (failures, failed) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(driver.unwrap().drive(assignments, failed, stopped));
        let states = self.states.clone();
        let (blobs, served) = (self.blobs.clone(), self.served.clone());
        Driven { name, blobs, served, played, states, assign, failures, stop, task }
    }
}

impl Driven {
    async fn assign(&self, bundle: &BuiltBundle, number: u64, floor: u64) {
        let target = Target { release: bundle.release_id(), number, floor };
        self.order(Order::Assigned(Assigned { target, approved: false, again: false })).await;
    }

    async fn order(&self, order: Order) {
        self.served.deliver(&self.blobs);
        self.assign.send(order).await.unwrap();
    }

    fn state(&self) -> SlotState {
        self.states.all()[&self.name].clone()
    }

    /// Waits until it `holds` of the slot and of its hands.
    async fn until(&self, what: &str, holds: impl Fn(&SlotState, &Play) -> bool) {
        let began = Instant::now();
        while !holds(&self.state(), &self.played.lock()) {
            self.served.deliver(&self.blobs);
            let state = self.state();
            assert!(began.elapsed() < PATIENCE, "{what}: {state:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `release` is active and nothing else is under way; the trial is seen to go well.
    async fn commits(&self, release: &str) {
        self.until("its trial", |_, play| play.route.as_deref() == Some(release)).await;
        self.played.see(100, 0);
        self.until("it is committed", |state, _| is_active(state, release)).await;
    }

    async fn stop(self) -> Played {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.played
    }

    /// Ends without a word, as in a power cut.
    async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A slot with these releases of `echo`, which the server has, the first of them committed.
async fn on_the_first<const N: usize>(
    bench: &Bench,
    slot: Driven,
    versions: [&str; N],
) -> (Driven, [BuiltBundle; N]) {
    let releases = versions.map(|version| echo(version, ""));
    releases.iter().for_each(|release| bench.store(release));
    slot.assign(&releases[0], 1, 0).await;
    slot.commits(&format!("echo v{}", versions[0])).await;
    (slot, releases)
}

fn is_active(state: &SlotState, release: &str) -> bool {
    let active = state.active().map(|held| held.release.to_string());
    active.as_deref() == Some(release) && *state.phase() == Phase::Idle
}

fn is_on_trial(state: &SlotState) -> bool {
    matches!(state.phase(), Phase::Trial(_))
}

fn echo(version: &str, trial: &str) -> BuiltBundle {
    let text = format!(
        "format = 1\nname = 'echo'\nversion = '{version}'\nalarm_output = 'alarm'\n\
         [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 4\nstride = 4\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 3\n\
         [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 1000.0\n\
         [outputs]\nx = {{ from = 'last' }}\nalarm = {{ from = 'high' }}\n\
         [fail_safe]\nalarm = true\n{trial}"
    );
    build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_handed_over_in_their_order_however_often_nobody_takes_them() {
    let bench = Bench::new();
    let first = echo("1", "");
    bench.store(&first);
    let slot = bench.drive("a");
    slot.played.lock().deaf = 2;
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.until("all are handed over", |state, _| state.reports().count() == 0).await;
    let reports = slot.played.lock().reports.clone();
    // Assigned, downloaded, on trial, committed; and that it was fetched again, where it was.
    assert!(reports.len() >= 4 && reports[0] == 0, "{reports:?}");
    assert!(reports.is_sorted_by(|a, b| a + 1 == *b), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journal_fails_a_candidate_is_taken_back_and_nothing_else_is_begun_or_told() {
    let bench = Bench::new();
    let (slot, [first, second, third]) =
        on_the_first(&bench, bench.drive("a"), ["1", "2", "3"]).await;
    slot.assign(&second, 2, 0).await;
    let on_route = |release: &'static str| {
        move |_: &SlotState, play: &Play| play.route.as_deref() == Some(release)
    };
    slot.until("the second is tried", on_route("echo v2")).await;
    let reports = |slot: &Driven| slot.state().reports().count() + slot.played.lock().reports.len();
    slot.until("its reports are taken", |state, _| state.reports().count() == 0).await;
    let told = reports(&slot);

    bench.disk.resize(FULL);
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("the first is back at once", on_route("echo v1")).await;
    // What others hear is what a power cut would find.
    assert!(is_on_trial(&slot.state()));
    assert_eq!(reports(&slot), told);
    slot.assign(&third, 3, 0).await;
    slot.failures.send((first.release_id().digest, "it died".into())).await.unwrap();
    slot.until("both are heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert_eq!((slot.played.asked("check echo v3"), reports(&slot)), (0, told));

    bench.disk.resize(ROOMY);
    slot.commits("echo v3").await;
    slot.until("all is told", |state, _| state.reports().count() == 0).await;
    assert!(slot.played.lock().reports.is_sorted_by(|a, b| a + 1 == *b));
    let name = slot.name.clone();
    slot.stop().await;
    assert!(is_active(&bench.journal().slot(&name).unwrap(), "echo v3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_while_the_journal_fails_ends_a_bad_trial_the_same_way() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    bench.disk.resize(FULL);
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("it is back", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.cut().await;
    bench.disk.resize(ROOMY);
    let name: SlotName = "a".parse().unwrap();
    let began = Instant::now();
    // The database is opened again by whoever writes next.
    while Journal::open(bench.database.clone()).and_then(|j| j.slot(&name)).is_err() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let slot = bench.drive("a");
    slot.until("it is tried again", |_, play| play.route.as_deref() == Some("echo v2")).await;
    slot.played.lock().seen = Observation { crashes: 9, ..Observation::default() };
    slot.until("it is taken back again", |state, play| {
        is_active(state, "echo v1") && play.route.as_deref() == Some("echo v1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_a_release_that_was_replaced_changes_nothing() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&second);
    let slot = bench.drive("a");
    // The first is not on disk, and there is no server: its download fails again and again.
    slot.assign(&first, 1, 0).await;
    slot.until("it fails", |state, _| state.note().contains("cannot be reached")).await;
    slot.assign(&second, 2, 0).await;
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("check echo v1"), 0);
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
    // A late death of what is not active is nobody's failure.
    slot.failures.send((first.release_id().digest, "it died".into())).await.unwrap();
    slot.until("it is heard", |_, _| slot.failures.capacity() == QUEUE_MAX).await;
    let name = slot.name.clone();
    slot.stop().await;
    let state = bench.journal().slot(&name).unwrap();
    assert!(is_active(&state, "echo v2") && state.blocked().next().is_none(), "{state:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_the_active_release_hold_even_if_its_blobs_are_gone() {
    let bench = Bench::new();
    let first = echo("1", "[trial]\nalarm_share = [0.0, 0.3]\n");
    let second = echo("2", "[trial]\nframes = 40\n");
    bench.store(&first);
    bench.store(&second);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v2")).await;
    bench.lose(&first);
    slot.played.see(100, 90);
    slot.until("it is taken back", |state, _| !is_on_trial(state)).await;
    let state = slot.state();
    let reason = &state.blocked().next().unwrap().reason;
    assert!(reason.contains("share of alarms 0.90 is above 0.30"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_because_the_agent_stops_is_held_against_no_release() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.fail("check echo v2", Failure::Stopping);
    slot.assign(&second, 2, 0).await;
    slot.until("its checks are replayed", |_, play| {
        play.asked.last().is_some_and(|asked| asked == "check echo v2")
    })
    .await;
    let reports = slot.stop().await.lock().reports.clone();
    // More starts than any trial survives, each ended in the middle of the change of the route.
    for _ in 0..2 * lineside_update::BOOTS_MAX {
        let played = Played::default();
        for asked in ["run echo v2", "swap echo v2"] {
            played.fail(asked, Failure::Stopping);
        }
        let slot = bench.drive_with("a", played);
        slot.until("it is to be tried", |_, play| {
            play.asked.iter().any(|asked| asked.ends_with("echo v2") && !asked.starts_with("check"))
        })
        .await;
        let played = slot.stop().await;
        assert_eq!(played.asked("vacate"), 0);
    }
    let slot = bench.drive("a");
    slot.commits("echo v2").await;
    let state = slot.state();
    assert!(state.blocked().next().is_none(), "{state:?}");
    assert!(reports.is_sorted_by(|a, b| a + 1 == *b), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_something_else_prevents_is_tried_again_by_itself() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    let no_process = || Failure::Elsewhere("no worker can be started: out of memory".into());
    slot.played.fail("check echo v2", no_process());
    slot.played.fail("swap echo v2", no_process());
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |_, play| play.asked.iter().any(|a| a == "swap echo v2")).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"), "who has it keeps the route");
    slot.commits("echo v2").await;
    assert_eq!((slot.played.asked("check echo v2"), slot.played.asked("swap echo v2")), (2, 2));
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_breaks_a_limit_or_cannot_run_is_not_tried_again() {
    let bench = Bench::new();
    let (slot, [_, second, third]) = on_the_first(&bench, bench.drive("a"), ["1", "2", "3"]).await;
    slot.played.fail("check echo v2", Failure::Release("wrong answers".into()));
    slot.assign(&second, 2, 0).await;
    slot.until("it is refused", |state, _| state.note().contains("wrong answers")).await;
    slot.played.fail("swap echo v3", Failure::Release("it does not load".into()));
    slot.assign(&third, 3, 0).await;
    slot.until("it is taken back", |state, _| state.note().contains("it does not load")).await;
    slot.assign(&third, 3, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!((slot.played.asked("check echo v3"), slot.played.asked("swap echo v2")), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_release_that_rots_on_disk_is_replaced_by_the_previous_one_and_comes_back() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.assign(&second, 2, 0).await;
    slot.commits("echo v2").await;
    slot.stop().await;
    bench.lose(&second);
    let slot = bench.drive("a");
    slot.until("the first runs", |state, play| {
        let fetching = matches!(state.phase(), Phase::Downloading { .. });
        play.route.as_deref() == Some("echo v1") && fetching
    })
    .await;
    // The server has it again.
    bench.store(&second);
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("vacate"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_cannot_go_below_a_floor_through_another_slot_or_a_renamed_one() {
    let bench = Bench::new();
    let [first, third] = ["1", "3"].map(|version| echo(version, ""));
    bench.store(&first);
    bench.store(&third);
    let one = bench.drive("a");
    one.assign(&third, 3, 3).await;
    one.commits("echo v3").await;
    let other = bench.drive("b");
    other.assign(&first, 1, 0).await;
    other.until("it is refused", |state, _| state.note().contains("below the floor 3")).await;
    assert_eq!(other.played.asked("check echo v1"), 0);
    one.stop().await;
    other.stop().await;
    // Another start, after somebody has renamed both slots in agent.toml.
    let later = Bench { states: Arc::default(), ..bench };
    let renamed = later.drive("c");
    renamed.assign(&first, 1, 0).await;
    renamed.until("it is refused", |state, _| state.note().contains("below the floor 3")).await;
    assert_eq!(renamed.played.asked("check echo v1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_here_is_refused_and_one_that_has_to_wait_goes_on() {
    let mut bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let disk = full.clone();
    bench.preflight.judge = Arc::new(move |_, manifest| match manifest.bundle.version.as_str() {
        "1" => vec![Objection::Licence { licence: "acme".into() }],
        _ if disk.load(std::sync::atomic::Ordering::Relaxed) => {
            vec![Objection::Disk { needed: 2, free: 1 }]
        }
        _ => Vec::new(),
    });
    let (unfit, waiting) = (echo("1", ""), echo("2", ""));
    bench.store(&unfit);
    bench.store(&waiting);
    let slot = bench.drive("a");
    slot.assign(&unfit, 1, 0).await;
    slot.until("it is refused", |state, _| state.blocked().count() == 1).await;
    let note = slot.state().note();
    assert!(note.contains("refused: would not run here: it needs the licence acme"), "{note}");
    slot.assign(&waiting, 2, 0).await;
    slot.until("it waits", |state, _| state.note().contains("2 bytes on disk")).await;
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    slot.commits("echo v2").await;
}

/// A slot whose site wants ten frames compared; the first release is committed, the second assigned.
async fn beside(bench: &Bench, decide: Option<Decide>) -> Driven {
    let (slot, [_, second]) =
        on_the_first(bench, bench.drive_by("a", Played::default(), ten_frames(decide)), ["1", "2"])
            .await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot
}

fn ten_frames(decide: Option<Decide>) -> ShadowLimits {
    ShadowLimits { frames: Some(10), agreement_min: Some(0.9), decide, ..ShadowLimits::default() }
}

fn is_held(state: &SlotState) -> bool {
    matches!(state.phase(), Phase::Held(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_agrees_beside_the_route_takes_it_with_the_worker_that_is_there() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.until("it is told", |state, _| matches!(state.phase(), Phase::Shadow(_))).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"), "it does not act");
    slot.played.compare(10, 9);
    slot.commits("echo v2").await;
    let play = slot.stop().await;
    assert_eq!((play.asked("shadow echo v2"), play.asked("swap echo v2")), (1, 1));
    let before = |asked: &str| play.lock().asked.iter().position(|one| one == asked).unwrap();
    assert!(before("shadow echo v2") < before("swap echo v2"));
    assert_eq!(play.asked("shadow echo v1"), 0, "there was nothing to compare the first with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_answers_otherwise_beside_the_route_never_takes_it() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(4, 2);
    slot.until("it is refused", |state, play| {
        state.note().contains("agreed with the active release in 2 of 4") && play.beside.is_none()
    })
    .await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!((slot.played.asked("swap echo v2"), slot.played.asked("end shadow")), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_has_signed_is_compared_though_the_device_asks_for_none() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&first);
    bench.store(&second);
    let signed = SlotPolicy { shadow: ten_frames(None), ..SlotPolicy::default() };
    let site = SitePolicy { slots: BTreeMap::from([("*".to_owned(), signed)]) };
    let slot = bench.drive_at("a", Played::default(), ShadowLimits::default(), site);
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(10, 5);
    slot.until("it is given up", |state, _| matches!(state.phase(), Phase::Idle)).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!(slot.played.asked("swap echo v2"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_goes_on_after_a_power_cut_where_it_was() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(6, 6);
    slot.until("it is seen", |state, _| state.note().contains("6 frames compared")).await;
    // Progress is written as the agent stops, and every so often.
    slot.stop().await;
    let slot = bench.drive_by("a", Played::default(), ten_frames(None));
    slot.until("it is compared again", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(4, 4);
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_candidate_from_answering_beside_the_route_is_told_from_its_own_fault() {
    let bench = Bench::new();
    let (slot, [_, second, third]) = on_the_first(
        &bench,
        bench.drive_by("a", Played::default(), ten_frames(None)),
        ["1", "2", "3"],
    )
    .await;
    slot.played.fail("shadow echo v2", Failure::Elsewhere("no memory for two".into()));
    slot.assign(&second, 2, 0).await;
    slot.until("it is tried again", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    assert_eq!(slot.played.asked("shadow echo v2"), 2);
    slot.played.fail("shadow echo v3", Failure::Release("it does not load".into()));
    slot.assign(&third, 3, 0).await;
    slot.until("it is refused", |state, _| state.note().contains("it does not load")).await;
    assert!(is_active(&slot.state(), "echo v1"));
    assert_eq!(slot.played.lock().beside, None, "the second was ended by the assignment");
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_waits_for_what_it_is_compared_with_and_then_answers_beside_it_again() {
    let bench = Bench::new();
    let slot = beside(&bench, None).await;
    slot.played.compare(10, 10);
    slot.commits("echo v2").await;
    let third = echo("3", "");
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v3")).await;
    // What the slot goes back to cannot be started for a while, so the slot is vacant.
    slot.played.fail("swap echo v1", Failure::Elsewhere("no process".into()));
    for _ in 0..2 {
        slot.played.fail("run echo v1", Failure::Elsewhere("no process".into()));
    }
    for _ in 0..FAILURES_MAX {
        let second = echo("2", "").release_id().digest;
        slot.failures.send((second, "it died".into())).await.unwrap();
    }
    slot.until("it is compared again", |_, play| {
        play.route.as_deref() == Some("echo v1") && play.beside.as_deref() == Some("echo v3")
    })
    .await;
    assert_eq!(slot.played.asked("shadow echo v3"), 2, "it is not asked for beside a vacant route");
    slot.played.compare(10, 10);
    slot.commits("echo v3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_says_no_holds_an_update_back_until_it_says_yes() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |state, _| state.note().contains("held back: the line runs")).await;
    slot.until("all is told", |state, _| state.reports().count() == 0).await;
    let told = slot.played.lock().reports.len();
    slot.played.lock().withheld = Some(("the line runs".into(), true));
    slot.until("it is late", |state, _| state.note().contains("longer than it should")).await;
    slot.until("that is told", |_, play| play.reports.len() == told + 1).await;
    // Neither a stop nor a start asks anybody's leave in the site's place.
    slot.stop().await;
    let played = Played::default();
    played.lock().withheld = Some(("the line runs".into(), true));
    let slot = bench.drive_with("a", played);
    slot.until("it runs", |_, play| play.route.as_deref() == Some("echo v1")).await;
    assert!(is_held(&slot.state()) && slot.played.asked("swap echo v2") == 0);
    slot.played.lock().withheld = None;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_a_person_has_to_approve_waits_for_that_and_for_nobody_else() {
    let bench = Bench::new();
    let slot = beside(&bench, Some(Decide::Ask)).await;
    slot.played.compare(10, 10);
    slot.until("it waits", |state, play| is_held(state) && play.beside.is_none()).await;
    let second = echo("2", "").release_id();
    assert!(slot.state().note().contains("waits for a person"), "{}", slot.state().note());
    // The same again without an approval changes nothing.
    slot.assign(&echo("2", ""), 2, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert!(is_held(&slot.state()));
    let target = Target { release: second, number: 2, floor: 0 };
    slot.order(Order::Assigned(Assigned { target, approved: true, again: false })).await;
    slot.commits("echo v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_to_what_was_committed_here_waits_neither_for_the_bad_release_nor_for_the_site()
 {
    let bench = Bench::new();
    let first = echo("1", "[trial]\nalarm_share = [0.0, 0.3]\n");
    let second = echo("2", "[trial]\nalarm_share = [0.0, 0.01]\n");
    bench.store(&first);
    bench.store(&second);
    let slot = bench.drive_by("a", Played::default(), ten_frames(None));
    slot.assign(&first, 1, 0).await;
    slot.commits("echo v1").await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot.played.compare(10, 10);
    slot.commits("echo v2").await;
    slot.played.lock().withheld = Some(("the line runs".into(), false));
    slot.assign(&first, 1, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v1")).await;
    // More alarms than the release that is left allows anybody.
    slot.played.see(100, 20);
    slot.until("it is committed", |state, _| is_active(state, "echo v1")).await;
    assert_eq!(slot.played.asked("shadow echo v1"), 0);
    assert_eq!(slot.played.asked("check echo v1"), 2, "its checks are replayed all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_floor_that_one_slot_has_brought_ends_what_is_on_its_way_in_another() {
    let bench = Bench::new();
    let [first, second, third] = ["1", "2", "3"].map(|version| echo(version, ""));
    [&first, &third].into_iter().for_each(|bundle| bench.store(bundle));
    let (one, other) = (bench.drive("a"), bench.drive("b"));
    for slot in [&one, &other] {
        slot.assign(&first, 1, 0).await;
        slot.commits("echo v1").await;
    }
    // Somebody assigns the second, and holds its blobs back until the floor has risen above it.
    other.assign(&second, 2, 0).await;
    let fetched = |state: &SlotState, _: &Play| matches!(state.phase(), Phase::Downloading { .. });
    other.until("it is fetched", fetched).await;
    one.assign(&third, 3, 3).await;
    one.commits("echo v3").await;
    let note = |state: &SlotState, _: &Play| state.note().contains("number 2 is below the floor 3");
    other.until("it is refused", note).await;
    assert!(is_active(&other.state(), "echo v1"), "what runs stays");
    other.assign(&first, 1, 0).await;
    one.assign(&first, 1, 0).await;
    let note = |state: &SlotState, _: &Play| state.note().contains("number 1 is below the floor 3");
    one.until("it is refused as well", note).await;
    assert!(is_active(&one.state(), "echo v3") && is_active(&other.state(), "echo v1"));
    // By itself a slot goes back to what it ran before.
    for _ in 0..FAILURES_MAX {
        one.failures.send((third.release_id().digest, "it died".into())).await.unwrap();
    }
    one.until("it is back", |state, _| is_active(state, "echo v1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_during_a_first_trial_leaves_no_slot_without_an_answer() {
    let bench = Bench::new();
    let [first, second] = ["1", "2"].map(|version| echo(version, ""));
    bench.store(&first);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.until("it is tried", |_, play| play.route.as_deref() == Some("echo v1")).await;
    // The second cannot be fetched yet.
    slot.assign(&second, 2, 0).await;
    slot.until("it stands in", |state, _| state.note().contains("echo v1 answers meanwhile")).await;
    assert_eq!(slot.played.lock().route.as_deref(), Some("echo v1"));
    slot.cut().await;
    let slot = bench.drive("a");
    slot.until("it answers again", |_, play| play.route.as_deref() == Some("echo v1")).await;
    assert_eq!(slot.played.asked("vacate"), 0);
    // It is not committed by that, and it stays on probation.
    slot.played.see(100, 0);
    bench.store(&second);
    slot.commits("echo v2").await;
    assert_eq!(slot.played.asked("vacate"), 0);
    assert_eq!(slot.state().previous().map(|held| held.release.to_string()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_update_has_waited_for_the_site_is_counted_over_starts_of_the_agent() {
    let bench = Bench::new();
    let (slot, [_, second]) = on_the_first(&bench, bench.drive("a"), ["1", "2"]).await;
    let busy = Some(("the line runs".to_owned(), false));
    slot.played.lock().withheld = busy.clone();
    slot.assign(&second, 2, 0).await;
    slot.until("it waits", |_, play| play.waited > Duration::ZERO).await;
    let before = slot.stop().await.lock().waited;
    let played = Played::default();
    played.lock().withheld = busy;
    let slot = bench.drive_with("a", played);
    slot.until("it goes on to wait", |_, play| play.waited > Duration::ZERO).await;
    let first = slot.played.lock().waited;
    assert!(first >= before, "{first:?} after {before:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_never_comes_does_not_keep_the_next_one_or_another_slot_waiting() {
    let bench = Bench::new();
    let (slot, [first]) = on_the_first(&bench, bench.drive("a"), ["1"]).await;
    let [stuck, third] = ["2", "3"].map(|version| echo(version, ""));
    slot.assign(&stuck, 2, 0).await;
    slot.until("it does not come", |state, _| state.note().contains("trying again")).await;
    let other = bench.drive("b");
    other.assign(&first, 1, 0).await;
    other.commits("echo v1").await;
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.commits("echo v3").await;
    assert_eq!(slot.played.asked("vacate"), 1, "only before the first release");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_active_release_comes_back_though_another_one_is_wanted_that_never_comes() {
    let bench = Bench::new();
    let (slot, [first]) = on_the_first(&bench, bench.drive("a"), ["1"]).await;
    let [stuck, third] = ["2", "3"].map(|version| echo(version, ""));
    slot.assign(&stuck, 2, 0).await;
    slot.until("it does not come", |state, _| state.note().contains("trying again")).await;
    slot.stop().await;
    bench.lose(&first);
    let slot = bench.drive("a");
    // That it is damaged is told, and that nobody has it; so the other one is asked for again.
    slot.until("it is missed", |state, play| {
        play.reports.len() >= 2 && play.route.is_none() && state.mending().is_none()
    })
    .await;
    // Somebody has it again.
    bench.store(&first);
    slot.until("it answers", |_, play| play.route.as_deref() == Some("echo v1")).await;
    slot.until("the other is wanted still", |state, _| {
        matches!(state.phase(), Phase::Downloading { target, .. }
            if target.release == stuck.release_id())
            && state.mending().is_none()
    })
    .await;
    bench.store(&third);
    slot.assign(&third, 3, 0).await;
    slot.commits("echo v3").await;
}

/// A device on which no release runs as long as it is `small`; and a way to change that.
fn small(bench: &mut Bench) -> Arc<AtomicBool> {
    let small = Arc::new(AtomicBool::new(true));
    let is_small = |small: &AtomicBool| small.load(std::sync::atomic::Ordering::Relaxed);
    let (judged, looked) = (small.clone(), small.clone());
    bench.preflight = Preflight {
        judge: Arc::new(move |_, _| match is_small(&judged) {
            true => vec![Objection::Memory { needed: 2, all: 1 }],
            false => Vec::new(),
        }),
        facts: Arc::new(move || Digest::of(if is_small(&looked) { b"small" } else { b"grown" })),
    };
    small
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_is_tried_when_the_device_is_another_one() {
    for while_it_runs in [true, false] {
        let mut bench = Bench::new();
        let small = small(&mut bench);
        let first = echo("1", "");
        bench.store(&first);
        let slot = bench.drive("a");
        slot.assign(&first, 1, 0).await;
        slot.until("it is refused", |state, _| state.note().contains("2 MiB of memory")).await;
        let slot = if while_it_runs {
            small.store(false, std::sync::atomic::Ordering::Relaxed);
            slot
        } else {
            slot.stop().await;
            small.store(false, std::sync::atomic::Ordering::Relaxed);
            let slot = bench.drive("a");
            slot.assign(&first, 1, 0).await;
            slot
        };
        slot.commits("echo v1").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_would_not_run_is_judged_again_only_when_a_person_asks_or_the_device_changes()
 {
    let mut bench = Bench::new();
    let _ = small(&mut bench);
    let first = echo("1", "");
    bench.store(&first);
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    let is_refused = |state: &SlotState, play: &Play| {
        let told = state.reports().count() == 0 && !play.reports.is_empty();
        told && *state.phase() == Phase::Idle && state.blocked().count() == 1
    };
    slot.until("it is refused", is_refused).await;
    slot.stop().await;
    let slot = bench.drive("a");
    slot.assign(&first, 1, 0).await;
    slot.until("it is heard", |_, _| slot.assign.capacity() == QUEUE_MAX).await;
    assert_eq!((slot.state().reports().count(), slot.played.lock().reports.len()), (0, 0));
    let target = Target { release: first.release_id(), number: 1, floor: 0 };
    slot.order(Order::Assigned(Assigned { target, approved: false, again: true })).await;
    slot.until("it is refused again", is_refused).await;
}
