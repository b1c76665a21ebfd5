//! Whether the server is well.

use crate::error::Error;
use crate::fleet::Fleet;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: String,
    /// Version of the server.
    version: String,
    /// Devices added.
    devices: usize,
    /// Messages that the broker dropped since its start because a queue was full or a client gone.
    messages_dropped: u64,
}

/// Whether the server answers and its database does.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(fleet): State<Arc<Fleet>>) -> Result<Json<Health>, Error> {
    Ok(Json(Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        devices: fleet.registry.all().await?.len(),
        messages_dropped: fleet.guard.dropped(),
    }))
}
