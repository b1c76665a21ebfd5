//! The walls of the house: who may depend on whom, and which crates touch nothing.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Each member of the workspace: its folder, its name, and what it and its tests use of the others.
const WALLS: [(&str, &str, &[&str], &[&str]); 29] = [
    (
        "agent",
        "lineside-agent",
        &[
            "lineside-bundle",
            "lineside-delta",
            "lineside-drift",
            "lineside-exposition",
            "lineside-identity",
            "lineside-oip",
            "lineside-rules",
            "lineside-runtime",
            "lineside-sketch",
            "lineside-trace",
            "lineside-trust",
            "lineside-update",
            "lineside-wire",
        ],
        // Itself, with the places at which tests make it fail.
        &["lineside-agent"],
    ),
    (
        "fleet-server",
        "lineside-server",
        &[
            "lineside-audit",
            "lineside-bundle",
            "lineside-delta",
            "lineside-drift",
            "lineside-exposition",
            "lineside-identity",
            "lineside-rollout",
            "lineside-rules",
            "lineside-sketch",
            "lineside-trace",
            "lineside-trust",
            "lineside-wire",
        ],
        &[],
    ),
    ("crates/audit", "lineside-audit", &[], &[]),
    ("crates/bundle", "lineside-bundle", &["lineside-rules"], &[]),
    (
        "crates/cli",
        "lineside-cli",
        &[
            "lineside-audit",
            "lineside-bundle",
            "lineside-delta",
            "lineside-drift",
            "lineside-rules",
            "lineside-runtime",
            "lineside-trust",
            "lineside-wire",
        ],
        &[],
    ),
    ("crates/convolution", "lineside-convolution", &[], &[]),
    ("crates/delta", "lineside-delta", &[], &[]),
    ("crates/drift", "lineside-drift", &["lineside-sketch"], &[]),
    ("crates/exposition", "lineside-exposition", &[], &[]),
    ("crates/identity", "lineside-identity", &["lineside-wire"], &[]),
    ("crates/oip", "lineside-oip", &[], &[]),
    ("crates/rollout", "lineside-rollout", &[], &[]),
    (
        "crates/rules",
        "lineside-rules",
        &["lineside-drift", "lineside-sketch", "lineside-wire"],
        &[],
    ),
    (
        "crates/runtime",
        "lineside-runtime",
        &["lineside-bundle", "lineside-convolution", "lineside-drift"],
        &[],
    ),
    ("crates/sketch", "lineside-sketch", &[], &[]),
    ("crates/trace", "lineside-trace", &[], &[]),
    ("crates/trust", "lineside-trust", &["lineside-bundle", "lineside-wire"], &[]),
    ("crates/update", "lineside-update", &["lineside-bundle", "lineside-rules"], &[]),
    ("crates/wire", "lineside-wire", &["lineside-sketch"], &[]),
    ("crates/xtask", "lineside-xtask", &[], &[]),
    ("plugins/sdk", "lineside-plugin", &[], &[]),
    ("plugins/ecg-beats", "ecg-beats", &["lineside-plugin"], &[]),
    ("plugins/lost-power", "lost-power", &["lineside-plugin"], &[]),
    (
        "tests",
        "lineside-tests",
        &[
            "lineside-bundle",
            "lineside-drift",
            "lineside-rules",
            "lineside-runtime",
            "lineside-trust",
        ],
        &[],
    ),
    ("tests/bits-plugin", "bits-plugin", &["lineside-plugin"], &[]),
    ("tests/evil-plugin", "evil-plugin", &["lineside-plugin"], &[]),
    ("tests/gain-plugin", "gain-plugin", &["lineside-plugin"], &[]),
    (
        "tests/hostile",
        "lineside-hostile",
        &[
            "lineside-bundle",
            "lineside-delta",
            "lineside-identity",
            "lineside-oip",
            "lineside-runtime",
            "lineside-sketch",
            "lineside-trust",
            "lineside-update",
            "lineside-wire",
        ],
        &[],
    ),
    ("tests/tuf-client", "lineside-tuf-client", &["lineside-trust"], &[]),
];

/// Crates that open no socket and no file, read no clock and draw no random number.
const PURE: [&str; 13] = [
    "wire",
    "bundle",
    "trust",
    "identity",
    "update",
    "rollout",
    "delta",
    "drift",
    "sketch",
    "rules",
    "oip",
    "exposition",
    "audit",
];
/// The libraries that they may use: such as take bytes and numbers and give values.
const COMPUTING: [&str; 23] = [
    "base64",
    "half",
    "libm",
    "pem-rfc7468",
    "percent-encoding",
    "postcard",
    "rcgen",
    "ring",
    "rustls-pki-types",
    "rustls-webpki",
    "serde",
    "serde_json",
    "sigstore-crypto",
    "sigstore-tuf",
    "sigstore-types",
    "tar",
    "thiserror",
    "time",
    "toml",
    "utoipa",
    "x509-parser",
    "zeroize",
    "zstd-safe",
];
/// Rooms of the agent that only `daemon` puts together.
const ROOMS: [&str; 6] = ["source", "worker", "sink", "telemetry", "update", "fleet"];

/// The folders that the workspace's manifest names.
fn members() -> BTreeSet<PathBuf> {
    let workspace = workspace();
    let list = |key: &str| {
        let list = workspace.get(key).and_then(Value::as_array).into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut folders = BTreeSet::new();
    for pattern in list("members") {
        match pattern.strip_suffix("/*") {
            Some(parent) => {
                let entries = std::fs::read_dir(root().join(parent)).unwrap();
                folders.extend(entries.map(|entry| entry.unwrap().path()));
            }
            None => folders.extend([root().join(pattern)]),
        }
    }
    for excluded in list("exclude") {
        folders.remove(&root().join(excluded));
    }
    folders
}

fn workspace() -> Table {
    let manifest = manifest(&root());
    manifest["workspace"].as_table().unwrap().clone()
}

fn manifest(folder: &Path) -> Table {
    read(&folder.join("Cargo.toml")).parse().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|_| panic!("{}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The tables of a manifest with dependencies of these kinds, those of single targets among them.
fn tables<'a>(manifest: &'a Table, kinds: &[&str]) -> Vec<&'a Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let places = [manifest].into_iter().chain(targets.filter_map(Value::as_table));
    places.flat_map(|place| kinds.iter().filter_map(|kind| place.get(*kind)?.as_table())).collect()
}

/// The packages that a manifest depends on, by their own names whatever they are called there.
fn packages(manifest: &Table, kinds: &[&str]) -> BTreeSet<String> {
    let workspace = workspace();
    let shared = workspace["dependencies"].as_table().unwrap();
    let entries = tables(manifest, kinds).into_iter().flatten();
    let package = |(name, value): (&String, &Value)| {
        let here = value.get("package");
        let there = || shared.get(name).and_then(|value| value.get("package"));
        let package = here.or_else(there).and_then(Value::as_str);
        package.unwrap_or(name).to_owned()
    };
    entries.map(package).collect()
}

/// The code of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn everybody_uses_of_the_others_what_the_plan_allows_and_nothing_else() {
    let planned: BTreeSet<PathBuf> = WALLS.iter().map(|(folder, ..)| root().join(folder)).collect();
    assert_eq!(members(), planned, "the workspace has other members than the plan");
    let ours: BTreeSet<&str> = WALLS.iter().map(|(_, name, ..)| *name).collect();
    for (folder, name, uses, tests_use) in WALLS {
        let manifest = manifest(&root().join(folder));
        assert_eq!(manifest["package"]["name"].as_str(), Some(name), "{folder}");
        let used = |kinds: &[&str]| {
            let mut packages = packages(&manifest, kinds);
            packages.retain(|package| ours.contains(package.as_str()));
            packages
        };
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(used(&["dependencies", "build-dependencies"]), set(uses), "{name}");
        assert_eq!(used(&["dev-dependencies"]), set(tests_use), "the tests of {name}");
    }
}

#[test]
fn no_device_has_the_places_at_which_tests_make_the_agent_fail() {
    let agent = manifest(&root().join("agent"));
    let features = agent["features"].as_table().unwrap();
    assert_eq!(features.keys().collect::<Vec<_>>(), ["failpoints"], "one is on by default");
    // Whoever else used the agent could turn them on: the plan lets nobody but its own tests.
    let others = WALLS.iter().filter(|(_, _, uses, _)| uses.contains(&"lineside-agent"));
    assert_eq!(others.count(), 0);
}

#[test]
fn plugins_use_the_sdk_and_nothing_else() {
    let plugins = WALLS.iter().filter(|(_, _, uses, _)| *uses == ["lineside-plugin"]);
    let folders: Vec<&str> = plugins.map(|(folder, ..)| *folder).collect();
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let packages = packages(&manifest(&root().join(folder)), &["dependencies"]);
        assert_eq!(packages, BTreeSet::from(["lineside-plugin".to_owned()]), "{folder}");
    }
}

#[test]
fn renamed_dependencies_and_those_of_single_targets_are_seen() {
    let manifest: Table = "[dependencies]\nplain = '1'\n\
        alias = { package = 'lineside-agent', path = '../agent' }\n\
        rumqttc.workspace = true\n\
        [target.'cfg(unix)'.dependencies]\nhidden = '1'\n\
        [target.x86_64-unknown-linux-gnu.dev-dependencies]\nonly-in-tests = '1'\n"
        .parse()
        .unwrap();
    let names = |kinds: &[&str]| packages(&manifest, kinds).into_iter().collect::<Vec<_>>();
    assert_eq!(names(&["dependencies"]), ["hidden", "lineside-agent", "plain", "rumqttc-next"]);
    assert_eq!(names(&["dev-dependencies"]), ["only-in-tests"]);
}

#[test]
fn every_member_takes_versions_and_lints_from_the_workspace() {
    for folder in members() {
        let manifest = manifest(&folder);
        let at = folder.display();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{at}");
        let kinds = ["dependencies", "build-dependencies", "dev-dependencies"];
        for (name, value) in tables(&manifest, &kinds).into_iter().flatten() {
            let shared = value.get("workspace").and_then(Value::as_bool);
            assert_eq!(shared, Some(true), "{at}: {name} has a version of its own");
        }
    }
}

#[test]
fn pure_crates_touch_no_file_socket_clock_or_chance() {
    let forbidden = [
        "fs::",
        "{fs",
        "net::",
        "{net",
        "process::",
        "env::",
        "std::os",
        "Instant",
        "SystemTime",
        "now_utc",
        "now_local",
        "tokio",
        "SystemRandom",
        "thread_rng",
        "rand::rng",
        "File::",
    ];
    for name in PURE {
        let folder = root().join("crates").join(name);
        let mut strangers = packages(&manifest(&folder), &["dependencies", "build-dependencies"]);
        strangers.retain(|package| {
            !COMPUTING.contains(&package.as_str()) && !package.starts_with("lineside-")
        });
        assert!(strangers.is_empty(), "crates/{name} depends on {strangers:?}");
        for file in sources(&folder.join("src")) {
            let code = code(&file);
            for word in forbidden {
                assert!(!code.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn the_runtime_knows_no_network() {
    for file in sources(&root().join("crates/runtime/src")) {
        let code = code(&file);
        for word in ["std::net", "tokio", "ureq", "rumqttc"] {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn only_the_daemon_knows_all_rooms_of_the_agent_and_only_the_command_line_the_daemon() {
    let source = root().join("agent/src");
    let mut known: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in sources(&source) {
        let room = file.strip_prefix(&source).unwrap().components().next().unwrap();
        let room = room.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let code = code(&file);
        let names = |name: &&str| {
            code.contains(&format!("crate::{name}"))
                || code.contains(&format!("lineside_agent::{name}"))
        };
        let all = ROOMS.into_iter().chain(["daemon"]);
        known.entry(room).or_default().extend(all.filter(names));
    }
    for room in ROOMS {
        assert!(known.contains_key(room), "the agent has no room {room} any more");
        assert!(known["daemon"].contains(room), "the daemon does not know {room}");
    }
    for (name, others) in &known {
        let knows_all = ROOMS.iter().all(|room| others.contains(room) || room == name);
        assert_eq!(knows_all, name == "daemon", "{name} knows {others:?}");
        let may_start = ["cli", "daemon", "main"].contains(&name.as_str());
        assert!(!others.contains("daemon") || may_start, "{name} knows the daemon");
    }
}

/// Where the agent starts tasks and threads, and why the end of one is noticed or does not matter.
/// Whatever goes on for ever is started by the daemon, which watches it.
const STARTS: [(&str, &str); 20] = [
    ("api/listen.rs", "one for each connection, whose client asks again"),
    ("capture/recorder.rs", "what it does not take is counted"),
    ("daemon/slots.rs", "a recording says when it has ended"),
    ("daemon/watched.rs", "it is what watches"),
    ("fleet/session.rs", "the session ends with its connection; questions are asked again"),
    ("ledger/door.rs", "the daemon watches whether the ledger is closed"),
    ("local.rs", "one for each visitor, who asks again"),
    ("sink/mqtt.rs", "the sink hears of it, and begins anew"),
    ("source/mqtt.rs", "the source hears of it, and begins anew"),
    ("update/driver.rs", "the drivers of the slots end with it, and these are watched"),
    ("update/job.rs", "the slot is told whatever becomes of a job"),
    ("update/parcel.rs", "who reads a file waits for it"),
    ("worker/captured.rs", "one for each question; without an answer nothing is captured"),
    ("worker/commit.rs", "the slot waits for it"),
    ("worker/process.rs", "who wants a worker hears that there is none"),
    ("worker/running.rs", "one for each worker, whose slot hears of its end"),
    ("worker/serve.rs", "the worker itself"),
    ("worker/serving/keep.rs", "who wants a release served hears that it is not"),
    ("worker/serving/link.rs", "one for each worker, and who serves hears of its end"),
    ("worker/task.rs", "the slot, which the daemon watches"),
];

#[test]
fn what_goes_on_for_ever_in_the_agent_is_watched() {
    let source = root().join("agent/src");
    let starts = |file: &PathBuf| {
        let code = code(file);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        ["tokio::spawn(", "runtime.spawn(", "thread::spawn(", "thread::Builder"]
            .iter()
            .any(|start| code.contains(start))
    };
    let found: BTreeSet<String> = sources(&source)
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests"))
        .filter(starts)
        .map(|file| file.strip_prefix(&source).unwrap().to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = STARTS.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, known, "is it watched?");
}

#[test]
fn files_are_named_for_their_subject() {
    for file in sources(&root()) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for vague in ["utils", "util", "helpers", "helper", "manager", "common", "misc", "types"] {
            assert_ne!(name, vague, "{}", file.display());
        }
    }
}
