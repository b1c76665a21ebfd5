//! What refers to a manifest, such as deltas to it.

use crate::artifact::Artifacts;
use crate::error::Error;
use crate::store::tables::manifest;
use lineside_bundle::referrer::{INDEX_TYPE, Listed, Referrer, Referrers};
use lineside_bundle::{Digest, MANIFEST_BYTES_MAX};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

impl Artifacts {
    /// What refers to a manifest of `name`; with `kind` only what is of that type.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn referrers(
        &self,
        name: &str,
        subject: &Digest,
        kind: Option<&str>,
    ) -> Result<Referrers, Error> {
        let mut manifests = Vec::new();
        for row in self.referring(name, subject).await? {
            let Ok(digest) = row.digest.parse() else { continue };
            let Some(bytes) = self.blobs.read(&digest, MANIFEST_BYTES_MAX).await? else { continue };
            let Ok(referrer) = Referrer::parse(&bytes) else { continue };
            if kind.is_none_or(|kind| kind == referrer.kind()) {
                manifests.push(Listed {
                    media_type: row.media_type,
                    digest,
                    size: bytes.len() as u64,
                    artifact_type: referrer.kind().to_owned(),
                    annotations: referrer.annotations,
                });
            }
        }
        Ok(Referrers { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests })
    }

    /// The rows of what refers to a manifest, each once though it may have tags as well.
    pub(super) async fn referring(
        &self,
        name: &str,
        subject: &Digest,
    ) -> Result<Vec<manifest::Model>, Error> {
        let mut rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .filter(manifest::Column::Subject.eq(subject.to_string()))
            .order_by_asc(manifest::Column::Digest)
            .all(self.store.read())
            .await?;
        rows.dedup_by(|one, other| one.digest == other.digest);
        Ok(rows)
    }
}
