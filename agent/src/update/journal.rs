//! What survives a power cut: the state of each slot, and the documents that were accepted.
//!
//! One redb table. Every write is a transaction that is on the medium when it returns.

use crate::database::Database;
use lineside_bundle::{BundleName, Digest};
use lineside_trust::Seen;
use lineside_update::{SlotState, Target};
use lineside_wire::name::{DeviceId, SlotName};
use redb::TableDefinition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("journal");
const ACCEPTED: &str = "accepted";
const BOOT: &str = "boot";
const SLOT: &str = "slot/";
const DOCUMENT: &str = "document/";

/// Why the journal does not answer.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database.
    #[error("the journal in state.redb cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// What is written there.
    #[error("the journal's entry {key} cannot be understood; was it written by a newer agent?")]
    Entry {
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
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

/// What was accepted so far. Versions never fall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose these are; none before anything was accepted.
    pub owner: Option<Owner>,
    /// The releases that were signed.
    pub releases: Option<Seen>,
    /// The assignment for this device.
    pub assignment: Option<Seen>,
    /// What both agree on, by slot.
    pub targets: BTreeMap<SlotName, Target>,
    /// The latest time at which a document was accepted, in milliseconds since 1970: it cannot be
    /// earlier now, whatever the clock says.
    pub latest_known_unix_ms: i64,
}

/// A document that is kept as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The newest root.
    Root,
    /// The releases that were signed.
    Releases,
    /// The assignment for this device.
    Assignment,
}

impl Document {
    fn key(self) -> String {
        let name = match self {
            Document::Root => "root",
            Document::Releases => "releases",
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
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Journal { database })
    }

    /// Counts this start of the agent. Returns its number, from 1.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn count_boot(&self) -> Result<u64, JournalError> {
        let boot = self.read::<u64>(BOOT)?.unwrap_or(0) + 1;
        self.write(&[(BOOT.to_owned(), json(&boot))])?;
        Ok(boot)
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

    /// The number below which this device may not go with `bundle`: the highest floor of all its slots,
    /// also of those that agent.toml has no more.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn floor(&self, bundle: &BundleName) -> Result<u64, JournalError> {
        Ok(self.slots()?.values().map(|slot| slot.floor(bundle)).max().unwrap_or(0))
    }

    /// Writes the state of a slot.
    ///
    /// # Errors
    /// [`JournalError::Database`]; the earlier state then still holds.
    pub fn write_slot(&self, slot: &SlotName, state: &SlotState) -> Result<(), JournalError> {
        self.write(&[(format!("{SLOT}{slot}"), json(state))])
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

    /// Writes what was accepted together with the documents, or nothing.
    ///
    /// # Errors
    /// [`JournalError::Database`].
    pub fn accept(
        &self,
        accepted: &Accepted,
        documents: &[(Document, &[u8])],
    ) -> Result<(), JournalError> {
        let mut entries = vec![(ACCEPTED.to_owned(), json(accepted))];
        entries.extend(documents.iter().map(|(document, bytes)| (document.key(), bytes.to_vec())));
        self.write(&entries)
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
        transaction.commit()?;
        Ok(())
    }
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
            journal.accept(&accepted, &[(Document::Releases, b"{}")]).unwrap();
            assert_eq!(journal.count_boot().unwrap(), 1);
        }
        let store = Store::open(folder.path()).unwrap();
        let journal = Journal::open(store.database()).unwrap();
        assert_eq!(journal.slots().unwrap().keys().collect::<Vec<_>>(), ["turbine"]);
        assert_eq!(journal.accepted().unwrap(), accepted);
        assert_eq!(journal.document(Document::Releases).unwrap().unwrap(), b"{}");
        assert_eq!(journal.document(Document::Root).unwrap(), None);
        assert_eq!(journal.count_boot().unwrap(), 2);
    }
}
