//! onnxruntime, in a library that is no part of the program: what goes in and comes out, and which
//! operators it has.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod library;

use lineside_runtime::{
    Data, Element, Engine, EngineError, Loader, OnnxModel, Onnxruntime, Operator, SharedLibrary,
    Tensor,
};
use lineside_tests::fleet::Fleet;
use lineside_tests::onnx::single;
use lineside_tests::{build, complaint, program, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

fn load(file: &[u8]) -> Result<Box<dyn Engine>, EngineError> {
    let model = OnnxModel::read(file)?;
    let inputs = model.settle(&BTreeMap::new())?;
    Onnxruntime::At(library::library()).load(&model, &inputs)
}

fn identity(element: Element, shape: &[u8]) -> Box<dyn Engine> {
    load(&single(("", "Identity"), 17, element, shape)).unwrap()
}

#[test]
fn tensors_of_every_type_come_back_as_they_went() {
    // 1, -2 and the smallest there is.
    let halves = [0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00];
    let mut tensors = vec![Tensor::from_bytes(Element::F16, vec![1, 3], &halves).unwrap()];
    for data in [
        Data::Bool(vec![true, false, true]),
        Data::U8(vec![0, 1, u8::MAX]),
        Data::U16(vec![0, 1, u16::MAX]),
        Data::U32(vec![0, 1, u32::MAX]),
        Data::U64(vec![0, 1, u64::MAX]),
        Data::I8(vec![i8::MIN, -1, i8::MAX]),
        Data::I16(vec![i16::MIN, -1, i16::MAX]),
        Data::I32(vec![i32::MIN, -1, i32::MAX]),
        Data::I64(vec![i64::MIN, -1, i64::MAX]),
        Data::F32(vec![f32::MIN, -0.5, f32::MIN_POSITIVE]),
        Data::F64(vec![f64::MIN, -0.5, f64::MIN_POSITIVE]),
        Data::Bytes(["", "a", "µ and more"].map(|text| text.as_bytes().to_vec()).to_vec()),
    ] {
        tensors.push(Tensor::new(vec![1, 3], data).unwrap());
    }
    let elements: Vec<Element> = tensors.iter().map(Tensor::element).collect();
    assert!(Element::all().all(|element| elements.contains(&element)));
    for tensor in tensors {
        let mut engine = identity(tensor.element(), &[1, 3]);
        assert_eq!(engine.outputs()[0].form(), format!("{} [1, 3]", tensor.element()));
        assert_eq!(engine.run(&[&tensor]).unwrap(), [tensor]);
    }
    let scalar = Tensor::new(vec![], Data::I64(vec![16_000])).unwrap();
    assert_eq!(identity(Element::I64, &[]).run(&[&scalar]).unwrap(), [scalar]);
}

#[test]
fn what_would_not_come_back_whole_is_refused() {
    let mut engine = identity(Element::Bytes, &[1]);
    for (bytes, why) in [(&b"cut\0here"[..], "nul"), (&[0xff, 0xfe], "it is no text in UTF-8")] {
        let tensor = Tensor::new(vec![1], Data::Bytes(vec![bytes.to_vec()])).unwrap();
        let error = engine.run(&[&tensor]).unwrap_err();
        assert!(matches!(error, EngineError::Input(_)), "{error}");
        let told = error.to_string();
        assert!(told.starts_with("input x: ") && told.contains(why), "{told}");
    }
    let mut engine = identity(Element::F32, &[2]);
    let three = Tensor::new(vec![3], Data::F32(vec![0.0; 3])).unwrap();
    assert!(matches!(engine.run(&[&three]), Err(EngineError::Input(_))));
    let mut root = load(&single(("", "Sqrt"), 17, Element::F32, &[1])).unwrap();
    let minus = Tensor::new(vec![1], Data::F32(vec![-1.0])).unwrap();
    assert!(matches!(root.run(&[&minus]), Err(EngineError::NotFinite(_))));
    let four = Tensor::new(vec![1], Data::F32(vec![4.0])).unwrap();
    assert_eq!(root.run(&[&four]).unwrap()[0].data().number(0), Some(2.0), "it goes on");
}

/// What the library itself says of an operator that it does not have, in any version of the sets.
fn is_unavailable(operator: &Operator) -> bool {
    [9, 17, 22, 26].into_iter().all(|opset| {
        let file = single((operator.domain(), operator.name()), opset, Element::F32, &[1]);
        let Err(error) = load(&file) else { return false };
        let error = error.to_string();
        ["No Op registered for", "is not a registered function/op"]
            .iter()
            .any(|it| error.contains(it))
    })
}

#[test]
fn the_operators_that_it_is_said_to_have_are_those_it_has() {
    let listed = "crates/runtime/src/engine/onnxruntime/operators.txt";
    let listed = std::fs::read_to_string(root().join(listed)).unwrap();
    assert!(listed.lines().count() > 200);
    for operator in listed.lines().map(Operator::parse) {
        assert_eq!(Onnxruntime::Absent.objection(&operator), None, "{operator}");
        assert!(!is_unavailable(&operator), "{operator}");
    }
    for foreign in ["Teleport", "com.acme.Conv", "ai.onnx.ml.Conv", "com.microsoft.Conv"] {
        let operator = Operator::parse(foreign);
        assert!(Onnxruntime::Absent.objection(&operator).is_some(), "{operator}");
        // Of a domain that nobody knows the library takes whatever it cannot look up for a mistake.
        assert!(is_unavailable(&operator) || foreign.starts_with("com.acme"), "{operator}");
    }
}

#[test]
fn a_process_keeps_to_the_library_that_it_has_loaded() {
    drop(identity(Element::F32, &[1]));
    let file = tempfile::NamedTempFile::new().unwrap();
    let other = SharedLibrary { path: file.path().to_owned(), digest: None };
    let error = other.try_out().unwrap_err().to_string();
    assert!(error.contains(": this process has loaded "), "{error}");
    assert!(library::library().try_out().is_ok());
}

#[test]
fn a_release_for_it_runs_where_its_library_is_and_is_refused_elsewhere_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    let bundle = folder.path().join("turbine.lsb");
    build(&root().join("examples/turbine"), &["stages.judge.engine=onnxruntime"], &bundle);
    let path = library::library().path;

    let check = |library: Option<&str>| {
        let mut check = Command::new(program("lineside"));
        check.args(["bundle", "check"]).arg(&bundle).env_remove("LINESIDE_ONNXRUNTIME");
        check.envs(library.map(|library| ("LINESIDE_ONNXRUNTIME", library))).output().unwrap()
    };
    let refused = check(None);
    let cure = "install the shared library of onnxruntime";
    let told = complaint(&refused);
    assert!(!refused.status.success() && told.contains(cure), "{told}");
    let broken = check(Some("/nowhere/libonnxruntime.so"));
    let told = complaint(&broken);
    assert!(!broken.status.success() && told.contains("/nowhere/libonnxruntime.so: "), "{told}");
    let passed = check(path.to_str());
    assert!(passed.status.success(), "{}", complaint(&passed));

    fleet.json(&["release", "--unchecked", bundle.to_str().unwrap()]).unwrap();
    let recording = root().join("examples/turbine/recordings/reference.csv");
    for (device, library) in
        [("mill", path.to_str()), ("broken", Some("agent.toml")), ("bare", None)]
    {
        let library = library.map(|library| format!("[onnxruntime]\nlibrary = '{library}'\n"));
        let settings = format!(
            "[slots.turbine]\nsource = 'scada'\n{}\
             [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n",
            library.unwrap_or_default(),
            recording.display()
        );
        fleet.add_device(device, &settings).unwrap();
        fleet.start_agent(device).unwrap();
        fleet.assign(device, "turbine", "turbine/1").unwrap();
    }
    let noted = |wanted: &'static str| {
        move |device: &Value| {
            let slot = &device["slots"]["turbine"];
            let note = slot["note"].as_str().unwrap_or_default();
            (slot["active"].is_null() && note.contains(wanted)).then(|| note.to_owned())
        }
    };
    let told = fleet.wait_for("bare", "it is refused", noted("would not run here")).unwrap();
    assert!(told.contains("onnxruntime has all operators and is not installed here"), "{told}");
    let told = fleet.wait_for("broken", "it is refused", noted("would not run here")).unwrap();
    assert!(told.contains("cannot be used here: ") && told.contains("ELF header"), "{told}");
    let stays =
        |device: &Value| (device["slots"]["turbine"]["active"]["version"] == "1").then_some(());
    fleet.wait_for("mill", "it runs in onnxruntime", stays).unwrap();
}
