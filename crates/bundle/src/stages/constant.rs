//! The stage that takes nothing and always gives the same.

use super::each::check_length;
use super::{BuiltIn, finite};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Gives the same tensor with every frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// What its elements are, such as `f32` or `i64`; `f32` unless set.
    #[serde(default = "f32_name")]
    pub element: String,
    /// Its shape; one dimension unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u32>>,
    /// Its elements, row by row.
    pub values: Vec<f64>,
}

fn f32_name() -> String {
    "f32".into()
}

impl BuiltIn for Constant {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![]
    }

    fn check(&self) -> Result<(), String> {
        check_length("values", self.values.len())?;
        self.values.iter().try_for_each(|value| finite("values", *value))
    }

    fn told(&self) -> String {
        format!("constant of {} {}", self.values.len(), self.element)
    }
}
