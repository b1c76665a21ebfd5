//! Roots and lists of releases: verified when they come, kept as they came.

use crate::artifact::Artifacts;
use crate::error::Error;
use crate::registry::unix_ms;
use crate::release::ServerKeys;
use crate::store::tables::document;
use crate::store::{Store, from_row, to_row};
use lineside_bundle::Digest;
use lineside_trust::{Root, Seen, TrustedReleases, verify_releases};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use std::sync::Arc;
use time::OffsetDateTime;

const ROOT: &str = "root";
const RELEASES: &str = "releases";
/// Largest list of releases in bytes. A device gets it with its assignment in one message.
pub(crate) const RELEASES_BYTES_MAX: usize = 512 << 10;
/// Largest root in bytes.
pub(crate) const ROOT_BYTES_MAX: usize = 64 << 10;

/// What people have signed.
#[derive(Clone)]
pub(crate) struct SignedDocuments {
    store: Arc<Store>,
    artifacts: Artifacts,
    keys: Arc<ServerKeys>,
}

/// The list of releases that holds, and its bytes.
pub(crate) struct Released {
    pub releases: TrustedReleases,
    pub bytes: Vec<u8>,
}

/// A list of releases that may be accepted.
enum Judged {
    /// The one that is here, of this version.
    Known(u64),
    /// A newer one.
    New(TrustedReleases),
}

impl SignedDocuments {
    /// The documents in `store`, about what is in `artifacts`.
    pub fn new(store: Arc<Store>, artifacts: Artifacts, keys: Arc<ServerKeys>) -> SignedDocuments {
        SignedDocuments { store, artifacts, keys }
    }

    /// Takes the first root on the administrator's word, and each next one by the last.
    /// The same again is no error.
    ///
    /// # Errors
    /// [`Error::Untrusted`]; [`Error::Refused`] if it does not name this server's director.
    pub async fn accept_root(&self, bytes: Vec<u8>, now: OffsetDateTime) -> Result<u64, Error> {
        let writing = self.store.write().await?;
        let current = self.root_rows().await?.pop();
        if current.as_ref().is_some_and(|current| current.bytes == bytes) {
            return Ok(current.map_or(0, |current| from_row(current.version)));
        }
        let root = match current {
            Some(current) => Root::pin(&current.bytes)?.update(&bytes)?,
            None => Root::pin(&bytes)?,
        };
        let director = self.keys.director.id();
        if !root.names_director(&director) {
            return Err(Error::Refused(format!(
                "the root does not name this server's director key {}: \
                 take the key from /api/v1/online-keys, as `lineside keys new` does",
                &director[..12]
            )));
        }
        let row = row(ROOT, root.version(), bytes, now);
        document::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
        writing.commit().await?;
        Ok(root.version())
    }

    /// Takes a list of releases that enough release keys have signed and whose artifacts are here.
    ///
    /// # Errors
    /// [`Error::Untrusted`]; [`Error::Refused`] names each blob that is missing.
    pub async fn accept_releases(&self, bytes: Vec<u8>, now: OffsetDateTime) -> Result<u64, Error> {
        // Looking at every artifact takes a while, and the database is not held meanwhile.
        let releases = match self.judge(&bytes, now).await? {
            Judged::Known(version) => return Ok(version),
            Judged::New(releases) => releases,
        };
        for release in releases.iter() {
            self.artifacts.complete(&release.id).await?;
        }
        let writing = self.store.write().await?;
        // Judged again: another root or list may have come. Artifacts do not go.
        let version = match self.judge(&bytes, now).await? {
            Judged::Known(version) => return Ok(version),
            Judged::New(releases) => releases.seen().version,
        };
        let row = row(RELEASES, version, bytes, now);
        document::Entity::delete_many()
            .filter(document::Column::Kind.eq(RELEASES))
            .exec(&writing.transaction)
            .await?;
        document::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
        writing.commit().await?;
        self.artifacts.released.notify_one();
        Ok(version)
    }

    /// Verifies a list of releases by the root that holds, against the list that is here.
    async fn judge(&self, bytes: &[u8], now: OffsetDateTime) -> Result<Judged, Error> {
        let root = self.root().await?;
        let seen = self
            .releases_row()
            .await?
            .map(|row| Seen { version: from_row(row.version), digest: Digest::of(&row.bytes) });
        let releases = verify_releases(&root, bytes, seen.as_ref(), now)?;
        let version = releases.seen().version;
        Ok(match seen {
            Some(seen) if seen.version == version => Judged::Known(version),
            _ => Judged::New(releases),
        })
    }

    /// The root that holds.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is none yet.
    pub async fn root(&self) -> Result<Root, Error> {
        let newest = self.root_rows().await?.pop().ok_or_else(no_root)?;
        Ok(Root::pin(&newest.bytes)?)
    }

    /// All roots in their order, as they came.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn roots(&self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let rows = self.root_rows().await?;
        Ok(rows.into_iter().map(|row| (from_row(row.version), row.bytes)).collect())
    }

    /// The list of releases, verified again at `now`.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is none yet; [`Error::Untrusted`] if it has expired.
    pub async fn released(&self, now: OffsetDateTime) -> Result<Released, Error> {
        let root = self.root().await?;
        let row = self.releases_row().await?.ok_or_else(|| {
            Error::Missing("nothing is released yet: sign a bundle with `lineside release`".into())
        })?;
        let releases = verify_releases(&root, &row.bytes, None, now)?;
        Ok(Released { releases, bytes: row.bytes })
    }

    /// The list of releases as it came, for who verifies it himself; none if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn releases(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.releases_row().await?.map(|row| row.bytes))
    }

    /// The list of releases as it was judged when it came, for showing; none if there is none.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if its keys have been replaced since and it was not signed anew.
    pub async fn released_when_accepted(&self) -> Result<Option<Released>, Error> {
        let Some(row) = self.releases_row().await? else { return Ok(None) };
        let nanos = i128::from(row.accepted_unix_ms) * 1_000_000;
        let then =
            OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let releases = verify_releases(&self.root().await?, &row.bytes, None, then)?;
        Ok(Some(Released { releases, bytes: row.bytes }))
    }

    /// Version of the list of releases, 0 if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn releases_version(&self) -> Result<u64, Error> {
        Ok(self.releases_row().await?.map_or(0, |row| from_row(row.version)))
    }

    async fn root_rows(&self) -> Result<Vec<document::Model>, Error> {
        Ok(document::Entity::find()
            .filter(document::Column::Kind.eq(ROOT))
            .order_by_asc(document::Column::Version)
            .all(self.store.read())
            .await?)
    }

    async fn releases_row(&self) -> Result<Option<document::Model>, Error> {
        Ok(document::Entity::find()
            .filter(document::Column::Kind.eq(RELEASES))
            .one(self.store.read())
            .await?)
    }
}

fn no_root() -> Error {
    Error::Conflict("this server has no root yet: make one with `lineside keys new`".into())
}

fn row(kind: &str, version: u64, bytes: Vec<u8>, now: OffsetDateTime) -> document::ActiveModel {
    document::ActiveModel {
        kind: Set(kind.into()),
        version: Set(to_row(version)),
        bytes: Set(bytes),
        accepted_unix_ms: Set(unix_ms(now)),
    }
}
