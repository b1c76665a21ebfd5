//! OCI artifacts that refer to another one by `subject` (image-spec 1.1), and the one that we make:
//! a *delta*, whose layers are recipes that make blobs of a release out of those of an earlier one.

use crate::digest::Digest;
use crate::manifest::{FILES_MAX, MANIFEST_BYTES_MAX};
use crate::name::ReleaseId;
use crate::oci::{Descriptor, MANIFEST_TYPE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Media type of an OCI image index, which is how a registry lists referrers.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// What a delta calls itself.
pub const DELTA_TYPE: &str = "application/vnd.lineside.delta.v1";
/// Media type of a recipe (`lineside_delta`).
pub const RECIPE_TYPE: &str = "application/vnd.lineside.delta.recipe.v1";
/// Annotation of a recipe: digest of the blob that it is applied to.
pub const DELTA_BASE: &str = "dev.lineside.delta.base";
/// Annotation of a recipe: digest of the blob that it makes.
pub const DELTA_TARGET: &str = "dev.lineside.delta.target";
/// Annotation of a delta: digest of the OCI manifest of the earlier release.
pub const DELTA_FROM: &str = "dev.lineside.delta.from";
/// Annotation of a delta: version of the earlier release, for people.
pub const DELTA_FROM_VERSION: &str = "dev.lineside.delta.from-version";

/// What an artifact without a config has in its place (image-spec 1.1, "guidance for an empty
/// descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub const EMPTY: &[u8] = b"{}";

/// An OCI image manifest of any type that refers to another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST_TYPE`].
    pub media_type: String,
    /// What it is; where it is not said, the config's media type says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Its config.
    pub config: Descriptor,
    /// What it consists of.
    pub layers: Vec<Descriptor>,
    /// The manifest that it is about.
    pub subject: Descriptor,
    /// What its maker says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Referrer {
    /// A delta to `target` from `from`, of recipes made by [`recipe`].
    pub fn delta(target: &ReleaseId, from: &ReleaseId, recipes: Vec<Descriptor>) -> Referrer {
        let describe = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
        };
        Referrer {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: DELTA_TYPE.to_owned(),
            config: describe(EMPTY_TYPE, Digest::of(EMPTY), EMPTY.len() as u64),
            layers: recipes,
            subject: describe(MANIFEST_TYPE, target.digest, target.size),
            annotations: BTreeMap::from([
                (DELTA_FROM.to_owned(), from.digest.to_string()),
                (DELTA_FROM_VERSION.to_owned(), from.version.to_string()),
            ]),
        }
    }

    /// Reads the manifest of an artifact that refers to another one.
    ///
    /// # Errors
    /// A sentence: not JSON, no manifest, nothing that it refers to, or too large.
    pub fn parse(bytes: &[u8]) -> Result<Referrer, String> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let size = bytes.len();
            return Err(format!("it has {size} bytes, {MANIFEST_BYTES_MAX} are allowed"));
        }
        let referrer: Referrer =
            serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        if referrer.schema_version != 2 || referrer.media_type != MANIFEST_TYPE {
            return Err(format!("it is {:?}, not {MANIFEST_TYPE}", referrer.media_type));
        }
        if referrer.layers.len() > FILES_MAX {
            let count = referrer.layers.len();
            return Err(format!("it has {count} layers, {FILES_MAX} are allowed"));
        }
        Ok(referrer)
    }

    /// What it is, also where only its config says it.
    pub fn kind(&self) -> &str {
        match self.artifact_type.as_str() {
            "" => &self.config.media_type,
            kind => kind,
        }
    }

    /// Every blob that belongs to it: config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// A recipe of `size` bytes as a delta names it: it makes `target` of `base`.
pub fn recipe(digest: Digest, size: u64, base: &Digest, target: &Digest) -> Descriptor {
    Descriptor {
        media_type: RECIPE_TYPE.to_owned(),
        digest,
        size,
        annotations: BTreeMap::from([
            (DELTA_BASE.to_owned(), base.to_string()),
            (DELTA_TARGET.to_owned(), target.to_string()),
        ]),
    }
}

/// A list of referrers, as a registry gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrers {
    /// Always 2.
    pub schema_version: u32,
    /// [`INDEX_TYPE`].
    pub media_type: String,
    /// The manifests that refer to the one that was asked about.
    pub manifests: Vec<Listed>,
}

/// A referrer in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// [`MANIFEST_TYPE`].
    pub media_type: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// The manifest's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str) -> ReleaseId {
        let digest = Digest::of(version.as_bytes());
        let (name, version) = ("turbine".parse().unwrap(), version.parse().unwrap());
        ReleaseId { name, version, digest, size: 7 }
    }

    #[test]
    fn a_delta_says_what_it_is_about_and_what_it_needs() {
        let (base, target, made) = (Digest::of(b"base"), Digest::of(b"target"), Digest::of(b"r"));
        let delta =
            Referrer::delta(&release("2"), &release("1"), vec![recipe(made, 1, &base, &target)]);
        let bytes = serde_json::to_vec(&delta).unwrap();
        assert_eq!(Referrer::parse(&bytes).unwrap(), delta);
        assert_eq!(delta.subject.digest, release("2").digest);
        assert_eq!(delta.annotations[DELTA_FROM], release("1").digest.to_string());
        assert_eq!(delta.layers[0].annotations[DELTA_BASE], base.to_string());
        assert_eq!(delta.kind(), DELTA_TYPE);
    }

    #[test]
    fn what_refers_to_nothing_is_no_referrer() {
        let delta = Referrer::delta(&release("2"), &release("1"), Vec::new());
        let mut value = serde_json::to_value(&delta).unwrap();
        value.as_object_mut().unwrap().remove("subject");
        let error = Referrer::parse(value.to_string().as_bytes()).unwrap_err();
        assert!(error.contains("subject"), "{error}");
        let many = vec![delta.config.clone(); FILES_MAX + 1];
        let bytes = serde_json::to_vec(&Referrer { layers: many, ..delta }).unwrap();
        assert!(Referrer::parse(&bytes).unwrap_err().contains("layers"));
    }

    #[test]
    fn what_does_not_say_its_type_is_what_its_config_says() {
        let mut signature = Referrer::delta(&release("2"), &release("1"), Vec::new());
        signature.artifact_type = String::new();
        signature.config.media_type = "application/vnd.example.signature".into();
        assert_eq!(signature.kind(), "application/vnd.example.signature");
    }
}
