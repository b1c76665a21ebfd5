//! `Blob -> StagedRelease`: what is parsed only after its digest has been compared.

use crate::update::blobs::{BlobError, Blobs};
use lineside_bundle::{Manifest, ManifestError, OciManifest, ReleaseId, spoken};
use std::ops::Deref;
use std::path::PathBuf;

/// Largest OCI manifest and largest bundle manifest that are read, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = lineside_bundle::MANIFEST_BYTES_MAX;

/// A release whose blobs are on disk and match the digests that were signed.
///
/// Only [`load`] makes one; the files are verified once more by whoever reads them. What it consists
/// of can be read and not be changed.
#[derive(Debug, Clone)]
pub struct StagedRelease(StagedParts);

impl Deref for StagedRelease {
    type Target = StagedParts;

    fn deref(&self) -> &StagedParts {
        &self.0
    }
}

/// What a [`StagedRelease`] consists of.
#[derive(Debug, Clone)]
pub struct StagedParts {
    /// Which release.
    pub release: ReleaseId,
    /// Its manifest.
    pub manifest: Manifest,
    /// The folder with its blobs, each named by the hex digits of its SHA-256.
    pub blobs: PathBuf,
}

/// Why blobs on disk are no release.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A blob is missing or damaged. Fetching it again helps.
    #[error("{release} is not whole on disk")]
    Blob {
        /// Which release.
        release: ReleaseId,
        /// Why.
        source: BlobError,
    },
    /// A blob that the manifest names is missing or damaged. Fetching it again helps.
    #[error("{release}: {path} is missing or damaged on disk")]
    File {
        /// Which release.
        release: ReleaseId,
        /// Path within the bundle.
        path: String,
    },
    /// Its OCI manifest. Only another release helps.
    #[error("{release}: {reason}")]
    Oci {
        /// Which release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// Its bundle manifest. Only another release helps.
    #[error("{release}")]
    Manifest {
        /// Which release.
        release: ReleaseId,
        /// Why.
        source: ManifestError,
    },
}

/// Reads a release from the store.
///
/// # Errors
/// [`StageError`].
pub fn load(release: &ReleaseId, blobs: &Blobs) -> Result<StagedRelease, StageError> {
    let manifest = manifest(release, &oci_manifest(release, blobs)?, blobs)?;
    for (path, file) in &manifest.files {
        if !blobs.holds(&file.digest, file.size) {
            return Err(StageError::File { release: release.clone(), path: path.clone() });
        }
    }
    let blobs = blobs.folder().to_owned();
    Ok(StagedRelease(StagedParts { release: release.clone(), manifest, blobs }))
}

/// Reads a release's manifest from the store: what it is and what it needs.
///
/// # Errors
/// Every [`StageError`] but `File`.
pub fn manifest(
    release: &ReleaseId,
    oci: &OciManifest,
    blobs: &Blobs,
) -> Result<Manifest, StageError> {
    let damaged = |source| StageError::Blob { release: release.clone(), source };
    let bytes = blobs.read(&oci.config.digest, oci.config.size).map_err(damaged)?;
    let manifest = Manifest::parse(&bytes)
        .map_err(|source| StageError::Manifest { release: release.clone(), source })?;
    let wrong = |reason: String| StageError::Oci { release: release.clone(), reason };
    let bundle = &manifest.bundle;
    if bundle.name != release.name || bundle.version != release.version {
        let itself = spoken(bundle.name.as_str(), bundle.version.as_str());
        return Err(wrong(format!("the bundle calls itself {itself}")));
    }
    oci.check_files(&manifest).map_err(wrong)?;
    Ok(manifest)
}

/// Reads a release's OCI manifest from the store: which blobs belong to it.
///
/// # Errors
/// [`StageError::Blob`], [`StageError::Oci`].
pub fn oci_manifest(release: &ReleaseId, blobs: &Blobs) -> Result<OciManifest, StageError> {
    let wrong = |reason: String| StageError::Oci { release: release.clone(), reason };
    if release.size > DOCUMENT_BYTES_MAX {
        let size = release.size;
        return Err(wrong(format!(
            "its OCI manifest has {size} bytes, {DOCUMENT_BYTES_MAX} are allowed"
        )));
    }
    let bytes = blobs
        .read(&release.digest, release.size)
        .map_err(|source| StageError::Blob { release: release.clone(), source })?;
    OciManifest::parse(&bytes).map_err(wrong)
}
