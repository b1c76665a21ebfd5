//! A node of a graph as an operator sees it: its attributes by name and kind, and what is known of its
//! inputs.

use super::super::error::EngineError;
use super::value::{Known, constant};
use crate::tensor::{Data, Element, Tensor};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// An operator made ready for the shapes that will come.
pub(super) trait Operation: Send {
    /// Its outputs for these inputs, which are as it was told when it was made.
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String>;
    /// The same, for who tells errors apart.
    ///
    /// # Errors
    /// [`EngineError`].
    fn answers(&self, inputs: &[&Data]) -> Result<Vec<Data>, EngineError> {
        self.run(inputs).map_err(EngineError::Run)
    }
}

/// What becomes of a node.
pub(super) enum Made {
    /// Something to be computed in every run, and the kind and shape of each output.
    Computed(Vec<(Element, Vec<usize>)>, Box<dyn Operation>),
    /// The elements of its first input, in this shape.
    Same(Vec<usize>),
    /// The same in every run.
    Constant(Tensor),
}

impl Made {
    /// Something with one output.
    pub(super) fn one(
        element: Element,
        shape: Vec<usize>,
        operation: impl Operation + 'static,
    ) -> Made {
        Made::Computed(vec![(element, shape)], Box::new(operation))
    }
}

/// A node with its inputs.
pub(super) struct Node<'a> {
    proto: &'a NodeProto,
    inputs: Vec<Option<&'a Known>>,
}

impl<'a> Node<'a> {
    pub(super) fn new(proto: &'a NodeProto, inputs: Vec<Option<&'a Known>>) -> Node<'a> {
        Node { proto, inputs }
    }

    /// Fails for an attribute that is none of `known`: it could change what the operator does.
    pub(super) fn knows(&self, known: &[&str]) -> Result<(), String> {
        let strange = |attribute: &&AttributeProto| !known.contains(&attribute.name.as_str());
        match self.proto.attribute.iter().find(strange) {
            Some(attribute) => Err(format!("its attribute {} is not known here", attribute.name)),
            None => Ok(()),
        }
    }

    /// Input `place`, which must be there.
    pub(super) fn input(&self, place: usize) -> Result<&'a Known, String> {
        let input = self.inputs.get(place).copied().flatten();
        input.ok_or_else(|| format!("its input {place} is missing"))
    }

    /// All inputs, which must be there.
    pub(super) fn inputs(&self) -> Result<Vec<&'a Known>, String> {
        (0..self.inputs.len()).map(|place| self.input(place)).collect()
    }

    /// Whether there is an input `place`.
    pub(super) fn has_input(&self, place: usize) -> bool {
        self.inputs.get(place).is_some_and(Option::is_some)
    }

    /// Whether it has the attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|attribute| attribute.name == name)
    }

    /// A list of floats; empty where there is none.
    pub(super) fn floats(&self, name: &str) -> Result<&'a [f32], String> {
        let found = self.find(name, AttributeType::Floats)?;
        Ok(found.map_or(&[], |attribute| &attribute.floats))
    }

    /// A list of whole numbers; empty where there is none.
    pub(super) fn ints(&self, name: &str) -> Result<&'a [i64], String> {
        let found = self.find(name, AttributeType::Ints)?;
        Ok(found.map_or(&[], |attribute| &attribute.ints))
    }

    /// A list of texts; empty where there is none.
    pub(super) fn texts(&self, name: &str) -> Result<&'a [Vec<u8>], String> {
        let found = self.find(name, AttributeType::Strings)?;
        Ok(found.map_or(&[], |attribute| &attribute.strings))
    }

    /// A whole number.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, String> {
        Ok(self.find(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    /// A float.
    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, String> {
        Ok(self.find(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        Ok(self.find(name, AttributeType::String)?.map(|attribute| attribute.s.as_slice()))
    }

    /// One of the words that `meant` knows; the first of them where the attribute is missing.
    pub(super) fn word<T: Copy>(&self, name: &str, meant: &[(&str, T)]) -> Result<T, String> {
        let Some(text) = self.text(name)? else { return Ok(meant[0].1) };
        let found = meant.iter().find(|(word, _)| word.as_bytes() == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            format!("its {name} {:?} is not known here", String::from_utf8_lossy(text))
        })
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, String> {
        let found = self.find(name, AttributeType::Tensor)?;
        found.and_then(|attribute| attribute.t.as_ref()).map(constant).transpose()
    }

    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>, String> {
        let found = self.proto.attribute.iter().find(|attribute| attribute.name == name);
        match found {
            // Files of the first format do not say the kind.
            Some(it) if it.r#type == kind as i32 || it.r#type == 0 => Ok(Some(it)),
            Some(_) => Err(format!("its attribute {name} is of another kind than {kind:?}")),
            None => Ok(None),
        }
    }
}
