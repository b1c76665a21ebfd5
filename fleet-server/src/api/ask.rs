//! Whether a release would run on devices, as they say themselves.

use crate::api::Problem;
use crate::api::extract::{Json, Path};
use crate::api::may::{May, Operate};
use crate::bounds::{DEVICES_MAX, SLOTS_MAX, TEXT_CHARS_MAX, short};
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::State;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::SlotAnswer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How long devices have to answer unless told.
const WAIT_SECONDS: u64 = 10;
/// How long they may be given.
const WAIT_SECONDS_MAX: u64 = 45;
/// Objections of a slot that are shown.
const OBJECTIONS_MAX: usize = 32;

/// Whom to ask.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// The devices; all if none is named.
    #[serde(default)]
    devices: BTreeSet<String>,
    /// The slot in which it would run; each if none is named.
    slot: Option<String>,
    /// How long to wait for answers, in seconds: 10 unless told, 45 at most.
    wait_seconds: Option<u64>,
}

/// What devices answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswersShown {
    /// The release.
    release: String,
    /// Each device that was asked.
    devices: BTreeMap<String, DeviceAnswerShown>,
}

/// What a device answered.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct DeviceAnswerShown {
    /// Whether it has.
    answered: bool,
    /// Whether it is connected.
    connected: bool,
    /// By slot. The slot without a name stands for the whole device.
    slots: BTreeMap<String, SlotAnswerShown>,
}

/// Whether the release would run in a slot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlotAnswerShown {
    /// Whether it would.
    would_run: bool,
    /// Why not.
    objections: Vec<ObjectionShown>,
}

/// Why a release would not run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ObjectionShown {
    /// What it needs, and what there is.
    text: String,
    /// Whether waiting may help, as with a full disk.
    passes: bool,
}

/// Asks devices whether a release would run on them. Answers when all that are connected have
/// answered, or when the time is over. Nothing is fetched, assigned or changed by it.
#[utoipa::path(post, path = "/api/v1/releases/{name}/{version}/ask",
    params(("name" = String, Path), ("version" = String, Path)),
    security(("person" = ["operate"])),
    responses((status = 200, body = AnswersShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn ask(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path((name, version)): Path<(String, String)>,
    Json(question): Json<Question>,
) -> Result<Json<AnswersShown>, Error> {
    let release = format!("{name}/{version}");
    let slot: Option<SlotName> = match question.slot {
        Some(slot) => {
            Some(slot.parse().map_err(|error| Error::Malformed(format!("slot: {error}")))?)
        }
        None => None,
    };
    let wait = question.wait_seconds.unwrap_or(WAIT_SECONDS);
    if wait > WAIT_SECONDS_MAX {
        let problem = format!("wait_seconds is {wait}, {WAIT_SECONDS_MAX} at most are waited");
        return Err(Error::Malformed(problem));
    }
    let devices = devices(&who, &fleet, &question.devices).await?;
    let now = OffsetDateTime::now_utc();
    let (connected, answers) =
        fleet.ask(&release, slot, &devices, Duration::from_secs(wait), now).await?;
    let shown = devices.into_iter().map(|device| {
        let answer = DeviceAnswerShown {
            answered: answers.contains_key(&device),
            connected: connected.contains(&device),
            slots: answers.get(&device).map(|slots| shown(slots)).unwrap_or_default(),
        };
        (device.to_string(), answer)
    });
    Ok(Json(AnswersShown { release, devices: shown.collect() }))
}

/// The devices by these names, or all that somebody operates.
async fn devices(
    who: &May<Operate>,
    fleet: &Fleet,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<DeviceId>, Error> {
    if names.is_empty() {
        let all = fleet.registry.those_after("", DEVICES_MAX, |device| who.covers(device)).await?;
        return Ok(all.into_iter().map(|device| device.id).collect());
    }
    let mut devices = BTreeSet::new();
    for name in names {
        devices.insert(who.device(fleet, name).await?.id);
    }
    Ok(devices)
}

fn shown(slots: &[SlotAnswer]) -> BTreeMap<String, SlotAnswerShown> {
    let slot = |slot: &SlotAnswer| {
        let objections = slot.objections.iter().take(OBJECTIONS_MAX).map(|objection| {
            let text = short(&objection.text, TEXT_CHARS_MAX);
            ObjectionShown { text, passes: objection.passes }
        });
        let answer = SlotAnswerShown {
            would_run: slot.objections.is_empty(),
            objections: objections.collect(),
        };
        (short(&slot.slot, TEXT_CHARS_MAX), answer)
    };
    slots.iter().take(SLOTS_MAX).map(slot).collect()
}
