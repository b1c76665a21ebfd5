//! Sessions of people: begun with password and code, over after a while, ended at will.

use crate::access::lockout::Tries;
use crate::access::people::{find, grants, json, wrong};
use crate::access::rights::Grants;
use crate::access::secret::random_hex;
use crate::access::{People, totp};
use crate::audit::{By, did};
use crate::error::Error;
use crate::store::tables::{person, session};
use crate::store::{Writing, unix_ms};
use lineside_audit::Action;
use lineside_bundle::Digest;
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ActiveValue::Unchanged, ColumnTrait, EntityTrait,
    PaginatorTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// What the token of a session begins with.
pub(crate) const SESSION_PREFIX: &str = "lss_";
/// How long a session lasts: a shift.
const LONGEST: Duration = Duration::hours(12);
/// How long nobody may have come by it.
const IDLE: Duration = Duration::hours(2);
/// How long after the password was shown it counts as shown just now.
const FRESH: Duration = Duration::minutes(5);
/// How often it is written down that somebody came by it.
const SEEN_EVERY: Duration = Duration::minutes(1);
/// Sessions of one person; the one that was used last longest ago gives way.
const SESSIONS_MAX: u64 = 16;

/// A session that was begun. The token is told this once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SessionBegun {
    /// `Authorization: Bearer` with this.
    pub token: String,
    /// Until when it lasts at most: milliseconds since 1970.
    pub until_unix_ms: i64,
    /// Whether a password of his own is to be set before anything else.
    pub must_set_password: bool,
}

/// Who comes by a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionOf {
    pub name: String,
    /// By what it is called here.
    pub hash: String,
    pub grants: Grants,
    pub must_set_password: bool,
    /// When the password was shown last: milliseconds since 1970.
    pub shown_unix_ms: i64,
}

impl SessionOf {
    /// Whether the password was shown just now.
    pub fn is_fresh(&self, now: OffsetDateTime) -> bool {
        let age = unix_ms(now).saturating_sub(self.shown_unix_ms);
        (0..=i64::try_from(FRESH.whole_milliseconds()).unwrap_or(0)).contains(&age)
    }
}

impl People {
    /// Begins a session.
    ///
    /// # Errors
    /// [`Error::Stranger`] if name, password or code are wrong; [`Error::TooOften`].
    pub async fn enter(
        &self,
        name: &str,
        password: &str,
        code: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<SessionBegun, Error> {
        let known = self.try_password(name, password, now).await?;
        let token = format!("{SESSION_PREFIX}{}", random_hex()?);
        let writing = self.store.write().await?;
        accept(&writing, &known, code, now).await?;
        let his = session::Entity::find().filter(session::Column::Person.eq(name));
        if his.clone().count(&writing.transaction).await? >= SESSIONS_MAX {
            let oldest = his.order_by_asc(session::Column::SeenUnixMs);
            if let Some(oldest) = oldest.one(&writing.transaction).await? {
                session::Entity::delete_by_id(oldest.hash).exec(&writing.transaction).await?;
            }
        }
        let row = session::ActiveModel {
            hash: Set(hash(&token)),
            person: Set(name.to_owned()),
            begun_unix_ms: Set(unix_ms(now)),
            seen_unix_ms: Set(unix_ms(now)),
            shown_unix_ms: Set(unix_ms(now)),
        };
        session::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
        writing.record(did(&By::Person(name.to_owned()), Action::SessionBegun, "person", name));
        writing.commit().await?;
        let until_unix_ms = unix_ms(now + LONGEST);
        Ok(SessionBegun { token, until_unix_ms, must_set_password: known.must_set_password })
    }

    /// Shows the password once more, which approving asks for.
    ///
    /// # Errors
    /// As for [`People::enter`].
    pub async fn show_again(
        &self,
        of: &SessionOf,
        password: &str,
        code: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let known = self.try_password(&of.name, password, now).await?;
        let writing = self.store.write().await?;
        accept(&writing, &known, code, now).await?;
        let row = session::ActiveModel {
            hash: Unchanged(of.hash.clone()),
            shown_unix_ms: Set(unix_ms(now)),
            ..Default::default()
        };
        row.update(&writing.transaction).await?;
        writing.changes_without_entry("the password was shown once more");
        writing.commit().await
    }

    /// Who comes by this token, if its session is not over.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn session(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<Option<SessionOf>, Error> {
        let hash = hash(token);
        let Some(row) = session::Entity::find_by_id(&hash).one(self.store.read()).await? else {
            return Ok(None);
        };
        let age = |since: i64| Duration::milliseconds(unix_ms(now).saturating_sub(since));
        if age(row.begun_unix_ms) > LONGEST || age(row.seen_unix_ms) > IDLE {
            return Ok(None);
        }
        let Some(known) = person::Entity::find_by_id(&row.person).one(self.store.read()).await?
        else {
            return Ok(None);
        };
        if age(row.seen_unix_ms) > SEEN_EVERY {
            self.see(&hash, now).await?;
        }
        Ok(Some(SessionOf {
            name: row.person,
            hash,
            grants: grants(&known.grants),
            must_set_password: known.must_set_password,
            shown_unix_ms: row.shown_unix_ms,
        }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn leave(&self, of: &SessionOf) -> Result<(), Error> {
        let writing = self.store.write().await?;
        session::Entity::delete_by_id(&of.hash).exec(&writing.transaction).await?;
        writing.commit().await
    }

    /// Writes down that somebody came, and forgets sessions that are over.
    async fn see(&self, hash: &str, now: OffsetDateTime) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let seen = session::Entity::update_many()
            .col_expr(session::Column::SeenUnixMs, unix_ms(now).into())
            .filter(session::Column::Hash.eq(hash));
        seen.exec(&writing.transaction).await?;
        let over = Condition::any()
            .add(session::Column::SeenUnixMs.lt(unix_ms(now - IDLE)))
            .add(session::Column::BegunUnixMs.lt(unix_ms(now - LONGEST)));
        session::Entity::delete_many().filter(over).exec(&writing.transaction).await?;
        writing.commit().await
    }
}

/// Takes the code, where one is needed, and forgets the tries in vain.
async fn accept(
    writing: &Writing<'_>,
    known: &person::Model,
    code: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    // Somebody may have come by the same code, or changed the password, since.
    let current = find(&writing.transaction, &known.name).await?;
    if current.password_hash != known.password_hash {
        return Err(wrong());
    }
    let mut row = person::ActiveModel {
        name: Unchanged(known.name.clone()),
        tries: Set(json(&Tries::default())),
        ..Default::default()
    };
    if let Some(secret) = &current.totp {
        let code = code.unwrap_or_default();
        let span = totp::span_of(secret, code, now.unix_timestamp(), current.totp_last);
        row.totp_last = Set(span.ok_or_else(wrong)?);
    }
    row.update(&writing.transaction).await?;
    Ok(())
}

fn hash(token: &str) -> String {
    Digest::of(token.trim().as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rights::{Grant, Role};
    use std::sync::Arc;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);
    const OWN: &str = "twelve chars and more";

    async fn people() -> (People, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        (People::new(store), folder)
    }

    async fn anna(people: &People) -> SessionOf {
        let grants = vec![Grant::everywhere(Role::Approver)];
        let first = people.add(&By::ADMINISTRATOR, "anna", grants, NOW).await.unwrap();
        let begun = people.enter("anna", &first, None, NOW).await.unwrap();
        assert!(begun.must_set_password);
        let session = people.session(&begun.token, NOW).await.unwrap().unwrap();
        people.set_password("anna", &first, OWN, &session.hash, NOW).await.unwrap();
        people.session(&begun.token, NOW).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_session_is_over_when_nobody_comes_and_after_a_shift() {
        let (people, _folder) = people().await;
        anna(&people).await;
        let token = people.enter("anna", OWN, None, NOW).await.unwrap().token;
        let is_in = async |at| people.session(&token, at).await.unwrap().is_some();
        assert!(is_in(NOW + Duration::minutes(119)).await);
        // It was used then.
        assert!(is_in(NOW + Duration::minutes(200)).await);
        assert!(!is_in(NOW + Duration::minutes(321)).await);
        assert!(people.session("lss_x", NOW).await.unwrap().is_none());
        let token = people.enter("anna", OWN, None, NOW).await.unwrap().token;
        for hours in 1..=12 {
            let at = NOW + Duration::hours(hours);
            assert!(people.session(&token, at).await.unwrap().is_some());
        }
        let late = NOW + LONGEST + Duration::minutes(1);
        assert!(people.session(&token, late).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_password_is_fresh_for_five_minutes_and_can_be_shown_again() {
        let (people, _folder) = people().await;
        let session = anna(&people).await;
        let later = NOW + Duration::minutes(6);
        assert!(session.is_fresh(NOW) && !session.is_fresh(later));
        assert!(people.show_again(&session, "wrong password", None, later).await.is_err());
        people.show_again(&session, OWN, None, later).await.unwrap();
        let token = people.enter("anna", OWN, None, NOW).await.unwrap().token;
        assert_ne!(people.session(&token, NOW).await.unwrap().unwrap().hash, session.hash);
        // A clock that goes back makes nothing fresh for ever.
        assert!(!session.is_fresh(NOW - Duration::minutes(1)));
    }

    #[tokio::test]
    async fn guesses_are_counted_and_the_right_one_has_to_wait_as_well() {
        let (people, _folder) = people().await;
        anna(&people).await;
        for _ in 0..5 {
            let refused = people.enter("anna", "a wrong password", None, NOW).await;
            assert!(matches!(refused, Err(Error::Stranger(_))));
        }
        assert!(matches!(people.enter("anna", OWN, None, NOW).await, Err(Error::TooOften(_))));
        let later = NOW + Duration::seconds(31);
        assert!(people.enter("anna", OWN, None, later).await.is_ok());
        assert_eq!(people.get("anna").await.unwrap().failed, 0);
        let nobody = people.enter("nobody", OWN, None, NOW).await;
        assert!(matches!(nobody, Err(Error::Stranger(_))));
    }

    #[tokio::test]
    async fn where_there_is_an_authenticator_app_its_code_is_needed_and_good_once() {
        let (people, _folder) = people().await;
        let session = anna(&people).await;
        let (secret, address) = people.new_code("anna").await.unwrap();
        assert!(address.starts_with("otpauth://totp/Lineside:anna?secret="), "{address}");
        assert!(people.confirm_code("anna", "000000", NOW).await.is_err());
        // Until then none is needed.
        assert!(people.enter("anna", OWN, None, NOW).await.is_ok());
        let code = totp::code_at(&secret, NOW.unix_timestamp());
        people.confirm_code("anna", &code, NOW).await.unwrap();
        assert!(people.enter("anna", OWN, None, NOW).await.is_err());
        assert!(people.enter("anna", OWN, Some(&code), NOW).await.is_err(), "it was taken");
        let later = NOW + Duration::seconds(60);
        let next = totp::code_at(&secret, later.unix_timestamp());
        assert!(people.enter("anna", OWN, Some(&next), later).await.is_ok());
        assert!(people.show_again(&session, OWN, Some(&next), later).await.is_err());
        assert!(people.new_code("anna").await.is_err(), "a thief of the session gets no other");
        // She has lost her phone.
        let first = people.new_password(&By::ADMINISTRATOR, "anna", true).await.unwrap();
        assert!(people.enter("anna", &first, None, later).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_removed_or_has_a_new_password_is_out() {
        let (people, _folder) = people().await;
        anna(&people).await;
        let token = people.enter("anna", OWN, None, NOW).await.unwrap().token;
        people.new_password(&By::ADMINISTRATOR, "anna", false).await.unwrap();
        assert!(people.session(&token, NOW).await.unwrap().is_none());
        assert!(people.enter("anna", OWN, None, NOW).await.is_err());
        people.remove(&By::ADMINISTRATOR, "anna").await.unwrap();
        assert!(people.all().await.unwrap().is_empty());
        for _ in 0..20 {
            let name = "bob";
            let _ = people.remove(&By::ADMINISTRATOR, name).await;
        }
        for name in ["", "Anna", "admin", "@anna", &"x".repeat(64)] {
            assert!(people.add(&By::ADMINISTRATOR, name, vec![], NOW).await.is_err(), "{name}");
        }
    }
}
