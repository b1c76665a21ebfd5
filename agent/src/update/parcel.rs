//! What arrives by hand: takes the blobs that verified documents name out of a file.

use crate::update::blobs::{BlobError, Blobs, ByHand};
use crate::update::stage::{self, StageError};
use lineside_bundle::archive::ArchiveError;
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{Digest, ReleaseId};
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
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
/// not. Returns the releases that are not whole then, and why.
///
/// # Errors
/// [`ParcelError`]; blobs that were taken stay.
pub fn unpack<'a>(
    path: &Path,
    releases: &'a BTreeSet<ReleaseId>,
    blobs: &Blobs,
    by_hand: &ByHand,
) -> Result<Vec<(&'a ReleaseId, StageError)>, ParcelError> {
    let manifests = releases.iter().map(|release| (release.digest, release.size)).collect();
    take(path, &manifests, blobs, by_hand)?;
    let mut wanted = BTreeMap::new();
    for release in releases {
        // One whose manifest is not in the file may be on the server.
        if let Ok(oci) = stage::oci_manifest(release, blobs) {
            wanted.extend(oci.blobs().map(|blob| (blob.digest, blob.size)));
        }
    }
    take(path, &wanted, blobs, by_hand)?;
    let failed = |release| stage::load(release, blobs).err().map(|error| (release, error));
    Ok(releases.iter().filter_map(failed).collect())
}

/// Takes the blobs that are wanted and not there, comparing every byte with what was signed.
fn take(
    path: &Path,
    wanted: &BTreeMap<Digest, u64>,
    blobs: &Blobs,
    by_hand: &ByHand,
) -> Result<(), ParcelError> {
    let mut lacking: BTreeMap<_, _> =
        wanted.iter().filter(|(digest, size)| !blobs.holds(digest, **size)).collect();
    blobs.check_space(lacking.values().copied().fold(0, |sum, size| sum.saturating_add(*size)))?;
    if lacking.is_empty() {
        return Ok(());
    }
    let never = || false;
    parcel::blobs(open(path)?, |digest, size, source| {
        let Some(expected) = lacking.remove(&digest) else { return Ok(()) };
        let _claim = by_hand.claim(&digest);
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

/// Opens a regular file. Anything else may have no end, or keep whoever opens it waiting for ever.
fn open(path: &Path) -> Result<File, ParcelError> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(no_wait).open(path);
    let regular = opened.and_then(|file| match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    });
    regular.map_err(|source| ParcelError::Open { path: path.to_owned(), source })
}

fn of(path: &Path, error: ParcelError) -> ParcelError {
    match error {
        ParcelError::Contents { source, .. } => {
            ParcelError::Contents { path: path.to_owned(), source }
        }
        other => other,
    }
}
