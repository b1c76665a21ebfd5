//! Manifests: which blobs make an artifact, by name and tag.

use crate::artifact::Blobs;
use crate::error::Error;
use crate::store::Store;
use crate::store::tables::manifest;
use axum::body::Body;
use lineside_bundle::{BundleName, BundleVersion, Digest, OciManifest, ReleaseId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};
use std::sync::Arc;

/// Largest manifest in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Blobs and manifests.
#[derive(Clone)]
pub(crate) struct Artifacts {
    /// The blobs.
    pub blobs: Blobs,
    store: Arc<Store>,
}

/// A manifest as it was stored.
pub(crate) struct StoredManifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Artifacts {
    /// The artifacts of a data folder.
    pub fn new(blobs: Blobs, store: Arc<Store>) -> Artifacts {
        Artifacts { blobs, store }
    }

    /// Takes the manifest of a bundle, by tag or digest. Its blobs must be here.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is no manifest of a bundle, if blobs are missing, or if `reference`
    /// is a digest and not its own.
    pub async fn put(
        &self,
        name: &BundleName,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        match reference.parse::<Digest>() {
            Ok(expected) if expected != digest => {
                return Err(Error::Refused(format!(
                    "the manifest has the digest {digest}, not {expected}"
                )));
            }
            Ok(_) => {}
            Err(_) => {
                let tag: Result<BundleVersion, _> = reference.parse();
                tag.map_err(|error| Error::Malformed(format!("tag: {error}")))?;
            }
        }
        self.check_blobs(name.as_str(), &bytes).await?;
        self.blobs.put(&digest, Body::from(bytes)).await?;
        let row = |reference: String| manifest::ActiveModel {
            name: Set(name.to_string()),
            reference: Set(reference),
            digest: Set(digest.to_string()),
            media_type: Set(media_type.to_owned()),
        };
        let mut rows = vec![row(digest.to_string())];
        if reference != digest.to_string() {
            rows.push(row(reference.to_owned()));
        }
        let writing = self.store.write().await?;
        let key = [manifest::Column::Name, manifest::Column::Reference];
        let values = [manifest::Column::Digest, manifest::Column::MediaType];
        manifest::Entity::insert_many(rows)
            .on_conflict(OnConflict::columns(key).update_columns(values).to_owned())
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.commit().await?;
        Ok(digest)
    }

    /// The manifest of `name` by tag or digest.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn get(&self, name: &str, reference: &str) -> Result<StoredManifest, Error> {
        let missing = || {
            let shown: String = format!("{name}:{reference}").chars().take(200).collect();
            Error::Missing(format!("there is no manifest {shown}"))
        };
        let row = manifest::Entity::find_by_id((name.to_owned(), reference.to_owned()))
            .one(self.store.read())
            .await?
            .ok_or_else(missing)?;
        let digest: Digest = row.digest.parse().map_err(|_| missing())?;
        let bytes = self.blobs.read(&digest, MANIFEST_BYTES_MAX).await?.ok_or_else(missing)?;
        Ok(StoredManifest { digest, media_type: row.media_type, bytes })
    }

    /// Whether the manifest of `name` with this digest names a blob.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn names(&self, name: &str, manifest: &Digest, blob: &Digest) -> Result<bool, Error> {
        let stored = match self.get(name, &manifest.to_string()).await {
            Ok(stored) => stored,
            Err(Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let parsed = OciManifest::parse(&stored.bytes);
        Ok(parsed.is_ok_and(|parsed| parsed.blobs().any(|named| named.digest == *blob)))
    }

    /// Whether all of a release is here.
    ///
    /// # Errors
    /// [`Error::Refused`] names what is missing.
    pub async fn complete(&self, release: &ReleaseId) -> Result<(), Error> {
        let missing = || {
            Error::Refused(format!(
                "{release}: its manifest {} is not on this server: push the bundle first, \
                 as `lineside release` does",
                release.digest
            ))
        };
        // By name too, because that is how devices ask for it.
        let name = release.name.as_str();
        let stored = match self.get(name, &release.digest.to_string()).await {
            Ok(stored) => stored,
            Err(Error::Missing(_)) => return Err(missing()),
            Err(error) => return Err(error),
        };
        if stored.bytes.len() as u64 != release.size {
            return Err(Error::Refused(format!(
                "{release}: its manifest has {} bytes, the list of releases says {}",
                stored.bytes.len(),
                release.size
            )));
        }
        self.check_blobs(&release.to_string(), &stored.bytes).await
    }

    async fn check_blobs(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let parsed = OciManifest::parse(bytes)
            .map_err(|error| Error::Refused(format!("{name}: {error}")))?;
        for blob in parsed.blobs() {
            match self.blobs.size(&blob.digest).await {
                Some(size) if size == blob.size => {}
                Some(size) => {
                    return Err(Error::Refused(format!(
                        "{name}: blob {} has {size} bytes, the manifest says {}",
                        blob.digest, blob.size
                    )));
                }
                None => {
                    return Err(Error::Refused(format!(
                        "{name}: blob {} ({}) is not on this server: push it first",
                        blob.digest, blob.media_type
                    )));
                }
            }
        }
        Ok(())
    }
}
