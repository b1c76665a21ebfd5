//! What goes into a pipeline and what comes out of it.

use crate::tensor::{Data, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One reading of a port that a source has accepted and numbered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The stream; empty where the port has no key.
    pub key: String,
    /// Counts the stream's readings from 0, without gaps.
    pub sequence: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub time_unix_ns: i64,
    /// The port's fields, in order.
    pub values: Vec<f64>,
}

/// One value of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
}

impl Value {
    /// As a number; yes is 1, no is 0.
    pub fn as_f64(self) -> f64 {
        match self {
            Value::Bool(value) => f64::from(u8::from(value)),
            Value::Integer(value) => value as f64,
            Value::Number(value) => value,
        }
    }

    /// Whether it counts as an alarm: yes, or any number but zero.
    pub fn is_alarm(self) -> bool {
        self.as_f64() != 0.0
    }

    pub(super) fn of(tensor: &Tensor) -> Option<Value> {
        match tensor.data() {
            Data::F32(values) => values.first().map(|value| Value::Number(f64::from(*value))),
            Data::I64(values) => values.first().map(|value| Value::Integer(*value)),
            Data::Bool(values) => values.first().map(|value| Value::Bool(*value)),
        }
    }
}

/// One finding of a frame: all outputs of the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The bundle's outputs, by name.
    pub outputs: BTreeMap<String, Value>,
    /// Whether the bundle's alarm output says so; none where it has no such output.
    pub alarm: Option<bool>,
}

/// Why a frame has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A stage failed.
    #[error("stage {stage}: {problem}")]
    Stage {
        /// The stage.
        stage: String,
        /// What went wrong.
        problem: String,
    },
    /// The recording ended, or the pipeline began, in the middle of a window.
    #[error("the window has {have} of {rows} readings")]
    Incomplete {
        /// Readings there were.
        have: u32,
        /// Readings needed.
        rows: u32,
    },
    /// The reading does not fit the port.
    #[error("the reading has {have} values, the port {want}")]
    Reading {
        /// Values there were.
        have: usize,
        /// Fields of the port.
        want: usize,
    },
}

impl FrameError {
    /// The reason in one word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::Stage { .. } => "stage",
            FrameError::Incomplete { .. } => "incomplete",
            FrameError::Reading { .. } => "reading",
        }
    }
}

/// What became of a frame: the readings it accounts for, and its findings or why there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameOutcome {
    /// The stream.
    pub key: String,
    /// Sequence number of the frame's first reading divided by the stride, whoever counts.
    pub frame: u64,
    /// First reading that this frame accounts for: its stride's first. Beyond `last` where a frame at
    /// the end of a recording accounts for none.
    pub first: u64,
    /// Last reading that this frame accounts for.
    pub last: u64,
    /// Time of the window's last reading, nanoseconds since 1970.
    pub time_unix_ns: i64,
    /// The findings; none is an answer too (no beat in this tenth of a second).
    pub result: Result<Vec<Part>, FrameError>,
    /// How long the stages took.
    pub elapsed: Duration,
}
