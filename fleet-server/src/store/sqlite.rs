//! SQLite: one file, one writer, and as many readers as we like.

use crate::error::Error;
use sea_orm::sqlx::Connection;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    Statement,
};
use std::io;
use std::path::Path;

/// Opens the file, and makes it if it is missing.
pub(super) async fn connect(
    path: &Path,
    connections_max: u32,
) -> Result<DatabaseConnection, DbErr> {
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

/// Reads a row of each table, so that a file that was cut short is found out at the start.
pub(super) async fn touch_tables(on: &DatabaseConnection) -> Result<(), DbErr> {
    let backend = on.get_database_backend();
    let ask = |sql: String| on.query_all_raw(Statement::from_string(backend, sql));
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0";
    for row in ask(names.into()).await? {
        let name: String = row.try_get_by_index(0)?;
        ask(format!("SELECT 1 FROM \"{name}\" LIMIT 1")).await?;
    }
    Ok(())
}

/// Version of the tables; 0 for none.
pub(super) async fn version(on: &DatabaseConnection) -> Result<i64, DbErr> {
    let statement = Statement::from_string(on.get_database_backend(), "PRAGMA user_version");
    let row = on.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0))
}

/// Notes it.
pub(super) async fn write_version(on: &DatabaseTransaction, version: i64) -> Result<(), DbErr> {
    on.execute_unprepared(&format!("PRAGMA user_version = {version}")).await?;
    Ok(())
}

/// What is told of a file that cannot be used.
pub(super) fn not_usable(path: &Path, error: DbErr) -> Error {
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

#[cfg(test)]
mod tests {
    use crate::error::chain;
    use crate::store::Store;
    use crate::store::database::READERS_MAX;
    use sea_orm::{ConnectionTrait, Statement, TransactionTrait};

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
