//! Which blobs belong to which bundle: what somebody who may have the one may have of the others.

use crate::artifact::Artifacts;
use crate::artifact::parts::{Base, Content};
use crate::error::Error;
use crate::store::tables::manifest;
use lineside_bundle::Digest;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What of a bundle is open to somebody: manifests, and the blobs that they name.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    manifests: BTreeMap<Digest, Arc<Content>>,
}

impl Opened {
    /// Whether this manifest or blob is.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.manifests.contains_key(digest)
            || self.manifests.values().any(|content| content.blobs.contains(digest))
    }
}

impl Artifacts {
    /// What of the bundle `name` is open to whom these manifests are: they, and what refers to them. A delta
    /// is open only where what it is made from is as well: it tells how the one differs from the other, and
    /// who has the one could make the other of it.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn opened(&self, name: &str, manifests: &BTreeSet<Digest>) -> Result<Opened, Error> {
        let digests: Vec<String> = manifests.iter().map(Digest::to_string).collect();
        let of_them = Condition::any()
            .add(manifest::Column::Digest.is_in(digests.clone()))
            .add(manifest::Column::Subject.is_in(digests));
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .filter(of_them)
            .all(self.store.read())
            .await?;
        let mut opened = Opened::default();
        for digest in rows.into_iter().filter_map(|row| row.digest.parse::<Digest>().ok()) {
            let content = self.contents.get(&self.blobs, &digest).await?;
            let is_open = match &content.base {
                Base::None => true,
                Base::Of(base) => manifests.contains(base),
                Base::Unsaid => false,
            };
            if is_open {
                opened.manifests.insert(digest, content);
            }
        }
        Ok(opened)
    }

    /// The manifests of those versions of the bundle `name` that are meant: by their tags, or by what they
    /// say of themselves, as before it is released one may have no tag.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn versions(
        &self,
        name: &str,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<Digest>, Error> {
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
        Ok(manifests)
    }

    /// The blobs that a manifest names, if it is here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn named_by(&self, manifest: &Digest) -> Result<Vec<Digest>, Error> {
        let content = self.contents.get(&self.blobs, manifest).await?;
        Ok(content.blobs.iter().copied().collect())
    }
}
