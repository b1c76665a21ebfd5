//! A vendor with keys, bundles that echo, and a device that is installed from files.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![allow(dead_code)] // Not every test needs all of it.

pub mod mount;

use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::{Allowed, Pace, Spool};
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{BuiltBundle, BundleFile, build};
use lineside_trust::{
    AssignmentSpec, KeyPair, Listed, ReleasesDraft, RootSpec, SnapshotSpec, TimestampSpec,
    sign_assignment, sign_root, sign_snapshot, sign_timestamp,
};
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Body, Telemetry};
use ring::rand::SystemRandom;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// Longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds` gives something.
pub fn wait<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A bundle that answers with the last value of each window of six.
pub fn echo(version: &str, more: &str) -> BuiltBundle {
    echo_named("echo", version, more)
}

/// The same of another name.
pub fn echo_named(name: &str, version: &str, more: &str) -> BuiltBundle {
    let text = echo_text(version, more).replace("'echo'", &format!("'{name}'"));
    build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap()
}

/// The same with a check over `rows` readings of one stream, which takes its time to be replayed.
pub fn echo_with_check(version: &str, more: &str, rows: u64) -> BuiltBundle {
    let check = "[[checks]]\nname = 'long'\ninput = 'long.csv'\nexpected = 'long.jsonl'\n";
    let text = echo_text(version, &format!("{more}{check}"));
    let mut input = "t,k,x\n".to_owned();
    for row in 0..rows {
        let (hour, minute, second) = (row / 3600 % 24, row / 60 % 60, row % 60);
        let day = 1 + row / 86_400;
        input += &format!("2014-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z,a,{row}\n");
    }
    let mut expected = String::new();
    for frame in 0..(rows - 3) / 3 {
        let x = frame * 3 + 5;
        expected += &format!(
            "{{\"key\":\"a\",\"frame\":{frame},\"part\":0,\"outputs\":{{\"x\":{x},\"alarm\":false}}}}\n"
        );
    }
    let files = BTreeMap::from([
        ("long.csv".to_owned(), input.into_bytes()),
        ("long.jsonl".to_owned(), expected.into_bytes()),
    ]);
    build(BundleFile::parse(&text).unwrap(), files).unwrap()
}

/// The description of a bundle that answers with the last of each window; `more` is its end.
pub fn echo_text(version: &str, more: &str) -> String {
    format!(
        "format = 1\nname = 'echo'\nversion = '{version}'\nalarm_output = 'alarm'\n\
         [inputs.p]\nkey = 'k'\ntime = 't'\nfields = [{{ name = 'x' }}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 6\nstride = 3\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 5\n\
         [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 1e6\n\
         [outputs]\nx = {{ from = 'last' }}\nalarm = {{ from = 'high' }}\n\
         [fail_safe]\nalarm = true\n{more}"
    )
}

/// Who signs.
pub struct Vendor {
    pub person: KeyPair,
    pub releaser: KeyPair,
    pub director: KeyPair,
    pub online: KeyPair,
    pub root: Vec<u8>,
    /// How many snapshots and timestamps were signed.
    pub signed: Cell<u64>,
}

/// Metadata by its names on a mirror.
pub type Metadata = Vec<(String, Vec<u8>)>;

impl Vendor {
    pub fn new() -> Vendor {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        let (person, releaser, director, online) = (key(), key(), key(), key());
        let spec = RootSpec {
            version: 1,
            expires: in_days(300),
            root: (vec![person.public()], 1),
            releases: (vec![releaser.public()], 1),
            online: online.public(),
            director: director.public(),
        };
        let root = sign_root(&spec, &[&person]);
        Vendor { person, releaser, director, online, root, signed: Cell::new(0) }
    }

    /// The first list of releases, with these in it.
    pub fn list(&self, bundles: &[BuiltBundle]) -> Vec<u8> {
        let mut draft = ReleasesDraft::after(None);
        for bundle in bundles {
            draft.add(bundle.release_id(), None).unwrap();
        }
        draft.sign(in_days(200), &[&self.releaser])
    }

    /// The repository of a list of releases and of what roles have signed, newer than any before.
    pub fn metadata(&self, list: &[u8], roles: &[(&str, &[u8])]) -> Metadata {
        let version = self.signed.get() + 1;
        self.signed.set(version);
        let fresh = Fresh { version, expires: in_days(60), signed_at: OffsetDateTime::now_utc() };
        fresh.over(&self.online, list, roles)
    }

    /// An assignment of this release to the slot `echo` of `device`.
    pub fn assignment(
        &self,
        assigned: &BuiltBundle,
        version: u64,
        device: &str,
        expires: OffsetDateTime,
    ) -> Vec<u8> {
        self.assignment_of(&[("echo", assigned)], version, device, expires)
    }

    /// An assignment of these releases to the slots of `device`.
    pub fn assignment_of(
        &self,
        assigned: &[(&str, &BuiltBundle)],
        version: u64,
        device: &str,
        expires: OffsetDateTime,
    ) -> Vec<u8> {
        let slot =
            |(slot, release): &(&str, &BuiltBundle)| (slot.parse().unwrap(), release.release_id());
        let spec = AssignmentSpec {
            device: device.parse().unwrap(),
            version,
            expires,
            slots: assigned.iter().map(slot).collect(),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        };
        sign_assignment(&spec, &self.director)
    }

    /// Documents that release `bundles` and assign one of them to the slot `echo` of `device`.
    pub fn papers(
        &self,
        bundles: &[BuiltBundle],
        assigned: &BuiltBundle,
        version: u64,
        device: &str,
    ) -> Papers {
        self.papers_until(bundles, assigned, version, device, in_days(30))
    }

    /// As [`Vendor::papers`], with an assignment that expires then.
    pub fn papers_until(
        &self,
        bundles: &[BuiltBundle],
        assigned: &BuiltBundle,
        version: u64,
        device: &str,
        expires: OffsetDateTime,
    ) -> Papers {
        Papers {
            metadata: self.metadata(&self.list(bundles), &[]),
            assignment: self.assignment(assigned, version, device, expires),
            ..Papers::default()
        }
    }
}

/// What a snapshot and a timestamp over it say.
#[derive(Clone, Copy)]
pub struct Fresh {
    pub version: u64,
    pub expires: OffsetDateTime,
    pub signed_at: OffsetDateTime,
}

impl Fresh {
    /// The repository of a list of releases and of what roles have signed.
    pub fn over(&self, online: &KeyPair, list: &[u8], roles: &[(&str, &[u8])]) -> Metadata {
        let Fresh { version, expires, signed_at } = *self;
        let targets = [("targets", list)].into_iter().chain(roles.iter().copied());
        let targets: Vec<(&str, &[u8], Listed)> = targets
            .map(|(role, bytes)| (role, bytes, Listed::of("targets", bytes).unwrap()))
            .collect();
        let documents = targets.iter().map(|(role, _, listed)| ((*role).to_owned(), *listed));
        let spec = SnapshotSpec { version, expires, documents: documents.collect() };
        let snapshot = sign_snapshot(&spec, online);
        let listed = Listed::of("snapshot", &snapshot).unwrap();
        let spec = TimestampSpec { version, signed_at, expires, snapshot: listed };
        let mut metadata = vec![
            ("timestamp.json".to_owned(), sign_timestamp(&spec, online)),
            (format!("{version}.snapshot.json"), snapshot),
        ];
        metadata.extend(targets.into_iter().map(|(role, bytes, listed)| {
            (format!("{}.{role}.json", listed.version()), bytes.to_vec())
        }));
        metadata
    }
}

/// A day at midnight, so that documents signed twice are the same.
pub fn in_days(days: i64) -> OffsetDateTime {
    (OffsetDateTime::now_utc() + time::Duration::days(days)).replace_time(time::Time::MIDNIGHT)
}

/// A device named `line-3` with a slot `echo`, fed by a recording of three streams at real pace.
pub struct Device {
    pub folder: tempfile::TempDir,
    agent: Option<Child>,
}

impl Device {
    /// `rows` follow each other every five milliseconds.
    pub fn new(vendor: &Vendor, rows: usize) -> Device {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        fs::create_dir(&device).unwrap();
        let file = "device = 'line-3'\nserver_http = 'http://127.0.0.1:1'\nmqtt_host = '127.0.0.1'\n\
            mqtt_port = 1\nuser = 'line-3'\npassword = 'x'\n";
        fs::write(device.join("device.toml"), file).unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(device.join("device.toml"), mode).unwrap();
        fs::write(device.join("root.json"), &vendor.root).unwrap();
        let mut text = "t,k,x\n".to_owned();
        for row in 0..rows {
            let (ms, key, value) = (row * 5, row % 3, row / 3);
            let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
            let ms = ms % 1000;
            text +=
                &format!("2014-01-18T{hour:02}:{minute:02}:{second:02}.{ms:03}Z,k{key},{value}\n");
        }
        fs::write(folder.path().join("rows.csv"), text).unwrap();
        let settings = "device_dir = 'device'\nstate_dir = 'state'\n\
            [slots.echo]\nsource = 'rows'\nsinks = ['log']\nqueue_readings_max = 2000\n\
            [sources.rows]\nkind = 'file'\npaths = ['rows.csv']\npace = 'real'\n\
            [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n\
            [limits]\ncommit_every_ms = 10\n";
        fs::write(folder.path().join("agent.toml"), settings).unwrap();
        Device { folder, agent: None }
    }

    /// Starts the agent and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        wait("the agent answers", || self.status().filter(|status| status["running"] == true));
    }

    /// Starts the agent and does not wait for it.
    pub fn spawn(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("agent.log"))
            .unwrap();
        let mut agent = self.program();
        agent.arg("run").env("LINESIDE_FAILPOINTS", self.failpoints()).stderr(Stdio::from(log));
        self.agent = Some(agent.spawn().unwrap());
    }

    /// The folder in which a file arms a place of the agent to fail.
    pub fn failpoints(&self) -> PathBuf {
        self.folder.path().join("failpoints")
    }

    /// How the agent has ended; nothing while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut().unwrap().try_wait().unwrap()
    }

    /// Kills the agent with SIGKILL.
    pub fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Stops the agent as a terminal or a service manager does, which tell every process of the
    /// service, and waits until it has ended in order.
    pub fn stop(&mut self, signal: Signal) {
        let mut agent = self.agent.take().unwrap();
        let processes = [self.workers_of(agent.id()), vec![agent.id() as i32]].concat();
        for process in processes {
            // A worker may have ended meanwhile.
            let _ = kill_process(Pid::from_raw(process).unwrap(), signal);
        }
        let ended = agent.wait().unwrap();
        assert!(ended.success(), "the agent ended with {ended}");
    }

    /// The process number of the agent.
    pub fn process(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The process numbers of its workers.
    pub fn workers(&self) -> Vec<i32> {
        self.workers_of(self.process())
    }

    fn workers_of(&self, agent: u32) -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{agent}/task")).unwrap();
        let children = tasks.flatten().map(|task| task.path().join("children"));
        let children = children.filter_map(|path| fs::read_to_string(path).ok());
        children.flat_map(|text| numbers(&text)).collect()
    }

    /// `lineside-agent` in the device's folder.
    pub fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_lineside-agent"));
        program.current_dir(self.folder.path());
        program
    }

    /// What `status --json` says; nothing if it fails.
    pub fn status(&self) -> Option<Value> {
        let output = self.program().args(["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What `status --json` says of the slot.
    pub fn slot(&self) -> Value {
        self.status().map_or(Value::Null, |status| status["slots"]["echo"].clone())
    }

    /// Writes a parcel and has it installed.
    pub fn install(&self, papers: &Papers, bundles: &[BuiltBundle]) -> Output {
        let path = self.parcel(papers, bundles);
        self.program().arg("install").arg(path).output().unwrap()
    }

    /// Writes a parcel for this device.
    pub fn parcel(&self, papers: &Papers, bundles: &[BuiltBundle]) -> PathBuf {
        self.parcel_for(&[("line-3", papers)], bundles)
    }

    /// Writes a parcel for devices by their names.
    pub fn parcel_for(&self, papers: &[(&str, &Papers)], bundles: &[BuiltBundle]) -> PathBuf {
        let path = self.folder.path().join("parcel.tar");
        let papers =
            papers.iter().map(|(device, papers)| ((*device).to_owned(), (*papers).clone()));
        let file = fs::File::create(&path).unwrap();
        parcel::write_built(&papers.collect(), bundles, file).unwrap();
        path
    }

    /// What it has still to tell the server of this kind of event, in its order. It does not run.
    pub fn to_tell(&self, kind: u16) -> Vec<String> {
        let store = Store::look_into(&self.folder.path().join("state")).unwrap();
        let spool = Spool::open(store.database(), u64::MAX, u64::MAX).unwrap();
        let allowed = Allowed::all(&|_| Pace::Company);
        let Some(batch) = spool.waiting().batch(allowed).unwrap() else {
            return Vec::new();
        };
        let records = decode::<Telemetry>(&batch.message).unwrap().records.into_iter();
        let events = records.filter_map(|record| match record.read().unwrap() {
            Body::Event(event) if event.kind == kind => Some(event.text),
            _ => None,
        });
        events.collect()
    }

    /// The findings that the file has, in its order.
    pub fn findings(&self) -> Vec<Value> {
        read_findings(&self.folder.path().join("findings.jsonl"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended by itself.
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default();
            eprintln!("the agent said:\n{log}");
        }
    }
}

/// Finds that every frame of every stream was answered exactly once, without a gap.
pub fn check_each_frame_once(findings: &[Value]) {
    let mut frames: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding["frame"].is_u64()) {
        let frame = finding["frame"].as_u64().unwrap();
        assert_eq!(finding["outputs"]["x"], (frame * 3 + 5) as f64, "{finding}");
        frames.entry(finding["key"].as_str().unwrap()).or_default().push(frame);
    }
    assert_eq!(frames.len(), 3, "streams that were answered");
    for (key, frames) in frames {
        assert!(frames.is_sorted_by(|a, b| a + 1 == *b), "{key}: {frames:?}");
    }
}

fn read_findings(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may still be on its way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn numbers(text: &str) -> Vec<i32> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}
