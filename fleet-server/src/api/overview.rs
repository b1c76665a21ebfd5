//! The fleet as a whole: drift and sums by scope, over any time.

use crate::api::Problem;
use crate::api::caller::Administrator;
use crate::api::extract::{Json, Query};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::monitor::{AskedScope, DriftShown, SummariesShown};
use axum::extract::State;
use std::sync::Arc;

/// How far what a slot reads and answers is from the training data of each release that answered, from sketches
/// of all devices that are asked about, merged; with `step` as a series as well.
#[utoipa::path(get, path = "/api/v1/drift", params(AskedScope), security(("administrator" = [])),
    responses((status = 200, body = DriftShown), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn drift(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<AskedScope>,
) -> Result<Json<DriftShown>, Error> {
    Ok(Json(fleet.overview.drift(&selection.question()?).await?))
}

/// What a slot did, by release: counts, errors, time a frame took, what it cost.
#[utoipa::path(get, path = "/api/v1/summary", params(AskedScope), security(("administrator" = [])),
    responses((status = 200, body = SummariesShown), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn summary(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<AskedScope>,
) -> Result<Json<SummariesShown>, Error> {
    Ok(Json(fleet.overview.summary(&selection.question()?).await?))
}
