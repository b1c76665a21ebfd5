//! Devices: adding, listing, assigning.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Approve, Enrol, IsRight, Look, May, Operate};
use crate::api::view::{self, DeviceShown};
use crate::error::Error;
use crate::fleet::{Fleet, to_its_end};
use crate::registry::{Credentials, Device, NewDevice, Place, ReleaseShown};
use crate::release::{Assigned, Tried};
use axum::extract::State;
use axum::http::StatusCode;
use lineside_trust::sign_receipt;
use lineside_wire::name::{DeviceId, SlotName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// Devices of a page unless told.
pub(crate) const DEVICES: u64 = 200;
/// Devices of a page at most.
const DEVICES_MAX: u64 = 1_000;

/// Which release a slot shall hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssignment {
    /// Bundle and version, as in `turbine/2`.
    release: String,
    /// Whether it is to be tried again though the device may have given it up.
    #[serde(default)]
    again: bool,
}

/// Which of the releases that are assigned to a slot a person approves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
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
    /// The release; null if nothing is assigned to the slot any longer.
    release: Option<String>,
    /// Version of the device's assignment.
    version: u64,
    /// Other slots to which nothing is assigned any longer, because their release has left the list
    /// of releases: slot to release.
    withdrawn: BTreeMap<String, String>,
    /// What may not be as it was meant, for people: the device has told of no such slot, or of nothing
    /// that it has given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// The documents of a device, for a file that is carried to it. Texts, byte for byte as signed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentsShown {
    /// TUF metadata by its names on a mirror with consistent snapshots, all roots among it.
    metadata: BTreeMap<String, String>,
    /// The device's assignment.
    assignment: String,
    /// Small files that the metadata speaks of, by their names on a mirror.
    files: BTreeMap<String, String>,
    /// The receipt for the last report of the device that was carried here.
    receipt: Option<String>,
}

/// Which devices to list.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Page {
    /// Those whose names come after this: the last name of the page before.
    after: Option<String>,
    /// At most so many; 200 unless told, 1000 at most. A page with fewer is the last.
    limit: Option<u64>,
}

/// Devices by name, page by page.
#[utoipa::path(get, path = "/api/v1/devices", params(Page), security(("person" = ["look"])),
    responses((status = 200, body = Vec<DeviceShown>)))]
pub(crate) async fn list(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<DeviceShown>>, Error> {
    let limit = page.limit.unwrap_or(DEVICES).min(DEVICES_MAX);
    let after = page.after.as_deref().unwrap_or_default();
    let devices = fleet.registry.those_after(after, limit, |device| who.covers(device)).await?;
    Ok(Json(view::list(&fleet, devices).await?))
}

/// Adds a device. Its password is told this once.
#[utoipa::path(post, path = "/api/v1/devices", security(("person" = ["enrol"])),
    responses((status = 201, body = Credentials), (status = 409, body = Problem)))]
pub(crate) async fn add(
    who: May<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Json(new): Json<NewDevice>,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    if !who.covers_place(&new.site, &new.labels) {
        return Err(Error::Forbidden("a device is added by those who enrol at its site".into()));
    }
    if !who.is_everywhere() && fleet.identities.is_spoken_for(&new.name).await? {
        return Err(spoken_for(&new.name));
    }
    let credentials = fleet.registry.add(&who.by, new, OffsetDateTime::now_utc()).await?;
    fleet.rollouts.is_stale.notify_one();
    tracing::info!("device {} added", credentials.device);
    Ok((StatusCode::CREATED, Json(credentials)))
}

/// One device, with what happened on it.
#[utoipa::path(get, path = "/api/v1/devices/{device}", params(("device" = String, Path)),
    security(("person" = ["look"])),
    responses((status = 200, body = DeviceShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<DeviceShown>, Error> {
    let device = who.device(&fleet, &device).await?;
    Ok(Json(view::show(&fleet, device).await?))
}

/// Says where a device stands and by what it is selected, instead of what was said before.
#[utoipa::path(put, path = "/api/v1/devices/{device}/place", params(("device" = String, Path)),
    security(("person" = ["enrol"])),
    responses((status = 204, description = "said"), (status = 404, body = Problem)))]
pub(crate) async fn place_it(
    who: May<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Json(place): Json<Place>,
) -> Result<StatusCode, Error> {
    let device = who.device(&fleet, &device).await?;
    if !who.covers_place(&place.site, &place.labels) {
        return Err(Error::Forbidden("a device goes to a site by those who enrol there".into()));
    }
    fleet.registry.place(&who.by, &device, &place).await?;
    fleet.rollouts.is_stale.notify_one();
    tracing::info!("{} stands at site {:?} from now on", device.id, place.site);
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a device: it is not let in any longer, and what it told is gone.
#[utoipa::path(delete, path = "/api/v1/devices/{device}", params(("device" = String, Path)),
    security(("person" = ["enrol"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    who: May<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<StatusCode, Error> {
    let device = match device.parse() {
        // It may have joined, and not have been accepted.
        Ok(device) if who.is_everywhere() => device,
        _ => who.device(&fleet, &device).await?.id,
    };
    if !who.is_everywhere() && fleet.identities.is_spoken_for(device.as_str()).await? {
        return Err(spoken_for(device.as_str()));
    }
    let (house, of) = (fleet.clone(), device.clone());
    to_its_end(async move { house.remove(&who.by, &of).await }).await?;
    tracing::info!("device {device} removed");
    Ok(StatusCode::NO_CONTENT)
}

/// A name by whose key others decide than those of one site.
fn spoken_for(device: &str) -> Error {
    Error::Forbidden(format!(
        "{device} joins or has joined by a key: who adds or removes it has to have the right to enrol everywhere"
    ))
}

/// Makes a new password for a device. It is told this once, and the old one opens nothing from now
/// on.
#[utoipa::path(post, path = "/api/v1/devices/{device}/password",
    params(("device" = String, Path)), security(("person" = ["enrol"])),
    responses((status = 200, body = Credentials), (status = 404, body = Problem)))]
pub(crate) async fn new_password(
    who: May<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<Credentials>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let (house, of) = (fleet.clone(), device.clone());
    let credentials = to_its_end(async move { house.new_password(&who.by, &of).await }).await?;
    tracing::info!("device {device} has a new password");
    Ok(Json(credentials))
}

/// Assigns a release to a slot: signs the device's next assignment and sends it.
#[utoipa::path(put, path = "/api/v1/devices/{device}/slots/{slot}",
    params(("device" = String, Path), ("slot" = String, Path)), security(("person" = ["operate"])),
    responses((status = 200, body = AssignmentShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn assign(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path((device, slot)): Path<(String, String)>,
    Json(NewAssignment { release, again }): Json<NewAssignment>,
) -> Result<Json<AssignmentShown>, Error> {
    let (device, slot) = place(&who, &fleet, &device, &slot).await?;
    let now = OffsetDateTime::now_utc();
    let tried = if again { Tried::Again } else { Tried::Once };
    let assigned = fleet.assign(&who.by, &device, slot.clone(), &release, tried, now).await?;
    let word = if again { "assigned again" } else { "assigned" };
    tracing::info!("{device}: {release} {word} to slot {slot}");
    let told = fleet.registry.get(device.as_str()).await?;
    let warning = unknown_slot(&told, &slot)
        .or_else(|| not_given_up(&told, &slot, &release).filter(|_| again));
    Ok(Json(AssignmentShown { warning, ..assignment(&device, &slot, Some(release), assigned) }))
}

/// Says that a person approves the release that is assigned to a slot: signs the device's next
/// assignment with that mark and sends it. It ends with the next release that is assigned there.
#[utoipa::path(post, path = "/api/v1/devices/{device}/slots/{slot}/approve",
    params(("device" = String, Path), ("slot" = String, Path)), security(("person" = ["approve"])),
    responses((status = 200, body = AssignmentShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn approve(
    who: May<Approve>,
    State(fleet): State<Arc<Fleet>>,
    Path((device, slot)): Path<(String, String)>,
    Json(Approval { release }): Json<Approval>,
) -> Result<Json<AssignmentShown>, Error> {
    let (device, slot) = place(&who, &fleet, &device, &slot).await?;
    let now = OffsetDateTime::now_utc();
    let assigned = fleet.approve(&who.by, &device, slot.clone(), &release, now).await?;
    tracing::info!("{device}: {release} approved for slot {slot}");
    Ok(Json(assignment(&device, &slot, Some(release), assigned)))
}

/// Ends the assignment of a slot: signs the device's next assignment without it and sends that. What
/// the device runs there stays.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/slots/{slot}",
    params(("device" = String, Path), ("slot" = String, Path)), security(("person" = ["operate"])),
    responses((status = 200, body = AssignmentShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn unassign(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path((device, slot)): Path<(String, String)>,
) -> Result<Json<AssignmentShown>, Error> {
    let (device, slot) = place(&who, &fleet, &device, &slot).await?;
    let assigned = fleet.clear(&who.by, &device, slot.clone(), OffsetDateTime::now_utc()).await?;
    tracing::info!("{device}: nothing is assigned to slot {slot} any longer");
    Ok(Json(assignment(&device, &slot, None, assigned)))
}

async fn place<R: IsRight>(
    who: &May<R>,
    fleet: &Fleet,
    device: &str,
    slot: &str,
) -> Result<(DeviceId, SlotName), Error> {
    let device = who.device(fleet, device).await?.id;
    let slot = slot.parse().map_err(|error| Error::Malformed(format!("slot: {error}")))?;
    Ok((device, slot))
}

/// What to say of a slot that the device has not told of, where it has told of any.
fn unknown_slot(device: &Device, slot: &SlotName) -> Option<String> {
    let told: Vec<&str> = device.slots.iter().map(|slot| slot.slot.as_str()).collect();
    if told.is_empty() || told.contains(&slot.as_str()) {
        return None;
    }
    let (name, there) = (&device.id, told.join(", "));
    Some(format!(
        "{name} has told of no slot {slot}, only of {there}: nothing comes of it there yet"
    ))
}

/// What to say of a release that is to be tried again and is there, by what the device has told.
fn not_given_up(device: &Device, slot: &SlotName, release: &str) -> Option<String> {
    let told = device.slots.iter().find(|told| told.slot == slot.as_str())?;
    let is = |held: &ReleaseShown| format!("{}/{}", held.name, held.version) == release;
    let what = match (&told.active, &told.candidate) {
        (_, Some(candidate)) if is(candidate) => "is on its way there",
        (Some(active), _) if is(active) => "runs there",
        _ => return None,
    };
    Some(format!("{release} {what}: {} has not told that it has given it up", device.id))
}

fn assignment(
    device: &DeviceId,
    slot: &SlotName,
    release: Option<String>,
    assigned: Assigned,
) -> AssignmentShown {
    let withdrawn = assigned.withdrawn.into_iter().filter(|(other, _)| other != slot);
    AssignmentShown {
        device: device.to_string(),
        slot: slot.to_string(),
        release,
        version: assigned.version,
        warning: None,
        withdrawn: withdrawn.map(|(slot, release)| (slot.to_string(), release)).collect(),
    }
}

/// The documents of a device, for a file that is carried to it.
#[utoipa::path(get, path = "/api/v1/devices/{device}/documents",
    params(("device" = String, Path)), security(("person" = ["operate"])),
    responses((status = 200, body = DocumentsShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn documents(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<DocumentsShown>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let now = OffsetDateTime::now_utc();
    let documents = fleet.documents_by_hand(&device, now).await?;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| Error::Conflict("a document is no text".into()))
    };
    let texts = |list: Vec<(String, Vec<u8>)>| {
        list.into_iter().map(|(name, bytes)| Ok((name, text(bytes)?))).collect::<Result<_, Error>>()
    };
    let receipt = fleet.registry.receipt(&device).await?;
    let receipt = receipt.map(|spec| text(sign_receipt(&spec, &fleet.keys.director)));
    Ok(Json(DocumentsShown {
        receipt: receipt.transpose()?,
        metadata: texts(documents.metadata)?,
        assignment: text(documents.assignment)?,
        files: texts(documents.files)?,
    }))
}
