//! Our own engine for classical machine learning: tree ensembles, linear models, support vector
//! machines, and what scikit-learn's pipelines put around them (ONNX, domain `ai.onnx.ml`). Plain
//! operators between these are run by tract.
//!
//! Every shape is settled when a model is loaded, so whatever could be wrong with one is told then. Where
//! the specification leaves an answer open, it is that of onnxruntime, but for numbers with a fraction that
//! are cast to a type that does not hold them: they become the nearest that it does.

mod category;
mod ensemble;
mod evaluator;
mod forest;
mod label;
mod linear;
mod node;
mod operators;
mod plain;
mod plan;
mod real;
mod rest;
mod rows;
mod score;
mod svm;
#[cfg(test)]
mod tests;
mod value;
mod walk;

pub(super) use evaluator::Classical;
pub(super) use value::constant;
