//! The log as it stands: signed, proved, given out.

use crate::audit::{By, did, said};
use crate::error::{Error, chain};
use crate::registry::{Registry, release_of};
use crate::release::ServerKeys;
use crate::store::recording::{frontier, hashes, size};
use crate::store::tables::{assignment, audit_checkpoint, audit_entry};
use crate::store::{Store, Writing, to_row, unix_ms};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lineside_audit::{
    Action, Checkpoint, CheckpointError, Entry, Hash, Hashes, LocalSigner, Note, Proof, ProveError,
    Signer, Value, VerifierKey, prove_consistency, prove_inclusion, root, sign_next,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// Entries that are signed together: those of this time.
const SIGNED_EVERY: Duration = Duration::from_secs(1);
/// What the names of logs begin with.
const ORIGIN: &str = "lineside-fleet/";
/// Why the first entries are there.
const FOUND: &str = "found when the log was begun";
/// Devices that are looked at at once when the log is begun.
const DEVICES_AT_ONCE: u64 = 500;

/// The audit log of this server.
pub(crate) struct Log {
    store: Arc<Store>,
    signer: LocalSigner,
    /// What was signed last; held while something is signed.
    signing: Mutex<()>,
    /// Why the last checkpoint was not signed.
    trouble: std::sync::Mutex<Option<String>>,
}

/// Where a log ends: what was signed of it, as note and as what that says.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub checkpoint: Checkpoint,
    pub note: Note,
}

impl Log {
    /// The log in `store`, signed with the server's key. At the first start it is begun, with what is there
    /// already. Where its key is another than before, it says so.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its beginning or its key cannot be read; [`Error::Database`].
    pub async fn open(
        store: Arc<Store>,
        registry: &Registry,
        keys: &ServerKeys,
    ) -> Result<Log, Error> {
        let origin = match first(&store).await? {
            Some(entry) => entry.subject.id.to_string(),
            None => format!("{ORIGIN}{}", &keys.audit.id()[..16]),
        };
        let signer = signer(&origin, keys)?;
        let log =
            Log { store, signer, signing: Mutex::default(), trouble: std::sync::Mutex::default() };
        if size(log.store.read()).await? == 0 {
            log.begin(registry).await?;
        } else if let Some(last) = log.newest().await?
            && last.note.verify(log.key()).is_err()
        {
            log.say_key_changed().await?;
        }
        Ok(log)
    }

    /// The key that signs it, whose name is the log's.
    pub fn key(&self) -> &VerifierKey {
        self.signer.key()
    }

    async fn begin(&self, registry: &Registry) -> Result<(), Error> {
        let by = By::Server("start");
        let begun = did(&by, Action::LogBegun, "log", self.key().name());
        let writing = self.store.write().await?;
        writing.record(lineside_audit::Change { new: self.key_value(), ..begun });
        self.record_found(registry, &by, &writing).await?;
        writing.commit().await
    }

    /// Records what slots were assigned and run before there was a log.
    async fn record_found(
        &self,
        registry: &Registry,
        by: &By,
        writing: &Writing<'_>,
    ) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let devices = registry.after(&after, DEVICES_AT_ONCE).await?;
            let Some(last) = devices.last() else { return Ok(()) };
            let names = [after.as_str(), last.id.as_str()].map(str::to_owned);
            let assigned = assignment::Entity::find()
                .filter(assignment::Column::Device.gt(names[0].as_str()))
                .filter(assignment::Column::Device.lte(names[1].as_str()))
                .all(&writing.transaction)
                .await?;
            for row in assigned {
                let slots: BTreeMap<String, String> =
                    serde_json::from_str(&row.slots).unwrap_or_default();
                for (slot, path) in slots {
                    let id = format!("{}/{slot}", row.device);
                    let change = did(by, Action::SlotAssigned, "slot", &id);
                    let new = said::text(&said::release_name(&path));
                    writing.record(found(lineside_audit::Change { new, ..change }));
                }
            }
            for device in &devices {
                let by = By::Device(device.id.clone());
                for slot in device.slots.iter().filter(|slot| slot.active.is_some()) {
                    let id = format!("{}/{}", device.id, slot.slot);
                    let change = did(&by, Action::SlotRan, "slot", &id);
                    let new = said::text(&release_of(slot));
                    writing.record(found(lineside_audit::Change { new, ..change }));
                }
            }
            after = names[1].clone();
        }
    }

    async fn say_key_changed(&self) -> Result<(), Error> {
        let change = did(&By::Server("start"), Action::KeysSet, "log", self.key().name());
        let newest: Option<Value> = self.key_value();
        let last = audit_entry::Entity::find()
            .order_by_desc(audit_entry::Column::Seq)
            .one(self.store.read())
            .await?;
        let last = last.and_then(|row| Entry::parse(&row.entry?).ok());
        // Once is enough, though nothing may be signed with it yet.
        if last.is_some_and(|last| last.action == change.action && last.new == newest) {
            return Ok(());
        }
        let writing = self.store.write().await?;
        writing.record(lineside_audit::Change { new: newest, ..change });
        writing.commit().await
    }

    fn key_value(&self) -> Option<Value> {
        said::text(&self.key().to_string())
    }

    /// The newest checkpoint that was signed.
    async fn newest(&self) -> Result<Option<Signed>, Error> {
        let row = audit_checkpoint::Entity::find()
            .order_by_desc(audit_checkpoint::Column::Size)
            .one(self.store.read())
            .await?;
        row.map(|row| read(&row.note)).transpose()
    }

    /// What is signed of all entries that there are now.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the entries do not continue what was signed before: then nothing is signed;
    /// [`Error::Database`].
    pub async fn checkpoint(&self) -> Result<Signed, Error> {
        let signed = self.sign().await;
        let trouble = signed.as_ref().err().map(|error| chain(error));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        signed
    }

    async fn sign(&self) -> Result<Signed, Error> {
        let _signing = self.signing.lock().await;
        let last = self.newest().await?;
        let size = size(self.store.read()).await?;
        if let Some(last) = last.as_ref().filter(|last| last.checkpoint.size() == size)
            && last.note.verify(self.key()).is_ok()
        {
            return Ok(last.clone());
        }
        let before = last.as_ref().map(|last| last.checkpoint.size());
        let hashes = self
            .hashes(|asked| {
                let _ = root(asked, size);
                let _ = before.map(|before| prove_consistency(asked, before, size));
            })
            .await?;
        let (checkpoint, note) =
            sign_next(last.as_ref().map(|last| &last.checkpoint), &hashes, size, &self.signer)
                .map_err(not_signed)?;
        let row = audit_checkpoint::ActiveModel {
            size: Set(to_row(size)),
            note: Set(note.to_string()),
            signed_unix_ms: Set(unix_ms(OffsetDateTime::now_utc())),
        };
        let writing = self.store.write().await?;
        let values = [audit_checkpoint::Column::Note, audit_checkpoint::Column::SignedUnixMs];
        let key =
            OnConflict::column(audit_checkpoint::Column::Size).update_columns(values).to_owned();
        audit_checkpoint::Entity::insert(row)
            .on_conflict(key)
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.commit().await?;
        Ok(Signed { checkpoint, note })
    }

    /// Signs what has come, for as long as the server runs.
    pub async fn keep_signing(self: Arc<Log>) {
        loop {
            if let Err(error) = self.checkpoint().await {
                tracing::error!("the audit log was not signed: {}", chain(&error));
            }
            self.store.recorded().await;
            tokio::time::sleep(SIGNED_EVERY).await;
        }
    }

    /// What is wrong with it.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(format!("the audit log is not signed: {trouble}"))
    }

    /// The proof that an entry is in the log, for whoever does not have it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such entry; as for [`Log::checkpoint`].
    pub async fn prove(&self, seq: u64) -> Result<Proof, Error> {
        let Signed { checkpoint, note } = self.checkpoint().await?;
        let size = checkpoint.size();
        if seq >= size {
            return Err(Error::Missing(format!("there is no entry {seq}: the log has {size}")));
        }
        let hashes = self.hashes(|asked| drop(prove_inclusion(asked, seq, size))).await?;
        Proof::new(&hashes, seq, &checkpoint, note).map_err(not_proved)
    }

    /// The proof that the log of `old` entries is the beginning of that of `new`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are not so many; [`Error::Malformed`] if `old` is larger.
    pub async fn prove_continued(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let there = size(self.store.read()).await?;
        if new > there {
            return Err(Error::Missing(format!("the log has {there} entries, not {new}")));
        }
        if old > new {
            return Err(Error::Malformed(format!(
                "a log of {old} entries is not the beginning of one of {new}"
            )));
        }
        let hashes = self.hashes(|asked| drop(prove_consistency(asked, old, new))).await?;
        prove_consistency(&hashes, old, new).map_err(not_proved)
    }

    /// The right edge of the log when it had so many entries, as far as it is stored.
    pub(super) async fn edge(&self, size: u64) -> Result<lineside_audit::Frontier, Error> {
        frontier(self.store.read(), size).await
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The stored hashes that something takes.
    async fn hashes(&self, takes: impl FnOnce(&Asked)) -> Result<Fetched, Error> {
        let asked = Asked::default();
        takes(&asked);
        let places: Vec<(u8, u64)> = asked.0.into_inner().into_iter().collect();
        Ok(Fetched(hashes(self.store.read(), &places).await?))
    }
}

/// What a note that was signed here says.
pub(super) fn read(note: &str) -> Result<Signed, Error> {
    let unreadable = |error: &dyn std::error::Error| {
        Error::Conflict(format!("a checkpoint of the audit log cannot be read: {error}"))
    };
    let note = Note::parse(note.as_bytes()).map_err(|error| unreadable(&error))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| unreadable(&error))?;
    Ok(Signed { checkpoint, note })
}

/// The first entry.
async fn first(store: &Store) -> Result<Option<Entry>, Error> {
    let row = audit_entry::Entity::find()
        .filter(audit_entry::Column::Seq.eq(0))
        .limit(1)
        .one(store.read())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let entry = Entry::parse(&row.entry.unwrap_or_default());
    entry.map(Some).map_err(|error| {
        Error::Conflict(format!("the first entry of the audit log cannot be read: {error}"))
    })
}

fn signer(origin: &str, keys: &ServerKeys) -> Result<LocalSigner, Error> {
    let pem = keys.audit.to_pem();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pkcs8 = BASE64_STANDARD.decode(text).unwrap_or_default();
    LocalSigner::from_pkcs8(origin, &pkcs8)
        .map_err(|error| Error::Conflict(format!("the key of the audit log: {error}")))
}

fn found(change: lineside_audit::Change) -> lineside_audit::Change {
    lineside_audit::Change { why: lineside_audit::Reason::lossy(FOUND), ..change }
}

fn not_signed(error: CheckpointError) -> Error {
    Error::Conflict(error.to_string())
}

fn not_proved<E: std::fmt::Display>(error: ProveError<E>) -> Error {
    Error::Conflict(error.to_string())
}

/// Notes which hashes are asked for. Which these are does not depend on what they say.
#[derive(Default)]
struct Asked(RefCell<BTreeSet<(u8, u64)>>);

impl Hashes for Asked {
    type Error = Infallible;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        self.0.borrow_mut().insert((level, index));
        Ok(Hash::empty())
    }
}

/// Hashes that were fetched.
struct Fetched(BTreeMap<(u8, u64), Hash>);

impl Hashes for Fetched {
    type Error = String;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, String> {
        self.0.get(&(level, index)).copied().ok_or_else(|| format!("hash {level}/{index} is gone"))
    }
}
