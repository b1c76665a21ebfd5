//! Tokens of those to whom the release keys have delegated: made and taken back by the administrator.

use crate::api::Problem;
use crate::api::extract::{Json, Path};
use crate::api::may::{Release, Throughout};
use crate::api::tuf::parse;
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A token that was made. It is told this once; the server keeps a hash.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenMade {
    /// Whose it is.
    role: String,
    /// The token, 64 hex digits.
    token: String,
}

/// A token as it is known here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenShown {
    /// Whose it is.
    role: String,
    /// When it was made: milliseconds since 1970.
    made_unix_ms: i64,
}

/// Tokens, by the roles that hold them.
#[utoipa::path(get, path = "/api/v1/tokens", security(("person" = ["release"])),
    responses((status = 200, body = Vec<TokenShown>)))]
pub(crate) async fn list(
    _: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<TokenShown>>, Error> {
    let tokens = fleet.tokens.all().await?.into_iter();
    Ok(Json(tokens.map(|(role, made_unix_ms)| TokenShown { role, made_unix_ms }).collect()))
}

/// Makes the token of a role that the list of releases names, in the place of the one before, which opens
/// nothing from now on. It ends with the role, and with the last of the keys that sign for the role now.
#[utoipa::path(post, path = "/api/v1/tokens/{role}", params(("role" = String, Path)),
    security(("person" = ["release"])),
    responses((status = 201, body = TokenMade), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn make(
    who: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
    Path(role): Path<String>,
) -> Result<(StatusCode, Json<TokenMade>), Error> {
    let role = parse(&role)?;
    let token = fleet.make_token(&who.by, &role, OffsetDateTime::now_utc()).await?;
    tracing::info!("{role} has a new token");
    Ok((StatusCode::CREATED, Json(TokenMade { role: role.to_string(), token })))
}

/// Takes the token of a role back.
#[utoipa::path(delete, path = "/api/v1/tokens/{role}", params(("role" = String, Path)),
    security(("person" = ["release"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    who: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
    Path(role): Path<String>,
) -> Result<StatusCode, Error> {
    let role = parse(&role)?;
    fleet.tokens.remove(&who.by, &role).await?;
    tracing::info!("the token of {role} is taken back");
    Ok(StatusCode::NO_CONTENT)
}
