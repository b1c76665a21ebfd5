//! Files that say what cannot be: each is refused when it is loaded, and none takes long or much.

use super::sample::{Sample, Set, load, table};
use super::trees::stump;
use crate::engine::model::tests::{field, model, node, value};
use crate::tensor::{Data, Element};

fn refused(sample: &Sample, reason: &str) {
    let error = sample.rows(&[&[0.0]]).err();
    let error = error.unwrap_or_else(|| panic!("it is taken, not refused for: {reason}"));
    assert!(error.contains(reason), "{error}, not {reason}");
    assert!(error.len() < 400, "{error}");
}

fn one_tree() -> Sample {
    stump("TreeEnsembleRegressor", &[(1, 0, 1.0), (2, 0, 2.0)])
}

#[test]
fn a_tree_without_an_end_is_refused() {
    let circle = "tree 0 goes round in a circle";
    let children = |yes: [i64; 3], no: [i64; 3]| {
        one_tree()
            .with("nodes_modes", Set::Texts(vec!["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"]))
            .with("nodes_truenodeids", Set::Ints(yes.to_vec()))
            .with("nodes_falsenodeids", Set::Ints(no.to_vec()))
    };
    refused(&children([0, 2, 0], [1, 2, 0]), circle);
    refused(&children([1, 1, 0], [2, 2, 0]), circle);
    refused(&children([1, 0, 0], [2, 2, 0]), circle);
    // A node to which nothing leads.
    refused(&children([2, 2, 0], [2, 2, 0]), circle);
    // Several ways to one node are none: tests of membership are written so.
    let member = children([2, 2, 0], [1, 2, 0])
        .with("target_treeids", Set::Ints(vec![0]))
        .with("target_nodeids", Set::Ints(vec![2]))
        .with("target_ids", Set::Ints(vec![0]))
        .with("target_weights", Set::Floats(vec![1.0]));
    assert!(member.rows(&[&[0.0]]).is_ok());
}

#[test]
fn a_tree_of_half_a_million_nodes_in_one_line_is_read_and_walked_without_recursion() {
    let depth = 250_000i64;
    // Each asks for more than the one before; yes is a leaf.
    let nodes: Vec<i64> = (0..=2 * depth).collect();
    let inner = |node: &i64| node % 2 == 0 && *node < 2 * depth;
    let mode = |node: &i64| if inner(node) { "BRANCH_LEQ" } else { "LEAF" };
    let next = |add: i64| {
        let next = nodes.iter().map(|node| if inner(node) { node + add } else { 0 });
        Set::Ints(next.collect())
    };
    let sample = one_tree()
        .with("nodes_treeids", Set::Ints(vec![0; nodes.len()]))
        .with("nodes_featureids", Set::Ints(vec![0; nodes.len()]))
        .with("nodes_modes", Set::Texts(nodes.iter().map(mode).collect()))
        .with("nodes_values", Set::Floats(nodes.iter().map(|node| *node as f32).collect()))
        .with("nodes_truenodeids", next(1))
        .with("nodes_falsenodeids", next(2))
        .with("nodes_nodeids", Set::Ints(nodes.clone()))
        .with("target_treeids", Set::Ints(vec![0]))
        .with("target_nodeids", Set::Ints(vec![2 * depth]))
        .with("target_ids", Set::Ints(vec![0]))
        .with("target_weights", Set::Floats(vec![7.0]));
    let outputs = sample.rows(&[&[1e9], &[3.0]]).unwrap();
    assert_eq!(*outputs[0].data(), Data::F32(vec![7.0, 0.0]));
}

#[test]
fn several_weights_of_a_leaf_for_one_target_count_once_where_they_are_alike_and_are_refused_else() {
    // As skl2onnx writes `decision_leaf`: the number of the leaf, once for each class.
    let alike = [(1, 0, 1.0), (1, 0, 1.0), (1, 0, 1.0), (2, 0, 2.0), (2, 0, 2.0), (2, 0, 2.0)];
    let outputs = stump("TreeEnsembleRegressor", &alike).rows(&[&[0.0], &[1.0]]).unwrap();
    assert_eq!(*outputs[0].data(), Data::F32(vec![1.0, 2.0]));
    let several = "node 1 of tree 0 has several weights for number 0";
    let unlike = [(1, 0, 1.0), (1, 0, 3.0), (2, 0, 2.0)];
    refused(&stump("TreeEnsembleRegressor", &unlike), several);
    let two = stump("TreeEnsembleRegressor", &[(1, 0, 1.0), (1, 0, 1.0), (2, 1, 2.0)]);
    refused(&two.with("n_targets", Set::Int(2)), several);
}

#[test]
fn numbers_that_lead_nowhere_are_refused() {
    let ints = |values: &[i64]| Set::Ints(values.to_vec());
    for (attribute, values, reason) in [
        ("nodes_truenodeids", [9, 0, 0], "node 0 of tree 0 leads to node 9, which is not there"),
        ("nodes_falsenodeids", [-1, 0, 0], "leads to node -1"),
        ("nodes_truenodeids", [i64::MIN, 0, 0], "leads to node -9223372036854775808"),
        ("nodes_featureids", [1, 0, 0], "node 0 of tree 0 asks for column 1 of 1"),
        ("nodes_featureids", [-1, 0, 0], "asks for column -1 of 1"),
        ("nodes_featureids", [u32::MAX.into(), 0, 0], "asks for column 4294967295 of 1"),
        ("nodes_nodeids", [0, 1, 1], "node 1 of tree 0 is there twice"),
        ("nodes_treeids", [0, 1, 0], "the nodes of tree 0 lie apart"),
        ("nodes_treeids", [0, 0, 1], "which is not there"),
    ] {
        refused(&one_tree().with(attribute, ints(&values)), reason);
    }
    for (attribute, values, reason) in [
        ("target_nodeids", [1, 9], "a weight belongs to node 9 of tree 0, which is not there"),
        ("target_treeids", [0, 7], "node 2 of tree 7, which is not there"),
        ("target_ids", [0, 1], "a weight is for number 1 of 1"),
        ("target_ids", [0, -1], "a weight is for number -1 of 1"),
    ] {
        refused(&one_tree().with(attribute, ints(&values)), reason);
    }
}

#[test]
fn lists_that_do_not_belong_together_are_refused() {
    for attribute in
        ["nodes_treeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids"]
    {
        refused(&one_tree().with(attribute, Set::Ints(vec![0; 2])), "it has 3 nodes and 2");
        refused(&one_tree().without(attribute), "it has 3 nodes and 0");
    }
    let tracks = Set::Ints(vec![1]);
    refused(&one_tree().with("nodes_missing_value_tracks_true", tracks), "it has 3 nodes and 1");
    refused(&one_tree().with("nodes_values", Set::Floats(vec![0.0])), "it has 3 nodes and 1");
    refused(&one_tree().with("nodes_nodeids", Set::Ints(vec![])), "it has no trees");
    refused(&one_tree().with("target_weights", Set::Floats(vec![])), "are not of one length");
    refused(&one_tree().with("base_values", Set::Floats(vec![0.0; 2])), "2 base_values");
    for targets in [0, -1, i64::MIN, i64::MAX] {
        refused(&one_tree().with("n_targets", Set::Int(targets)), "is no number of targets");
    }
    let many = one_tree().with("n_targets", Set::Int(1 << 24));
    let error = many.load(&[&table(&[&[0.0], &[0.0]])]).err().unwrap();
    assert!(error.contains("more than 16777216 elements"), "{error}");
}

#[test]
fn what_nobody_knows_the_meaning_of_is_refused_by_name() {
    let modes = Set::Texts(vec!["BRANCH_MAYBE", "LEAF", "LEAF"]);
    refused(&one_tree().with("nodes_modes", modes), "mode \"BRANCH_MAYBE\" is unknown");
    refused(&one_tree().with("post_transform", Set::Text("CUBE")), "post_transform \"CUBE\"");
    refused(&one_tree().with("aggregate_function", Set::Text("MEDIAN")), "\"MEDIAN\"");
    refused(&one_tree().with("membership", Set::Int(1)), "attribute membership is not known");
    refused(&one_tree().with("nodes_values", Set::Int(1)), "nodes_values is of another kind");
    let logistic = one_tree().with("post_transform", Set::Text("LOGISTIC"));
    refused(&logistic, "use NONE and an operator of its own");

    let classifier = |weights: &[(i64, i64, f32)], labels: &[i64]| {
        stump("TreeEnsembleClassifier", weights)
            .with("classlabels_int64s", Set::Ints(labels.to_vec()))
    };
    refused(&classifier(&[(1, 0, 1.0)], &[0]), "it has a single class");
    refused(&classifier(&[(1, 0, 1.0)], &[]), "either classlabels_int64s or classlabels_strings");
    let base = Set::Floats(vec![0.1, 0.2]);
    let one = classifier(&[(1, 0, 1.0)], &[0, 1]);
    refused(&one.with("base_values", base), "2 base_values, 1 would have a meaning");
    let probit = classifier(&[(1, 0, 1.0)], &[0, 1]).with("post_transform", Set::Text("PROBIT"));
    refused(&probit, "PROBIT has no meaning for a single score");
}

#[test]
fn inputs_that_are_no_rows_of_numbers_are_refused() {
    use crate::tensor::Tensor;
    let given = |shape: &[usize], data| Tensor::new(shape.to_vec(), data).unwrap();
    for (input, reason) in [
        (given(&[1, 1, 1], Data::F32(vec![0.0])), "[1, 1, 1], not rows and columns"),
        (given(&[], Data::F32(vec![0.0])), "[], not rows and columns"),
        (given(&[1, 1], Data::Bytes(vec![vec![]])), "its input is text"),
    ] {
        let error = one_tree().run(&[&input]).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_graph_takes_only_what_came_before_and_gives_only_what_there_is() {
    let identity = |from: &str, to: &str| field(1, &node("Identity", "", (&[from], &[to])));
    let port = |number, name| value(number, name, Element::F32, &[1]);
    for (nodes, reason) in [
        ([identity("b", "y"), identity("x", "b")], "nothing before it gives b"),
        ([identity("y", "b"), identity("b", "y")], "its nodes go in a circle"),
        ([identity("x", "y"), identity("x", "y")], "two values are called y"),
        ([identity("x", "b"), identity("x", "x")], "its nodes go in a circle"),
        ([identity("x", "b"), identity("x", "c")], "nothing gives output y"),
    ] {
        let graph = [nodes.concat(), port(11, "x"), port(12, "y")].concat();
        let error = load(&model(&graph)).err().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    let bare = field(1, &node("Identity", "", (&[], &["y"])));
    let error = load(&model(&[bare, port(11, "x"), port(12, "y")].concat())).err().unwrap();
    assert!(error.contains("Identity for y: its input 0 is missing"), "{error}");
}

/// A model that puts its input behind itself so many times over.
fn doubled(steps: usize, element: Element, length: u8) -> Vec<u8> {
    let (mut graph, mut from) = (vec![], "x".to_owned());
    for step in 0..steps {
        let to = format!("x{step}");
        let axis = [field(1, b"axis"), vec![3 << 3, 0, 0xa0, 0x01, 2]].concat();
        let concat = node("Concat", "", (&[&from, &from], &[&to]));
        graph.extend(field(1, &[concat, field(5, &axis)].concat()));
        from = to;
    }
    graph.extend(value(11, "x", element, &[length]));
    graph.extend(value(12, &from, element, &[1]));
    model(&graph)
}

#[test]
fn what_doubles_at_every_step_is_stopped_before_it_is_there() {
    let error = load(&doubled(40, Element::F32, 100)).err().unwrap();
    assert!(error.contains("more than 16777216 elements"), "{error}");

    // Texts are short or long: their bytes are counted where they come to be.
    let mut engine = load(&doubled(12, Element::Bytes, 1)).unwrap();
    let text = |bytes| {
        let data = Data::Bytes(vec![vec![b'x'; bytes]]);
        crate::tensor::Tensor::new(vec![1], data).unwrap()
    };
    assert!(engine.run(&[&text(10)]).is_ok());
    let error = engine.run(&[&text(100_000)]).unwrap_err().to_string();
    assert!(error.contains("67108864 bytes together"), "{error}");
}

#[test]
fn an_answer_that_is_no_number_is_an_error() {
    let sample = one_tree().with("target_weights", Set::Floats(vec![f32::INFINITY, 1.0]));
    let error = sample.run(&[&table(&[&[0.0]])]).unwrap_err();
    assert_eq!(error, "output y is not finite");
}
