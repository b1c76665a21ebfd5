//! What devices measured and what happened on them.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Look, May};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{EventShown, IntervalShown, QualityShown, WhichQuality};
use crate::monitor::{named, span};
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

/// Which outcomes to show.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct AskedQuality {
    /// Of this slot only.
    slot: Option<String>,
    /// What this release answered, as in `turbine/2`; all releases unless told.
    release: Option<String>,
    /// From this moment on, by the findings' own time: RFC 3339, or a day such as `2026-02-01`, UTC. A span
    /// belongs to where it begins.
    from: Option<String>,
    /// Before this moment.
    to: Option<String>,
    /// At most so many spans, newest first; 100 unless told, 1000 at most.
    limit: Option<u64>,
}

impl Selection {
    fn limit(&self) -> u64 {
        self.limit.unwrap_or(ROWS).min(ROWS_MAX)
    }
}

/// Intervals of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/telemetry",
    params(("device" = String, Path), Selection), security(("person" = ["look"])),
    responses((status = 200, body = Vec<IntervalShown>), (status = 404, body = Problem)))]
pub(crate) async fn intervals(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<IntervalShown>>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.intervals(&device, slot, selection.limit()).await?))
}

/// Events of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/events",
    params(("device" = String, Path), Selection), security(("person" = ["look"])),
    responses((status = 200, body = Vec<EventShown>), (status = 404, body = Problem)))]
pub(crate) async fn events(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<EventShown>>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let slot = selection.slot.as_deref();
    Ok(Json(fleet.telemetry.events(&device, slot, selection.limit()).await?))
}

/// How good the answers of a device were, by the outcomes that it has heard of, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/quality",
    params(("device" = String, Path), AskedQuality), security(("person" = ["look"])),
    responses((status = 200, body = Vec<QualityShown>), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(crate) async fn quality(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(asked): Query<AskedQuality>,
) -> Result<Json<Vec<QualityShown>>, Error> {
    let (from_unix_ms, to_unix_ms) = span(asked.from.as_deref(), asked.to.as_deref())?;
    let which = WhichQuality {
        release: named(asked.release.as_deref())?,
        slot: asked.slot,
        from_unix_ms,
        to_unix_ms,
        limit: asked.limit.unwrap_or(ROWS).min(ROWS_MAX),
    };
    let device = who.device(&fleet, &device).await?.id;
    Ok(Json(fleet.telemetry.quality(&device, &which).await?))
}
