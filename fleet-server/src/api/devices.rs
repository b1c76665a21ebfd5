//! Devices: adding, listing, assigning.

use crate::api::Problem;
use crate::api::caller::Administrator;
use crate::api::view::{self, DeviceShown};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::registry::{Credentials, NewDevice};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lineside_wire::name::SlotName;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Which release a slot shall hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssignment {
    /// Bundle and version, as in `turbine/2`.
    release: String,
}

/// An assignment that was signed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignmentShown {
    /// The device.
    device: String,
    /// The slot.
    slot: String,
    /// The release.
    release: String,
    /// Version of the device's assignment.
    version: u64,
}

/// The documents of a device, for a file that is carried to it. Texts, byte for byte as signed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentsShown {
    /// All roots in their order.
    roots: Vec<String>,
    /// The list of releases.
    releases: String,
    /// The device's assignment.
    assignment: String,
}

/// All devices, by name.
#[utoipa::path(get, path = "/api/v1/devices", security(("administrator" = [])),
    responses((status = 200, body = Vec<DeviceShown>), (status = 401, body = Problem)))]
pub(crate) async fn list(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<DeviceShown>>, Error> {
    let mut shown = Vec::new();
    for device in fleet.registry.all().await? {
        let mut device = view::show(&fleet, device).await?;
        device.events.clear();
        shown.push(device);
    }
    Ok(Json(shown))
}

/// Adds a device. Its password is told this once.
#[utoipa::path(post, path = "/api/v1/devices", security(("administrator" = [])),
    responses((status = 201, body = Credentials), (status = 400, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn add(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    new: Result<Json<NewDevice>, JsonRejection>,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    let Json(new) = new.map_err(malformed)?;
    let credentials = fleet.registry.add(new, OffsetDateTime::now_utc()).await?;
    tracing::info!("device {} added", credentials.device);
    Ok((StatusCode::CREATED, Json(credentials)))
}

/// One device, with what happened on it.
#[utoipa::path(get, path = "/api/v1/devices/{device}", params(("device" = String, Path)),
    security(("administrator" = [])),
    responses((status = 200, body = DeviceShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<DeviceShown>, Error> {
    let device = fleet.registry.get(&device).await?;
    Ok(Json(view::show(&fleet, device).await?))
}

/// Assigns a release to a slot: signs the device's next assignment and sends it.
#[utoipa::path(put, path = "/api/v1/devices/{device}/slots/{slot}",
    params(("device" = String, Path), ("slot" = String, Path)), security(("administrator" = [])),
    responses((status = 200, body = AssignmentShown), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn assign(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path((device, slot)): Path<(String, String)>,
    new: Result<Json<NewAssignment>, JsonRejection>,
) -> Result<Json<AssignmentShown>, Error> {
    let Json(NewAssignment { release }) = new.map_err(malformed)?;
    let device = fleet.registry.get(&device).await?.id;
    let slot: SlotName = slot.parse().map_err(|error| Error::Malformed(format!("{error}")))?;
    let now = OffsetDateTime::now_utc();
    let assigned = fleet.assign(&device, slot.clone(), &release, now).await?;
    tracing::info!("{device}: {release} assigned to slot {slot}");
    Ok(Json(AssignmentShown {
        device: device.to_string(),
        slot: slot.to_string(),
        release,
        version: assigned.version,
    }))
}

/// The documents of a device, for a file that is carried to it.
#[utoipa::path(get, path = "/api/v1/devices/{device}/documents",
    params(("device" = String, Path)), security(("administrator" = [])),
    responses((status = 200, body = DocumentsShown), (status = 404, body = Problem)))]
pub(crate) async fn documents(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<DocumentsShown>, Error> {
    let device = fleet.registry.get(&device).await?.id;
    let now = OffsetDateTime::now_utc();
    let released = fleet.documents.released(now).await?;
    let assigned = fleet.director.current(&device, &released, now).await?.ok_or_else(|| {
        Error::Missing(format!(
            "nothing is assigned to {device}: assign a release with `lineside assign`"
        ))
    })?;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| Error::Conflict("a document is no text".into()))
    };
    let roots = fleet.documents.roots().await?;
    Ok(Json(DocumentsShown {
        roots: roots.into_iter().map(|(_, bytes)| text(bytes)).collect::<Result<_, _>>()?,
        releases: text(released.bytes)?,
        assignment: text(assigned.bytes)?,
    }))
}

fn malformed(rejection: JsonRejection) -> Error {
    Error::Malformed(rejection.body_text())
}
