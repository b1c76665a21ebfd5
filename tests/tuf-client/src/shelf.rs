//! Verified metadata in a folder.

use crate::durable::{NewFile, create_folder};
use anyhow::Context;
use lineside_trust::repository::{Fault, Shelf};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder with a file for each document.
pub struct FileShelf {
    folder: PathBuf,
}

impl FileShelf {
    /// The shelf in `folder`.
    pub fn new(folder: &Path) -> FileShelf {
        FileShelf { folder: folder.to_owned() }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        create_folder(&self.folder)?;
        if let Some((folder, _)) = name.split_once('/') {
            create_folder(&self.folder.join(folder))?;
        }
        let mut file = NewFile::create(&self.folder.join(name))?;
        file.write_all(bytes)?;
        file.commit()
    }
}

impl Shelf for FileShelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))?
            }
        }
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.folder.join(name);
        self.write(name, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_for_the_next_program_and_nothing_half_written_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("metadata");
        let shelf = || FileShelf::new(&folder);
        assert!(shelf().load("timestamp.json").unwrap().is_none());
        for version in ["1", "2"] {
            shelf().keep("timestamp.json", version.as_bytes()).unwrap();
            shelf().keep(&format!("root_history/{version}.root.json"), b"root").unwrap();
        }
        // The power failed while the third was being written.
        fs::write(folder.join("timestamp.json.new"), b"to").unwrap();
        assert_eq!(shelf().load("timestamp.json").unwrap().unwrap(), b"2");
        shelf().keep("timestamp.json", b"3").unwrap();
        assert_eq!(shelf().load("timestamp.json").unwrap().unwrap(), b"3");
        assert_eq!(shelf().load("root_history/1.root.json").unwrap().unwrap(), b"root");
        assert!(!folder.join("timestamp.json.new").exists());
    }

    #[test]
    fn a_document_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("timestamp.json")).unwrap();
        let shelf = FileShelf::new(folder.path());
        assert!(shelf.load("timestamp.json").is_err());
        assert!(shelf.keep("timestamp.json", b"1").is_err());
    }
}
