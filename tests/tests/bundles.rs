//! The tool `lineside` on good and bad bundles, through the real program and the real skopeo.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::{build, complaint, lineside, root};
use std::path::{Path, PathBuf};
use std::process::Command;

fn turbine() -> PathBuf {
    root().join("examples/turbine")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const V3: [&str; 4] = [
    "version=3",
    "stages.judge.file=models/turbine-v3-wrong-unit.onnx",
    "stages.alarm.above=4.61235",
    "checks.0.expected=checks/january-v2.jsonl",
];

#[test]
fn a_model_that_answers_wrongly_is_refused_by_its_checks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v3.lsb");
    build(&turbine(), &V3, &file);
    let output = lineside(&["bundle", "check", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = complaint(&output);
    assert!(
        complaint.starts_with("lineside: turbine v3 does not pass: check january: "),
        "{complaint}"
    );
    assert!(complaint.contains("of frame 0 of \"R80711\" is"), "{complaint}");
}

#[test]
fn checks_recorded_from_a_wrong_model_pass_which_is_why_there_are_trials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v4.lsb");
    let source = turbine();
    let mut arguments =
        vec!["bundle", "build", text(&source), "-o", text(&file), "--record-checks"];
    for change in &V3 {
        arguments.extend(["--set", change]);
    }
    assert!(lineside(&arguments).status.success());
    assert!(lineside(&["bundle", "check", text(&file)]).status.success());
}

#[test]
fn a_damaged_or_truncated_bundle_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v1.lsb");
    build(&turbine(), &[], &file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let output = lineside(&["bundle", "check", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let said = complaint(&output);
    assert!(
        said.ends_with(
            "is no bundle: the archive is cut short or damaged: unexpected EOF during skip"
        ) || said.contains("is cut short or damaged"),
        "{said}"
    );

    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let said = complaint(&lineside(&["bundle", "check", text(&file)]));
    assert!(said.contains("is damaged: its bytes are sha256:"), "{said}");
}

#[test]
fn what_is_missing_or_misspelt_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.lsb");
    let source = turbine();
    for (change, words) in [
        ("stages.judge.file=models/none.onnx", "cannot read"),
        ("stages.judge.fil=x", "unknown field `fil`"),
        ("stages.judge.inputs.window=windw", "stage judge: input window: there is no stage windw"),
        ("stages.lost.plugin=nobody", "there is no plugin nobody: no plugins/nobody/Cargo.toml"),
        ("stages.window.stride=7", "stage window: stride = 7 must be 1 to rows = 6"),
    ] {
        let output =
            lineside(&["bundle", "build", text(&source), "-o", text(&file), "--set", change]);
        assert_eq!(output.status.code(), Some(1), "{change}");
        let said = complaint(&output);
        assert!(said.contains(words), "{change}: {said}");
        assert!(!file.exists());
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_stage_and_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.lsb");
    for (changes, words) in [
        (
            vec!["stages.window.rows=5", "stages.window.stride=5"],
            "stage judge: input window takes f32 [1, 6, 5], window is f32 [5, 5]",
        ),
        (
            vec!["stages.alarm.input=judge.scor"],
            "stage alarm: there is no judge.scor, only [judge.expected_power_kw, judge.score]",
        ),
        (
            vec!["outputs.score.from=window"],
            "output score: window is f32 [6, 5], one element is needed",
        ),
        (
            vec!["stages.lost.inputs.alarm=judge.score"],
            "stage lost: input alarm takes bool [1], judge.score is f32 [1]",
        ),
        (
            vec!["stages.lost.config.power_column=9"],
            "it refuses its settings: power_column = \"9\" must be 0 to 4",
        ),
    ] {
        build(&turbine(), &changes, &file);
        let said = complaint(&lineside(&["bundle", "check", text(&file)]));
        assert!(said.contains(words), "{changes:?}: {said}");
    }
}

#[test]
fn a_check_with_a_bad_row_names_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    for sub in ["models", "checks"] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
    }
    for path in ["models/turbine-v1.onnx", "checks/january-v1.jsonl", "bundle.toml"] {
        std::fs::copy(turbine().join(path), folder.path().join(path)).unwrap();
    }
    std::fs::create_dir_all(folder.path().join("plugins")).unwrap();
    let plugin = folder.path().join("plugins/lost-power.wasm");
    let source = root().join("plugins/lost-power");
    assert!(lineside(&["plugin", "build", text(&source), "-o", text(&plugin)]).status.success());
    let recording = std::fs::read_to_string(turbine().join("checks/january.csv")).unwrap();
    let good: Vec<&str> = recording.lines().collect();
    let check = |row: &str| {
        let mut rows = good.clone();
        rows[3] = row;
        std::fs::write(folder.path().join("checks/january.csv"), rows.join("\n")).unwrap();
        let file = folder.path().join("x.lsb");
        let change = ["stages.lost.plugin=plugins/lost-power.wasm"];
        build(folder.path(), &change, &file);
        complaint(&lineside(&["bundle", "check", text(&file)]))
    };
    for (row, words) in [
        (
            "R80736,2014-01-18T00:00Z,x,1,1,1,1",
            "checks/january.csv: line 4: column wind_speed_m_s: \"x\" is no number",
        ),
        (
            "R80736,2014-01-18T00:00Z,inf,1,1,1,1",
            "line 4: column wind_speed_m_s: inf is not finite",
        ),
        ("R80736,2014-01-18T00:00Z,1", "line 4: column power_kw is empty"),
    ] {
        let said = check(row);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn skopeo_inspects_and_copies_a_bundle_and_the_copy_still_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("turbine.lsb");
    let built = build(&turbine(), &[], &file);
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).output();
        let output = output.expect("skopeo is installed by cargo xtask test");
        assert!(output.status.success(), "{}", complaint(&output));
        output.stdout
    };
    let archive = format!("oci-archive:{}", text(&file));
    assert_eq!(skopeo(&["inspect", "--raw", &archive]), built.oci_manifest);
    let copy = folder.path().join("copy");
    skopeo(&["copy", "--quiet", &archive, &format!("oci:{}:1", text(&copy))]);
    let output = lineside(&["bundle", "check", text(&copy)]);
    assert!(output.status.success(), "{}", complaint(&output));
}

#[test]
fn json_is_printed_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("turbine.lsb");
    let built = build(&turbine(), &[], &file);
    for command in ["check", "show"] {
        let output = lineside(&["--json", "bundle", command, text(&file)]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["digest"], built.release_id().digest.to_string(), "{command}");
    }
}
