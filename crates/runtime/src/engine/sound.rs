//! Whether a file says one thing only: what engines would take in one way or another, without a word.

use super::error::EngineError;
use super::model::OnnxModel;
use std::collections::BTreeSet;
use tract_onnx::pb::GraphProto;

/// The newest version of ONNX's own operators whose examples engines were tried with. Later ones may mean
/// something else by the same name.
const OPSET_MAX: i64 = 24;

impl OnnxModel<'_> {
    /// Checks that the model gives something, that each tensor has one maker, and that it says of which version
    /// its operators are.
    ///
    /// # Errors
    /// [`EngineError::Format`], with what helps.
    pub fn check_sound(&self) -> Result<(), EngineError> {
        sound(self).map_err(EngineError::Format)
    }
}

fn sound(model: &OnnxModel<'_>) -> Result<(), String> {
    let facts = model.facts();
    if facts.outputs.is_empty() {
        return Err("it has no outputs, and tells nobody anything: export it with those that are \
                    wanted"
            .into());
    }
    let outputs = facts.outputs.iter().map(|output| output.name.as_str());
    if let Some(twice) = first_twice(outputs) {
        return Err(format!("it has two outputs called {twice}: give each a name of its own"));
    }
    if facts.operators.keys().any(|operator| operator.domain().is_empty()) {
        match facts.opsets.get("") {
            None => {
                return Err("it does not say of which version of ONNX its operators are \
                            (opset_import): export it anew"
                    .into());
            }
            Some(opset) if *opset > OPSET_MAX => {
                return Err(format!(
                    "its operators are of opset {opset}, and engines are known to get those up to \
                     {OPSET_MAX} right: export it for one of these"
                ));
            }
            Some(_) => {}
        }
    }
    model.proto().graph.iter().try_for_each(makers)
}

/// Checks a graph and those within its nodes. The depth is bounded by whoever decodes, as elsewhere.
fn makers(graph: &GraphProto) -> Result<(), String> {
    let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    if let Some(twice) = first_twice(made.filter(|name| !name.is_empty())) {
        return Err(format!(
            "two of its nodes give {twice}, and nobody knows which is meant: give each a name of its own"
        ));
    }
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let within = attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    within.into_iter().try_for_each(makers)
}

fn first_twice<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::tests::{field, model, node, value};
    use crate::tensor::Element;

    fn said(file: &[u8]) -> String {
        let sound = OnnxModel::read(file).unwrap().check_sound();
        sound.err().map_or(String::new(), |error| error.to_string())
    }

    fn relu(output: &str) -> Vec<u8> {
        field(1, &node("Relu", "", (&["x"], &[output])))
    }

    fn output(name: &str) -> Vec<u8> {
        value(12, name, Element::F32, &[1])
    }

    #[test]
    fn a_file_that_engines_could_take_in_two_ways_is_refused_with_the_cure() {
        assert_eq!(said(&model(&[relu("y"), output("y")].concat())), "");
        let none = said(&model(&relu("y")));
        assert!(none.contains("it has no outputs, and tells nobody anything"), "{none}");
        let two = said(&model(&[relu("y"), output("y"), output("y")].concat()));
        assert!(two.contains("it has two outputs called y: give"), "{two}");
        let makers = said(&model(&[relu("y"), relu("y"), output("y")].concat()));
        assert!(makers.contains("two of its nodes give y, and nobody knows"), "{makers}");
        let branch =
            [field(1, b"then_branch"), field(6, &[relu("z"), relu("z")].concat())].concat();
        let branches = [node("If", "", (&["c"], &["y"])), field(5, &branch)].concat();
        let within = said(&model(&[field(1, &branches), output("y")].concat()));
        assert!(within.contains("two of its nodes give z"), "{within}");
    }

    #[test]
    fn operators_of_no_version_or_of_one_that_nobody_has_tried_are_refused() {
        let of = |opset: Option<u8>| {
            let opset = opset.map(|opset| field(8, &[field(1, b""), vec![2 << 3, opset]].concat()));
            let graph = field(7, &[relu("y"), output("y")].concat());
            said(&[vec![1 << 3, 8], opset.unwrap_or_default(), graph].concat())
        };
        assert_eq!(of(Some(24)), "");
        assert!(of(None).contains("of which version of ONNX its operators are"));
        let later = of(Some(99));
        assert!(later.contains("its operators are of opset 99, and engines"), "{later}");
    }
}
