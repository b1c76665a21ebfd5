//! The examples' answers against the reference runtime's, over whole recordings.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_runtime::{LoadOptions, MemoryFiles, Part, Pipeline, Recording, Sequencer};
use lineside_tests::{build, root};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Runs a recording through a bundle made of `example` with `changes`; findings by (key, frame).
fn predict(
    example: &str,
    changes: &[&str],
    recording: &str,
    options: &LoadOptions,
) -> Vec<(String, u64, Part)> {
    let folder = tempfile::tempdir().unwrap();
    let bundle = build(&root().join(example), changes, &folder.path().join("bundle.lsb"));
    let mut pipeline = Pipeline::load(&bundle.manifest, &MemoryFiles(&bundle), options).unwrap();
    let file = BufReader::new(File::open(root().join(example).join(recording)).unwrap());
    let mut sequencer = Sequencer::default();
    let mut outcomes = Vec::new();
    for row in Recording::open(bundle.manifest.bundle.port().1, file).unwrap() {
        outcomes.extend(pipeline.push(&sequencer.accept(row.unwrap()).unwrap()));
    }
    outcomes.extend(pipeline.finish());
    outcomes
        .into_iter()
        .flat_map(|outcome| {
            let (key, frame) = (outcome.key, outcome.frame);
            outcome.result.unwrap().into_iter().map(move |part| (key.clone(), frame, part))
        })
        .collect()
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_close(got: f64, expected: f64, absolute: f64, what: &str) {
    let allowed = absolute + 1e-4 * expected.abs();
    assert!((got - expected).abs() <= allowed, "{what}: {got}, expected {expected}");
}

#[test]
fn every_beat_of_the_ecg_is_judged_as_the_reference_runtime_judges_it() {
    let expected = lines(&root().join("examples/ecg/expected/excerpt.jsonl"));
    for (version, changes) in [("v1", vec![]), ("v2", vec!["stages.judge.file=models/ecg-v2.onnx"])]
    {
        let mut changes = changes;
        let check = format!("checks.0.expected=checks/thirty-seconds-{version}.jsonl");
        changes.push(&check);
        let got =
            predict("examples/ecg", &changes, "recordings/excerpt.csv", &LoadOptions::default());
        assert_eq!(got.len(), 502);
        for ((_, _, part), expected) in got.iter().zip(&expected) {
            assert_eq!(part.outputs["sample"].as_f64(), expected["sample"].as_f64().unwrap());
            let probability = expected[version].as_f64().unwrap();
            let what = format!("{version}, sample {}", expected["sample"]);
            assert_close(part.outputs["probability"].as_f64(), probability, 1e-4, &what);
            assert_eq!(part.alarm, Some(probability > 0.5), "{what}");
        }
    }
}

#[test]
fn every_window_of_the_turbines_is_judged_as_the_reference_runtime_judges_it() {
    for (version, model, check) in [
        ("v1", "turbine-v1", "january-v1"),
        ("v2", "turbine-v2", "january-v2"),
        ("v3", "turbine-v3-wrong-unit", "january-v2"),
    ] {
        let changes = [
            format!("stages.judge.file=models/{model}.onnx"),
            format!("checks.0.expected=checks/{check}.jsonl"),
        ];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        for part in ["reference", "shifted"] {
            let expected: BTreeMap<(String, u64), (f64, f64)> =
                lines(&root().join(format!("examples/turbine/expected/{part}.jsonl")))
                    .into_iter()
                    .map(|line| {
                        let key = line["key"].as_str().unwrap().to_owned();
                        let answers = &line[version];
                        let pair = (answers[0].as_f64().unwrap(), answers[1].as_f64().unwrap());
                        ((key, line["frame"].as_u64().unwrap()), pair)
                    })
                    .collect();
            let recording = format!("recordings/{part}.csv");
            let got = predict("examples/turbine", &changes, &recording, &LoadOptions::default());
            assert_eq!((got.len(), expected.len()), (1344, 1344));
            for (key, frame, found) in got {
                let (score, power) = expected[&(key.clone(), frame)];
                let what = format!("{version} {part} {key} {frame}");
                assert_close(found.outputs["score"].as_f64(), score, 1e-4, &what);
                assert_close(found.outputs["expected_power_kw"].as_f64(), power, 1e-2, &what);
            }
        }
    }
}

#[test]
fn interpreted_plugins_give_the_same_answers_bit_for_bit() {
    let interpreting = LoadOptions { interpret_plugins: true, ..LoadOptions::default() };
    let recording = "checks/thirty-seconds.csv";
    let native = predict("examples/ecg", &[], recording, &LoadOptions::default());
    assert_eq!(native.len(), 58);
    assert_eq!(predict("examples/ecg", &[], recording, &interpreting), native);
}
