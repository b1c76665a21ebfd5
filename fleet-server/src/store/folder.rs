//! The data folder: made once, used by one server at a time, written so that a power cut leaves
//! either the old file or the new one.

use crate::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Everybody: mode 0644.
    All,
}

/// The data folder, held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, and makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another server uses it, or if others may change it.
    pub fn open(path: &Path) -> Result<DataFolder, Error> {
        make_folder(path)?;
        check_mode(path, 0o022)?;
        let path = path
            .canonicalize()
            .map_err(Error::file(format!("find the folder {}", path.display())))?;
        let lock_path = path.join("server.lock");
        let doing = || format!("open {}", lock_path.display());
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(Error::file(doing()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Conflict(format!(
                    "another server uses the data folder {}: stop it, or give --data another folder",
                    path.display()
                )));
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::File { doing: doing(), source });
            }
        }
        for name in ["keys", "blobs", "blobs/sha256", "uploads"] {
            make_folder(&path.join(name))?;
            // A copy that was restored may have lost its modes.
            set_mode(&path.join(name), 0o700)?;
        }
        Ok(DataFolder { path, _lock: lock })
    }

    /// A path within the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file of the database, which its owner alone can read, as what SQLite puts beside it. It
    /// is made, empty, if it is missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn database(&self) -> Result<PathBuf, Error> {
        let path = self.join("lineside.db");
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        made.map_err(Error::file(format!("open {}", path.display())))?;
        for name in ["lineside.db", "lineside.db-wal", "lineside.db-shm"] {
            let path = self.join(name);
            if path.exists() {
                set_mode(&path, 0o600)?;
            }
        }
        Ok(path)
    }

    /// Reads a small text, and makes it at first.
    ///
    /// # Errors
    /// [`Error::Conflict`] if others may read it; [`Error::File`].
    pub fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, Error>,
    ) -> Result<String, Error> {
        let path = self.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => check_mode(&path, 0o077).map(|()| text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = make()?;
                write(&path, text.as_bytes(), Readers::Owner)?;
                Ok(text)
            }
            Err(source) => Err(Error::File { doing: format!("read {}", path.display()), source }),
        }
    }

    /// Writes a file of the folder as a whole.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, name: &str, bytes: &[u8], readers: Readers) -> Result<(), Error> {
        write(&self.join(name), bytes, readers)
    }

    /// Writes a file of the folder as a whole, and locks it for as long as the result lives: who
    /// reads it can tell by the lock whether the one who wrote it is still there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_held(&self, name: &str, bytes: &[u8], readers: Readers) -> Result<File, Error> {
        let path = self.join(name);
        write(&path, bytes, readers)?;
        let hold = || {
            let file = File::open(&path)?;
            // Waits for readers that look at the lock just now.
            file.lock()?;
            Ok(file)
        };
        hold().map_err(Error::file(format!("lock {}", path.display())))
    }
}

/// Makes an empty file that its owner alone can read, in the place of one that is there.
pub(super) fn closed_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that was there keeps the mode that it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Bytes that may still be written to the disk on which `path` lies.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn free_bytes(path: &Path) -> Result<u64, Error> {
    let doing = format!("look at the disk of {}", path.display());
    let disk = rustix::fs::statvfs(path).map_err(|error| Error::file(doing)(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses what its mode allows others than its owner, if it is one of the bits `forbidden`. It is
/// not closed in silence: somebody may know it already, or have changed it.
fn check_mode(path: &Path, forbidden: u32) -> Result<(), Error> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(Error::file(format!("look at {shown}")))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{shown} is open to other users of this machine (mode {mode:03o}): \
         close it with `chmod go= {shown}`"
    )))
}

/// Makes a folder, and those above it, for its owner alone.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file(format!("make the folder {}", path.display())))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::file(format!("close {} to others", path.display())))
}

fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), Error> {
    let new = path.with_extension("new");
    let mode = if readers == Readers::Owner { 0o600 } else { 0o644 };
    let steps = || {
        // What a power cut left behind may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    steps().map_err(Error::file(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_read_by_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("new/data")).unwrap();
        let first = folder.secret("token", || Ok("one".into())).unwrap();
        let second = folder.secret("token", || Ok("two".into())).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
        let mode = fs::metadata(folder.join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_others_may_know_or_change_is_refused_and_all_else_is_closed_to_them() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let refused = |error: Error, path: &Path| {
            let chmod = format!("`chmod go= {}`", path.display());
            assert!(error.to_string().contains(&chmod), "{error}");
        };
        let folder = DataFolder::open(&data).unwrap();
        folder.secret("token", || Ok("one".into())).unwrap();
        let (token, database) = (folder.join("token"), folder.database().unwrap());
        let (blobs, log) = (folder.join("blobs"), folder.join("lineside.db-wal"));
        fs::write(&log, "").unwrap();
        set(&token, 0o640);
        refused(folder.secret("token", || Ok("two".into())).unwrap_err(), &token);
        for path in [&database, &log] {
            set(path, 0o644);
        }
        set(&blobs, 0o755);
        drop(folder);
        set(&data, 0o770);
        refused(DataFolder::open(&data).unwrap_err(), &data);
        set(&data, 0o755);
        let folder = DataFolder::open(&data).unwrap();
        folder.database().unwrap();
        assert_eq!([&database, &log, &blobs].map(|path| mode(path)), [0o600, 0o600, 0o700]);
    }

    #[test]
    fn a_folder_serves_one_server_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = DataFolder::open(place.path()).unwrap();
        let error = DataFolder::open(place.path()).unwrap_err().to_string();
        assert!(error.contains("another server") && error.contains("--data"), "{error}");
        drop(first);
        assert!(DataFolder::open(place.path()).is_ok());
    }
}
