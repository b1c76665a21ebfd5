//! Nodes and models for the tests of this engine.

use super::super::super::loader::{Engine, Loader};
use super::super::super::model::OnnxModel;
use super::super::super::model::tests::{field, model, node};
use super::super::evaluator::Classical;
use crate::tensor::{Data, Element, Tensor};
use std::collections::BTreeMap;

/// An attribute's value.
#[derive(Debug, Clone)]
pub(super) enum Set {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<&'static str>),
    Int(i64),
    Float(f32),
    Text(&'static str),
    /// A tensor of one dimension.
    Tensor(Data),
}

/// A model with one node of `operator`, whose inputs are called a, b, … and its outputs y, z.
pub(super) struct Sample {
    domain: &'static str,
    operator: &'static str,
    attributes: BTreeMap<&'static str, Set>,
    /// Inputs that are constants.
    constants: Vec<(&'static str, Data)>,
    inputs: usize,
    outputs: usize,
}

const INPUTS: [&str; 3] = ["a", "b", "c"];

impl Sample {
    pub(super) fn ml(operator: &'static str, outputs: usize) -> Sample {
        Sample { domain: "ai.onnx.ml", ..Sample::plain(operator, outputs) }
    }

    pub(super) fn plain(operator: &'static str, outputs: usize) -> Sample {
        Sample {
            domain: "",
            operator,
            attributes: BTreeMap::new(),
            constants: vec![],
            inputs: 1,
            outputs,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: Set) -> Sample {
        self.attributes.insert(name, value);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Sample {
        self.attributes.remove(name);
        self
    }

    /// Its next input is this constant.
    pub(super) fn constant(mut self, data: Data) -> Sample {
        self.constants.push((INPUTS[self.inputs], data));
        self.inputs += 1;
        self
    }

    /// Its next input is given.
    pub(super) fn input(mut self) -> Sample {
        self.inputs += 1;
        self
    }

    pub(super) fn file(&self, inputs: &[&Tensor]) -> Vec<u8> {
        let outputs = &["y", "z"][..self.outputs];
        let mut bytes = node(self.operator, self.domain, (&INPUTS[..self.inputs], outputs));
        for (name, value) in &self.attributes {
            bytes.extend(field(5, &[field(1, name.as_bytes()), value.bytes()].concat()));
        }
        let mut graph = field(1, &bytes);
        for (name, data) in &self.constants {
            graph.extend(field(5, &[field(8, name.as_bytes()), tensor(data)].concat()));
        }
        let free = INPUTS.iter().filter(|name| !self.constants.iter().any(|it| it.0 == **name));
        for (name, input) in free.zip(inputs) {
            let sizes: Vec<u8> =
                input.shape().iter().flat_map(|size| field(1, &number(1, *size as i64))).collect();
            let kind = [number(1, i64::from(input.element().onnx())), field(2, &sizes)].concat();
            let port = [field(1, name.as_bytes()), field(2, &field(1, &kind))].concat();
            graph.extend(field(11, &port));
        }
        for name in outputs {
            graph.extend(field(12, &field(1, name.as_bytes())));
        }
        model(&graph)
    }

    /// The engine for inputs like these, or why there is none.
    pub(super) fn load(&self, inputs: &[&Tensor]) -> Result<Box<dyn Engine>, String> {
        load(&self.file(inputs))
    }

    /// What it gives for these.
    pub(super) fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, String> {
        self.load(inputs)?.run(inputs).map_err(|error| error.to_string())
    }

    /// What it gives for rows of numbers.
    pub(super) fn rows(&self, rows: &[&[f32]]) -> Result<Vec<Tensor>, String> {
        self.run(&[&table(rows)])
    }
}

pub(super) fn load(file: &[u8]) -> Result<Box<dyn Engine>, String> {
    let model = OnnxModel::read(file).map_err(|error| error.to_string())?;
    let ports = model.settle(&BTreeMap::new()).map_err(|error| error.to_string())?;
    Classical.load(&model, &ports).map_err(|error| error.to_string())
}

pub(super) fn table(rows: &[&[f32]]) -> Tensor {
    Tensor::new(vec![rows.len(), rows[0].len()], Data::F32(rows.concat())).unwrap()
}

/// The numbers of an output.
pub(super) fn floats(tensor: &Tensor) -> &[f32] {
    let Data::F32(values) = tensor.data() else { panic!("{tensor:?} is not f32") };
    values
}

/// The whole numbers of an output.
pub(super) fn ints(tensor: &Tensor) -> &[i64] {
    let Data::I64(values) = tensor.data() else { panic!("{tensor:?} is not i64") };
    values
}

/// Whether the numbers are these, to five digits.
pub(super) fn near(got: &Tensor, wanted: &[f32]) {
    let got = floats(got);
    let is_near = |(one, other): (&f32, &f32)| (one - other).abs() <= 1e-5 * other.abs().max(1.0);
    let all = got.len() == wanted.len() && got.iter().zip(wanted).all(is_near);
    assert!(all, "{got:?}, expected {wanted:?}");
}

impl Set {
    /// The fields of an attribute that hold it (ONNX, onnx.proto, `AttributeProto`).
    fn bytes(&self) -> Vec<u8> {
        let (kind, value) = match self {
            Set::Float(value) => (1, [vec![2 << 3 | 5], value.to_le_bytes().to_vec()].concat()),
            Set::Int(value) => (2, number(3, *value)),
            Set::Text(value) => (3, field(4, value.as_bytes())),
            Set::Tensor(data) => (4, field(5, &tensor(data))),
            Set::Floats(values) => {
                let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (6, field(7, &packed))
            }
            Set::Ints(values) => (7, values.iter().flat_map(|value| number(8, *value)).collect()),
            Set::Texts(values) => {
                (8, values.iter().flat_map(|text| field(9, text.as_bytes())).collect())
            }
        };
        // The kind has the number 20, which takes two bytes.
        [value, vec![0xa0, 0x01, kind]].concat()
    }
}

/// A field that holds a number.
fn number(field: u8, value: i64) -> Vec<u8> {
    let (mut bytes, mut left) = (vec![field << 3], value as u64);
    while left > 127 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// The fields of a tensor of one dimension.
fn tensor(data: &Data) -> Vec<u8> {
    let size = number(1, data.len() as i64);
    let kind = number(2, i64::from(data.element().onnx()));
    let values = match data {
        Data::Bytes(texts) => texts.iter().flat_map(|text| field(6, text)).collect(),
        other => {
            let raw = Tensor::new(vec![other.len()], other.clone()).unwrap();
            assert_ne!(raw.element(), Element::Bytes);
            field(9, &raw.to_bytes())
        }
    };
    [size, kind, values].concat()
}
