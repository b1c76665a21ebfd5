//! Logging in and out, and what everybody does about himself: password and authenticator app.

use crate::access::{Grant, SessionBegun, SessionOf};
use crate::api::Problem;
use crate::api::extract::{Json, OfStranger};
use crate::api::may::{Caller, InSession};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::http::Connection;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entering {
    /// The name.
    name: String,
    /// The password.
    password: String,
    /// The code of the authenticator app, where one was set up.
    #[serde(default)]
    code: Option<String>,
}

/// The password once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Again {
    /// The password.
    password: String,
    /// The code of the authenticator app, where one was set up.
    #[serde(default)]
    code: Option<String>,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// The password until now.
    old: String,
    /// From now on: at least 12 characters.
    new: String,
}

/// The code of an authenticator app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    /// Six digits.
    code: String,
}

/// The secret of an authenticator app. It is told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretMade {
    /// In base 32.
    secret: String,
    /// The same as apps read it.
    address: String,
}

/// Who somebody is.
#[derive(Serialize, ToSchema)]
pub(crate) struct CallerShown {
    /// The name; `admin` of who has the administrator's token.
    name: String,
    /// What he may do, and where.
    grants: Vec<Grant>,
    /// Whether a password of his own is to be set before anything else.
    must_set_password: bool,
    /// Whether the password was shown just now, which approving asks for.
    is_fresh: bool,
}

/// Logs in: begins a session.
#[utoipa::path(post, path = "/api/v1/session", request_body = Entering,
    responses((status = 201, body = SessionBegun), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn enter(
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    OfStranger(Entering { name, password, code }): OfStranger<Entering>,
) -> Result<(StatusCode, Json<SessionBegun>), Error> {
    hear(&fleet, connection.address.ip())?;
    let now = OffsetDateTime::now_utc();
    let begun = fleet.people.enter(&name, &password, code.as_deref(), now).await?;
    tracing::info!("{name} has logged in");
    Ok((StatusCode::CREATED, Json(begun)))
}

/// Who calls, and what he may do.
#[utoipa::path(get, path = "/api/v1/session", security(("person" = [])),
    responses((status = 200, body = CallerShown)))]
pub(crate) async fn show(caller: Caller) -> Json<CallerShown> {
    let session = caller.session.as_ref();
    Json(CallerShown {
        name: caller.by.who().id.to_string(),
        grants: caller.grants.list().to_vec(),
        must_set_password: session.is_some_and(|session| session.must_set_password),
        is_fresh: session.is_none_or(|session| session.is_fresh(OffsetDateTime::now_utc())),
    })
}

/// Logs out: ends the session.
#[utoipa::path(delete, path = "/api/v1/session", security(("person" = [])),
    responses((status = 204, description = "ended"), (status = 403, body = Problem)))]
pub(crate) async fn leave(
    InSession(session): InSession,
    State(fleet): State<Arc<Fleet>>,
) -> Result<StatusCode, Error> {
    fleet.people.leave(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows the password once more: approving asks for that within five minutes before.
#[utoipa::path(post, path = "/api/v1/session/again", security(("person" = [])),
    responses((status = 204, description = "taken"), (status = 429, body = Problem)))]
pub(crate) async fn show_again(
    InSession(session): InSession,
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    Json(Again { password, code }): Json<Again>,
) -> Result<StatusCode, Error> {
    hear(&fleet, connection.address.ip())?;
    let now = OffsetDateTime::now_utc();
    fleet.people.show_again(&session, &password, code.as_deref(), now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets another password. Other sessions of the same person end.
#[utoipa::path(put, path = "/api/v1/session/password", security(("person" = [])),
    responses((status = 204, description = "set"), (status = 429, body = Problem)))]
pub(crate) async fn set_password(
    InSession(session): InSession,
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    Json(NewPassword { old, new }): Json<NewPassword>,
) -> Result<StatusCode, Error> {
    hear(&fleet, connection.address.ip())?;
    let now = OffsetDateTime::now_utc();
    fleet.people.set_password(&session.name, &old, &new, &session.hash, now).await?;
    tracing::info!("{} has set another password", session.name);
    Ok(StatusCode::NO_CONTENT)
}

/// Draws the secret of an authenticator app. It counts when a code of it was shown.
#[utoipa::path(post, path = "/api/v1/session/authenticator", security(("person" = [])),
    responses((status = 201, body = SecretMade), (status = 409, body = Problem)))]
pub(crate) async fn new_code(
    InSession(session): InSession,
    State(fleet): State<Arc<Fleet>>,
) -> Result<(StatusCode, Json<SecretMade>), Error> {
    fresh(&session)?;
    let (secret, address) = fleet.people.new_code(&session.name).await?;
    Ok((StatusCode::CREATED, Json(SecretMade { secret, address })))
}

/// Takes an authenticator app into use: from now on its code is asked for.
#[utoipa::path(put, path = "/api/v1/session/authenticator", security(("person" = [])),
    responses((status = 204, description = "in use"), (status = 409, body = Problem)))]
pub(crate) async fn confirm_code(
    InSession(session): InSession,
    State(fleet): State<Arc<Fleet>>,
    Json(Code { code }): Json<Code>,
) -> Result<StatusCode, Error> {
    fresh(&session)?;
    fleet.people.confirm_code(&session.name, &code, OffsetDateTime::now_utc()).await?;
    tracing::info!("{} has an authenticator app", session.name);
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses who has not shown the password just now: whoever has taken the session is not to keep its owner out.
fn fresh(session: &SessionOf) -> Result<(), Error> {
    let is_fresh = session.is_fresh(OffsetDateTime::now_utc());
    is_fresh.then_some(()).ok_or_else(|| {
        Error::Stranger(
            "this needs the password to be shown once more: `lineside login --again`".into(),
        )
    })
}

/// Refuses who tries passwords too often from one address.
///
/// # Errors
/// [`Error::TooOften`].
pub(super) fn hear(fleet: &Fleet, address: IpAddr) -> Result<(), Error> {
    match fleet.strangers.allows_password(address, Instant::now()) {
        true => Ok(()),
        false => Err(Error::TooOften("too many passwords from there: wait a minute".into())),
    }
}
