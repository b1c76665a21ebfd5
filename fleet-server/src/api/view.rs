//! What is shown of a device: what it shall hold, what it says it holds, what it measured.

use crate::api::attention::{alert, attention};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{EventShown, Totals, time_shown};
use crate::registry::{Device, Names, ReleaseShown};
use crate::release::Assigned;
use crate::store::{from_row, unix_ms};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Longest silence of a device that is connected: it says how it is every five minutes.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(11 * 60);
/// How long a device may be away without anybody being told.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// What is said of a name that two agents use.
const TWINS: &str = "two agents speak under its name, and each ends the other's connection: was its folder \
    or its card copied? `lineside device reissue` gives a new password to the one that stays";
/// Events that come with a device.
const EVENTS_SHOWN: u64 = 100;

/// A device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DeviceShown {
    /// Its name.
    pub name: String,
    /// The place it stands.
    pub site: String,
    /// Marks for selecting.
    pub labels: BTreeMap<String, String>,
    /// Whether it is connected to this server.
    pub connected: bool,
    /// When it was last heard of, RFC 3339; null if never.
    pub last_seen: Option<String>,
    /// When a report was imported last that somebody had carried here, RFC 3339; null if never.
    pub last_report: Option<String>,
    /// Version of its agent, empty if it was never heard of.
    pub agent_version: String,
    /// How often it was started.
    pub boot: u64,
    /// Version of the assignment that it shall hold, 0 for none.
    pub assignment_version: u64,
    /// Version of the assignment that it has accepted.
    pub assignment_accepted: u64,
    /// Version of the list of releases that it has accepted.
    pub releases_accepted: u64,
    /// What is not as it should be, a sentence each.
    pub attention: Vec<String>,
    /// Its slots.
    pub slots: BTreeMap<String, SlotShown>,
    /// What each slot has done, over all intervals that ever came.
    pub telemetry: BTreeMap<String, Totals>,
    /// Records whose numbers were skipped: not here yet, or lost on the device.
    pub missing_records: u64,
    /// Messages that could not be read.
    pub unreadable_messages: u64,
    /// Records that could not be read, and are kept as they came.
    pub unreadable_records: u64,
    /// Records whose number had been used for something else: the device's state was lost, set back
    /// or copied. All of them are kept.
    pub conflicting_records: u64,
    /// Intervals that gave way to newer ones here.
    pub intervals_dropped: u64,
    /// Events that gave way to newer ones here.
    pub events_dropped: u64,
    /// What happened, newest first; in a list of devices the newest only.
    pub events: Vec<EventShown>,
}

/// A slot of a device.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct SlotShown {
    /// The release that it shall hold, as in `turbine/2`.
    pub assigned: Option<String>,
    /// The release that answers; null if the slot is vacant.
    pub active: Option<ReleaseShown>,
    /// The release kept beside it.
    pub previous: Option<ReleaseShown>,
    /// The release on its way in.
    pub candidate: Option<ReleaseShown>,
    /// `idle`, `downloading`, `staging`, `trial`; empty if the device has not said.
    pub phase: String,
    /// What people should know.
    pub note: String,
    /// What is wrong with it though no release is at fault, as that its source brings no readings.
    pub trouble: String,
    /// The number below which it may not go.
    pub floor: u64,
    /// Why people on the device hold its updates back, who, and for how long; null where nobody does.
    pub hold: Option<String>,
    /// When that ends by itself, if the device runs until then, RFC 3339; null where it does not.
    pub hold_ends: Option<String>,
    /// When what is held back has waited as long as its site wants it to, if the device runs until then,
    /// RFC 3339; null where nothing is held back, or for as long as it takes.
    pub deadline: Option<String>,
}

/// Gathers what is shown of a device, with what happened on it.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn show(fleet: &Fleet, device: Device) -> Result<DeviceShown, Error> {
    let id = device.id.clone();
    let mut shown = list(fleet, vec![device]).await?.pop().expect("a device for a device");
    shown.events = fleet.telemetry.events(&id, None, EVENTS_SHOWN).await?;
    Ok(shown)
}

/// Gathers what is shown of devices that follow each other by name, each with its newest event.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn list(fleet: &Fleet, devices: Vec<Device>) -> Result<Vec<DeviceShown>, Error> {
    let (Some(first), Some(last)) = (devices.first(), devices.last()) else { return Ok(vec![]) };
    let (first, last) = (first.id.to_string(), last.id.to_string());
    let names = Names { first: &first, last: &last };
    let mut assigned = fleet.director.assigned_across(names).await?;
    let mut totals = fleet.telemetry.totals(names).await?;
    let missing = fleet.telemetry.missing(names).await?;
    let odd = fleet.telemetry.odd(names).await?;
    let mut events = fleet.telemetry.newest_events(names).await?;
    let waiting = fleet.alerts.waiting(names).await?;
    let releases_version = fleet.documents.releases_version().await?;
    let now = OffsetDateTime::now_utc();
    let mut connected = BTreeSet::new();
    for device in &devices {
        if fleet.sessions.is_connected(&device.id).await {
            connected.insert(device.id.to_string());
        }
    }
    let shown = devices.into_iter().map(|device| {
        let name = device.id.to_string();
        let assigned = assigned.remove(&name);
        let missing = missing.get(&name).copied().unwrap_or_default();
        let odd = odd.get(&name).copied().unwrap_or_default();
        let mut shown = DeviceShown {
            attention: Vec::new(),
            connected: connected.contains(&name),
            site: device.row.site.clone(),
            labels: device.labels.clone(),
            last_seen: device.last_seen_unix_ms().map(time_shown),
            last_report: device.row.report_unix_ms.map(time_shown),
            agent_version: device.row.agent_version.clone(),
            boot: from_row(device.row.boot),
            assignment_version: assigned.as_ref().map_or(0, |assigned| assigned.version),
            assignment_accepted: device.assignment_version(),
            releases_accepted: device.releases_version(),
            slots: slots(&device, assigned.as_ref()),
            telemetry: totals.remove(&name).unwrap_or_default(),
            missing_records: missing.saturating_add(device.missing_before()),
            unreadable_messages: from_row(device.row.unreadable),
            unreadable_records: odd.unreadable,
            conflicting_records: odd.conflicting,
            intervals_dropped: from_row(device.row.intervals_dropped),
            events_dropped: from_row(device.row.events_dropped),
            events: events.remove(&name).into_iter().collect(),
            name,
        };
        let silent = silent(&device, shown.connected, now);
        shown.attention = attention(&shown, releases_version, silent);
        let alerts = waiting.get(&shown.name).into_iter().flatten();
        shown.attention.splice(0..0, alerts.map(alert));
        if fleet.ear.twins.are(&device.id, Instant::now()) {
            shown.attention.insert(0, TWINS.into());
        }
        shown
    });
    Ok(shown.collect())
}

/// How long a device has said nothing, if that is longer than one that is well does. One that reports
/// by hand is not waited for.
fn silent(device: &Device, connected: bool, now: OffsetDateTime) -> Option<Duration> {
    let seen = device.last_seen_unix_ms()?;
    if device.row.report_unix_ms.is_some_and(|report| report >= seen) {
        return None;
    }
    let silent = Duration::from_millis(u64::try_from(unix_ms(now).saturating_sub(seen)).ok()?);
    let longest = if connected { SILENT_MAX } else { AWAY_MAX };
    (silent > longest).then_some(silent)
}

/// What the device says of its slots, and what is assigned to them.
fn slots(device: &Device, assigned: Option<&Assigned>) -> BTreeMap<String, SlotShown> {
    let mut slots: BTreeMap<String, SlotShown> = BTreeMap::new();
    for slot in &device.slots {
        let shown = SlotShown {
            assigned: None,
            active: slot.active.clone(),
            previous: slot.previous.clone(),
            candidate: slot.candidate.clone(),
            phase: slot.phase.clone(),
            note: slot.note.clone(),
            trouble: slot.trouble.clone(),
            floor: slot.floor,
            hold: slot.hold.clone(),
            hold_ends: slot.hold_ends_unix_ms.map(time_shown),
            deadline: slot.deadline_unix_ms.map(time_shown),
        };
        slots.insert(slot.slot.clone(), shown);
    }
    for (slot, release) in assigned.into_iter().flat_map(|assigned| &assigned.slots) {
        slots.entry(slot.to_string()).or_default().assigned = Some(release.clone());
    }
    slots
}
