//! The examples' answers against the reference runtime's, over whole recordings.
//!
//! The replayer compares them: the one built beside this test, or, line by line, the command in
//! `LINESIDE_REPLAYER`, which may be an emulator's for another processor.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{BuiltBundle, Tolerance, archive};
use lineside_runtime::{
    ExpectedFinding, LoadOptions, MemoryFiles, Part, Pipeline, Recording, Sequencer, Value,
};
use lineside_tests::{complaint, examples, lineside, program, root};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How far an answer may be off by the demo data's own README: scores and probabilities, and kilowatts.
const NUMBERS: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };
const KILOWATTS: Tolerance = Tolerance { absolute: 1e-2, relative: 0.0 };

/// Readings of the plugin that computes what processors disagree about.
const ROWS: i32 = 640;

fn replayer() -> Command {
    let words = std::env::var("LINESIDE_REPLAYER").unwrap_or_default();
    let mut words = words.lines();
    let first = words.next().map_or_else(|| program("lineside-replay"), PathBuf::from);
    let mut command = Command::new(first);
    command.args(words);
    command
}

/// Lets the replayer compare a whole recording of `example` with `expected`.
fn replay(
    bundle: &Path,
    example: &str,
    recording: &str,
    expected: &[ExpectedFinding],
    arguments: &[&str],
) -> Output {
    let lines = expected.iter().map(|finding| serde_json::to_string(finding).unwrap() + "\n");
    let file = bundle.with_extension(format!("{recording}.jsonl"));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let recording = root().join(format!("examples/{example}/recordings/{recording}.csv"));
    replayer().args(arguments).arg(bundle).arg(recording).arg(file).output().unwrap()
}

fn assert_right(output: &Output, findings: usize) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", complaint(output));
    assert!(said.contains(&format!(": {findings} findings, ")), "{said}");
    println!("{}", said.trim_end());
}

fn read(bundle: &Path) -> BuiltBundle {
    archive::read(BufReader::new(File::open(bundle).unwrap())).unwrap()
}

/// Runs a recording through a bundle here; findings by key, frame and place within the frame.
fn predict(
    bundle: &BuiltBundle,
    recording: &Path,
    options: &LoadOptions,
) -> Vec<(String, u64, u64, Part)> {
    let mut pipeline = Pipeline::load(&bundle.manifest, &MemoryFiles(bundle), options).unwrap();
    let file = BufReader::new(File::open(recording).unwrap());
    let mut sequencer = Sequencer::default();
    let mut outcomes = Vec::new();
    for row in Recording::open(bundle.manifest.bundle.port().1, file).unwrap() {
        outcomes.extend(pipeline.push(&sequencer.accept(row.unwrap()).unwrap()));
    }
    outcomes.extend(pipeline.finish());
    let mut found = Vec::new();
    for outcome in outcomes {
        for (place, part) in outcome.result.unwrap().into_iter().enumerate() {
            found.push((outcome.key.clone(), outcome.frame, place as u64, part));
        }
    }
    found
}

fn lines(path: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(root().join("examples").join(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tolerance(bundle: &Path) -> BTreeMap<String, Tolerance> {
    read(bundle).manifest.bundle.checks[0].tolerance.clone()
}

fn outputs<const N: usize>(outputs: [(&str, serde_json::Value); N]) -> BTreeMap<String, Value> {
    outputs.into_iter().map(|(name, v)| (name.into(), serde_json::from_value(v).unwrap())).collect()
}

/// What the reference runtime says of every beat. It was not asked in which frame a beat is found:
/// that is the plugin's doing, and the same on every machine.
fn beats(bundle: &Path, version: &str) -> Vec<ExpectedFinding> {
    let recording = root().join("examples/ecg/recordings/excerpt.csv");
    let found = predict(&read(bundle), &recording, &LoadOptions::default());
    let expected = lines("ecg/expected/excerpt.jsonl");
    assert_eq!((found.len(), expected.len()), (502, 502));
    let beat = |((key, frame, part, _), expected): ((_, _, _, Part), &serde_json::Value)| {
        let probability = expected[version].as_f64().unwrap();
        let outputs = outputs([
            ("sample", expected["sample"].clone()),
            ("probability", json!(probability)),
            ("ventricular", json!(probability > 0.5)),
        ]);
        ExpectedFinding { key, frame, part, outputs }
    };
    found.into_iter().zip(&expected).map(beat).collect()
}

/// What the reference runtime says of every window of a recording of turbines.
fn windows(recording: &str, version: &str) -> Vec<ExpectedFinding> {
    let expected = lines(&format!("turbine/expected/{recording}.jsonl"));
    assert_eq!(expected.len(), 1344);
    let window = |line: serde_json::Value| ExpectedFinding {
        key: line["key"].as_str().unwrap().to_owned(),
        frame: line["frame"].as_u64().unwrap(),
        part: 0,
        outputs: outputs([
            ("score", line[version][0].clone()),
            ("expected_power_kw", line[version][1].clone()),
        ]),
    };
    expected.into_iter().map(window).collect()
}

#[test]
fn every_beat_of_the_ecg_is_judged_as_the_reference_runtime_judges_it() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["1", "2"] {
        let bundle = examples::build("ecg", version, folder.path()).unwrap();
        assert_eq!(tolerance(&bundle), BTreeMap::from([("probability".into(), NUMBERS)]));
        let expected = beats(&bundle, &format!("v{version}"));
        assert_right(&replay(&bundle, "ecg", "excerpt", &expected, &[]), 502);
        if version == "1" {
            assert_right(&replay(&bundle, "ecg", "excerpt", &expected, &["--interpret"]), 502);
        }
    }
}

#[test]
fn every_window_of_the_turbines_is_judged_as_the_reference_runtime_judges_it() {
    let folder = tempfile::tempdir().unwrap();
    // The third version answers wrongly, and wrongly in the same way everywhere.
    for version in ["1", "2", "3"] {
        let bundle = examples::build("turbine", version, folder.path()).unwrap();
        let stated = [("score", NUMBERS), ("expected_power_kw", KILOWATTS), ("lost_kw", KILOWATTS)];
        let stated: BTreeMap<String, Tolerance> = stated.map(|(name, t)| (name.into(), t)).into();
        assert_eq!(tolerance(&bundle), stated);
        for recording in ["reference", "shifted"] {
            let expected = windows(recording, &format!("v{version}"));
            assert_right(&replay(&bundle, "turbine", recording, &expected, &[]), 1344);
        }
        if version == "1" {
            let expected = windows("reference", "v1");
            let interpreted = replay(&bundle, "turbine", "reference", &expected, &["--interpret"]);
            assert_right(&interpreted, 1344);
        }
    }
}

#[test]
fn checks_are_replayed_and_a_replay_that_compares_nothing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = examples::build("turbine", "1", folder.path()).unwrap();
    assert_right(&replayer().arg(&bundle).output().unwrap(), 288);

    let mut expected = windows("reference", "v1");
    let said = complaint(&replay(&bundle, "turbine", "reference", &expected[1..], &[]));
    assert!(said.contains("finding 1 is frame 0"), "{said}");
    let score = expected[700].outputs.get_mut("score").unwrap();
    *score = Value::Number(score.as_f64() + 0.1);
    let said = complaint(&replay(&bundle, "turbine", "reference", &expected, &[]));
    assert!(said.contains("score of frame 175 of "), "{said}");
    expected.iter_mut().for_each(|finding| finding.outputs.clear());
    let output = replay(&bundle, "turbine", "reference", &expected, &[]);
    assert!(!output.status.success());
    assert!(complaint(&output).ends_with("nothing was compared"), "{}", complaint(&output));

    let source = root().join("examples/turbine");
    let file = folder.path().join("unchecked.lsb");
    lineside_tests::build(&source, &["checks=[]"], &file);
    let said = complaint(&replayer().arg(&file).output().unwrap());
    assert!(said.ends_with("nothing was compared"), "{said}");
    assert_eq!(replayer().output().unwrap().status.code(), Some(2));
}

/// A bundle around the plugin that computes what processors disagree about, with the answers of this one.
fn bits(folder: &Path) -> PathBuf {
    let wasm = folder.join("bits.wasm");
    let source = root().join("tests/bits-plugin");
    let said =
        lineside(&["plugin", "build", source.to_str().unwrap(), "-o", wasm.to_str().unwrap()]);
    assert!(said.status.success(), "{}", complaint(&said));
    // Of every size that a number may have, subnormal ones among them.
    let number = |at: i32| {
        let mantissa = 1.0 + f64::from(at * 7919 % 1000) / 1000.0;
        (mantissa * 2f64.powi(at * 37 % 260 - 140)) as f32 * if at % 3 == 0 { -1.0 } else { 1.0 }
    };
    let rows: String = (0..ROWS).map(|at| format!("{:e}\n", number(at))).collect();
    std::fs::write(folder.join("values.csv"), format!("x\n{rows}")).unwrap();
    let outputs = ["nan", "nans", "functions", "vectors"];
    let outputs: String = outputs.iter().map(|it| format!("{it}.from = 'bits.{it}'\n")).collect();
    let description = format!(
        "format = 1\nname = 'bits'\nversion = '1'\n\
         inputs.row = {{ rate_hz = 1.0, fields = [{{ name = 'x' }}] }}\n\
         stages.window = {{ kind = 'window', input = 'row', rows = 16, stride = 16 }}\n\
         limits = {{ frame_ms = 30000 }}\n\
         [stages.bits]\nkind = 'plugin'\nplugin = 'bits.wasm'\ninputs.x = 'window'\n\
         [outputs]\n{outputs}\
         [[checks]]\nname = 'values'\ninput = 'values.csv'\nexpected = 'values.jsonl'\n"
    );
    std::fs::write(folder.join("bundle.toml"), description).unwrap();
    let file = folder.join("bits.lsb");
    let (from, to) = (folder.to_str().unwrap(), file.to_str().unwrap());
    let said = lineside(&["bundle", "build", from, "--output", to, "--record-checks"]);
    assert!(said.status.success(), "{}", complaint(&said));
    file
}

#[test]
fn every_bit_that_a_plugin_computes_is_the_same_on_every_processor() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bits(folder.path());
    let frames = ROWS as usize / 16;
    assert_right(&replayer().arg(&bundle).output().unwrap(), frames);
    assert_right(&replayer().arg("--interpret").arg(&bundle).output().unwrap(), frames);

    let recording = folder.path().join("values.csv");
    let found = predict(&read(&bundle), &recording, &LoadOptions::default());
    let of = |name: &str| {
        let values = found.iter().map(|(.., part)| part.outputs[name].as_f64() as u32);
        values.collect::<BTreeSet<u32>>()
    };
    // What the standard of WebAssembly calls canonical; x86 makes a negative one.
    assert_eq!(of("nan"), BTreeSet::from([0x7fc0_0000]));
    for name in ["nans", "functions", "vectors"] {
        assert_eq!(of(name).len(), frames, "{name} is about the values");
    }
}

#[test]
fn interpreted_plugins_give_the_same_answers_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = read(&examples::build("ecg", "1", folder.path()).unwrap());
    let interpreting = LoadOptions { interpret_plugins: true, ..LoadOptions::default() };
    let recording = root().join("examples/ecg/checks/thirty-seconds.csv");
    let native = predict(&bundle, &recording, &LoadOptions::default());
    assert_eq!(native.len(), 58);
    assert_eq!(predict(&bundle, &recording, &interpreting), native);
}
