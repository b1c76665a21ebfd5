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

    std::fs::write(path("text.onnx"), "no model at all").unwrap();
    std::fs::write(path("empty.onnx"), "").unwrap();
    for (name, words) in [
        ("circle.onnx", "its nodes go in a circle, and \"a\" comes of it"),
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

#[test]
fn a_hostile_model_ends_with_an_error_wherever_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    desk(&["strange", text(folder.path())]);
    let description = |model: &str| {
        format!(
            "format = 1\nname = \"strange\"\nversion = \"1\"\n\
             inputs.row = {{ rate_hz = 1.0, fields = [{{ name = \"x\" }}] }}\n\
             stages.window = {{ kind = \"window\", input = \"row\", rows = 1, stride = 1 }}\n\
             stages.judge = {{ kind = \"model\", file = \"{model}\", inputs = {{ x = \"window\" }} }}\n\
             outputs.y.from = \"judge.y\"\n"
        )
    };
    std::fs::write(path("x.csv"), "x\n1\n").unwrap();
    let here = folder.path();
    for (model, words) in [
        ("giant.onnx", ""),
        ("endless.onnx", "takes longer than 2 s: --seconds allows more"),
        ("circle.onnx", "its nodes go in a circle"),
        ("elsewhere.onnx", "tensor \"w\" lies in another file"),
    ] {
        std::fs::write(path("bundle.toml"), description(model)).unwrap();
        let (file, given, out) = (path(model), path("one.npz"), path("out.npz"));
        let run = ["model", "run", text(&file), "--input", text(&given)];
        let run = [&run[..], &["-o", text(&out), "--seconds", "2"]].concat();
        let csv = path("x.csv");
        let bundle = ["bundle", "run", text(here), "--input", text(&csv), "--seconds", "2"];
        for words_typed in [&run[..], &bundle] {
            let said = refused(words_typed);
            assert!(!said.is_empty() && said.contains(words), "{words_typed:?}: {said}");
            assert!(!said.contains("panicked"), "{said}");
            let output = lineside(&[&["--json"], words_typed].concat());
            let error: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(error["error"].is_string(), "{error}");
        }
        assert!(!out.exists());
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

/// A folder with a bundle that was begun from the turbine's model and recording.
fn begun(folder: &Path) -> (PathBuf, Value) {
    let made = folder.join("mill");
    let model = root().join("examples/turbine/models/turbine-v1.onnx");
    let data = root().join("examples/turbine/checks/january.csv");
    let words = ["bundle", "new", text(&made), "--model", text(&model), "--data", text(&data)];
    (made.clone(), json(&words))
}

/// What an independent runtime says of the turbine's recording, of the outputs that its model has.
fn reference(folder: &Path, version: &str) -> PathBuf {
    let file = root().join(format!("examples/turbine/checks/january-{version}.jsonl"));
    let lines = std::fs::read_to_string(file).unwrap();
    let lines = lines.lines().map(|line| {
        let mut finding: Value = serde_json::from_str(line).unwrap();
        let outputs = finding["outputs"].as_object_mut().unwrap();
        outputs.retain(|output, _| ["score", "expected_power_kw"].contains(&output.as_str()));
        format!("{finding}\n")
    });
    let file = folder.join(format!("reference-{version}.jsonl"));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    file
}

#[test]
fn a_bundle_begun_from_a_model_and_a_recording_is_built_and_passes_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let (made, said) = begun(folder.path());
    let columns = ["wind_speed_m_s", "power_kw", "pitch_deg", "vane_deg", "outdoor_c"];
    assert_eq!(said["fields"], serde_json::json!(columns));
    assert_eq!(said["rows"], 6);
    assert_eq!(said["checks"][0]["readings"], 600);
    let guessed = said["guessed"].to_string();
    assert!(guessed.contains("turbine tells 4 streams apart"), "{guessed}");
    let description = std::fs::read_to_string(made.join("bundle.toml")).unwrap();
    for line in ["key = \"turbine\"\n", "time = \"time\"\n", "rows = 6\n", "# Guessed: "] {
        assert!(description.contains(line), "{line}: {description}");
    }
    let bundle = folder.path().join("mill.lsb");
    json(&["bundle", "build", text(&made), "-o", text(&bundle)]);
    let checked = json(&["bundle", "check", text(&bundle)]);
    assert!(checked["checks"][0]["findings"].as_u64().unwrap() > 90, "{checked}");

    let model = root().join("examples/turbine/models/turbine-v1.onnx");
    let said = refused(&["bundle", "new", text(&made), "--model", text(&model)]);
    assert!(said.contains("has a bundle.toml already, which is never written over"), "{said}");
    let other = folder.path().join("other");
    let data = root().join("examples/ecg/checks/thirty-seconds.csv");
    let words = ["bundle", "new", text(&other), "--model", text(&model), "--data", text(&data)];
    let said = refused(&[&words[..], &["--fields", "speed"]].concat());
    assert!(said.contains("there is no column speed, only [mlii_mv]"), "{said}");
    assert!(!other.exists(), "nothing half made stays where nothing could be guessed");
}

#[test]
fn models_as_they_are_exported_answer_in_a_bundle_as_in_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    desk(&["exported", text(folder.path())]);
    let data = path("pumps.csv");
    for (model, fields, rows, stages, findings) in [
        // Columns first, and free in time.
        ("convolution", "flow,pressure,heat", 32, &["\"transpose\""][..], 12),
        ("doubles", "flow,pressure,heat", 1, &["\"cast\"", "\"f64\""], 400),
        // A column for each input.
        ("frame", "flow,stops", 1, &["\"select\"", "\"cast\"", "\"i64\""], 400),
    ] {
        let (made, file) = (path(model), path(&format!("{model}.onnx")));
        let words = ["bundle", "new", text(&made), "--model", text(&file), "--data", text(&data)];
        let said = json(&[&words[..], &["--fields", fields]].concat());
        assert_eq!(said["rows"], rows, "{model}: {said}");
        let description = std::fs::read_to_string(made.join("bundle.toml")).unwrap();
        for stage in stages {
            assert!(description.contains(stage), "{model}: {stage}: {description}");
        }
        let expected = path(&format!("{model}.jsonl"));
        let words = ["bundle", "run", text(&made), "--input", text(&data)];
        let said = json(&[&words[..], &["--expect", text(&expected)]].concat());
        assert_eq!(said["agreement"]["findings"], findings, "{model}: {said}");
        assert_eq!(said["agreement"]["agreed"], findings, "{model}: {said}");
    }
}

#[test]
fn a_recording_is_compared_with_the_answers_of_another_runtime_and_differences_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (made, _) = begun(folder.path());
    let data = root().join("examples/turbine/checks/january.csv");
    let right = reference(folder.path(), "v1");
    let words = ["bundle", "run", text(&made), "--input", text(&data), "--expect"];
    for engine in ["tract", "rten"] {
        let said = json(&[&words[..], &[text(&right), "--engine", engine]].concat());
        assert_eq!(said["engines"]["judge"], engine);
        assert_eq!((&said["readings"], &said["findings"]), (&1728.into(), &288.into()), "{said}");
        assert_eq!(said["agreement"]["agreed"], 288, "{said}");
        assert!(said["latency"]["p95_ms"].as_f64().unwrap() > 0.0, "{said}");
    }
    let wrong = reference(folder.path(), "v2");
    let output = lineside(&[&words[..], &[text(&wrong)]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = complaint(&output);
    assert!(said.ends_with(" of 288 findings disagree"), "{said}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("\nagreement: ") && told.contains(" of \"R80711\": "), "{told}");
    // Programs get one document, with what is wrong.
    let output = lineside(&[&["--json"], &words[..], &[text(&wrong)]].concat());
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said, format!("lineside: {}", document["error"].as_str().unwrap()));
    let loose = [text(&wrong), "--tolerance", "1e6"];
    let said = json(&[&words[..], &loose].concat());
    assert_eq!(said["agreement"]["agreed"], 288);
}

#[test]
fn what_is_recorded_is_expected_the_next_time_and_rows_of_json_are_the_same_readings() {
    let folder = tempfile::tempdir().unwrap();
    let (made, _) = begun(folder.path());
    let data = folder.path().join("january.csv");
    std::fs::copy(root().join("examples/turbine/checks/january.csv"), &data).unwrap();
    let run = |input: &Path, more: &[&str]| {
        json(&[&["bundle", "run", text(&made), "--input", text(input)], more].concat())
    };
    let answers = folder.path().join("january.jsonl");
    assert_eq!(run(&data, &["--record"])["recorded"], text(&answers));
    let said = run(&data, &["--expect", text(&answers), "--tolerance", "0"]);
    assert_eq!(said["agreement"]["agreed"], 288);

    let csv = std::fs::read_to_string(&data).unwrap();
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let objects = lines.map(|line| {
        let cells = line.split(',').zip(&names).map(|(cell, name)| match cell.parse::<f64>() {
            Ok(number) => format!("\"{name}\": {number}"),
            Err(_) => format!("\"{name}\": \"{cell}\""),
        });
        format!("{{{}}}\n", cells.collect::<Vec<_>>().join(", "))
    });
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, objects.collect::<String>()).unwrap();
    let said = run(&rows, &["--expect", text(&answers), "--tolerance", "0"]);
    assert_eq!(said["agreement"]["agreed"], 288, "{said}");
    // The recording itself is never written over.
    let before = std::fs::read(&rows).unwrap();
    let beside = folder.path().join("rows.expected.jsonl");
    assert_eq!(run(&rows, &["--record"])["recorded"], text(&beside));
    assert_eq!(std::fs::read(&rows).unwrap(), before);
    assert_eq!(std::fs::read(&beside).unwrap(), std::fs::read(&answers).unwrap());
}

#[test]
fn a_recording_of_two_ports_is_joined_by_time_and_its_answers_become_a_check() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("press");
    std::fs::create_dir(&made).unwrap();
    let bundle = "format = 1\nname = 'press'\nversion = '1'\njoin.wait_seconds = 1\n\
        [inputs.heat]\nkey = 'press'\ntime = 't'\nfields = [{ name = 'c', unit = 'C' }]\n\
        [inputs.shaking]\nkey = 'press'\ntime = 't'\nfields = [{ name = 'mm', unit = 'mm' }]\n\
        [stages.even]\nkind = 'resample'\ninput = 'shaking'\nrate_hz = 2\ngap_seconds = 1\n\
        [stages.held]\nkind = 'resample'\ninput = 'heat'\nrate_hz = 1\nmethod = 'hold'\n\
        gap_seconds = 9\n\
        [stages.fast]\nkind = 'window'\ninput = 'even'\nseconds = 1\nstride_seconds = 1\n\
        [stages.slow]\nkind = 'window'\ninput = 'held'\nseconds = 1\nstride_seconds = 1\n\
        [stages.mm]\nkind = 'select'\ninput = 'fast'\nindex = 1\n\
        [outputs]\nmm = { from = 'mm', unit = 'mm' }\nc = { from = 'slow', unit = 'C' }\n";
    std::fs::write(made.join("bundle.toml"), bundle).unwrap();
    let mut rows = String::from("port,press,t,c,mm\n");
    for second in 0..60 {
        if second % 8 == 0 {
            rows += &format!("heat,A,2026-01-01T00:00:{second:02}Z,{second},\n");
        }
        let half = 2 * second;
        rows += &format!("shaking,A,2026-01-01T00:00:{second:02}Z,,{half}\n");
        rows += &format!("shaking,A,2026-01-01T00:00:{second:02}.5Z,,{}\n", half + 1);
    }
    // One comes twice, one is too late, and one is of nobody's port.
    rows += "shaking,A,2026-01-01T00:00:59.5Z,,0\nshaking,A,2026-01-01T00:00:07Z,,0\n";
    rows += "light,A,2026-01-01T00:00:59Z,,0\nshaking,A,2026-01-01T00:01:00Z,,0\n";
    let data = folder.path().join("rows.csv");
    std::fs::write(&data, rows).unwrap();
    let run = |more: &[&str]| {
        let words = ["bundle", "run", text(&made), "--input", text(&data)];
        json(&[&words[..], more].concat())
    };
    let said = run(&["--record"]);
    assert_eq!((&said["frames"], &said["findings"]), (&60.into(), &60.into()), "{said}");
    assert_eq!(said["unused"], serde_json::json!({ "late": 1, "twice": 1 }), "{said}");
    assert_eq!(said["dropped"], serde_json::json!({ "port": 1 }), "{said}");
    let answers = data.with_extension("jsonl");
    let lines = std::fs::read_to_string(&answers).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    // 2026-01-01 in seconds since 1970.
    assert_eq!(first["frame"], 1_767_225_600, "{first}");
    assert_eq!(first["outputs"], serde_json::json!({ "c": 0.0, "mm": 1.0 }));
    let said = run(&["--expect", text(&answers), "--tolerance", "0"]);
    assert_eq!(said["agreement"]["agreed"], 60, "{said}");

    let check = "\n[[checks]]\nname = 'own'\ninput = 'rows.csv'\nexpected = 'rows.jsonl'\n";
    std::fs::write(made.join("bundle.toml"), format!("{bundle}{check}")).unwrap();
    // A check has no row that is no reading.
    let lines = std::fs::read_to_string(&data).unwrap();
    let lines = lines.lines().filter(|line| !line.starts_with("light"));
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(made.join("rows.csv"), lines).unwrap();
    std::fs::copy(&answers, made.join("rows.jsonl")).unwrap();
    let checked = json(&["bundle", "check", text(&made)]);
    assert_eq!(checked["checks"][0]["findings"], 60, "{checked}");
    let shown = lineside(&["bundle", "show", text(&made)]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in
        ["heat.c  C", "held  heat at 1 Hz, over gaps of up to 9 s", "window of 1 s, every 1 s"]
    {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn frames_without_an_answer_and_rows_that_are_no_readings_are_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (made, _) = begun(folder.path());
    let csv = std::fs::read_to_string(root().join("examples/turbine/checks/january.csv")).unwrap();
    let data = folder.path().join("broken.csv");
    let lines = csv.lines().enumerate().map(|(place, line)| match place {
        // No number, and one that makes the answer infinite.
        10 => format!("{}\n", line.replacen(',', ",x", 1)),
        20 => format!("{},1e300\n", line.rsplit_once(',').unwrap().0),
        _ => format!("{line}\n"),
    });
    std::fs::write(&data, lines.collect::<String>()).unwrap();
    let words = ["bundle", "run", text(&made), "--input", text(&data)];
    let output = lineside(&words);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("\n1 rows are no readings: "), "{told}");
    assert!(told.contains("\n  line 11: "), "{told}");
    assert!(told.contains(" frames have no answer: "), "{told}");
    let answers = folder.path().join("broken.jsonl");
    let said = refused(&[&words[..], &["--record"]].concat());
    assert!(said.contains("so nothing was recorded") && !answers.exists(), "{said}");
    for (more, words) in [
        (&["--expect", "nowhere.jsonl"][..], "cannot read nowhere.jsonl"),
        (&["--engine", "abacus"], "there is no engine abacus here"),
        (&["--expect", text(&data)], "broken.csv: line 1: "),
    ] {
        let run = ["bundle", "run", text(&made), "--input", text(&data)];
        let said = refused(&[&run[..], more].concat());
        assert!(said.contains(words), "{more:?}: {said}");
    }
    let none = folder.path().join("none.csv");
    std::fs::write(&none, "speed\n1\n").unwrap();
    let said = refused(&["bundle", "run", text(&made), "--input", text(&none)]);
    assert!(said.contains("none.csv: there is no column turbine, only [speed]"), "{said}");
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn of_models_of_every_kind_in_the_zoo_a_bundle_is_begun_that_is_built_and_passes_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let wave = std::fs::read(zoo("voice-activity/speech.wav")).unwrap();
    let data = wave.windows(4).position(|at| at == b"data").unwrap() + 8;
    let samples = wave[data..].chunks_exact(2).take(40_000);
    let samples = samples.map(|it| f32::from(i16::from_le_bytes([it[0], it[1]])) / 32768.0);
    let speech = folder.path().join("speech.csv");
    let rows: String = samples.map(|sample| format!("{sample}\n")).collect();
    std::fs::write(&speech, format!("sample\n{rows}")).unwrap();
    let pump = zoo("pump-anomaly/reference.csv");
    let table = zoo("classical/heldback.csv");
    let beats = zoo("ecg-beats/reference.csv");
    let speech = text(&speech);
    for (name, model, data, more, rows) in [
        ("pump", "pump-anomaly/pump-v1", Some(text(&pump)), &[][..], 32),
        ("ecg", "ecg-beats/ecg-v1", Some(text(&beats)), &[], 200),
        ("forest", "classical/wdbc-forest", Some(text(&table)), &[], 1),
        ("logreg", "classical/wdbc-logreg-mlops", Some(text(&table)), &[], 1),
        ("voice", "voice-activity/silero-vad-16k-static", Some(speech), &[], 576),
        ("text", "text-reading/text-direction", None, &["--shape", "x=1,3,48,192"], 27_648),
    ] {
        let (made, bundle) = (folder.path().join(name), folder.path().join(format!("{name}.lsb")));
        let model = zoo(&format!("{model}.onnx"));
        let mut words = vec!["bundle", "new", text(&made), "--model", text(&model)];
        words.extend(data.iter().flat_map(|data| ["--data", *data]));
        words.extend(more);
        let said = json(&words);
        assert_eq!(said["rows"], rows, "{name}: {said}");
        json(&["bundle", "build", text(&made), "-o", text(&bundle)]);
        let checked = json(&["bundle", "check", text(&bundle)]);
        let checks = checked["checks"].as_array().unwrap();
        assert_eq!(checks.len(), usize::from(data.is_some()), "{name}: {checked}");
        assert!(checks.iter().all(|it| it["findings"].as_u64().unwrap() > 5), "{name}: {checked}");
    }
    // The forest's answers are those of the reference, row by row.
    let lines = std::fs::read_to_string(zoo("classical/expected.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let [no, yes] = [0, 1].map(|class| line["forest"]["prob"][class].clone());
        let outputs = serde_json::json!({ "label": line["forest"]["label"],
            "probabilities_0": no, "probabilities_1": yes });
        serde_json::json!({ "frame": line["row"], "outputs": outputs }).to_string() + "\n"
    });
    let expected = folder.path().join("forest.jsonl");
    std::fs::write(&expected, lines.collect::<String>()).unwrap();
    let forest = folder.path().join("forest");
    let words = ["bundle", "run", text(&forest), "--input", text(&table), "--expect"];
    let said = json(&[&words[..], &[text(&expected)]].concat());
    assert_eq!(said["agreement"]["agreed"], 169, "{said}");
}
