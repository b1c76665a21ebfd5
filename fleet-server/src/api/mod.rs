//! REST with its OpenAPI document, OCI distribution for artifacts, and the pages.

mod blobs;
mod caller;
mod devices;
mod documents;
mod health;
mod html;
mod manifests;
mod openapi;
mod page;
mod problem;
mod telemetry;
mod view;

use crate::fleet::Fleet;
use crate::release::{RELEASES_BYTES_MAX, ROOT_BYTES_MAX};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use std::sync::Arc;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use problem::Problem;

/// Largest JSON body in bytes.
const JSON_BYTES_MAX: usize = 64 << 10;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lineside fleet server",
        description = "Devices, releases, assignments, telemetry. Errors are `{\"error\": \"…\"}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        let scheme = |scheme| SecurityScheme::Http(Http::new(scheme));
        components.add_security_scheme("administrator", scheme(HttpAuthScheme::Bearer));
        components.add_security_scheme("device", scheme(HttpAuthScheme::Basic));
    }
}

/// Every route. The API's are in its document because both are made of this one table.
pub(crate) fn router(fleet: Arc<Fleet>) -> Router {
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(openapi::openapi))
        .routes(routes!(documents::online_keys))
        .routes(routes!(devices::list, devices::add))
        .routes(routes!(devices::show))
        .routes(routes!(devices::assign))
        .routes(routes!(devices::documents))
        .routes(routes!(telemetry::intervals))
        .routes(routes!(telemetry::events))
        .routes(routes!(manifests::version))
        .routes(routes!(blobs::append, blobs::finish, blobs::cancel))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(documents::root, documents::put_root))
                .layer(DefaultBodyLimit::max(ROOT_BYTES_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(documents::releases, documents::put_releases))
                .layer(DefaultBodyLimit::max(RELEASES_BYTES_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(manifests::get, manifests::put))
                .layer(DefaultBodyLimit::max(crate::artifact::MANIFEST_BYTES_MAX as usize)),
        )
        .merge(
            // Blobs are streamed to disk and bounded there.
            OpenApiRouter::new()
                .routes(routes!(blobs::get))
                .routes(routes!(blobs::begin))
                .layer(DefaultBodyLimit::disable()),
        )
        .split_for_parts();
    let document = Arc::new(document);
    let header = |name, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .merge(api)
        .merge(page::router())
        .fallback(problem::no_such_page)
        .layer(axum::Extension(document))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ))
        .with_state(fleet)
}
