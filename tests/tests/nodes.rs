//! ONNX's own examples of each operator, in every engine: its answers are right, or it refuses to give one.
//!
//! The examples give in a run what files mostly hold as constants, weights and the like. So each that takes
//! several tensors is tried twice: as it is, and with all of them but the first in its file.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod library;

use library::python;
use lineside_runtime::{
    Data, Element, Engines, Loader, OnnxModel, Onnxruntime, Tensor, in_engine_thread,
};
use lineside_tests::onnx::{tensor, with_constants};
use lineside_tests::root;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The package with the examples, without those that it needs for itself.
const WANTED: &[u8] = include_bytes!("nodes/wanted.txt");
/// Prints where it was installed.
const FIND: &str = "import sysconfig; print(sysconfig.get_path('platlib'))";
/// The list of what is right: an example a line, and the engines that answer it.
const LIST: &str = "tests/tests/nodes/passed.txt";

/// What ONNX allows its own implementations (`onnx/backend/test/runner`): a part of each expected number.
const RELATIVE: f64 = 1e-3;
/// And a part of the largest, or of 1: what comes to nearly nought has the noise of what it was made of.
const NOISE: f64 = 1e-6;
/// Numbers are rounded to steps there, and a step off where another one has rounded otherwise before.
const IN_STEPS: &str = "quantizelinear";

/// Examples in which the expected answers are wrong (onnx 1.19): sums beyond 8 bits were cut to these, where
/// the specification has them stay at the largest; and a norm of nought has no answer, but nought in
/// later versions.
const FAULTY: [&str; 5] = [
    "test_l2normalization_axis_0",
    "test_qlinearmatmul_2D_int8_float16",
    "test_qlinearmatmul_2D_int8_float32",
    "test_qlinearmatmul_3D_int8_float16",
    "test_qlinearmatmul_3D_int8_float32",
];

/// What is put behind the name of an example whose tensors, but for the first, lie in its file.
const CONSTANT: &str = ":constant";

/// What an engine made of an example.
#[derive(Debug, PartialEq)]
enum Seen {
    Right,
    Refused,
    /// It gave another answer, and no error.
    Wrong(String),
}

/// By example and engine.
type All = BTreeMap<String, BTreeMap<&'static str, Seen>>;

static ALL: LazyLock<All> = LazyLock::new(|| {
    let engines =
        Engines { onnxruntime: Onnxruntime::At(library::library()), ..Engines::default() };
    in_engine_thread(|| {
        let mut all = All::new();
        for folder in examples() {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            if FAULTY.contains(&&*name) {
                continue;
            }
            let file = fs::read(folder.join("model.onnx")).unwrap();
            let mut inputs = files(&folder, "input");
            let seen = |file: &[u8], inputs: &[Vec<u8>]| {
                let engines = engines.all().into_iter();
                engines.map(|engine| (engine.name(), seen(&folder, file, inputs, engine))).collect()
            };
            all.insert(name.clone(), seen(&file, &inputs));
            if let Some(file) = constant(&file, &inputs) {
                inputs.truncate(1);
                all.insert(format!("{name}{CONSTANT}"), seen(&file, &inputs));
            }
        }
        all
    })
});

/// The folders of the examples, installed at the first time.
fn examples() -> Vec<PathBuf> {
    let python = python::python("onnx", WANTED);
    let said = python::run("the package's folder", Command::new(python).args(["-c", FIND]));
    let packages = PathBuf::from(String::from_utf8(said).unwrap().trim());
    let folder = packages.join("onnx/backend/test/data/node");
    let examples = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("the package onnx has no {}: {error}", folder.display()));
    examples.map(|example| example.unwrap().path()).collect()
}

/// The files of an example that are called so, in their order.
fn files(folder: &Path, what: &str) -> Vec<Vec<u8>> {
    let file = |number: usize| folder.join(format!("test_data_set_0/{what}_{number}.pb"));
    let files = (0..).map(file).take_while(|path| path.is_file());
    files.map(|path| fs::read(path).unwrap()).collect()
}

/// The tensors in files; none if one is not for pipelines.
fn tensors(files: &[Vec<u8>]) -> Option<Vec<Tensor>> {
    files.iter().map(|file| tensor(file)).collect()
}

/// The example's file with all of its inputs constant but the first, if it has more and all are tensors.
fn constant(file: &[u8], inputs: &[Vec<u8>]) -> Option<Vec<u8>> {
    let model = OnnxModel::read(file).ok()?;
    let names = model.facts().inputs.iter().map(|input| input.name.as_str());
    let constants: Vec<(&str, Vec<u8>)> = names.zip(inputs.iter().cloned()).skip(1).collect();
    if constants.is_empty() || tensors(inputs).is_none() {
        return None;
    }
    with_constants(file, &constants)
}

fn seen(folder: &Path, file: &[u8], inputs: &[Vec<u8>], engine: &dyn Loader) -> Seen {
    let answers = || {
        let model = OnnxModel::read(file).ok()?;
        let facts = model.facts();
        // Lists and maps are no tensors, though their files may look so.
        if facts.inputs.iter().chain(&facts.outputs).any(|port| port.element.is_none()) {
            return None;
        }
        let (inputs, expected) = (tensors(inputs)?, tensors(&files(folder, "output"))?);
        let names = facts.inputs.iter().map(|input| input.name.clone());
        let given = names.zip(inputs.iter().map(|input| input.shape().to_vec()));
        let ports = model.settle(&given.collect()).ok()?;
        let (_, mut engine) = model.load(&[engine], &ports).ok()?;
        let answers = engine.run(&inputs.iter().collect::<Vec<_>>()).ok()?;
        Some((answers, expected))
    };
    let Some((answers, expected)) = answers() else { return Seen::Refused };
    if answers.len() != expected.len() {
        return Seen::Wrong(format!("{} answers, {} expected", answers.len(), expected.len()));
    }
    let step = u8::from(folder.to_string_lossy().contains(IN_STEPS));
    let mut pairs = answers.iter().zip(&expected);
    match pairs.find_map(|(answer, expected)| difference(answer, expected, step)) {
        Some(difference) => Seen::Wrong(difference),
        None => Seen::Right,
    }
}

/// In what an answer is another one than expected. Whole numbers may differ by a `step`.
fn difference(answer: &Tensor, expected: &Tensor, step: u8) -> Option<String> {
    let form = |tensor: &Tensor| format!("{} {:?}", tensor.element(), tensor.shape());
    if form(answer) != form(expected) {
        return Some(format!("{}, {} expected", form(answer), form(expected)));
    }
    let is_fraction = matches!(expected.element(), Element::F16 | Element::F32 | Element::F64);
    let is_small = step > 0 && matches!(expected.element(), Element::U8 | Element::I8);
    if !is_fraction && !is_small {
        let is_same = answer.data() == expected.data();
        return (!is_same).then(|| format!("{:?}, {:?} expected", answer.data(), expected.data()));
    }
    let numbers =
        |data: &Data| -> Vec<f64> { (0..data.len()).filter_map(|at| data.number(at)).collect() };
    let (answer, expected) = (numbers(answer.data()), numbers(expected.data()));
    let finite = expected.iter().map(|number| number.abs()).filter(|number| number.is_finite());
    let noise = NOISE * finite.fold(1.0, f64::max);
    let is_near = |answer: f64, expected: f64| {
        let allowed = if is_small { step.into() } else { noise + RELATIVE * expected.abs() };
        answer == expected || (expected.is_finite() && (answer - expected).abs() <= allowed)
    };
    let mut pairs = answer.iter().zip(&expected);
    let other = pairs.find(|(answer, expected)| !is_near(**answer, **expected));
    other.map(|(answer, expected)| format!("{answer}, {expected} expected"))
}

#[test]
fn no_engine_gives_a_wrong_answer_without_an_error() {
    let mut wrong = String::new();
    for (example, engines) in &*ALL {
        for (engine, seen) in engines {
            if let Seen::Wrong(difference) = seen {
                let difference: String = difference.chars().take(150).collect();
                writeln!(wrong, "{example} in {engine}: {difference}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_every_engine_answers_is_what_the_list_says() {
    let mut list = String::new();
    for (example, engines) in &*ALL {
        let right = engines.iter().filter(|(_, seen)| **seen == Seen::Right);
        let right: String = right.map(|(engine, _)| format!(" {engine}")).collect();
        if !right.is_empty() {
            writeln!(list, "{example}{right}").unwrap();
        }
    }
    let listed = fs::read_to_string(root().join(LIST)).unwrap();
    if list == listed {
        return;
    }
    let now = python::folder("onnx").join("passed.txt");
    fs::write(&now, &list).unwrap();
    let missing = |from: &str, of: &str| -> String {
        let there: Vec<&str> = from.lines().collect();
        of.lines().filter(|line| !there.contains(line)).map(|line| format!("{line}\n")).collect()
    };
    panic!(
        "of {LIST}, this does not hold any more:\n{}and this does now:\n{}All that does is in {}.",
        missing(&list, &listed),
        missing(&listed, &list),
        now.display()
    );
}

#[test]
fn an_answer_of_another_kind_shape_or_size_is_noticed() {
    let floats = |values: &[f32], shape: &[usize]| {
        Tensor::new(shape.to_vec(), Data::F32(values.to_vec())).unwrap()
    };
    let expected = floats(&[0.0, 1000.0], &[2]);
    for (values, shape, is_same) in [
        (&[0.0, 1000.0][..], &[2][..], true),
        (&[9e-4, 1000.9], &[2], true),
        (&[f32::INFINITY, 1000.0], &[2], false),
        (&[2e-3, 1000.0], &[2], false),
        (&[0.0, 1001.5], &[2], false),
        (&[0.0, f32::NAN], &[2], false),
        (&[0.0, 1000.0], &[1, 2], false),
    ] {
        let difference = difference(&floats(values, shape), &expected, 1);
        assert_eq!(difference.is_none(), is_same, "{difference:?}");
    }
    let whole = |data| Tensor::new(vec![2], data).unwrap();
    let expected = whole(Data::I64(vec![1, 2]));
    assert_eq!(difference(&expected, &expected, 0), None);
    assert!(difference(&whole(Data::I64(vec![1, 3])), &expected, 1).is_some());
    assert!(difference(&whole(Data::I32(vec![1, 2])), &expected, 1).is_some());
    let (small, next) = (whole(Data::U8(vec![1, 2])), whole(Data::U8(vec![1, 3])));
    assert_eq!(difference(&small, &next, 1), None);
    assert!(difference(&small, &next, 0).is_some());
}
