//! The manifest: the description together with the digests of its files. An artifact's config blob.

use crate::check::{DescriptionError, check_files, check_path};
use crate::description::BundleFile;
use crate::digest::Digest;
use crate::snapped::Snapped;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest manifest that is read, in bytes: ours, and the OCI manifest around it.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Files that a bundle may have.
pub(crate) const FILES_MAX: usize = 1024;

/// What a bundle is and which bytes belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The description, as its author wrote it.
    pub bundle: BundleFile,
    /// The files, by path within the bundle.
    pub files: BTreeMap<String, FileEntry>,
    /// The ONNX operators that each model uses, by path: `Conv`, `ai.onnx.ml.Normalizer`. Recorded when
    /// the bundle was built; nothing is known of a model that is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, BTreeSet<String>>,
    /// How models were rounded, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapped: Option<Snapped>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// Why some bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Too large to be one.
    #[error("the manifest has {0} bytes, {MANIFEST_BYTES_MAX} are allowed")]
    Size(u64),
    /// Not the JSON we write.
    #[error("the manifest cannot be read")]
    Json(#[from] serde_json::Error),
    /// JSON that does not hold together.
    #[error("the manifest does not hold together")]
    Description(#[from] DescriptionError),
    /// A file's path.
    #[error("the manifest does not hold together: {0}")]
    Files(String),
}

impl Manifest {
    /// Reads a manifest from bytes whose digest the caller has verified.
    ///
    /// # Errors
    /// [`ManifestError`]; the description is checked again, because it came from elsewhere.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let size = bytes.len() as u64;
        if size > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Size(size));
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        manifest.bundle.check()?;
        if manifest.files.len() > FILES_MAX {
            return Err(ManifestError::Files(format!("more than {FILES_MAX} files")));
        }
        for path in manifest.files.keys() {
            check_path(path).map_err(ManifestError::Files)?;
        }
        check_files(&manifest.bundle, &manifest.files)?;
        if let Some(snapped) = &manifest.snapped {
            snapped.check(&manifest.files).map_err(ManifestError::Files)?;
        }
        if let Some(path) =
            manifest.operators.keys().find(|path| !manifest.files.contains_key(*path))
        {
            return Err(ManifestError::Files(format!(
                "operators of {path}, which is no file of it"
            )));
        }
        Ok(manifest)
    }

    /// The bytes that [`Manifest::parse`] reads; the same for the same manifest.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has only string keys and finite numbers")
    }
}
