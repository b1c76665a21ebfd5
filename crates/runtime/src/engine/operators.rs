//! Which operators a model uses, those within its loops and branches among them.

use super::EngineError;
use std::collections::BTreeSet;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::Framework;

/// Domains whose operators are named without them (ONNX, IR.md, "Operator Sets").
const PLAIN_DOMAINS: [&str; 2] = ["", "ai.onnx"];

/// The operators that an ONNX model uses, by name, and by domain where it is not ONNX's own.
///
/// What the model defines itself (`ModelProto.functions`) counts as an operator: so far no engine of
/// ours looks into it.
///
/// # Errors
/// [`EngineError::Format`].
pub fn operators(model: &[u8]) -> Result<BTreeSet<String>, EngineError> {
    let format = |reason: String| EngineError::Format(reason);
    let model: ModelProto = tract_onnx::onnx()
        .proto_model_for_read(&mut &model[..])
        .map_err(|error| format(error.to_string()))?;
    let graph = model.graph.as_ref().ok_or_else(|| format("it has no graph".into()))?;
    let mut used = BTreeSet::new();
    collect(graph, &mut used);
    Ok(used)
}

// The depth is bounded by whoever decodes: prost takes messages a hundred deep.
fn collect(graph: &GraphProto, used: &mut BTreeSet<String>) {
    graph.node.iter().for_each(|node| add(node, used));
}

fn add(node: &NodeProto, used: &mut BTreeSet<String>) {
    used.insert(named(&node.domain, &node.op_type));
    for attribute in &node.attribute {
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| collect(graph, used));
    }
}

fn named(domain: &str, operator: &str) -> String {
    match PLAIN_DOMAINS.contains(&domain) {
        true => operator.to_owned(),
        false => format!("{domain}.{operator}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tract;

    /// A field of a protocol buffer that holds bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn node(operator: &str, domain: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes = attributes.iter().flat_map(|attribute| field(5, attribute));
        let named = [field(4, operator.as_bytes()), field(7, domain.as_bytes())].concat();
        [named, attributes.collect()].concat()
    }

    fn graph(nodes: &[Vec<u8>]) -> Vec<u8> {
        nodes.iter().flat_map(|node| field(1, node)).collect()
    }

    fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        field(7, &graph(nodes))
    }

    #[test]
    fn operators_within_branches_and_of_other_domains_are_named() {
        let branch =
            [field(1, b"then_branch"), field(6, &graph(&[node("Relu", "", &[])]))].concat();
        let nodes = [
            node("If", "ai.onnx", &[branch]),
            node("Conv", "", &[]),
            node("Conv", "", &[]),
            node("Normalizer", "ai.onnx.ml", &[]),
        ];
        let used: Vec<String> = operators(&model(&nodes)).unwrap().into_iter().collect();
        assert_eq!(used, ["Conv", "If", "Relu", "ai.onnx.ml.Normalizer"]);
    }

    #[test]
    fn what_is_no_model_has_no_operators_but_an_error() {
        for bytes in [&b"no model"[..], b"", &[0xff; 40]] {
            assert!(matches!(operators(bytes), Err(EngineError::Format(_))), "{bytes:?}");
        }
    }

    #[test]
    fn the_engine_says_which_operators_it_lacks_by_name() {
        let used = ["Conv", "Relu", "com.acme.Teleport", "Teleport"].map(str::to_owned);
        assert_eq!(Tract::lacking(&used), ["com.acme.Teleport", "Teleport"]);
    }
}
