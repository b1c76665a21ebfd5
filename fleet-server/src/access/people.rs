//! People: their names, what they may do, and by what they are known.

use crate::access::lockout::Tries;
use crate::access::rights::{Grant, Grants};
use crate::access::secret::random_hex;
use crate::access::{password, totp};
use crate::audit::{By, did, digest};
use crate::error::Error;
use crate::store::tables::{person, session};
use crate::store::{Store, Writing, unix_ms};
use lineside_audit::{Action, Change, Value};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ActiveValue::Unchanged, ColumnTrait, ConnectionTrait,
    EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// People of one server.
const PEOPLE_MAX: u64 = 10_000;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// Characters of a password that is made here: 95 random bits.
const MADE_CHARS: usize = 24;

/// The people that a server knows, and the sessions that they have under way.
#[derive(Debug, Clone)]
pub(crate) struct People {
    pub(super) store: Arc<Store>,
}

/// Somebody, as is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PersonShown {
    /// The name.
    pub name: String,
    /// What he may do, and where.
    pub grants: Vec<Grant>,
    /// Whether he has to set a password of his own before anything else.
    pub must_set_password: bool,
    /// Whether he is asked for a code of an authenticator app.
    pub has_authenticator: bool,
    /// Wrong passwords in a row.
    pub failed: u32,
    /// When he was added: milliseconds since 1970.
    pub added_unix_ms: i64,
}

impl People {
    /// The people in `store`.
    pub fn new(store: Arc<Store>) -> People {
        People { store }
    }

    /// Whether there is anybody.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn are_known(&self) -> Result<bool, Error> {
        Ok(person::Entity::find().one(self.store.read()).await?.is_some())
    }

    /// All, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all(&self) -> Result<Vec<PersonShown>, Error> {
        let rows = person::Entity::find().order_by_asc(person::Column::Name);
        Ok(rows.all(self.store.read()).await?.into_iter().map(shown).collect())
    }

    /// One.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn get(&self, name: &str) -> Result<PersonShown, Error> {
        Ok(shown(find(self.store.read(), name).await?))
    }

    /// Adds somebody. The password that he enters with the first time is told this once.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there is one of this name, or no room.
    pub async fn add(
        &self,
        by: &By,
        name: &str,
        grants: Vec<Grant>,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        check_name(name)?;
        let grants = Grants::checked(grants).map_err(Error::Malformed)?;
        let password = made()?;
        let hash = password::hash(&password).await?;
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        if person::Entity::find_by_id(name).one(on).await?.is_some() {
            return Err(Error::Conflict(format!("there is somebody called {name} already")));
        }
        if person::Entity::find().count(on).await? >= PEOPLE_MAX {
            return Err(Error::Conflict(format!(
                "this server knows {PEOPLE_MAX} people, the most"
            )));
        }
        let row = person::ActiveModel {
            name: Set(name.to_owned()),
            password_hash: Set(hash),
            must_set_password: Set(true),
            totp: Set(None),
            totp_new: Set(None),
            totp_last: Set(0),
            grants: Set(json(&grants)),
            tries: Set(json(&Tries::default())),
            added_unix_ms: Set(unix_ms(now)),
        };
        person::Entity::insert(row).exec_without_returning(on).await?;
        writing.record(granted(by, Action::PersonAdded, name, &grants));
        writing.commit().await?;
        Ok(password)
    }

    /// Gives somebody other rights. His sessions go on with them.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Missing`].
    pub async fn grant(&self, by: &By, name: &str, grants: Vec<Grant>) -> Result<(), Error> {
        let grants = Grants::checked(grants).map_err(Error::Malformed)?;
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, name).await?;
        let row = person::ActiveModel {
            name: Unchanged(known.name),
            grants: Set(json(&grants)),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        let old = Some(Value::Digest(digest(known.grants.as_bytes())));
        writing.record(Change { old, ..granted(by, Action::PersonSet, name, &grants) });
        writing.commit().await
    }

    /// Makes a new password for somebody who has lost his, and his authenticator app where `and_code`. Whoever is in
    /// by his name is out.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn new_password(&self, by: &By, name: &str, and_code: bool) -> Result<String, Error> {
        let password = made()?;
        let hash = password::hash(&password).await?;
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, name).await?;
        let mut row = person::ActiveModel {
            name: Unchanged(known.name),
            password_hash: Set(hash),
            must_set_password: Set(true),
            tries: Set(json(&Tries::default())),
            ..Default::default()
        };
        if and_code {
            (row.totp, row.totp_new) = (Set(None), Set(None));
        }
        row.update(&writing.transaction).await?;
        end_all(&writing, name).await?;
        writing.record(did(by, Action::PasswordSet, "person", name));
        writing.commit().await?;
        Ok(password)
    }

    /// Sets a password of his own, which he has shown to know the last one for. His other sessions end.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Stranger`] if the old one is wrong; [`Error::TooOften`].
    pub async fn set_password(
        &self,
        name: &str,
        old: &str,
        new: &str,
        session: &str,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        password::check(name, new)?;
        if old == new {
            return Err(Error::Malformed("the new password is the old one".into()));
        }
        let tried = self.try_password(name, old, now).await?;
        let hash = password::hash(new).await?;
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, name).await?;
        let own = session::Entity::find_by_id(session).one(&writing.transaction).await?;
        // It may have been taken from him meanwhile, with the password.
        if known.password_hash != tried.password_hash || own.is_none() {
            return Err(wrong());
        }
        let row = person::ActiveModel {
            name: Unchanged(known.name),
            password_hash: Set(hash),
            must_set_password: Set(false),
            tries: Set(json(&Tries::default())),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        let others = session::Entity::delete_many()
            .filter(session::Column::Person.eq(name))
            .filter(session::Column::Hash.ne(session));
        others.exec(&writing.transaction).await?;
        writing.record(did(&By::Person(name.to_owned()), Action::PasswordSet, "person", name));
        writing.commit().await
    }

    /// Draws the secret of an authenticator app. It counts once a code of it was [shown](People::confirm_code).
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Conflict`] if there is one: only who administers takes that away.
    pub async fn new_code(&self, name: &str) -> Result<(String, String), Error> {
        let secret = totp::draw()?;
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, name).await?;
        if known.totp.is_some() {
            return Err(Error::Conflict(
                "there is an authenticator app already; who has lost it asks an administrator for a new password"
                    .into(),
            ));
        }
        let row = person::ActiveModel {
            name: Unchanged(known.name),
            totp_new: Set(Some(secret.clone())),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        writing.changes_without_entry("a secret is drawn that counts for nothing yet");
        writing.commit().await?;
        let address = totp::address(name, &secret);
        Ok((secret, address))
    }

    /// Takes the authenticator app into use whose secret was drawn last, if this is its code.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not, or none was drawn.
    pub async fn confirm_code(
        &self,
        name: &str,
        code: &str,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, name).await?;
        let secret = known.totp_new.filter(|_| known.totp.is_none());
        let span = secret
            .as_deref()
            .and_then(|secret| totp::span_of(secret, code, now.unix_timestamp(), 0));
        let Some(span) = span else {
            return Err(Error::Conflict(
                "that is not the code of the secret that was drawn last: is the clock of the app right?".into(),
            ));
        };
        let row = person::ActiveModel {
            name: Unchanged(known.name),
            totp: Set(secret),
            totp_new: Set(None),
            totp_last: Set(span),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        writing.record(did(
            &By::Person(name.to_owned()),
            Action::PasswordSet,
            "authenticator",
            name,
        ));
        writing.commit().await
    }

    /// Forgets somebody. Whoever is in by his name is out.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove(&self, by: &By, name: &str) -> Result<(), Error> {
        let writing = self.store.write().await?;
        find(&writing.transaction, name).await?;
        person::Entity::delete_by_id(name).exec(&writing.transaction).await?;
        end_all(&writing, name).await?;
        writing.record(did(by, Action::PersonRemoved, "person", name));
        writing.commit().await
    }

    /// Looks at a password. The try is written down as one in vain before, so that a hundred at once are a hundred.
    ///
    /// # Errors
    /// [`Error::Stranger`], [`Error::TooOften`].
    pub(super) async fn try_password(
        &self,
        name: &str,
        given: &str,
        now: OffsetDateTime,
    ) -> Result<person::Model, Error> {
        if check_name(name).is_err() {
            password::is_right(given, None).await;
            return Err(wrong());
        }
        let writing = self.store.write().await?;
        let known = person::Entity::find_by_id(name).one(&writing.transaction).await?;
        let Some(known) = known else {
            drop(writing);
            password::is_right(given, None).await;
            return Err(wrong());
        };
        let tries: Tries = serde_json::from_str(&known.tries).unwrap_or_default();
        if let Some(seconds) = tries.wait(unix_ms(now)) {
            return Err(Error::TooOften(format!(
                "too many wrong passwords: the next is looked at in {seconds} seconds"
            )));
        }
        let tries = tries.and_another(unix_ms(now));
        let row = person::ActiveModel {
            name: Unchanged(known.name.clone()),
            tries: Set(json(&tries)),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        writing.changes_without_entry("a try is counted until it was right");
        writing.commit().await?;
        if password::is_right(given, Some(&known.password_hash)).await {
            return Ok(known);
        }
        if tries.wait(unix_ms(now)).is_some() {
            let writing = self.store.write().await?;
            writing.record(did(&By::Server("passwords"), Action::SessionRefused, "person", name));
            writing.commit().await?;
        }
        Err(wrong())
    }
}

/// The same for a name that nobody has, a wrong password and a wrong code.
pub(super) fn wrong() -> Error {
    Error::Stranger(
        "name or password is wrong; or the code, which is needed where an authenticator app was set up".into(),
    )
}

pub(super) async fn find(on: &impl ConnectionTrait, name: &str) -> Result<person::Model, Error> {
    let row = person::Entity::find_by_id(name).one(on).await?;
    row.ok_or_else(|| Error::Missing(format!("nobody here is called {name:?}")))
}

async fn end_all(writing: &Writing<'_>, name: &str) -> Result<(), Error> {
    let his = session::Column::Person.eq(name);
    session::Entity::delete_many().filter(his).exec(&writing.transaction).await?;
    Ok(())
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let is_good =
        |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || ".-_".contains(char);
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(is_good)
        && name != crate::access::ADMINISTRATOR;
    is_name.then_some(()).ok_or_else(|| {
        Error::Malformed(format!(
            "{name:?} is no name of somebody: 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '-' and '_', and not admin"
        ))
    })
}

/// A password that nobody guesses, to be typed once.
fn made() -> Result<String, Error> {
    Ok(random_hex()?.chars().take(MADE_CHARS).collect())
}

fn granted(by: &By, action: Action, name: &str, grants: &Grants) -> Change {
    let new = crate::audit::text(&json(grants));
    Change { new, ..did(by, action, "person", name) }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("grants and tries have a JSON form")
}

/// What is granted by a row. One that cannot be read grants nothing.
pub(super) fn grants(text: &str) -> Grants {
    serde_json::from_str(text).unwrap_or_default()
}

fn shown(row: person::Model) -> PersonShown {
    let tries: Tries = serde_json::from_str(&row.tries).unwrap_or_default();
    PersonShown {
        name: row.name,
        grants: grants(&row.grants).list().to_vec(),
        must_set_password: row.must_set_password,
        has_authenticator: row.totp.is_some(),
        failed: tries.failed,
        added_unix_ms: row.added_unix_ms,
    }
}
