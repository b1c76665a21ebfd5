//! Errors as HTTP tells them: `{"error": "…"}`.

use crate::api::extract::Json;
use crate::error::{Error, chain};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A sentence for people, with its causes.
    pub error: String,
}

/// No such page.
pub(crate) async fn no_such_page() -> Error {
    Error::Missing("there is no such page".into())
}

/// A page that is not for this.
pub(crate) async fn no_such_method() -> Response {
    let error = "this page has another method: /api/v1/openapi.json lists them".into();
    (StatusCode::METHOD_NOT_ALLOWED, Json(Problem { error })).into_response()
}

impl Error {
    /// The status that HTTP has for it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Error::Malformed(_) => StatusCode::BAD_REQUEST,
            Error::Stranger(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Missing(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Refused(_) | Error::Untrusted(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Range { .. } | Error::OutOfPlace { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::Database(_) | Error::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!("{}", chain(&self));
        }
        let mut response = (status, Json(Problem { error: self.told() })).into_response();
        let headers = response.headers_mut();
        let mut say = |name, text: String| {
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name, value)));
        };
        match self {
            Error::Stranger(_) => {
                say(header::WWW_AUTHENTICATE, "Basic realm=\"lineside\", Bearer".into());
            }
            Error::Range { size } => say(header::CONTENT_RANGE, format!("bytes */{size}")),
            Error::OutOfPlace { size } => say(header::RANGE, upload_range(size)),
            _ => {}
        }
        response
    }
}

/// What has come of an upload, as the OCI distribution specification writes it.
pub(crate) fn upload_range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
