//! What is told of the server and of its models.

use crate::datatype::Datatype;
use serde::{Deserialize, Serialize};

/// The name of the extension by which tensors come and go as bytes.
pub const BINARY_EXTENSION: &str = "binary_tensor_data";

/// Of the server: `GET /v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it can beyond the protocol.
    pub extensions: Vec<String>,
}

/// Of a model: `GET /v2/models/{model}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// What it is called.
    pub name: String,
    /// The versions that there are.
    pub versions: Vec<String>,
    /// What kind of model it is: `onnx_onnxv1`.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// Of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// What it is called.
    pub name: String,
    /// What its elements are.
    pub datatype: Datatype,
    /// Its shape; -1 where any size is possible.
    pub shape: Vec<i64>,
}

impl TensorMetadata {
    /// Whether a tensor of `shape` is one of these.
    pub fn takes(&self, shape: &[usize]) -> bool {
        let fits = |(own, size): (&i64, &usize)| *own == -1 || usize::try_from(*own) == Ok(*size);
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

/// Whether the server lives: `GET /v2/health/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// It does.
    pub live: bool,
}

/// Whether the server or a model is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What is asked about; none where it is the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is.
    pub ready: bool,
    /// The same again: the protocol's document calls it so where it is the server that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// Why it is not, for people. Not of the protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_size_is_taken_where_the_shape_says_minus_one() {
        let shape = vec![-1, 3];
        let input = TensorMetadata { name: "x".into(), datatype: Datatype::Fp32, shape };
        assert!(input.takes(&[1, 3]) && input.takes(&[7, 3]));
        assert!(!input.takes(&[3]) && !input.takes(&[1, 4]) && !input.takes(&[1, 3, 1]));
    }

    #[test]
    fn metadata_is_written_as_the_protocol_has_it() {
        let input = TensorMetadata { name: "x".into(), datatype: Datatype::Bytes, shape: vec![-1] };
        let model = ModelMetadata {
            name: "line.judge".into(),
            versions: vec!["2".into()],
            platform: "onnx_onnxv1".into(),
            inputs: vec![input.clone()],
            outputs: vec![],
        };
        assert_eq!(
            serde_json::to_string(&model).unwrap(),
            "{\"name\":\"line.judge\",\"versions\":[\"2\"],\"platform\":\"onnx_onnxv1\",\
             \"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"shape\":[-1]}],\"outputs\":[]}"
        );
        let ready = Ready { name: None, ready: true, live: Some(true), waiting: vec![] };
        assert_eq!(serde_json::to_string(&ready).unwrap(), "{\"ready\":true,\"live\":true}");
    }
}
