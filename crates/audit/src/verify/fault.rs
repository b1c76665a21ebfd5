//! What of a log does not hold, in words for whoever looks at it.

use super::verifier::RANGES_FOLLOWED_MAX;
use crate::checkpoint::CheckpointError;
use crate::entry::EntryError;
use std::fmt;
use std::io;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[from] io::Error),
    /// The log does not hold.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Where a log does not hold, and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line of the file, from 1.
    pub line: u64,
    /// The first entry that is not as it was signed, where that can be told.
    pub entry: Option<u64>,
    /// What does not hold.
    pub problem: Problem,
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No line of a file with a log.
    #[error("the line cannot be read: {0}")]
    Line(String),
    /// The file is of another log than was meant.
    #[error("the file is of the log with the key {found}, not of the one with the key {meant}")]
    Key {
        /// The key in the file.
        found: String,
        /// The key that was asked for.
        meant: String,
    },
    /// An entry was changed after it was recorded.
    #[error("entry {0} was changed: its bytes have another hash than its leaf")]
    Changed(u64),
    /// Entries are missing.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An entry stands where another belongs.
    #[error(
        "entry {found} stands where entry {index} belongs: entries were inserted, repeated or moved"
    )]
    Moved {
        /// Where it stands.
        index: u64,
        /// The number that it has.
        found: u64,
    },
    /// An entry that cannot be read.
    #[error("entry {index}: {problem}")]
    Entry {
        /// Where it stands.
        index: u64,
        /// Why not.
        problem: EntryError,
    },
    /// A checkpoint that is not to be believed.
    #[error("the checkpoint behind entry {before}: {problem}", before = entries.saturating_sub(1))]
    Checkpoint {
        /// Entries before it.
        entries: u64,
        /// Why not.
        problem: CheckpointError,
    },
    /// A checkpoint of another size than the log has where it stands.
    #[error("{signed} entries were signed here, and {found} are before the signature")]
    Size {
        /// Entries in the log so far.
        found: u64,
        /// Entries that were signed.
        signed: u64,
    },
    /// The tree over the entries is not the one that was signed.
    #[error(
        "entries {first} to {last} are not those that were signed: at least one of them was changed together \
         with its hash"
    )]
    Root {
        /// The first that no good checkpoint covers.
        first: u64,
        /// The last that this one covers.
        last: u64,
    },
    /// The same key has signed two logs that differ.
    #[error(
        "the log was forked: the same key has signed, for {size} entries, another log than this one. One of the \
         two was shown to you and not to others: keep both files as evidence, and ask whoever runs the server"
    )]
    Forked {
        /// The size of the known checkpoint.
        size: u64,
    },
    /// Entries that nobody has signed.
    #[error("entries {first} to {last} are behind the last checkpoint: nobody has signed them")]
    Unsigned {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The log goes on, and the file does not.
    #[error(
        "the file ends after {found} entries, and {signed} were there: the others were cut off"
    )]
    Truncated {
        /// Entries in the file and before it.
        found: u64,
        /// Entries that there are, by the header or a known checkpoint.
        signed: u64,
    },
    /// An entry is missing, and nothing says that it was erased.
    #[error("entry {index} is missing, and entry {by} does not say that it was erased")]
    Erased {
        /// The missing one.
        index: u64,
        /// The one that should say so.
        by: u64,
    },
    /// A value that is not the one that was sealed.
    #[error("the {side} value of entry {index} is not the one that was sealed")]
    Value {
        /// Of which entry.
        index: u64,
        /// Which value.
        side: &'static str,
    },
    /// More ranges than are followed.
    #[error(
        "more than {RANGES_FOLLOWED_MAX} ranges of entries are erased or withheld: verify the log in parts"
    )]
    Ranges,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for Fault {}
