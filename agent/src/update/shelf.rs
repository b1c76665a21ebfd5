//! Where the repository's metadata is kept once it is verified: in the journal, each document on the
//! medium before anything rests on it.

use crate::update::journal::Journal;
use lineside_trust::repository::{Fault, Shelf};
use lineside_trust::{Listed, Root, TrustError, recall_delegated, verify_releases};
use time::OffsetDateTime;

/// What a list of a vendor or a site is called to people.
const LIST: &str = "role's list";

/// The shelf in a journal.
pub struct JournalShelf {
    /// The journal.
    pub journal: Journal,
    /// The root that the device trusts.
    pub root: Root,
}

impl JournalShelf {
    /// Refuses a list of a vendor or a site that is older than the one that is kept, as long as whoever has
    /// signed that one may.
    ///
    /// With a new online key TUF forgets what the snapshot said of versions, so that a thief who has made
    /// them rise without end is undone. Who holds that key must not bring back what a site has made
    /// stricter since, or a release that a vendor has withdrawn.
    fn goes_forward(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let role = name.strip_suffix(".json").unwrap_or(name);
        if ["timestamp", "snapshot", "targets"].contains(&role) {
            return Ok(());
        }
        let Some(kept) = self.journal.shelved(name)? else { return Ok(()) };
        let (version, seen) =
            (Listed::of(LIST, bytes)?.version(), Listed::of(LIST, &kept)?.version());
        if version < seen && !self.is_replaced(role, &kept)? {
            return Err(TrustError::Older { document: LIST, version, seen }.into());
        }
        Ok(())
    }

    /// Whether the list of releases says that others sign for the role than those who have signed this.
    fn is_replaced(&self, role: &str, kept: &[u8]) -> Result<bool, Fault> {
        let Some(list) = self.journal.shelved("targets.json")? else { return Ok(false) };
        let list = verify_releases(&self.root, &list, None, OffsetDateTime::UNIX_EPOCH);
        let signed = list.and_then(|list| recall_delegated(&list, role, kept, ""));
        Ok(matches!(signed, Err(TrustError::Signature { .. })))
    }
}

impl Shelf for JournalShelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.journal.shelved(name)?)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        // The root is written by who follows it, with all that hangs on it; and a device that trusts
        // the newest needs none of those before.
        if name == "root.json" || name.starts_with("root_history/") {
            return Ok(());
        }
        self.goes_forward(name, bytes)?;
        Ok(self.journal.shelve(name, bytes)?)
    }
}
