//! Files that survive a power cut whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that takes the place of another one, or of none, once it is complete.
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Begins it, beside `path`. What an interrupted attempt left there is overwritten.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(path: &Path) -> io::Result<NewFile> {
        let mut temporary = OsString::from(path);
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        Ok(NewFile { file: File::create(&temporary)?, temporary, path: path.to_owned() })
    }

    /// Puts it in place. Its bytes reach the medium first, then its name.
    ///
    /// # Errors
    /// What the disk says.
    pub fn commit(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        sync_parent(&self.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Nothing that was refused stays; after a commit there is no such file any more.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Has `folder` on the medium, if its parent is.
///
/// # Errors
/// What the disk says.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => sync_parent(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
