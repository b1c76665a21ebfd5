//! Tensors as stages pass them on, and the ports that describe them.

use std::fmt;

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating point.
    F32,
    /// 64-bit signed integer.
    I64,
    /// Boolean.
    Bool,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F32 => "f32",
            Element::I64 => "i64",
            Element::Bool => "bool",
        })
    }
}

/// The name, element type and shape of a tensor that a stage takes or gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// What the stage calls it.
    pub name: String,
    /// What its elements are.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Port {
    /// Number of elements: the product of the shape.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a tensor of this port has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type and shape, for people: `f32 [1, 6, 5]`.
    pub fn form(&self) -> String {
        format!("{} {:?}", self.element, self.shape)
    }
}

/// The elements of a tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// A tensor: a shape, and as many elements as its product.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape`; none if the number of elements is another than its product.
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Tensor> {
        let tensor = Tensor { shape, data };
        let product = tensor.shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b))?;
        (product == tensor.len()).then_some(tensor)
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(values) => values.len(),
            Data::I64(values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        match &self.data {
            Data::F32(_) => Element::F32,
            Data::I64(_) => Element::I64,
            Data::Bool(_) => Element::Bool,
        }
    }

    /// The same elements in another shape; none if the shape holds another number of them.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Tensor> {
        Tensor::new(shape.to_vec(), self.data.clone())
    }

    /// Element `index`, counted row by row, as a tensor of one element.
    pub fn select(&self, index: usize) -> Option<Tensor> {
        let data = match &self.data {
            Data::F32(values) => Data::F32(vec![*values.get(index)?]),
            Data::I64(values) => Data::I64(vec![*values.get(index)?]),
            Data::Bool(values) => Data::Bool(vec![*values.get(index)?]),
        };
        Some(Tensor { shape: vec![1], data })
    }

    /// Whether every element is a number; integers and booleans always are.
    pub fn is_finite(&self) -> bool {
        match &self.data {
            Data::F32(values) => values.iter().all(|value| value.is_finite()),
            Data::I64(_) | Data::Bool(_) => true,
        }
    }
}
