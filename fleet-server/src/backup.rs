//! A copy of everything that a server keeps, taken while it runs, and a server that goes on from one.
//!
//! A copy is a data folder: database (SQLite, whatever the server uses), keys, blobs and the administrator's
//! token. A server started on it is the one that it was; `restore` makes another folder of it, and fills a
//! PostgreSQL database where that is wanted.

use crate::artifact::{Artifacts, Blobs};
use crate::audit::{By, did};
use crate::error::Error;
use crate::store::{DataFolder, PostgresAt, Store, make_folder};
use lineside_audit::Action;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Folders with what never changes once it is there, or is changed by no running server.
const FOLDERS: [&str; 2] = ["keys", "blobs/sha256"];
/// How often it is begun again because the server removed what was to be copied.
const ROUNDS_MAX: usize = 3;

/// Copies what the server of a data folder keeps into `to`, which must not be there. The server may run.
///
/// # Errors
/// [`Error::Conflict`] if `to` is there, or no server has used the folder; [`Error::File`] or
/// [`Error::Database`] if something cannot be read or written: then nothing is left at `to`.
pub(crate) async fn back_up(
    data: &Path,
    database: Option<&PostgresAt>,
    to: &Path,
) -> Result<(), Error> {
    if !data.join("keys/online.pem").is_file() {
        return Err(Error::Conflict(format!(
            "{} is no data folder of a server: name the one that it was started with",
            data.display()
        )));
    }
    if to.exists() {
        return Err(Error::Conflict(format!(
            "{} is there already: name a folder that is not",
            to.display()
        )));
    }
    let part = to.with_added_extension("part");
    let taken = take(data, database, &part).await;
    let placed = taken.and_then(|()| place(&part, to));
    if placed.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    placed
}

async fn take(data: &Path, database: Option<&PostgresAt>, part: &Path) -> Result<(), Error> {
    for _ in 0..ROUNDS_MAX {
        if part.exists() {
            fs::remove_dir_all(part).map_err(Error::file(format!("remove {}", part.display())))?;
        }
        make_folder(part)?;
        let before = names(&data.join("blobs/sha256"))?;
        // First, so that all that it names has come; what goes meanwhile is looked for below.
        match database {
            Some(at) => at.copy_to(&part.join("lineside.db")).await?,
            None => Store::copy_file(&data.join("lineside.db"), &part.join("lineside.db")).await?,
        }
        for folder in FOLDERS {
            copy_folder(&data.join(folder), &part.join(folder))?;
        }
        copy_file(&data.join(crate::access::TOKEN_FILE), &part.join(crate::access::TOKEN_FILE))?;
        if is_whole(part, &before).await? {
            return Ok(());
        }
    }
    Err(Error::Conflict(
        "the server goes on removing blobs that are to be copied: try again when fewer releases are removed"
            .into(),
    ))
}

/// Whether every blob that the database names and that was there at first has been copied.
async fn is_whole(part: &Path, before: &BTreeSet<OsString>) -> Result<bool, Error> {
    let folder = DataFolder::open(part)?;
    let store = Arc::new(Store::open(&folder.database()?).await?);
    let named = Artifacts::new(Blobs::open(&folder).await?, store.clone()).wanted().await?;
    store.close().await;
    let copied = names(&part.join("blobs/sha256"))?;
    let mut named = named.iter().map(|digest| OsString::from(digest.hex()));
    Ok(named.all(|name| copied.contains(&name) || !before.contains(&name)))
}

/// Makes a data folder of a copy, and fills the PostgreSQL database where one is given.
///
/// # Errors
/// [`Error::Conflict`] if the folder or the database are not empty, or `from` is no copy; [`Error::File`];
/// [`Error::Database`].
pub(crate) async fn restore(
    from: &Path,
    data: &Path,
    database: Option<&PostgresAt>,
) -> Result<(), Error> {
    if !from.join("lineside.db").is_file() || !from.join("keys/online.pem").is_file() {
        return Err(Error::Conflict(format!(
            "{} is no copy that `lineside-server backup` has made",
            from.display()
        )));
    }
    if data.exists() && !names(data)?.is_empty() {
        return Err(Error::Conflict(format!(
            "{} has something in it: name a folder that is empty or not there",
            data.display()
        )));
    }
    let part = data.with_added_extension("part");
    let made = remake(from, &part, database).await;
    let placed = made.and_then(|()| {
        if data.exists() {
            fs::remove_dir(data).map_err(Error::file(format!("replace {}", data.display())))?;
        }
        place(&part, data)
    });
    if placed.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    placed
}

async fn remake(from: &Path, part: &Path, database: Option<&PostgresAt>) -> Result<(), Error> {
    if part.exists() {
        fs::remove_dir_all(part).map_err(Error::file(format!("remove {}", part.display())))?;
    }
    make_folder(part)?;
    for folder in FOLDERS {
        copy_folder(&from.join(folder), &part.join(folder))?;
    }
    copy_file(&from.join(crate::access::TOKEN_FILE), &part.join(crate::access::TOKEN_FILE))?;
    let file = part.join("lineside.db");
    copy_file(&from.join("lineside.db"), &file)?;
    let store = Store::open(&file).await?;
    // What the server has recorded since the copy was taken is not in it: whoever compares finds this instead.
    let writing = store.write().await?;
    writing.record(did(&By::Server("restore"), Action::ServerRestored, "server", "server"));
    writing.commit().await?;
    if let Some(at) = database {
        let filled = Store::open_postgres(at).await?;
        store.fill(&filled).await?;
        filled.close().await;
    }
    store.close().await;
    if database.is_some() {
        fs::remove_file(&file).map_err(Error::file(format!("remove {}", file.display())))?;
    }
    Ok(())
}

fn place(part: &Path, to: &Path) -> Result<(), Error> {
    let steps = || {
        fs::rename(part, to)?;
        let above = to.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()
    };
    steps().map_err(Error::file(format!("place {}", to.display())))
}

fn names(folder: &Path) -> Result<BTreeSet<OsString>, Error> {
    let reading = |error| Error::file(format!("read {}", folder.display()))(error);
    let entries = fs::read_dir(folder).map_err(reading)?;
    entries.map(|entry| Ok(entry.map_err(reading)?.file_name())).collect()
}

/// Copies the files of a folder; what goes meanwhile is passed over.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    make_folder(to)?;
    for name in names(from)? {
        match copy_file(&from.join(&name), &to.join(&name)) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    let synced = File::open(to).and_then(|folder| folder.sync_all());
    synced.map_err(Error::file(format!("write {}", to.display())))
}

/// Copies a file, for its owner's eyes alone, and waits for the disk.
fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let steps = || {
        let mut source = File::open(from)?;
        let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut source, &mut copy)?;
        copy.sync_all()
    };
    steps().map_err(Error::file(format!("copy {} to {}", from.display(), to.display())))
}
