//! Stages that make rows of readings, and frames of rows. What they are together: [`Cut`](crate::Cut).

use serde::{Deserialize, Serialize};

/// Groups readings of one key into a frame: f32 `[rows, fields]`, or `[rows]` for one field. By number
/// (`rows`, `stride`), or by time (`seconds`, `stride_seconds`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The port; of a window by time, a stage `resample`.
    pub input: String,
    /// Readings in a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Readings from one frame's first to the next one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<u32>,
    /// The time that a frame spans, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Seconds from one frame's beginning to the next one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride_seconds: Option<f64>,
    /// Of a window by number, the longest time between two of its readings, in seconds: a frame over a longer one
    /// has no answer. Without it readings follow each other whatever lies between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_seconds: Option<f64>,
}

impl Window {
    /// What it does, in a few words for people.
    pub fn told(&self) -> String {
        let Window { rows, stride, seconds, stride_seconds, .. } = self;
        match (rows, stride, seconds, stride_seconds) {
            (Some(rows), Some(stride), ..) => format!("window of {rows}, every {stride}"),
            (.., Some(seconds), Some(stride)) => format!("window of {seconds} s, every {stride} s"),
            _ => "window".into(),
        }
    }
}

/// Makes rows at a fixed rate of the readings of a port, for windows by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// The port.
    pub input: String,
    /// Rows per second. They lie at whole multiples of the period since 1970.
    pub rate_hz: f64,
    /// What lies between two readings.
    #[serde(default)]
    pub method: Between,
    /// The longest time between two readings that a row may be made of, in seconds; with
    /// [`Between::Hold`], for which one counts.
    pub gap_seconds: f64,
}

impl Resample {
    /// What it does, in a few words for people.
    pub fn told(&self) -> String {
        let Resample { input, rate_hz, gap_seconds, .. } = self;
        format!("{input} at {rate_hz} Hz, over gaps of up to {gap_seconds} s")
    }
}

/// What lies between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// A straight line from one to the other.
    #[default]
    Linear,
    /// What the earlier one says.
    Hold,
}
