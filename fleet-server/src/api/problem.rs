//! Errors as HTTP tells them: `{"error": "…"}`.

use crate::error::{Error, chain};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A sentence for people.
    pub error: String,
}

/// No such page.
pub(crate) async fn no_such_page() -> Error {
    Error::Missing("there is no such page".into())
}

impl Error {
    /// The status that HTTP has for it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Error::Malformed(_) => StatusCode::BAD_REQUEST,
            Error::Stranger(_) => StatusCode::UNAUTHORIZED,
            Error::Missing(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Refused(_) | Error::Untrusted(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::Database(_) | Error::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        // What a stranger may be told stays short; the whole chain is for the log.
        if status.is_server_error() {
            tracing::error!("{}", chain(&self));
        }
        let mut response = (status, Json(Problem { error: self.to_string() })).into_response();
        let headers = response.headers_mut();
        match self {
            Error::Stranger(_) => {
                let challenge = HeaderValue::from_static("Basic realm=\"lineside\", Bearer");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            Error::Range { size } => {
                if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    headers.insert(header::CONTENT_RANGE, range);
                }
            }
            _ => {}
        }
        response
    }
}
