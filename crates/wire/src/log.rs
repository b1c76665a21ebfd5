//! Lines of a device's log, for a server that has asked for them.

use crate::interval::at_most;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Lines of one message.
pub const LOG_LINES_MAX: usize = 200;
/// Fields of one line.
pub const LOG_FIELDS_MAX: usize = 8;

/// How much a line matters, from what matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something may be.
    Warn,
    /// What happened.
    Info,
    /// What only who looks for a cause wants to know.
    Debug,
}

impl LogLevel {
    /// All of them, from what matters most.
    pub const ALL: [LogLevel; 4] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// As in a [`LogLine`], from 1.
    pub fn code(self) -> u16 {
        self as u16 + 1
    }

    /// The level of a [`LogLine`]; none for one that is not known here.
    pub fn of(code: u16) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().find(|level| level.code() == code)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        })
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        let named = LogLevel::ALL.into_iter().find(|level| level.to_string() == text);
        named.ok_or_else(|| format!("{text:?} is no level: error, warn, info or debug"))
    }
}

/// Asks a device for lines of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskLog {
    /// What is asked for, byte for byte as the director has signed it.
    pub request: Vec<u8>,
}

/// What a device says to [`AskLog`]: once when it hears of it, then whenever there are lines, and when it
/// sends no more. None of it waits anywhere: what cannot be sent is counted and gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// The number of the request; 0 where none could be read.
    pub request: u64,
    /// The device's start.
    pub boot: u64,
    /// Lines, in their order.
    #[serde(deserialize_with = "at_most::<_, _, LOG_LINES_MAX>")]
    pub lines: Vec<LogLine>,
    /// Lines that were left out before these, because there were too many.
    pub dropped: u64,
    /// Seconds for which lines will still be sent; 0 for no longer.
    pub left_seconds: u32,
    /// Why none are sent (any longer), for people; empty while they are.
    pub ended: String,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// What the device took for the time, milliseconds since 1970.
    pub at_unix_ms: i64,
    /// How much it matters, as [`LogLevel::code`]; numbers that may be added to.
    pub level: u16,
    /// The part of the agent that says it.
    pub target: String,
    /// What it says.
    pub message: String,
    /// What it is about, by name: `slot`.
    #[serde(deserialize_with = "at_most::<_, _, LOG_FIELDS_MAX>")]
    pub fields: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written_and_keep_their_numbers() {
        for level in LogLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(LogLevel::of(level.code()), Some(level));
        }
        assert_eq!(LogLevel::ALL.map(LogLevel::code), [1, 2, 3, 4]);
        assert_eq!((LogLevel::of(0), LogLevel::of(5)), (None, None));
        assert!("loud".parse::<LogLevel>().unwrap_err().contains("debug"));
    }
}
