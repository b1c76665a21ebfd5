//! Manifests: which blobs make an artifact, by name and tag.

use crate::access::Publisher;
use crate::artifact::parts::{Contents, parts};
use crate::artifact::{Blobs, Outstanding};
use crate::audit::{By, did};
use crate::bounds::{REFERRERS_MAX, ROLE_ROWS_PUSHED_MAX};
use crate::error::Error;
use crate::store::tables::manifest;
use crate::store::{Store, Writing};
use axum::body::Body;
use lineside_audit::{Action, Change, Hash, Value};
use lineside_bundle::{
    BundleName, BundleVersion, Descriptor, Digest, MANIFEST_BYTES_MAX, MANIFEST_TYPE, OciManifest,
    ReleaseId,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::RwLock;

/// Blobs and manifests.
#[derive(Clone)]
pub(crate) struct Artifacts {
    /// The blobs.
    pub blobs: Blobs,
    /// Deltas that are still to be made.
    pub deltas: Outstanding,
    pub(super) store: Arc<Store>,
    /// Held by whoever looks whether blobs are here that a manifest is about to name; by who removes
    /// blobs that none names, alone.
    pub(super) naming: Arc<RwLock<()>>,
    pub(super) contents: Contents,
    /// Manifests, and blobs that they name, that were not here when somebody last looked; each with
    /// what cannot be had for it.
    pub(super) missing: Arc<Mutex<BTreeMap<Digest, String>>>,
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
        let (naming, missing) = (Arc::default(), Arc::default());
        let contents = Contents::default();
        Artifacts { blobs, deltas: Outstanding::new(), store, naming, contents, missing }
    }

    /// Takes the manifest of a bundle, or of an artifact of any type that refers to another one, by
    /// tag or digest. Its blobs must be here; what it refers to may come later. That they are his who names
    /// them has been looked at before.
    /// `signed` is what the tag means where it is the version of a release.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is neither, if blobs are missing, or if `reference` is a digest and
    /// not its own; [`Error::Conflict`] if it is not what was signed; [`Error::TooLarge`] if too many
    /// refer to the same one.
    pub async fn put(
        &self,
        by: &Publisher,
        name: &BundleName,
        reference: &str,
        signed: Option<Digest>,
        bytes: Vec<u8>,
    ) -> Result<Accepted, Error> {
        self.put_as(&By::from(by), by, name, reference, signed, bytes).await
    }

    /// As [`Artifacts::put`], where it is another's doing than his for whom it is stored.
    ///
    /// # Errors
    /// As there.
    pub async fn put_as(
        &self,
        who: &By,
        by: &Publisher,
        name: &BundleName,
        reference: &str,
        signed: Option<Digest>,
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
        if let Some(signed) = signed.filter(|signed| *signed != digest) {
            return Err(Error::Conflict(format!(
                "{name}/{reference} is released as {signed}: push another one by another tag"
            )));
        }
        let _naming = self.naming.read().await;
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
        if matches!(by, Publisher::Role(_)) {
            self.check_rows(name, &digest).await?;
        }
        self.blobs.put_by(by, &digest, Body::from(bytes)).await?;
        let row = |reference: String| manifest::ActiveModel {
            name: Set(name.to_string()),
            reference: Set(reference),
            digest: Set(digest.to_string()),
            media_type: Set(MANIFEST_TYPE.to_owned()),
            subject: Set(parts.subject.map(|subject| subject.to_string())),
        };
        let mut rows = vec![row(digest.to_string())];
        if reference != digest.to_string() {
            rows.push(row(reference.to_owned()));
        }
        let writing = self.store.write().await?;
        set(&writing, rows).await?;
        let change = did(who, Action::ArtifactPut, "artifact", &format!("{name}:{reference}"));
        let new = Some(Value::Digest(Hash(digest.bytes())));
        writing.record(Change { new, ..change });
        writing.commit().await?;
        Ok(Accepted { digest, subject: parts.subject })
    }

    /// Refuses one more manifest of a bundle to the holder of a role's token where there are many already.
    async fn check_rows(&self, name: &BundleName, manifest: &Digest) -> Result<(), Error> {
        let of_name = manifest::Entity::find().filter(manifest::Column::Name.eq(name.as_str()));
        let rows = of_name.clone().count(self.store.read()).await?;
        let same = of_name.filter(manifest::Column::Digest.eq(manifest.to_string()));
        if rows < ROLE_ROWS_PUSHED_MAX || same.one(self.store.read()).await?.is_some() {
            return Ok(());
        }
        Err(Error::TooLarge(format!(
            "{name} has {rows} manifests and tags already, and by the token of a role no more come to them: \
             have the administrator delete what nobody needs any more"
        )))
    }

    /// Has a release's version, as a tag, mean what was signed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tag(&self, writing: &Writing<'_>, release: &ReleaseId) -> Result<(), Error> {
        let row = manifest::ActiveModel {
            name: Set(release.name.to_string()),
            reference: Set(release.version.to_string()),
            digest: Set(release.digest.to_string()),
            media_type: Set(MANIFEST_TYPE.to_owned()),
            subject: Set(None),
        };
        set(writing, vec![row]).await
    }

    /// Tags of `name` in their order: at most `count`, those after `last`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is nothing of that name.
    pub async fn tags(
        &self,
        name: &str,
        count: u64,
        last: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let of_name = manifest::Entity::find().filter(manifest::Column::Name.eq(name));
        if of_name.clone().one(self.store.read()).await?.is_none() {
            let shown: String = name.chars().take(100).collect();
            return Err(Error::Missing(format!("there is nothing of the name {shown}")));
        }
        let rows = of_name
            // No tag has a colon in it.
            .filter(manifest::Column::Reference.not_like("sha256:%"))
            .filter(manifest::Column::Reference.gt(last.unwrap_or_default()))
            .order_by_asc(manifest::Column::Reference)
            .limit(count)
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(|row| row.reference).collect())
    }

    /// Takes a tag away, or a manifest with all its tags. Its blobs go when no other names them.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove(&self, by: &By, name: &str, reference: &str) -> Result<(), Error> {
        let column = match reference.parse::<Digest>() {
            Ok(_) => manifest::Column::Digest,
            Err(_) => manifest::Column::Reference,
        };
        let writing = self.store.write().await?;
        let removed = manifest::Entity::delete_many()
            .filter(manifest::Column::Name.eq(name))
            .filter(column.eq(reference))
            .exec(&writing.transaction)
            .await?;
        if removed.rows_affected == 0 {
            let shown: String = format!("{name}:{reference}").chars().take(200).collect();
            return Err(Error::Missing(format!("there is no manifest {shown}")));
        }
        let place = format!("{name}:{reference}");
        writing.record(did(by, Action::ArtifactRemoved, "artifact", &place));
        writing.commit().await
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

    /// The blobs that a manifest names which somebody brings for `name`.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is none.
    pub fn named_in(name: &BundleName, bytes: &[u8]) -> Result<Vec<Digest>, Error> {
        let parts = parts(bytes).map_err(|error| Error::Refused(format!("{name}: {error}")))?;
        Ok(parts.blobs.into_iter().map(|blob| blob.digest).collect())
    }

    /// Bytes of a release, its manifest among them; 0 if that is not here or cannot be read.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Database`].
    pub async fn bytes(&self, release: &ReleaseId) -> Result<u64, Error> {
        let stored = match self.get(release.name.as_str(), &release.digest.to_string()).await {
            Ok(stored) => stored,
            Err(Error::Missing(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let blobs = OciManifest::parse(&stored.bytes)
            .map(|parsed| parsed.blobs().fold(0_u64, |sum, blob| sum.saturating_add(blob.size)));
        Ok(blobs.map_or(0, |blobs| blobs.saturating_add(release.size)))
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
                None => return Err(not_here(name, blob)),
            }
        }
        Ok(())
    }
}

fn not_here(name: &str, blob: &Descriptor) -> Error {
    let Descriptor { digest, media_type, .. } = blob;
    Error::Refused(format!(
        "{name}: blob {digest} ({media_type}) is not on this server: push it first"
    ))
}

/// Writes what names and references mean, in place of what they meant.
async fn set(writing: &Writing<'_>, rows: Vec<manifest::ActiveModel>) -> Result<(), Error> {
    let key = [manifest::Column::Name, manifest::Column::Reference];
    let values = [manifest::Column::Digest, manifest::Column::MediaType, manifest::Column::Subject];
    manifest::Entity::insert_many(rows)
        .on_conflict(OnConflict::columns(key).update_columns(values).to_owned())
        .exec_without_returning(&writing.transaction)
        .await?;
    Ok(())
}
