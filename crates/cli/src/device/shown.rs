//! How devices are told to people.

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Events that are told of a device.
const EVENTS_MAX: usize = 10;
const OTHER_FORM: &str =
    "the server describes devices in another form; are server and tool of one version?";

/// A device as the server describes it; what is not known here is not told.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Device {
    name: String,
    site: String,
    labels: BTreeMap<String, String>,
    agent_version: String,
    last_seen: Option<String>,
    last_report: Option<String>,
    /// What is not as it should be, a sentence each.
    attention: Vec<String>,
    slots: BTreeMap<String, Slot>,
    /// Sums by slot; also of slots that the device has no longer.
    telemetry: BTreeMap<String, Sums>,
    events: Vec<Event>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sums {
    readings: u64,
    frames: u64,
    findings: u64,
    alarms: u64,
    errors: u64,
    dropped: u64,
    doubled: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slot {
    assigned: Option<String>,
    active: Option<Release>,
    previous: Option<Release>,
    candidate: Option<Release>,
    /// Empty if the device has not told of this slot.
    phase: String,
    note: String,
    floor: u64,
    /// Why people on the device hold its updates back.
    hold: Option<String>,
    /// When that ends by itself, if the device runs until then.
    hold_ends: Option<String>,
    /// When what is held back has waited as long as its site wants it to, if the device runs until then.
    deadline: Option<String>,
}

#[derive(Deserialize)]
struct Release {
    name: String,
    version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    at: String,
    slot: String,
    kind: String,
    text: String,
}

impl Release {
    fn path(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

fn path(release: Option<&Release>) -> String {
    release.map_or("-".into(), Release::path)
}

/// A line for each slot of each device.
///
/// # Errors
/// The server describes devices in another form.
pub fn table(devices: &Value, now: OffsetDateTime) -> anyhow::Result<String> {
    let devices: Vec<Device> = Vec::deserialize(devices).context(OTHER_FORM)?;
    if devices.is_empty() {
        return Ok("no devices; next: lineside device add NAME -o DIR".into());
    }
    let heads =
        ["device", "site", "last seen", "attention", "slot", "assigned", "active", "candidate"];
    let mut rows = vec![heads.map(str::to_owned)];
    for device in &devices {
        let site = if device.site.is_empty() { "-" } else { &device.site };
        let attention = match device.attention.len() {
            0 => "-".into(),
            count => count.to_string(),
        };
        let mut lead = [
            device.name.clone(),
            site.to_owned(),
            since(device.last_seen.as_deref(), now),
            attention,
        ];
        let vacant = Slot::default();
        let slots: Vec<(&str, &Slot)> = match device.slots.is_empty() {
            true => vec![("-", &vacant)],
            false => device.slots.iter().map(|(name, slot)| (name.as_str(), slot)).collect(),
        };
        for (name, slot) in slots {
            let [device, site, seen, attention] = std::mem::take(&mut lead);
            let assigned = slot.assigned.clone().unwrap_or("-".into());
            let active = path(slot.active.as_ref());
            let (slot_name, candidate) = (name.to_owned(), slot.under_way());
            rows.push([device, site, seen, attention, slot_name, assigned, active, candidate]);
        }
    }
    Ok(aligned(&rows))
}

/// Everything about one device.
///
/// # Errors
/// The server describes it in another form.
pub fn paragraph(device: &Value, now: OffsetDateTime) -> anyhow::Result<String> {
    let device = Device::deserialize(device).context(OTHER_FORM)?;
    let name = &device.name;
    let mut text = name.clone();
    if !device.site.is_empty() {
        let _ = write!(text, ", {}", device.site);
    }
    for (key, value) in &device.labels {
        let _ = write!(text, ", {key}={value}");
    }
    let _ = write!(text, "\nlast seen {}", since(device.last_seen.as_deref(), now));
    if let Some(report) = &device.last_report {
        let ago = since(Some(report), now);
        let _ = write!(text, ", its last report by hand came {ago}");
    }
    if !device.agent_version.is_empty() {
        let _ = write!(text, ", agent {}", device.agent_version);
    }
    if device.last_seen.is_none() {
        text.push_str("; next: install it with its folder and start lineside-agent there");
    }
    for sentence in &device.attention {
        let _ = write!(text, "\n! {sentence}");
    }
    for (slot_name, slot) in &device.slots {
        let _ = write!(text, "\n\nslot {slot_name}");
        let _ = write!(text, "\n  assigned   {}", slot.assigned.as_deref().unwrap_or("-"));
        if slot.phase.is_empty() {
            text.push_str("\n  the device has not told of this slot");
            continue;
        }
        let active = slot.active.as_ref().map_or("none: the slot is vacant".into(), Release::path);
        let _ = write!(text, "\n  active     {active}");
        let _ = write!(text, "\n  previous   {}", path(slot.previous.as_ref()));
        let _ = write!(text, "\n  candidate  {}", slot.under_way());
        let _ = write!(text, "\n  floor      {}", slot.floor);
        if !slot.note.is_empty() {
            let _ = write!(text, "\n  {}", slot.note);
        }
        if let Some(deadline) = &slot.deadline {
            let _ = write!(text, "\n  deadline   {}", moment(deadline, now));
        }
        if let Some(hold) = &slot.hold {
            let _ = write!(text, "\n  updates are {hold}");
        }
        if let Some(ends) = &slot.hold_ends {
            let _ = write!(text, "\n  that ends  {}", moment(ends, now));
        }
    }
    if device.slots.is_empty() {
        let _ = write!(text, "\n\nno slots; next: lineside assign {name} SLOT NAME/VERSION");
    }
    if !device.telemetry.is_empty() {
        text.push_str("\n\nsince it was added");
        let heads =
            ["slot", "readings", "frames", "findings", "alarms", "errors", "dropped", "doubled"];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(device.telemetry.iter().map(|(slot, sums)| sums.row(slot)));
        indent(&mut text, &rows);
    }
    if !device.events.is_empty() {
        text.push_str("\n\nlately");
        let rows: Vec<[String; 4]> =
            device.events.iter().take(EVENTS_MAX).map(Event::row).collect();
        indent(&mut text, &rows);
    }
    Ok(text)
}

fn indent<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    for line in aligned(rows).lines() {
        let _ = write!(text, "\n  {line}");
    }
}

impl Sums {
    fn row(&self, slot: &str) -> [String; 8] {
        let Sums { readings, frames, findings, alarms, errors, dropped, doubled } = self;
        let [readings, frames, findings] = [readings, frames, findings].map(u64::to_string);
        let [alarms, errors, dropped, doubled] =
            [alarms, errors, dropped, doubled].map(u64::to_string);
        [slot.to_owned(), readings, frames, findings, alarms, errors, dropped, doubled]
    }
}

impl Slot {
    fn under_way(&self) -> String {
        match &self.candidate {
            Some(candidate) if self.phase.is_empty() => candidate.path(),
            Some(candidate) => format!("{} ({})", candidate.path(), self.phase),
            None => "-".into(),
        }
    }
}

impl Event {
    fn row(&self) -> [String; 4] {
        [self.at.clone(), self.slot.clone(), self.kind.clone(), self.text.clone()]
    }
}

/// When a span of running time ends or has ended.
fn moment(moment: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(moment, &Rfc3339) {
        Ok(time) if time > now => format!("{moment}, if the device runs until then"),
        _ => format!("{moment}, which has passed"),
    }
}

/// How long ago something was, in the largest unit that fits.
fn since(moment: Option<&str>, now: OffsetDateTime) -> String {
    let Some(moment) = moment else { return "never".into() };
    let Ok(time) = OffsetDateTime::parse(moment, &Rfc3339) else { return moment.to_owned() };
    match (now - time).whole_seconds() {
        ..=0 => "now".into(),
        seconds @ 1..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// Columns as wide as their widest cell.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn device() -> Value {
        json!({
            "name": "mill-7", "site": "Bremen", "labels": { "line": "3" },
            "agent_version": "0.1.0", "last_seen": "2026-11-24T11:59:55Z", "boot": 1,
            "attention": ["7 readings were dropped on the device"],
            "telemetry": { "turbine": { "intervals": 2, "readings": 1200, "frames": 120,
                "findings": 12, "alarms": 1, "errors": 0, "dropped": 7, "doubled": 0 } },
            "slots": {
                "ecg": { "assigned": "ecg/1", "active": null, "phase": "", "note": "", "floor": 0 },
                "turbine": { "assigned": "turbine/2", "phase": "trial", "floor": 1,
                    "note": "12 of 120 frames", "hold": "held back by hand (anna): the belt",
                    "hold_ends": "2026-11-24T12:30:00Z", "deadline": "2026-11-24T11:00:00Z",
                    "active": { "name": "turbine", "version": "1", "digest": "sha256:00" },
                    "candidate": { "name": "turbine", "version": "2", "digest": "sha256:01" } },
            },
            "events": [{ "at": "2026-11-24T11:59:00Z", "slot": "turbine", "kind": "trial_started",
                "text": "turbine v2", "release": "turbine v2", "boot": 1, "sequence": 4 }],
        })
    }

    #[test]
    fn a_list_has_a_line_for_each_slot() {
        let devices = json!([device(), { "name": "new" }]);
        insta::assert_snapshot!(table(&devices, NOW).unwrap(), @r"
        device  site    last seen  attention  slot     assigned   active     candidate
        mill-7  Bremen  5 s ago    1          ecg      ecg/1      -          -
                                              turbine  turbine/2  turbine/1  turbine/2 (trial)
        new     -       never      -          -        -          -          -
        ");
    }

    #[test]
    fn a_device_is_told_with_what_it_holds_and_what_happened() {
        insta::assert_snapshot!(paragraph(&device(), NOW).unwrap(), @r"
        mill-7, Bremen, line=3
        last seen 5 s ago, agent 0.1.0
        ! 7 readings were dropped on the device

        slot ecg
          assigned   ecg/1
          the device has not told of this slot

        slot turbine
          assigned   turbine/2
          active     turbine/1
          previous   -
          candidate  turbine/2 (trial)
          floor      1
          12 of 120 frames
          deadline   2026-11-24T11:00:00Z, which has passed
          updates are held back by hand (anna): the belt
          that ends  2026-11-24T12:30:00Z, if the device runs until then

        since it was added
          slot     readings  frames  findings  alarms  errors  dropped  doubled
          turbine  1200      120     12        1       0       7        0

        lately
          2026-11-24T11:59:00Z  turbine  trial_started  turbine v2
        ");
    }

    #[test]
    fn where_there_is_nothing_the_next_step_is_named() {
        assert!(table(&json!([]), NOW).unwrap().contains("lineside device add"));
        let new = paragraph(&json!({ "name": "new" }), NOW).unwrap();
        assert!(new.contains("lineside assign new SLOT"), "{new}");
        let error = format!("{:#}", table(&json!({ "devices": 1 }), NOW).unwrap_err());
        assert!(error.contains("of one version"), "{error}");
    }
}
