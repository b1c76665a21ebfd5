//! Stages that make numbers of numbers, each by itself or with those beside it.

use super::each::Each;
use super::{BuiltIn, count};
use crate::description::TensorRef;
use serde::{Deserialize, Serialize};

/// Rows by which a difference may reach back: as many as a window may have.
const LAG_MAX: u32 = 1 << 20;

/// Takes one element of a tensor, counted row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// The tensor.
    pub input: TensorRef,
    /// Which element, from 0.
    pub index: u32,
}

impl BuiltIn for Select {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn told(&self) -> String {
        format!("element {} of {}", self.index, self.input)
    }
}

/// `gain * x + offset`, column by column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The tensor.
    pub input: TensorRef,
    /// What each value is multiplied by; 1 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Each<f64>>,
    /// What is added then; 0 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Each<f64>>,
    /// The unit that the input has to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_unit: Option<Each<String>>,
    /// The unit of what comes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Each<String>>,
}

impl BuiltIn for Scale {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        if self.gain.is_none() && self.offset.is_none() {
            return Err("needs `gain`, `offset` or both".into());
        }
        for (key, numbers) in [("gain", &self.gain), ("offset", &self.offset)] {
            numbers.as_ref().map_or(Ok(()), |numbers| numbers.check(key))?;
        }
        for (key, unit) in [("input_unit", &self.input_unit), ("unit", &self.unit)] {
            unit.as_ref().map_or(Ok(()), |unit| unit.check(key))?;
        }
        Ok(())
    }

    fn told(&self) -> String {
        format!("{} times gain plus offset", self.input)
    }
}

/// How a column is brought to a common scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// `(x - mean) / std`.
    ZScore,
    /// `(x - min) / (max - min)`.
    MinMax,
}

/// Brings each column to a common scale, by figures of the training data or by its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// The tensor.
    pub input: TensorRef,
    /// How.
    pub method: Method,
    /// Mean of the training data. Without figures each frame's own are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Each<f64>>,
    /// Standard deviation of the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Each<f64>>,
    /// Least value of the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Each<f64>>,
    /// Greatest value of the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Each<f64>>,
    /// The unit that the input has to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_unit: Option<Each<String>>,
}

impl Normalise {
    /// The two figures that the method takes, with their keys: what is subtracted, and either what it is
    /// divided by or what makes that together with the first. None where each frame's own are taken.
    pub fn figures(&self) -> Option<[(&'static str, &Each<f64>); 2]> {
        let [first, second] = match self.method {
            Method::ZScore => [("mean", &self.mean), ("std", &self.std)],
            Method::MinMax => [("min", &self.min), ("max", &self.max)],
        };
        Some([(first.0, first.1.as_ref()?), (second.0, second.1.as_ref()?)])
    }
}

impl BuiltIn for Normalise {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        let z_score = [&self.mean, &self.std].iter().filter(|it| it.is_some()).count();
        let min_max = [&self.min, &self.max].iter().filter(|it| it.is_some()).count();
        match (self.method, z_score, min_max) {
            (Method::ZScore, 0 | 2, 0) | (Method::MinMax, 0, 0 | 2) => {}
            (Method::ZScore, ..) => {
                return Err("method \"z-score\" takes `mean` and `std`, or neither".into());
            }
            (Method::MinMax, ..) => {
                return Err("method \"min-max\" takes `min` and `max`, or neither".into());
            }
        }
        for (key, figures) in self.figures().into_iter().flatten() {
            figures.check(key)?;
        }
        if let Some(std) = self.std.iter().flat_map(Each::values).find(|std| **std <= 0.0) {
            return Err(format!("std = {std} must be above zero"));
        }
        self.input_unit.as_ref().map_or(Ok(()), |unit| unit.check("input_unit"))
    }

    fn told(&self) -> String {
        let method = match self.method {
            Method::ZScore => "z-score",
            Method::MinMax => "min-max",
        };
        let by = if self.figures().is_some() { "" } else { ", by each frame's own figures" };
        format!("{method} of {}{by}", self.input)
    }
}

/// Each row less an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The tensor.
    pub input: TensorRef,
    /// How many rows earlier; as many rows fewer come out.
    #[serde(default = "one")]
    pub lag: u32,
}

fn one() -> u32 {
    1
}

impl BuiltIn for Difference {
    fn tensors(&self) -> Vec<(&'static str, &TensorRef)> {
        vec![("input", &self.input)]
    }

    fn check(&self) -> Result<(), String> {
        count("lag", self.lag, LAG_MAX)
    }

    fn told(&self) -> String {
        format!("difference of {} over {}", self.input, self.lag)
    }
}
