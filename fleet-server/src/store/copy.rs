//! A copy of an SQLite database beside itself, before its tables change.

use crate::error::Error;
use crate::store::folder::{closed_file, free_bytes};
use crate::store::migrations::TABLES_VERSION;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the disk that are left besides what the copy and the steps need.
pub(super) const RESERVE_BYTES: u64 = 64 << 20;

/// Copies the database beside itself, whole and on disk, before anything in it is changed.
pub(super) async fn copy_as_it_is(
    writer: &DatabaseConnection,
    path: &Path,
    version: i64,
) -> Result<PathBuf, Error> {
    let copy = copy_of(path, version);
    let part = room_for(&copy, || check_room(path, version, free_bytes(path)?))?;
    copy_into(writer, &part).await?;
    let finish = || {
        fs::rename(&part, &copy)?;
        File::open(copy.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    finish().map_err(failed(&copy))?;
    Ok(copy)
}

/// Copies an open database, as it is at one moment, into a file that nobody else may read.
pub(super) async fn copy_into(on: &DatabaseConnection, to: &Path) -> Result<(), Error> {
    // SQLite fills a file that is there if it is empty.
    closed_file(to).map_err(failed(to))?;
    let name = to.to_str().ok_or_else(|| failed(to)(io::Error::other("its name is no text")))?;
    let backend = on.get_database_backend();
    let vacuum = Statement::from_sql_and_values(backend, "VACUUM INTO ?", [name.into()]);
    on.execute_raw(vacuum).await?;
    File::open(to).and_then(|file| file.sync_all()).map_err(failed(to))
}

fn failed(copy: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::file(format!("copy the database to {}", copy.display()))
}

/// Where it lies.
pub(super) fn copy_of(path: &Path, version: i64) -> PathBuf {
    path.with_added_extension(format!("version-{version}"))
}

/// Where a copy is written until it is whole, once `check` has found room for it. What an interrupted one has
/// left there goes first: it would take the room that is looked for.
pub(super) fn room_for(
    copy: &Path,
    check: impl FnOnce() -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let part = copy.with_added_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file(format!("remove {}", part.display()))(error))
        }
        _ => check().map(|()| part),
    }
}

/// Refuses to begin where the disk, of which so much is `free`, has no room for a copy, and as much again for
/// what is written.
pub(super) fn check_room(path: &Path, version: i64, free: u64) -> Result<(), Error> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    // What was written last may be there still, and not in the file.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = size(path) + size(Path::new(&log));
    let needed = bytes.saturating_mul(2).saturating_add(RESERVE_BYTES);
    if needed <= free {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "{} has tables of version {version}; to take them to version {TABLES_VERSION}, and keep a copy, \
         needs {} MiB, and its disk has {} MiB left: make room",
        path.display(),
        needed.div_ceil(1 << 20),
        free >> 20
    )))
}
