//! What arrives by hand: takes the blobs that verified documents name out of a file.

use crate::update::blobs::{BlobError, Blobs};
use crate::update::stage;
use lineside_bundle::archive::ArchiveError;
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{Digest, ReleaseId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// It cannot be opened.
    #[error("cannot read {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no parcel, or a damaged one.
    #[error("{} cannot be used", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// A blob of it did not get onto the disk.
    #[error("cannot take a blob out of the file")]
    Blob(#[from] BlobError),
}

impl From<ArchiveError> for ParcelError {
    fn from(source: ArchiveError) -> ParcelError {
        ParcelError::Contents { path: PathBuf::new(), source }
    }
}

/// Reads the documents of the file at `path`. They have still to be verified.
///
/// # Errors
/// [`ParcelError::Open`], [`ParcelError::Contents`].
pub fn papers(path: &Path) -> Result<Papers, ParcelError> {
    parcel::papers(open(path)?).map_err(|error| of(path, error.into()))
}

/// Takes the blobs of `releases` out of the file at `path`, as far as it has them and the store has
/// not. Returns the releases that are not whole then: the server may have what is missing.
///
/// # Errors
/// [`ParcelError`]; blobs that were taken stay.
pub fn unpack<'a>(
    path: &Path,
    releases: &'a BTreeSet<ReleaseId>,
    blobs: &Blobs,
) -> Result<Vec<&'a ReleaseId>, ParcelError> {
    let manifests = releases.iter().map(|release| (release.digest, release.size)).collect();
    take(path, &manifests, blobs)?;
    let mut wanted = BTreeMap::new();
    for release in releases {
        // One whose manifest is not in the file may be on the server.
        if let Ok(oci) = stage::oci_manifest(release, blobs) {
            wanted.extend(oci.blobs().map(|blob| (blob.digest, blob.size)));
        }
    }
    take(path, &wanted, blobs)?;
    Ok(releases.iter().filter(|release| stage::load(release, blobs).is_err()).collect())
}

/// Takes the blobs that are wanted and not there, comparing every byte with what was signed.
fn take(path: &Path, wanted: &BTreeMap<Digest, u64>, blobs: &Blobs) -> Result<(), ParcelError> {
    let mut lacking: BTreeMap<_, _> =
        wanted.iter().filter(|(digest, size)| !blobs.holds(digest, **size)).collect();
    blobs.check_space(lacking.values().copied().fold(0, |sum, size| sum.saturating_add(*size)))?;
    if lacking.is_empty() {
        return Ok(());
    }
    parcel::blobs(open(path)?, |digest, size, source| {
        let Some(expected) = lacking.remove(&digest) else { return Ok(()) };
        let never = || false;
        let _claim = blobs.claim(&digest, &never)?;
        if size != *expected || blobs.holds(&digest, size) {
            return Ok(());
        }
        // What a broken download left is replaced by what lies at hand, whole.
        blobs.forget_partial(&digest)?;
        match blobs.receive(&digest, size, source, &never)? {
            true => Ok(()),
            false => {
                let got = blobs.partial_bytes(&digest);
                Err(BlobError::Cut { digest, got, size, source: None }.into())
            }
        }
    })
    .map_err(|error| of(path, error))
}

fn open(path: &Path) -> Result<File, ParcelError> {
    File::open(path).map_err(|source| ParcelError::Open { path: path.to_owned(), source })
}

fn of(path: &Path, error: ParcelError) -> ParcelError {
    match error {
        ParcelError::Contents { source, .. } => {
            ParcelError::Contents { path: path.to_owned(), source }
        }
        other => other,
    }
}
