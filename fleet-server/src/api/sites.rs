//! Sites: what holds there for every rollout.

use crate::api::Problem;
use crate::api::extract::{Json, Path};
use crate::api::may::{Administer, Look, Throughout};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::rollout::{SiteSettings, SiteShown};
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::Arc;

/// The sites of which something is said, by name.
#[utoipa::path(get, path = "/api/v1/sites", security(("person" = ["look"])),
    responses((status = 200, body = Vec<SiteShown>)))]
pub(crate) async fn list(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<SiteShown>>, Error> {
    Ok(Json(fleet.rollouts.sites().await?))
}

/// Says what holds at a site for every rollout, instead of what was said before.
#[utoipa::path(put, path = "/api/v1/sites/{site}", params(("site" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 200, body = SiteShown), (status = 409, body = Problem)))]
pub(crate) async fn set(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(site): Path<String>,
    Json(settings): Json<SiteSettings>,
) -> Result<Json<SiteShown>, Error> {
    fleet.rollouts.set_site(&who.by, &site, &settings).await?;
    tracing::info!("site {site} has other settings");
    Ok(Json(SiteShown { site, settings }))
}

/// Says nothing of a site any longer: rollouts come to it at any time, as UTC has it.
#[utoipa::path(delete, path = "/api/v1/sites/{site}", params(("site" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn unset(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(site): Path<String>,
) -> Result<StatusCode, Error> {
    fleet.rollouts.unset_site(&who.by, &site).await?;
    tracing::info!("site {site} has no settings");
    Ok(StatusCode::NO_CONTENT)
}
