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
        let mut count = |words: &str, number: u64| match number {
            0 => Ok(()),
            number => writeln!(f, "{words}: {number}"),
        };
        count("Entries that were erased, as later ones say; their hashes hold", self.erased)?;
        count("Entries of a form that this program does not know; their hashes hold", self.unread)?;
        count(
            "Entries with values that were erased, as later ones say",
            self.values_erased.count(),
        )?;
        count(
            "Entries with values that are not in the file; nothing says why",
            self.withheld.count(),
        )?;
        count("Said to be erased, and in the file all the same", self.kept)?;
        count(
            "Entries with an earlier time than the one before: the clock was set back",
            self.clock_steps_back,
        )?;
        count(
            "Known checkpoints from before the file, which nothing could be compared with",
            self.unchecked as u64,
        )
    }
}
