//! Operators of ONNX's own domain, as far as exporters of classical models put them around theirs.

pub(super) mod arithmetic;
mod best;
pub(super) mod cast;
pub(super) mod join;
pub(super) mod shape;

pub(super) use best::arg_max;
