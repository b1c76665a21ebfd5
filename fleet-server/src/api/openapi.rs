//! The OpenAPI document.

use axum::{Extension, Json};
use std::sync::Arc;
use utoipa::openapi::OpenApi;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn openapi(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(document.as_ref().clone())
}
