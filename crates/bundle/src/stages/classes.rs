//! Stages about classes and their scores.

use super::{BuiltIn, count};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Classes that a stage may tell apart.
const CLASSES_MAX: u32 = 1 << 16;

/// What becomes of a value that is no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// The frame has no answer.
    #[default]
    Refuse,
    /// It belongs to no class: nought for each.
    Zeros,
}

impl Unknown {
    fn is_default(&self) -> bool {
        *self == Unknown::default()
    }
}

/// Makes of each whole number as many values as there are classes: 1 for its class, 0 for the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneHot {
    /// The tensor: classes from 0.
    pub input: TensorRef,
    /// How many classes there are.
    pub classes: u32,
    /// What becomes of a value that is no class.
    #[serde(default, skip_serializing_if = "Unknown::is_default")]
    pub unknown: Unknown,
}

impl BuiltIn for OneHot {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        count("classes", self.classes, CLASSES_MAX)
    }

    fn told(&self) -> String {
        format!("{} as one of {}", self.input, self.classes)
    }
}

/// Makes shares of scores, along the last dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// The tensor.
    pub input: TensorRef,
}

impl BuiltIn for Softmax {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn told(&self) -> String {
        format!("softmax of {}", self.input)
    }
}

/// Says which value is greatest, along the last dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argmax {
    /// The tensor.
    pub input: TensorRef,
}

impl BuiltIn for Argmax {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn told(&self) -> String {
        format!("place of the greatest of {}", self.input)
    }
}

/// The greatest values along the last dimension, and where they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopK {
    /// The tensor.
    pub input: TensorRef,
    /// How many.
    pub k: u32,
}

impl BuiltIn for TopK {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn outputs(&self) -> &'static [&'static str] {
        &["values", "indices"]
    }

    fn check(&self) -> Result<(), String> {
        count("k", self.k, CLASSES_MAX)
    }

    fn told(&self) -> String {
        format!("the {} greatest of {}", self.k, self.input)
    }
}
