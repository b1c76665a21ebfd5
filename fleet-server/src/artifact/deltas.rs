//! Deltas between releases, made in the background: recipes by which a device makes a blob of the
//! new release out of one that it has, kept as OCI artifacts that refer to the release's manifest.
//!
//! Nothing depends on them: a device that finds none, or one that is of no use to it, fetches the blob
//! itself. It waits a little for those that are being made.

use crate::access::Publisher;
use crate::artifact::Artifacts;
use crate::audit::By;
use crate::bounds::{
    DELTA_ATTEMPTS_MAX, DELTA_BASES_MAX, DELTA_BLOB_BYTES_MAX, DELTA_BLOB_BYTES_MIN,
    DELTA_TARGETS_MAX, RECIPE_PERCENT_MAX,
};
use crate::error::{Error, chain};
use crate::release::SignedDocuments;
use crate::store::Store;
use crate::store::tables::delta;
use axum::body::Body;
use lineside_bundle::referrer::{EMPTY, Referrer, recipe};
use lineside_bundle::{Descriptor, Digest, Hasher, OciManifest, ReleaseId, TITLE};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The least claim on the processor: whoever asks the server something goes first.
const LOWEST_PRIORITY: i32 = 19;

/// Who makes deltas.
pub(crate) struct Deltas {
    artifacts: Artifacts,
    documents: SignedDocuments,
    store: Arc<Store>,
}

impl Deltas {
    /// Makes deltas from now on: what was not made before the last stop, and what each list of
    /// releases brings. Must be called within a tokio runtime.
    pub fn start(
        artifacts: Artifacts,
        documents: SignedDocuments,
        store: Arc<Store>,
    ) -> JoinHandle<()> {
        let outstanding = artifacts.deltas.clone();
        let deltas = Deltas { artifacts, documents, store };
        tokio::spawn(async move {
            loop {
                let look = outstanding.next().await;
                let made = match deltas.due().await {
                    Ok(due) => {
                        let targets = due.iter().map(|(target, _)| target.digest).collect();
                        outstanding.are_to(targets, look);
                        deltas.make_all(due).await
                    }
                    Err(error) => {
                        outstanding.are_to(BTreeSet::new(), look);
                        Err(error)
                    }
                };
                if let Err(error) = made {
                    tracing::warn!("deltas are not made for now: {}", chain(&error));
                }
            }
        })
    }

    /// Makes deltas, one after the other: to each release from those with it.
    async fn make_all(&self, due: Vec<(ReleaseId, Vec<ReleaseId>)>) -> Result<(), Error> {
        let mut made = Ok(());
        for (target, bases) in due {
            for base in bases {
                if made.is_ok() {
                    made = self.make_one(&base, &target).await;
                }
            }
            // Whatever has come of them, nobody need wait for more.
            self.artifacts.deltas.done(&target.digest);
        }
        made
    }

    async fn make_one(&self, base: &ReleaseId, target: &ReleaseId) -> Result<(), Error> {
        // Counted before anything is done: one that takes the server down with it must not do so for
        // ever.
        let attempts = self.attempts(base, target).await?.unwrap_or(DELTA_ATTEMPTS_MAX);
        self.note(base, target, attempts + 1, false).await?;
        match self.make(base, target).await {
            Ok(Some(saved)) => tracing::info!("delta {base} to {target}: {saved}"),
            Ok(None) => tracing::debug!("a delta {base} to {target} would save nothing"),
            Err(error) => {
                // Tried again at the next start, or with the next release.
                tracing::warn!("delta {base} to {target}: {}", chain(&error));
                return Ok(());
            }
        }
        self.note(base, target, 0, true).await
    }

    /// The pairs of which no delta was made yet, those with the same target together.
    async fn due(&self) -> Result<Vec<(ReleaseId, Vec<ReleaseId>)>, Error> {
        let mut due: Vec<(ReleaseId, Vec<ReleaseId>)> = Vec::new();
        for (base, target) in self.pairs().await? {
            if self.attempts(&base, &target).await?.is_none() {
                continue;
            }
            match due.last_mut() {
                Some((last, bases)) if *last == target => bases.push(base),
                _ => due.push((target, vec![base])),
            }
        }
        Ok(due)
    }

    /// From which release to which: to the newest of each bundle, from those before them.
    async fn pairs(&self) -> Result<Vec<(ReleaseId, ReleaseId)>, Error> {
        let Some(released) = self.documents.released_when_accepted().await? else {
            return Ok(Vec::new());
        };
        let mut bundles: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for release in released.iter() {
            bundles.entry(&release.id.name).or_default().push((release.number, &release.id));
        }
        let mut pairs = Vec::new();
        for (_, mut releases) in bundles {
            releases.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
            for (at, (_, target)) in releases.iter().enumerate().take(DELTA_TARGETS_MAX) {
                let bases = releases[at + 1..].iter().take(DELTA_BASES_MAX);
                pairs.extend(bases.map(|(_, base)| ((*base).clone(), (*target).clone())));
            }
        }
        Ok(pairs)
    }

    /// How often a delta was tried that is still to be made; none if it is not.
    async fn attempts(&self, base: &ReleaseId, target: &ReleaseId) -> Result<Option<i64>, Error> {
        let key = (base.digest.to_string(), target.digest.to_string());
        let known = delta::Entity::find_by_id(key).one(self.store.read()).await?;
        let Some(known) = known else { return Ok(Some(0)) };
        let is_due = !known.done && known.attempts < DELTA_ATTEMPTS_MAX;
        Ok(is_due.then_some(known.attempts))
    }

    async fn note(
        &self,
        base: &ReleaseId,
        target: &ReleaseId,
        attempts: i64,
        done: bool,
    ) -> Result<(), Error> {
        let row = delta::ActiveModel {
            base: Set(base.digest.to_string()),
            target: Set(target.digest.to_string()),
            attempts: Set(attempts),
            done: Set(done),
        };
        let writing = self.store.write().await?;
        delta::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([delta::Column::Base, delta::Column::Target])
                    .update_columns([delta::Column::Attempts, delta::Column::Done])
                    .to_owned(),
            )
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.commit().await
    }

    /// Makes and stores the delta between two releases. Returns what it saves, for people; none if
    /// that is nothing.
    async fn make(&self, base: &ReleaseId, target: &ReleaseId) -> Result<Option<String>, Error> {
        let (old, new) = (self.manifest(base).await?, self.manifest(target).await?);
        let (mut recipes, mut blob_bytes) = (Vec::new(), 0);
        for (old, new) in worth_trying(&old, &new) {
            let Some(bytes) = self.recipe(old, new).await? else { continue };
            blob_bytes += new.size;
            let digest = Digest::of(&bytes);
            recipes.push(recipe(digest, bytes.len() as u64, &old.digest, &new.digest));
            self.artifacts.blobs.put(&digest, Body::from(bytes)).await?;
        }
        if recipes.is_empty() {
            return Ok(None);
        }
        let recipe_bytes: u64 = recipes.iter().map(|recipe| recipe.size).sum();
        let saved = format!("{recipe_bytes} bytes instead of {blob_bytes}");
        self.artifacts.blobs.put(&Digest::of(EMPTY), Body::from(EMPTY)).await?;
        let manifest = serde_json::to_vec(&Referrer::delta(target, base, recipes))
            .expect("texts and numbers have a JSON form");
        let reference = Digest::of(&manifest).to_string();
        self.artifacts
            .put_as(
                &By::Server("deltas"),
                &Publisher::House(By::ADMINISTRATOR),
                &target.name,
                &reference,
                None,
                manifest,
            )
            .await?;
        Ok(Some(saved))
    }

    async fn manifest(&self, release: &ReleaseId) -> Result<OciManifest, Error> {
        let digest = release.digest.to_string();
        let stored = self.artifacts.get(release.name.as_str(), &digest).await?;
        OciManifest::parse(&stored.bytes)
            .map_err(|error| Error::Refused(format!("{release}: {error}")))
    }

    /// A recipe that makes `new` of `old`; none where it is not worth it.
    async fn recipe(&self, old: &Descriptor, new: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        let (base, target) = (self.blob(old).await?, self.blob(new).await?);
        let expected = new.digest;
        let (tell, told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("delta".into()).spawn(move || {
            // Of this thread alone; at the usual priority it is made as well.
            let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
            let recipe = lineside_delta::make(&base, &target);
            let size = target.len() as u64;
            let worth = recipe.len() as u64 * 100 < size * RECIPE_PERCENT_MAX;
            // Nobody listens any more when the server stops.
            let _ = tell.send(if worth { check(&base, recipe, size, &expected) } else { Ok(None) });
        });
        thread.map_err(Error::file("start a thread for deltas".to_owned()))?;
        let made = told.await.unwrap_or_else(|_| Err("making it broke down".into()));
        made.map_err(|problem| {
            Error::Refused(format!("blob {} of {}: {problem}", new.digest, old.digest))
        })
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let missing = || Error::Missing(format!("there is no blob {}", blob.digest));
        self.artifacts.blobs.read(&blob.digest, DELTA_BLOB_BYTES_MAX).await?.ok_or_else(missing)
    }
}

/// The layers of a new release that changed, each with the one of the old release that it most likely
/// comes from: of the same path, or else of the same kind and about the same size, for people write
/// versions into the names of their files.
fn worth_trying<'a>(
    old: &'a OciManifest,
    new: &'a OciManifest,
) -> impl Iterator<Item = (&'a Descriptor, &'a Descriptor)> {
    let digests = |manifest: &OciManifest| -> BTreeSet<Digest> {
        manifest.blobs().map(|blob| blob.digest).collect()
    };
    let (held, kept) = (digests(old), digests(new));
    let of_good_size =
        |blob: &Descriptor| (DELTA_BLOB_BYTES_MIN..=DELTA_BLOB_BYTES_MAX).contains(&blob.size);
    new.layers.iter().filter_map(move |layer| {
        let path = layer.annotations.get(TITLE)?;
        let bases = old.layers.iter().filter(|base| of_good_size(base));
        let same_path = bases.clone().find(|base| base.annotations.get(TITLE) == Some(path));
        let alike = bases
            .filter(|base| base.media_type == layer.media_type && !kept.contains(&base.digest))
            .min_by_key(|base| base.size.abs_diff(layer.size));
        let base = same_path.or(alike)?;
        (of_good_size(layer) && !held.contains(&layer.digest)).then_some((base, layer))
    })
}

/// Gives the recipe back if it makes what it shall: an error of ours costs some hundred devices a
/// vain attempt otherwise.
fn check(
    base: &[u8],
    recipe: Vec<u8>,
    size: u64,
    expected: &Digest,
) -> Result<Option<Vec<u8>>, String> {
    let mut made = Hashed(Hasher::default());
    lineside_delta::apply(base, &recipe[..], size, &mut made)
        .map_err(|error| format!("its recipe cannot be applied: {}", chain(&error)))?;
    let found = made.0.finish();
    match found == *expected {
        true => Ok(Some(recipe)),
        false => Err(format!("its recipe makes {found}")),
    }
}

struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::MANIFEST_TYPE;

    #[test]
    fn a_recipe_that_makes_something_else_is_not_kept() {
        let (old, new) = (b"old bytes ".repeat(1000), b"new bytes ".repeat(1000));
        let recipe = lineside_delta::make(&old, &new);
        let size = new.len() as u64;
        assert_eq!(check(&old, recipe.clone(), size, &Digest::of(&new)), Ok(Some(recipe.clone())));
        let error = check(&old, recipe.clone(), size, &Digest::of(b"other")).unwrap_err();
        assert!(error.contains(&Digest::of(&new).to_string()), "{error}");
        assert!(check(&old, recipe, size + 1, &Digest::of(&new)).is_err());
    }

    fn layer(path: &str, media_type: &str, bytes: &[u8], size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest: Digest::of(bytes),
            size,
            annotations: BTreeMap::from([(TITLE.to_owned(), path.to_owned())]),
        }
    }

    fn manifest(layers: Vec<Descriptor>) -> OciManifest {
        OciManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.into(),
            artifact_type: lineside_bundle::ARTIFACT_TYPE.into(),
            config: layer("", "config", b"config", 1),
            layers,
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn only_what_changed_and_is_of_a_good_size_is_tried() {
        let (least, most) = (DELTA_BLOB_BYTES_MIN, DELTA_BLOB_BYTES_MAX);
        let old = manifest(vec![
            layer("changed", "a", b"1", least),
            layer("same", "b", b"2", least),
            layer("small", "c", b"3", least),
            layer("large", "d", b"4", most + 1),
            layer("gone", "e", b"5", least),
        ]);
        let new = manifest(vec![
            layer("changed", "a", b"1'", most),
            layer("same", "b", b"2", least),
            layer("small", "c", b"3'", least - 1),
            layer("large", "d", b"4'", most),
            layer("moved", "e", b"5", least),
            layer("new", "f", b"6", least),
        ]);
        let tried: Vec<_> = worth_trying(&old, &new).collect();
        assert_eq!(tried, [(&old.layers[0], &new.layers[0])]);
    }

    #[test]
    fn a_file_with_its_version_in_its_name_is_made_of_the_one_most_like_it() {
        let least = DELTA_BLOB_BYTES_MIN;
        let old = manifest(vec![
            layer("judge-v1.onnx", "model", b"1", least + 1000),
            layer("find-v1.onnx", "model", b"2", least),
            layer("kept.onnx", "model", b"3", least + 2000),
            layer("notes-v1", "text", b"4", least + 2001),
        ]);
        let new = manifest(vec![
            layer("find-v2.onnx", "model", b"2'", least + 10),
            layer("judge-v2.onnx", "model", b"1'", least + 2001),
            layer("kept.onnx", "model", b"3", least + 2000),
        ]);
        let tried: Vec<_> = worth_trying(&old, &new).collect();
        assert_eq!(tried, [(&old.layers[1], &new.layers[0]), (&old.layers[0], &new.layers[1])]);
    }
}
