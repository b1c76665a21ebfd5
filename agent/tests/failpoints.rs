//! Every place at which the agent may fail, failing in every way, in the middle of what leads past it:
//! the old release runs or the new one, the update ends well after the restart, and no frame, finding
//! or report is lost or double.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/authority.rs"]
mod authority;
mod kit;
#[path = "kit/plant.rs"]
mod plant;
#[path = "kit/registry.rs"]
mod registry;

use kit::{Device, PATIENCE, Vendor, check_each_frame_once, echo_with_check, wait};
use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::{Allowed, Pace, Spool};
use lineside_bundle::BuiltBundle;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Body, Record, Telemetry, event};
use plant::{FINDINGS, Plant, SENSOR};
use registry::Registry;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MODES: [&str; 3] = ["error", "panic", "abort"];
/// An update answers in the shadow first, and is held until a person approves it.
const RULES: &str = "[trial]\nframes = 20\njudge_after = 5\n[shadow]\nframes = 20\ndecide = 'ask'\n\
    [limits]\nframe_ms = 60000\n";
/// Readings of a check, whose files are worth a delta.
const CHECK_ROWS: u64 = 1500;
/// Rows for each round; they follow each other every five milliseconds.
const ROWS: usize = 4000;

/// What leads past a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// An update of a device that runs.
    Update,
    /// The first start of a device.
    Fresh,
    /// A start that finds half a line in the file of findings.
    Start,
    /// A start that finds a damaged database, an empty one, or one from before the last update.
    Damaged,
    Empty,
    Behind,
    /// The file of findings reaches its bound.
    Rotation,
    /// The plant's broker and the server speak.
    Spoken,
    /// A device joins by a key of its own.
    Joins,
}

/// What leads past each place. One that is not named here has no test yet.
fn scene(place: &str) -> Scene {
    match place {
        "database.tables" | "database.open" | "store.database" | "store.key.write"
        | "store.key.sync" | "store.key.rename" | "sink.file.folder" => Scene::Fresh,
        "store.lock" | "database.whole" | "blobs.open" | "sink.file.open" | "sink.file.cut" => {
            Scene::Start
        }
        "store.aside" | "store.seed" | "store.told" => Scene::Damaged,
        "store.empty" => Scene::Empty,
        "store.caught-up" => Scene::Behind,
        "sink.file.rename" => Scene::Rotation,
        "blobs.append" | "blobs.begin" | "blobs.write" | "blobs.sync" | "blobs.rename"
        | "blobs.made" | "blobs.folder" | "blobs.settle" | "blobs.forget" | "blobs.read"
        | "blobs.collect" | "copy.write" | "copy.rename" | "journal.commit"
        | "journal.committed" | "ledger.commit" | "ledger.committed" | "spool.commit"
        | "spool.committed" | "sink.file.write" | "sink.file.sync" | "sink.file.synced" => {
            Scene::Update
        }
        "sink.mqtt.acknowledged"
        | "source.mqtt.acknowledge"
        | "session.ack"
        | "spool.ack"
        | "spool.acked" => Scene::Spoken,
        "identity.write" | "identity.sync" | "identity.rename" | "identity.folder"
        | "identity.remove" => Scene::Joins,
        _ => panic!("nothing in this test leads past {place}"),
    }
}

/// The sources of the agent: path, and the lines before the tests in it.
fn sources(folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path));
        } else if path.is_file() && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            files.push((path, code.map(str::to_owned).collect()));
        }
    }
    files
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The places that the sources have.
fn places() -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for (_, lines) in sources(&source()) {
        for part in lines.join("\n").split("failpoint::pass(\"").skip(1) {
            let (place, _) = part.split_once('"').unwrap();
            assert!(places.insert(place.to_owned()), "two places are named {place}");
        }
    }
    places
}

/// The rounds of this run. All of them take minutes: `cargo xtask bench crash` plays them. Otherwise
/// each place fails in one way, and each way has its turn.
fn rounds(wanted: &[Scene]) -> Vec<(String, &'static str)> {
    let all = std::env::var_os("LINESIDE_FAILPOINTS_ALL").is_some();
    let mut rounds = Vec::new();
    for (number, place) in places().into_iter().enumerate() {
        let here = wanted.contains(&scene(&place));
        let modes = MODES.iter().enumerate().filter(|(mode, _)| all || mode % 3 == number % 3);
        rounds.extend(modes.filter(|_| here).map(|(_, mode)| (place.clone(), *mode)));
    }
    rounds
}

/// What changes the disk; a line that does so has a place at most so many lines above it.
const CHANGES: [&str; 11] = [
    ".sync_all()",
    ".sync_data()",
    "sync_folder(",
    ".sync()",
    "fs::rename(",
    "disk.rename(",
    "disk.remove(",
    "disk.shorten(",
    ".write_all(",
    ".set_len(",
    ".commit()",
];
const LINES_ABOVE: usize = 3;
/// Files and lines without one: the disk itself, sockets and memory, what is given up if it does not work, and what
/// a person is told of who then asks again.
const WITHOUT: [(&str, &str); 26] = [
    ("api/packed.rs", "packer.write_all("),
    ("capture/firings.rs", ""),
    ("capture/note.rs", ""),
    ("capture/segments.rs", ""),
    ("cli.rs", ""),
    ("database/copy.rs", "let _ = self.disk.remove(&part);"),
    ("fleet/identity/https.rs", "self.stream.write_all("),
    ("medium.rs", ""),
    ("store/state.rs", "  transaction.commit()?;"),
    ("telemetry/spool/carried.rs", "  transaction.commit()?;"),
    ("telemetry/spool/waiting.rs", "  transaction.commit()?;"),
    ("update/consent/holds.rs", ""),
    ("update/disk.rs", ""),
    ("local.rs", "write_all("),
    ("worker/message.rs", "write_all("),
    ("worker/running.rs", "write_all("),
    ("worker/serving/answering.rs", "output.write_all("),
    ("worker/serving/link.rs", "stream.write_all("),
    ("sink/file.rs", "let _ = self.file.set_len(self.length);"),
    ("update/blobs.rs", "drop(self.disk.remove(&path))"),
    ("update/blobs.rs", "self.disk.remove(partial)"),
    ("update/blobs/make.rs", "let _ = self.disk.remove(&path);"),
    ("update/blobs/make.rs", "match self.disk.remove(path)"),
    ("update/blobs/claims.rs", "let _ = blobs.disk.remove("),
    ("update/blobs/receive.rs", "self.disk.shorten(path, trusted)"),
    ("update/limits.rs", "transaction.commit()?"),
];

#[test]
fn whatever_changes_the_disk_has_a_place_at_which_it_fails_in_a_test() {
    for place in places() {
        scene(&place);
    }
    let mut unused: BTreeSet<_> = WITHOUT.into();
    for (path, lines) in sources(&source()) {
        let name = path.strip_prefix(source()).unwrap().to_str().unwrap();
        for (at, line) in lines.iter().enumerate() {
            if !CHANGES.iter().any(|change| line.contains(change)) {
                continue;
            }
            let without = WITHOUT.iter().find(|(file, what)| *file == name && line.contains(what));
            if let Some(without) = without {
                unused.remove(without);
                continue;
            }
            let above = &lines[at.saturating_sub(LINES_ABOVE)..=at];
            assert!(
                above.iter().any(|line| line.contains("failpoint::pass(")),
                "{name} changes the disk and has no place at which a test lets it fail: {line}"
            );
        }
    }
    assert!(unused.is_empty(), "{unused:?} are no longer there");
}

/// A device, and what its vendor has for it.
struct House {
    vendor: Vendor,
    bundles: Vec<BuiltBundle>,
    registry: Registry,
    device: Device,
    /// Version of the last assignment.
    version: u64,
    /// What was committed, in its order.
    committed: Vec<String>,
    /// How often the agent was started again because it had ended, and how often when a place was
    /// armed last.
    restarts: u32,
    before: u32,
}

impl House {
    /// A device that lives through so many updates, each to a release of its own.
    fn new(updates: usize, settings: impl Fn(String) -> String) -> House {
        let vendor = Vendor::new();
        let device = Device::new(&vendor, ROWS * updates);
        let path = device.folder.path().join("agent.toml");
        fs::write(&path, settings(fs::read_to_string(&path).unwrap())).unwrap();
        let bundle =
            |version: u64| echo_with_check(&version.to_string(), RULES, CHECK_ROWS + 3 * version);
        let bundles: Vec<BuiltBundle> = (1..=updates as u64).map(bundle).collect();
        let registry = Registry::serve();
        registry.change(|shelves| {
            bundles.iter().for_each(|bundle| shelves.take(bundle));
            bundles.windows(2).for_each(|pair| shelves.delta(&pair[0], &pair[1]));
        });
        let path = device.folder.path().join("device/device.toml");
        let text = fs::read_to_string(&path).unwrap();
        let server = format!("'http://127.0.0.1:{}'", registry.port);
        fs::write(&path, text.replace("'http://127.0.0.1:1'", &server)).unwrap();
        let (committed, version, restarts, before) = (vec![], 0, 0, 0);
        House { vendor, bundles, registry, device, version, committed, restarts, before }
    }

    /// Has a place fail the next time that the agent comes by.
    fn arm(&mut self, place: &str, mode: &str) {
        fs::create_dir_all(self.device.failpoints()).unwrap();
        fs::write(self.device.failpoints().join(place), mode).unwrap();
        self.before = self.restarts;
    }

    /// Starts the agent and waits until it answers.
    fn start(&mut self) {
        self.device.spawn();
        self.answers();
    }

    /// Waits until the agent answers, and starts it again where it has ended, as the manager of a
    /// service does.
    fn answers(&mut self) -> Value {
        let began = Instant::now();
        // Asked before the agent listens for the first time, `status` would make what the agent is
        // to make.
        let listens = self.device.folder.path().join("state/agent.sock");
        loop {
            self.restart_if_ended();
            if !listens.exists() {
                std::thread::sleep(Duration::from_millis(2));
            } else if let Some(status) =
                self.device.status().filter(|status| status["running"] == true)
            {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not answer");
        }
    }

    fn restart_if_ended(&mut self) {
        if let Some(ended) = self.device.ended() {
            assert!(!ended.success(), "it has ended as if it had been told to");
            self.restarts += 1;
            self.device.spawn();
        }
    }

    /// Installs the next release until it is committed, starting the agent again where it ends, and
    /// sees that at any time the release before runs or this one.
    fn update(&mut self) {
        let next = &self.bundles[usize::try_from(self.version).unwrap()];
        self.version += 1;
        let (target, before) = (next.release_id().to_string(), self.committed.last().cloned());
        let papers = self.vendor.papers(&self.bundles, next, self.version, "line-3");
        // The documents come by hand, and everything else from the registry.
        let path = self.device.parcel(&papers, &[]);
        let mut installed = false;
        let began = Instant::now();
        loop {
            let status = self.answers();
            installed = installed || {
                let output = self.device.program().arg("install").arg(&path).output().unwrap();
                output.status.success()
            };
            let slot = &status["slots"]["echo"];
            if slot["phase"] == "held" {
                // It may be about to end; then it is asked again.
                self.device.program().args(["approve", "echo"]).output().unwrap();
            }
            let active = slot["active"].as_str().map(str::to_owned);
            let is_whole = active == before || active.as_ref() == Some(&target);
            assert!(is_whole, "{active:?} runs; it was {before:?}, {target} was on its way");
            let assignment = status["assignment"].as_u64().unwrap();
            assert!(assignment >= self.version - 1, "it has forgotten what it had: {assignment}");
            let ends = slot["phase"] == "idle" && slot["active"] == *target;
            if installed && ends && slot["answering"] == true {
                break;
            }
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{target} does not come to its end, installed {installed}: {slot}");
        }
        self.committed.push(target);
    }

    /// Waits until a place has failed, and the agent has been started again if that has ended it.
    fn meet(&mut self, place: &str, mode: &str) {
        let armed = self.device.failpoints().join(place);
        wait(&format!("somebody comes by {place}"), || (!armed.exists()).then_some(()));
        if mode == "abort" && self.restarts == self.before {
            wait("the agent is gone", || self.device.ended());
        }
        self.answers();
    }

    fn check_counts(&mut self) {
        let slot = &self.answers()["slots"]["echo"];
        let counts = &slot["counts"];
        assert_eq!((&counts["lost"], &counts["doubled"]), (&0.into(), &0.into()), "{slot}");
    }

    /// A sink that has failed tries again after a pause.
    fn wait_until_delivered(&mut self) {
        wait("all findings are delivered", || {
            let status = self.answers();
            status["waiting"].as_object()?.values().all(|count| *count == 0).then_some(())
        });
    }

    /// Ends the agent, and finds every finding and every report once.
    fn check_all(mut self, files: &[&str], mut told: BTreeMap<(u64, u64), Record>) {
        self.check_counts();
        self.wait_until_delivered();
        self.device.kill();
        let mut findings: Vec<Value> = Vec::new();
        for file in files {
            let text = fs::read_to_string(self.device.folder.path().join(file)).unwrap();
            findings.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        check_each_frame_once(&findings);
        let numbers: Vec<u64> =
            findings.iter().filter_map(|finding| finding["number"].as_u64()).collect();
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a line is missing or double");
        told.extend(spooled(&self.device.folder.path().join("state")));
        let committed = told.values().filter_map(|record| match record.read().unwrap() {
            Body::Event(event) if event.kind == event::COMMITTED => event.release,
            _ => None,
        });
        let names = committed.map(|release| format!("{} v{}", release.name, release.version));
        let told: Vec<String> = names.collect();
        // The last one may wait for the next start.
        let all_but_one = self.committed.len() - 1;
        assert!(told.len() >= all_but_one && self.committed.starts_with(&told), "told: {told:?}");
    }
}

/// The records that wait for the server, by start and number.
fn spooled(state: &Path) -> BTreeMap<(u64, u64), Record> {
    let store = Store::open(state).unwrap();
    let spool = Spool::open(store.database(), u64::MAX, u64::MAX).unwrap();
    let mut records = BTreeMap::new();
    let pace = |seen: bool| if seen { Pace::Wait } else { Pace::Company };
    loop {
        let pace = |key: &(u64, u64)| pace(records.contains_key(key));
        let Some(batch) = spool.waiting().batch(Allowed::all(&pace)).unwrap() else { break };
        let more = decode::<Telemetry>(&batch.message).unwrap().records;
        records.extend(more.into_iter().map(|record| ((record.boot, record.sequence), record)));
    }
    records
}

#[test]
fn an_update_ends_well_whatever_fails_in_the_middle_of_it() {
    let rounds = rounds(&[Scene::Update]);
    let mut house = House::new(rounds.len() + 1, |text| text);
    house.start();
    house.update();
    for (place, mode) in rounds {
        eprintln!("{place}: {mode}");
        if place == "blobs.settle" {
            house.arm("blobs.folder", "error");
        }
        house.arm(&place, mode);
        house.update();
        house.meet(&place, mode);
        house.check_counts();
        let ended = house.restarts > house.before;
        assert!(mode != "error" || !ended, "an error in {place} has ended the agent");
        if mode == "panic" {
            // It may be about to end; the next round is not to be blamed for it.
            house.device.kill();
            house.start();
        }
    }
    let (deltas, updates) = (house.registry.recipes_given(), house.committed.len() as u64);
    assert!(deltas + 1 >= updates, "{deltas} recipes were asked for in {updates} updates");
    house.check_all(&["findings.jsonl"], BTreeMap::new());
}

#[test]
fn a_start_that_fails_is_made_good_by_the_next_one() {
    for (place, mode) in rounds(&[Scene::Fresh, Scene::Start, Scene::Rotation]) {
        eprintln!("{place}: {mode}");
        let at = scene(&place);
        let bound = |text: String| text.replace(".jsonl'\n", ".jsonl'\nmib_max = 1\n");
        let mut house = House::new(2, bound);
        let findings = house.device.folder.path().join("findings.jsonl");
        let mut files = vec!["findings.jsonl"];
        if at == Scene::Fresh {
            house.arm(&place, mode);
        }
        house.start();
        house.update();
        if at != Scene::Fresh {
            house.device.kill();
            let mut file = OpenOptions::new().append(true).open(&findings).unwrap();
            if at == Scene::Rotation {
                // Somebody else's lines before ours, up to the bound.
                let line = format!("{{\"filling\":\"{}\"}}\n", "x".repeat(1000));
                let ours = fs::read_to_string(&findings).unwrap();
                fs::write(&findings, line.repeat((1 << 20) / line.len()) + &ours).unwrap();
                files = vec!["findings.jsonl.1", "findings.jsonl"];
            } else {
                file.write_all(b"{\"number\":").unwrap();
            }
            house.arm(&place, mode);
            house.start();
        }
        house.meet(&place, mode);
        house.update();
        house.check_all(&files, BTreeMap::new());
    }
}

#[test]
fn a_device_that_joins_has_one_key_and_a_certificate_for_it_whatever_fails_on_the_way() {
    for (place, mode) in rounds(&[Scene::Joins]) {
        eprintln!("{place}: {mode}");
        let server = authority::Server::start();
        server.accepts();
        let mut device = Device::new(&Vendor::new(), ROWS);
        let folder = device.folder.path().join("device");
        server.install(&folder);
        let armed = device.failpoints().join(&place);
        fs::create_dir_all(device.failpoints()).unwrap();
        fs::write(&armed, mode).unwrap();
        device.spawn();
        wait("the agent comes by", || (!armed.exists()).then_some(()));
        // As at a power cut, or when whoever reads of it in the log starts it again.
        device.kill();
        let key = || fs::read_to_string(folder.join("identity.pem")).ok();
        let before = key();
        device.start();
        let status = wait("it is accepted", || {
            let status = device.status()?;
            status["identity"]["certificate_ends"].is_string().then_some(status)
        });
        assert!(before.is_none() || before == key(), "{place}: a key is made once");
        assert!(!folder.join("join-token").exists(), "{place}");
        device.kill();
        let read = lineside_agent::fleet::Device::read(&folder).unwrap();
        let lineside_agent::fleet::Proof::Key(identity) = read.proof else { panic!() };
        assert!(identity.certificate().is_some(), "{place}: it is kept, and for this key");
        assert_eq!(status["identity"]["key"], identity.fingerprint().to_string());
    }
}

#[test]
fn a_state_that_is_lost_is_begun_anew_whatever_fails_in_the_middle_of_it() {
    for (place, mode) in rounds(&[Scene::Damaged, Scene::Empty, Scene::Behind]) {
        eprintln!("{place}: {mode}");
        let mut house = House::new(3, |text| text);
        let database = house.device.folder.path().join("state/state.redb");
        house.start();
        house.update();
        house.device.kill();
        let before = fs::read(&database).unwrap();
        house.start();
        house.update();
        house.device.kill();
        let harmed = match scene(&place) {
            Scene::Damaged => vec![7; before.len()],
            Scene::Behind => before,
            _ => Vec::new(),
        };
        fs::write(&database, harmed).unwrap();
        house.arm(&place, mode);
        house.start();
        house.meet(&place, mode);
        let active = house.answers()["slots"]["echo"]["active"].clone();
        assert_eq!(active, *house.committed.last().unwrap());
        // Where the new one could not be made, what is committed has run without it.
        house.device.kill();
        house.start();
        house.update();
        house.device.kill();
    }
}

#[test]
fn what_was_not_heard_is_said_again_and_known_again() {
    let rounds = rounds(&[Scene::Spoken]);
    let message = |row: usize| {
        let (second, ms) = (row / 200, row * 5 % 1000);
        let (minute, second) = (second / 60, second % 60);
        let (key, value) = (row % 3, row / 3);
        format!(
            "{{\"t\":\"2014-01-18T00:{minute:02}:{second:02}.{ms:03}Z\",\"k\":\"k{key}\",\"x\":{value}}}"
        )
    };
    let plant = Plant::new((0..ROWS * (rounds.len() + 1)).map(message));
    let port = plant.port;
    let end = format!("kind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = ");
    let mut house = House::new(rounds.len() + 1, |text| {
        let file = "kind = 'file'\npaths = ['rows.csv']\npace = 'real'\n";
        let text = text.replace(file, &format!("{end}'{SENSOR}'\n"));
        let text = text.replace("sinks = ['log']", "sinks = ['log', 'plant']");
        format!("{text}[sinks.plant]\n{end}'{FINDINGS}'\n")
    });
    let device = house.device.folder.path().join("device/device.toml");
    let text = fs::read_to_string(&device).unwrap();
    fs::write(&device, text.replace("mqtt_port = 1\n", &format!("mqtt_port = {port}\n"))).unwrap();
    house.start();
    house.update();
    for (place, mode) in rounds {
        eprintln!("{place}: {mode}");
        house.arm(&place, mode);
        if place.starts_with("source") {
            // An acknowledgement is lost only with its connection.
            house.meet(&place, mode);
            plant.cut();
        }
        house.update();
        house.meet(&place, mode);
        house.check_counts();
    }
    plant.hush();
    wait("all messages are read and all findings delivered", || {
        let waiting = house.device.status()?["waiting"]["plant"].as_u64();
        (waiting == Some(0) && plant.is_read()).then_some(())
    });
    let ids = |text: &str| {
        let finding: Value = serde_json::from_str(text).ok()?;
        finding["frame"].is_u64().then(|| finding["id"].as_str().unwrap().to_owned())
    };
    let text = fs::read_to_string(house.device.folder.path().join("findings.jsonl")).unwrap();
    let written: BTreeSet<_> = text.lines().filter_map(ids).collect();
    let heard: BTreeSet<_> = plant.kept().findings.iter().filter_map(|text| ids(text)).collect();
    assert_eq!(heard, written);
    let told = std::mem::take(&mut plant.kept().stored);
    house.check_all(&["findings.jsonl"], told);
}
