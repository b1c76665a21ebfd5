//! The server as a registry for tools that are not ours: oras, and skopeo beside it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "../tuf-client/tests/python/mod.rs"]
mod python;

use lineside_bundle::Digest;
use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, examples, lineside, root};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What oras is, and what it needs.
const ORAS: &[u8] = include_bytes!("registry.txt");

/// Has oras do something with the server's registry.
fn oras(fleet: &Fleet, arguments: &[&str]) -> Value {
    let mut python = Command::new(python::python("oras", ORAS));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(root().join("tests/tests/registry.py"));
    python.arg(fleet.url().trim_start_matches("http://")).arg(fleet.token().unwrap());
    let told = python::run(arguments[0], python.args(arguments));
    serde_json::from_slice(&told).unwrap()
}

fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo").args(arguments).output();
    let output = output.expect("skopeo is installed by cargo xtask test");
    assert!(output.status.success(), "{}", complaint(&output));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Unpacks a bundle as the OCI image layout that it is.
fn unpacked(bundle: &Path, folder: PathBuf) -> PathBuf {
    fs::create_dir(&folder).unwrap();
    let tar = Command::new("tar").arg("xf").arg(bundle).arg("-C").arg(&folder).status();
    assert!(tar.unwrap().success());
    folder
}

fn manifest(layout: &Path, digest: &Value) -> Vec<u8> {
    let digest: Digest = digest.as_str().unwrap().parse().unwrap();
    fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap()
}

#[test]
fn what_another_tool_pushes_in_pieces_is_released_runs_on_a_device_and_is_pulled_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    let bundle = examples::build("turbine", "1", folder.path()).unwrap();
    let here = unpacked(&bundle, folder.path().join("here"));
    let pushed = oras(&fleet, &["push", text(&here), "turbine", "1"]);
    // Once more, when everything is there.
    assert_eq!(oras(&fleet, &["push", text(&here), "turbine", "1"]), pushed);
    let signed = fleet.json(&["release", text(&bundle)]).unwrap();
    assert_eq!(signed["digest"], pushed, "the release is another than what was pushed");

    let recording = root().join("examples/turbine/recordings/reference.csv");
    let settings = format!(
        "[slots.turbine]\nsource = 'scada'\n\
         [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n",
        recording.display()
    );
    fleet.add_device("mill", &settings).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/1").unwrap();
    let stays =
        |device: &Value| (device["slots"]["turbine"]["active"]["version"] == "1").then_some(());
    fleet.wait_for("mill", "what oras has pushed stays", stays).unwrap();

    let (ours, theirs) = (folder.path().join("by-oras"), folder.path().join("by-skopeo"));
    assert_eq!(oras(&fleet, &["pull", "turbine", "1", text(&ours)]), json!(["1"]));
    let at_server = format!("docker://{}/turbine:1", fleet.url().trim_start_matches("http://"));
    let credentials = format!("admin:{}", fleet.token().unwrap());
    let from = ["copy", "--quiet", "--src-tls-verify=false", "--src-creds", &credentials];
    skopeo(&[&from[..], &[&at_server, &format!("oci:{}:1", text(&theirs))]].concat());
    for layout in [&ours, &theirs] {
        assert_eq!(manifest(layout, &pushed), manifest(&here, &pushed));
        let output = lineside(&["bundle", "check", text(layout)]);
        assert!(output.status.success(), "{}", complaint(&output));
    }
}

#[test]
fn an_upload_that_broke_off_is_gone_on_with_and_a_blob_is_pulled_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(folder.path()).unwrap();
    let model = root().join("examples/ecg/models/ecg-v1.onnx");
    let bytes = fs::read(&model).unwrap();
    let told = oras(&fleet, &["break_off", "ecg", text(&model)]);
    let came = told["came"].as_u64().unwrap();
    assert!(came > 0 && came < bytes.len() as u64, "{came} of {} bytes", bytes.len());
    assert_eq!(told["digest"], Digest::of(&bytes).to_string());
    let made = folder.path().join("made");
    let digest = told["digest"].as_str().unwrap();
    assert_eq!(oras(&fleet, &["parts", "ecg", digest, text(&made)]), bytes.len());
    assert_eq!(fs::read(made).unwrap(), bytes);
}

#[test]
fn a_note_of_another_tool_is_listed_beside_the_deltas_and_goes_and_a_release_stays() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    let signed = fleet.release("turbine", "2").unwrap();
    fleet.wait_for_delta(&signed).unwrap();
    let digest = signed["digest"].as_str().unwrap();
    let layout = unpacked(&folder.path().join("turbine-v2.lsb"), folder.path().join("turbine-v2"));
    let size = manifest(&layout, &signed["digest"]).len().to_string();
    let file = folder.path().join("note.txt");
    fs::write(&file, "seen in the mill").unwrap();
    let about = oras(&fleet, &["note", "turbine", "note", digest, &size, text(&file)]);
    assert_eq!(about, digest);

    let types = || {
        let index = oras(&fleet, &["referrers", "turbine", digest]);
        let listed = index["manifests"].as_array().unwrap();
        let mut types: Vec<_> =
            listed.iter().map(|one| one["artifactType"].as_str().unwrap().to_owned()).collect();
        types.sort();
        types
    };
    const DELTA: &str = "application/vnd.lineside.delta.v1";
    // An artifact without a type has that of its configuration, and oras has none.
    assert_eq!(types(), [DELTA, "application/vnd.unknown.config.v1+json"]);
    let read = oras(&fleet, &["read", "turbine", "note", text(&folder.path().join("read"))]);
    assert_eq!(read, json!(["seen in the mill"]));

    // What the desk has signed can be pulled by its version, which it did not push as a tag.
    let pulled = folder.path().join("pulled");
    let tags = oras(&fleet, &["pull", "turbine", "2", text(&pulled)]);
    assert_eq!(tags, json!(["1", "2", "note"]));
    assert_eq!(manifest(&pulled, &signed["digest"]), manifest(&layout, &signed["digest"]));

    assert_eq!(oras(&fleet, &["delete", "turbine", "note"]), true);
    assert_eq!(types(), [DELTA]);
    let refused = oras(&fleet, &["delete", "turbine", "2"]);
    let words = "lineside release withdraw turbine/2";
    assert!(refused.as_str().unwrap().contains(words), "{refused}");
    assert_eq!(oras(&fleet, &["delete", "turbine", "note"]), false, "it is gone already");
}
