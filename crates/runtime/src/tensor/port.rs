//! What can be passed on: a name, an element type and a shape.

use super::element::Element;
use super::shape::{DIMENSIONS_MAX, ELEMENTS_MAX, elements};

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
    #[error("{} more than {DIMENSIONS_MAX} dimensions", has(.0))]
    Dimensions(String),
    /// Too many elements.
    #[error("{} the shape {shape:?}, more than {ELEMENTS_MAX} elements", has(name))]
    Elements {
        /// The port.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

/// The beginning of what is said of a port, or of a tensor that goes by its stage's name.
fn has(name: &str) -> String {
    if name.is_empty() { "it has".into() } else { format!("port {name} has") }
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
        match elements(&shape) {
            Some(_) => Ok(Port { name, element, shape }),
            None => Err(PortError::Elements { name, shape }),
        }
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
        assert_eq!(port("x", &[0, 5]), Ok(0));
        let huge = u32::MAX as usize;
        for shape in [&[huge, huge, huge][..], &[1 << 12, 1 << 12, 2], &[0, usize::MAX]] {
            let error = port("x", shape).unwrap_err();
            assert!(error.starts_with("port x has the shape ["), "{error}");
        }
        assert!(port("x", &[1; 17]).unwrap_err().contains("more than 16 dimensions"));
        assert!(port(&"x".repeat(256), &[1]).unwrap_err().contains("255 bytes"));
    }
}
