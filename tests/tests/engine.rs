//! Models that are sound, damaged or not for this engine: taken, or refused with a clear word.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_runtime::{Data, Element, Engine, EngineError, Tensor, Tract};
use lineside_tests::root;
use std::path::PathBuf;

/// The wider, partly GPL set of models beside the workspace, which is never copied in; none where
/// it is not.
fn zoo() -> Option<PathBuf> {
    let folder = match std::env::var_os("LINESIDE_ZOO") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("../shared/zoo"),
    };
    if !folder.is_dir() {
        eprintln!("{} is not there: its models are not tried", folder.display());
        return None;
    }
    Some(folder)
}

fn turbine() -> Vec<u8> {
    std::fs::read(root().join("examples/turbine/models/turbine-v1.onnx")).unwrap()
}

fn window(value: f32) -> Tensor {
    Tensor::new(vec![1, 6, 5], Data::F32(vec![value; 30])).unwrap()
}

#[test]
fn a_model_s_ports_are_known_by_name_type_and_shape() {
    let model = Tract::load(&turbine()).unwrap();
    let form = |ports: &[lineside_runtime::Port]| -> Vec<String> {
        ports.iter().map(|port| format!("{} {}", port.name, port.form())).collect()
    };
    assert_eq!(form(model.inputs()), ["window f32 [1, 6, 5]"]);
    assert_eq!(form(model.outputs()), ["score f32 [1]", "expected_power_kw f32 [1]"]);
}

#[test]
fn an_answer_that_is_no_number_is_an_error_and_the_model_goes_on() {
    let mut model = Tract::load(&turbine()).unwrap();
    let error = model.run(&[window(f32::MAX)]).unwrap_err();
    assert!(matches!(&error, EngineError::NotFinite(_)), "{error}");
    assert!(model.run(&[window(5.0)]).is_ok());
}

#[test]
fn a_damaged_model_is_an_error_wherever_the_damage_is() {
    let model = turbine();
    for length in (0..model.len()).step_by(499) {
        if let Ok(mut model) = Tract::load(&model[..length]) {
            let inputs: Vec<Tensor> = model.inputs().iter().filter_map(zeros).collect();
            let _ = model.run(&inputs);
        }
    }
    // Structure comes first and last in the file, weights between.
    let near_the_ends = (0..1200).chain(model.len() - 1200..model.len());
    for at in near_the_ends.step_by(23) {
        let mut damaged = model.clone();
        damaged[at] ^= 0x11;
        if let Ok(mut model) = Tract::load(&damaged) {
            let inputs: Vec<Tensor> = model.inputs().iter().filter_map(zeros).collect();
            let _ = model.run(&inputs);
        }
    }
    let error = Tract::load(b"no model at all").err().unwrap();
    assert!(error.to_string().starts_with("it is no ONNX model: "), "{error}");
}

/// A tensor of zeros for a port, unless the damage made that one enormous.
fn zeros(port: &lineside_runtime::Port) -> Option<Tensor> {
    let length = port.shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b))?;
    let data = match port.element {
        _ if length > 1 << 20 => return None,
        Element::F32 => Data::F32(vec![0.0; length]),
        Element::I64 => Data::I64(vec![0; length]),
        Element::Bool => Data::Bool(vec![false; length]),
    };
    Tensor::new(port.shape.clone(), data)
}

#[test]
fn an_operator_that_the_engine_lacks_is_named() {
    let Some(zoo) = zoo() else { return };
    for (model, operator) in [
        ("ecg-beats/ecg-v1-int8-qoperator.onnx", "QGemm"),
        ("pump-anomaly/pump-v1-int8-qoperator.onnx", "QGemm"),
        ("classical/wdbc-logreg-mlops.onnx", "Scaler"),
        ("voice-activity/silero-vad-16k.onnx", "If"),
    ] {
        let error = Tract::load(&std::fs::read(zoo.join(model)).unwrap()).err();
        let error = error.unwrap_or_else(|| panic!("{model} loads")).to_string();
        assert!(error.contains(operator), "{model}: {error}");
        assert!(error.len() < 500 && !error.contains('\n'), "{model}: {error}");
    }
}

#[test]
fn what_engines_are_known_to_run_loads() {
    let Some(zoo) = zoo() else { return };
    for model in [
        "ecg-beats/ecg-v1-int8.onnx",
        "pump-anomaly/pump-v1.onnx",
        "pump-anomaly/pump-v1-int8.onnx",
        "classical/wdbc-logreg-plain.onnx",
        "classical/wdbc-mlp-plain.onnx",
        "classical/wdbc-forest.onnx",
    ] {
        let bytes = std::fs::read(zoo.join(model)).unwrap();
        let mut engine = Tract::load(&bytes).unwrap_or_else(|error| panic!("{model}: {error}"));
        let inputs: Vec<Tensor> = engine.inputs().iter().filter_map(zeros).collect();
        let outputs = engine.run(&inputs).unwrap_or_else(|error| panic!("{model}: {error}"));
        for (output, port) in outputs.iter().zip(engine.outputs()) {
            assert_eq!(
                (output.element(), output.shape()),
                (port.element, &port.shape[..]),
                "{model}"
            );
        }
    }
}
