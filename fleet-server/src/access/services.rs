//! Tokens of programs: each with rights of its own, and an end.

use crate::access::People;
use crate::access::people::{grants, json};
use crate::access::rights::{Grant, Grants};
use crate::access::secret::random_hex;
use crate::audit::{By, did, text};
use crate::error::Error;
use crate::store::tables::service_token;
use crate::store::unix_ms;
use lineside_audit::{Action, Change};
use lineside_bundle::Digest;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// What the token of a program begins with.
pub(crate) const SERVICE_PREFIX: &str = "lsv_";
/// Tokens of programs of one server.
const SERVICES_MAX: u64 = 1_000;
/// Days for which one is good unless told, and the most.
pub(crate) const DAYS: u16 = 90;
const DAYS_MAX: u16 = 730;

/// The token of a program, as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ServiceShown {
    /// What it is called.
    pub name: String,
    /// What it may do, and where.
    pub grants: Vec<Grant>,
    /// When it was made: milliseconds since 1970.
    pub made_unix_ms: i64,
    /// From when on it is not taken any more.
    pub expires_unix_ms: i64,
}

impl People {
    /// Makes the token of a program, in the place of the one that it had. It is told this once.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there is no room.
    pub async fn make_service(
        &self,
        by: &By,
        name: &str,
        given: Vec<Grant>,
        days: u16,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        super::people::check_name(name)?;
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(Error::Malformed(format!("days: 1 to {DAYS_MAX}, not {days}")));
        }
        let given = Grants::checked(given).map_err(Error::Malformed)?;
        let token = format!("{SERVICE_PREFIX}{}", random_hex()?);
        let row = service_token::ActiveModel {
            name: Set(name.to_owned()),
            hash: Set(hash(&token)),
            grants: Set(json(&given)),
            made_unix_ms: Set(unix_ms(now)),
            expires_unix_ms: Set(unix_ms(now + Duration::days(days.into()))),
        };
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        service_token::Entity::delete_by_id(name).exec(on).await?;
        if service_token::Entity::find().count(on).await? >= SERVICES_MAX {
            let problem =
                format!("there are {SERVICES_MAX} tokens of programs: take some back first");
            return Err(Error::Conflict(problem));
        }
        service_token::Entity::insert(row).exec_without_returning(on).await?;
        let issued = did(by, Action::TokenIssued, "program", name);
        writing.record(Change { new: text(&json(&given)), ..issued });
        writing.commit().await?;
        Ok(token)
    }

    /// All, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn services(&self) -> Result<Vec<ServiceShown>, Error> {
        let rows = service_token::Entity::find().order_by_asc(service_token::Column::Name);
        let shown = |row: service_token::Model| ServiceShown {
            grants: grants(&row.grants).list().to_vec(),
            name: row.name,
            made_unix_ms: row.made_unix_ms,
            expires_unix_ms: row.expires_unix_ms,
        };
        Ok(rows.all(self.store.read()).await?.into_iter().map(shown).collect())
    }

    /// Takes the token of a program back.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove_service(&self, by: &By, name: &str) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let gone = service_token::Entity::delete_by_id(name).exec(&writing.transaction).await?;
        if gone.rows_affected == 0 {
            return Err(Error::Missing(format!("no program called {name:?} has a token")));
        }
        writing.record(did(by, Action::TokenRevoked, "program", name));
        writing.commit().await
    }

    /// Whose token this is, and what it grants, if it is still good.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn service(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<Option<(String, Grants)>, Error> {
        let of = service_token::Entity::find().filter(service_token::Column::Hash.eq(hash(token)));
        let row = of.one(self.store.read()).await?;
        let row = row.filter(|row| unix_ms(now) < row.expires_unix_ms);
        Ok(row.map(|row| (row.name, grants(&row.grants))))
    }
}

fn hash(token: &str) -> String {
    Digest::of(token.trim().as_bytes()).hex()
}
