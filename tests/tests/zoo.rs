//! Real models on real data: each gives the answers of the reference runtime in some engine, or is
//! refused with the operator and the cure.
//!
//! The models are a wider, partly GPL set, which is never copied in. `cargo xtask test` tries them where
//! they lie beside the workspace, and says so where they do not.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod library;

use lineside_bundle::{BundleFile, build};
use lineside_runtime::{
    Data, ENGINES, Element, Engine, Engines, LoadOptions, MemoryFiles, OnnxModel, Onnxruntime,
    Pipeline, Reading, Tensor, Value,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Those of the program, and onnxruntime.
static ALL: LazyLock<Engines> = LazyLock::new(|| Engines {
    onnxruntime: Onnxruntime::At(library::library()),
    ..Engines::default()
});

fn file(path: &str) -> PathBuf {
    let zoo = std::env::var_os("LINESIDE_ZOO").expect("LINESIDE_ZOO names its folder");
    PathBuf::from(zoo).join(path)
}

fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines(path: &str) -> Vec<Json> {
    let text = String::from_utf8(bytes(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The columns of a table from number `first` on, without the names.
fn table(path: &str, first: usize) -> Vec<Vec<f32>> {
    let text = String::from_utf8(bytes(path)).unwrap();
    let row = |line: &str| line.split(',').skip(first).map(|it| it.parse().unwrap()).collect();
    text.lines().skip(1).map(row).collect()
}

fn tensor(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(shape.to_vec(), Data::F32(values)).unwrap()
}

/// The model in each engine that takes it, by name, and why the others do not.
type Tried = BTreeMap<&'static str, Result<Box<dyn Engine>, String>>;

fn load(model: &str, shapes: &[(&str, &[usize])]) -> Tried {
    let bytes = bytes(model);
    let model = OnnxModel::read(&bytes).unwrap();
    let given = shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    let inputs = model.settle(&given.collect()).unwrap();
    let tried = ALL.all().into_iter().map(|engine| {
        let loaded = model.load(&[engine], &inputs).map(|(_, engine)| engine);
        (engine.name(), loaded.map_err(|error| error.to_string()))
    });
    tried.collect()
}

/// The engines that are expected to run it.
fn engines(tried: Tried, expected: &[&str]) -> BTreeMap<&'static str, Box<dyn Engine>> {
    let mut engines = BTreeMap::new();
    for (name, engine) in tried {
        match engine {
            Ok(engine) => drop(engines.insert(name, engine)),
            Err(error) => assert!(!expected.contains(&name), "{error}"),
        }
    }
    assert!(!engines.is_empty());
    engines
}

fn same(got: f64, wanted: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * wanted.abs().max(1.0);
    assert!((got - wanted).abs() <= allowed, "{what}: {got}, expected {wanted}");
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("{json} is no number"))
}

/// The forms of a model, and the engines that are expected to run each.
const VERSIONS: [(&str, &[&str]); 4] = [
    ("v1", &["tract", "rten", "onnxruntime"]),
    ("v2", &["tract", "rten", "onnxruntime"]),
    ("v1-int8", &["tract", "rten", "onnxruntime"]),
    ("v1-int8-qoperator", &["onnxruntime"]),
];

/// A model that was quantised rounds in steps: where engines round differently, a step is the difference.
fn tolerance(version: &str) -> f64 {
    if version.contains("int8") { 1e-3 } else { 1e-4 }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_pump_models_score_every_window_as_the_reference_does() {
    for (version, expected) in VERSIONS {
        let model = format!("pump-anomaly/pump-{version}.onnx");
        for (name, mut engine) in engines(load(&model, &[]), expected) {
            for part in ["reference", "onset", "later"] {
                let rows = pump(part);
                for line in lines(&format!("pump-anomaly/expected-{part}.jsonl")).iter().step_by(3)
                {
                    let first = line["first_row"].as_u64().unwrap() as usize;
                    let window = rows[first..first + 32].concat();
                    let output = &engine.run(&[&tensor(&[1, 32, 8], window)]).unwrap()[0];
                    let wanted = number(&line["score"][version]);
                    let what = format!("{model} in {name}, {part} {first}");
                    same(output.data().number(0).unwrap(), wanted, tolerance(version), &what);
                }
            }
        }
    }
}

fn pump(part: &str) -> Vec<Vec<f32>> {
    let rows = table_of(&format!("pump-anomaly/{part}.csv"), 2..10);
    rows.into_iter().map(|row| row.iter().map(|it| it.parse().unwrap()).collect()).collect()
}

fn table_of(path: &str, columns: std::ops::Range<usize>) -> Vec<Vec<String>> {
    let text = String::from_utf8(bytes(path)).unwrap();
    let row = |line: &str| {
        let fields = line.split(',').map(str::to_owned).collect::<Vec<_>>();
        fields[columns.clone()].to_vec()
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_ecg_models_judge_every_beat_as_the_reference_does() {
    for (version, expected) in VERSIONS {
        let model = format!("ecg-beats/ecg-{version}.onnx");
        for (name, mut engine) in engines(load(&model, &[]), expected) {
            for part in ["reference", "later"] {
                let signal: BTreeMap<(u64, u64), f32> =
                    table_of(&format!("ecg-beats/{part}.csv"), 0..3)
                        .into_iter()
                        .map(|row| {
                            let place = (row[0].parse().unwrap(), row[1].parse().unwrap());
                            (place, row[2].parse::<f32>().unwrap() * 0.005)
                        })
                        .collect();
                for line in lines(&format!("ecg-beats/expected-{part}.jsonl")).iter().step_by(3) {
                    let record = line["record"].as_u64().unwrap();
                    let sample = line["sample"].as_u64().unwrap();
                    let beat =
                        (sample - 80..sample + 120).map(|at| signal[&(record, at)]).collect();
                    let output = &engine.run(&[&tensor(&[1, 1, 200], beat)]).unwrap()[0];
                    for class in 0..2 {
                        let wanted = number(&line["prob"][version][class]);
                        let what = format!("{model} in {name}, {part} {sample}");
                        let got = output.data().number(class).unwrap();
                        same(got, wanted, tolerance(version), &what);
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_plain_classical_models_label_every_row_as_the_reference_does() {
    let rows = table("classical/heldback.csv", 0);
    for version in ["logreg-plain", "mlp-plain"] {
        let model = format!("classical/wdbc-{version}.onnx");
        let mut tried = load(&model, &[]);
        if let Some(refused) = tried.remove("rten") {
            let error = refused.err().unwrap();
            assert!(error.contains("lacks ai.onnx.ml.ArrayFeatureExtractor"), "{error}");
        }
        for (name, mut engine) in engines(tried, &["tract", "onnxruntime"]) {
            for (line, row) in lines("classical/expected.jsonl").iter().zip(&rows) {
                let outputs = engine.run(&[&tensor(&[1, 30], row.clone())]).unwrap();
                let what = format!("{model} in {name}, row {}", line["row"]);
                let expected = &line[version];
                let label = outputs[0].data().number(0).unwrap();
                same(label, number(&expected["label"]), 0.0, &what);
                for class in 0..2 {
                    let got = outputs[1].data().number(class).unwrap();
                    same(got, number(&expected["prob"][class]), 1e-4, &what);
                }
            }
        }
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_classical_models_label_every_row_as_the_reference_does_alone_and_in_a_batch() {
    let rows = table("classical/heldback.csv", 0);
    for version in ["forest", "lightgbm", "logreg-mlops"] {
        let model = format!("classical/wdbc-{version}.onnx");
        let bytes = bytes(&model);
        let read = OnnxModel::read(&bytes).unwrap();
        let load = |count: usize| {
            let shapes = BTreeMap::from([("X".to_owned(), vec![count, 30])]);
            let (name, engine) = read.load(ENGINES, &read.settle(&shapes).unwrap()).unwrap();
            assert_eq!(
                name, "classical",
                "tract has not all of their operators, or gets them wrong"
            );
            engine
        };
        let batch = tensor(&[rows.len(), 30], rows.concat());
        let together = load(rows.len()).run(&[&batch]).unwrap();
        let mut single = load(1);
        for (place, line) in lines("classical/expected.jsonl").iter().enumerate() {
            let alone = single.run(&[&tensor(&[1, 30], rows[place].clone())]).unwrap();
            let what = format!("{model}, row {}", line["row"]);
            let expected = &line[version];
            for (outputs, row) in [(&alone, 0), (&together, place)] {
                let label = outputs[0].data().number(row).unwrap();
                same(label, number(&expected["label"]), 0.0, &what);
                for class in 0..2 {
                    let got = outputs[1].data().number(2 * row + class).unwrap();
                    same(got, number(&expected["prob"][class]), 1e-5, &what);
                }
            }
        }
    }
}

/// The samples of the recording, after 64 that are silent: the model sees the 64 last ones of the chunk
/// before with each new one.
fn speech() -> Vec<f32> {
    let wave = bytes("voice-activity/speech.wav");
    let data = wave.windows(4).position(|at| at == b"data").unwrap() + 8;
    let samples = wave[data..].chunks_exact(2);
    let samples = samples.map(|it| f32::from(i16::from_le_bytes([it[0], it[1]])) / 32768.0);
    std::iter::repeat_n(0.0, 64).chain(samples).collect()
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_voice_models_hear_speech_where_the_reference_does() {
    let samples = speech();
    for (version, expected) in [
        ("silero-vad-16k-static", &["tract", "rten", "onnxruntime"][..]),
        ("silero-vad-16k", &["rten", "onnxruntime"]),
    ] {
        let model = format!("voice-activity/{version}.onnx");
        let tried = load(&model, &[("input", &[1, 576])]);
        if version == "silero-vad-16k" {
            // Its branches give different ranks, which tract does not take; it says where.
            let error = tried["tract"].as_ref().err().unwrap();
            assert!(error.contains("If"), "{error}");
        }
        for (name, mut engine) in engines(tried, expected) {
            let mut state = tensor(&[2, 1, 128], vec![0.0; 256]);
            let rate = Tensor::new(vec![], Data::I64(vec![16_000])).unwrap();
            let places: Vec<String> =
                engine.inputs().iter().map(|port| port.name().to_owned()).collect();
            for (chunk, line) in lines("voice-activity/expected.jsonl").iter().enumerate() {
                let heard = samples[chunk * 512..chunk * 512 + 576].to_vec();
                let heard = tensor(&[1, 576], heard);
                let inputs: Vec<&Tensor> = places
                    .iter()
                    .map(|name| match name.as_str() {
                        "input" => &heard,
                        "state" => &state,
                        "sr" => &rate,
                        other => panic!("it takes {other}"),
                    })
                    .collect();
                let outputs = engine.run(&inputs).unwrap();
                let what = format!("{model} in {name}, chunk {chunk}");
                let wanted = number(&line["speech"][version]);
                same(outputs[0].data().number(0).unwrap(), wanted, 1e-4, &what);
                state = outputs[1].clone();
            }
        }
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn a_pipeline_carries_the_state_of_a_model_from_frame_to_frame() {
    let text = "format = 1\nname = 'voice'\nversion = '1'\nwarm_up_readings = 32000\n\
        [inputs.microphone]\nkey = 'room'\nrate_hz = 16000.0\nfields = [{ name = 'sample' }]\n\
        [stages.chunk]\nkind = 'window'\ninput = 'microphone'\nrows = 576\nstride = 512\n\
        [stages.judge]\nkind = 'model'\nfile = 'voice.onnx'\ninputs = { input = 'chunk' }\n\
        state = { stateN = 'state' }\n\
        [outputs]\nspeech = { from = 'judge.output' }\n";
    let bundle = BundleFile::parse(text).unwrap();
    let model = bytes("voice-activity/silero-vad-16k-static.onnx");
    let built = build(bundle, BTreeMap::from([("voice.onnx".to_owned(), model)])).unwrap();
    let samples = speech();
    for engine in ALL.all().iter().filter(|engine| engine.name() != "classical") {
        let mut options = LoadOptions { engines: ALL.clone(), ..LoadOptions::default() };
        options.engines.site = Some(engine.name().to_owned());
        let mut pipeline = Pipeline::load(&built.manifest, &MemoryFiles(&built), &options).unwrap();
        let expected = lines("voice-activity/expected.jsonl");
        let mut heard = 0;
        for (sequence, sample) in samples.iter().enumerate().take(512 * 300) {
            // A second stream, in which nothing is heard, does not disturb the first.
            for (key, value) in [("a", *sample), ("b", 0.0)] {
                let reading = Reading {
                    key: key.to_owned(),
                    sequence: sequence as u64,
                    time_unix_ns: 0,
                    values: vec![f64::from(value)],
                };
                for outcome in pipeline.push(&reading) {
                    let parts = outcome.result.unwrap();
                    let Value::Number(speech) = parts[0].outputs["speech"] else { panic!() };
                    if key == "a" {
                        let wanted = &expected[outcome.frame as usize]["speech"];
                        let wanted = number(&wanted["silero-vad-16k-static"]);
                        let what = format!("chunk {} in {}", outcome.frame, engine.name());
                        same(speech, wanted, 1e-4, &what);
                        heard += 1;
                    }
                }
            }
        }
        assert!(heard > 290);
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn the_text_models_answer_alike_in_every_engine_whatever_the_free_sizes() {
    for (model, width, height) in
        [("text-direction", 192, 48), ("text-recognition", 320, 48), ("text-detection", 96, 64)]
    {
        let shape = [1, 3, height, width];
        let count = shape.iter().product::<usize>();
        // Smooth and with edges, as a picture is.
        let value =
            |at: usize| ((at % width) as f32 / 7.0).sin() * ((at / width) as f32 / 5.0).cos();
        let picture = tensor(&shape, (0..count).map(value).collect());
        let tried = load(&format!("text-reading/{model}.onnx"), &[("x", &shape)]);
        let mut answers = Vec::new();
        for (name, mut engine) in engines(tried, &["tract", "rten", "onnxruntime"]) {
            let output = engine.run(&[&picture]).unwrap().remove(0);
            assert_eq!(output.shape(), engine.outputs()[0].shape(), "{model} in {name}");
            answers.push(output);
        }
        for other in &answers[1..] {
            assert_eq!(answers[0].shape(), other.shape());
            for at in 0..other.len() {
                let [one, two] = [&answers[0], other].map(|it| it.data().number(at).unwrap());
                same(two, one, 1e-4, &format!("{model}, element {at}"));
            }
        }
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn a_model_that_no_engine_of_the_program_runs_is_refused_with_the_operator_and_the_cure() {
    for (model, operator, cure) in [
        ("ecg-beats/ecg-v1-int8-qoperator.onnx", "QGemm", "quantise it in the format QDQ"),
        ("pump-anomaly/pump-v1-int8-qoperator.onnx", "QGemm", "quantise it in the format QDQ"),
    ] {
        let bytes = bytes(model);
        let read = OnnxModel::read(&bytes).unwrap();
        let inputs = read.settle(&BTreeMap::new()).unwrap();
        let error = read.load(ENGINES, &inputs).err();
        let error = error.unwrap_or_else(|| panic!("{model} loads")).to_string();
        assert!(error.contains(operator) && error.contains(cure), "{model}: {error}");
        assert!(error.len() < 700 && !error.contains('\n'), "{model}: {error}");
    }
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn what_the_files_say_of_their_models_is_read_before_any_engine_is_asked() {
    let bytes = bytes("text-reading/text-recognition.onnx");
    let facts = OnnxModel::read(&bytes).unwrap().facts().clone();
    assert_eq!(facts.inputs[0].element, Some(Element::F32));
    assert!(facts.inputs[0].form().starts_with("f32 ["), "{}", facts.inputs[0].form());
    assert!(facts.parameters > 1_000_000 && facts.parameter_bytes > 4_000_000, "{facts:?}");
}
