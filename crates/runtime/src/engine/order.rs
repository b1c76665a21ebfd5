//! Whether the nodes of a graph can be run one after the other.

use super::error::EngineError;
use std::collections::BTreeMap;
use tract_onnx::pb::GraphProto;

/// Checks that no node needs what it gives itself, by way of others: engines go round in such a circle
/// until they have no stack left. The order in which nodes are written is none of anybody's business
/// here, and graphs within nodes are checked by themselves.
///
/// # Errors
/// [`EngineError::Format`], with a tensor of the circle or behind it.
pub(super) fn check_order(graph: &GraphProto) -> Result<(), EngineError> {
    order(graph).map(drop)
}

/// The places of the nodes in an order in which each comes after those from which it takes something.
///
/// # Errors
/// As [`check_order`].
pub(super) fn order(graph: &GraphProto) -> Result<Vec<usize>, EngineError> {
    let makers: BTreeMap<&str, usize> = (0..)
        .zip(&graph.node)
        .flat_map(|(place, node)| node.output.iter().map(move |name| (name.as_str(), place)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    // How many tensors each node still waits for, and who waits for each node.
    let mut wanted = vec![0usize; graph.node.len()];
    let mut waiting = vec![Vec::new(); graph.node.len()];
    for (place, node) in graph.node.iter().enumerate() {
        for maker in node.input.iter().filter_map(|name| makers.get(name.as_str())) {
            wanted[place] += 1;
            waiting[*maker].push(place);
        }
    }
    let mut ready: Vec<usize> = (0..wanted.len()).filter(|place| wanted[*place] == 0).collect();
    let mut order = Vec::with_capacity(wanted.len());
    while let Some(place) = ready.pop() {
        order.push(place);
        for next in std::mem::take(&mut waiting[place]) {
            wanted[next] -= 1;
            if wanted[next] == 0 {
                ready.push(next);
            }
        }
    }
    let Some(stuck) = wanted.iter().position(|wanted| *wanted > 0) else { return Ok(order) };
    let name = graph.node[stuck].output.first().map_or("", String::as_str);
    Err(EngineError::Format(format!("its nodes go in a circle, and {name:?} comes of it")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::NodeProto;

    /// A graph of nodes that are written `inputs > outputs`.
    fn checked(nodes: &[&str]) -> Result<(), String> {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let node = |text: &&str| {
            let (inputs, outputs) = text.split_once('>').unwrap();
            NodeProto { input: names(inputs), output: names(outputs), ..NodeProto::default() }
        };
        let graph = GraphProto { node: nodes.iter().map(node).collect(), ..GraphProto::default() };
        check_order(&graph).map_err(|error| error.to_string())
    }

    #[test]
    fn nodes_in_any_order_are_taken_and_a_circle_is_told_by_a_tensor_of_it() {
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&["b x > c", "x x > a", "a > b d"]), Ok(()));
        for (circle, name) in [
            (&["x b > a", "a > b", "b > c"][..], "a"),
            (&["c > y", "x b > a", "a > b", "b > c"], "y"),
            (&["x > z", "b > b"], "b"),
        ] {
            let said = checked(circle).unwrap_err();
            let told = format!("its nodes go in a circle, and {name:?} comes of it");
            assert!(said.ends_with(&told), "{said}");
        }
    }

    #[test]
    fn a_chain_of_many_nodes_costs_no_stack() {
        let chain: Vec<String> =
            (0..100_000).rev().map(|at| format!("t{at} > t{}", at + 1)).collect();
        assert_eq!(checked(&chain.iter().map(String::as_str).collect::<Vec<_>>()), Ok(()));
    }
}
