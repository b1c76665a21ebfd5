//! What a data scientist types, against what he has at hand: numpy and onnxruntime.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "../tuf-client/tests/python/mod.rs"]
mod python;

use lineside_tests::{complaint, lineside, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// numpy, onnx and onnxruntime, and what they need.
const PACKAGES: &[u8] = include_bytes!("desk.txt");

fn desk(arguments: &[&str]) {
    let mut python = Command::new(python::python("desk", PACKAGES));
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(root().join("tests/tests/desk.py"));
    python::run(&arguments.join(" "), python.args(arguments));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = lineside(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = lineside(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    complaint(&output)
}

/// Runs a model on arrays, in one engine if it is named, and has onnxruntime do the same.
fn agrees(model: &Path, given: &Path, engine: Option<&str>) -> Value {
    let got = given.with_extension("out.npz");
    let mut arguments = vec!["model", "run", text(model), "--input", text(given), "-o", text(&got)];
    if let Some(engine) = engine {
        arguments.extend(["--engine", engine]);
    }
    let said = json(&arguments);
    desk(&["compare", text(model), text(given), text(&got)]);
    said
}

#[test]
fn arrays_of_every_type_come_back_from_a_model_as_numpy_has_written_them() {
    let folder = tempfile::tempdir().unwrap();
    desk(&["types", text(folder.path())]);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let model = entry.unwrap().path();
        if model.extension().is_some_and(|it| it == "onnx") {
            agrees(&model, &model.with_extension("npz"), None);
            let compressed = model.to_str().unwrap().replace(".onnx", "-compressed.npz");
            agrees(&model, Path::new(&compressed), None);
            seen += 1;
        }
    }
    assert_eq!(seen, 13);
}

#[test]
fn the_models_of_the_examples_run_at_the_desk_as_in_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("in.npz");
    for model in ["turbine/models/turbine-v1.onnx", "ecg/models/ecg-v1.onnx"] {
        let model = root().join("examples").join(model);
        desk(&["inputs", text(&model), text(&given)]);
        for engine in ["tract", "rten"] {
            let said = agrees(&model, &given, Some(engine));
            assert_eq!(said["engine"], engine);
            assert!(said["p50_ms"].as_f64().unwrap() > 0.0, "{said}");
        }
    }
}

#[test]
fn what_does_not_fit_a_model_is_told_with_name_type_and_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    desk(&["types", text(folder.path())]);
    let run = |model: &Path, given: &str| {
        let (given, out) = (path(given), path("out.npz"));
        refused(&["model", "run", text(model), "--input", text(&given), "-o", text(&out)])
    };
    let said = run(&path("float32.onnx"), "float64.npz");
    assert!(
        said.ends_with(
            "float64.npz: array x is f64 [2, 3], the model takes f32 [n, 3]; for another type: \
             x.astype(\"float32\")"
        ),
        "{said}"
    );
    let turbine = root().join("examples/turbine/models/turbine-v1.onnx");
    let said = run(&turbine, "float32.npz");
    assert!(said.contains("the model has no input for array x, only [window]"), "{said}");
    let said = run(&path("float32.onnx"), "nothing.npz");
    assert!(said.contains("cannot open "), "{said}");
    let said = run(&path("float32.npz"), "float32.npz");
    assert!(said.contains("it is no ONNX model"), "{said}");
    assert!(!path("out.npz").exists());
    let given = path("float32.npz");
    let model = path("float32.onnx");
    let out = path("out.npz");
    let words = ["model", "run", text(&model), "--input", text(&given), "-o", text(&out)];
    let said = refused(&[&words[..], &["--engine", "abacus"]].concat());
    assert!(said.contains("there is no engine abacus here, only tract"), "{said}");
}

#[test]
fn an_inspected_model_is_told_with_its_ports_operators_engines_and_what_to_do() {
    let turbine = root().join("examples/turbine/models/turbine-v1.onnx");
    let said = json(&["model", "inspect", text(&turbine)]);
    assert_eq!(said["inputs"][0]["name"], "window");
    assert_eq!(said["inputs"][0]["type"], "f32");
    assert_eq!(said["inputs"][0]["shape"].as_array().unwrap().len(), 3);
    assert_eq!(said["engines"]["tract"], "ok");
    assert_eq!(said["engines"]["rten"], "ok");
    let reason = said["engines"]["classical"].as_str().unwrap();
    assert!(reason.starts_with("lacks "), "{reason}");
    assert!(said["operators"]["Gemm"].as_u64().unwrap() > 0, "{said}");
    for engine in ["tract", "rten"] {
        let measured = &said["measured"][engine];
        assert!(measured["run_ms"].as_f64().unwrap() > 0.0, "{measured}");
        assert!(measured["memory_bytes"].as_u64().unwrap() > 0, "{measured}");
    }
    let advice = said["advice"].as_array().unwrap();
    assert!(advice.iter().any(|it| it.as_str().unwrap().starts_with("armv7: tract")), "{advice:?}");
    let output = lineside(&["model", "inspect", text(&turbine)]);
    let told = String::from_utf8(output.stdout).unwrap();
    for words in ["\ninputs\n  window  f32 [", "\nengines\n", " ok: loaded in "] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn models_that_are_broken_or_hostile_break_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    desk(&["strange", text(folder.path())]);
    let inspect = |name: &str| json(&["model", "inspect", text(&path(name)), "--seconds", "5"]);

    let said = inspect("giant.onnx");
    for engine in ["tract", "rten"] {
        let reason = said["engines"][engine].as_str().unwrap();
        assert!(reason != "ok" && !reason.is_empty(), "{engine}");
    }
    let said = inspect("endless.onnx");
    assert_eq!(said["engines"]["rten"], "it takes longer than 5 s");
    assert_eq!(said["engines"]["tract"], "lacks Loop");
    let advice = said["advice"].as_array().unwrap();
    assert!(advice[0].as_str().unwrap().contains("so that the branch is decided there"));
    let said = inspect("circle.onnx");
    for (engine, outcome) in said["engines"].as_object().unwrap() {
        assert_ne!(outcome, "ok", "{engine}");
    }

    std::fs::write(path("text.onnx"), "no model at all").unwrap();
    std::fs::write(path("empty.onnx"), "").unwrap();
    for (name, words) in [
        ("elsewhere.onnx", "tensor \"w\" lies in another file"),
        ("text.onnx", "it is no ONNX model"),
        ("empty.onnx", "it is no ONNX model"),
        ("missing.onnx", "cannot read "),
        (".", "is no file"),
    ] {
        let said = refused(&["model", "inspect", text(&path(name))]);
        assert!(said.contains(words) && !said.contains('\n'), "{name}: {said}");
    }
}

fn zoo(path: &str) -> PathBuf {
    let zoo = std::env::var_os("LINESIDE_ZOO").expect("LINESIDE_ZOO names its folder");
    PathBuf::from(zoo).join(path)
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_models_of_the_zoo_run_at_the_desk_as_in_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("in.npz");
    for (model, shapes, engine) in [
        ("classical/wdbc-forest", &["X=7,30"][..], "classical"),
        ("classical/wdbc-lightgbm", &["X=1,30"], "classical"),
        ("classical/wdbc-logreg-mlops", &["X=3,30"], "classical"),
        ("classical/wdbc-mlp-plain", &["X=2,30"], "tract"),
        ("ecg-beats/ecg-v1", &[], "tract"),
        ("pump-anomaly/pump-v1", &["window=4,32,8"], "tract"),
        ("voice-activity/silero-vad-16k-static", &[], "tract"),
        ("voice-activity/silero-vad-16k", &["input=1,576"], "rten"),
        ("text-reading/text-direction", &["x=1,3,48,192"], "tract"),
    ] {
        let model = zoo(&format!("{model}.onnx"));
        desk(&[&["inputs", text(&model), text(&given)], shapes].concat());
        let said = agrees(&model, &given, None);
        assert_eq!(said["engine"], engine, "{model:?}: {said}");
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn of_every_model_of_the_zoo_it_is_told_which_engines_run_it_and_what_helps_where_none_does() {
    for (model, runs, helps) in [
        ("classical/wdbc-forest", &["classical"][..], ""),
        ("classical/wdbc-logreg-mlops", &["classical"], "armv7: classical runs it"),
        ("ecg-beats/ecg-v1-int8", &["rten", "tract"], "It is quantised"),
        ("pump-anomaly/pump-v1-int8-qoperator", &[], "Quantise it in the format QDQ"),
        ("ecg-beats/ecg-v1-int8-qoperator", &[], "Quantise it in the format QDQ"),
        ("voice-activity/silero-vad-16k", &["rten"], "armv7: no engine that is there runs it"),
        ("voice-activity/silero-vad-16k-static", &["rten", "tract"], "stateN has the form of"),
        ("text-reading/text-direction", &["rten", "tract"], "a bundle settles what is free"),
        ("text-reading/text-recognition", &["rten", "tract"], "a bundle settles what is free"),
    ] {
        let said = json(&["model", "inspect", text(&zoo(&format!("{model}.onnx")))]);
        let engines = said["engines"].as_object().unwrap();
        // Where its library is installed, onnxruntime runs them, too.
        let ours = engines.iter().filter(|(engine, _)| *engine != "onnxruntime");
        let ok = ours.filter(|(_, outcome)| *outcome == "ok").map(|(engine, _)| &**engine);
        assert_eq!(ok.collect::<Vec<_>>(), runs, "{model}: {engines:?}");
        let advice = said["advice"].as_array().unwrap();
        let is_told = advice.iter().any(|it| it.as_str().unwrap().contains(helps));
        assert!(is_told, "{model}: {advice:?}");
    }
}
