//! Models that are sound, damaged or not for this engine: taken, or refused with a clear word.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_runtime::{Data, Element, Engine, EngineError, Tensor, Tract};
use lineside_tests::{root, with_unknown_operators};
use std::path::PathBuf;

/// The wider, partly GPL set of models, which is never copied in. `cargo xtask test` has its models
/// tried where it lies beside the workspace, and says so where it does not.
fn zoo() -> PathBuf {
    PathBuf::from(std::env::var_os("LINESIDE_ZOO").expect("LINESIDE_ZOO names its folder"))
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
        ports.iter().map(|port| format!("{} {}", port.name(), port.form())).collect()
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

/// Loads a damaged model, and runs it if it still is one. Whether it was refused, in words for people.
fn is_refused(model: &[u8]) -> bool {
    let said = |error: EngineError| {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        true
    };
    let mut model = match Tract::load(model) {
        Ok(model) => model,
        Err(error) => return said(error),
    };
    let inputs: Vec<Tensor> = model.inputs().iter().map(zeros).collect();
    match model.run(&inputs) {
        // The declared outputs, or what the damage made of them; digests tell one model from another.
        Ok(outputs) => {
            assert_eq!(outputs.len(), model.outputs().len());
            false
        }
        Err(error) => said(error),
    }
}

#[test]
fn damage_to_a_model_is_an_error_or_another_model_and_never_the_end_of_the_program() {
    let model = turbine();
    assert!(!is_refused(&model));
    // Its structure reaches to the end of the file, so nothing less is a model.
    for length in (0..model.len()).step_by(499) {
        assert!(is_refused(&model[..length]), "the first {length} bytes were taken for a model");
    }
    // Structure comes first and last in the file, weights between.
    let near_the_ends = (0..1200).chain(model.len() - 1200..model.len());
    let refused = near_the_ends.step_by(23).filter(|at| {
        let mut damaged = model.clone();
        damaged[*at] ^= 0x11;
        is_refused(&damaged)
    });
    assert!(refused.count() > 20, "damage to the structure is hardly ever noticed");
    let error = Tract::load(b"no model at all").err().unwrap();
    assert!(error.to_string().starts_with("it is no ONNX model: "), "{error}");
}

/// A tensor of zeros for a port.
fn zeros(port: &lineside_runtime::Port) -> Tensor {
    let data = match port.element() {
        Element::F32 => Data::F32(vec![0.0; port.len()]),
        Element::I64 => Data::I64(vec![0; port.len()]),
        Element::Bool => Data::Bool(vec![false; port.len()]),
    };
    Tensor::new(port.shape().to_vec(), data).unwrap()
}

#[test]
fn an_operator_that_the_engine_lacks_is_named() {
    let error = Tract::load(&with_unknown_operators(&turbine())).err().unwrap();
    assert_eq!(error.to_string(), "the engine lacks operator Gemx, Tanx");
}

#[test]
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn operators_that_real_models_have_and_the_engine_lacks_are_named() {
    let zoo = zoo();
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
#[ignore = "its models are not part of the project: LINESIDE_ZOO"]
fn what_engines_are_known_to_run_loads() {
    let zoo = zoo();
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
        let inputs: Vec<Tensor> = engine.inputs().iter().map(zeros).collect();
        let outputs = engine.run(&inputs).unwrap_or_else(|error| panic!("{model}: {error}"));
        for (output, port) in outputs.iter().zip(engine.outputs()) {
            assert_eq!(
                (output.element(), output.shape()),
                (port.element(), port.shape()),
                "{model}"
            );
        }
    }
}
