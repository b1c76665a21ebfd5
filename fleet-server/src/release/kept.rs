//! Signed documents in the database, byte for byte, by kind and version.

use crate::error::Error;
use crate::store::tables::document;
use crate::store::{Store, Writing, from_row, to_row, unix_ms};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::sync::Arc;
use time::OffsetDateTime;

/// Versions of a document that are kept. Who follows the repository step by step may still be at the
/// one before; an older one is worth nothing to anybody.
const VERSIONS_MAX: u64 = 4;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Root,
    Timestamp,
    Snapshot,
    /// The list of releases: TUF's top-level targets.
    Releases,
    /// What a delegated role has signed.
    Role(&'a str),
}

impl Kind<'_> {
    fn name(self) -> String {
        match self {
            Kind::Root => "root".into(),
            Kind::Timestamp => "timestamp".into(),
            Kind::Snapshot => "snapshot".into(),
            Kind::Releases => "releases".into(),
            Kind::Role(role) => format!("{ROLE}{role}"),
        }
    }
}

/// What stands before the name of a role.
const ROLE: &str = "role/";

/// The documents in the database.
#[derive(Clone)]
pub(crate) struct Kept {
    store: Arc<Store>,
}

impl Kept {
    /// The documents in `store`.
    pub fn new(store: Arc<Store>) -> Kept {
        Kept { store }
    }

    /// The newest document of a kind.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest(&self, kind: Kind<'_>) -> Result<Option<document::Model>, Error> {
        Ok(document::Entity::find()
            .filter(document::Column::Kind.eq(kind.name()))
            .order_by_desc(document::Column::Version)
            .one(self.store.read())
            .await?)
    }

    /// Version of the newest document of a kind, 0 if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_version(&self, kind: Kind<'_>) -> Result<u64, Error> {
        let version: Option<Option<i64>> = document::Entity::find()
            .select_only()
            .column_as(document::Column::Version.max(), "version")
            .filter(document::Column::Kind.eq(kind.name()))
            .into_tuple()
            .one(self.store.read())
            .await?;
        Ok(version.flatten().map_or(0, from_row))
    }

    /// One version of a document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn version(&self, kind: Kind<'_>, version: u64) -> Result<Option<Vec<u8>>, Error> {
        let key = (kind.name(), to_row(version));
        let row = document::Entity::find_by_id(key).one(self.store.read()).await?;
        Ok(row.map(|row| row.bytes))
    }

    /// All roots in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn roots(&self) -> Result<Vec<document::Model>, Error> {
        Ok(document::Entity::find()
            .filter(document::Column::Kind.eq(Kind::Root.name()))
            .order_by_asc(document::Column::Version)
            .all(self.store.read())
            .await?)
    }

    /// The newest document of each delegated role that ever signed one, by role.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn roles(&self) -> Result<Vec<(String, document::Model)>, Error> {
        let rows = document::Entity::find()
            .filter(document::Column::Kind.starts_with(ROLE))
            .order_by_asc(document::Column::Kind)
            .order_by_desc(document::Column::Version)
            .all(self.store.read())
            .await?;
        let mut roles: Vec<(String, document::Model)> = Vec::new();
        for row in rows {
            let Some(role) = row.kind.strip_prefix(ROLE).map(str::to_owned) else { continue };
            if roles.last().is_none_or(|(last, _)| *last != role) {
                roles.push((role, row));
            }
        }
        Ok(roles)
    }

    /// Puts a document in place. All roots stay, for each is the way to the next; of other kinds the
    /// oldest give way.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put(
        writing: &Writing<'_>,
        kind: Kind<'_>,
        version: u64,
        bytes: Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        writing.changes_documents();
        let row = document::ActiveModel {
            kind: Set(kind.name()),
            version: Set(to_row(version)),
            bytes: Set(bytes),
            accepted_unix_ms: Set(unix_ms(now)),
        };
        document::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
        if kind == Kind::Root {
            return Ok(());
        }
        let oldest = document::Entity::find()
            .filter(document::Column::Kind.eq(kind.name()))
            .order_by_desc(document::Column::Version)
            .offset(VERSIONS_MAX)
            .one(&writing.transaction)
            .await?;
        if let Some(oldest) = oldest {
            document::Entity::delete_many()
                .filter(document::Column::Kind.eq(kind.name()))
                .filter(document::Column::Version.lte(oldest.version))
                .exec(&writing.transaction)
                .await?;
        }
        Ok(())
    }

    /// Takes all documents of a kind away.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget(writing: &Writing<'_>, kind: Kind<'_>) -> Result<(), Error> {
        writing.changes_documents();
        document::Entity::delete_many()
            .filter(document::Column::Kind.eq(kind.name()))
            .exec(&writing.transaction)
            .await?;
        Ok(())
    }
}
