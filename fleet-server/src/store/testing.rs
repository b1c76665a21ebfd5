//! A database for a test: SQLite in its folder, or a schema of its own in PostgreSQL where
//! `LINESIDE_TEST_POSTGRES` names a server whose databases are nobody's.

use crate::store::{PostgresAt, Store};
use lineside_bundle::Digest;
use std::path::Path;

/// The database that belongs to this folder; the same whenever it is asked for.
pub(crate) async fn store(folder: &Path) -> Store {
    match postgres(folder) {
        Some(at) => Store::open_postgres(&at).await.unwrap(),
        None => Store::open(&folder.join("lineside.db")).await.unwrap(),
    }
}

/// Where it is, if it is in PostgreSQL.
pub(crate) fn postgres(folder: &Path) -> Option<PostgresAt> {
    let url = std::env::var("LINESIDE_TEST_POSTGRES").ok()?;
    let path = folder.canonicalize().unwrap();
    let name = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
    let url = format!("{url}&options=-c%20search_path%3Dtest_{}", &name[..32]);
    Some(PostgresAt::parse(&url).unwrap())
}
