//! Whether the server is well.

use crate::api::extract::Json;
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `nothing can be stored`.
    status: String,
    /// Version of the server.
    version: String,
    /// Devices added.
    devices: u64,
    /// Messages that the broker dropped since its start: refused, or a queue was full, or a client
    /// gone.
    messages_dropped: u64,
    /// Writes that failed since the start.
    writes_failed: u64,
}

/// Whether the server answers and its database does. While nothing can be stored, a write is tried.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = Health),
    (status = 503, body = Health)))]
pub(crate) async fn health(
    State(fleet): State<Arc<Fleet>>,
) -> Result<(StatusCode, Json<Health>), Error> {
    let (code, status) = match fleet.store.check().await {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored"),
    };
    let health = Health {
        status: status.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        devices: fleet.registry.count().await?,
        messages_dropped: fleet.guard.dropped(),
        writes_failed: fleet.store.trouble().failures,
    };
    Ok((code, Json(health)))
}
