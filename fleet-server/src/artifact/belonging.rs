//! Which blobs belong to which bundle: what somebody who may have the one may have of the others.

use crate::artifact::Artifacts;
use crate::error::Error;
use crate::store::tables::manifest;
use lineside_bundle::Digest;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};
use std::collections::BTreeSet;

impl Artifacts {
    /// Whether a blob belongs to one of these manifests of `name`: it is named there, or it is a manifest
    /// that refers to one, or is named in such.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn names(
        &self,
        name: &str,
        manifests: &[Digest],
        blob: &Digest,
    ) -> Result<bool, Error> {
        let manifests: Vec<String> = manifests.iter().map(Digest::to_string).collect();
        let of_them = Condition::any()
            .add(manifest::Column::Digest.is_in(manifests.clone()))
            .add(manifest::Column::Subject.is_in(manifests));
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .filter(of_them)
            .all(self.store.read())
            .await?;
        self.any_names(rows, blob).await
    }

    /// Whether a manifest or blob belongs to one of those versions of the bundle `name` that are meant: by
    /// its tag, or by what the manifest says of itself, as before it is released it may have no tag.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn belongs(
        &self,
        name: &str,
        is_meant: impl Fn(&str) -> bool,
        blob: &Digest,
    ) -> Result<bool, Error> {
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .all(self.store.read())
            .await?;
        let mut manifests = BTreeSet::new();
        for row in rows {
            let Ok(digest) = row.digest.parse::<Digest>() else { continue };
            let is_of_it = match row.reference == row.digest {
                true => {
                    let content = self.contents.get(&self.blobs, &digest).await?;
                    content.version.as_deref().is_some_and(&is_meant)
                }
                false => is_meant(&row.reference),
            };
            if is_of_it {
                manifests.insert(digest);
            }
        }
        let manifests: Vec<Digest> = manifests.into_iter().collect();
        self.names(name, &manifests, blob).await
    }

    /// The blobs that a manifest names, if it is here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn named_by(&self, manifest: &Digest) -> Result<Vec<Digest>, Error> {
        let content = self.contents.get(&self.blobs, manifest).await?;
        Ok(content.blobs.iter().copied().collect())
    }

    /// Whether one of these manifests is this blob, or names it.
    async fn any_names(&self, rows: Vec<manifest::Model>, blob: &Digest) -> Result<bool, Error> {
        let digests: BTreeSet<Digest> =
            rows.iter().filter_map(|row| row.digest.parse().ok()).collect();
        if digests.contains(blob) {
            return Ok(true);
        }
        for digest in digests {
            if self.contents.get(&self.blobs, &digest).await?.blobs.contains(blob) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
