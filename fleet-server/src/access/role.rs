//! Tokens of those to whom the release keys have delegated: one each, which opens what its holder needs to
//! publish, and nothing else. A vendor is a stranger in this house.

use crate::access::secret::{random_hex, same};
use crate::audit::{By, did};
use crate::error::Error;
use crate::store::tables::role_token;
use crate::store::{Store, Writing, unix_ms};
use lineside_audit::{Action, Reason};
use lineside_bundle::Digest;
use lineside_wire::name::RoleName;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use std::collections::BTreeSet;
use std::sync::Arc;
use time::OffsetDateTime;

/// Who brings artifacts and lists: somebody of the house, or a role by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Publisher {
    House(By),
    Role(Holder),
}

/// Who holds the token of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub role: RoleName,
    /// Digest of the token: another token of the same role is another holder, who may be somebody else.
    pub token: Digest,
}

/// The tokens.
#[derive(Debug, Clone)]
pub(crate) struct RoleTokens {
    store: Arc<Store>,
}

impl RoleTokens {
    /// The tokens in `store`.
    pub fn new(store: Arc<Store>) -> RoleTokens {
        RoleTokens { store }
    }

    /// Makes the token of a role for which these keys sign, in the place of the one before. It is told this
    /// once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn make(
        &self,
        writing: &Writing<'_>,
        by: &By,
        role: &RoleName,
        keys: &BTreeSet<&str>,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        let token = random_hex()?;
        let row = role_token::ActiveModel {
            role: Set(role.to_string()),
            token_hash: Set(hash(&token).hex()),
            made_unix_ms: Set(unix_ms(now)),
            keys: Set(serde_json::to_string(keys).expect("texts have a JSON form")),
        };
        let values = [
            role_token::Column::TokenHash,
            role_token::Column::MadeUnixMs,
            role_token::Column::Keys,
        ];
        role_token::Entity::insert(row)
            .on_conflict(
                OnConflict::column(role_token::Column::Role).update_columns(values).to_owned(),
            )
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.record(did(by, Action::TokenIssued, "role", role.as_str()));
        Ok(token)
    }

    /// Takes the token of a role back.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has none.
    pub async fn remove(&self, by: &By, role: &RoleName) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let removed =
            role_token::Entity::delete_by_id(role.as_str()).exec(&writing.transaction).await?;
        if removed.rows_affected == 0 {
            return Err(Error::Missing(format!("{role} has no token")));
        }
        writing.record(did(by, Action::TokenRevoked, "role", role.as_str()));
        writing.commit().await
    }

    /// Takes back the tokens of roles for which none of the keys signs any more that did when the token was
    /// made: `keys_of` gives those that do now, none for a role that is gone. Who is called like somebody
    /// before him must not be let in by that one's token, nor the other way round; and whoever stole a vendor's
    /// key may have stolen his token as well, however many lists exchange the one for another.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keep<'a>(
        writing: &Writing<'_>,
        keys_of: impl Fn(&str) -> BTreeSet<&'a str>,
    ) -> Result<(), Error> {
        let rows = role_token::Entity::find().all(&writing.transaction).await?;
        let ends = |row: &role_token::Model| {
            let made_for: Vec<String> = serde_json::from_str(&row.keys).unwrap_or_default();
            let keys = keys_of(&row.role);
            !made_for.iter().any(|key| keys.contains(key.as_str()))
        };
        let ended: Vec<String> = rows.into_iter().filter(ends).map(|row| row.role).collect();
        if ended.is_empty() {
            return Ok(());
        }
        for role in &ended {
            let change = did(&By::Server("release-list"), Action::TokenRevoked, "role", role);
            let why =
                Reason::lossy("none of the keys signs for the role that did when it was made");
            writing.record(lineside_audit::Change { why, ..change });
        }
        role_token::Entity::delete_many()
            .filter(role_token::Column::Role.is_in(ended))
            .exec(&writing.transaction)
            .await?;
        Ok(())
    }

    /// Roles that have a token, in their order, and when each was made: milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all(&self) -> Result<Vec<(String, i64)>, Error> {
        let rows = role_token::Entity::find()
            .order_by_asc(role_token::Column::Role)
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(|row| (row.role, row.made_unix_ms)).collect())
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn holder(&self, token: &str) -> Result<Option<Holder>, Error> {
        let token = hash(token.trim());
        let given = token.hex();
        let rows = role_token::Entity::find().all(self.store.read()).await?;
        let found = rows.into_iter().find(|row| same(&row.token_hash, &given));
        let role = found.and_then(|row| row.role.parse().ok());
        Ok(role.map(|role| Holder { role, token }))
    }
}

/// A plain hash is enough: a token is 256 random bits.
fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}
