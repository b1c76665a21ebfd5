//! What devices measured and what happened on them.

use crate::api::Problem;
use crate::api::caller::Administrator;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{EventShown, IntervalShown};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Rows that are shown at most, and unless told.
const ROWS: (u64, u64) = (1_000, 100);

/// What to show.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Selection {
    /// Of this slot only.
    slot: Option<String>,
    /// At most so many, newest first; 100 unless told, 1000 at most.
    limit: Option<u64>,
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
    let limit = selection.limit.unwrap_or(ROWS.1).min(ROWS.0);
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.intervals(&device, slot, limit).await?))
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
    let limit = selection.limit.unwrap_or(ROWS.1).min(ROWS.0);
    let mut events = fleet.telemetry.events(&device, limit).await?;
    if let Some(slot) = selection.slot {
        events.retain(|event| event.slot == slot);
    }
    Ok(Json(events))
}
