//! Models and tensors of strangers: at the desk whoever has sent a file, on a device whoever has signed it.

use crate::giants::{self, declared, field, integer, integers, list, node, tensor};
use crate::npy;
use lineside_runtime::{
    Data, ELEMENTS_MAX, ENGINES, Element, FrameOutcome, OnnxModel, Tensor, in_engine_thread,
};
use std::collections::BTreeMap;
use tract_onnx::pb::{AttributeProto, ModelProto, TensorProto};
use tract_onnx::prelude::Framework;

/// Numbers in a model that is loaded here: what is beyond them needs memory and time in earnest, which a
/// process of its own bounds.
const NUMBER_MAX: i64 = 16;
/// Nodes of such a model: each may make sixteen times as much of what it takes.
const NODES_MAX: usize = 4;
/// Operators that may go on for ever, or keep all that they make.
const ENDLESS: [&str; 2] = ["Loop", "Scan"];

/// Reads a model and settles the shapes of its inputs; what it says of itself is bounded by the file. One of
/// small numbers is loaded into every engine that takes it, and run: that ends, and what comes out is what
/// the engine has said would.
pub fn model(input: &[u8]) -> bool {
    let Ok(model) = OnnxModel::read(input) else { return false };
    let facts = model.facts();
    assert!(facts.parameters <= input.len() as u64, "{} parameters", facts.parameters);
    assert!(facts.operators.values().sum::<u64>() <= input.len() as u64);
    let Ok(inputs) = model.settle(&BTreeMap::new()) else { return false };
    assert!(inputs.iter().all(|port| port.len() <= ELEMENTS_MAX));
    if !is_small(input) {
        return true;
    }
    let zeros = inputs
        .iter()
        .map(|port| Tensor::new(port.shape().to_vec(), Data::zeros(port.element(), port.len())));
    let Some(zeros) = zeros.collect::<Option<Vec<Tensor>>>() else { return false };
    let zeros: Vec<&Tensor> = zeros.iter().collect();
    in_engine_thread(|| {
        for engine in ENGINES {
            let Ok((_, mut loaded)) = model.load(&[*engine], &inputs) else { continue };
            let Ok(answers) = loaded.run(&zeros) else { continue };
            assert_eq!(answers.len(), loaded.outputs().len(), "{}", engine.name());
            for (answer, port) in answers.iter().zip(loaded.outputs()) {
                assert!(answer.is_finite(), "{} gives what is no number", engine.name());
                let is_port = (answer.element(), answer.len()) == (port.element(), port.len());
                assert!(is_port, "{}: {} is not {}", engine.name(), port.name(), port.form());
            }
        }
    });
    true
}

/// Whether nothing in a model is large: no number, no list of numbers, no shape, and not the model.
fn is_small(input: &[u8]) -> bool {
    let mut reader = input;
    let Ok(model) = tract_onnx::onnx().proto_model_for_read(&mut reader) else { return false };
    let ModelProto { graph: Some(graph), functions, .. } = &model else { return false };
    let shapes = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let small_shapes = shapes.map(|info| format!("{:?}", info.r#type)).all(|told| {
        // Whatever is written there as a number.
        let numbers = told.split(|it: char| !it.is_ascii_digit()).filter(|it| !it.is_empty());
        numbers.map(|it| it.parse::<i64>().unwrap_or(i64::MAX)).all(|it| it <= NUMBER_MAX)
    });
    functions.is_empty()
        && graph.node.len() <= NODES_MAX
        && small_shapes
        && graph.sparse_initializer.is_empty()
        && graph.initializer.iter().all(is_small_tensor)
        && graph.node.iter().all(|node| {
            !ENDLESS.contains(&node.op_type.as_str())
                && node.attribute.iter().all(is_small_attribute)
        })
}

fn is_small_attribute(attribute: &AttributeProto) -> bool {
    let small = |number: &i64| number.unsigned_abs() <= NUMBER_MAX as u64;
    small(&attribute.i)
        && attribute.ints.iter().all(small)
        && attribute.ints.len() <= NUMBER_MAX as usize
        && attribute.f.abs() <= NUMBER_MAX as f32
        && attribute.floats.iter().all(|it| it.abs() <= NUMBER_MAX as f32)
        && attribute.t.iter().chain(&attribute.tensors).all(is_small_tensor)
        && attribute.g.is_none()
        && attribute.graphs.is_empty()
        && attribute.sparse_tensor.is_none()
        && attribute.sparse_tensors.is_empty()
}

/// Also where whole numbers lie in its bytes, and halves of numbers: shapes and scales are such.
fn is_small_tensor(tensor: &TensorProto) -> bool {
    let small = |number: i64| number.unsigned_abs() <= NUMBER_MAX as u64;
    let raw = &tensor.raw_data;
    let wide = raw.as_chunks().0.iter().all(|bytes| small(i64::from_le_bytes(*bytes)));
    let narrow = raw.as_chunks().0.iter().all(|bytes| small(i64::from(i32::from_le_bytes(*bytes))));
    let floats =
        raw.as_chunks().0.iter().all(|it| f32::from_le_bytes(*it).abs() <= NUMBER_MAX as f32);
    let element = Element::from_onnx(tensor.data_type);
    let bounded = match element {
        Some(Element::I64 | Element::U64) => wide,
        Some(Element::F32) => floats,
        Some(Element::I32 | Element::U32) => narrow,
        Some(Element::Bool | Element::U8 | Element::I8) => raw.len() <= 64,
        _ => raw.is_empty(),
    };
    bounded
        && tensor.dims.iter().all(|size| (0..=NUMBER_MAX).contains(size))
        && tensor.int64_data.iter().all(|number| small(*number))
        && tensor.int32_data.iter().all(|number| small(i64::from(*number)))
        && tensor.float_data.iter().all(|number| number.abs() <= NUMBER_MAX as f32)
        && tensor.double_data.is_empty()
        && tensor.uint64_data.is_empty()
}

/// Small models that some engine runs, one for many an operator, and those without a bound.
pub(crate) fn models() -> Vec<Vec<u8>> {
    let port = |number, name, shape: &[u8]| declared(number, name, 1, shape);
    let unary = |operator: &str, attributes: &[Vec<u8>]| {
        let nodes = node(operator, "x", "y", attributes);
        giants::model(&[nodes, port(11, "x", &[2, 3]), port(12, "y", &[2, 3])].concat())
    };
    let with = |weights: &[Vec<u8>], nodes: &[Vec<u8>], taken: &[u8], given: &[u8]| {
        let ports = [port(11, "x", taken), port(12, "y", given)].concat();
        giants::model(&[weights.concat(), nodes.concat(), ports].concat())
    };
    let half = 0.5f32.to_le_bytes();
    let weight = |shape: &[i64]| {
        let count = shape.iter().product::<i64>() as usize;
        tensor("w", 1, shape, &half.repeat(count))
    };
    let mut models: Vec<Vec<u8>> = [
        "Relu",
        "Sigmoid",
        "Tanh",
        "Exp",
        "Sqrt",
        "Softmax",
        "Identity",
        "Neg",
        "Erf",
        "HardSwish",
    ]
    .iter()
    .map(|operator| unary(operator, &[]))
    .collect();
    models.push(unary("Transpose", &[list("perm", &[0, 1])]));
    models.push(unary("LeakyRelu", &[field(1, b"alpha")]));
    models.push(unary("ReduceMean", &[list("axes", &[1]), integer("keepdims", 1)]));
    for operator in ["Add", "Mul", "Div", "Pow", "Max", "MatMul"] {
        models.push(with(&[weight(&[3, 3])], &[node(operator, "x w", "y", &[])], &[3, 3], &[3, 3]));
    }
    models.push(with(
        &[weight(&[3, 4])],
        &[node("Gemm", "x w", "y", &[integer("transA", 0)])],
        &[2, 3],
        &[2, 4],
    ));
    models.push(with(
        &[weight(&[2, 1, 3])],
        &[node("Conv", "x w", "y", &[integer("group", 2), list("pads", &[1, 1])])],
        &[1, 2, 5],
        &[1, 2, 5],
    ));
    models.push(with(
        &[weight(&[4, 2, 3, 3])],
        &[
            node("Conv", "x w", "c", &[list("strides", &[2, 2]), list("pads", &[1, 1, 1, 1])]),
            node("GlobalAveragePool", "c", "y", &[]),
        ],
        &[1, 2, 6, 6],
        &[1, 4, 1, 1],
    ));
    for operator in ["MaxPool", "AveragePool"] {
        let attributes = [list("kernel_shape", &[2, 2]), list("strides", &[2, 2])];
        let nodes = [node(operator, "x", "y", &attributes)];
        models.push(with(&[], &nodes, &[1, 2, 4, 4], &[1, 2, 2, 2]));
    }
    let shaped =
        [("Reshape", &[3, 2][..]), ("Expand", &[2, 3]), ("Tile", &[1, 2]), ("Slice", &[0])];
    for (operator, numbers) in shaped {
        let (inputs, more) = match operator {
            "Slice" => ("x s t", integers("t", &[1])),
            _ => ("x s", vec![]),
        };
        let weights = [integers("s", numbers), more];
        models.push(with(&weights, &[node(operator, inputs, "y", &[])], &[2, 3], &[]));
    }
    models.push(with(
        &[],
        &[node("Split", "x", "a b", &[integer("axis", 0)]), node("Concat", "b a", "y", &[])],
        &[2, 3],
        &[2, 3],
    ));
    // Of the giants those that can be read and need not be settled; the others are no good bytes.
    let giants = giants::giants().into_iter().map(|(_, giant)| giant);
    models.extend(giants.filter(|giant| model(giant)));
    models
}

/// Reads what is to be a tensor: the first byte says as what. What was read can be written, and says the
/// same.
pub fn tensors(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else { return false };
    match kind % 4 {
        0 => {
            let Ok(tensor) = postcard::from_bytes::<Tensor>(rest) else { return false };
            let again = postcard::to_stdvec(&tensor).expect("a tensor is bytes and numbers");
            let again = postcard::from_bytes::<Tensor>(&again).expect("what was written is read");
            assert_eq!(again.to_bytes(), tensor.to_bytes());
            true
        }
        1 => {
            let Some(([element, rank], rest)) = rest.split_first_chunk() else { return false };
            let Some(element) = Element::from_onnx(i32::from(*element)) else { return false };
            let rank = usize::from(rank % 8);
            let Some((shape, rest)) = rest.split_at_checked(rank * 4) else { return false };
            let shape = shape.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it) as usize);
            let read = Tensor::from_bytes(element, shape.collect(), rest);
            let Ok(tensor) = read else { return false };
            assert_eq!(tensor.to_bytes(), rest);
            true
        }
        2 => {
            let Ok(tensor) = npy::read(rest) else { return false };
            let again = npy::read(&npy::write(&tensor)).expect("what was written is read");
            assert_eq!(again.shape(), tensor.shape());
            assert_eq!(again.element(), tensor.element());
            assert_eq!(again.to_bytes(), tensor.to_bytes());
            true
        }
        _ => {
            let Ok(outcome) = postcard::from_bytes::<FrameOutcome>(rest) else { return false };
            // By their bytes: what is no number is not equal to itself.
            let written = postcard::to_stdvec(&outcome).expect("an outcome is tensors and words");
            let again = postcard::from_bytes::<FrameOutcome>(&written);
            let again = again.expect("what was written is read");
            assert_eq!(postcard::to_stdvec(&again).expect("as before"), written);
            true
        }
    }
}

pub(crate) fn tensor_bytes() -> Vec<Vec<u8>> {
    let texts = vec![b"a".to_vec(), b"".to_vec(), "µ".as_bytes().to_vec()];
    let data =
        [Data::F32(vec![0.5, -1.0, 2.0]), Data::Bool(vec![true, false, true]), Data::Bytes(texts)];
    let tensors = data.map(|data| Tensor::new(vec![1, 3], data)).into_iter().flatten();
    let mut seeds = Vec::new();
    for tensor in tensors {
        let coded = postcard::to_stdvec(&tensor).expect("a tensor is bytes and numbers");
        seeds.push([vec![0], coded].concat());
        let shape = [1u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
        let head = vec![1, tensor.element().onnx() as u8, 2];
        seeds.push([head, shape, tensor.to_bytes()].concat());
        seeds.push([vec![2], npy::write(&tensor)].concat());
    }
    seeds
}
