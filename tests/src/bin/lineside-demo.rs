//! The story that `cargo xtask demo` tells: real programs, real models, real recordings.
//!
//! Two wind turbine controllers and a bedside monitor run signed models; a better one takes over, a
//! wrong one is refused by its checks, another wrong one is taken back by its behaviour.

use anyhow::{Context, bail};
use lineside_tests::child::{self, wait_for};
use lineside_tests::fleet::{Fleet, findings};
use lineside_tests::plant::Plant;
use lineside_tests::{examples, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Two weeks of ten-minute means in a little over a minute and a half.
const TURBINE_PACE: f64 = 12_000.0;
/// The same, in rows of four turbines a second.
const TURBINE_ROWS_PER_SECOND: f64 = 80.0;
/// Five minutes of heart beats in the same time.
const ECG_PACE: f64 = 3.0;
/// Longest that a chapter may take.
const CHAPTER_MAX: Duration = Duration::from_secs(90);

const MILLS: [&str; 2] = ["mill-1", "mill-2"];
const BED: &str = "bed-3";

fn main() -> ExitCode {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--once" => true,
        _ => {
            eprintln!("usage: cargo xtask demo [--once]");
            return ExitCode::from(2);
        }
    };
    let told = std::thread::spawn(move || tell(once));
    let interrupted = interruption();
    let ended = loop {
        if told.is_finished() {
            break told.join().unwrap_or_else(|_| bail_with("the story broke off"));
        }
        if interrupted.recv_timeout(Duration::from_millis(50)).is_ok() {
            child::kill_all();
            println!("demo: stopped");
            return ExitCode::SUCCESS;
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bail_with(what: &str) -> anyhow::Result<()> {
    bail!("{what}")
}

/// Hears of Ctrl-C and of being told to stop.
fn interruption() -> std::sync::mpsc::Receiver<()> {
    let (tell, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // The story may have ended meanwhile.
            let _ = tell.send(());
            Ok(())
        })
    });
    heard
}

fn tell(once: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
    let mut story = Story::begin(folder.path())?;
    let told = story.play().and_then(|()| story.account());
    let account = match told {
        Ok(account) => account,
        Err(error) => {
            let kept = folder.keep();
            return Err(error.context(format!("what the programs said is in {}", kept.display())));
        }
    };
    if !once {
        println!();
        println!("The devices go on. The page: {}", story.page()?);
        println!("{account}");
        println!("Ctrl-C ends everything.");
        loop {
            story.listen()?;
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let right = account.is_right();
    drop(story);
    println!("{account}");
    if !right {
        bail!("the story did not end as it should");
    }
    Ok(())
}

/// What came of it, computed from what the devices and the server recorded.
struct Account {
    devices: usize,
    findings: usize,
    committed: BTreeSet<String>,
    refused: BTreeSet<String>,
    rolled_back: BTreeSet<String>,
    lost: u64,
    doubled: u64,
}

impl Account {
    fn is_right(&self) -> bool {
        let is = |versions: &BTreeSet<String>, version: &str| {
            versions.len() == 1 && versions.contains(version)
        };
        is(&self.committed, "v2")
            && is(&self.refused, "v3")
            && is(&self.rolled_back, "v4")
            && (self.lost, self.doubled) == (0, 0)
            && self.findings > 0
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = |versions: &BTreeSet<String>| match versions.is_empty() {
            true => "none".to_owned(),
            false => versions.iter().cloned().collect::<Vec<_>>().join("+"),
        };
        write!(
            f,
            "demo: devices={} findings={} committed={} refused={} rolled_back={} lost={} doubled={}",
            self.devices,
            self.findings,
            all(&self.committed),
            all(&self.refused),
            all(&self.rolled_back),
            self.lost,
            self.doubled
        )
    }
}

struct Story {
    fleet: Fleet,
    plant: Plant,
    began: Instant,
    heard: BTreeSet<(String, u64, u64)>,
}

impl Story {
    fn begin(folder: &Path) -> anyhow::Result<Story> {
        let began = Instant::now();
        let fleet = Fleet::start(folder)?;
        let plant = Plant::start(folder)?;
        let mut story = Story { fleet, plant, began, heard: BTreeSet::new() };
        story.say("server", "is up, with keys that never left the operator's folder");
        story.say("plant", &format!("has a broker of its own on port {}", story.plant.port()));
        println!("           The page: {}", story.page()?);
        story.add_devices()?;
        Ok(story)
    }

    fn page(&self) -> anyhow::Result<String> {
        Ok(format!("{}/?token={}", self.fleet.url(), self.fleet.token()?))
    }

    fn add_devices(&mut self) -> anyhow::Result<()> {
        let port = self.plant.port();
        let plant = |device: &str| {
            format!(
                "[sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\n\
                 topic = 'findings/{device}'\n\
                 [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n"
            )
        };
        let file = |name: &str| root().join("examples").join(name).display().to_string();
        let recorded = format!(
            "[slots.turbine]\nsource = 'scada'\nsinks = ['plant', 'log']\n\
             [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = {TURBINE_PACE:?}\n{}\
             [telemetry]\ninterval_seconds = 43200\n",
            file("turbine/recordings/reference.csv"),
            plant("mill-1")
        );
        let live = format!(
            "[slots.turbine]\nsource = 'scada'\nsinks = ['plant', 'log']\n\
             [sources.scada]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = 'scada'\n{}\
             [telemetry]\ninterval_seconds = 43200\n",
            plant("mill-2")
        );
        let beats = format!(
            "[slots.ecg]\nsource = 'lead'\nsinks = ['plant', 'log']\n\
             [sources.lead]\nkind = 'file'\npaths = ['{}']\npace = {ECG_PACE:?}\n{}\
             [telemetry]\ninterval_seconds = 10\n",
            file("ecg/recordings/excerpt.csv"),
            plant("bed-3")
        );
        for (device, settings) in [("mill-1", recorded), ("mill-2", live), (BED, beats)] {
            self.fleet.add_device(device, &settings)?;
            self.fleet.start_agent(device)?;
            self.say(device, "is installed and runs; its slot is vacant");
        }
        Ok(())
    }

    fn play(&mut self) -> anyhow::Result<()> {
        self.fleet.release("ecg", "1")?;
        self.fleet.release("turbine", "1")?;
        self.say("operator", "signs ecg v1 and turbine v1, and assigns them");
        self.fleet.assign(BED, "ecg", "ecg/1")?;
        self.assign("1")?;
        self.plant.publish(
            &root().join("examples/turbine/recordings/reference.csv"),
            "scada",
            TURBINE_ROWS_PER_SECOND,
        )?;
        self.until("turbine v1 and ecg v1 stay", |devices| {
            MILLS.iter().all(|mill| holds(&devices[*mill], "turbine", "1"))
                && holds(&devices[BED], "ecg", "1")
        })?;

        self.fleet.release("turbine", "2")?;
        self.say("operator", "signs turbine v2, which knows frost, and assigns it");
        self.assign("2")?;
        self.until("turbine v2 stays", |devices| {
            MILLS.iter().all(|mill| holds(&devices[*mill], "turbine", "2"))
        })?;

        self.release_unchecked("3")?;
        self.say("operator", "signs turbine v3, whose export took the wind for km/h, unchecked");
        self.assign("3")?;
        self.until("turbine v3 is refused", |devices| {
            MILLS.iter().all(|mill| event(&devices[*mill], "refused", "turbine v3"))
        })?;

        self.release_unchecked("4")?;
        self.say("operator", "signs turbine v4: the same model, with checks recorded from itself");
        self.assign("4")?;
        self.until("turbine v4 is taken back", |devices| {
            MILLS.iter().all(|mill| {
                event(&devices[*mill], "rolled_back", "turbine v4")
                    && holds(&devices[*mill], "turbine", "2")
            })
        })?;
        self.until("telemetry of all devices has arrived", |devices| {
            devices.values().all(|device| {
                let slots = device["telemetry"].as_object();
                let frames = |slot: &Value| slot["frames"].as_u64().unwrap_or(0);
                slots.is_some_and(|slots| slots.values().any(|slot| frames(slot) > 0))
            })
        })
    }

    fn assign(&self, version: &str) -> anyhow::Result<()> {
        let release = format!("turbine/{version}");
        MILLS.iter().try_for_each(|mill| self.fleet.assign(mill, "turbine", &release).map(drop))
    }

    fn release_unchecked(&self, version: &str) -> anyhow::Result<()> {
        let file = examples::build("turbine", version, self.fleet.folder())?;
        self.fleet.json(&["release", "--unchecked", &file.to_string_lossy()]).map(drop)
    }

    /// Waits until the devices, as the server knows them, are as they should be, and tells what
    /// happens meanwhile.
    fn until(
        &mut self,
        what: &str,
        reached: impl Fn(&BTreeMap<String, Value>) -> bool,
    ) -> anyhow::Result<()> {
        let mut failed = None;
        let waited = wait_for(CHAPTER_MAX, what, || match self.listen() {
            Ok(devices) => reached(&devices).then_some(()),
            Err(error) => {
                failed = Some(error);
                Some(())
            }
        });
        match failed {
            Some(error) => Err(error),
            None => waited,
        }
    }

    /// The devices as the server knows them. Tells of events that are new.
    fn listen(&mut self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut devices = BTreeMap::new();
        for name in MILLS.iter().chain([&BED]) {
            let device = self.fleet.get(&format!("/api/v1/devices/{name}"))?;
            for event in device["events"].as_array().into_iter().flatten().rev() {
                let number = |field: &str| event[field].as_u64().unwrap_or(0);
                let id = ((*name).to_owned(), number("boot"), number("sequence"));
                if self.heard.insert(id) {
                    self.say(name, event["text"].as_str().unwrap_or_default());
                }
            }
            devices.insert((*name).to_owned(), device);
        }
        Ok(devices)
    }

    fn say(&self, who: &str, what: &str) {
        println!("{:7.1} s  {who:8}  {what}", self.began.elapsed().as_secs_f64());
    }

    fn account(&mut self) -> anyhow::Result<Account> {
        let devices = self.listen()?;
        let mut account = Account {
            devices: devices.len(),
            findings: 0,
            committed: BTreeSet::new(),
            refused: versions(&devices, "refused", false),
            rolled_back: versions(&devices, "rolled_back", false),
            lost: 0,
            doubled: 0,
        };
        account.committed = versions(&devices, "committed", true);
        for name in devices.keys() {
            let status = self.fleet.status(name).with_context(|| format!("{name} is silent"))?;
            for slot in status["slots"].as_object().into_iter().flat_map(|slots| slots.values()) {
                let count = |what: &str| slot["counts"][what].as_u64();
                account.lost += count("lost").context("a device does not say what it lost")?;
                account.doubled +=
                    count("doubled").context("a device does not say what doubled")?;
            }
            let found = findings(&self.fleet.device_folder(name).join("findings.jsonl"))?;
            let (missing, twice) = audit(&found);
            account.lost += missing;
            account.doubled += twice;
            account.findings += found.iter().filter(|finding| finding["frame"].is_u64()).count();
        }
        for device in devices.values() {
            let slots =
                device["telemetry"].as_object().into_iter().flat_map(|slots| slots.values());
            account.doubled += slots.filter_map(|slot| slot["doubled"].as_u64()).sum::<u64>();
        }
        Ok(account)
    }
}

/// Whether a slot has committed this version and nothing else is under way.
fn holds(device: &Value, slot: &str, version: &str) -> bool {
    let slot = &device["slots"][slot];
    slot["active"]["version"] == version && slot["phase"] == "idle"
}

fn event(device: &Value, kind: &str, release: &str) -> bool {
    let mut events = device["events"].as_array().into_iter().flatten();
    events.any(|event| event["kind"] == kind && event["release"] == release)
}

/// The versions of turbine that events of this kind speak of: on each turbine device all of them,
/// or the last one.
fn versions(devices: &BTreeMap<String, Value>, kind: &str, last: bool) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    for mill in MILLS {
        // Newest first.
        let events = devices[mill]["events"].as_array().into_iter().flatten();
        let releases = events
            .filter(|event| event["kind"] == kind)
            .filter_map(|event| event["release"].as_str()?.strip_prefix("turbine "))
            .map(str::to_owned);
        versions.extend(releases.take(if last { 1 } else { usize::MAX }));
    }
    versions
}

/// Readings that no frame accounts for between a stream's first finding and its last, and findings
/// that are there twice, counted from the findings alone.
fn audit(findings: &[Value]) -> (u64, u64) {
    let mut ids = BTreeSet::new();
    let mut spans: BTreeMap<(String, String), BTreeSet<(u64, u64)>> = BTreeMap::new();
    let mut twice = 0;
    for finding in findings.iter().filter(|finding| finding["frame"].is_u64()) {
        let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        twice += u64::from(!ids.insert(text("id")));
        let number = |field: &str| finding[field].as_u64().unwrap_or(0);
        let stream = (text("slot"), text("key"));
        spans.entry(stream).or_default().insert((number("first"), number("last")));
    }
    let mut missing = 0;
    for ((slot, _), spans) in &spans {
        // A frame of the ECG without a beat has no finding: there the device's own counts speak.
        if slot == "turbine" {
            let spans: Vec<_> = spans.iter().collect();
            missing +=
                spans.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].1 + 1)).sum::<u64>();
        }
    }
    (missing, twice)
}
