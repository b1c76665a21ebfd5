//! Makes an artifact of a description and its files.

use crate::check::{DescriptionError, check_files, check_path};
use crate::description::{BundleFile, Stage};
use crate::digest::Digest;
use crate::manifest::{FileEntry, Manifest, ManifestError};
use crate::name::ReleaseId;
use crate::oci::{
    ARTIFACT_TYPE, CONFIG_TYPE, Descriptor, MANIFEST_TYPE, OciManifest, TITLE, VERSION, media_type,
};
use crate::snapped::Snapped;
use std::collections::{BTreeMap, BTreeSet};

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The description does not hold together, or names a file that is not there.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A file's path.
    #[error("{0}")]
    Path(String),
    /// What was made is more than a bundle may be.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// As [`BuildError::Manifest`], of the artifact around it.
    #[error("{0}")]
    Artifact(String),
}

/// A bundle in memory: every blob of the artifact.
#[derive(Debug, Clone)]
pub struct BuiltBundle {
    /// Description and digests.
    pub manifest: Manifest,
    /// The OCI manifest's bytes.
    pub oci_manifest: Vec<u8>,
    /// Config and layers, by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl BuiltBundle {
    /// Which release this is.
    pub fn release_id(&self) -> ReleaseId {
        ReleaseId {
            name: self.manifest.bundle.name.clone(),
            version: self.manifest.bundle.version.clone(),
            digest: Digest::of(&self.oci_manifest),
            size: self.oci_manifest.len() as u64,
        }
    }

    /// The bytes of a file of the bundle.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let entry = self.manifest.files.get(path)?;
        self.blobs.get(&entry.digest).map(Vec::as_slice)
    }
}

/// Where a plugin that is named, and not given as a path, lies within the bundle.
pub fn plugin_path(name: &str) -> String {
    format!("plugins/{name}.wasm")
}

/// Makes the artifact; the same description and files give the same bytes.
///
/// `files` are the bundle's files by path. A plugin that is named rather than given as a path is
/// expected at [`plugin_path`], and the description in the artifact says so.
///
/// # Errors
/// [`BuildError`], by stage, check or path.
pub fn build(
    bundle: BundleFile,
    files: BTreeMap<String, Vec<u8>>,
) -> Result<BuiltBundle, BuildError> {
    build_with_operators(bundle, files, BTreeMap::new())
}

/// As [`build`], with the operators that the models use: [`Manifest::operators`].
///
/// # Errors
/// As [`build`].
pub fn build_with_operators(
    bundle: BundleFile,
    files: BTreeMap<String, Vec<u8>>,
    operators: BTreeMap<String, BTreeSet<String>>,
) -> Result<BuiltBundle, BuildError> {
    assemble(bundle, files, operators, None)
}

/// As `exact`, with these files changed and a note of how the models among them were rounded.
///
/// # Errors
/// As [`build`].
pub fn build_snapped(
    exact: &BuiltBundle,
    changed: BTreeMap<String, Vec<u8>>,
    snapped: Option<Snapped>,
) -> Result<BuiltBundle, BuildError> {
    let Manifest { bundle, files, operators, .. } = exact.manifest.clone();
    let kept = |path: &String| exact.file(path).map(|bytes| (path.clone(), bytes.to_vec()));
    let mut all: BTreeMap<_, _> = files.keys().filter_map(kept).collect();
    all.extend(changed);
    assemble(bundle, all, operators, snapped)
}

fn assemble(
    mut bundle: BundleFile,
    files: BTreeMap<String, Vec<u8>>,
    operators: BTreeMap<String, BTreeSet<String>>,
    snapped: Option<Snapped>,
) -> Result<BuiltBundle, BuildError> {
    for stage in bundle.stages.values_mut() {
        if let Stage::Plugin { plugin, .. } = stage
            && !plugin.ends_with(".wasm")
        {
            *plugin = plugin_path(plugin);
        }
    }
    bundle.check()?;
    for path in files.keys() {
        check_path(path).map_err(BuildError::Path)?;
    }
    check_files(&bundle, &files)?;

    let mut manifest = Manifest { bundle, files: BTreeMap::new(), operators, snapped };
    let mut blobs = BTreeMap::new();
    let mut layers = Vec::new();
    for (path, bytes) in files {
        let entry = FileEntry {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            media_type: media_type(&path).into(),
        };
        layers.push(Descriptor {
            media_type: entry.media_type.clone(),
            digest: entry.digest,
            size: entry.size,
            annotations: BTreeMap::from([(TITLE.into(), path.clone())]),
        });
        blobs.insert(entry.digest, bytes);
        manifest.files.insert(path, entry);
    }
    let config = manifest.to_bytes();
    let oci = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.into(),
        artifact_type: ARTIFACT_TYPE.into(),
        config: Descriptor {
            media_type: CONFIG_TYPE.into(),
            digest: Digest::of(&config),
            size: config.len() as u64,
            annotations: BTreeMap::new(),
        },
        layers,
        annotations: BTreeMap::from([
            (TITLE.into(), manifest.bundle.name.to_string()),
            (VERSION.into(), manifest.bundle.version.to_string()),
        ]),
    };
    let oci_manifest = serde_json::to_vec(&oci).expect("an OCI manifest has only string keys");
    // As whoever gets it will read it: what is signed once can never be mended.
    let manifest = Manifest::parse(&config)?;
    OciManifest::parse(&oci_manifest)
        .and_then(|oci| oci.check_files(&manifest))
        .map_err(BuildError::Artifact)?;
    blobs.insert(oci.config.digest, config);
    Ok(BuiltBundle { manifest, oci_manifest, blobs })
}
