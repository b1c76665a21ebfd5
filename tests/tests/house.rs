//! The walls of the house: who may depend on whom, and which crates touch nothing.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::Table;

/// Crates that open no socket and no file, read no clock and draw no random number.
const PURE: [&str; 6] = ["wire", "bundle", "trust", "update", "sketch", "rules"];
/// Programs: they use the crates, nobody uses them.
const PROGRAMS: [&str; 5] =
    ["lineside-agent", "lineside-server", "lineside-cli", "lineside-xtask", "lineside-tests"];

fn members() -> Vec<PathBuf> {
    let manifest: Table = read(&root().join("Cargo.toml")).parse().unwrap();
    let patterns = manifest["workspace"]["members"].as_array().unwrap();
    let mut folders = Vec::new();
    for pattern in patterns.iter().map(|pattern| pattern.as_str().unwrap()) {
        match pattern.strip_suffix("/*") {
            Some(parent) => {
                let entries = std::fs::read_dir(root().join(parent)).unwrap();
                folders.extend(entries.map(|entry| entry.unwrap().path()));
            }
            None => folders.push(root().join(pattern)),
        }
    }
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    assert!(folders.len() > 8, "the workspace has lost its members");
    folders
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn dependencies(folder: &Path) -> (String, BTreeSet<String>) {
    let manifest: Table = read(&folder.join("Cargo.toml")).parse().unwrap();
    let name = manifest["package"]["name"].as_str().unwrap().to_owned();
    let tables = ["dependencies", "build-dependencies", "dev-dependencies"];
    let names = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    (name, names.flat_map(|table| table.keys().cloned()).collect())
}

/// The code of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nobody_depends_on_a_program() {
    for folder in members() {
        let (name, dependencies) = dependencies(&folder);
        for program in PROGRAMS {
            assert!(!dependencies.contains(program), "{name} depends on the program {program}");
        }
    }
}

#[test]
fn every_member_takes_versions_and_lints_from_the_workspace() {
    for folder in members() {
        let manifest: Table = read(&folder.join("Cargo.toml")).parse().unwrap();
        let at = folder.display();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{at}");
        for table in ["dependencies", "dev-dependencies"] {
            let table = manifest.get(table).and_then(|table| table.as_table());
            for (name, value) in table.into_iter().flatten() {
                let shared = value.get("workspace").and_then(|shared| shared.as_bool());
                assert_eq!(shared, Some(true), "{at}: {name} has a version of its own");
            }
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
    let strangers = ["tokio", "rumqttc", "rmqtt", "axum", "ureq", "redb", "sea-orm", "rustix"];
    for name in PURE {
        let folder = root().join("crates").join(name);
        if !folder.exists() {
            continue;
        }
        let (_, dependencies) = dependencies(&folder);
        for stranger in strangers {
            assert!(!dependencies.contains(stranger), "crates/{name} depends on {stranger}");
        }
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
fn files_are_named_for_their_subject() {
    for file in sources(&root()) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for vague in ["utils", "util", "helpers", "helper", "manager", "common", "misc", "types"] {
            assert_ne!(name, vague, "{}", file.display());
        }
    }
}
