//! Stages that change how numbers lie in a tensor or what type they have, and leave them what they are.

use super::BuiltIn;
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Puts the dimensions of a tensor in another order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    /// The tensor.
    pub input: TensorRef,
    /// Which dimension of the input each one becomes, from 0.
    pub axes: Vec<u32>,
}

impl BuiltIn for Transpose {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        let named: BTreeSet<u32> = self.axes.iter().copied().collect();
        let is_each_once = named.len() == self.axes.len()
            && named.iter().zip(0..).all(|(axis, place)| *axis == place);
        match is_each_once && !self.axes.is_empty() {
            true => Ok(()),
            false => Err(format!("axes = {:?} must name each dimension once, from 0", self.axes)),
        }
    }

    fn told(&self) -> String {
        format!("dimensions of {} as {:?}", self.input, self.axes)
    }
}

/// Gives the same numbers as another type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// The tensor.
    pub input: TensorRef,
    /// What its elements become, such as `f64` or `i64`.
    pub element: String,
}

impl BuiltIn for Cast {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn told(&self) -> String {
        format!("{} as {}", self.input, self.element)
    }
}
