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

/// Elements that one tensor may have.
const ELEMENTS_MAX: usize = 16 << 20;
/// Dimensions that a shape may have.
const DIMENSIONS_MAX: usize = 16;
/// Longest name of a port in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The name, element type and shape of a tensor that a stage takes or gives.
///
/// Models and plugins declare what they like; a port is what can be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    name: String,
    element: Element,
    shape: Vec<usize>,
}

/// Why there can be no tensor of some name and shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A name that nobody would write into a description.
    #[error("port {0:?}… has a name of more than {NAME_BYTES_MAX} bytes")]
    Name(String),
    /// Too many dimensions.
    #[error("port {0} has more than {DIMENSIONS_MAX} dimensions")]
    Dimensions(String),
    /// Too many elements.
    #[error("port {name} has the shape {shape:?}, more than {ELEMENTS_MAX} elements")]
    Elements {
        /// The port.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

impl Port {
    /// A port; `shape` is its tensor's, row by row.
    ///
    /// # Errors
    /// [`PortError`], for what is too large to be passed on.
    pub fn new(name: String, element: Element, shape: Vec<usize>) -> Result<Port, PortError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(PortError::Name(name.chars().take(40).collect()));
        }
        if shape.len() > DIMENSIONS_MAX {
            return Err(PortError::Dimensions(name));
        }
        let elements = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
        match elements {
            Some(0..=ELEMENTS_MAX) => Ok(Port { name, element, shape }),
            _ => Err(PortError::Elements { name, shape }),
        }
    }

    /// The port of a stage that gives one element and calls it nothing.
    pub(crate) fn single(element: Element) -> Port {
        Port { name: String::new(), element, shape: vec![1] }
    }

    /// What the stage calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nothing_could_hold_is_refused_by_name() {
        let port = |name: &str, shape: &[usize]| {
            let port = Port::new(name.to_owned(), Element::F32, shape.to_vec());
            port.map(|port| port.len()).map_err(|error| error.to_string())
        };
        assert_eq!(port("x", &[6, 5]), Ok(30));
        assert_eq!(port("x", &[]), Ok(1));
        assert_eq!(port("x", &[0, usize::MAX]), Ok(0));
        let huge = u32::MAX as usize;
        for shape in [&[huge, huge, huge][..], &[1 << 12, 1 << 12, 2]] {
            let error = port("x", shape).unwrap_err();
            assert!(error.starts_with("port x has the shape ["), "{error}");
        }
        assert!(port("x", &[1; 17]).unwrap_err().contains("more than 16 dimensions"));
        assert!(port(&"x".repeat(256), &[1]).unwrap_err().contains("255 bytes"));
    }
}
