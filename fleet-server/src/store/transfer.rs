//! The whole database into another, whichever each of them is.

use crate::error::Error;
use crate::store::copy::copy_into;
use crate::store::folder::closed_file;
use crate::store::migrations::TABLES_VERSION;
use crate::store::tables::{self, *};
use crate::store::{PostgresAt, Store, postgres, sqlite};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    AccessMode, ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, IntoActiveModel, IsolationLevel, Iterable, ModelTrait, PaginatorTrait,
    PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect, TransactionTrait, Value,
};
use std::path::Path;

/// Rows that are in memory at once: an interval may have hundreds of kilobytes.
const ROWS_AT_ONCE: u64 = 64;

impl Store {
    /// Copies an SQLite database, which a server may be using, as it is at one moment.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::File`].
    pub async fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
        let unusable = |error| sqlite::not_usable(from, error);
        let database = sqlite::connect(from, 1).await.map_err(unusable)?;
        let copied = copy_into(&database, to).await;
        database.close().await.map_err(unusable)?;
        copied
    }

    /// Fills `to` with all that is here.
    ///
    /// # Errors
    /// [`Error::Conflict`] if `to` has devices or documents; [`Error::Database`].
    pub async fn fill(&self, to: &Store) -> Result<(), Error> {
        let is_used = device::Entity::find().count(to.read()).await? > 0
            || document::Entity::find().count(to.read()).await? > 0;
        if is_used {
            return Err(Error::Conflict(
                "the database has devices or documents in it: name one that is empty".into(),
            ));
        }
        let from = self.write().await?;
        let writing = to.write().await?;
        writing.changes_without_entry("a copy, with the log of what it is a copy of");
        copy_tables(&from.transaction, &writing.transaction).await?;
        writing.commit().await
    }
}

impl PostgresAt {
    /// Copies the database, which a server may be using, as it is at one moment, into a file of SQLite.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another server made its tables; [`Error::Database`], [`Error::File`].
    pub async fn copy_to(&self, to: &Path) -> Result<(), Error> {
        let unusable = |error| postgres::not_usable(self, error);
        let database = self.connect(1);
        let version = postgres::version(&database).await.map_err(unusable)?;
        if version != TABLES_VERSION {
            return Err(Error::Conflict(format!(
                "the database has tables of version {version}, and this program knows version \
                 {TABLES_VERSION}: copy it with the program that serves it"
            )));
        }
        let options = (Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly));
        let from = database.begin_with_config(options.0, options.1).await.map_err(unusable)?;
        closed_file(to).map_err(Error::file(format!("make {}", to.display())))?;
        let store = Store::open(to).await?;
        let writing = store.write().await?;
        writing.changes_without_entry("a copy, with the log of what it is a copy of");
        copy_tables(&from, &writing.transaction).await?;
        writing.commit().await?;
        store.close().await;
        from.rollback().await?;
        database.close().await.map_err(unusable)
    }
}

/// Copies every row. `from` must not change meanwhile, and `to` be empty.
pub(super) async fn copy_tables(
    from: &DatabaseTransaction,
    to: &DatabaseTransaction,
) -> Result<(), DbErr> {
    macro_rules! copy {
        ($table:ident) => {
            copy_table::<$table::Entity>(from, to).await?
        };
    }
    tables::for_each_table!(copy);
    if to.get_database_backend() == DbBackend::Postgres {
        // What it numbers by itself goes on behind what was copied.
        for table in ["interval", "event", "quality", "alert"] {
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('\"{table}\"', 'id'), max(id)) FROM \"{table}\" \
                 HAVING max(id) IS NOT NULL"
            );
            to.execute_unprepared(&next).await?;
        }
    }
    Ok(())
}

async fn copy_table<E>(from: &DatabaseTransaction, to: &DatabaseTransaction) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    let key: Vec<E::Column> = E::PrimaryKey::iter().map(|part| part.into_column()).collect();
    let mut after: Option<Vec<Value>> = None;
    loop {
        let mut select = E::find();
        for column in &key {
            select = select.order_by_asc(*column);
        }
        if let Some(after) = after {
            let columns = Expr::tuple(key.iter().map(|column| Expr::col(*column)));
            select = select
                .filter(ExprTrait::gt(columns, Expr::tuple(after.into_iter().map(Expr::val))));
        }
        let rows = select.limit(ROWS_AT_ONCE).all(from).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(key.iter().map(|column| last.get(*column)).collect());
        let rows = rows.into_iter().map(|row| row.into_active_model().reset_all());
        E::insert_many(rows).exec_without_returning(to).await?;
    }
}
