//! Whether the server is well.

use crate::api::extract::Json;
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, `needs attention`, or `nothing can be stored`.
    status: String,
    /// What is wrong with the server, a sentence each.
    attention: Vec<String>,
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
    let stored = fleet.store.check().await;
    let attention = fleet.attention(OffsetDateTime::now_utc()).await;
    let (code, status) = match stored {
        Ok(()) if attention.is_empty() => (StatusCode::OK, "ok"),
        // It serves all the same, and whoever starts it again would make nothing better.
        Ok(()) => (StatusCode::OK, "needs attention"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored"),
    };
    let health = Health {
        status: status.into(),
        attention,
        version: env!("CARGO_PKG_VERSION").into(),
        devices: fleet.registry.count().await?,
        messages_dropped: fleet.guard.dropped(),
        writes_failed: fleet.store.trouble().failures,
    };
    Ok((code, Json(health)))
}
