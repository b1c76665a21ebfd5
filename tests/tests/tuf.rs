//! The repository that the server serves, followed by clients that are not ours and by the one that is.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "../tuf-client/tests/python/mod.rs"]
mod python;

use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, program, root};
use lineside_trust::{KeyPair, PublicKey, RootSpec, sign_root};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use time::{Duration, OffsetDateTime};

/// What python-tuf is, and what it needs.
const PYTHON_TUF: &[u8] = include_bytes!("../tuf-client/tests/agreement/requirements.txt");

/// What python-tuf trusts after a refresh, and the size of each file that it downloaded.
fn follow(fleet: &Fleet, paths: &[&str]) -> Value {
    let mut python = Command::new(python::python("tuf", PYTHON_TUF));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(root().join("tests/tests/follow.py"));
    python.arg(fleet.folder().join("python-tuf")).arg(fleet.folder().join("first-root.json"));
    let told =
        python::run("follow.py", python.arg(fleet.url()).arg(fleet.token().unwrap()).args(paths));
    serde_json::from_slice(&told).unwrap()
}

/// Follows it with our client, which has what it needs to be let in in the URL.
fn follow_ours(fleet: &Fleet, path: &str) -> u64 {
    let (metadata, files) = (fleet.folder().join("ours"), fleet.folder().join("our-files"));
    let base = fleet.url().replace("http://", &format!("http://admin:{}@", fleet.token().unwrap()));
    let ask = |arguments: &[&str]| {
        let mut client = Command::new(program("tuf-client"));
        client.arg("--metadata-dir").arg(&metadata).args(arguments);
        client.arg("--target-dir").arg(&files);
        client
    };
    fs::create_dir_all(&files).unwrap();
    if !metadata.exists() {
        fs::create_dir_all(&metadata).unwrap();
        let first = fleet.folder().join("first-root.json");
        let output = ask(&[]).arg("init").arg(first).output().unwrap();
        assert!(output.status.success(), "{}", complaint(&output));
    }
    let (metadata, targets) = (format!("{base}/tuf/metadata"), format!("{base}/tuf/targets"));
    let urls = ["--metadata-url", &metadata, "--target-base-url", &targets, "--target-name", path];
    let output = ask(&urls).arg("download").output().unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    let found = walk(&files);
    found.iter().map(|file| fs::metadata(file).unwrap().len()).max().unwrap()
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Replaces the root by one that lasts longer and is signed by the same person.
fn next_root(fleet: &Fleet) {
    fleet.json(&["keys", "online", "-o", "online.json"]).unwrap();
    let read = |path: &str| fs::read_to_string(fleet.folder().join(path)).unwrap();
    let key = |path: &str| KeyPair::from_pem(&read(path)).unwrap();
    let online: Value = serde_json::from_str(&read("online.json")).unwrap();
    let public = |name: &str| serde_json::from_value::<PublicKey>(online[name].clone()).unwrap();
    let (person, releaser) = (key("keys/root.pem"), key("keys/release-1.pem"));
    let spec = RootSpec {
        version: 2,
        expires: OffsetDateTime::now_utc() + Duration::days(900),
        root: (vec![person.public()], 1),
        releases: (vec![releaser.public()], 1),
        online: public("online"),
        director: public("director"),
    };
    fs::write(fleet.folder().join("keys/root.json"), sign_root(&spec, &[&person])).unwrap();
    fleet.json(&["keys", "publish"]).unwrap();
}

/// Has the server find its snapshot and timestamp half over.
fn age(fleet: &mut Fleet) {
    fleet.stop_server().unwrap();
    let database = fleet.folder().join("server/lineside.db");
    let update = "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); database.execute(\
        \"UPDATE document SET accepted_unix_ms = accepted_unix_ms - 8 * 86400000 \
        WHERE kind IN ('snapshot', 'timestamp')\"); database.commit()";
    python::run("sqlite3", Command::new("python3").args(["-c", update]).arg(database));
    fleet.start_server().unwrap();
}

#[test]
fn other_clients_follow_the_repository_through_releases_roots_and_renewals() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fs::copy(folder.path().join("keys/root.json"), folder.path().join("first-root.json")).unwrap();
    fleet.release("turbine", "1").unwrap();
    let first = follow(&fleet, &["turbine/1", "turbine/2"]);
    assert_eq!((&first["root"], &first["targets"]), (&json!(1), &json!(1)));
    let bytes = first["turbine/1"].as_u64().unwrap();
    assert!(bytes > 0 && first["turbine/2"].is_null(), "{first}");
    assert_eq!(follow_ours(&fleet, "turbine/1"), bytes);

    age(&mut fleet);
    let renewed = follow(&fleet, &[]);
    for role in ["timestamp", "snapshot"] {
        assert!(renewed[role].as_u64() > first[role].as_u64(), "{first} {renewed}");
    }
    assert_eq!(renewed["targets"], 1);

    next_root(&fleet);
    assert_eq!(follow(&fleet, &["turbine/1"])["root"], 2);
    fleet.release("turbine", "2").unwrap();
    let last = follow(&fleet, &["turbine/1", "turbine/2"]);
    assert_eq!((&last["root"], &last["targets"]), (&json!(2), &json!(2)));
    assert!(last["turbine/2"].as_u64() > Some(0), "{last}");
    assert!(follow_ours(&fleet, "turbine/2") > 0);

    // What the list says of releases that were withdrawn is ours alone, and disturbs nobody.
    fleet.json(&["release", "withdraw", "turbine/1"]).unwrap();
    let withdrawn = follow(&fleet, &["turbine/1", "turbine/2"]);
    assert_eq!(withdrawn["targets"], 3);
    assert!(withdrawn["turbine/1"].is_null() && !withdrawn["turbine/2"].is_null(), "{withdrawn}");
    assert!(follow_ours(&fleet, "turbine/2") > 0);
}
