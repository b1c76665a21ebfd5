//! How devices are told to people.

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use time::OffsetDateTime;
use time::macros::format_description;

/// Events that are told of a device.
const EVENTS_MAX: usize = 10;

/// A device as the server describes it; what is not known here is not told.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Device {
    device: String,
    site: String,
    labels: BTreeMap<String, String>,
    agent_version: String,
    last_seen_unix_ms: Option<i64>,
    assigned: BTreeMap<String, String>,
    slots: Vec<Slot>,
    events: Vec<Event>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slot {
    slot: String,
    active: Option<Release>,
    previous: Option<Release>,
    candidate: Option<Release>,
    phase: String,
    note: String,
    floor: u64,
}

#[derive(Deserialize)]
struct Release {
    name: String,
    version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event {
    slot: String,
    kind: String,
    text: String,
    at_unix_ms: i64,
}

impl Release {
    fn path(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

fn path(release: Option<&Release>) -> String {
    release.map_or("-".into(), Release::path)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A line for each slot of each device.
pub fn table(devices: &Value, now_unix_ms: i64) -> String {
    let devices: Vec<Device> = Vec::deserialize(devices).unwrap_or_default();
    if devices.is_empty() {
        return "no devices; next: lineside device add NAME -o DIR".into();
    }
    let heads = ["device", "site", "last seen", "slot", "assigned", "active", "candidate"];
    let mut rows = vec![heads.map(str::to_owned)];
    for device in &devices {
        let site = if device.site.is_empty() { "-".to_owned() } else { device.site.clone() };
        let seen = since(device.last_seen_unix_ms, now_unix_ms);
        let mut lead = [device.device.clone(), site, seen];
        let names = device.slot_names();
        for name in if names.is_empty() { vec!["-"] } else { names } {
            let slot = device.slots.iter().find(|slot| slot.slot == name);
            let [device_shown, site, seen] = std::mem::take(&mut lead);
            rows.push([
                device_shown,
                site,
                seen,
                name.to_owned(),
                device.assigned.get(name).cloned().unwrap_or("-".into()),
                path(slot.and_then(|slot| slot.active.as_ref())),
                slot.map_or("-".into(), Slot::under_way),
            ]);
        }
    }
    aligned(&rows)
}

/// Everything about one device.
pub fn paragraph(device: &Value, now_unix_ms: i64) -> String {
    let device = Device::deserialize(device).unwrap_or_default();
    let mut text = device.device.clone();
    if !device.site.is_empty() {
        let _ = write!(text, ", {}", device.site);
    }
    for (key, value) in &device.labels {
        let _ = write!(text, ", {key}={value}");
    }
    let _ = write!(text, "\nlast seen {}", since(device.last_seen_unix_ms, now_unix_ms));
    if !device.agent_version.is_empty() {
        let _ = write!(text, ", agent {}", device.agent_version);
    }
    if device.last_seen_unix_ms.is_none() {
        text.push_str("; install it with its folder and start lineside-agent there");
    }
    for name in device.slot_names() {
        let _ = write!(text, "\n\nslot {name}");
        let assigned = device.assigned.get(name).map_or("-", String::as_str);
        let _ = write!(text, "\n  assigned   {assigned}");
        let Some(slot) = device.slots.iter().find(|slot| slot.slot == name) else {
            text.push_str("\n  the device has not told of this slot");
            continue;
        };
        let active = slot.active.as_ref().map_or("none: the slot is vacant".into(), Release::path);
        let _ = write!(text, "\n  active     {active}");
        let _ = write!(text, "\n  previous   {}", path(slot.previous.as_ref()));
        let _ = write!(text, "\n  candidate  {}", slot.under_way());
        let _ = write!(text, "\n  floor      {}", slot.floor);
        if !slot.note.is_empty() {
            let _ = write!(text, "\n  {}", slot.note);
        }
    }
    if device.slot_names().is_empty() {
        let _ =
            write!(text, "\n\nno slots; next: lineside assign {} SLOT NAME/VERSION", device.device);
    }
    if !device.events.is_empty() {
        text.push_str("\n\nlately");
        let rows: Vec<[String; 4]> =
            device.events.iter().take(EVENTS_MAX).map(Event::row).collect();
        for line in aligned(&rows).lines() {
            let _ = write!(text, "\n  {line}");
        }
    }
    text
}

impl Device {
    /// Slots that are assigned or told of.
    fn slot_names(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self
            .assigned
            .keys()
            .chain(self.slots.iter().map(|slot| &slot.slot))
            .map(String::as_str)
            .collect();
        names.into_iter().collect()
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
        [moment(self.at_unix_ms), self.slot.clone(), self.kind.clone(), self.text.clone()]
    }
}

fn moment(unix_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000))
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}

/// How long ago something was, in the largest unit that fits.
fn since(unix_ms: Option<i64>, now_unix_ms: i64) -> String {
    let Some(unix_ms) = unix_ms else { return "never".into() };
    match now_unix_ms.saturating_sub(unix_ms) / 1000 {
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

    const NOW: i64 = 1_795_521_600_000;

    fn device() -> Value {
        json!({
            "device": "mill-7", "site": "Bremen", "labels": { "line": "3" },
            "agent_version": "0.1.0", "last_seen_unix_ms": NOW - 5000,
            "assigned": { "ecg": "ecg/1", "turbine": "turbine/2" },
            "slots": [{ "slot": "turbine", "phase": "trial", "floor": 1, "note": "12 of 120 frames",
                "active": { "name": "turbine", "version": "1", "digest": "sha256:00" },
                "candidate": { "name": "turbine", "version": "2", "digest": "sha256:01" } }],
            "events": [{ "slot": "turbine", "kind": "trial_started", "text": "turbine v2",
                "at_unix_ms": NOW - 60_000 }],
        })
    }

    #[test]
    fn a_list_has_a_line_for_each_slot() {
        let devices = json!([device(), { "device": "new" }]);
        insta::assert_snapshot!(table(&devices, NOW), @r"
        device  site    last seen  slot     assigned   active     candidate
        mill-7  Bremen  5 s ago    ecg      ecg/1      -          -
                                   turbine  turbine/2  turbine/1  turbine/2 (trial)
        new     -       never      -        -          -          -
        ");
    }

    #[test]
    fn a_device_is_told_with_what_it_holds_and_what_happened() {
        insta::assert_snapshot!(paragraph(&device(), NOW), @r"
        mill-7, Bremen, line=3
        last seen 5 s ago, agent 0.1.0

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

        lately
          2026-11-24 11:59:00 UTC  turbine  trial_started  turbine v2
        ");
    }

    #[test]
    fn where_there_is_nothing_the_next_step_is_named() {
        assert!(table(&json!([]), NOW).contains("lineside device add"));
        assert!(paragraph(&json!({ "device": "new" }), NOW).contains("lineside assign new SLOT"));
    }
}
