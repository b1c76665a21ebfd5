//! Reports of devices without a network, and the keys by which they are known.

use crate::api::Problem;
use crate::api::extract::{Bytes, Json, Path};
use crate::api::may::{Enrol, May, Operate, Throughout};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{Imported, import};
use axum::extract::State;
use axum::http::StatusCode;
use lineside_trust::PublicKey;
use std::sync::Arc;
use time::OffsetDateTime;

/// Takes a report that a device has written into a file.
#[utoipa::path(post, path = "/api/v1/reports", security(("person" = ["operate"])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Imported), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn take(
    _: Throughout<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Bytes(bytes): Bytes,
) -> Result<Json<Imported>, Error> {
    let imported = import(&fleet, &bytes, OffsetDateTime::now_utc()).await?;
    tracing::info!("{}: report {} was carried here", imported.device, imported.number);
    Ok(Json(imported))
}

/// Takes the public key, in TUF's form, with which a device signs reports from now on.
#[utoipa::path(put, path = "/api/v1/devices/{device}/report-key",
    params(("device" = String, Path)), security(("person" = ["enrol"])),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 204, description = "taken"), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn put_key(
    who: May<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Bytes(bytes): Bytes,
) -> Result<StatusCode, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let key = PublicKey::parse(&bytes).map_err(|error| Error::Refused(error.to_string()))?;
    fleet.registry.set_report_key(&who.by, &device, &key).await?;
    tracing::info!("device {device} signs reports with key {key}");
    Ok(StatusCode::NO_CONTENT)
}
