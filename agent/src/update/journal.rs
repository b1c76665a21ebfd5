//! What survives a power cut: the state of each slot, and the documents that were accepted.
//!
//! One redb table. Every write is a transaction that is on the medium when it returns; so is its second
//! copy then, but for the mere progress of a slot.

use crate::database::{self, Database};
use crate::failpoint;
use crate::update::engines::KeptEngines;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::SitePolicy;
use lineside_trust::Seen;
use lineside_update::{SlotState, Target};
use lineside_wire::name::{DeviceId, SiteName, SlotName};
use redb::{ReadableTable, TableDefinition, TableHandle, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("journal");
const ACCEPTED: &str = "accepted";
const BOOT: &str = "boot";
const CONTENTS: &str = "contents";
const ENGINES: &str = "engines";
const SLOT: &str = "slot/";
const DOCUMENT: &str = "document/";
const SHELF: &str = "shelf/";
/// The key after all that begin so: `0` follows `/`.
const SHELF_END: &str = "shelf0";
/// Documents of the repository that are kept: its own, and those of the roles that it delegates to.
const SHELVED_MAX: usize = 64;

/// Why the journal does not answer.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database.
    #[error("the journal in state.redb cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// The database has it, and nothing may rest on that before it is there twice.
    #[error("the second copy of the journal cannot be written")]
    Copy(#[source] Box<redb::Error>),
    /// What is written there.
    #[error("the journal's entry {key} cannot be understood; was it written by a newer agent?")]
    Entry {
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The repository names more roles than a device has room for.
    #[error("{SHELVED_MAX} documents of the repository are kept, and no more")]
    Shelf,
}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> JournalError {
        JournalError::Database(Box::new(error.into()))
    }
}

/// Whose journal this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The device.
    pub device: DeviceId,
    /// Digest of the root that its folder had.
    pub pinned: Digest,
}

/// How long documents are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The document that expires first.
    pub document: String,
    /// When, in milliseconds since 1970.
    pub until_unix_ms: i64,
}

/// What a site has signed that holds there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteRules {
    /// The site.
    pub site: SiteName,
    /// Digest of the file that says so.
    pub digest: Digest,
    /// Its policy.
    pub policy: SitePolicy,
}

/// A release that a slot was to hold, and that nobody vouches for or wants there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The release.
    pub release: ReleaseId,
    /// Why, for people.
    pub reason: String,
}

/// What was accepted so far. Versions never fall. A field that an older agent did not write is as if
/// nothing had been accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accepted {
    /// Whose these are; none before anything was accepted.
    pub owner: Option<Owner>,
    /// The releases that were signed.
    pub releases: Option<Seen>,
    /// The assignment for this device.
    pub assignment: Option<Seen>,
    /// What both agree on, by slot.
    pub targets: BTreeMap<SlotName, Target>,
    /// What was among the targets last of slots that have none now.
    pub withdrawn: BTreeMap<SlotName, Withdrawn>,
    /// Slots for which the director says that a person has approved the target.
    pub approved: BTreeSet<SlotName>,
    /// Slots of which a person has said that the target be tried again, and the number of that wish.
    pub again: BTreeMap<SlotName, u64>,
    /// The first document that expires of those that were accepted last; none before that.
    pub good: Option<Good>,
    /// What the site has signed last.
    pub site: Option<SiteRules>,
    /// The latest time at which a document was accepted, in milliseconds since 1970: it cannot be
    /// earlier now, whatever the clock says.
    pub latest_known_unix_ms: i64,
}

/// A document that is kept as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The newest root.
    Root,
    /// The assignment for this device.
    Assignment,
}

impl Document {
    fn key(self) -> String {
        let name = match self {
            Document::Root => "root",
            Document::Assignment => "assignment",
        };
        format!("{DOCUMENT}{name}")
    }
}

/// The journal.
#[derive(Clone)]
pub struct Journal {
    database: Arc<Database>,
}

impl Journal {
    /// Opens the journal in `database`.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn open(database: Arc<Database>) -> Result<Journal, JournalError> {
        database.have_tables(&[TABLE.name()], |transaction| {
            transaction.open_table(TABLE)?;
            Ok(())
        })?;
        Ok(Journal { database })
    }

    /// The number of a start of the agent at `clock_unix_ms`; [`Journal::write_boot`] counts it.
    ///
    /// It is the clock's in seconds, or one more than the last where that is higher. The server knows
    /// records by the number of the start and their own, and takes what it has had before for repeats:
    /// a state folder that is new, or was restored from a copy, must not count through the same numbers
    /// again. Nor must a start that a full disk kept from being counted, so nothing hangs on the write.
    ///
    /// A device without a battery may begin each life of its state folder at the same time; there `draw`,
    /// a random number, sets the first starts apart.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn next_boot(&self, clock_unix_ms: i64, draw: u16) -> Result<u64, JournalError> {
        let clock = u64::try_from(clock_unix_ms / 1000).unwrap_or(0);
        Ok(match self.read::<u64>(BOOT)? {
            None => clock.saturating_add(u64::from(draw)).max(1),
            Some(last) => last.saturating_add(1).max(clock),
        })
    }

    /// Counts a start of the agent.
    ///
    /// # Errors
    /// [`JournalError`]; what is there can be read all the same.
    pub fn write_boot(&self, boot: u64) -> Result<(), JournalError> {
        let written = self.write(&[(BOOT.to_owned(), json(&boot))]);
        if written.is_err() {
            // Nobody tries this again, so the database is opened again here for whoever reads next.
            drop(self.database.begin_write());
        }
        written
    }

    /// The state of a slot; a new slot's where nothing was written yet.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn slot(&self, slot: &SlotName) -> Result<SlotState, JournalError> {
        Ok(self.read(&format!("{SLOT}{slot}"))?.unwrap_or_default())
    }

    /// The state of every slot that was ever written.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn slots(&self) -> Result<BTreeMap<String, SlotState>, JournalError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut slots = BTreeMap::new();
        for entry in table.range(SLOT..)? {
            let (key, value) = entry?;
            let Some(slot) = key.value().strip_prefix(SLOT) else { break };
            slots.insert(slot.to_owned(), parse(key.value(), value.value())?);
        }
        Ok(slots)
    }

    /// Writes the state of a slot.
    ///
    /// # Errors
    /// [`JournalError::Database`]; the earlier state then still holds. [`JournalError::Copy`]; nothing
    /// may follow from it yet.
    pub fn write_slot(&self, slot: &SlotName, state: &SlotState) -> Result<(), JournalError> {
        let key = format!("{SLOT}{slot}");
        let transaction = self.database.begin_write()?;
        let before = {
            let mut table = transaction.open_table(TABLE)?;
            let before = table.insert(key.as_str(), json(state).as_slice())?;
            before.and_then(|bytes| parse::<SlotState>(&key, bytes.value()).ok())
        };
        // The copy is for what a device must not forget, and would wear out with progress.
        let is_progress = before.is_some_and(|before| state.differs_only_in_progress(&before));
        if !is_progress {
            database::count(&transaction)?;
        }
        self.commit(transaction)
    }

    /// The blobs of releases that were on disk, by the digest of their OCI manifest.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn contents(&self) -> Result<BTreeMap<Digest, BTreeSet<Digest>>, JournalError> {
        Ok(self.read(CONTENTS)?.unwrap_or_default())
    }

    /// Writes which blobs belong to the releases on disk.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn write_contents(
        &self,
        contents: &BTreeMap<Digest, BTreeSet<Digest>>,
    ) -> Result<(), JournalError> {
        self.write(&[(CONTENTS.to_owned(), json(contents))])
    }

    /// In which engines releases have passed their checks.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn engines(&self) -> Result<KeptEngines, JournalError> {
        Ok(self.read(ENGINES)?.unwrap_or_default())
    }

    /// Writes in which engines releases have passed their checks.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn write_engines(&self, engines: &KeptEngines) -> Result<(), JournalError> {
        self.write(&[(ENGINES.to_owned(), json(engines))])
    }

    /// Writes what another agent would have.
    #[cfg(test)]
    pub(super) fn write_engines_as(&self, text: &str) {
        self.write(&[(ENGINES.to_owned(), text.as_bytes().to_vec())]).unwrap();
    }

    /// What was accepted so far.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn accepted(&self) -> Result<Accepted, JournalError> {
        Ok(self.read(ACCEPTED)?.unwrap_or_default())
    }

    /// A document as it was received.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn document(&self, document: Document) -> Result<Option<Vec<u8>>, JournalError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(document.key().as_str())?.map(|value| value.value().to_vec()))
    }

    /// Writes what was accepted together with the documents, or nothing. What is on the shelf under
    /// the names `forgotten` goes.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn accept(
        &self,
        accepted: &Accepted,
        documents: &[(Document, &[u8])],
        forgotten: &[&str],
    ) -> Result<(), JournalError> {
        let mut entries = vec![(ACCEPTED.to_owned(), json(accepted))];
        entries.extend(documents.iter().map(|(document, bytes)| (document.key(), bytes.to_vec())));
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in &entries {
                table.insert(key.as_str(), value.as_slice())?;
            }
            for name in forgotten {
                table.remove(shelf_key(name).as_str())?;
            }
        }
        database::count(&transaction)?;
        self.commit(transaction)
    }

    /// The document of the repository that is kept under `name`.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn shelved(&self, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(shelf_key(name).as_str())?.map(|value| value.value().to_vec()))
    }

    /// The names under which documents of the repository are kept.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn shelf(&self) -> Result<Vec<String>, JournalError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut names = Vec::new();
        for entry in table.range(SHELF..SHELF_END)? {
            let (key, _) = entry?;
            names.extend(key.value().strip_prefix(SHELF).map(str::to_owned));
        }
        Ok(names)
    }

    /// Keeps a document of the repository under `name`, in place of what was there.
    ///
    /// # Errors
    /// [`JournalError::Database`]; [`JournalError::Shelf`].
    pub fn shelve(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let key = shelf_key(name);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            let is_new = table.get(key.as_str())?.is_none();
            if is_new && table.range(SHELF..SHELF_END)?.count() >= SHELVED_MAX {
                return Err(JournalError::Shelf);
            }
            table.insert(key.as_str(), bytes)?;
        }
        database::count(&transaction)?;
        self.commit(transaction)
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, JournalError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        table.get(key)?.map(|value| parse(key, value.value())).transpose()
    }

    fn write(&self, entries: &[(String, Vec<u8>)]) -> Result<(), JournalError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key.as_str(), value.as_slice())?;
            }
        }
        database::count(&transaction)?;
        self.commit(transaction)
    }

    fn commit(&self, transaction: WriteTransaction) -> Result<(), JournalError> {
        failpoint::pass("journal.commit").map_err(redb::Error::Io)?;
        transaction.commit()?;
        failpoint::pass("journal.committed").map_err(redb::Error::Io)?;
        self.database.renew_copy().map_err(|error| JournalError::Copy(Box::new(error)))
    }
}

fn shelf_key(name: &str) -> String {
    format!("{SHELF}{name}")
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(bytes)
        .map_err(|source| JournalError::Entry { key: key.to_owned(), source })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the journal's entries have string keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::store::Store;

    #[test]
    fn what_was_written_is_there_after_a_restart_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let slot: SlotName = "turbine".parse().unwrap();
        let accepted = Accepted { latest_known_unix_ms: 7, ..Accepted::default() };
        {
            let store = Store::open(folder.path()).unwrap();
            let journal = Journal::open(store.database()).unwrap();
            assert_eq!(journal.accepted().unwrap(), Accepted::default());
            journal.write_slot(&slot, &SlotState::default()).unwrap();
            journal.accept(&accepted, &[(Document::Assignment, b"{}")], &[]).unwrap();
            journal.shelve("timestamp.json", b"{1}").unwrap();
            journal.shelve("snapshot.json", b"{2}").unwrap();
            journal.write_boot(3).unwrap();
        }
        let store = Store::open(folder.path()).unwrap();
        let journal = Journal::open(store.database()).unwrap();
        assert_eq!(journal.slots().unwrap().keys().collect::<Vec<_>>(), ["turbine"]);
        assert_eq!(journal.accepted().unwrap(), accepted);
        assert_eq!(journal.document(Document::Assignment).unwrap().unwrap(), b"{}");
        assert_eq!(journal.shelved("snapshot.json").unwrap().unwrap(), b"{2}");
        journal.accept(&accepted, &[], &["snapshot.json", "other.json"]).unwrap();
        assert_eq!(journal.shelved("snapshot.json").unwrap(), None);
        assert_eq!(journal.shelved("timestamp.json").unwrap().unwrap(), b"{1}");
        assert_eq!(journal.document(Document::Root).unwrap(), None);
        assert_eq!(journal.next_boot(0, 99).unwrap(), 4);
    }

    #[test]
    fn a_journal_that_begins_anew_does_not_number_its_starts_as_the_one_before() {
        const NOON_MS: i64 = 1_764_072_000_000;
        let first = Journal::open(in_memory()).unwrap();
        let boot = first.next_boot(NOON_MS, 0).unwrap();
        assert_eq!(boot, 1_764_072_000);
        first.write_boot(boot).unwrap();
        // Twice in a second, and by a clock that went back: never the same again.
        for clock in [NOON_MS, 0, i64::MIN] {
            assert_eq!(first.next_boot(clock, 0).unwrap(), boot + 1);
        }
        // A copy from before that start was put back an hour later.
        assert_eq!(first.next_boot(NOON_MS + 3_600_000, 0).unwrap(), boot + 3600);
        // The disk has been exchanged, and the clock knows no better than it did for the first one.
        let fresh = Journal::open(in_memory()).unwrap();
        assert_eq!(fresh.next_boot(NOON_MS, 500).unwrap(), boot + 500);
        assert_eq!(fresh.next_boot(-1, 7).unwrap(), 7);
    }

    #[test]
    fn a_repository_of_countless_roles_does_not_fill_the_disk() {
        let journal = Journal::open(in_memory()).unwrap();
        for role in 0..SHELVED_MAX {
            journal.shelve(&format!("{role}.json"), b"{}").unwrap();
        }
        assert!(matches!(journal.shelve("more.json", b"{}"), Err(JournalError::Shelf)));
        journal.shelve("7.json", b"{new}").unwrap();
        assert_eq!(journal.slots().unwrap().len(), 0);
    }

    #[test]
    fn what_earlier_agents_have_accepted_is_understood() {
        let sample = br#"{"assignment":null,"targets":{},"latest_known_unix_ms":7}"#;
        let accepted = Accepted { latest_known_unix_ms: 7, ..Accepted::default() };
        assert_eq!(parse::<Accepted>(ACCEPTED, sample).unwrap(), accepted);
        assert_eq!(parse::<Accepted>(ACCEPTED, b"{}").unwrap(), Accepted::default());
    }
}
