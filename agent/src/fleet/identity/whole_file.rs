//! Small files that are whole or not there, whenever the power fails.

use crate::failpoint;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Largest file that is read, in bytes: the longest list of authorities.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// What stands in a file, and its permission bits; none where there is no such file.
pub(super) fn read(path: &Path) -> io::Result<Option<(String, u32)>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if metadata.len() > FILE_BYTES_MAX {
        let said = format!("it has {} bytes, at most {FILE_BYTES_MAX} are read", metadata.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, said));
    }
    Ok(Some((fs::read_to_string(path)?, metadata.permissions().mode() & 0o7777)))
}

/// Makes a file that nobody else may read. One that is there is never written over.
///
/// # Errors
/// It is there, or what the file system says.
pub(super) fn make(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o600, |part| {
        // Another name for what is written: it fails where the name is taken, as renaming does not.
        let made = fs::hard_link(part, path);
        fs::remove_file(part)?;
        made
    })
}

/// Puts a file that everybody may read in the place of the one that is there, if there is one.
///
/// # Errors
/// What the file system says.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o644, |part| {
        failpoint::pass("identity.rename")?;
        fs::rename(part, path)
    })
}

/// Removes a file, if it is there.
///
/// # Errors
/// What the file system says.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    failpoint::pass("identity.remove")?;
    match fs::remove_file(path) {
        Ok(()) => folder_of(path)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the text to a file of this name with `.part` after it, which `settle` then gives its name.
fn write(
    path: &Path,
    text: &str,
    mode: u32,
    settle: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".part");
    let part = path.with_file_name(name);
    // What a power cut has left of the last attempt.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    failpoint::pass("identity.write")?;
    file.write_all(text.as_bytes())?;
    failpoint::pass("identity.sync")?;
    file.sync_all()?;
    settle(&part)?;
    // The name of a file is on the medium only with its folder.
    failpoint::pass("identity.folder")?;
    folder_of(path)?.sync_all()
}

fn folder_of(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_for_its_owner_and_what_was_cut_off_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read(&path).unwrap().is_none());
        fs::write(folder.path().join("key.part"), "hal").unwrap();
        make(&path, "whole").unwrap();
        assert_eq!(read(&path).unwrap(), Some(("whole".into(), 0o600)));
        let error = make(&path, "another").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        replace(&path, "newer").unwrap();
        assert_eq!(read(&path).unwrap(), Some(("newer".into(), 0o644)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn a_file_without_an_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("at most"));
    }
}
