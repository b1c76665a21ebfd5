//! What is here and belongs to nothing goes; what should be here and is not, or has rotted, is told.

use crate::artifact::Artifacts;
use crate::artifact::parts::parts;
use crate::artifact::scrub::Scrubbed;
use crate::bounds::{SCRUBBED_BYTES, SWEEP_EVERY, UNNAMED_BLOB_KEPT};
use crate::error::{Error, chain};
use crate::store::tables::{document, manifest};
use lineside_bundle::{Digest, MANIFEST_BYTES_MAX};
use sea_orm::EntityTrait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What manifests name.
#[derive(Default)]
struct Named {
    /// The manifests and their blobs, each with a name and tag by which it can be pushed.
    blobs: BTreeMap<Digest, String>,
    /// The manifests among them that cannot be read, and why not.
    unreadable: BTreeMap<Digest, String>,
}

impl Artifacts {
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
        let named = self.and_mentioned(blobs.into_keys().collect()).await?;
        let blobs = self.blobs.clone();
        // A folder with many files takes its time, and whoever waits for the lock waits anyhow.
        let swept = tokio::task::spawn_blocking(move || blobs.sweep_unnamed(&named, age)).await;
        swept.unwrap_or_else(|_| Ok(0))
    }

    /// Every digest that a manifest or a signed document names.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::File`].
    pub async fn wanted(&self) -> Result<BTreeSet<Digest>, Error> {
        let named = self.named().await?.blobs;
        self.and_mentioned(named.into_keys().collect()).await
    }

    async fn and_mentioned(&self, mut named: BTreeSet<Digest>) -> Result<BTreeSet<Digest>, Error> {
        for row in document::Entity::find().all(self.store.read()).await? {
            named.extend(mentioned(&row.bytes));
        }
        Ok(named)
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
    use crate::access::Publisher;
    use crate::artifact::Blobs;
    use crate::audit::By;
    use crate::store::DataFolder;
    use axum::body::Body;
    use lineside_bundle::referrer::{EMPTY, Referrer, recipe};
    use lineside_bundle::{BundleName, ReleaseId};
    use sea_orm::ActiveValue::Set;
    use std::sync::Arc;

    async fn put(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        artifacts.blobs.put(&digest, Body::from(bytes.to_vec())).await.unwrap();
        digest
    }

    #[tokio::test]
    async fn blobs_that_no_manifest_names_are_swept_and_none_where_one_cannot_be_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let store = Arc::new(crate::store::testing::store(&folder.join("")).await);
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
        writing.changes_without_entry("a test");
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
        let accepted = artifacts
            .put(&Publisher::House(By::ADMINISTRATOR), &name, "delta", None, bytes)
            .await
            .unwrap();
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
        artifacts
            .remove(&By::ADMINISTRATOR, "turbine", &accepted.digest.to_string())
            .await
            .unwrap();
        assert_eq!(artifacts.sweep(Duration::ZERO).await.unwrap(), 2);
    }
}
