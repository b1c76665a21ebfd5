//! Plain operators between those of this engine, which tract runs.

use super::sample::{load, near, table};
use crate::engine::model::tests::{field, model, node, value};
use crate::tensor::{Data, Element, Tensor};

const ML: &str = "ai.onnx.ml";

/// An operator in a domain, what it takes and what it gives.
type Step<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);

/// A model that takes `x`, two rows of two numbers, has these constants, and gives these values.
fn file(steps: &[Step<'_>], constants: &[(&str, Data)], outputs: &[&str]) -> Vec<u8> {
    let mut graph = value(11, "x", Element::F32, &[2, 2]);
    for (operator, domain, taken, given) in steps {
        graph.extend(field(1, &node(operator, domain, (taken, given))));
    }
    for (name, data) in constants {
        let tensor = Tensor::new(vec![data.len()], data.clone()).unwrap();
        let size = [1 << 3, data.len() as u8];
        let kind = [2 << 3, data.element().onnx() as u8];
        let raw = match data {
            Data::Bytes(texts) => texts.iter().flat_map(|text| field(6, text)).collect(),
            _ => field(9, &tensor.to_bytes()),
        };
        let fields = [size.to_vec(), kind.to_vec(), field(8, name.as_bytes()), raw];
        graph.extend(field(5, &fields.concat()));
    }
    for output in outputs {
        graph.extend(field(12, &field(1, output.as_bytes())));
    }
    model(&graph)
}

fn run(file: &[u8]) -> Vec<Tensor> {
    let mut engine = load(file).unwrap();
    engine.run(&[&table(&[&[1.0, -2.0], &[0.5, 3.0]])]).unwrap()
}

fn refused(file: &[u8], reason: &str) {
    let error =
        load(file).err().unwrap_or_else(|| panic!("it is taken, not refused for: {reason}"));
    assert!(error.contains(reason), "{error}, not {reason}");
}

#[test]
fn what_tract_computes_between_two_operators_of_this_engine_is_passed_on_and_given() {
    let steps: [Step<'_>; 5] = [
        ("Normalizer", ML, &["x"], &["n"]),
        ("Abs", "", &["n"], &["a"]),
        ("Add", "", &["a", "n"], &["s"]),
        ("Sqrt", "", &["s"], &["q"]),
        ("Normalizer", ML, &["q"], &["y"]),
    ];
    let outputs = run(&file(&steps, &[], &["y", "q", "n"]));
    near(&outputs[0], &[1.0, 0.0, 0.408_248_3, 1.0]);
    near(&outputs[1], &[2f32.sqrt(), 0.0, 0.577_350_3, 2f32.sqrt()]);
    near(&outputs[2], &[1.0, -2.0, 0.166_666_7, 1.0]);
    assert_eq!(outputs[1].shape(), [2, 2]);
}

#[test]
fn nodes_that_follow_from_one_another_wait_for_what_comes_between_them_in_the_file() {
    let steps: [Step<'_>; 6] = [
        ("Abs", "", &["x"], &["a"]),
        ("Normalizer", ML, &["x"], &["n"]),
        ("Neg", "", &["x"], &["m"]),
        ("Binarizer", ML, &["n"], &["b"]),
        ("Max", "", &["a", "m", "b"], &["l"]),
        ("Binarizer", ML, &["l"], &["y"]),
    ];
    let outputs = run(&file(&steps, &[], &["l", "y"]));
    near(&outputs[0], &[1.0, 2.0, 1.0, 3.0]);
    near(&outputs[1], &[1.0; 4]);
}

#[test]
fn what_follows_from_constants_alone_is_a_constant_for_operators_that_want_one() {
    let steps: [Step<'_>; 3] = [
        ("Abs", "", &["c"], &["which"]),
        ("ArrayFeatureExtractor", ML, &["x", "which"], &["column"]),
        ("Binarizer", ML, &["column"], &["y"]),
    ];
    let outputs = run(&file(&steps, &[("c", Data::I64(vec![-1]))], &["column", "y"]));
    near(&outputs[0], &[-2.0, 3.0]);
    near(&outputs[1], &[0.0, 1.0]);
}

#[test]
fn a_shape_that_tract_finds_is_one_for_what_follows_there() {
    let steps: [Step<'_>; 4] = [
        ("Normalizer", ML, &["x"], &["n"]),
        ("Shape", "", &["n"], &["shape"]),
        ("Reshape", "", &["x", "shape"], &["r"]),
        ("Binarizer", ML, &["r"], &["y"]),
    ];
    let outputs = run(&file(&steps, &[], &["y"]));
    near(&outputs[0], &[1.0, 0.0, 1.0, 1.0]);
}

#[test]
fn an_answer_of_tract_that_is_no_number_is_an_error_only_where_it_is_an_answer() {
    let steps: [Step<'_>; 3] = [
        ("Sqrt", "", &["x"], &["root"]),
        ("IsNaN", "", &["root"], &["none"]),
        ("Binarizer", ML, &["x"], &["y"]),
    ];
    let mut engine = load(&file(&steps, &[], &["none", "y"])).unwrap();
    let rows = table(&[&[1.0, -2.0], &[0.5, 3.0]]);
    let outputs = engine.run(&[&rows]).unwrap();
    assert_eq!(outputs[0].data(), &Data::Bool(vec![false, true, false, false]));
    let mut engine = load(&file(&steps, &[], &["root", "y"])).unwrap();
    let error = engine.run(&[&rows]).unwrap_err().to_string();
    assert_eq!(error, "output root is not finite");
}

#[test]
fn what_neither_engine_has_or_can_take_is_refused() {
    let own: Step<'_> = ("Normalizer", ML, &["x"], &["n"]);
    let with = |step: Step<'_>| {
        let texts = Data::Bytes(vec![b"a".to_vec(), b"b".to_vec()]);
        file(&[own, step], &[("t", texts)], &["y"])
    };
    refused(&with(("Teleport", "", &["n"], &["y"])), "Teleport for y: there is none here");
    refused(&with(("Loop", "", &["n"], &["y"])), "Loop for y: there is none here");
    refused(&with(("Abs", "", &["nobody"], &["y"])), "Abs: nothing before it gives nobody");
    refused(&with(("Abs", "", &["t"], &["y"])), "t is text, which the operator");
    refused(&with(("Abs", "", &["x"], &["n"])), "Abs: two values are called n");
    refused(
        &with(("MatMul", "", &["n", "unset"], &["y"])),
        "MatMul: nothing before it gives unset",
    );
    // Nor is one name given twice while the first still waits.
    let twice: [Step<'_>; 3] = [
        ("Abs", "", &["x"], &["a"]),
        ("Normalizer", ML, &["x"], &["a"]),
        ("Neg", "", &["a"], &["y"]),
    ];
    refused(&file(&twice, &[], &["y"]), "two values are called a");
    // A circle is no order.
    let circle: [Step<'_>; 2] = [("Abs", "", &["b"], &["a"]), ("Neg", "", &["a"], &["b"])];
    refused(&file(&circle, &[], &["b"]), "its nodes go in a circle");
}
