//! Frames that have been accounted for, and why some have no answer.

use lineside_runtime::{FrameError, Instead, Part, Reading, Span, StandIn, Unused};
use std::sync::Arc;
use std::time::Duration;

/// Longest sentence about a frame, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// Whether what kept a frame from an answer says nothing about the release: readings of it are missing, or
/// its clock was set back.
pub(in crate::worker) fn says_nothing(reason: &str) -> bool {
    matches!(reason, "incomplete" | "clock")
}

/// Why a frame has no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// One word, for counting.
    pub reason: String,
    /// A sentence for people.
    pub text: String,
    /// A plugin broke.
    pub is_broken_plugin: bool,
    /// What the bundle wants to be told all the same.
    pub instead: Option<Instead>,
}

impl Failure {
    /// Of which nothing else is to be told.
    pub fn new(reason: &str, text: &str) -> Failure {
        let (reason, text) = (reason.to_owned(), text.to_owned());
        Failure { reason, text, is_broken_plugin: false, instead: None }
    }

    /// As the pipeline says it. Frames of which something else is told are counted by a word of their own.
    pub(super) fn of(error: &FrameError, instead: Option<Instead>) -> Failure {
        let text = text_of(error);
        let told = match instead.as_ref().map(|instead| instead.by) {
            None => "",
            Some(StandIn::Held) => "_held",
            Some(StandIn::FailSafe) => "_fail_safe",
        };
        let reason = format!("{}{told}", error.reason());
        Failure { reason, text, is_broken_plugin: error.is_broken_plugin(), instead }
    }
}

/// A frame that has been accounted for: the first answer that came for it, and the only one.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The stream.
    pub key: String,
    /// The frame's number.
    pub frame: u64,
    /// First reading that it accounts for.
    pub first: u64,
    /// Last reading that it accounts for; before `first` where there is none.
    pub last: u64,
    /// Time of the window's last reading, nanoseconds since 1970.
    pub time_unix_ns: i64,
    /// How long the stages took; nothing where no worker answered.
    pub elapsed: Duration,
    /// The findings, or why there are none.
    pub result: Result<Vec<Part>, Failure>,
    /// The readings that it accounts for, as far as they are kept.
    pub inputs: Vec<Arc<Reading>>,
    /// What there is of a frame by time besides.
    pub more: More,
}

impl Settled {
    /// The stream of the readings that it accounts for; the first, where several ports are joined.
    pub fn stream(&self) -> &str {
        self.more.stream.as_deref().unwrap_or(&self.key)
    }
}

/// What there is of a frame by time, besides what there is of any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct More {
    /// The stream that the readings are of, where that is not the key.
    pub stream: Option<String>,
    /// What it accounts for in the streams of other ports, with these readings.
    pub others: Vec<(String, Span, Vec<Arc<Reading>>)>,
    /// Readings that it accounts for and that were not used.
    pub unused: Unused,
}

/// What is wrong with a frame, for people.
fn text_of(error: &FrameError) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
