//! What a manifest says of models that were rounded.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a bundle's models were rounded towards those of another one, so that what has to be sent to a
/// device that holds the other is small. What is signed are the rounded models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapped {
    /// Digest of the other bundle's OCI manifest.
    pub from: Digest,
    /// Steps of the update of each model's largest tensor, as a share of its root mean square.
    pub tolerance: f64,
    /// The models, by path within the bundle.
    pub models: BTreeMap<String, SnappedModel>,
    /// Findings before rounding that were compared with those after it.
    pub compared: u64,
    /// Those that are alike.
    pub agreed: u64,
}

/// A model that was rounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnappedModel {
    /// Digest of the other bundle's model that it was rounded towards.
    pub from: Digest,
    /// Digest of the model before rounding.
    pub exact: Digest,
    /// Bytes of the recipe that makes the model before rounding of the other bundle's.
    pub exact_recipe_bytes: u64,
    /// Bytes of the recipe that makes this bundle's model of the other bundle's.
    pub recipe_bytes: u64,
}

impl Snapped {
    /// Whether it holds together, in a bundle that has these files.
    pub(crate) fn check<T>(&self, files: &BTreeMap<String, T>) -> Result<(), String> {
        if let Some(path) = self.models.keys().find(|path| !files.contains_key(*path)) {
            return Err(format!("rounded model {path}, which is no file of it"));
        }
        if self.agreed > self.compared {
            return Err("more findings agree than were compared".into());
        }
        match self.tolerance > 0.0 && self.tolerance.is_finite() {
            true => Ok(()),
            false => Err(format!("rounded to {} of an update", self.tolerance)),
        }
    }
}
