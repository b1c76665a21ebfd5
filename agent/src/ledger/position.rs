//! How far a source has been read, and what that means for the source that the settings name now.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Packets of a broker that are remembered, to know them when they are sent again.
pub const RECENT_PACKETS_MAX: usize = 256;

/// How far a source has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The source that it was: a mark for each file, in order, or one for a topic.
    pub source: Vec<String>,
    /// File, from 0.
    pub file: u32,
    /// Rows of that file that have been taken, good or bad.
    pub row: u64,
    /// Rows of all files before it.
    pub rows_before: u64,
    /// The recording has ended, and its last frames are accounted for.
    pub ended: bool,
    /// The last packets of a broker that were accepted: identifier, and digest of the payload.
    pub recent: VecDeque<(u16, u64)>,
}

/// What a position means for the source that the settings name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// It is the same source, or files have been added behind those that were read.
    Goes,
    /// It is another source, which is read from its beginning.
    Anew,
}

impl Position {
    /// Goes on with `source`: from here if it is what was read before, else from its beginning.
    pub fn follow(&mut self, source: Vec<String>) -> Continuation {
        let was = std::mem::replace(&mut self.source, source);
        if self.source == was {
            return Continuation::Goes;
        }
        // Only what has been read so far must be the same. One that was never read has no marks.
        let read = was.get(..=self.file as usize).unwrap_or(&was);
        if !was.is_empty() && self.source.starts_with(read) {
            self.ended &= self.source.len() <= read.len();
            return Continuation::Goes;
        }
        let read = (self.file, self.row) != (0, 0) || self.ended || !self.recent.is_empty();
        *self = Position { source: std::mem::take(&mut self.source), ..Position::default() };
        if read { Continuation::Anew } else { Continuation::Goes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_holds_for_the_files_that_were_read_and_for_no_other() {
        let marks = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let at = |file, row, ended| Position {
            source: marks("a b"),
            file,
            row,
            ended,
            ..Position::default()
        };
        let begin = Position::default();
        for (was, now, wanted, then) in [
            (at(1, 5, true), "a b", Continuation::Goes, at(1, 5, true)),
            (at(1, 5, true), "a b c", Continuation::Goes, at(1, 5, false)),
            (at(0, 5, false), "a c", Continuation::Goes, at(0, 5, false)),
            (at(1, 5, true), "a c", Continuation::Anew, begin.clone()),
            (at(1, 5, true), "b", Continuation::Anew, begin.clone()),
            (at(0, 0, false), "b", Continuation::Goes, begin.clone()),
            (begin.clone(), "a", Continuation::Goes, begin.clone()),
        ] {
            let mut position = was.clone();
            assert_eq!(position.follow(marks(now)), wanted, "{was:?} {now}");
            assert_eq!(position, Position { source: marks(now), ..then }, "{was:?} {now}");
        }
    }
}
