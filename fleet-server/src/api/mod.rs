//! REST with its OpenAPI document, OCI distribution for artifacts, and the pages.

mod alerts;
mod ask;
mod attention;
mod audit;
mod blobs;
mod caller;
mod devices;
mod documents;
mod extract;
mod health;
mod identity;
mod logs;
mod manifests;
mod may;
mod metrics;
mod openapi;
mod overview;
mod page;
mod people;
mod problem;
mod reports;
mod rollouts;
mod sessions;
mod sites;
mod telemetry;
mod tokens;
mod tuf;
mod unread;
mod view;

use crate::fleet::Fleet;
use crate::release::{RELEASES_BYTES_MAX, ROLE_BYTES_MAX};
use crate::traces;
use axum::http::{HeaderValue, header};
use axum::routing::any;
use axum::{Extension, Router};
use extract::BodyBytesMax;
use lineside_bundle::MANIFEST_BYTES_MAX;
use lineside_identity::EXCHANGE_REQUEST_BYTES_MAX;
use lineside_trust::REPORT_BYTES_MAX;
use std::sync::Arc;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use problem::Problem;

/// Largest JSON body in bytes.
const JSON_BYTES_MAX: usize = 64 << 10;
/// Largest plan of a rollout in bytes: it may name some 60,000 devices.
const PLAN_BYTES_MAX: usize = 4 << 20;
/// Largest list of devices that need not wait, in bytes: it may name 10,000.
const LISTED_BYTES_MAX: usize = 4 << 20;
/// All roots there ever were, in one body.
const ROOTS_BYTES_MAX: usize = 1 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lineside fleet server",
        description = "Devices, releases, assignments, telemetry. Every error is \
            `{\"error\": \"…\"}`, a sentence for people.",
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
        components.add_security_scheme("person", scheme(HttpAuthScheme::Bearer));
        components.add_security_scheme("device", scheme(HttpAuthScheme::Basic));
        components.add_security_scheme("role", scheme(HttpAuthScheme::Bearer));
    }
}

/// Every route. The API's are in its document because both are made of this one table.
pub(crate) fn router(fleet: Arc<Fleet>) -> Router {
    let bounded = |bytes_max| Extension(BodyBytesMax(bytes_max));
    let (api, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::openapi))
        .routes(routes!(documents::online_keys))
        .routes(routes!(devices::list, devices::add))
        .routes(routes!(devices::show, devices::remove))
        .routes(routes!(devices::place_it))
        .routes(routes!(devices::new_password))
        .routes(routes!(devices::assign, devices::unassign))
        .routes(routes!(devices::approve))
        .routes(routes!(devices::documents))
        .routes(routes!(sessions::enter, sessions::show, sessions::leave))
        .routes(routes!(sessions::show_again))
        .routes(routes!(sessions::set_password))
        .routes(routes!(sessions::new_code, sessions::confirm_code))
        .routes(routes!(people::list, people::add))
        .routes(routes!(people::show, people::grant, people::remove))
        .routes(routes!(people::new_password))
        .routes(routes!(people::services))
        .routes(routes!(people::make_service, people::remove_service))
        .routes(routes!(tokens::list))
        .routes(routes!(tokens::make, tokens::remove))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::show))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::approve))
        .routes(routes!(alerts::decline))
        .routes(routes!(sites::list))
        .routes(routes!(sites::set, sites::unset))
        .routes(routes!(ask::ask))
        .routes(routes!(audit::key))
        .routes(routes!(audit::checkpoint))
        .routes(routes!(audit::entries))
        .routes(routes!(audit::proof))
        .routes(routes!(audit::consistency))
        .routes(routes!(reports::put_key))
        .routes(routes!(logs::show, logs::ask))
        .routes(routes!(telemetry::intervals))
        .routes(routes!(telemetry::events))
        .routes(routes!(overview::drift))
        .routes(routes!(overview::summary))
        .routes(routes!(telemetry::quality))
        .routes(routes!(manifests::version))
        .routes(routes!(manifests::referrers))
        .routes(routes!(tuf::metadata))
        .routes(routes!(tuf::release))
        .routes(routes!(tuf::site_file))
        .routes(routes!(manifests::tags))
        // Blobs are streamed to disk and bounded there.
        .routes(routes!(blobs::get))
        .routes(routes!(blobs::begin))
        .routes(routes!(blobs::progress, blobs::append, blobs::finish, blobs::cancel))
        .layer(bounded(JSON_BYTES_MAX))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(documents::root))
                .routes(routes!(documents::put_roots))
                .layer(bounded(ROOTS_BYTES_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(documents::releases, documents::put_releases))
                .layer(bounded(RELEASES_BYTES_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(tuf::role, tuf::put_role))
                .layer(bounded(ROLE_BYTES_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(manifests::get, manifests::put, manifests::remove))
                .layer(bounded(MANIFEST_BYTES_MAX as usize)),
        )
        // A plan may name its devices.
        .merge(
            OpenApiRouter::new()
                .routes(routes!(rollouts::list, rollouts::plan))
                .routes(routes!(rollouts::preflight))
                .routes(routes!(rollouts::show, rollouts::forget))
                .routes(routes!(rollouts::members))
                .routes(routes!(rollouts::wish))
                .layer(bounded(PLAN_BYTES_MAX)),
        )
        .merge(OpenApiRouter::new().routes(routes!(reports::take)).layer(bounded(REPORT_BYTES_MAX)))
        .merge(identities(&fleet))
        .split_for_parts();
    openapi::add_usual_errors(&mut document);
    let document = Arc::new(document);
    let header = |name, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .merge(api)
        .merge(page::router())
        .fallback(problem::no_such_page)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(Extension(document))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ))
        .layer(axum::middleware::from_fn(problem::as_oci_wants))
        .layer(axum::middleware::from_fn(unread::read_first))
        .layer(axum::middleware::from_fn_with_state(fleet.clone(), traces::request))
        .with_state(fleet)
}

/// What there is where devices join by their keys.
fn identities(fleet: &Fleet) -> OpenApiRouter<Arc<Fleet>> {
    if fleet.identities.issuing().is_err() {
        return OpenApiRouter::new().route("/api/v1/identity/{*rest}", any(identity::closed));
    }
    let bounded = |bytes_max| Extension(BodyBytesMax(bytes_max));
    let people = OpenApiRouter::new()
        .routes(routes!(identity::tokens, identity::make_token))
        .routes(routes!(identity::take_token_back))
        .routes(routes!(identity::devices))
        .routes(routes!(identity::show, identity::judge))
        .layer(bounded(JSON_BYTES_MAX));
    let lists = OpenApiRouter::new()
        .routes(routes!(identity::listed, identity::list))
        .layer(bounded(LISTED_BYTES_MAX));
    OpenApiRouter::new()
        .routes(routes!(identity::join))
        .routes(routes!(identity::renew))
        .layer(bounded(EXCHANGE_REQUEST_BYTES_MAX))
        .merge(people)
        .merge(lists)
}
