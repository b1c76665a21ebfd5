//! What a model means that tract would compute otherwise, without a word (tract 0.23.9): seen in the file, before
//! it is loaded.

use crate::engine::nodes::{Nodes, attribute, input, int, is, text};
use crate::tensor::{Data, Port};
use tract_onnx::pb::{ModelProto, NodeProto};

/// Recurrent operators, with the functions that their gates have unless a node says otherwise. tract has
/// these and no others.
const RECURRENT: [(&str, &[&str]); 3] =
    [("GRU", &["Sigmoid", "Tanh"]), ("LSTM", &["Sigmoid", "Tanh", "Tanh"]), ("RNN", &["Tanh"])];
/// Operators with an `alpha` that tract leaves out, wholly or where numbers are below nought.
const SCALED: [&str; 2] = ["Celu", "Swish"];

/// Operators of which tract makes the largest finite number where there is nothing to choose from.
const CHOOSING: [&str; 2] = ["ReduceMax", "ReduceMin"];

/// What tract gets wrong of a model that takes `inputs`, and what helps; nothing where it gets all right.
pub(super) fn wrong(model: &ModelProto, inputs: &[Port]) -> Option<String> {
    let nodes = Nodes::of(model);
    if inputs.iter().any(Port::is_empty)
        && let Some(name) = CHOOSING.iter().find(|name| nodes.iter().any(|node| is(node, name)))
    {
        return Some(format!("{name} of nothing; what helps: give the model inputs with elements"));
    }
    nodes.iter().find_map(|node| wrong_in(node, &nodes))
}

fn wrong_in(node: &NodeProto, nodes: &Nodes<'_>) -> Option<String> {
    if let Some((name, functions)) = RECURRENT.iter().find(|(name, _)| is(node, name)) {
        let (what, cure) = wrong_in_recurrent(node, functions)?;
        return Some(format!("{name} with {what}; what helps: {cure}"));
    }
    if let Some(name) = SCALED.iter().find(|name| is(node, name)) {
        let alpha = attribute(node, "alpha").map_or(1.0, |alpha| alpha.f);
        let cure = "export it as the operators that it is made of";
        return (alpha != 1.0).then(|| format!("{name} with alpha {alpha}; what helps: {cure}"));
    }
    if is(node, "Dropout") && trains(node, nodes) {
        let cure = "export the model for inference (model.eval())";
        return Some(format!("Dropout in training; what helps: {cure}"));
    }
    None
}

/// What is wrong of a recurrent node whose gates have these `functions` by default, and the cure.
fn wrong_in_recurrent(node: &NodeProto, functions: &[&str]) -> Option<(String, &'static str)> {
    let plain = "export it with the functions that the operator has by default";
    let spread = "export the steps as plain operators";
    let direction = text(node, "direction").unwrap_or(b"forward");
    if direction == b"reverse" {
        let turned = "export it forward, with its input turned around before and its output after";
        return Some(("direction = reverse".into(), turned));
    }
    if direction == b"bidirectional" && int(node, "layout") == Some(1) {
        let first = "export it with the time first (batch_first=False)";
        return Some(("both directions and layout = 1".into(), first));
    }
    let named = attribute(node, "activations").map_or(&[][..], |named| &named.strings);
    let is_default = |(at, name): (usize, &Vec<u8>)| {
        name.eq_ignore_ascii_case(functions[at % functions.len()].as_bytes())
    };
    if !named.iter().enumerate().all(is_default) {
        return Some(("other activations".into(), plain));
    }
    if attribute(node, "clip").is_some() {
        return Some(("clip".into(), spread));
    }
    if int(node, "input_forget").is_some_and(|coupled| coupled != 0) {
        return Some(("input_forget".into(), spread));
    }
    None
}

/// Whether a Dropout is known to leave something out in every run. Where that is said in a run only, tract
/// gives an error then.
fn trains(node: &NodeProto, nodes: &Nodes<'_>) -> bool {
    let is_true = |trains: crate::tensor::Tensor| matches!(trains.data(), Data::Bool(trains) if trains.contains(&true));
    let is_nought = input(node, 1).is_some()
        && nodes.known(node, 1).is_none_or(|ratio| ratio.data().number(0) == Some(0.0));
    nodes.known(node, 2).is_some_and(is_true) && !is_nought
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OnnxModel;
    use crate::engine::model::tests::{field, model, node};
    use crate::tensor::Element;

    fn number(name: &str, value: u8) -> Vec<u8> {
        [field(1, name.as_bytes()), vec![3 << 3, value]].concat()
    }

    fn fraction(name: &str, value: f32) -> Vec<u8> {
        [field(1, name.as_bytes()), vec![2 << 3 | 5], value.to_le_bytes().to_vec()].concat()
    }

    fn texts(name: &str, number: u8, values: &[&str]) -> Vec<u8> {
        let values = values.iter().flat_map(|value| field(number, value.as_bytes()));
        [field(1, name.as_bytes()), values.collect()].concat()
    }

    /// What is wrong of a model with this one node, and these further fields of its graph.
    fn found(operator: &str, inputs: &[&str], attributes: &[Vec<u8>], graph: &[u8]) -> String {
        let attributes: Vec<u8> = attributes.iter().flat_map(|it| field(5, it)).collect();
        let node = [node(operator, "", (inputs, &["y"])), attributes].concat();
        let file = model(&[field(1, &node), graph.to_vec()].concat());
        wrong(OnnxModel::read(&file).unwrap().proto(), &[]).unwrap_or_default()
    }

    #[test]
    fn recurrent_operators_are_taken_as_they_are_by_default_and_told_of_otherwise() {
        let of =
            |operator, attributes: &[Vec<u8>]| found(operator, &["x", "w", "r"], attributes, &[]);
        let direction = |value: &str| texts("direction", 4, &[value]);
        for operator in ["GRU", "LSTM", "RNN"] {
            assert_eq!(of(operator, &[]), "", "{operator}");
            assert_eq!(of(operator, &[direction("forward"), number("input_forget", 0)]), "");
            assert_eq!(of(operator, &[direction("bidirectional")]), "");
            assert_eq!(of(operator, &[number("layout", 1)]), "");
            for (what, attributes) in [
                ("direction = reverse", vec![direction("reverse")]),
                ("both directions and", vec![direction("bidirectional"), number("layout", 1)]),
                ("other activations", vec![texts("activations", 9, &["Relu", "Tanh", "Tanh"])]),
                ("clip", vec![fraction("clip", 3.0)]),
                ("input_forget", vec![number("input_forget", 1)]),
            ] {
                let told = of(operator, &attributes);
                assert!(told.starts_with(&format!("{operator} with {what}")), "{told}");
                assert!(told.contains("; what helps: export"), "{told}");
            }
        }
        let both = ["Sigmoid", "tanh", "Tanh", "Sigmoid", "Tanh", "Tanh"];
        let both = [direction("bidirectional"), texts("activations", 9, &both)];
        assert_eq!(of("LSTM", &both), "");
        let other = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"];
        assert_ne!(of("LSTM", &[texts("activations", 9, &other)]), "");
    }

    #[test]
    fn an_alpha_that_would_be_left_out_is_told_of() {
        for operator in SCALED {
            assert_eq!(found(operator, &["x"], &[], &[]), "");
            assert_eq!(found(operator, &["x"], &[fraction("alpha", 1.0)], &[]), "");
            let told = found(operator, &["x"], &[fraction("alpha", 2.0)], &[]);
            assert!(told.starts_with(&format!("{operator} with alpha 2; what helps: ")), "{told}");
        }
        assert_eq!(found("Elu", &["x"], &[fraction("alpha", 2.0)], &[]), "");
    }

    #[test]
    fn a_dropout_that_is_known_to_leave_something_out_is_told_of() {
        let constant = |name: &str, element: Element, bytes: &[u8]| {
            let kind = vec![1 << 3, 1, 2 << 3, element.onnx() as u8];
            field(5, &[kind, field(8, name.as_bytes()), field(9, bytes)].concat())
        };
        let with = |inputs: &[&str], trains: u8, ratio: f32| {
            let trains = constant("t", Element::Bool, &[trains]);
            let ratio = constant("r", Element::F32, &ratio.to_le_bytes());
            found("Dropout", inputs, &[], &[trains, ratio].concat())
        };
        for right in [
            with(&["x"], 1, 0.5),
            with(&["x", "r"], 1, 0.5),
            with(&["x", "r", "t"], 0, 0.5),
            with(&["x", "r", "t"], 1, 0.0),
            with(&["x", "r", "other"], 1, 0.5),
        ] {
            assert_eq!(right, "");
        }
        for wrong in [with(&["x", "r", "t"], 1, 0.5), with(&["x", "", "t"], 1, 0.0)] {
            assert!(wrong.starts_with("Dropout in training; what helps: "), "{wrong}");
        }
    }
}
