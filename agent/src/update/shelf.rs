//! Where the repository's metadata is kept once it is verified: in the journal, each document on the
//! medium before anything rests on it.

use crate::update::journal::{Journal, JournalError};
use lineside_trust::repository::{Fault, Mirror, Shelf};

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

/// The shelf as a mirror, for who asks what the documents that were kept say by the root of today.
pub struct Reshelved(pub Journal);

impl Mirror for Reshelved {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        // On a mirror their version goes before the name, but for the timestamp.
        let unversioned = name.split_once('.').filter(|(version, rest)| {
            *rest != "json" && version.bytes().all(|byte| byte.is_ascii_digit())
        });
        match unversioned {
            Some((_, "root.json")) => Ok(None),
            Some((_, kept)) => Ok(self.0.shelved(kept)?),
            None => Ok(self.0.shelved(name)?),
        }
    }
}
