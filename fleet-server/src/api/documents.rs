//! Signed documents: root, releases, and the keys that the root must name.

use crate::api::Problem;
use crate::api::caller::Consults;
use crate::api::extract::{Bytes, Json, Query};
use crate::api::may::{Look, Release, Throughout};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::release::{OnlineKeys, ROOT_BYTES_MAX};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// The version of a document that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Its version.
    pub version: u64,
}

/// Which root.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Which {
    /// Its version; the newest if left out.
    version: Option<u64>,
}

/// The server's public keys, for the root.
#[utoipa::path(get, path = "/api/v1/online-keys", security(("person" = ["look"])),
    responses((status = 200, body = OnlineKeys)))]
pub(crate) async fn online_keys(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
) -> Json<OnlineKeys> {
    Json(fleet.keys.public())
}

/// A root, byte for byte as it was signed.
#[utoipa::path(get, path = "/api/v1/root", params(Which),
    security(("person" = ["look"]), ("role" = [])),
    responses((status = 200, description = "TUF root"), (status = 404, body = Problem)))]
pub(crate) async fn root(
    _: Consults,
    State(fleet): State<Arc<Fleet>>,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Error> {
    let mut roots = fleet.documents.roots().await?;
    if let Some(version) = which.version {
        roots.retain(|(known, _)| *known == version);
    }
    let (_, bytes) = roots.pop().ok_or_else(|| {
        Error::Missing("there is no such root: make one with `lineside keys new`".into())
    })?;
    Ok(json_bytes(bytes))
}

/// Takes roots that follow each other, each as it was signed and the first of them by the last that is
/// here. A server without a root begins with the first of them on the administrator's word, and the last
/// must name its keys: so the people with root keys have a server followed that stands in for one that is
/// lost.
#[utoipa::path(put, path = "/api/v1/roots", security(("person" = ["release"])),
    request_body = Vec<String>,
    responses((status = 200, body = Accepted), (status = 422, body = Problem)))]
pub(crate) async fn put_roots(
    who: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
    Json(roots): Json<Vec<String>>,
) -> Result<Json<Accepted>, Error> {
    let now = OffsetDateTime::now_utc();
    if roots.iter().any(|root| root.len() > ROOT_BYTES_MAX) {
        return Err(Error::TooLarge(format!("a root has {ROOT_BYTES_MAX} bytes at most")));
    }
    let roots = roots.into_iter().map(String::into_bytes).collect();
    let version = fleet.documents.accept_roots(&who.by, roots, now).await?;
    fleet.repository.renew(now).await?;
    tracing::info!("root {version} accepted");
    Ok(Json(Accepted { version }))
}

/// The list of releases, byte for byte as it was signed.
#[utoipa::path(get, path = "/api/v1/releases",
    security(("person" = ["look"]), ("role" = [])),
    responses((status = 200, description = "TUF targets"), (status = 404, body = Problem)))]
pub(crate) async fn releases(
    _: Consults,
    State(fleet): State<Arc<Fleet>>,
) -> Result<impl IntoResponse, Error> {
    // Not verified here: after the release keys were replaced it does not hold until it is signed
    // anew, and who signs it anew begins with it.
    let bytes = fleet.documents.releases().await?.ok_or_else(|| {
        Error::Missing("nothing is released yet: sign a bundle with `lineside release`".into())
    })?;
    Ok(json_bytes(bytes))
}

/// Takes a list of releases that enough release keys have signed and whose artifacts are here.
#[utoipa::path(put, path = "/api/v1/releases", security(("person" = ["release"])),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Accepted), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn put_releases(
    who: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
    Bytes(bytes): Bytes,
) -> Result<Json<Accepted>, Error> {
    let now = OffsetDateTime::now_utc();
    let version = fleet.documents.accept_releases(&who.by, bytes, now).await?;
    fleet.repository.renew(now).await?;
    tracing::info!("list of releases {version} accepted");
    Ok(Json(Accepted { version }))
}

/// An answer with a document as it was signed.
pub(crate) fn json_bytes(bytes: Vec<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], bytes)
}
