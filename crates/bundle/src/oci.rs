//! The OCI image manifest of a bundle (image-spec 1.1, manifest.md, used as an artifact).

use crate::archive::BLOB_BYTES_MAX;
use crate::digest::Digest;
use crate::manifest::{FILES_MAX, MANIFEST_BYTES_MAX, Manifest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Media type of an OCI image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What our artifacts call themselves.
pub const ARTIFACT_TYPE: &str = "application/vnd.lineside.bundle.v1";
/// Annotation with a layer's path within the bundle.
pub const TITLE: &str = "org.opencontainers.image.title";

/// Where a bundle's profile lies in it, if it has one.
pub const PROFILE: &str = "profile.json";
/// Media type of a bundle's profile.
pub const PROFILE_TYPE: &str = "application/vnd.lineside.profile.v1+json";

/// The media type of a file of a bundle, by its path.
pub fn media_type(path: &str) -> &'static str {
    if path == PROFILE {
        return PROFILE_TYPE;
    }
    match (path.split('/').next(), path.rsplit('.').next()) {
        (_, Some("onnx")) => "application/vnd.lineside.model.onnx",
        (_, Some("wasm")) => "application/wasm",
        (Some("checks"), _) => "application/vnd.lineside.check",
        (_, Some("json")) => "application/json",
        (_, Some("md")) => "text/markdown",
        _ => "application/octet-stream",
    }
}

/// Media type of the config blob, our manifest.
pub const CONFIG_TYPE: &str = "application/vnd.lineside.bundle.v1+json";

/// Annotation of a manifest: the version that it is of, as OCI calls it.
pub const VERSION: &str = "org.opencontainers.image.version";

/// A blob as an OCI document names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What its maker says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An OCI image manifest: the config blob and the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciManifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST_TYPE`].
    pub media_type: String,
    /// [`ARTIFACT_TYPE`].
    pub artifact_type: String,
    /// Our manifest.
    pub config: Descriptor,
    /// The bundle's files.
    pub layers: Vec<Descriptor>,
    /// Name and version for people who look at a registry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl OciManifest {
    /// Reads an OCI manifest from bytes whose digest the caller has verified.
    ///
    /// # Errors
    /// A sentence: not JSON, not the manifest of a bundle, or one of a bundle that is too large.
    pub fn parse(bytes: &[u8]) -> Result<OciManifest, String> {
        let within = |what: &str, size: u64, max: u64| match size > max {
            true => Err(format!("{what} has {size} bytes, {max} are allowed")),
            false => Ok(()),
        };
        within("the OCI manifest", bytes.len() as u64, MANIFEST_BYTES_MAX)?;
        let manifest: OciManifest = serde_json::from_slice(bytes)
            .map_err(|error| format!("the OCI manifest cannot be read: {error}"))?;
        if manifest.schema_version != 2 || manifest.artifact_type != ARTIFACT_TYPE {
            return Err(format!(
                "the artifact is of type {:?}, not {ARTIFACT_TYPE}",
                manifest.artifact_type
            ));
        }
        if manifest.layers.len() > FILES_MAX {
            let count = manifest.layers.len();
            return Err(format!("the OCI manifest has {count} layers, {FILES_MAX} are allowed"));
        }
        within("the manifest", manifest.config.size, MANIFEST_BYTES_MAX)?;
        let mut sizes = BTreeMap::new();
        for blob in manifest.blobs() {
            let digest = blob.digest;
            within(&format!("blob {digest}"), blob.size, BLOB_BYTES_MAX)?;
            if let Some(other) = sizes.insert(digest, blob.size).filter(|other| *other != blob.size)
            {
                let size = blob.size;
                return Err(format!("blob {digest} has {other} bytes, and elsewhere {size}"));
            }
        }
        Ok(manifest)
    }

    /// Checks that every file that `manifest`, the config blob, names is a layer of this artifact, and
    /// that there is no other layer: what is sent, stored and kept from being thrown away is what the
    /// layers say.
    ///
    /// # Errors
    /// A sentence with the file's path, or the layer's digest.
    pub fn check_files(&self, manifest: &Manifest) -> Result<(), String> {
        let layers: BTreeMap<_, _> =
            self.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        for (path, file) in &manifest.files {
            match layers.get(&file.digest) {
                Some(size) if *size == file.size => {}
                Some(size) => {
                    let claimed = file.size;
                    return Err(format!(
                        "{path} has {claimed} bytes by the manifest and {size} by the OCI manifest"
                    ));
                }
                None => {
                    return Err(format!("{path} is not among the layers of the OCI manifest"));
                }
            }
        }
        let named: BTreeSet<_> = manifest.files.values().map(|file| file.digest).collect();
        match layers.keys().find(|digest| !named.contains(digest)) {
            Some(digest) => Err(format!("layer {digest} is no file of the bundle")),
            None => Ok(()),
        }
    }

    /// Every blob that belongs to the bundle: config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}
