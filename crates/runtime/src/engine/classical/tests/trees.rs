//! Tree ensembles. Answers given as numbers are those of onnxruntime 1.32, but where a test says else.

use super::sample::{Sample, Set, floats, ints, near, table};
use crate::tensor::{Data, Tensor};
use proptest::prelude::*;

/// A tree with one question of column 0, at 0.5: node 1 for yes, 2 for no. Each leaf has the weights
/// that follow its number, with the class or target that they are for.
pub(super) fn stump(operator: &'static str, weights: &[(i64, i64, f32)]) -> Sample {
    let outputs = if operator == "TreeEnsembleClassifier" { 2 } else { 1 };
    let nodes = |name: &'static str| match operator {
        "TreeEnsembleClassifier" => {
            ["class_treeids", "class_nodeids", "class_ids", "class_weights"]
                .into_iter()
                .find(|it| it.ends_with(name))
                .unwrap()
        }
        _ => ["target_treeids", "target_nodeids", "target_ids", "target_weights"]
            .into_iter()
            .find(|it| it.ends_with(name))
            .unwrap(),
    };
    Sample::ml(operator, outputs)
        .with("nodes_treeids", Set::Ints(vec![0, 0, 0]))
        .with("nodes_nodeids", Set::Ints(vec![0, 1, 2]))
        .with("nodes_featureids", Set::Ints(vec![0, 0, 0]))
        .with("nodes_modes", Set::Texts(vec!["BRANCH_LEQ", "LEAF", "LEAF"]))
        .with("nodes_values", Set::Floats(vec![0.5, 0.0, 0.0]))
        .with("nodes_truenodeids", Set::Ints(vec![1, 0, 0]))
        .with("nodes_falsenodeids", Set::Ints(vec![2, 0, 0]))
        .with(nodes("treeids"), Set::Ints(vec![0; weights.len()]))
        .with(nodes("nodeids"), Set::Ints(weights.iter().map(|it| it.0).collect()))
        .with(nodes("_ids"), Set::Ints(weights.iter().map(|it| it.1).collect()))
        .with(nodes("weights"), Set::Floats(weights.iter().map(|it| it.2).collect()))
}

/// Two rows: yes and no.
const ROWS: [&[f32]; 2] = [&[0.0], &[1.0]];
const PROBABILITIES: [(i64, i64, f32); 2] = [(1, 0, 0.3), (2, 0, 0.8)];
const MARGINS: [(i64, i64, f32); 2] = [(1, 0, -0.3), (2, 0, 0.8)];
const BOTH: [(i64, i64, f32); 4] = [(1, 0, 0.7), (1, 1, 0.3), (2, 0, 0.2), (2, 1, 0.8)];

fn classifier(weights: &[(i64, i64, f32)], labels: &[i64]) -> Sample {
    stump("TreeEnsembleClassifier", weights).with("classlabels_int64s", Set::Ints(labels.to_vec()))
}

fn regressor(weights: &[(i64, i64, f32)], targets: i64) -> Sample {
    stump("TreeEnsembleRegressor", weights).with("n_targets", Set::Int(targets))
}

fn judged(sample: &Sample, labels: [i64; 2], scores: &[f32]) {
    let outputs = sample.rows(&ROWS).unwrap();
    assert_eq!(ints(&outputs[0]), labels);
    assert_eq!(outputs[0].shape(), [2]);
    near(&outputs[1], scores);
    assert_eq!(outputs[1].shape(), [2, scores.len() / 2]);
}

#[test]
fn every_mode_asks_its_own_question() {
    let below = [0.25f32, 0.5, 0.75, f32::NAN];
    for (mode, answers) in [
        ("BRANCH_LEQ", [true, true, false, false]),
        ("BRANCH_LT", [true, false, false, false]),
        ("BRANCH_GTE", [false, true, true, false]),
        ("BRANCH_GT", [false, false, true, false]),
        ("BRANCH_EQ", [false, true, false, false]),
        ("BRANCH_NEQ", [true, false, true, true]),
    ] {
        let sample = regressor(&[(1, 0, 1.0), (2, 0, 0.0)], 1)
            .with("nodes_modes", Set::Texts(vec![mode, "LEAF", "LEAF"]));
        let rows: Vec<&[f32]> = below.iter().map(std::slice::from_ref).collect();
        let answers = answers.map(|yes| f32::from(u8::from(yes)));
        assert_eq!(floats(&sample.rows(&rows).unwrap()[0]), answers, "{mode}");
        // What is missing goes where the node says, and everything else as before.
        let tracks = Set::Ints(vec![1, 0, 0]);
        let sample = sample.with("nodes_missing_value_tracks_true", tracks);
        let tracked = [answers[0], answers[1], answers[2], 1.0];
        assert_eq!(floats(&sample.rows(&rows).unwrap()[0]), tracked, "{mode}");
    }
}

#[test]
fn a_score_for_one_of_two_classes_is_a_probability_where_no_weight_is_below_nought() {
    let sample = classifier(&PROBABILITIES, &[10, 20]);
    judged(&sample, [10, 20], &[0.7, 0.3, 0.2, 0.8]);
    let based = classifier(&PROBABILITIES, &[10, 20]).with("base_values", Set::Floats(vec![0.1]));
    judged(&based, [10, 20], &[0.6, 0.4, 0.1, 0.9]);
    for (transform, scores) in [
        ("NONE", [0.7, 0.3, 0.2, 0.8]),
        ("LOGISTIC", [0.425_557_5, 0.574_442_5, 0.310_025_5, 0.689_974_5]),
        ("SOFTMAX", [0.7, 0.3, 0.2, 0.8]),
        ("SOFTMAX_ZERO", [0.7, 0.3, 0.2, 0.8]),
    ] {
        let sample = classifier(&PROBABILITIES, &[10, 20]);
        judged(&sample.with("post_transform", Set::Text(transform)), [10, 20], &scores);
    }
}

#[test]
fn a_score_for_one_of_two_classes_is_a_margin_where_a_weight_is_below_nought() {
    for (transform, scores) in [
        ("NONE", [0.3, -0.3, -0.8, 0.8]),
        ("LOGISTIC", [0.574_442_5, 0.425_557_5, 0.310_025_5, 0.689_974_5]),
    ] {
        let sample = classifier(&MARGINS, &[10, 20]);
        judged(&sample.with("post_transform", Set::Text(transform)), [10, 20], &scores);
    }
    let based = classifier(&MARGINS, &[10, 20])
        .with("base_values", Set::Floats(vec![0.1]))
        .with("post_transform", Set::Text("LOGISTIC"));
    judged(&based, [10, 20], &[0.549_834, 0.450_166, 0.289_050_5, 0.710_949_5]);
}

#[test]
fn a_score_for_the_second_of_two_classes_leaves_the_first_at_nought() {
    let weights = [(1, 1, 0.3), (2, 1, 0.8)];
    for (transform, scores) in [
        ("NONE", [0.0, 0.3, 0.0, 0.8]),
        ("LOGISTIC", [0.5, 0.574_442_5, 0.5, 0.689_974_5]),
        ("SOFTMAX", [0.425_557_5, 0.574_442_5, 0.310_025_5, 0.689_974_5]),
        ("SOFTMAX_ZERO", [0.0, 1.0, 0.0, 1.0]),
    ] {
        let sample = classifier(&weights, &[10, 20]).with("post_transform", Set::Text(transform));
        judged(&sample, [10, 20], &scores);
    }
    judged(&classifier(&[(1, 1, -0.3), (2, 1, 0.8)], &[10, 20]), [10, 20], &[0.0, -0.3, 0.0, 0.8]);
}

/// onnxruntime gives the labels 1 and 0 here, whatever the classes are called, and 1 for all that is
/// above nought; the specification's meaning is the larger score.
#[test]
fn of_two_classes_with_scores_of_their_own_the_larger_wins() {
    for (transform, scores) in [
        ("NONE", [0.7, 0.3, 0.2, 0.8]),
        ("LOGISTIC", [0.668_187_7, 0.574_442_5, 0.549_834, 0.689_974_5]),
        ("SOFTMAX", [0.598_687_65, 0.401_312_35, 0.354_343_7, 0.645_656_3]),
        ("PROBIT", [0.524_445_9, -0.524_445_9, -0.841_756_1, 0.841_756_1]),
    ] {
        let sample = classifier(&BOTH, &[10, 20]).with("post_transform", Set::Text(transform));
        judged(&sample, [10, 20], &scores);
    }
    let based = classifier(&BOTH, &[10, 20]).with("base_values", Set::Floats(vec![0.0, 0.5]));
    judged(&based, [20, 20], &[0.7, 0.8, 0.2, 1.3]);
}

#[test]
fn of_many_classes_the_largest_score_wins_and_one_without_a_word_for_it_has_none() {
    let sample =
        classifier(&BOTH, &[10, 20, 30]).with("base_values", Set::Floats(vec![0.1, 0.2, 0.9]));
    judged(&sample, [30, 20], &[0.8, 0.5, 0.9, 0.3, 1.0, 0.9]);
    let silent = classifier(&[(1, 1, -0.3), (2, 2, -0.8)], &[10, 20, 30]);
    judged(&silent, [20, 30], &[0.0, -0.3, 0.0, 0.0, 0.0, -0.8]);
    // Nobody spoke for any: the first, as of equal ones.
    judged(&classifier(&[], &[10, 20, 30]), [10, 10], &[0.0; 6]);
}

#[test]
fn classes_may_be_called_by_texts() {
    let sample = classifier(&PROBABILITIES, &[])
        .without("classlabels_int64s")
        .with("classlabels_strings", Set::Texts(vec!["good", "faulty"]));
    let outputs = sample.rows(&ROWS).unwrap();
    assert_eq!(*outputs[0].data(), Data::Bytes(vec![b"good".to_vec(), b"faulty".to_vec()]));
}

#[test]
fn targets_are_what_the_leaves_say_and_the_base_values() {
    let single = [(1, 0, 0.3), (2, 0, 0.8)];
    near(&regressor(&single, 1).rows(&ROWS).unwrap()[0], &[0.3, 0.8]);
    let based = regressor(&single, 1).with("base_values", Set::Floats(vec![0.1]));
    near(&based.rows(&ROWS).unwrap()[0], &[0.4, 0.9]);
    let probit = based.with("post_transform", Set::Text("PROBIT"));
    near(&probit.rows(&ROWS).unwrap()[0], &[-0.253_353_5, 1.281_713_2]);
    for (transform, scores) in [
        ("NONE", [0.8, 0.35, 0.3, 0.85]),
        ("LOGISTIC", [0.689_974_5, 0.586_617_6, 0.574_442_5, 0.700_567_2]),
        ("SOFTMAX", [0.610_639_3, 0.389_360_7, 0.365_864_4, 0.634_135_6]),
    ] {
        let sample = regressor(&BOTH, 2)
            .with("base_values", Set::Floats(vec![0.1, 0.05]))
            .with("post_transform", Set::Text(transform));
        let outputs = sample.rows(&ROWS).unwrap();
        near(&outputs[0], &scores);
        assert_eq!(outputs[0].shape(), [2, 2]);
    }
}

/// onnxruntime forgets the base value there and gives nought.
#[test]
fn a_target_that_no_leaf_speaks_for_has_its_base_value() {
    let sample = regressor(&[(1, 1, 0.3), (2, 1, 0.8)], 2);
    let based = sample.with("base_values", Set::Floats(vec![0.1, 0.05]));
    near(&based.rows(&ROWS).unwrap()[0], &[0.1, 0.35, 0.1, 0.85]);
}

#[test]
fn numbers_of_64_bits_are_compared_in_64() {
    // Two thresholds that are one in 32 bits.
    let values = Data::F64(vec![0.1, 0.0, 0.0]);
    let sample = regressor(&[(1, 0, 1.0), (2, 0, 2.0)], 1)
        .without("nodes_values")
        .with("nodes_values_as_tensor", Set::Tensor(values));
    let given = Data::F64(vec![0.1, 0.1 + 1e-12]);
    let given = Tensor::new(vec![2, 1], given).unwrap();
    assert_eq!(floats(&sample.run(&[&given]).unwrap()[0]), [1.0, 2.0]);
    let error = sample.rows(&ROWS).unwrap_err();
    assert!(error.contains("nodes_values_as_tensor is f64, not as its input"), "{error}");
}

#[test]
fn whole_numbers_are_taken_and_a_single_row_may_have_one_dimension() {
    let sample = regressor(&[(1, 0, 1.0), (2, 0, 2.0)], 1);
    for data in [Data::I64(vec![0, 1]), Data::I32(vec![0, 1])] {
        let given = Tensor::new(vec![2, 1], data).unwrap();
        assert_eq!(floats(&sample.run(&[&given]).unwrap()[0]), [1.0, 2.0]);
    }
    let row = Tensor::new(vec![1], Data::F32(vec![1.0])).unwrap();
    let outputs = sample.run(&[&row]).unwrap();
    assert_eq!((floats(&outputs[0]), outputs[0].shape()), (&[2.0][..], &[1, 1][..]));
    let none = Tensor::new(vec![0, 1], Data::F32(vec![])).unwrap();
    let sample = classifier(&PROBABILITIES, &[0, 1]);
    assert!(sample.load(&[&table(&ROWS)]).unwrap().run(&[&none]).is_err());
}

/// A tree as a person would draw it.
#[derive(Debug, Clone)]
enum Drawn {
    Leaf(Vec<(usize, f32)>),
    Ask { column: usize, mode: usize, value: f32, missing: bool, no: Box<Drawn>, yes: Box<Drawn> },
}

const MODES: [&str; 6] =
    ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"];
const COLUMNS: usize = 3;
const TARGETS: usize = 3;

impl Drawn {
    fn leaf<'a>(&'a self, row: &[f32]) -> &'a [(usize, f32)] {
        match self {
            Drawn::Leaf(weights) => weights,
            Drawn::Ask { column, mode, value, missing, no, yes } => {
                let number = row[*column];
                let holds = match *mode {
                    0 => number <= *value,
                    1 => number < *value,
                    2 => number >= *value,
                    3 => number > *value,
                    4 => number == *value,
                    _ => number != *value,
                };
                if holds || (*missing && number.is_nan()) { yes.leaf(row) } else { no.leaf(row) }
            }
        }
    }
}

/// The attributes of an ensemble as they are filled.
#[derive(Default)]
struct Lists {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    tracks: Vec<i64>,
    weights: Vec<(i64, i64, i64, f32)>,
}

impl Lists {
    /// Adds a tree whose numbers go up by `step`, and gives the number of its root.
    fn add(&mut self, tree: i64, first: &mut i64, step: i64, drawn: &Drawn) -> i64 {
        let node = *first;
        *first += step;
        let at = self.nodes.len();
        self.trees.push(tree);
        self.nodes.push(node);
        let (column, mode, value, missing) = match drawn {
            Drawn::Leaf(weights) => {
                let weights = weights.iter().map(|it| (tree, node, it.0 as i64, it.1));
                self.weights.extend(weights);
                (0, "LEAF", 0.0, false)
            }
            Drawn::Ask { column, mode, value, missing, .. } => {
                (*column, MODES[*mode], *value, *missing)
            }
        };
        self.features.push(column as i64);
        self.modes.push(mode);
        self.values.push(value);
        self.tracks.push(i64::from(missing));
        self.yes.push(0);
        self.no.push(0);
        if let Drawn::Ask { no, yes, .. } = drawn {
            self.yes[at] = self.add(tree, first, step, yes);
            self.no[at] = self.add(tree, first, step, no);
        }
        node
    }

    fn regressor(self, aggregate: &'static str) -> Sample {
        Sample::ml("TreeEnsembleRegressor", 1)
            .with("n_targets", Set::Int(TARGETS as i64))
            .with("aggregate_function", Set::Text(aggregate))
            .with("nodes_treeids", Set::Ints(self.trees))
            .with("nodes_nodeids", Set::Ints(self.nodes))
            .with("nodes_featureids", Set::Ints(self.features))
            .with("nodes_modes", Set::Texts(self.modes))
            .with("nodes_values", Set::Floats(self.values))
            .with("nodes_truenodeids", Set::Ints(self.yes))
            .with("nodes_falsenodeids", Set::Ints(self.no))
            .with("nodes_missing_value_tracks_true", Set::Ints(self.tracks))
            .with("target_treeids", Set::Ints(self.weights.iter().map(|it| it.0).collect()))
            .with("target_nodeids", Set::Ints(self.weights.iter().map(|it| it.1).collect()))
            .with("target_ids", Set::Ints(self.weights.iter().map(|it| it.2).collect()))
            .with("target_weights", Set::Floats(self.weights.iter().map(|it| it.3).collect()))
    }
}

/// Numbers of which some meet.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![4 => (-4i8..4).prop_map(f32::from), 1 => Just(f32::NAN), 1 => -4.0f32..4.0]
}

fn drawn(modes: std::ops::Range<usize>, missing: bool) -> impl Strategy<Value = Drawn> {
    let weight = -4.0f32..4.0;
    let leaf = proptest::collection::btree_map(0..TARGETS, weight, 0..3)
        .prop_map(|weights| Drawn::Leaf(weights.into_iter().collect()));
    leaf.prop_recursive(5, 32, 2, move |inner| {
        let value = prop_oneof![(-4i8..4).prop_map(f32::from), -4.0f32..4.0];
        let missing = any::<bool>().prop_map(move |it| it && missing);
        (0..COLUMNS, modes.clone(), value, missing, inner.clone(), inner).prop_map(
            |(column, mode, value, missing, no, yes)| Drawn::Ask {
                column,
                mode,
                value,
                missing,
                no: no.into(),
                yes: yes.into(),
            },
        )
    })
}

/// Trees that all compare alike, as trainers make them, or each node in its own way.
fn forest() -> impl Strategy<Value = Vec<Drawn>> {
    let trees = |modes, missing| proptest::collection::vec(drawn(modes, missing), 1..7);
    prop_oneof![trees(0..1, false), trees(0..1, true), trees(0..MODES.len(), true)]
}

proptest! {
    #[test]
    fn every_ensemble_gives_what_its_drawing_says(
        trees in forest(),
        rows in proptest::collection::vec(proptest::collection::vec(number(), COLUMNS), 1..6),
        step in 1..4i64,
    ) {
        for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"] {
            let mut lists = Lists::default();
            for (tree, drawn) in trees.iter().enumerate() {
                // Numbers of nodes begin anywhere, and trees come in any order of theirs.
                lists.add(50 - 7 * tree as i64, &mut (step * 3), step, drawn);
            }
            let mut wanted = Vec::new();
            for row in &rows {
                let mut scores = [None::<f32>; TARGETS];
                for (target, weight) in trees.iter().flat_map(|tree| tree.leaf(row)) {
                    let score = &mut scores[*target];
                    *score = Some(match (*score, aggregate) {
                        (None, _) => *weight,
                        (Some(score), "MIN") => score.min(*weight),
                        (Some(score), "MAX") => score.max(*weight),
                        (Some(score), _) => score + weight,
                    });
                }
                let count = if aggregate == "AVERAGE" { trees.len() as f32 } else { 1.0 };
                wanted.extend(scores.map(|score| score.unwrap_or(0.0) / count));
            }
            let sample = lists.regressor(aggregate);
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            // To the bit: the order of the sum is the order of the trees.
            let outputs = sample.rows(&rows).unwrap();
            prop_assert_eq!(floats(&outputs[0]), wanted, "{}", aggregate);
        }
    }
}
