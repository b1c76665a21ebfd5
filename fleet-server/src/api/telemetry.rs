//! What devices measured and what happened on them.

use crate::api::Problem;
use crate::api::caller::Administrator;
use crate::api::extract::{Json, Path, Query};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{EventShown, IntervalShown, QualityShown};
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Rows that are shown unless told.
const ROWS: u64 = 100;
/// Rows that are shown at most.
const ROWS_MAX: u64 = 1_000;

/// What to show.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Selection {
    /// Of this slot only.
    slot: Option<String>,
    /// At most so many, newest first; 100 unless told, 1000 at most.
    limit: Option<u64>,
}

impl Selection {
    fn limit(&self) -> u64 {
        self.limit.unwrap_or(ROWS).min(ROWS_MAX)
    }
}

/// Intervals of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/telemetry",
    params(("device" = String, Path), Selection), security(("administrator" = [])),
    responses((status = 200, body = Vec<IntervalShown>), (status = 404, body = Problem)))]
pub(crate) async fn intervals(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<IntervalShown>>, Error> {
    let device = fleet.registry.get(&device).await?.id;
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.intervals(&device, slot, selection.limit()).await?))
}

/// Events of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/events",
    params(("device" = String, Path), Selection), security(("administrator" = [])),
    responses((status = 200, body = Vec<EventShown>), (status = 404, body = Problem)))]
pub(crate) async fn events(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<EventShown>>, Error> {
    let device = fleet.registry.get(&device).await?.id;
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.events(&device, slot, selection.limit()).await?))
}

/// How good the answers of a device were, by the outcomes that it has heard of, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/quality",
    params(("device" = String, Path), Selection), security(("administrator" = [])),
    responses((status = 200, body = Vec<QualityShown>), (status = 404, body = Problem)))]
pub(crate) async fn quality(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<QualityShown>>, Error> {
    let device = fleet.registry.get(&device).await?.id;
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.quality(&device, slot, selection.limit()).await?))
}
