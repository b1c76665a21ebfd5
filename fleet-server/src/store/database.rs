//! The database: SQLite in one file, behind SeaORM.

use crate::error::Error;
use crate::store::tables;
use sea_orm::sea_query::{Index, IndexCreateStatement, TableCreateStatement};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, Schema,
    TransactionTrait,
};
use std::path::Path;
use tokio::sync::{Mutex, MutexGuard};

/// Version of the tables. A database of another version is not touched.
const TABLES_VERSION: i64 = 1;
/// Connections that read at the same time.
const CONNECTIONS_MAX: u32 = 4;

/// The database of one server.
#[derive(Debug)]
pub(crate) struct Store {
    connection: DatabaseConnection,
    // SQLite has one writer at a time. Waiting here is orderly; waiting there ends in "locked".
    writer: Mutex<()>,
}

/// A transaction that writes. Dropped without [`Writing::commit`] it leaves nothing behind.
pub(crate) struct Writing<'a> {
    pub transaction: DatabaseTransaction,
    _writer: MutexGuard<'a, ()>,
}

impl Writing<'_> {
    /// Puts what was written on disk, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit().await?)
    }
}

impl Store {
    /// Opens the database at `path`, and makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its tables are of another version.
    pub async fn open(path: &Path) -> Result<Store, Error> {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
        options.max_connections(CONNECTIONS_MAX).sqlx_logging(false);
        options.map_sqlx_sqlite_opts(|options| {
            // FULL and not NORMAL: with NORMAL a power cut may take back the last transactions,
            // and devices have thrown away what we told them is stored.
            options
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("busy_timeout", "5000")
        });
        let connection = Database::connect(options).await?;
        let store = Store { connection, writer: Mutex::new(()) };
        store.make_tables(path).await?;
        Ok(store)
    }

    async fn make_tables(&self, path: &Path) -> Result<(), Error> {
        let version = self.query_pragma("user_version").await?;
        if version != 0 && version != TABLES_VERSION {
            return Err(Error::Conflict(format!(
                "{} has tables of version {version}, this server knows version {TABLES_VERSION}: \
                 use the server that wrote it, or another data folder",
                path.display()
            )));
        }
        let writing = self.write().await?;
        let backend = self.connection.get_database_backend();
        let schema = Schema::new(backend);
        for mut table in tables::all(&schema) {
            let statement: &mut TableCreateStatement = table.if_not_exists();
            writing.transaction.execute(&*statement).await?;
        }
        for index in indices() {
            writing.transaction.execute(&index).await?;
        }
        writing
            .transaction
            .execute_unprepared(&format!("PRAGMA user_version = {TABLES_VERSION}"))
            .await?;
        writing.commit().await
    }

    async fn query_pragma(&self, name: &str) -> Result<i64, Error> {
        let backend = self.connection.get_database_backend();
        let statement = sea_orm::Statement::from_string(backend, format!("PRAGMA {name}"));
        let row = self.connection.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0))
    }

    /// The connection for reading.
    pub fn read(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Begins a transaction that writes; waits for the one before.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn write(&self) -> Result<Writing<'_>, Error> {
        let writer = self.writer.lock().await;
        let transaction = self.connection.begin().await?;
        Ok(Writing { transaction, _writer: writer })
    }

    /// Closes the database; what is under way ends first.
    pub async fn close(&self) {
        let _writer = self.writer.lock().await;
        if let Err(error) = self.connection.clone().close().await {
            tracing::warn!("the database was not closed: {error}");
        }
    }
}

fn indices() -> Vec<IndexCreateStatement> {
    use tables::{event, interval};
    let interval = Index::create()
        .if_not_exists()
        .name("interval_by_device")
        .table(interval::Entity)
        .col(interval::Column::Device)
        .col(interval::Column::Id)
        .take();
    let event = Index::create()
        .if_not_exists()
        .name("event_by_device")
        .table(event::Entity)
        .col(event::Column::Device)
        .col(event::Column::Id)
        .take();
    vec![interval, event]
}

/// A count as the database keeps it; SQLite has no unsigned numbers.
pub(crate) fn to_row(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as the database kept it.
pub(crate) fn from_row(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
