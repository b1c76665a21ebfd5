//! The Open Inference Protocol v2 over HTTP (KServe, "Predict Protocol - Version 2", and Triton's
//! "Binary Tensor Data Extension"): bytes of a body into a request, an answer into bytes of a body.
//!
//! Opens no socket and runs no model. A tensor is kept as the protocol's binary form has it, row by row and
//! little-endian, so that what comes and goes in that form is copied and not converted.

mod bounded;
mod datatype;
mod json;
mod metadata;
mod request;
mod response;
mod tensor;

pub use datatype::Datatype;
pub use metadata::{
    BINARY_EXTENSION, Failure, Live, ModelMetadata, Ready, ServerMetadata, TensorMetadata,
};
pub use request::{InferRequest, RequestError, RequestedOutput, TENSORS_MAX};
pub use response::{Body, Form, InferResponse, ResponseError};
pub use tensor::{ELEMENTS_MAX, Tensor, TensorError};
