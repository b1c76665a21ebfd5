//! Where the repository's metadata is kept once it is verified: in the journal, each document on the
//! medium before anything rests on it.

use crate::update::journal::{Journal, JournalError};
use lineside_trust::repository::{Fault, Shelf};

/// The shelf in a journal.
pub struct JournalShelf(pub Journal);

impl Shelf for JournalShelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.shelved(name)?)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        // The root is written by who follows it, with all that hangs on it; and a device that trusts
        // the newest needs none of those before.
        if name == "root.json" || name.starts_with("root_history/") {
            return Ok(());
        }
        self.0.shelve(name, bytes).map_err(|error: JournalError| error.into())
    }
}
