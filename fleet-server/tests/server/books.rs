//! The database of a server under test: SQLite in its data folder, or PostgreSQL where
//! `LINESIDE_TEST_POSTGRES` names a server whose databases are nobody's.

use lineside_bundle::Digest;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The address of what belongs to a data folder, if that is PostgreSQL.
fn in_postgres(data: &Path) -> Option<String> {
    let server = std::env::var("LINESIDE_TEST_POSTGRES").ok()?;
    let name = Digest::of(data.as_os_str().as_encoded_bytes()).hex();
    Some(format!("{server}&options=-c%20search_path%3Dserver_{}", &name[..32]))
}

/// The file with that address, with which a server is started; none where it keeps SQLite by itself.
pub fn address_file(data: &Path) -> Option<PathBuf> {
    let url = in_postgres(data)?;
    let path = data.with_added_extension("database");
    std::fs::write(&path, url).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Some(path)
}

/// Whether a test that is about the file of SQLite has nothing to look at.
pub fn is_no_file() -> bool {
    let elsewhere = std::env::var_os("LINESIDE_TEST_POSTGRES").is_some();
    if elsewhere {
        println!("this is about the file of SQLite, and was not tried");
    }
    elsewhere
}

/// Changes what is in the database of a server that does not run.
pub async fn change(data: &Path, sql: &str) {
    let database = opened(data).await;
    database.execute_unprepared(sql).await.unwrap();
    database.close().await.unwrap();
}

/// The database of a server that does not run.
pub async fn opened(data: &Path) -> DatabaseConnection {
    let in_file = || format!("sqlite://{}", data.join("lineside.db").display());
    Database::connect(in_postgres(data).unwrap_or_else(in_file)).await.unwrap()
}
