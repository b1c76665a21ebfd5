//! What goes into a pipeline and what comes out of it.

use super::said::Said;
use crate::tensor::{Data, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Readings of one stream in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Sequence number of the first.
    pub first: u64,
    /// Sequence number of the last.
    pub last: u64,
}

impl Span {
    /// How many they are; none where the last is before the first.
    pub fn count(&self) -> u64 {
        self.last.wrapping_add(1).saturating_sub(self.first)
    }
}

/// Readings that frames account for and that no window was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unused {
    /// They came when their frame was over.
    pub late: u32,
    /// There was one of the same time already.
    pub twice: u32,
}

/// One value of a finding. Plain in JSON (`true`, `3`, `0.72`), tagged in postcard.
#[derive(Debug, Clone, Copy, PartialEq)]
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

    /// The first element; none of bytes.
    pub(super) fn of(tensor: &Tensor) -> Option<Value> {
        let integer = |number: Option<i64>| number.map(Value::Integer);
        match tensor.data() {
            Data::Bool(values) => values.first().map(|value| Value::Bool(*value)),
            Data::U8(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::U16(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::U32(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::I8(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::I16(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::I32(values) => integer(values.first().map(|value| i64::from(*value))),
            Data::I64(values) => integer(values.first().copied()),
            // What no signed number holds is told as closely as can be.
            Data::U64(values) => values.first().map(|value| {
                i64::try_from(*value).map_or(Value::Number(*value as f64), Value::Integer)
            }),
            data @ (Data::F16(_) | Data::F32(_) | Data::F64(_)) => {
                data.number(0).map(Value::Number)
            }
            Data::Bytes(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
        }
    }
}

/// JSON says by itself what a value is; other formats have to be told.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a value is true, false or a number")]
enum Plain {
    Bool(bool),
    Integer(i64),
    Number(f64),
}

#[derive(Serialize, Deserialize)]
enum Tagged {
    Bool(bool),
    Integer(i64),
    Number(f64),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), *self) {
            (true, Value::Bool(value)) => Plain::Bool(value).serialize(serializer),
            (true, Value::Integer(value)) => Plain::Integer(value).serialize(serializer),
            (true, Value::Number(value)) => Plain::Number(value).serialize(serializer),
            (false, Value::Bool(value)) => Tagged::Bool(value).serialize(serializer),
            (false, Value::Integer(value)) => Tagged::Integer(value).serialize(serializer),
            (false, Value::Number(value)) => Tagged::Number(value).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(match Plain::deserialize(deserializer)? {
                Plain::Bool(value) => Value::Bool(value),
                Plain::Integer(value) => Value::Integer(value),
                Plain::Number(value) => Value::Number(value),
            });
        }
        Ok(match Tagged::deserialize(deserializer)? {
            Tagged::Bool(value) => Value::Bool(value),
            Tagged::Integer(value) => Value::Integer(value),
            Tagged::Number(value) => Value::Number(value),
        })
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FrameError {
    /// A stage failed.
    #[error("stage {stage}: {problem}")]
    Stage {
        /// The stage.
        stage: String,
        /// What kind of failure.
        fault: Fault,
        /// What went wrong.
        problem: String,
    },
    /// Readings of the window were dropped, or the recording ended before it was whole.
    #[error("the window has {have} of {rows} readings")]
    Incomplete {
        /// Readings there were.
        have: u32,
        /// Readings needed.
        rows: u32,
    },
    /// A reading of the window does not fit the port.
    #[error("reading {sequence}: {problem}")]
    Reading {
        /// The reading's sequence number.
        sequence: u64,
        /// What does not fit.
        problem: String,
    },
    /// Rows of a window by time have no readings near enough.
    #[error("window {stage}: {have} of {rows} rows have readings near enough")]
    Sparse {
        /// The window.
        stage: String,
        /// Rows there are.
        have: u32,
        /// Rows needed.
        rows: u32,
    },
    /// The first readings of the stream lie within a window by time, or behind it.
    #[error("window {stage}: the readings begin within it")]
    Begins {
        /// The window.
        stage: String,
    },
    /// The readings' clock was set back while the frame was open.
    #[error("the clock of the readings was set back")]
    Clock,
    /// One stream more than a pipeline keeps apart.
    #[error("there are more than {max} streams")]
    Streams {
        /// Streams that are kept apart.
        max: usize,
    },
    /// Two readings of a window by number lie further apart in time than the bundle allows.
    #[error("{gap_ms} ms lie between two of its readings, more than the window's gap_seconds")]
    Gap {
        /// The time between them.
        gap_ms: u64,
    },
}

/// How a stage can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The engine could not run the model.
    Model,
    /// The answer of a model or a built-in stage holds NaN or infinity, or what came to the latter; or a model
    /// came to such numbers on the way, or to some so large that it might.
    NotFinite,
    /// The plugin said why it does not answer.
    PluginRefused,
    /// The plugin trapped; a fresh instance follows.
    PluginTrap,
    /// The plugin took too long; a fresh instance follows.
    PluginTime,
    /// The plugin wanted more memory than it may have; a fresh instance follows.
    PluginMemory,
    /// The plugin's answer was larger than it may be; a fresh instance follows.
    PluginOutput,
    /// The plugin's answer was not what it had declared; a fresh instance follows.
    PluginAnswer,
    /// The plugin has broken too often, and is not run any more.
    PluginQuarantined,
    /// No instance of the plugin could be started.
    PluginStart,
    /// A tensor that the stage needs did not come.
    Input,
    /// The frame's time was over before the stage was done.
    FrameTime,
    /// The plugins before it made too many results of one frame.
    Parts,
    /// A value came in that the stage has no answer for, such as a class that there is not.
    Value,
}

impl Fault {
    /// Whether a plugin broke: its instance was given up, with what it knew of its stream, or is not run
    /// any more because that came too often.
    pub fn is_broken_plugin(self) -> bool {
        use Fault::*;
        match self {
            PluginTrap | PluginTime | PluginMemory | PluginOutput | PluginAnswer
            | PluginQuarantined => true,
            Model | NotFinite | PluginRefused | PluginStart | Input | FrameTime | Parts | Value => {
                false
            }
        }
    }
}

impl FrameError {
    /// The reason in one word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::Stage { fault, .. } => match fault {
                Fault::Model => "model",
                Fault::NotFinite => "not_finite",
                Fault::PluginRefused => "plugin_refused",
                Fault::PluginTrap => "plugin_trap",
                Fault::PluginTime => "plugin_time",
                Fault::PluginMemory => "plugin_memory",
                Fault::PluginOutput => "plugin_output",
                Fault::PluginAnswer => "plugin_answer",
                Fault::PluginQuarantined => "plugin_quarantined",
                Fault::PluginStart => "plugin_start",
                Fault::Input => "input",
                Fault::FrameTime => "frame_time",
                Fault::Parts => "parts",
                Fault::Value => "value",
            },
            FrameError::Incomplete { .. }
            | FrameError::Gap { .. }
            | FrameError::Sparse { .. }
            | FrameError::Begins { .. } => "incomplete",
            FrameError::Clock => "clock",
            FrameError::Reading { .. } => "reading",
            FrameError::Streams { .. } => "streams",
        }
    }

    /// Whether a plugin broke, and that is why there is no answer.
    pub fn is_broken_plugin(&self) -> bool {
        matches!(self, FrameError::Stage { fault, .. } if fault.is_broken_plugin())
    }

    /// Whether a plugin has broken so often that it is not run any more.
    pub fn is_quarantine(&self) -> bool {
        matches!(self, FrameError::Stage { fault: Fault::PluginQuarantined, .. })
    }
}

/// Where values come from that a bundle wants to be given although a plugin broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StandIn {
    /// They are the plugin's last ones in this stream.
    Held,
    /// The bundle says them.
    FailSafe,
}

/// What is told of a frame without an answer because a plugin broke, where the bundle wants that: nobody
/// is to take it for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instead {
    /// Where what the plugin owes came from.
    pub by: StandIn,
    /// What the stages behind it made of it.
    pub parts: Vec<Part>,
}

/// What became of a frame: the readings it accounts for, and its findings or why there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameOutcome {
    /// The key.
    pub key: String,
    /// Sequence number of the frame's first reading divided by the stride, whoever counts; by time, the
    /// frame's beginning in strides since 1970.
    pub frame: u64,
    /// First reading that this frame accounts for: its stride's first.
    pub first: u64,
    /// Last reading that this frame accounts for: its stride's last, though the window may reach
    /// further; the last there was, at the end of a recording. What plugins held back until then
    /// accounts for none: there `first` is `last + 1`.
    pub last: u64,
    /// Where a bundle has several ports, what it accounts for by stream, in the order of the ports, `first`
    /// and `last` being those of the first; a stream of which it accounts for nothing is not there.
    pub spans: Vec<(String, Span)>,
    /// Readings that it accounts for and that were not used.
    pub unused: Unused,
    /// Time of the window's last reading, nanoseconds since 1970; of one by time, its end.
    pub time_unix_ns: i64,
    /// The findings; none is an answer too (no beat in this tenth of a second).
    pub result: Result<Vec<Part>, FrameError>,
    /// Where there are none because a plugin broke: what the bundle wants to be told all the same.
    pub instead: Option<Instead>,
    /// What plugins have said since the last frame.
    pub said: Said,
    /// How long the stages took.
    pub elapsed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_way_to_another_process_and_values_are_plain_in_json() {
        let values = [Value::Bool(true), Value::Integer(-3), Value::Number(0.5)];
        let outputs = ["a", "b", "c"].map(str::to_owned).into_iter().zip(values).collect();
        let part = Part { outputs, alarm: Some(true) };
        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(json, r#"{"outputs":{"a":true,"b":-3,"c":0.5},"alarm":true}"#);
        assert_eq!(serde_json::from_str::<Part>(&json).unwrap(), part);

        let failed = FrameError::Stage {
            stage: "judge".into(),
            fault: Fault::NotFinite,
            problem: "output score is not finite".into(),
        };
        for result in [Ok(vec![part]), Err(failed)] {
            let outcome = FrameOutcome {
                key: "a".into(),
                frame: 7,
                first: 42,
                last: 47,
                spans: vec![("p/a".into(), Span { first: 42, last: 47 })],
                unused: Unused { late: 1, twice: 2 },
                time_unix_ns: -1,
                result,
                instead: Some(Instead { by: StandIn::Held, parts: vec![] }),
                said: Said { lines: vec![("judge".into(), "a line".into())], dropped: 1 },
                elapsed: Duration::from_micros(25),
            };
            let bytes = postcard::to_stdvec(&outcome).unwrap();
            assert_eq!(postcard::from_bytes::<FrameOutcome>(&bytes).unwrap(), outcome);
        }
    }
}
