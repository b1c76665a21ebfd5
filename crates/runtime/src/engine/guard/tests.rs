//! Which tensors of small models are looked at.

use super::*;
use crate::engine::OnnxModel;
use crate::engine::model::tests::{field, model, node, value};
use std::collections::BTreeMap;

/// An engine that takes the larger of NaN and nought for nought.
const HABITS: Habits = Habits {
    engine: "abacus",
    passing: Passing::Only(&["Add", "Concat", "Conv", "Div", "Mul", "Reshape", "Sqrt", "Sub"]),
    powers: true,
    narrow: true,
    widens: false,
};

fn weights(name: &str, shape: &[u8], numbers: &[f32]) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|size| vec![1 << 3, *size]).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let kind = vec![2 << 3, Element::F32.onnx() as u8];
    field(5, &[shape, kind, field(8, name.as_bytes()), field(9, &bytes)].concat())
}

fn step(text: &str) -> Vec<u8> {
    let mut words = text.split_whitespace();
    let operator = words.next().unwrap();
    let words: Vec<&str> = words.collect();
    let at = words.iter().position(|word| *word == ">").unwrap();
    node(operator, "", (&words[..at], &words[at + 1..]))
}

/// What is looked at in a model of these steps, written `operator inputs > outputs`, from `x`.
fn watched(steps: &[&str]) -> String {
    let nodes: Vec<u8> = steps.iter().flat_map(|text| field(1, &step(text))).collect();
    guarded(&nodes)
}

fn guarded(nodes: &[u8]) -> String {
    let graph = [
        nodes.to_vec(),
        weights("kernel", &[2, 1, 1, 2], &[0.5, -0.5, 2.0, 1.0]),
        weights("epsilon", &[], &[1e-5]),
        weights("large", &[], &[1e36]),
        weights("lambdas", &[2], &[-0.3, 1.7]),
        weights("noughts", &[2], &[-0.3, 0.0]),
        value(11, "x", Element::F32, &[1, 1, 1, 8]),
        value(12, "y", Element::F32, &[1, 1, 1, 8]),
    ];
    let file = model(&graph.concat());
    let read = OnnxModel::read(&file).unwrap();
    let inputs = read.settle(&BTreeMap::new()).unwrap();
    match Guard::of(read.proto(), &inputs, &HABITS) {
        Err(error) => error.to_string(),
        Ok(guard) => {
            let inputs = guard.inputs.iter().map(|(_, watch)| watch);
            let told = inputs.chain(&guard.within).map(|watch| match watch.limit {
                Some(limit) => format!("{} {limit:e}", watch.tensor),
                None => watch.tensor.clone(),
            });
            told.collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn what_passes_nothing_that_loses_it_costs_nothing() {
    assert_eq!(watched(&["Conv x kernel > y"]), "");
    assert_eq!(watched(&["Div x x > d", "Mul d d > y"]), "");
}

#[test]
fn layers_with_weights_need_a_look_at_what_comes_in_and_no_other() {
    assert_eq!(watched(&["Relu x > y"]), "x");
    assert_eq!(watched(&["Conv x kernel > c", "Relu c > y"]), "x 1e30");
    let layers = ["Conv x kernel > a", "Relu a > b", "Conv b kernel > c", "Relu c > y"];
    assert_eq!(watched(&layers), "x 1e30");
    let large = ["Mul x large > a", "Relu a > b", "Conv b kernel > c", "Relu c > y"];
    assert_eq!(watched(&large), "x 1e30, b 1e30");
}

#[test]
fn what_may_be_divided_by_nought_is_looked_at_before_it_is_lost() {
    assert_eq!(watched(&["Div x x > d", "Relu d > y"]), "d");
    assert_eq!(watched(&["Div x x > d", "Reshape d shape > r", "Relu r > y"]), "d 1e30");
    let scaled = ["Mul x x > s", "Add s epsilon > v", "Sqrt v > e", "Div x e > d", "Relu d > y"];
    assert_eq!(watched(&scaled), "x 1e30");
    assert_eq!(watched(&["Sub x epsilon > s", "Sqrt s > r", "Relu r > y"]), "x 1e30, r");
}

#[test]
fn a_power_or_a_logarithm_at_the_end_passes_on_what_is_no_number() {
    // As scikit-learn's PowerTransformer is exported: an Imputer, in another piece, takes it away again.
    assert_eq!(watched(&["Div x x > d", "Pow d lambdas > p", "Sub p d > y"]), "");
    assert_eq!(watched(&["Div x x > d", "Log d > p", "Mul p d > y"]), "");
    // Anything to the power of nought is 1, and what an operator that loses it takes is looked at before.
    assert_eq!(watched(&["Div x x > d", "Pow d noughts > y"]), "d 1e12");
    assert_eq!(watched(&["Div x x > d", "Pow d x > y"]), "x 1e12, d 1e12");
    assert_eq!(watched(&["Div x x > d", "Pow d lambdas > p", "Relu p > y"]), "d 1e12, p");
}

#[test]
fn whole_numbers_beyond_32_bits_are_looked_at_where_they_are_cut() {
    let to = [field(1, b"to"), vec![3 << 3, Element::I64.onnx() as u8]].concat();
    let cast = [step("Cast x > y"), field(5, &to)].concat();
    assert_eq!(guarded(&field(1, &cast)), "x 2.14748352e9");
    assert_eq!(watched(&["OneHot x epsilon epsilon > y"]), "x 2.14748352e9");
    let small =
        [field(1, &step("Sigmoid x > s")), field(1, &[step("Cast s > y"), field(5, &to)].concat())];
    assert_eq!(guarded(&small.concat()), "x");
}

#[test]
fn what_is_not_known_is_looked_at_before_and_after() {
    assert_eq!(watched(&["Teleport x > t", "Relu t > y"]), "x 1e12, t");
}

#[test]
fn what_cannot_be_looked_at_within_a_branch_is_refused() {
    let branch = |steps: &[&str]| {
        let nodes: Vec<u8> = steps.iter().flat_map(|text| field(1, &step(text))).collect();
        let graph = [nodes, field(12, &field(1, b"z"))].concat();
        let then = [field(1, b"then_branch"), field(6, &graph)].concat();
        guarded(&field(1, &[step("If c > y"), field(5, &then)].concat()))
    };
    // What is taken from around it can be.
    assert_eq!(branch(&["Conv x kernel > a", "Relu a > z"]), "x 1e30");
    let told = branch(&["Div x x > d", "Relu d > z"]);
    assert!(
        told.starts_with("cannot load it: abacus may make a number of NaN, which Relu"),
        "{told}"
    );
    assert!(told.contains("what helps: export the model without it"), "{told}");
}
