//! Models that are sound, damaged or not for any engine here: taken, or refused with a clear word.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod library;

use lineside_runtime::{
    Data, ENGINES, Engine, EngineError, Loader, OnnxModel, Onnxruntime, Port, Tensor,
};
use lineside_tests::{root, with_unknown_operators};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static ONNXRUNTIME: LazyLock<Onnxruntime> = LazyLock::new(|| Onnxruntime::At(library::library()));

fn turbine() -> Vec<u8> {
    std::fs::read(root().join("examples/turbine/models/turbine-v1.onnx")).unwrap()
}

/// The engines for models of every kind. One of its own for classical models does not run those here.
fn general() -> impl Iterator<Item = &'static dyn Loader> {
    let ours = ENGINES.iter().copied().filter(|engine| engine.absence().is_none());
    let ours = ours.filter(|engine| engine.name() != "classical");
    ours.chain([&*ONNXRUNTIME as &dyn Loader])
}

fn load(model: &[u8], engine: &'static dyn Loader) -> Result<Box<dyn Engine>, EngineError> {
    let model = OnnxModel::read(model)?;
    let inputs = model.settle(&BTreeMap::new())?;
    model.load(&[engine], &inputs).map(|(_, engine)| engine)
}

fn window(value: f32) -> Tensor {
    Tensor::new(vec![1, 6, 5], Data::F32(vec![value; 30])).unwrap()
}

#[test]
fn a_model_s_ports_are_known_by_name_type_and_shape() {
    let form = |ports: &[Port]| -> Vec<String> {
        ports.iter().map(|port| format!("{} {}", port.name(), port.form())).collect()
    };
    for engine in general() {
        let model = load(&turbine(), engine).unwrap();
        assert_eq!(form(model.inputs()), ["window f32 [1, 6, 5]"]);
        assert_eq!(form(model.outputs()), ["score f32 [1]", "expected_power_kw f32 [1]"]);
    }
}

#[test]
fn an_answer_that_is_no_number_is_an_error_and_the_model_goes_on() {
    for engine in general() {
        let mut model = load(&turbine(), engine).unwrap();
        let error = model.run(&[&window(f32::MAX)]).unwrap_err();
        assert!(error.is_not_finite(), "{}: {error}", engine.name());
        assert!(model.run(&[&window(5.0)]).is_ok());
    }
}

#[test]
fn engines_agree_on_a_model_that_all_of_them_run() {
    let answers = general().map(|engine| {
        let outputs = load(&turbine(), engine).unwrap().run(&[&window(5.0)]).unwrap();
        outputs.iter().map(|output| output.data().number(0).unwrap()).collect::<Vec<f64>>()
    });
    let answers: Vec<Vec<f64>> = answers.collect();
    for (first, other) in answers.iter().flat_map(|other| answers[0].iter().zip(other)) {
        assert!((first - other).abs() <= 1e-4 * first.abs().max(1.0), "{answers:?}");
    }
}

/// Loads a damaged model, and runs it if it still is one. Whether it was refused, in words for people.
fn is_refused(model: &[u8], engine: &'static dyn Loader) -> bool {
    let said = |error: EngineError| {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        true
    };
    let mut model = match load(model, engine) {
        Ok(model) => model,
        Err(error) => return said(error),
    };
    let inputs: Vec<Tensor> = model.inputs().iter().map(zeros).collect();
    match model.run(&inputs.iter().collect::<Vec<_>>()) {
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
    for engine in general() {
        assert!(!is_refused(&model, engine));
        // Its structure reaches to the end of the file, so nothing less is a model.
        for length in (0..model.len()).step_by(499) {
            let refused = is_refused(&model[..length], engine);
            assert!(refused, "the first {length} bytes were taken for a model");
        }
        // Structure comes first and last in the file, weights between.
        let near_the_ends = (0..1200).chain(model.len() - 1200..model.len());
        let refused = near_the_ends.step_by(23).filter(|at| {
            let mut damaged = model.clone();
            damaged[*at] ^= 0x11;
            is_refused(&damaged, engine)
        });
        assert!(refused.count() > 20, "damage to the structure is hardly ever noticed");
        let error = load(b"no model at all", engine).err().unwrap();
        assert!(error.to_string().starts_with("it is no ONNX model: "), "{error}");
    }
}

/// A tensor of zeros for a port.
fn zeros(port: &Port) -> Tensor {
    let zeros = Data::zeros(port.element(), port.len());
    Tensor::new(port.shape().to_vec(), zeros).unwrap()
}

#[test]
fn operators_that_an_engine_lacks_are_named() {
    for engine in general() {
        let error = load(&with_unknown_operators(&turbine()), engine).err().unwrap();
        let wanted = format!("no engine here runs it: {0} lacks Gemx, lacks Tanx", engine.name());
        assert_eq!(error.to_string(), wanted);
    }
}
