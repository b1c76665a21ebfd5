//! Which blobs belong to which bundle: what somebody who may have the one may have of the others.

use crate::artifact::Artifacts;
use crate::artifact::parts::{Base, Content};
use crate::bounds::ROLE_ROWS_MAX;
use crate::error::Error;
use crate::store::tables::manifest;
use lineside_bundle::referrer::EMPTY;
use lineside_bundle::{Digest, ReleaseId};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};
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

    /// The manifests of those versions of the bundle `name` that are meant, and of no other: by what each says
    /// of itself or, where it says nothing, by all of its tags. One who may set a tag has no say in whose it is.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if more is of the bundle than is looked at; [`Error::Database`] or [`Error::File`].
    pub async fn versions(
        &self,
        name: &str,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<Digest>, Error> {
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(name))
            .limit(ROLE_ROWS_MAX + 1)
            .all(self.store.read())
            .await?;
        if rows.len() as u64 > ROLE_ROWS_MAX {
            return Err(Error::TooLarge(format!(
                "{name} has more than {ROLE_ROWS_MAX} manifests and tags, and no more are looked at for the \
                 token of a role: have the administrator delete what nobody needs any more"
            )));
        }
        let mut tagged: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for row in rows {
            let Ok(digest) = row.digest.parse::<Digest>() else { continue };
            let tags = tagged.entry(digest).or_default();
            tags.extend((row.reference != row.digest).then_some(row.reference));
        }
        let mut manifests = BTreeSet::new();
        for (digest, tags) in tagged {
            let content = self.contents.get(&self.blobs, &digest).await?;
            let is_of_some = content.version.is_some() || !tags.is_empty();
            if is_of_some && foreign(&content, &tags, &is_meant).is_none() {
                manifests.insert(digest);
            }
        }
        Ok(manifests)
    }

    /// A version that is not meant and that a release's manifest is of, if there is one; as
    /// [`Artifacts::versions`] finds it.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn foreign_version(
        &self,
        release: &ReleaseId,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, Error> {
        let rows = manifest::Entity::find()
            .filter(manifest::Column::Name.eq(release.name.as_str()))
            .filter(manifest::Column::Digest.eq(release.digest.to_string()))
            .all(self.store.read())
            .await?;
        let tags = rows.into_iter().filter(|row| row.reference != row.digest);
        let tags: Vec<String> = tags.map(|row| row.reference).collect();
        let content = self.contents.get(&self.blobs, &release.digest).await?;
        Ok(foreign(&content, &tags, is_meant).map(str::to_owned))
    }

    /// Whether a blob is a manifest here, or part of what one names, whatever its name.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn is_of_an_artifact(&self, blob: &Digest) -> Result<bool, Error> {
        // What stands for nothing is part of everything, and tells nothing.
        if *blob == Digest::of(EMPTY) {
            return Ok(false);
        }
        let digests: Vec<String> = manifest::Entity::find()
            .select_only()
            .column(manifest::Column::Digest)
            .distinct()
            .into_tuple()
            .all(self.store.read())
            .await?;
        for digest in digests.iter().filter_map(|digest| digest.parse::<Digest>().ok()) {
            if digest == *blob
                || self.contents.get(&self.blobs, &digest).await?.blobs.contains(blob)
            {
                return Ok(true);
            }
        }
        Ok(false)
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

/// A version that is not meant, of those that a manifest is of: what it says counts, or else its tags.
fn foreign<'a>(
    content: &'a Content,
    tags: &'a [String],
    is_meant: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    match &content.version {
        Some(said) => (!is_meant(said)).then_some(said),
        None => tags.iter().map(String::as_str).find(|tag| !is_meant(tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Holder, Publisher};
    use crate::artifact::Blobs;
    use crate::audit::By;
    use crate::bounds::{ROLE_ROWS_PUSHED_MAX, ROWS_AT_ONCE};
    use crate::store::DataFolder;
    use axum::body::Body;
    use lineside_bundle::BundleName;
    use lineside_bundle::referrer::Referrer;
    use sea_orm::ActiveValue::Set;

    /// Adds so many manifests to a bundle.
    async fn add(artifacts: &Artifacts, numbers: std::ops::Range<u64>) {
        let row = |number: u64| {
            let digest = Digest::of(&number.to_be_bytes()).to_string();
            manifest::ActiveModel {
                name: Set("pump".into()),
                reference: Set(digest.clone()),
                digest: Set(digest),
                media_type: Set(String::new()),
                subject: Set(None),
            }
        };
        let rows: Vec<_> = numbers.map(row).collect();
        let writing = artifacts.store.write().await.unwrap();
        writing.changes_without_entry("a test");
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let insert = manifest::Entity::insert_many(rows.to_vec());
            insert.exec_without_returning(&writing.transaction).await.unwrap();
        }
        writing.commit().await.unwrap();
    }

    #[tokio::test]
    async fn for_the_token_of_a_role_no_more_is_looked_at_than_is_bounded_and_he_cannot_fill_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let store = Arc::new(crate::store::testing::store(&folder.join("")).await);
        let artifacts = Artifacts::new(Blobs::open(&folder).await.unwrap(), store);
        artifacts.blobs.put(&Digest::of(EMPTY), Body::from(EMPTY)).await.unwrap();
        let (pump, fan): (BundleName, BundleName) =
            ("pump".parse().unwrap(), "fan".parse().unwrap());
        let acme =
            Publisher::Role(Holder { role: "acme".parse().unwrap(), token: Digest::of(b"a") });
        let push = async |by: &Publisher, name: &BundleName, version: &str| {
            let (version, digest) = (version.parse().unwrap(), Digest::of(version.as_bytes()));
            let about = ReleaseId { name: name.clone(), version, digest, size: 1 };
            let bytes = serde_json::to_vec(&Referrer::delta(&about, &about, vec![])).unwrap();
            let reference = Digest::of(&bytes).to_string();
            artifacts.put(by, name, &reference, None, bytes).await.map(drop)
        };
        add(&artifacts, 0..ROLE_ROWS_PUSHED_MAX - 1).await;
        push(&acme, &pump, "acme-1").await.unwrap();
        let refused = push(&acme, &pump, "acme-2").await.unwrap_err();
        assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
        push(&acme, &pump, "acme-1").await.expect("the same again takes no more room");
        push(&acme, &fan, "acme-2").await.expect("another bundle is no fuller");
        push(&Publisher::House(By::ADMINISTRATOR), &pump, "2").await.unwrap();
        assert_eq!(artifacts.versions("pump", |_| true).await.unwrap(), BTreeSet::new());

        add(&artifacts, ROLE_ROWS_PUSHED_MAX..ROLE_ROWS_MAX).await;
        let refused = artifacts.versions("pump", |_| true).await.unwrap_err();
        assert!(refused.to_string().contains("have the administrator delete"), "{refused}");
        artifacts.versions("fan", |_| true).await.unwrap();
    }
}
