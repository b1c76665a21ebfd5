//! A device with a real journal and real blobs, and slots on it whose hands are played.

use crate::config::DownloadConfig;
use crate::database::Database;
use crate::fleet::Device;
use crate::test_medium::Disk;
use crate::update::StagedRelease;
use crate::update::hands::{Consent, Failure, Route};
use crate::update::limits::Limits;
use crate::update::slot::*;
use lineside_bundle::{BuiltBundle, BundleFile, build};
use lineside_rules::{Decide, Observation, Replayed, ShadowLimits, ShadowObservation};
use lineside_update::Report;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Longest that anything here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const FULL: u64 = 0;
pub(super) const ROOMY: u64 = 64 << 20;

/// What the hands have done and will say.
#[derive(Default)]
pub(super) struct Play {
    pub(super) route: Option<String>,
    /// What was asked for, in its order: `run echo v1`, `check echo v2`, `vacate`.
    pub(super) asked: Vec<String>,
    /// What is said to that before it is done.
    pub(super) failures: BTreeMap<String, VecDeque<Failure>>,
    /// What of that does not get done until it is given up, or it is taken away here.
    pub(super) slow: Vec<String>,
    pub(super) given_up: bool,
    /// What replaying checks takes.
    pub(super) took: Replayed,
    /// What is seen of whatever has the route.
    pub(super) seen: Observation,
    /// What answers beside the route.
    pub(super) beside: Option<String>,
    /// What is seen of that.
    pub(super) compared: ShadowObservation,
    /// Why the route may not be changed now, and whether that is overdue.
    pub(super) withheld: Option<(String, bool)>,
    /// The leave of what gets ready.
    pub(super) leave: watch::Sender<bool>,
    /// How often an update was let go, and how often it was not.
    pub(super) consents: u32,
    pub(super) refusals: u32,
    /// How long the update that asked last had waited.
    pub(super) waited: Duration,
    /// How long the one that asked first had.
    pub(super) first_waited: Option<Duration>,
    /// Numbers of the reports that were taken.
    pub(super) reports: Vec<u64>,
    /// Reports that are not taken yet.
    pub(super) deaf: u32,
}

#[derive(Clone, Default)]
pub(super) struct Played(Arc<Mutex<Play>>);

impl Played {
    pub(super) fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap()
    }

    /// Has the next `asked` fail.
    pub(super) fn fail(&self, asked: &str, failure: Failure) {
        self.lock().failures.entry(asked.into()).or_default().push_back(failure);
    }

    pub(super) fn see(&self, frames: u64, alarms: u64) {
        self.lock().seen = Observation { frames, alarms, ..Observation::default() };
    }

    pub(super) fn compare(&self, frames: u64, agreed: u64) {
        self.lock().compared = ShadowObservation { frames, agreed, ..ShadowObservation::default() };
    }

    /// A person holds the slot back, and has been told so.
    pub(super) fn hold(&self, reason: &str) {
        let mut play = self.lock();
        play.withheld = Some((reason.into(), false));
        play.leave.send_replace(false);
    }

    pub(super) fn asked(&self, asked: &str) -> usize {
        self.lock().asked.iter().filter(|one| *one == asked).count()
    }

    pub(super) fn does(&self, what: &str, release: &StagedRelease) -> Result<(), Failure> {
        let asked = format!("{what} {}", release.release);
        let mut play = self.lock();
        play.asked.push(asked.clone());
        match play.failures.get_mut(&asked).and_then(VecDeque::pop_front) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    pub(super) fn put(&self, what: &str, release: &StagedRelease) -> Result<(), Failure> {
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
    async fn place(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let what = if self.lock().route.is_some() { "swap" } else { "run" };
        let slow = format!("{what} {}", release.release);
        while self.lock().slow.contains(&slow) || !*may.borrow() {
            sleep(Duration::from_millis(5)).await;
            if std::mem::take(&mut self.lock().given_up) {
                return Err(Failure::GivenUp);
            }
        }
        self.put(what, release)
    }

    async fn give_up(&self) {
        self.lock().given_up = true;
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

    async fn self_test(&self, release: &StagedRelease) -> Result<Replayed, Failure> {
        self.does("check", release)?;
        Ok(self.lock().took.clone())
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

    async fn consent(&self, _route: Route, waited: Duration) -> Consent {
        let mut play = self.lock();
        play.waited = waited;
        play.first_waited.get_or_insert(waited);
        match play.withheld.clone() {
            Some((reason, overdue)) => {
                play.refusals += 1;
                Consent::Withheld { reason, overdue }
            }
            None => {
                play.consents += 1;
                Consent::Given
            }
        }
    }

    fn leave(&self, given: bool) -> watch::Receiver<bool> {
        let play = self.lock();
        play.leave.send_replace(given && play.withheld.is_none());
        play.leave.subscribe()
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
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) disk: Disk,
    pub(super) database: Arc<Database>,
    pub(super) blobs: Blobs,
    pub(super) served: Served,
    pub(super) states: Arc<States>,
    /// Rings when the network is back.
    pub(super) online: watch::Sender<()>,
    pub(super) preflight: Preflight,
}

/// Blobs that a server has: they are there again soon after garbage was collected.
#[derive(Clone, Default)]
pub(super) struct Served(Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>);

impl Served {
    pub(super) fn deliver(&self, blobs: &Blobs) {
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
pub(super) struct Driven {
    pub(super) name: SlotName,
    pub(super) blobs: Blobs,
    pub(super) served: Served,
    pub(super) played: Played,
    pub(super) states: Arc<States>,
    pub(super) assign: mpsc::Sender<Order>,
    pub(super) failures: mpsc::Sender<(Digest, String)>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

impl Bench {
    pub(super) fn new() -> Bench {
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
        let online = watch::Sender::new(());
        let facts = Arc::new(|| Digest::of(b"this device"));
        let preflight = Preflight { judge: Arc::new(|_, _| Vec::new()), facts };
        Bench { folder, disk, database, blobs, served, states, online, preflight }
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::open(self.database.clone()).unwrap()
    }

    /// The server has a bundle, and whoever fetches it finds it on the disk already.
    pub(super) fn store(&self, bundle: &BuiltBundle) {
        let mut served = self.served.0.lock().unwrap();
        served.insert(bundle.release_id().digest, bundle.oci_manifest.clone());
        served.extend(bundle.blobs.clone());
    }

    /// Neither the server nor the disk has a bundle any more.
    pub(super) fn lose(&self, bundle: &BuiltBundle) {
        let lost = [bundle.release_id().digest];
        for digest in lost.iter().chain(bundle.blobs.keys()) {
            self.served.0.lock().unwrap().remove(digest);
            fs::remove_file(self.blobs.folder().join(digest.hex())).unwrap();
        }
    }

    pub(super) fn drive(&self, slot: &str) -> Driven {
        self.drive_with(slot, Played::default())
    }

    pub(super) fn drive_with(&self, slot: &str, played: Played) -> Driven {
        self.drive_by(slot, played, ShadowLimits::default())
    }

    /// Drives a slot of a device whose settings want releases compared.
    pub(super) fn drive_by(&self, slot: &str, played: Played, shadow: ShadowLimits) -> Driven {
        self.drive_at(slot, played, shadow, watch::channel(SitePolicy::default()).1)
    }

    /// Drives a slot at a site that has signed something.
    pub(super) fn drive_at(
        &self,
        slot: &str,
        played: Played,
        shadow: ShadowLimits,
        site: watch::Receiver<SitePolicy>,
    ) -> Driven {
        let name: SlotName = slot.parse().unwrap();
        let (assign, orders) = mpsc::channel(QUEUE_MAX);
        let driver = SlotDriver::new(DriverParts {
            slot: name.clone(),
            orders,
            policy: TrialLimits::default(),
            shadow,
            site,
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
            online: self.online.subscribe(),
        });
        let (failures, failed) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(driver.unwrap().drive(failed, stopped));
        let states = self.states.clone();
        let (blobs, served) = (self.blobs.clone(), self.served.clone());
        Driven { name, blobs, served, played, states, assign, failures, stop, task }
    }
}

impl Driven {
    pub(super) async fn assign(&self, bundle: &BuiltBundle, number: u64, floor: u64) {
        let target = Target { release: bundle.release_id(), number, floor };
        self.order(Order::Assigned(Assigned { target, approved: false, newer: false, again: 0 }))
            .await;
    }

    pub(super) async fn order(&self, order: Order) {
        self.served.deliver(&self.blobs);
        self.assign.send(order).await.unwrap();
    }

    pub(super) fn state(&self) -> SlotState {
        self.states.all()[&self.name].clone()
    }

    /// Waits until it `holds` of the slot and of its hands.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&SlotState, &Play) -> bool) {
        let began = Instant::now();
        while !holds(&self.state(), &self.played.lock()) {
            self.served.deliver(&self.blobs);
            let state = self.state();
            assert!(began.elapsed() < PATIENCE, "{what}: {state:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `release` is active and nothing else is under way; the trial is seen to go well.
    pub(super) async fn commits(&self, release: &str) {
        self.until("its trial", |_, play| play.route.as_deref() == Some(release)).await;
        self.played.see(100, 0);
        self.until("it is committed", |state, _| is_active(state, release)).await;
    }

    pub(super) async fn stop(self) -> Played {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.played
    }

    /// Ends without a word, as in a power cut.
    pub(super) async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A slot with these releases of `echo`, which the server has, the first of them committed.
pub(super) async fn on_the_first<const N: usize>(
    bench: &Bench,
    slot: Driven,
    versions: [&str; N],
) -> (Driven, [BuiltBundle; N]) {
    let releases = versions.map(|version| echo(version, ""));
    releases.iter().for_each(|release| bench.store(release));
    // Approved: a site that wants to be asked is asked of the first as well.
    let target = Target { release: releases[0].release_id(), number: 1, floor: 0 };
    slot.order(Order::Assigned(Assigned { target, approved: true, newer: false, again: 0 })).await;
    slot.commits(&format!("echo v{}", versions[0])).await;
    (slot, releases)
}

pub(super) fn is_active(state: &SlotState, release: &str) -> bool {
    let active = state.active().map(|held| held.release.to_string());
    active.as_deref() == Some(release) && *state.phase() == Phase::Idle
}

pub(super) fn is_on_trial(state: &SlotState) -> bool {
    matches!(state.phase(), Phase::Trial(_))
}

pub(super) fn echo(version: &str, trial: &str) -> BuiltBundle {
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

/// A slot whose site wants ten frames compared; the first release is committed, the second assigned.
pub(super) async fn beside(bench: &Bench, decide: Option<Decide>) -> Driven {
    let (slot, [_, second]) =
        on_the_first(bench, bench.drive_by("a", Played::default(), ten_frames(decide)), ["1", "2"])
            .await;
    slot.assign(&second, 2, 0).await;
    slot.until("it is compared", |_, play| play.beside.as_deref() == Some("echo v2")).await;
    slot
}

pub(super) fn ten_frames(decide: Option<Decide>) -> ShadowLimits {
    ShadowLimits { frames: Some(10), agreement_min: Some(0.9), decide, ..ShadowLimits::default() }
}

pub(super) fn is_held(state: &SlotState) -> bool {
    matches!(state.phase(), Phase::Held(_))
}
