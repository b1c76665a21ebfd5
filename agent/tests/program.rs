//! The program itself: settings, processes, sockets and the disk, with a bundle that was accepted
//! earlier.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::store::Store;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::journal::{Accepted, Journal};
use lineside_bundle::{BuiltBundle, BundleFile, Digest, build};
use lineside_rules::{ShadowLimits, Verdict};
use lineside_trust::{KeyPair, RootSpec, Seen, sign_root};
use lineside_update::{Event, SlotState, Tally, Target, step};
use ring::rand::SystemRandom;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest that a run may take.
const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: usize = 60_003;

fn bundle() -> BuiltBundle {
    let text = "format = 1\nname = 'echo'\nversion = '1'\nalarm_output = 'alarm'\nwarm_up_readings = 9\n\
        [inputs.p]\nkey = 'k'\ntime = 't'\nfields = [{ name = 'x' }]\n\
        [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 6\nstride = 3\n\
        [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 5\n\
        [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 1e6\n\
        [outputs]\nx = { from = 'last' }\nalarm = { from = 'high' }\n\
        [fail_safe]\nalarm = true\n[trial]\nframes = 5\njudge_after = 2\n";
    build(BundleFile::parse(text).unwrap(), BTreeMap::new()).unwrap()
}

fn root() -> Vec<u8> {
    let random = SystemRandom::new();
    let key = || KeyPair::generate(&random).unwrap();
    let person = key();
    let spec = RootSpec {
        version: 1,
        expires: OffsetDateTime::now_utc() + time::Duration::days(1),
        root: (vec![person.public()], 1),
        releases: (vec![key().public()], 1),
        online: key().public(),
        director: key().public(),
    };
    sign_root(&spec, &[&person])
}

/// A device with recorded input and a bundle that was accepted while it was off.
fn device(folder: &Path) -> PathBuf {
    let device = folder.join("device");
    fs::create_dir(&device).unwrap();
    let file = "device = 'line-3'\nserver_http = 'http://127.0.0.1:1'\nmqtt_host = '127.0.0.1'\nmqtt_port = 1\nuser = 'line-3'\npassword = 'x'\n";
    fs::write(device.join("device.toml"), file).unwrap();
    fs::set_permissions(device.join("device.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(device.join("root.json"), root()).unwrap();
    let mut rows = "t,k,x\n".to_owned();
    for row in 0..ROWS {
        let (second, key, value) = (row % 60, row % 3, row / 3);
        rows += &format!("2014-01-18T00:00:{second:02}Z,k{key},{value}\n");
    }
    fs::write(folder.join("rows.csv"), rows).unwrap();
    let settings = "device_dir = 'device'\nstate_dir = 'state'\n\
        [slots.echo]\nsource = 'rows'\nsinks = ['log']\nqueue_readings_max = 200\n\
        [sources.rows]\nkind = 'file'\npaths = ['rows.csv']\npace = 'flat-out'\n\
        [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n\
        [limits]\ncommit_every_ms = 10\n";
    fs::write(folder.join("agent.toml"), settings).unwrap();
    let bundle = bundle();
    let store = Store::open(&folder.join("state")).unwrap();
    let blobs = Blobs::open(&folder.join("state")).unwrap();
    let place = |digest: &Digest, bytes: &[u8]| {
        assert!(blobs.receive(digest, bytes.len() as u64, bytes, &|| false).unwrap());
    };
    let release = bundle.release_id();
    place(&release.digest, &bundle.oci_manifest);
    bundle.blobs.iter().for_each(|(digest, bytes)| place(digest, bytes));
    let target = Target { release, number: 1, floor: 0 };
    let seen = |bytes: &[u8]| Some(Seen { version: 1, digest: Digest::of(bytes) });
    let accepted = Accepted {
        releases: seen(b"a list of releases"),
        assignment: seen(b"an assignment"),
        targets: BTreeMap::from([("echo".parse().unwrap(), target)]),
        ..Accepted::default()
    };
    Journal::open(store.database()).unwrap().accept(&accepted, &[], &[]).unwrap();
    folder.join("agent.toml")
}

/// Has the journal say that the release is committed: one on trial is given up after a few starts.
fn commit(folder: &Path) {
    let store = Store::open(&folder.join("state")).unwrap();
    let journal = Journal::open(store.database()).unwrap();
    let (slot, target) = journal.accepted().unwrap().targets.into_iter().next().unwrap();
    let release = target.release.digest;
    let events = [
        Event::Assigned { target, floor: 0 },
        Event::Downloaded { release, how: String::new() },
        Event::Staged {
            release,
            limits: Box::default(),
            shadow: Box::default(),
            policy: ShadowLimits::default(),
            took: String::new(),
        },
        Event::Consented { release },
        Event::Observed { release, seen: Tally::default(), verdict: Verdict::Passed },
    ];
    let step = |state, event| step(state, event, Duration::ZERO).0;
    let state = events.into_iter().fold(SlotState::default(), step);
    journal.write_slot(&slot, &state).unwrap();
}

fn start(settings: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lineside-agent"))
        .args(["run", "--until-drained", "--config"])
        .arg(settings)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("it does not end: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn check_findings(folder: &Path) {
    let text = fs::read_to_string(folder.join("findings.jsonl")).unwrap();
    let findings: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (failed, answered): (Vec<&Value>, Vec<&Value>) =
        findings.iter().partition(|finding| finding["fail_safe"] == true);
    // Only while the first release was being replayed had the slot none.
    assert!(failed.iter().all(|finding| finding["frame"].is_null()), "{failed:?}");
    let numbers: Vec<u64> = findings.iter().map(|f| f["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a line is missing or double");
    let ids: BTreeSet<&str> = answered.iter().map(|f| f["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), answered.len(), "a finding was given twice");
    // Windows of six begin at every third reading of a stream, but for the last three.
    assert_eq!(answered.len(), 3 * (ROWS / 3 / 3 - 1));
    for finding in answered {
        let frame = finding["frame"].as_u64().unwrap();
        assert_eq!(finding["outputs"]["x"], (frame * 3 + 5) as f64);
        assert_eq!(finding["release"], "echo v1");
        assert_eq!(finding["device"], "line-3");
        assert!(finding["time"].as_str().unwrap().starts_with("2014-01-18T00:00:"));
    }
}

#[test]
fn a_recording_is_answered_to_its_end_and_a_second_run_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = device(folder.path());
    let output = finish(start(&settings));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("lost 0, doubled 0"), "{said}");
    check_findings(folder.path());
    let before = fs::read(folder.path().join("findings.jsonl")).unwrap();
    let output = finish(start(&settings));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(folder.path().join("findings.jsonl")).unwrap(), before);
}

#[test]
fn for_programs_each_line_of_the_log_is_one_json_object_to_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = device(folder.path());
    let json = |arguments: &[&str]| {
        let program = Command::new(env!("CARGO_BIN_EXE_lineside-agent"))
            .args(arguments)
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let output = finish(program.unwrap());
        let said = String::from_utf8(output.stderr).unwrap();
        let line = |line: &str| -> Value {
            let said: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            let time = said["timestamp"].as_str().unwrap();
            OffsetDateTime::parse(time, &Rfc3339).unwrap();
            assert!(time.ends_with('Z'), "{line}");
            assert!(["ERROR", "WARN", "INFO"].contains(&said["level"].as_str().unwrap()), "{line}");
            assert!(said["target"].as_str().unwrap().starts_with("lineside_agent"), "{line}");
            assert!(said["message"].is_string(), "{line}");
            said
        };
        (output.status.success(), said.lines().map(line).collect::<Vec<Value>>())
    };
    let settings = settings.to_str().unwrap();
    let (done, said) = json(&["run", "--until-drained", "--config", settings]);
    let counts = said.iter().find(|it| it["message"].as_str().unwrap().contains("doubled 0"));
    assert!(done && counts.is_some_and(|it| it["slot"] == "echo"), "{said:?}");
    // What ends a program is a line like the others, in a worker as well.
    for refused in [&["run", "--config", "nowhere.toml"][..], &["worker"]] {
        let (done, said) = json(refused);
        assert!(!done && said.len() == 1 && said[0]["level"] == "ERROR", "{said:?}");
    }
}

#[test]
fn killed_at_any_moment_it_goes_on_where_frames_were_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let settings = device(folder.path());
    commit(folder.path());
    let lines = || {
        let text = fs::read(folder.path().join("findings.jsonl")).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    // While it starts, and each time that it has got on by some findings.
    let mut in_the_middle = 0;
    for round in 0..12 {
        let mut child = start(&settings);
        let (began, before) = (Instant::now(), lines());
        while round % 4 != 0 && lines() <= before && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "it gets no further than {before} findings");
            std::thread::sleep(Duration::from_millis(1));
        }
        in_the_middle += u32::from(child.try_wait().unwrap().is_none() && lines() > before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(in_the_middle >= 3, "it was through too early: {in_the_middle}");
    let output = finish(start(&settings));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("lost 0, doubled 0"), "{said}");
    check_findings(folder.path());
}

#[test]
fn what_keeps_it_from_starting_is_said_with_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let settings = device(folder.path());
    let holder = Store::open(&folder.path().join("state")).unwrap();
    let refused = |from: &str, to: &str, wanted: &str| {
        let text = fs::read_to_string(&settings).unwrap();
        let path = folder.path().join("other.toml");
        fs::write(&path, text.replace(from, to)).unwrap();
        let output = finish(start(&path));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused("pace", "paces", "paces");
    refused("'rows'\nsinks", "'row'\nsinks", "slots.echo.source");
    refused("", "", "another agent");
    drop(holder);
    // It has no history yet that would tell its name.
    refused("'device'", "'nowhere'", "lineside device add");
}
