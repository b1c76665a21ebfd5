//! Manifests: which blobs make an artifact, by name and tag.

use crate::access::{Holder, Publisher};
use crate::artifact::parts::{Contents, parts};
use crate::artifact::scrub::Scrubbed;
use crate::artifact::{Blobs, Outstanding};
use crate::bounds::{REFERRERS_MAX, SCRUBBED_BYTES, SWEEP_EVERY, UNNAMED_BLOB_KEPT};
use crate::error::{Error, chain};
use crate::store::tables::{document, manifest};
use crate::store::{Store, Writing};
use axum::body::Body;
use lineside_bundle::referrer::{INDEX_TYPE, Listed, Referrer, Referrers};
use lineside_bundle::{
    BundleName, BundleVersion, Descriptor, Digest, MANIFEST_TYPE, OciManifest, ReleaseId,
};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

/// Largest manifest in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Blobs and manifests.
#[derive(Clone)]
pub(crate) struct Artifacts {
    /// The blobs.
    pub blobs: Blobs,
    /// Deltas that are still to be made.
    pub deltas: Outstanding,
    store: Arc<Store>,
    /// Held by whoever looks whether blobs are here that a manifest is about to name; by who removes
    /// blobs that none names, alone.
    naming: Arc<RwLock<()>>,
    contents: Contents,
    /// Manifests, and blobs that they name, that were not here when somebody last looked; each with
    /// what cannot be had for it.
    missing: Arc<Mutex<BTreeMap<Digest, String>>>,
}

/// What manifests name.
#[derive(Default)]
struct Named {
    /// The manifests and their blobs, each with a name and tag by which it can be pushed.
    blobs: BTreeMap<Digest, String>,
    /// The manifests among them that cannot be read, and why not.
    unreadable: BTreeMap<Digest, String>,
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
    /// tag or digest. Its blobs must be here, and be his who names them; what it refers to may come later.
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
        if let Publisher::Role(holder) = by {
            self.check_own(holder, name, &parts.blobs).await?;
        }
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
            media_type: Set(MANIFEST_TYPE.to_owned()),
            subject: Set(parts.subject.map(|subject| subject.to_string())),
        };
        let mut rows = vec![row(digest.to_string())];
        if reference != digest.to_string() {
            rows.push(row(reference.to_owned()));
        }
        let writing = self.store.write().await?;
        set(&writing, rows).await?;
        writing.commit().await?;
        Ok(Accepted { digest, subject: parts.subject })
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
    pub async fn remove(&self, name: &str, reference: &str) -> Result<(), Error> {
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
        writing.commit().await
    }

    /// Removes blobs that no manifest and no signed document has named for `age`. Returns how many.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::File`]: where a manifest cannot be read, nothing is removed.
    pub async fn sweep(&self, age: Duration) -> Result<usize, Error> {
        let _alone = self.naming.write().await;
        let Named { blobs, unreadable } = self.named().await?;
        if let Some((manifest, why)) = unreadable.first_key_value() {
            let place = &blobs[manifest];
            return Err(Error::Conflict(format!("manifest {place} cannot be read: {why}")));
        }
        let mut named: BTreeSet<Digest> = blobs.into_keys().collect();
        for row in document::Entity::find().all(self.store.read()).await? {
            named.extend(mentioned(&row.bytes));
        }
        let blobs = self.blobs.clone();
        // A folder with many files takes its time, and whoever waits for the lock waits anyhow.
        let swept = tokio::task::spawn_blocking(move || blobs.sweep_unnamed(&named, age)).await;
        swept.unwrap_or_else(|_| Ok(0))
    }

    async fn named(&self) -> Result<Named, Error> {
        let mut rows = manifest::Entity::find().all(self.store.read()).await?;
        // Whoever has to push it again knows it by its version, if it has one.
        rows.sort_by_key(|row| row.reference.parse::<Digest>().is_ok());
        let mut named = Named::default();
        for row in rows {
            let place = format!("{}:{}", row.name, row.reference);
            let digest: Digest = row.digest.parse().map_err(|error| {
                Error::Conflict(format!("manifest {place} cannot be read: {error}"))
            })?;
            if named.blobs.contains_key(&digest) {
                continue;
            }
            named.blobs.insert(digest, place.clone());
            let parts = match self.blobs.read(&digest, MANIFEST_BYTES_MAX).await? {
                Some(bytes) => parts(&bytes),
                None => Err("it is not here".into()),
            };
            match parts {
                Ok(parts) => {
                    for blob in parts.blobs {
                        named.blobs.entry(blob.digest).or_insert_with(|| place.clone());
                    }
                }
                Err(why) => {
                    named.unreadable.insert(digest, why);
                }
            }
        }
        Ok(named)
    }

    /// Looks what of the manifests and their blobs is not here.
    async fn look_for_missing(&self) -> Result<(), Error> {
        let mut missing = self.named().await?.blobs;
        let mut here = BTreeSet::new();
        for digest in missing.keys() {
            if self.blobs.size(digest).await.is_some() {
                here.insert(*digest);
            }
        }
        missing.retain(|digest, _| !here.contains(digest));
        *self.missing() = missing;
        Ok(())
    }

    /// What cannot be given to devices, a sentence for each artifact.
    pub async fn trouble(&self) -> Vec<String> {
        let missing = self.missing().clone();
        let mut places: BTreeMap<String, u64> = BTreeMap::new();
        for (digest, place) in missing {
            // It may have been pushed again.
            if self.blobs.size(&digest).await.is_none() {
                *places.entry(place).or_default() += 1;
            }
        }
        let sentence = |(place, count)| {
            format!(
                "{place} is not whole here (files missing or rotten: {count}): push it again, as \
                 `lineside release` does"
            )
        };
        places.into_iter().map(sentence).collect()
    }

    fn missing(&self) -> MutexGuard<'_, BTreeMap<Digest, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at so many blobs after `last` whether they have rotted. Returns where to go on.
    async fn scrub(&self, last: Option<Digest>) -> Result<Option<Digest>, Error> {
        // Asked before, because afterwards a manifest may be missing that was here.
        let named = self.named().await?.blobs;
        let blobs = self.blobs.clone();
        let scrub = move || blobs.scrub(last, SCRUBBED_BYTES);
        let scrubbed = tokio::task::spawn_blocking(scrub).await;
        let scrubbed = scrubbed.unwrap_or_else(|_| Ok(Scrubbed::default()))?;
        for digest in scrubbed.rotten {
            let of = named.get(&digest).map_or("nothing that is here", String::as_str);
            tracing::error!(
                "blob {digest} of {of} has rotted on this disk and is removed: push that again, \
                 as `lineside release` does"
            );
        }
        Ok(scrubbed.last)
    }

    /// Sweeps and scrubs now and from time to time. Must be called within a tokio runtime.
    pub fn keep_swept(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut last = None;
            loop {
                match self.sweep(UNNAMED_BLOB_KEPT).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!("{count} blobs removed that no manifest names"),
                    Err(error) => tracing::warn!("blobs are not swept: {}", chain(&error)),
                }
                match self.scrub(last).await {
                    Ok(next) => last = next,
                    Err(error) => tracing::warn!("blobs are not looked at: {}", chain(&error)),
                }
                if let Err(error) = self.look_for_missing().await {
                    tracing::warn!("it is not known what is missing: {}", chain(&error));
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        })
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

    /// Whether a manifest or blob belongs to the bundle `name`, whatever version of it.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn belongs(&self, name: &str, blob: &Digest) -> Result<bool, Error> {
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .all(self.store.read())
            .await?;
        self.any_names(rows, blob).await
    }

    /// Whether one of these manifests is this blob, or names it.
    async fn any_names(&self, rows: Vec<manifest::Model>, blob: &Digest) -> Result<bool, Error> {
        let digests: BTreeSet<Digest> =
            rows.iter().filter_map(|row| row.digest.parse().ok()).collect();
        if digests.contains(blob) {
            return Ok(true);
        }
        for digest in digests {
            if self.contents.get(&self.blobs, &digest).await?.contains(blob) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses blobs that who names them has neither brought himself nor had in the bundle before. It says
    /// the same as of one that is not here.
    async fn check_own(
        &self,
        holder: &Holder,
        name: &BundleName,
        blobs: &[Descriptor],
    ) -> Result<(), Error> {
        for blob in blobs {
            let is_his = self.blobs.has_brought(holder, &blob.digest)
                || self.belongs(name.as_str(), &blob.digest).await?;
            if !is_his {
                return Err(not_here(name.as_str(), blob));
            }
        }
        Ok(())
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

/// Every digest in a document, whatever that says of it: files of a site are blobs without a manifest.
fn mentioned(document: &[u8]) -> impl Iterator<Item = Digest> {
    let words = document.split(|byte| !byte.is_ascii_hexdigit());
    let texts = words.filter_map(|word| std::str::from_utf8(word).ok());
    texts.filter_map(|text| format!("sha256:{text}").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DataFolder;
    use lineside_bundle::referrer::{EMPTY, recipe};

    async fn put(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        artifacts.blobs.put(&digest, Body::from(bytes.to_vec())).await.unwrap();
        digest
    }

    #[tokio::test]
    async fn blobs_that_no_manifest_names_are_swept_and_none_where_one_cannot_be_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let store = Arc::new(Store::open(&folder.database().unwrap()).await.unwrap());
        let artifacts = Artifacts::new(Blobs::open(&folder).await.unwrap(), store);
        let [made, unnamed] = [put(&artifacts, b"made").await, put(&artifacts, b"unnamed").await];
        let policy = put(&artifacts, b"policy").await;
        let row = document::ActiveModel {
            kind: Set("role/site-mill".into()),
            version: Set(1),
            bytes: Set(format!("{{\"sha256\":\"{}\"}}", policy.hex()).into_bytes()),
            accepted_unix_ms: Set(0),
        };
        let writing = artifacts.store.write().await.unwrap();
        document::Entity::insert(row).exec_without_returning(&writing.transaction).await.unwrap();
        writing.commit().await.unwrap();
        put(&artifacts, EMPTY).await;
        let name: BundleName = "turbine".parse().unwrap();
        let release = ReleaseId {
            name: name.clone(),
            version: "1".parse().unwrap(),
            digest: unnamed,
            size: 7,
        };
        // What a manifest refers to it does not keep: that has to have a name of its own.
        let layers = vec![recipe(made, 4, &made, &made)];
        let bytes = serde_json::to_vec(&Referrer::delta(&release, &release, layers)).unwrap();
        let accepted =
            artifacts.put(&Publisher::Administrator, &name, "delta", None, bytes).await.unwrap();
        assert_eq!(artifacts.sweep(Duration::from_secs(1_000)).await.unwrap(), 0);
        assert_eq!(artifacts.sweep(Duration::ZERO).await.unwrap(), 1);
        let kept =
            [(made, true), (policy, true), (Digest::of(EMPTY), true), (accepted.digest, true)];
        for (digest, is_there) in kept.into_iter().chain([(unnamed, false)]) {
            assert_eq!(artifacts.blobs.size(&digest).await.is_some(), is_there, "{digest}");
        }

        let path = folder.join("blobs/sha256").join(accepted.digest.hex());
        std::fs::remove_file(&path).unwrap();
        let error = artifacts.sweep(Duration::ZERO).await.unwrap_err().to_string();
        assert!(error.contains("turbine:") && error.contains("not here"), "{error}");
        assert!(artifacts.blobs.size(&made).await.is_some());
        artifacts.remove("turbine", &accepted.digest.to_string()).await.unwrap();
        assert_eq!(artifacts.sweep(Duration::ZERO).await.unwrap(), 2);
    }
}
