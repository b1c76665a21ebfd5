//! The OpenAPI document.

use crate::api::extract::Json;
use axum::Extension;
use std::sync::Arc;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn openapi(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(document.as_ref().clone())
}

/// Adds the errors that follow from what a route takes, so that no route forgets them.
pub(crate) fn add_usual_errors(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.head,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            if operation.parameters.is_some() || operation.request_body.is_some() {
                add(operation, "400", "path, query or body make no sense");
            }
            if operation.security.is_some() {
                add(operation, "401", "the caller has not shown who he is");
                add(operation, "403", "this is not for who calls");
            }
            if operation.request_body.is_some() {
                add(operation, "413", "the body is larger than what is taken");
            }
            add(operation, "500", "the server could not do it");
        }
    }
}

fn add(operation: &mut Operation, status: &str, description: &str) {
    let problem = RefOr::Ref(Ref::from_schema_name("Problem"));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(problem)))
        .build();
    operation.responses.responses.entry(status.into()).or_insert(RefOr::T(response));
}
