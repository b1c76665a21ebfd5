//! The TUF repository, for any client that follows one: metadata below `/tuf/metadata/`, files below
//! `/tuf/targets/`, with the names of consistent snapshots (TUF specification 6.2).
//!
//! Who reads it shows who he is. The documents need no secrecy to be trusted; but they name every
//! release, vendor and site of a fleet, and a stranger would learn from them where to begin.

use crate::access::Publisher;
use crate::api::Problem;
use crate::api::caller::{Consults, Follower};
use crate::api::documents::{Accepted, json_bytes};
use crate::api::extract::{Bytes, Json, Path, Query};
use crate::error::Error;
use crate::fleet::{Fleet, beyond};
use crate::release::FILE_BYTES_MAX;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use lineside_bundle::Digest;
use lineside_wire::name::RoleName;
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::IntoParams;

/// A document of the repository: `timestamp.json`, `2.root.json`, `7.snapshot.json`,
/// `3.targets.json`, `1.site-mill.json`.
#[utoipa::path(get, path = "/tuf/metadata/{document}", params(("document" = String, Path)),
    security(("person" = ["look"]), ("device" = [])),
    responses((status = 200, description = "TUF metadata"), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn metadata(
    _: Follower,
    State(fleet): State<Arc<Fleet>>,
    Path(document): Path<String>,
) -> Result<impl IntoResponse, Error> {
    let bytes = fleet.repository.document(&document, OffsetDateTime::now_utc()).await?;
    Ok(json_bytes(bytes.ok_or_else(|| missing(&document))?))
}

/// The manifest of a release, which the list of releases names by its digest: `HEX.VERSION`.
#[utoipa::path(get, path = "/tuf/targets/{bundle}/{file}",
    params(("bundle" = String, Path), ("file" = String, Path)),
    security(("person" = ["look"]), ("device" = [])),
    responses((status = 200, description = "OCI image manifest"), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(crate) async fn release(
    follower: Follower,
    State(fleet): State<Arc<Fleet>>,
    Path((bundle, file)): Path<(String, String)>,
) -> Result<impl IntoResponse, Error> {
    let (digest, _) = digest_of(&file)?;
    let stored = fleet.artifacts.get(&bundle, &digest.to_string()).await?;
    follower.check(&fleet, &bundle, &digest).await?;
    Ok(([(CONTENT_TYPE, stored.media_type)], stored.bytes))
}

/// What holds at a site, which a delegated role has signed: `HEX.policy.json`.
#[utoipa::path(get, path = "/tuf/targets/site/{site}/{file}",
    params(("site" = String, Path), ("file" = String, Path)),
    security(("person" = ["look"]), ("device" = [])),
    responses((status = 200, description = "a file as it was signed"),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn site_file(
    follower: Follower,
    State(fleet): State<Arc<Fleet>>,
    Path((site, file)): Path<(String, String)>,
) -> Result<impl IntoResponse, Error> {
    if let Follower::Device(device) = &follower
        && fleet.registry.get(device.as_str()).await?.row.site != site
    {
        return Err(Error::Forbidden(format!("{device} stands at another site")));
    }
    let (digest, name) = digest_of(&file)?;
    let released = fleet.documents.released(OffsetDateTime::now_utc()).await?;
    if released.file(&format!("site/{site}/{name}")).is_none_or(|(signed, _)| signed != digest) {
        return Err(missing(&file));
    }
    let bytes = fleet.artifacts.blobs.read(&digest, FILE_BYTES_MAX).await?;
    let bytes = bytes.ok_or_else(|| missing(&file))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes))
}

/// Why somebody asks what a role has signed.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Beside {
    /// What he is about to sign, as in `pump/2`, and this role may as well: the token of a role reads its
    /// own list, and of others only such.
    path: Option<String>,
}

/// What a delegated role has signed, byte for byte.
#[utoipa::path(get, path = "/api/v1/targets/{role}", params(("role" = String, Path), Beside),
    security(("person" = ["look"]), ("role" = [])),
    responses((status = 200, description = "TUF targets"), (status = 404, body = Problem)))]
pub(crate) async fn role(
    Consults(publisher): Consults,
    State(fleet): State<Arc<Fleet>>,
    Path(role): Path<String>,
    Query(beside): Query<Beside>,
) -> Result<impl IntoResponse, Error> {
    let role = parse(&role)?;
    if let Publisher::Role(holder) = &publisher {
        fleet.check_beside(holder, &role, beside.path.as_deref()).await?;
    }
    let missing = || Error::Missing(format!("role {role} has signed nothing that is here"));
    Ok(json_bytes(fleet.documents.role(&role).await?.ok_or_else(missing)?))
}

/// Takes what a role has signed that the list of releases names. The files that it speaks of must be
/// here: bundles as they are pushed, others as blobs.
#[utoipa::path(put, path = "/api/v1/targets/{role}", params(("role" = String, Path)),
    security(("person" = ["release"]), ("role" = [])),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Accepted), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn put_role(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path(role): Path<String>,
    Bytes(bytes): Bytes,
) -> Result<Json<Accepted>, Error> {
    let (role, now) = (parse(&role)?, OffsetDateTime::now_utc());
    let by = match &publisher {
        Publisher::Role(holder) if holder.role == role => "by its token",
        Publisher::Role(holder) => return Err(beyond(holder, &format!("the list of {role}"))),
        Publisher::House(_) => "by hand",
    };
    let version = fleet.documents.accept_delegated(&publisher, &role, bytes, now).await?;
    fleet.repository.renew(now).await?;
    tracing::info!("targets {version} of role {role} accepted, brought {by}");
    Ok(Json(Accepted { version }))
}

/// Digest and name of a file, of its name on a mirror.
fn digest_of(file: &str) -> Result<(Digest, &str), Error> {
    let parts = file.split_once('.').and_then(|(hex, name)| {
        let digest = format!("sha256:{hex}").parse().ok()?;
        Some((digest, name))
    });
    parts.ok_or_else(|| missing(file))
}

/// A role as a path has it.
pub(crate) fn parse(role: &str) -> Result<RoleName, Error> {
    role.parse().map_err(|error| Error::Malformed(format!("role: {error}")))
}

fn missing(what: &str) -> Error {
    let shown: String = what.chars().take(200).collect();
    Error::Missing(format!("the repository has no {shown}"))
}
