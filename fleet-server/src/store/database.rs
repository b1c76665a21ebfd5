//! The database: SQLite in one file, behind SeaORM.

use crate::error::{Error, chain};
use crate::store::migrations::TABLES_VERSION;
use crate::store::tables;
use sea_orm::sea_query::{Index, IndexCreateStatement, TableCreateStatement};
use sea_orm::sqlx::Connection;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    Schema, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use time::OffsetDateTime;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Connections that read at the same time.
const READERS_MAX: u32 = 4;

/// The database of one server.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) path: PathBuf,
    // Apart from the writer: a connection whose commit failed is closed, and if it was the only
    // one, a full disk would not let another be opened, not even for reading.
    readers: DatabaseConnection,
    // SQLite has one writer at a time. Waiting here is orderly; waiting there ends in "locked".
    pub(super) writer: Arc<Mutex<DatabaseConnection>>,
    noted: Arc<Noted>,
}

/// What is noted of commits.
#[derive(Debug, Default)]
struct Noted {
    trouble: std::sync::Mutex<Trouble>,
    /// Rises with each change of signed documents.
    documents: AtomicU64,
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
pub(crate) struct Writing<'a> {
    pub transaction: DatabaseTransaction,
    changes_documents: AtomicBool,
    store: &'a Store,
    writer: OwnedMutexGuard<DatabaseConnection>,
}

impl Writing<'_> {
    /// Notes that signed documents are changed: what was made of them before is worth nothing after it.
    pub fn changes_documents(&self) {
        self.changes_documents.store(true, Ordering::SeqCst);
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
    pub async fn commit_then(self, then: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let Writing { transaction, changes_documents, store, writer } = self;
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
    /// Opens the database at `path`, and makes it if it is missing. One of an earlier server is taken to the
    /// version of this one.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its tables are of a version that cannot be taken over, [`Error::TooLarge`] if
    /// there is no room for that; [`Error::File`], with what to do, if it cannot be used.
    pub async fn open(path: &Path) -> Result<Store, Error> {
        let unusable = |error| match error {
            Error::Database(error) => not_usable(path, error),
            other => other,
        };
        let store = Store::connected(path).await.map_err(|error| unusable(error.into()))?;
        // Before anything is written to it.
        store.touch_tables().await.map_err(|error| unusable(error.into()))?;
        store.migrate().await.map_err(unusable)?;
        store.make_tables().await.map_err(unusable)?;
        Ok(store)
    }

    /// Opens the file, whatever is in it.
    pub(super) async fn connected(path: &Path) -> Result<Store, DbErr> {
        Ok(Store {
            path: path.to_owned(),
            writer: Arc::new(Mutex::new(connect(path, 1).await?)),
            readers: connect(path, READERS_MAX).await?,
            noted: Arc::default(),
        })
    }

    async fn make_tables(&self) -> Result<(), Error> {
        let writing = self.write().await?;
        let backend = self.readers.get_database_backend();
        let schema = Schema::new(backend);
        for mut table in tables::all(&schema) {
            let statement: &mut TableCreateStatement = table.if_not_exists();
            writing.transaction.execute(&*statement).await?;
        }
        for index in indices() {
            writing.transaction.execute(&index).await?;
        }
        writing.transaction.execute_unprepared(&write_version()).await?;
        writing.commit().await
    }

    /// Reads a row of each table, so that a file that was cut short is found out at the start.
    async fn touch_tables(&self) -> Result<(), DbErr> {
        let backend = self.readers.get_database_backend();
        let ask = |sql: String| self.readers.query_all_raw(Statement::from_string(backend, sql));
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0";
        for row in ask(names.into()).await? {
            let name: String = row.try_get_by_index(0)?;
            ask(format!("SELECT 1 FROM \"{name}\" LIMIT 1")).await?;
        }
        Ok(())
    }

    pub(super) async fn query_pragma(&self, name: &str) -> Result<i64, Error> {
        let backend = self.readers.get_database_backend();
        let statement = Statement::from_string(backend, format!("PRAGMA {name}"));
        let row = self.readers.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0))
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
        let changes_documents = AtomicBool::new(false);
        Ok(Writing { transaction, changes_documents, store: self, writer })
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
            self.query_pragma("user_version").await?;
            return Ok(());
        }
        let writing = self.write().await?;
        writing.transaction.execute_unprepared(&write_version()).await?;
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

async fn connect(path: &Path, connections_max: u32) -> Result<DatabaseConnection, DbErr> {
    // The path is set below as it is: in a URL a `%` or `?` of it would mean something.
    let mut options = ConnectOptions::new("sqlite://lineside.db");
    options.max_connections(connections_max).sqlx_logging(false);
    let path = path.to_owned();
    options.map_sqlx_sqlite_opts(move |options| {
        // FULL and not NORMAL: with NORMAL a power cut may take back the last transactions,
        // and devices have thrown away what we told them is stored.
        options
            .filename(&path)
            .create_if_missing(true)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("busy_timeout", "5000")
    });
    options.map_sqlx_sqlite_pool_opts(|options| {
        // Never closed for being idle or old: see `Store::readers`.
        let options = options.idle_timeout(None).max_lifetime(None);
        options.after_release(|connection, _| {
            Box::pin(async move {
                // A commit that fails for want of room is rolled back by SQLite itself. sqlx's own
                // rollback fails then, and from there on it takes the connection to be within a
                // transaction: what it calls committed would only be a savepoint, on no disk.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
    });
    Database::connect(options).await
}

fn not_usable(path: &Path, error: DbErr) -> Error {
    Error::File {
        doing: format!(
            "use the database {}; make room if the disk is full; if the file is damaged, restore \
             it from a copy, or move it away, add the devices again and publish with \
             `lineside keys publish`",
            path.display()
        ),
        source: io::Error::other(error),
    }
}

fn write_version() -> String {
    format!("PRAGMA user_version = {TABLES_VERSION}")
}

fn indices() -> Vec<IndexCreateStatement> {
    use tables::{alert, delivery, event, interval, manifest, proposal, quality};
    let index = |name: &str| Index::create().if_not_exists().name(name).to_owned();
    vec![
        index("manifest_by_subject")
            .table(manifest::Entity)
            .col(manifest::Column::Name)
            .col(manifest::Column::Subject)
            .take(),
        index("interval_by_device")
            .table(interval::Entity)
            .col(interval::Column::Device)
            .col(interval::Column::Id)
            .take(),
        index("interval_by_number")
            .table(interval::Entity)
            .col(interval::Column::Device)
            .col(interval::Column::Boot)
            .col(interval::Column::Sequence)
            .take(),
        index("interval_by_time")
            .table(interval::Entity)
            .col(interval::Column::Slot)
            .col(interval::Column::StartUnixMs)
            .take(),
        index("event_by_device")
            .table(event::Entity)
            .col(event::Column::Device)
            .col(event::Column::Id)
            .take(),
        index("event_by_number")
            .table(event::Entity)
            .col(event::Column::Device)
            .col(event::Column::Boot)
            .col(event::Column::Sequence)
            .take(),
        index("alert_by_place")
            .table(alert::Entity)
            .col(alert::Column::Scope)
            .col(alert::Column::Place)
            .col(alert::Column::Id)
            .take(),
        index("delivery_by_alert").table(delivery::Entity).col(delivery::Column::Alert).take(),
        index("proposal_by_state")
            .table(proposal::Entity)
            .col(proposal::Column::State)
            .col(proposal::Column::Alert)
            .take(),
        index("delivery_by_channel")
            .table(delivery::Entity)
            .col(delivery::Column::Channel)
            .col(delivery::Column::Ended)
            .col(delivery::Column::NextUnixMs)
            .take(),
        // Those that are not over lie beside each other.
        index("alert_by_end")
            .table(alert::Entity)
            .col(alert::Column::OverUnixMs)
            .col(alert::Column::Id)
            .take(),
        index("quality_by_device")
            .table(quality::Entity)
            .col(quality::Column::Device)
            .col(quality::Column::Id)
            .take(),
        index("quality_by_number")
            .table(quality::Entity)
            .col(quality::Column::Device)
            .col(quality::Column::Boot)
            .col(quality::Column::Sequence)
            .take(),
    ]
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
    use crate::store::tables::document;
    use sea_orm::{ActiveValue::Set, EntityTrait, PaginatorTrait};
    use std::task::{Context, Waker};

    async fn insert(writing: &Writing<'_>, version: i64) {
        let row = document::ActiveModel {
            kind: Set("root".into()),
            version: Set(version),
            bytes: Set(vec![]),
            accepted_unix_ms: Set(0),
        };
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

    #[tokio::test]
    async fn every_connection_waits_for_the_disk_before_it_calls_something_committed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("lineside.db")).await.unwrap();
        let mut held = Vec::new();
        held.push(store.write().await.unwrap().transaction);
        for _ in 0..READERS_MAX {
            // Held, so that the next one is another connection.
            held.push(store.read().begin().await.unwrap());
        }
        for transaction in held {
            let backend = transaction.get_database_backend();
            let ask = async |pragma: &str| {
                let statement = Statement::from_string(backend, format!("PRAGMA {pragma}"));
                transaction.query_one_raw(statement).await.unwrap().unwrap()
            };
            let synchronous: i64 = ask("synchronous").await.try_get_by_index(0).unwrap();
            assert_eq!(synchronous, 2, "FULL");
            let journal_mode: String = ask("journal_mode").await.try_get_by_index(0).unwrap();
            assert_eq!(journal_mode, "wal");
        }
    }

    #[tokio::test]
    async fn a_path_is_taken_as_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a%20b", "a?mode=memory", "a b#c"] {
            let path = folder.path().join(name);
            Store::open(&path).await.unwrap();
            assert!(path.is_file(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lineside.db");
        Store::open(&path).await.unwrap().close().await;
        let whole = std::fs::read(&path).unwrap();
        for bytes in [&b"this was a database before its disk failed"[..], &whole[..whole.len() / 2]]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = chain(&Store::open(&path).await.unwrap_err());
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains("restore it from a copy"), "{error}");
        }
    }
}
