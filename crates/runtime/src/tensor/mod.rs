//! Tensors as stages pass them on, and the ports that describe them.

mod bytes;
mod data;
mod element;
mod port;
mod shape;

pub use bytes::BytesError;
pub use data::{Data, Tensor};
pub use element::Element;
pub use port::{Port, PortError};
pub use shape::ELEMENTS_MAX;
pub(crate) use shape::{DIMENSIONS_MAX, elements, is_regrouped};
