//! What is no number within a model never becomes an answer: wherever it is made and whatever takes it, each
//! engine says what onnxruntime says, or refuses the frame.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod library;

use lineside_runtime::{
    Data, Element, Engine, Engines, Loader, OnnxModel, Onnxruntime, Tensor, in_engine_thread,
};
use lineside_tests::onnx::{model, node, whole, wholes};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Numbers that go into each model.
const COUNT: usize = 100;
/// The shape in which they lie.
const SHAPE: [usize; 4] = [1, 1, 10, 10];

/// Nodes from `x` to `m`, of which some numbers are none where `x` is nought; and whether all are where it is
/// not.
fn makers() -> Vec<(&'static str, Vec<Vec<u8>>, bool)> {
    let mean =
        |from: &str, to: &str| node("ReduceMean", &[from], &[to], &[wholes("axes", &[0, 1, 2, 3])]);
    let huge = || {
        vec![
            node("Add", &["x", "thousand"], &["more"], &[]),
            node("Exp", &["more"], &["huge"], &[]),
        ]
    };
    let with = |nodes: Vec<Vec<u8>>, last: Vec<u8>| [nodes, vec![last]].concat();
    let less = |last| vec![node("Sub", &["x", "half"], &["less"], &[]), last];
    vec![
        (
            "nought by nought",
            vec![
                node("Div", &["x", "x"], &["one or none"], &[]),
                // Nobody rounds this to another whole number.
                node("Add", &["one or none", "half"], &["m"], &[]),
            ],
            true,
        ),
        (
            "a line by its deviation",
            vec![
                mean("x", "mean"),
                node("Sub", &["x", "mean"], &["d"], &[]),
                node("Mul", &["d", "d"], &["dd"], &[]),
                mean("dd", "variance"),
                node("Sqrt", &["variance"], &["deviation"], &[]),
                node("Div", &["d", "deviation"], &["m"], &[]),
            ],
            true,
        ),
        ("a logarithm", less(node("Log", &["less"], &["m"], &[])), true),
        ("a root", less(node("Sqrt", &["less"], &["m"], &[])), true),
        ("a power", less(node("Pow", &["less", "half"], &["m"], &[])), true),
        (
            "infinity less infinity",
            with(huge(), node("Sub", &["huge", "huge"], &["m"], &[])),
            false,
        ),
        ("infinity by infinity", with(huge(), node("Div", &["huge", "huge"], &["m"], &[])), false),
        ("nought times infinity", with(huge(), node("Mul", &["huge", "x"], &["m"], &[])), false),
        (
            "a convolution that overflows",
            vec![
                node("Add", &["x", "half"], &["more"], &[]),
                node("Mul", &["more", "large"], &["scaled"], &[]),
                node("Conv", &["scaled", "kernel"], &["m"], &[wholes("pads", &[0, 0, 0, 1])]),
            ],
            false,
        ),
    ]
}

/// An operator from `m` to `y`, and what `y` is.
fn takers() -> Vec<(String, Vec<Vec<u8>>, Element)> {
    let mut takers = Vec::new();
    let mut one = |operator: &str, more: &[&str], attributes: &[Vec<u8>], element| {
        let inputs = [&["m"], more].concat();
        takers.push((
            operator.to_owned(),
            vec![node(operator, &inputs, &["y"], attributes)],
            element,
        ));
    };
    for operator in [
        "Abs",
        "Ceil",
        "Celu",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "Hardmax",
        "Identity",
        "LeakyRelu",
        "LogSoftmax",
        "Neg",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softmax",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tanh",
        "ThresholdedRelu",
    ] {
        one(operator, &[], &[], Element::F32);
    }
    for operator in ["Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"] {
        one(operator, &["half"], &[], Element::F32);
    }
    one("Clip", &["half", "thousand"], &[], Element::F32);
    one("Clip", &["", "half"], &[], Element::F32);
    one("MatMul", &["square"], &[], Element::F32);
    one("MaxPool", &[], &[wholes("kernel_shape", &[2, 2])], Element::F32);
    one("MaxPool", &[], &[wholes("kernel_shape", &[10, 10])], Element::F32);
    one("AveragePool", &[], &[wholes("kernel_shape", &[2, 2])], Element::F32);
    one("InstanceNormalization", &["one", "one"], &[], Element::F32);
    one("LayerNormalization", &["ten"], &[], Element::F32);
    one("QuantizeLinear", &["half", "zero"], &[], Element::U8);
    one("Greater", &["half"], &[], Element::Bool);
    one("LessOrEqual", &["half"], &[], Element::Bool);
    one("IsNaN", &[], &[], Element::Bool);
    for element in [Element::F16, Element::I32, Element::I64, Element::Bool] {
        one("Cast", &[], &[whole("to", element.onnx() as usize)], element);
    }
    for operator in ["ArgMax", "ArgMin"] {
        one(operator, &[], &[whole("axis", 3)], Element::I64);
    }
    takers.push((
        "TopK".into(),
        vec![node("TopK", &["m", "two"], &["y", "places"], &[])],
        Element::F32,
    ));
    takers.push((
        "Where of Greater".into(),
        vec![
            node("Greater", &["m", "half"], &["is"], &[]),
            node("Where", &["is", "m", "half"], &["y"], &[]),
        ],
        Element::F32,
    ));
    takers.push((
        "Relu in a convolution".into(),
        vec![
            node("Conv", &["m", "kernel"], &["c"], &[wholes("pads", &[0, 0, 0, 1])]),
            node("Relu", &["c"], &["y"], &[]),
        ],
        Element::F32,
    ));
    takers.push((
        "Softmax of masked scores".into(),
        vec![
            node("Sub", &["m", "m"], &["nought"], &[]),
            node("Add", &["nought", "mask"], &["scores"], &[]),
            node("Softmax", &["scores"], &["parts"], &[]),
            node("Relu", &["parts"], &["y"], &[]),
        ],
        Element::F32,
    ));
    takers.push((
        "a classical model".into(),
        vec![
            node("Relu", &["m"], &["r"], &[]),
            node("Reshape", &["r", "row"], &["table"], &[]),
            node("ai.onnx.ml.Normalizer", &["table"], &["y"], &[]),
        ],
        Element::F32,
    ));
    takers
}

fn floats(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(shape.to_vec(), Data::F32(values)).unwrap()
}

fn built(maker: &[Vec<u8>], taker: &[Vec<u8>], element: Element) -> Vec<u8> {
    let scalar = |value: f32| floats(&[], vec![value]);
    let whole =
        |values: &[i64]| Tensor::new(vec![values.len()], Data::I64(values.to_vec())).unwrap();
    let constants = [
        ("half", scalar(0.5)),
        ("thousand", scalar(1000.0)),
        ("large", scalar(3e38)),
        ("one", floats(&[1], vec![1.0])),
        ("ten", floats(&[10], vec![1.0; 10])),
        ("square", floats(&[10, 10], vec![1.0; 100])),
        // Of all scores of the last row, none counts.
        (
            "mask",
            floats(
                &[10, 10],
                (0..100).map(|at| if at < 90 { 0.0 } else { f32::NEG_INFINITY }).collect(),
            ),
        ),
        ("kernel", floats(&[1, 1, 1, 2], vec![9.0, -9.0])),
        ("zero", Tensor::new(vec![], Data::U8(vec![0])).unwrap()),
        ("two", whole(&[2])),
        ("row", whole(&[1, -1])),
    ];
    let constants: Vec<(&str, &Tensor)> = constants.iter().map(|(name, it)| (*name, it)).collect();
    let nodes = [maker, taker].concat();
    let taken = |name: &str| {
        let name = [&[1 << 3 | 2, name.len() as u8], name.as_bytes()].concat();
        nodes.iter().any(|node| node.windows(name.len()).any(|part| part == name))
    };
    let constants: Vec<_> = constants.into_iter().filter(|(name, _)| taken(name)).collect();
    model(17, &nodes, &constants, &[("x", Element::F32, &SHAPE)], &[("y", element)])
}

type Loaded = BTreeMap<&'static str, Box<dyn Engine>>;

fn load(file: &[u8], engines: &[&dyn Loader]) -> Loaded {
    let model = OnnxModel::read(file).unwrap();
    let inputs = model.settle(&BTreeMap::new()).unwrap();
    let loaded = engines.iter().filter_map(|engine| {
        let (name, engine) = model.load(&[*engine], &inputs).ok()?;
        Some((name, engine))
    });
    loaded.collect()
}

/// Everything nought, and one nought among other numbers, at several places.
fn flat() -> Vec<Tensor> {
    let all = floats(&SHAPE, vec![0.0; COUNT]);
    let one = [0, 7, 38, 99].map(|at| {
        let mut values: Vec<f32> = (1..=COUNT).map(|number| number as f32 / 8.0 + 0.5).collect();
        values[at] = 0.0;
        floats(&SHAPE, values)
    });
    std::iter::once(all).chain(one).collect()
}

fn near(one: &Tensor, two: &Tensor) -> bool {
    let numbers = |tensor: &Tensor| {
        (0..tensor.len()).map(|at| tensor.data().number(at).unwrap()).collect::<Vec<_>>()
    };
    let close = |(one, two): (&f64, &f64)| (one - two).abs() <= 1e-3 * two.abs().max(1.0);
    one.len() == two.len() && numbers(one).iter().zip(&numbers(two)).all(close)
}

#[test]
fn no_engine_makes_an_answer_of_what_is_no_number() {
    let engines =
        Engines { onnxruntime: Onnxruntime::At(library::library()), ..Engines::default() };
    let mut wrong = String::new();
    let (mut answered, mut refused) = (BTreeMap::new(), BTreeMap::new());
    in_engine_thread(|| {
        let engines = engines.all();
        for (made, maker, _) in makers() {
            for (operator, taker, element) in takers() {
                let mut loaded = load(&built(&maker, &taker, element), &engines);
                for (number, input) in flat().iter().enumerate() {
                    let mut said = BTreeMap::new();
                    for (name, engine) in &mut loaded {
                        said.insert(*name, engine.run(&[input]).map(|answers| answers[0].clone()));
                    }
                    let reference = said.remove("onnxruntime");
                    for (name, answer) in said {
                        let Ok(answer) = answer else {
                            *refused.entry(name).or_insert(0usize) += 1;
                            continue;
                        };
                        *answered.entry(name).or_insert(0usize) += 1;
                        let is_right = match &reference {
                            Some(Ok(reference)) => near(&answer, reference),
                            _ => false,
                        };
                        if !is_right {
                            let reference = reference.as_ref().map(|it| it.is_ok());
                            writeln!(
                                wrong,
                                "{made}, {operator}, input {number}: {name} answers, onnxruntime {reference:?}"
                            )
                            .unwrap();
                        }
                    }
                }
            }
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
    for (name, least) in [("tract", 200), ("rten", 200), ("classical", 5)] {
        let enough = answered[name] >= least && refused[name] >= 8 * least;
        assert!(enough, "{name}: {answered:?} answers, {refused:?} refused");
    }
}

#[test]
fn what_is_a_number_all_along_is_answered_by_every_engine() {
    let engines =
        Engines { onnxruntime: Onnxruntime::At(library::library()), ..Engines::default() };
    let input = floats(&SHAPE, (1..=COUNT).map(|number| number as f32 / 8.0 + 0.5).collect());
    let mut wrong = String::new();
    let mut right: BTreeMap<&str, usize> = BTreeMap::new();
    in_engine_thread(|| {
        for (made, maker, _) in makers().into_iter().filter(|(_, _, is_finite)| *is_finite) {
            for (operator, taker, element) in takers() {
                let mut loaded = load(&built(&maker, &taker, element), &engines.all());
                let mut run = |name: &str| {
                    let engine = loaded.get_mut(name)?;
                    Some(engine.run(&[&input]).map(|answers| answers[0].clone()))
                };
                let Some(Ok(reference)) = run("onnxruntime") else { continue };
                for name in ["tract", "classical", "rten"] {
                    match run(name) {
                        None => {}
                        Some(Ok(answer)) if near(&answer, &reference) => {
                            *right.entry(name).or_default() += 1;
                        }
                        Some(Ok(_)) => {
                            writeln!(wrong, "{made}, {operator}: {name} is wrong").unwrap()
                        }
                        Some(Err(error)) => {
                            writeln!(wrong, "{made}, {operator}: {name} says {error}").unwrap()
                        }
                    }
                }
            }
        }
    });
    assert!(wrong.is_empty(), "\n{wrong}");
    for (name, least) in [("tract", 300), ("rten", 250), ("classical", 15)] {
        assert!(right.get(name).is_some_and(|right| *right >= least), "{right:?} answers");
    }
}
