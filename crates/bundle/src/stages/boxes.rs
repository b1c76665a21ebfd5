//! The stage about boxes that a detector has found.

use super::{BuiltIn, count};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Boxes that may be kept.
const BOXES_MAX: u32 = 1024;

/// How a box is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxForm {
    /// Two corners that lie opposite: `x1, y1, x2, y2`.
    #[default]
    Corners,
    /// The middle and the size: `x, y, width, height`.
    Centre,
}

/// Keeps of boxes that overlap the one with the highest score, class by class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonMaximumSuppression {
    /// The boxes, four numbers each along the last dimension.
    pub boxes: TensorRef,
    /// A score for each box, or one for each of its classes along the last dimension.
    pub scores: TensorRef,
    /// How a box is written.
    #[serde(default)]
    pub form: BoxForm,
    /// The least score that counts.
    pub score_min: f64,
    /// The overlap of two boxes of a class, as a share of what they cover together, above which the one
    /// with the lower score goes.
    pub overlap_max: f64,
    /// How many are kept.
    pub max: u32,
}

impl BuiltIn for NonMaximumSuppression {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("boxes", &self.boxes), ("scores", &self.scores)]
    }

    fn outputs(&self) -> &'static [&'static str] {
        &["boxes", "scores", "classes", "count"]
    }

    fn check(&self) -> Result<(), String> {
        super::finite("score_min", self.score_min)?;
        if !(0.0..=1.0).contains(&self.overlap_max) {
            return Err(format!("overlap_max = {} must be 0 to 1", self.overlap_max));
        }
        count("max", self.max, BOXES_MAX)
    }

    fn told(&self) -> String {
        format!("up to {} of {} that overlap by at most {}", self.max, self.boxes, self.overlap_max)
    }
}
