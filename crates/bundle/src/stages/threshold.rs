//! The stage that says whether a value is beyond a level.

use super::each::Each;
use super::{BuiltIn, count, finite};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Frames that a threshold may wait for or hold.
const FRAMES_MAX: u32 = 1 << 24;

/// Compares a tensor of one element with a level; true where it is beyond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The tensor.
    pub input: TensorRef,
    /// True above this level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// True below this level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// Once true, true until the value is back at this level: hysteresis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// Frames in a row that have to be beyond the level before it is true.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub after: u32,
    /// Frames for which it stays true when the value is back.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub hold: u32,
    /// The unit that the input has to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_unit: Option<Each<String>>,
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_nought(number: &u32) -> bool {
    *number == 0
}

impl BuiltIn for Threshold {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn has_state(&self) -> bool {
        self.until.is_some() || self.after > 1 || self.hold > 0
    }

    fn check(&self) -> Result<(), String> {
        match (self.above, self.below) {
            (Some(level), None) | (None, Some(level)) if level.is_finite() => {}
            (Some(_), Some(_)) => return Err("has both `above` and `below`".into()),
            _ => return Err("needs a finite level, `above` or `below`".into()),
        }
        if let Some(until) = self.until {
            finite("until", until)?;
            if let Some(above) = self.above.filter(|above| until > *above) {
                return Err(format!("until = {until} must not be above the level, {above}"));
            }
            if let Some(below) = self.below.filter(|below| until < *below) {
                return Err(format!("until = {until} must not be below the level, {below}"));
            }
        }
        count("after", self.after, FRAMES_MAX)?;
        if self.hold > FRAMES_MAX {
            return Err(format!("hold = {} must be at most {FRAMES_MAX}", self.hold));
        }
        self.input_unit.as_ref().map_or(Ok(()), |unit| unit.check("input_unit"))
    }

    fn told(&self) -> String {
        let (word, level) = match (self.above, self.below) {
            (Some(level), _) => ("above", level),
            (None, level) => ("below", level.unwrap_or(f64::NAN)),
        };
        let until = self.until.map_or(String::new(), |until| format!(", until {until}"));
        let after = if self.after > 1 { format!(", after {}", self.after) } else { String::new() };
        let hold = if self.hold > 0 { format!(", held for {}", self.hold) } else { String::new() };
        format!("{} {word} {level}{until}{after}{hold}", self.input)
    }
}
