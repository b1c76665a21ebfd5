//! What a log that holds is.

use crate::checkpoint::Checkpoint;
use crate::erasure::Ranges;
use crate::note::Note;
use std::fmt;

/// What a file that holds is.
#[derive(Debug, Clone)]
pub struct Report {
    /// The log's state at its end, as it was signed.
    pub checkpoint: Checkpoint,
    /// The note with it, in which witnesses can be looked for.
    pub note: Note,
    /// The first entry of the file.
    pub from: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Entries of a form that is not known here: their hashes hold.
    pub unread: u64,
    /// Entries that were erased, as later ones say.
    pub erased: u64,
    /// Sealed values that are in the file and are those that were sealed.
    pub opened: u64,
    /// Entries with sealed values that are not in the file and were erased, as later entries say.
    pub values_erased: Ranges,
    /// Entries with sealed values that are not in the file, and nothing says why.
    pub withheld: Ranges,
    /// Erased, as entries say, and in the file all the same: entries, and those whose values are.
    pub kept: u64,
    /// Checkpoints in the file.
    pub checkpoints: u64,
    /// Known checkpoints that lie before the beginning of the file.
    pub unchecked: usize,
    /// Entries whose clock was behind that of the entry before.
    pub clock_steps_back: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, origin) = (self.checkpoint.size(), self.checkpoint.origin());
        writeln!(f, "The log {origin} holds: {size} entries, root {}.", self.checkpoint.root())?;
        if self.from > 0 {
            writeln!(f, "The file begins with entry {}.", self.from)?;
        }
        let mut count = |number: u64, words: &str| match number {
            0 => Ok(()),
            number => writeln!(f, "{number} {words}"),
        };
        count(self.erased, "entries were erased, as later ones say; their hashes hold.")?;
        count(
            self.unread,
            "entries are of a form that this program does not know; their hashes hold.",
        )?;
        count(
            self.values_erased.count(),
            "entries have values that were erased, as later ones say.",
        )?;
        count(
            self.withheld.count(),
            "entries have values that are not in the file, and nothing says why.",
        )?;
        count(
            self.kept,
            "entries or values are in the file though later entries say that they were erased.",
        )?;
        count(
            self.clock_steps_back,
            "entries have an earlier time than the one before: the clock was set back.",
        )?;
        count(
            self.unchecked as u64,
            "known checkpoints lie before the file and could not be compared.",
        )
    }
}
