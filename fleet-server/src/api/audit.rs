//! The audit log, for whoever keeps a copy of it or a proof of a part.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Look, Throughout};
use crate::error::Error;
use crate::fleet::Fleet;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const TEXT: &str = "text/plain; charset=utf-8";
const LINES: &str = "application/jsonl";

/// From where on the log is given out.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct From {
    /// Number of the first entry; 0 unless told.
    from: Option<u64>,
}

/// Two sizes of the log.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Sizes {
    /// Entries that it had.
    old: u64,
    /// Entries that it had later.
    new: u64,
}

/// That a log is the continuation of an earlier one (RFC 9162, 2.1.4).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Consistency {
    /// Entries of the earlier one.
    old: u64,
    /// Entries of the later one.
    new: u64,
    /// The hashes of the proof in their order, in base64.
    hashes: Vec<String>,
}

/// The key that the log is signed with, as `name+id+base64`; its name is the log's.
#[utoipa::path(get, path = "/api/v1/audit/key", security(("person" = ["look"])),
    responses((status = 200, description = "a key as of signed-note", content_type = "text/plain")))]
pub(crate) async fn key(_: Throughout<Look>, State(fleet): State<Arc<Fleet>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT)], format!("{}\n", fleet.audit.key()))
}

/// What is signed of all entries that there are.
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", security(("person" = ["look"])),
    responses((status = 200, description = "a checkpoint as of tlog-checkpoint",
        content_type = "text/plain"), (status = 409, body = Problem)))]
pub(crate) async fn checkpoint(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<impl IntoResponse, Error> {
    let signed = fleet.audit.checkpoint().await?;
    Ok(([(CONTENT_TYPE, TEXT)], signed.note.to_string()))
}

/// The log from an entry on up to what is signed now: a file that proves itself, a line in JSON each. Who has
/// the beginning asks for the rest.
#[utoipa::path(get, path = "/api/v1/audit/entries", params(From), security(("person" = ["look"])),
    responses((status = 200, description = "JSON, a line each", content_type = "application/jsonl"),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn entries(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(wanted): Query<From>,
) -> Result<impl IntoResponse, Error> {
    let lines = fleet.audit.clone().given_out(wanted.from.unwrap_or(0)).await?;
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(lines)))
}

/// The proof that an entry is in the log, for who has the entry and not the log.
#[utoipa::path(get, path = "/api/v1/audit/entries/{seq}/proof", params(("seq" = u64, Path)),
    security(("person" = ["look"])),
    responses((status = 200, description = "a proof as of tlog-proof", content_type = "text/plain"),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn proof(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(seq): Path<u64>,
) -> Result<impl IntoResponse, Error> {
    Ok(([(CONTENT_TYPE, TEXT)], fleet.audit.prove(seq).await?.to_string()))
}

/// The proof that the log as it was is the beginning of the log as it was later.
#[utoipa::path(get, path = "/api/v1/audit/consistency", params(Sizes),
    security(("person" = ["look"])),
    responses((status = 200, body = Consistency), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn consistency(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(Sizes { old, new }): Query<Sizes>,
) -> Result<Json<Consistency>, Error> {
    let hashes = fleet.audit.prove_continued(old, new).await?;
    let hashes = hashes.iter().map(|hash| hash.to_base64()).collect();
    Ok(Json(Consistency { old, new, hashes }))
}
