//! Errors as HTTP tells them: `{"error": "…"}`.

use crate::api::extract::Json;
use crate::api::may::takes_basic;
use crate::error::{Error, chain};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A sentence for people, with its causes.
    pub error: String,
    /// The same for tools of the OCI distribution specification, below `/v2/`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<OciProblem>,
}

/// A problem in the form of the OCI distribution specification ("error codes").
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OciProblem {
    /// One of the specification's words.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
}

/// What an answer says, kept beside its body.
#[derive(Clone)]
struct Told(String);

/// Tells problems below `/v2/` in the form that OCI tools understand as well.
pub(crate) async fn as_oci_wants(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED && !takes_basic(&path) {
        let bearer = HeaderValue::from_static("Bearer realm=\"lineside\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    let told = response.extensions().get::<Told>().cloned();
    let (Some(Told(error)), Some(path)) = (told, path.strip_prefix("/v2/")) else {
        return response;
    };
    let code = code(response.status(), path);
    let errors = vec![OciProblem { code, message: error.clone() }];
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = Json(Problem { error, errors }).into_response().into_body();
    Response::from_parts(parts, body)
}

/// The specification's word for what has happened at a path below `/v2/`.
fn code(status: StatusCode, path: &str) -> &'static str {
    let about = path.split('/').nth(1).unwrap_or_default();
    let upload = path.contains("/blobs/uploads");
    match (status, about) {
        (StatusCode::UNAUTHORIZED, _) => "UNAUTHORIZED",
        (StatusCode::FORBIDDEN, _) => "DENIED",
        (StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT, _) => "UNSUPPORTED",
        (StatusCode::NOT_FOUND, "blobs") if upload => "BLOB_UPLOAD_UNKNOWN",
        (StatusCode::NOT_FOUND, "blobs") => "BLOB_UNKNOWN",
        (StatusCode::NOT_FOUND, "manifests") => "MANIFEST_UNKNOWN",
        (StatusCode::NOT_FOUND, _) => "NAME_UNKNOWN",
        (StatusCode::PAYLOAD_TOO_LARGE, _) => "SIZE_INVALID",
        // The specification has no word for it; this is the one of the registry that it came from.
        (StatusCode::SERVICE_UNAVAILABLE, _) => "UNAVAILABLE",
        (StatusCode::UNPROCESSABLE_ENTITY, "blobs") => "DIGEST_INVALID",
        (_, "blobs") => "BLOB_UPLOAD_INVALID",
        (_, "manifests") => "MANIFEST_INVALID",
        _ => "NAME_INVALID",
    }
}

/// No such page.
pub(crate) async fn no_such_page() -> Error {
    Error::Missing("there is no such page".into())
}

/// A page that is not for this.
pub(crate) async fn no_such_method() -> Response {
    let error = "this page has another method: /api/v1/openapi.json lists them".into();
    tell(StatusCode::METHOD_NOT_ALLOWED, error)
}

fn tell(status: StatusCode, error: String) -> Response {
    let told = Told(error.clone());
    let mut response = (status, Json(Problem { error, errors: Vec::new() })).into_response();
    response.extensions_mut().insert(told);
    response
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
            Error::Refused(_) | Error::Untrusted(_) | Error::Repository(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Range { .. } | Error::OutOfPlace { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::NotYet { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::Database(_) | Error::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{}", chain(&self));
        }
        let mut response = tell(status, self.told());
        let headers = response.headers_mut();
        let mut say = |name, text: String| {
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name, value)));
        };
        match self {
            // The administrator's token is taken as a Bearer as well. That is not said here: of a
            // registry it would say that there is a token service (RFC 6750, 3).
            Error::Stranger(_) => say(header::WWW_AUTHENTICATE, "Basic realm=\"lineside\"".into()),
            Error::Range { size } => say(header::CONTENT_RANGE, format!("bytes */{size}")),
            Error::OutOfPlace { size } => say(header::RANGE, upload_range(size)),
            Error::NotYet { seconds, .. } => say(header::RETRY_AFTER, seconds.to_string()),
            _ => {}
        }
        response
    }
}

/// What has come of an upload, as the OCI distribution specification writes it.
pub(crate) fn upload_range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
