//! The database, behind SeaORM: SQLite in one file, or PostgreSQL. What differs between them is in a file each.

use crate::error::{Error, chain};
use crate::store::governed::Watch;
use crate::store::migrations::TABLES_VERSION;
use crate::store::postgres::{self, Fence, PostgresAt};
use crate::store::recording::{Follows, Recorded};
use crate::store::{indices, recording, sqlite, tables};
use lineside_audit::Change;
use sea_orm::sea_query::TableCreateStatement;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Schema, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

/// Connections that read at the same time.
pub(super) const READERS_MAX: u32 = 4;

/// The database of one server.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) kind: Kind,
    // Apart from the writer: a connection whose commit failed is closed, and if it was the only
    // one, a full disk would not let another be opened, not even for reading.
    pub(super) readers: DatabaseConnection,
    // SQLite has one writer at a time. Waiting here is orderly; waiting there ends in "locked".
    pub(super) writer: Arc<Mutex<DatabaseConnection>>,
    noted: Arc<Noted>,
    /// What the transaction of the writer changes.
    watch: Arc<Watch>,
}

/// Which database it is.
#[derive(Debug)]
pub(super) enum Kind {
    /// This file.
    Sqlite(PathBuf),
    /// What keeps other servers from it.
    Postgres(Fence),
}

/// What is noted of commits.
#[derive(Debug, Default)]
struct Noted {
    trouble: std::sync::Mutex<Trouble>,
    /// Rises with each change of signed documents.
    documents: AtomicU64,
    /// Says that entries have come.
    recorded: Notify,
}

impl Noted {
    fn worked(&self) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).last = None;
    }

    fn failed(&self, error: &DbErr) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.last = Some(chain(error));
    }
}

/// What could not be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// Writes that failed since the start.
    pub failures: u64,
    /// Why the last write failed; none if it did not.
    pub last: Option<String>,
}

impl Trouble {
    /// What is wrong, if something is; whoever reads it may be anybody.
    pub fn words(&self) -> Option<String> {
        let why = self.last.as_deref()?;
        let why = match is_full(why) {
            true => "its disk is full: make room there",
            false => "its database cannot be written, its log says why",
        };
        Some(format!("the server can store nothing, and devices keep what they have to say: {why}"))
    }
}

/// Whether it is for want of room that something could not be written (SQLite's words, and Linux's).
pub(crate) fn is_full(why: &str) -> bool {
    ["disk is full", "No space left"].iter().any(|words| why.contains(words))
}

/// A transaction that writes. Dropped without [`Writing::commit`] it leaves nothing behind.
///
/// It is the one door to what people and devices change: what is changed with it is committed with the entries
/// of the audit log that say so ([`Writing::record`]), or not at all. Which tables that is about, `governed` says.
pub(crate) struct Writing<'a> {
    pub transaction: DatabaseTransaction,
    changes_documents: AtomicBool,
    entries: std::sync::Mutex<Vec<Recorded>>,
    without_entry: AtomicBool,
    store: &'a Store,
    writer: OwnedMutexGuard<DatabaseConnection>,
}

impl Writing<'_> {
    /// Notes that signed documents are changed: what was made of them before is worth nothing after it.
    pub fn changes_documents(&self) {
        self.changes_documents.store(true, Ordering::SeqCst);
    }

    /// Has it recorded who has done what. Entries are appended in their order, with the commit.
    pub fn record(&self, change: Change) {
        self.put(change, Follows::Nothing);
    }

    /// The same of what followed from the entry that was recorded before.
    pub fn record_therefore(&self, change: Change) {
        self.put(change, Follows::TheOneBefore);
    }

    fn put(&self, change: Change, follows: Follows) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Recorded { change, follows });
    }

    /// Says why governed tables are written though nothing changes that anybody has done: the same is signed
    /// anew, or is copied with its log.
    pub fn changes_without_entry(&self, why: &'static str) {
        tracing::trace!("nothing to record: {why}");
        self.without_entry.store(true, Ordering::SeqCst);
    }

    /// Appends what was recorded, and refuses a change of which nothing was.
    async fn append(&mut self) -> Result<bool, Error> {
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        let entries = std::mem::take(entries);
        let mut changed = self.store.watch.changed();
        let breaks_in = changed.remove("audit_entry") | changed.remove("audit_hash");
        let is_forgotten = entries.is_empty() && !changed.is_empty();
        if (breaks_in || is_forgotten) && !self.without_entry.load(Ordering::SeqCst) {
            return Err(DbErr::Custom(format!(
                "{changed:?} would change without an entry in the audit log, or the log by another door: \
                 nothing of it is done"
            ))
            .into());
        }
        if entries.is_empty() {
            return Ok(false);
        }
        recording::append(&self.transaction, entries, OffsetDateTime::now_utc()).await?;
        Ok(true)
    }

    /// Puts what was written on disk, all of it or nothing. Once begun it goes on to its end, though nobody
    /// waits for it any more: a visitor who hangs up takes his handler with him, and SQLite commits all the
    /// same. What is noted of it must be noted then as well.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn commit(self) -> Result<(), Error> {
        self.commit_then(|| {}).await
    }

    /// As [`Writing::commit`]; `then` follows as soon as it is on disk, whoever still waits for that. It is to
    /// be brief: who writes next waits for it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn commit_then(mut self, then: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let records = self.append().await?;
        let Writing { transaction, changes_documents, store, writer, .. } = self;
        let noted = store.noted.clone();
        let committing = tokio::spawn(async move {
            let committed = transaction.commit().await;
            // Where it failed, too: what is on disk then is found out by reading it.
            if changes_documents.into_inner() {
                noted.documents.fetch_add(1, Ordering::SeqCst);
            }
            match &committed {
                Ok(()) => {
                    noted.worked();
                    if records {
                        noted.recorded.notify_one();
                    }
                    then();
                }
                Err(error) => noted.failed(error),
            }
            // Only now: who writes next finds it on disk and noted.
            drop(writer);
            committed
        });
        let cut_off = |error| DbErr::Custom(format!("the commit was cut off: {error}"));
        Ok(committing.await.map_err(cut_off)??)
    }
}

impl Store {
    /// Opens the SQLite database at `path`, and makes it if it is missing. One of an earlier server is taken
    /// to the version of this one.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its tables are of a version that cannot be taken over, [`Error::TooLarge`] if
    /// there is no room for that; [`Error::File`], with what to do, if it cannot be used.
    pub async fn open(path: &Path) -> Result<Store, Error> {
        let unusable = |error| match error {
            Error::Database(error) => sqlite::not_usable(path, error),
            other => other,
        };
        let store = Store::connected(path).await.map_err(|error| unusable(error.into()))?;
        // Before anything is written to it.
        sqlite::touch_tables(&store.readers).await.map_err(|error| unusable(error.into()))?;
        store.make_usable().await.map_err(unusable)?;
        Ok(store)
    }

    /// Opens a PostgreSQL database, and makes the tables if they are missing.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another server uses it, or if its tables are of a version that cannot be taken
    /// over; [`Error::File`], with what to do, if it cannot be used.
    pub async fn open_postgres(at: &PostgresAt) -> Result<Store, Error> {
        let unusable = |error| match error {
            Error::Database(error) => postgres::not_usable(at, error),
            other => other,
        };
        let fence = Fence::take(at).await.map_err(unusable)?;
        let (writer, watch) = watched(at.connect(1));
        let store = Store {
            kind: Kind::Postgres(fence),
            writer,
            readers: at.connect(READERS_MAX),
            noted: Arc::default(),
            watch,
        };
        store.make_usable().await.map_err(unusable)?;
        Ok(store)
    }

    /// Opens the file, whatever is in it.
    pub(super) async fn connected(path: &Path) -> Result<Store, DbErr> {
        let (writer, watch) = watched(sqlite::connect(path, 1).await?);
        Ok(Store {
            kind: Kind::Sqlite(path.to_owned()),
            writer,
            readers: sqlite::connect(path, READERS_MAX).await?,
            noted: Arc::default(),
            watch,
        })
    }

    async fn make_usable(&self) -> Result<(), Error> {
        self.migrate().await?;
        let writing = self.write().await?;
        let schema = Schema::new(self.readers.get_database_backend());
        for mut table in tables::all(&schema) {
            let statement: &mut TableCreateStatement = table.if_not_exists();
            writing.transaction.execute(&*statement).await?;
        }
        for index in indices::all() {
            writing.transaction.execute(&index).await?;
        }
        self.write_version(&writing.transaction, TABLES_VERSION).await?;
        writing.commit().await
    }

    /// Version of the tables that are there; 0 for none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn version(&self) -> Result<i64, Error> {
        match &self.kind {
            Kind::Sqlite(_) => Ok(sqlite::version(&self.readers).await?),
            Kind::Postgres(_) => Ok(postgres::version(&self.readers).await?),
        }
    }

    /// Notes which version the tables are of.
    pub(super) async fn write_version(
        &self,
        on: &DatabaseTransaction,
        version: i64,
    ) -> Result<(), DbErr> {
        match &self.kind {
            Kind::Sqlite(_) => sqlite::write_version(on, version).await,
            Kind::Postgres(_) => postgres::write_version(on, version).await,
        }
    }

    /// The connections for reading.
    pub fn read(&self) -> &DatabaseConnection {
        &self.readers
    }

    /// Begins a transaction that writes; waits for the one before.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn write(&self) -> Result<Writing<'_>, Error> {
        let writer = self.writer.clone().lock_owned().await;
        // IMMEDIATE: the one before may have been given up in the middle of its commit. A
        // transaction that begins by reading would see the state before it, and could not write.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let begun = writer.begin_with_options(options).await;
        let transaction = begun.inspect_err(|error| self.failed(error))?;
        if let Kind::Postgres(fence) = &self.kind {
            fence.pass(&transaction).await.inspect_err(|error| self.failed(error))?;
        }
        self.watch.begin();
        Ok(Writing {
            transaction,
            changes_documents: AtomicBool::new(false),
            entries: std::sync::Mutex::default(),
            without_entry: AtomicBool::new(false),
            store: self,
            writer,
        })
    }

    /// Waits until entries of the audit log have come since it was asked last.
    pub async fn recorded(&self) {
        self.noted.recorded.notified().await;
    }

    /// The state of signed documents: asked for before they are read, it says later whether what was made of
    /// them still holds.
    pub fn documents_state(&self) -> u64 {
        self.noted.documents.load(Ordering::SeqCst)
    }

    /// Notes that something could not be written.
    pub fn failed(&self, error: &DbErr) {
        self.noted.failed(error);
    }

    /// What could not be written.
    pub fn trouble(&self) -> Trouble {
        self.noted.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the database answers. While the last write failed, one is tried: who asks is told
    /// of the end of the trouble even if nobody else has anything to write.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn check(&self) -> Result<(), Error> {
        if self.trouble().last.is_none() {
            self.version().await?;
            return Ok(());
        }
        let writing = self.write().await?;
        self.write_version(&writing.transaction, TABLES_VERSION).await?;
        writing.commit().await
    }

    /// Closes the database; what is under way ends first.
    pub async fn close(&self) {
        let writer = self.writer.lock().await;
        // The writer last, so that it takes what is in the log into the file.
        for connection in [&self.readers, &*writer] {
            if let Err(error) = connection.clone().close().await {
                tracing::warn!("the database was not closed: {}", chain(&error));
            }
        }
    }
}

/// A connection that writes, and the watch over what it changes.
fn watched(mut writer: DatabaseConnection) -> (Arc<Mutex<DatabaseConnection>>, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let seen = watch.clone();
    writer.set_metric_callback(move |info| seen.see(&info.statement.sql));
    (Arc::new(Mutex::new(writer)), watch)
}

/// A count as the database keeps it; SQLite has no unsigned numbers.
pub(crate) fn to_row(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as the database kept it.
pub(crate) fn from_row(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{By, did};
    use crate::store::tables::{audit_entry, document};
    use lineside_audit::Action;
    use sea_orm::{ActiveValue::Set, EntityTrait, PaginatorTrait};
    use std::task::{Context, Waker};

    async fn insert(writing: &Writing<'_>, version: i64) {
        let row = document::ActiveModel {
            kind: Set("root".into()),
            version: Set(version),
            bytes: Set(vec![]),
            accepted_unix_ms: Set(0),
        };
        writing.changes_without_entry("a test");
        let insert = document::Entity::insert(row);
        insert.exec_without_returning(&writing.transaction).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_called_committed_after_a_failed_commit_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lineside.db");
        let store = Store::open(&path).await.unwrap();
        // As SQLite does when the disk is full: the transaction is gone before its commit.
        let writing = store.write().await.unwrap();
        insert(&writing, 100).await;
        writing.transaction.execute_unprepared("ROLLBACK").await.unwrap();
        assert!(matches!(writing.commit().await, Err(Error::Database(_))));
        assert_eq!(store.trouble().failures, 1);
        assert!(store.trouble().last.is_some());

        // Again and again, since each is given up once and committed once.
        let rounds = 8;
        for version in 0..rounds {
            drop(store.write().await.unwrap());
            let writing = store.write().await.unwrap();
            insert(&writing, version).await;
            writing.commit().await.unwrap();
        }
        let other = Store::open(&path).await.unwrap();
        let count = document::Entity::find().count(other.read()).await.unwrap();
        assert_eq!(count, rounds as u64);
        assert!(store.trouble().last.is_none());
    }

    #[tokio::test]
    async fn a_commit_for_which_nobody_waits_any_more_is_noted_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("lineside.db")).await.unwrap();
        let before = store.documents_state();
        let writing = store.write().await.unwrap();
        writing.changes_documents();
        insert(&writing, 1).await;
        {
            // As when a visitor hangs up: it is begun, and dropped.
            let mut committing = Box::pin(writing.commit());
            let mut context = Context::from_waker(Waker::noop());
            assert!(committing.as_mut().poll(&mut context).is_pending());
        }
        // Who writes next waits for it.
        drop(store.write().await.unwrap());
        assert_eq!(document::Entity::find().count(store.read()).await.unwrap(), 1);
        assert_ne!(store.documents_state(), before);
    }

    #[tokio::test]
    async fn what_people_change_is_committed_with_its_entry_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let entries = async || recording::size(store.read()).await.unwrap();
        let put = async |writing: &Writing<'_>, version: i64| {
            let row = document::ActiveModel {
                kind: Set("root".into()),
                version: Set(version),
                bytes: Set(vec![]),
                accepted_unix_ms: Set(0),
            };
            document::Entity::insert(row)
                .exec_without_returning(&writing.transaction)
                .await
                .unwrap();
        };
        let documents = async || document::Entity::find().count(store.read()).await.unwrap();
        let change = || did(&By::ADMINISTRATOR, Action::RootSet, "root", "1");

        // Forgotten.
        let writing = store.write().await.unwrap();
        put(&writing, 1).await;
        let said = chain(&writing.commit().await.unwrap_err());
        assert!(said.contains("see the server's log"), "{said}");
        assert_eq!((documents().await, entries().await), (0, 0));
        // Given up before its commit, as when the server is killed.
        let writing = store.write().await.unwrap();
        put(&writing, 1).await;
        writing.record(change());
        drop(writing);
        assert_eq!((documents().await, entries().await), (0, 0));
        // As it should be: there is no gap.
        for version in 1..4 {
            let writing = store.write().await.unwrap();
            put(&writing, version).await;
            writing.record(change());
            writing.commit().await.unwrap();
        }
        assert_eq!((documents().await, entries().await), (3, 3));
        let edge = recording::frontier(store.read(), 3).await.unwrap();
        assert_eq!(edge.peaks().len(), 2);
        // By the window, with an entry that says something else.
        let writing = store.write().await.unwrap();
        let row = audit_entry::ActiveModel {
            seq: Set(1),
            subject: Set(String::new()),
            entry: Set(Some(b"{}".to_vec())),
            erased_by: Set(None),
        };
        audit_entry::Entity::update(row).exec(&writing.transaction).await.unwrap();
        writing.record(change());
        assert!(writing.commit().await.is_err());
        // An entry that cannot be appended: its change is not made either.
        let writing = store.write().await.unwrap();
        put(&writing, 9).await;
        let change = Change { because: vec![99], ..change() };
        writing.record(change);
        let said = writing.commit().await.unwrap_err().to_string();
        assert!(said.contains("nothing is done that cannot be recorded"), "{said}");
        assert_eq!((documents().await, entries().await), (3, 3));
    }

    #[tokio::test]
    async fn trouble_ends_with_the_first_write_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("lineside.db")).await.unwrap();
        store.failed(&DbErr::Custom("disk full".into()));
        assert_eq!(store.trouble().last.as_deref(), Some("Custom Error: disk full"));
        assert!(store.trouble().words().unwrap().ends_with("its log says why"));
        store.failed(&DbErr::Custom("(code: 13) database or disk is full".into()));
        assert!(store.trouble().words().unwrap().contains("its disk is full: make room"));
        store.check().await.unwrap();
        assert_eq!(store.trouble().words(), None);
        assert_eq!(store.trouble().failures, 2);
    }
}
