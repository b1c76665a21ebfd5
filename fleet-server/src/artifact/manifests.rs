//! Manifests: which blobs make an artifact, by name and tag.

use crate::artifact::Blobs;
use crate::bounds::REFERRERS_MAX;
use crate::error::Error;
use crate::store::Store;
use crate::store::tables::manifest;
use axum::body::Body;
use lineside_bundle::referrer::{INDEX_TYPE, Listed, Referrer, Referrers};
use lineside_bundle::{BundleName, BundleVersion, Descriptor, Digest, OciManifest, ReleaseId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::Notify;

/// Largest manifest in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Blobs and manifests.
#[derive(Clone)]
pub(crate) struct Artifacts {
    /// The blobs.
    pub blobs: Blobs,
    /// Rung when releases have been accepted: there may be deltas to be made.
    pub released: Arc<Notify>,
    store: Arc<Store>,
}

/// A manifest that was accepted.
pub(crate) struct Accepted {
    pub digest: Digest,
    /// What it refers to, if it does.
    pub subject: Option<Digest>,
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
        Artifacts { blobs, released: Arc::default(), store }
    }

    /// Takes the manifest of a bundle, or of an artifact of any type that refers to another one, by
    /// tag or digest. Its blobs must be here; what it refers to may come later.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is neither, if blobs are missing, or if `reference` is a digest and
    /// not its own; [`Error::TooLarge`] if too many refer to the same one.
    pub async fn put(
        &self,
        name: &BundleName,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Accepted, Error> {
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
        let parts = parts(&bytes).map_err(|error| Error::Refused(format!("{name}: {error}")))?;
        self.check_blobs(name.as_str(), &parts.blobs).await?;
        if let Some(subject) = &parts.subject {
            let others = self.referring(name.as_str(), subject).await?;
            let known = others.iter().any(|row| row.digest == digest.to_string());
            if !known && others.len() >= REFERRERS_MAX {
                return Err(Error::TooLarge(format!(
                    "{name}: at most {REFERRERS_MAX} artifacts may refer to {subject}"
                )));
            }
        }
        self.blobs.put(&digest, Body::from(bytes)).await?;
        let row = |reference: String| manifest::ActiveModel {
            name: Set(name.to_string()),
            reference: Set(reference),
            digest: Set(digest.to_string()),
            media_type: Set(media_type.to_owned()),
            subject: Set(parts.subject.map(|subject| subject.to_string())),
        };
        let mut rows = vec![row(digest.to_string())];
        if reference != digest.to_string() {
            rows.push(row(reference.to_owned()));
        }
        let writing = self.store.write().await?;
        let key = [manifest::Column::Name, manifest::Column::Reference];
        let values =
            [manifest::Column::Digest, manifest::Column::MediaType, manifest::Column::Subject];
        manifest::Entity::insert_many(rows)
            .on_conflict(OnConflict::columns(key).update_columns(values).to_owned())
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.commit().await?;
        Ok(Accepted { digest, subject: parts.subject })
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

    /// Whether a blob belongs to the manifest of `name` with this digest: it is named there, or it is
    /// a manifest that refers to it, or is named in one.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn names(&self, name: &str, manifest: &Digest, blob: &Digest) -> Result<bool, Error> {
        if self.names_itself(name, manifest, blob).await? {
            return Ok(true);
        }
        for row in self.referring(name, manifest).await? {
            let Ok(referrer) = row.digest.parse() else { continue };
            if referrer == *blob || self.names_itself(name, &referrer, blob).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn names_itself(
        &self,
        name: &str,
        manifest: &Digest,
        blob: &Digest,
    ) -> Result<bool, Error> {
        let stored = match self.get(name, &manifest.to_string()).await {
            Ok(stored) => stored,
            Err(Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let parts = parts(&stored.bytes);
        Ok(parts.is_ok_and(|parts| parts.blobs.iter().any(|named| named.digest == *blob)))
    }

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
    async fn referring(&self, name: &str, subject: &Digest) -> Result<Vec<manifest::Model>, Error> {
        let mut rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .filter(manifest::Column::Subject.eq(subject.to_string()))
            .order_by_asc(manifest::Column::Digest)
            .all(self.store.read())
            .await?;
        rows.dedup_by(|one, other| one.digest == other.digest);
        Ok(rows)
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
        let parsed = OciManifest::parse(&stored.bytes)
            .map_err(|error| Error::Refused(format!("{release}: {error}")))?;
        self.check_blobs(&release.to_string(), &parsed.blobs().cloned().collect::<Vec<_>>()).await
    }

    async fn check_blobs(&self, name: &str, blobs: &[Descriptor]) -> Result<(), Error> {
        for blob in blobs {
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

/// What matters of a manifest here.
struct Parts {
    blobs: Vec<Descriptor>,
    subject: Option<Digest>,
}

/// Reads the manifest of a bundle, or of what refers to something.
fn parts(bytes: &[u8]) -> Result<Parts, String> {
    /// Whether a manifest refers to another one.
    #[derive(Deserialize)]
    struct Peek {
        subject: Option<serde_json::Value>,
    }
    let refers = serde_json::from_slice(bytes).is_ok_and(|peek: Peek| peek.subject.is_some());
    if refers {
        let referrer = Referrer::parse(bytes)?;
        let blobs = referrer.blobs().cloned().collect();
        return Ok(Parts { blobs, subject: Some(referrer.subject.digest) });
    }
    let bundle = OciManifest::parse(bytes)?;
    Ok(Parts { blobs: bundle.blobs().cloned().collect(), subject: None })
}
