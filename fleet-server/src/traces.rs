//! What is traced here, where somebody wants it: requests, messages of devices, decisions of the director. What one
//! of them brings about is a part of it.

use crate::fleet::Fleet;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use lineside_trace::{Context, Kind, Span};
use std::sync::Arc;

/// Parts of a path by which a span is called: what follows may be a name of anything.
const PARTS_MAX: usize = 3;

tokio::task_local! {
    static WITHIN: Option<Context>;
}

/// What is under way in this task.
pub(crate) fn within() -> Option<Context> {
    WITHIN.try_with(|context| *context).ok().flatten()
}

/// Has what `work` begins be a part of a span.
pub(crate) async fn during<F: Future>(span: &Span, work: F) -> F::Output {
    WITHIN.scope(span.context(), work).await
}

/// Traces a request, as a part of what its sender says that it is a part of.
pub(crate) async fn request(
    State(fleet): State<Arc<Fleet>>,
    request: Request,
    next: Next,
) -> Response {
    if fleet.traces.is_off() {
        return next.run(request).await;
    }
    let asked_by = request.headers().get("traceparent").and_then(|it| it.to_str().ok());
    let name = format!("{} {}", request.method(), beginning(request.uri().path()));
    let mut span = fleet.traces.begin(&name, Kind::Server, asked_by.and_then(Context::parse));
    span.set("http.request.method", request.method().as_str());
    span.set("url.path", request.uri().path());
    let response = during(&span, next.run(request)).await;
    let status = response.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str());
    }
    response
}

fn beginning(path: &str) -> &str {
    let mut ends = path.match_indices('/').map(|(at, _)| at).skip(1 + PARTS_MAX - 1);
    ends.next().map_or(path, |end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_called_by_what_many_requests_have_in_common() {
        for (path, name) in [
            ("/", "/"),
            ("/health", "/health"),
            ("/api/v1/devices", "/api/v1/devices"),
            ("/api/v1/devices/line-3/slots", "/api/v1/devices"),
            ("/v2/turbine/blobs/sha256:00", "/v2/turbine/blobs"),
        ] {
            assert_eq!(beginning(path), name);
        }
    }
}
