//! Where a bundle's files come from: memory at the desk, the blob store on a device.

use lineside_bundle::{BuiltBundle, Digest, Manifest};
use std::io;
use std::path::PathBuf;

/// Why a file of a bundle cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The manifest does not name it.
    #[error("{0} is not part of the bundle")]
    Unknown(String),
    /// It cannot be read.
    #[error("cannot read {path} ({})", file.display())]
    Read {
        /// Path within the bundle.
        path: String,
        /// The blob's file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are not the ones that were signed.
    #[error("{path} is damaged: expected {expected}, found {found}")]
    Damaged {
        /// Path within the bundle.
        path: String,
        /// The digest in the manifest.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
}

/// Gives the files of one bundle, by path, verified.
pub trait Files {
    /// The bytes of the file at `path` within the bundle.
    ///
    /// # Errors
    /// [`FilesError`]; never bytes that differ from the manifest's digest.
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError>;
}

/// A bundle in memory.
pub struct MemoryFiles<'a>(pub &'a BuiltBundle);

impl Files for MemoryFiles<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        self.0.file(path).map(<[u8]>::to_vec).ok_or_else(|| FilesError::Unknown(path.to_owned()))
    }
}

/// A bundle whose blobs lie in a folder, each named by the hex digits of its SHA-256.
pub struct StoreFiles {
    /// The folder, `blobs/sha256`.
    pub folder: PathBuf,
    /// Which path is which blob.
    pub manifest: Manifest,
}

impl Files for StoreFiles {
    /// Verified at every read, not only when it was downloaded: disks rot.
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        let entry =
            self.manifest.files.get(path).ok_or_else(|| FilesError::Unknown(path.to_owned()))?;
        let file = self.folder.join(entry.digest.hex());
        let bytes = std::fs::read(&file).map_err(|source| FilesError::Read {
            path: path.to_owned(),
            file,
            source,
        })?;
        let found = Digest::of(&bytes);
        if found != entry.digest {
            let expected = entry.digest;
            return Err(FilesError::Damaged { path: path.to_owned(), expected, found });
        }
        Ok(bytes)
    }
}
