//! What goes into a pipeline.

use super::frame::FrameError;
use serde::{Deserialize, Serialize};

/// One reading of a port that a source has accepted and numbered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The stream: the key, empty where the port has none; `port/key` where the bundle has several ports.
    pub key: String,
    /// Counts the stream's readings from 0, without gaps.
    pub sequence: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub time_unix_ns: i64,
    /// The port's fields, in order.
    pub values: Vec<f64>,
}

/// A reading that lies with somebody else: as a [`Reading`], or in what has come from another process.
#[derive(Debug, Clone, Copy)]
pub struct ReadingRef<'a> {
    /// As [`Reading::key`].
    pub key: &'a str,
    /// As [`Reading::sequence`].
    pub sequence: u64,
    /// As [`Reading::time_unix_ns`].
    pub time_unix_ns: i64,
    /// As [`Reading::values`].
    pub values: Values<'a>,
}

/// The values of a reading.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// As readings have them.
    Own(&'a [f64]),
    /// The same, little-endian.
    Doubles(&'a [[u8; 8]]),
    /// As windows have them, little-endian.
    Singles(&'a [[u8; 4]]),
}

impl Values<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Own(values) => values.len(),
            Values::Doubles(values) => values.len(),
            Values::Singles(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a place; none beyond the last.
    pub fn get(&self, at: usize) -> Option<f64> {
        match self {
            Values::Own(values) => values.get(at).copied(),
            Values::Doubles(values) => values.get(at).map(|value| f64::from_le_bytes(*value)),
            Values::Singles(values) => {
                values.get(at).map(|value| f32::from_le_bytes(*value).into())
            }
        }
    }
}

impl<'a> From<&'a Reading> for ReadingRef<'a> {
    fn from(reading: &'a Reading) -> ReadingRef<'a> {
        let Reading { key, sequence, time_unix_ns, values } = reading;
        let values = Values::Own(values);
        ReadingRef { key, sequence: *sequence, time_unix_ns: *time_unix_ns, values }
    }
}

impl ReadingRef<'_> {
    /// The same for oneself.
    pub fn to_reading(&self) -> Reading {
        let ReadingRef { key, sequence, time_unix_ns, values } = *self;
        let single = |value: &[u8; 4]| f32::from_le_bytes(*value).into();
        let values = match values {
            Values::Own(values) => values.to_vec(),
            Values::Doubles(values) => values.iter().map(|it| f64::from_le_bytes(*it)).collect(),
            Values::Singles(values) => values.iter().map(single).collect(),
        };
        Reading { key: key.to_owned(), sequence, time_unix_ns, values }
    }

    /// Its values as windows have them.
    ///
    /// # Errors
    /// [`FrameError::Reading`] if there are not `fields` of them, or one is no 32-bit number.
    pub(super) fn values(&self, fields: usize) -> Result<Vec<f32>, FrameError> {
        let mut values = Vec::with_capacity(self.values.len());
        self.append_values(fields, &mut values)?;
        Ok(values)
    }

    /// Puts its values behind others, as windows have them.
    ///
    /// # Errors
    /// As [`ReadingRef::values`]; then the others are as they were.
    pub(super) fn append_values(
        &self,
        fields: usize,
        values: &mut Vec<f32>,
    ) -> Result<(), FrameError> {
        let fail = |problem| FrameError::Reading { sequence: self.sequence, problem };
        if self.values.len() != fields {
            let have = self.values.len();
            return Err(fail(format!("it has {have} values, the port {fields}")));
        }
        let before = values.len();
        match self.values {
            Values::Own(own) => values.extend(own.iter().map(|value| *value as f32)),
            Values::Doubles(own) => {
                values.extend(own.iter().map(|value| f64::from_le_bytes(*value) as f32))
            }
            Values::Singles(own) => {
                values.extend(own.iter().map(|value| f32::from_le_bytes(*value)))
            }
        }
        let own = &values[before..];
        // Looked at whole: that is done several values at once.
        if own.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(());
        }
        let at = own.iter().position(|value| !value.is_finite()).unwrap_or(0);
        values.truncate(before);
        let value = self.values.get(at).unwrap_or(f64::NAN);
        Err(fail(format!("value {at} is no 32-bit number: {value:e}")))
    }
}
