//! One device: what it shall hold and holds, what it measured, what happened on it.

use crate::api::page::alerts;
use crate::api::page::html::{Column, escape, table};
use crate::api::page::routes::Shown;
use crate::api::page::words::{ago_and_time, event, grouped, plain, release, seen};
use crate::api::view::{self, DeviceShown, SlotShown};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{IntervalShown, Totals};
use crate::monitor::Selection;
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// Intervals that the page of a device shows.
const INTERVALS_SHOWN: u64 = 50;
/// Alerts that it shows.
const ALERTS_SHOWN: u64 = 20;
/// Events that it shows.
const EVENTS_SHOWN: usize = 20;

pub(super) async fn show(fleet: &Fleet, name: &str, now: OffsetDateTime) -> Result<Shown, Error> {
    let device = fleet.registry.get(name).await?;
    let intervals = fleet.telemetry.intervals(&device.id, None, INTERVALS_SHOWN).await?;
    let selection = Selection {
        device: Some(device.id.to_string()),
        limit: Some(ALERTS_SHOWN),
        ..Selection::default()
    };
    let alerts = fleet.alerts.list(&selection).await?;
    let device = view::show(fleet, device).await?;
    let mut body = facts(&device, now);
    if !device.attention.is_empty() {
        let item = |sentence: &String| format!("<li>{}</li>", escape(sentence));
        let items: String = device.attention.iter().map(item).collect();
        body.push_str(&format!("<ul class=\"troubles\">{items}</ul>"));
    }
    for (head, table) in [
        ("Slots", slots(&device)),
        ("Alerts", alerts::rows(&alerts, now)),
        ("Since it was added", totals(&device)),
        ("Events", happened(&device, now)),
        ("Intervals", measured(&intervals)),
    ] {
        body.push_str(&format!("<h2>{head}</h2>{table}"));
    }
    Ok(Shown { title: device.name, place: "/", body })
}

fn facts(device: &DeviceShown, now: OffsetDateTime) -> String {
    let mut facts = vec![seen(device, now)];
    if !device.site.is_empty() {
        facts.push(escape(&device.site));
    }
    for (key, value) in &device.labels {
        facts.push(format!("<code>{}={}</code>", escape(key), escape(value)));
    }
    if !device.agent_version.is_empty() {
        facts.push(format!("agent {}, start {}", escape(&device.agent_version), device.boot));
    }
    let DeviceShown { assignment_version: assigned, assignment_accepted: accepted, .. } = device;
    facts.push(format!("assignment {accepted} of {assigned} accepted"));
    format!("<p class=\"quiet\">{}</p>", facts.join(" · "))
}

fn slots(device: &DeviceShown) -> String {
    let row = |(name, slot): (&String, &SlotShown)| {
        let under_way = slot.candidate.as_ref().map(|candidate| release(Some(candidate), ""));
        vec![
            format!("<b>{}</b>", escape(name)),
            whole(slot.assigned.as_deref().unwrap_or("nothing")),
            release(slot.active.as_ref(), "vacant"),
            release(slot.previous.as_ref(), "none"),
            format!(
                "{} {}",
                if slot.phase.is_empty() { "not told yet".into() } else { escape(&slot.phase) },
                under_way.unwrap_or_default()
            ),
            slot.floor.to_string(),
            escape(&noted(slot)),
        ]
    };
    let rows: Vec<Vec<String>> = device.slots.iter().map(row).collect();
    let columns = [
        Column::Text("Slot"),
        Column::Text("Assigned"),
        Column::Text("Active"),
        Column::Text("Previous"),
        Column::Text("Phase"),
        Column::Number("Floor"),
        Column::Text("Note"),
    ];
    table(&columns, &rows, "Nothing is assigned: `lineside assign DEVICE SLOT RELEASE`.")
}

/// What people should know of a slot.
fn noted(slot: &SlotShown) -> String {
    let hold = slot.hold.as_ref().map(|hold| format!("updates are {hold}"));
    let ends = slot.hold_ends.as_ref().map(|ends| format!("that ends {ends}"));
    let deadline = slot.deadline.as_ref().map(|deadline| format!("deadline {deadline}"));
    let sentences = [Some(slot.note.clone()), deadline, hold, ends].into_iter().flatten();
    sentences.filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Sums, also of slots that the device has no longer and of those that are summed up together.
fn totals(device: &DeviceShown) -> String {
    let names: BTreeSet<&String> = device.slots.keys().chain(device.telemetry.keys()).collect();
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| {
            let none = Totals::default();
            let sums = device.telemetry.get(name).unwrap_or(&none);
            let counts = [
                sums.intervals,
                sums.readings,
                sums.frames,
                sums.findings,
                sums.alarms,
                sums.errors,
                sums.dropped,
                sums.doubled,
            ];
            let name = format!("<b>{}</b>", escape(name));
            std::iter::once(name).chain(counts.map(grouped)).collect()
        })
        .collect();
    let columns = [
        Column::Text("Slot"),
        Column::Number("Intervals"),
        Column::Number("Readings"),
        Column::Number("Frames"),
        Column::Number("Findings"),
        Column::Number("Alarms"),
        Column::Trouble("Errors"),
        Column::Trouble("Dropped"),
        Column::Trouble("Doubled"),
    ];
    table(&columns, &rows, "No telemetry yet.")
}

fn measured(intervals: &[IntervalShown]) -> String {
    let rows: Vec<Vec<String>> = intervals
        .iter()
        .map(|interval| {
            // Two times of one day: the day is written once.
            let end = match (interval.start.split_once('T'), interval.end.split_once('T')) {
                (Some((day, _)), Some((end_day, time))) if day == end_day => time,
                _ => &interval.end,
            };
            let late =
                if interval.backfill { " <span class=\"chip\">sent later</span>" } else { "" };
            vec![
                format!("<time>{} – {}</time>{late}", plain(&interval.start), plain(end)),
                whole(&interval.slot),
                whole(&interval.release),
                grouped(interval.readings),
                grouped(interval.frames),
                grouped(interval.findings),
                grouped(interval.alarms),
                grouped(interval.errors),
                grouped(interval.dropped),
                grouped(interval.doubled),
                interval.latency_ms_p95.map_or(String::new(), |ms| format!("{ms:.2}")),
            ]
        })
        .collect();
    let columns = [
        Column::Text("Interval, UTC"),
        Column::Text("Slot"),
        Column::Text("Release"),
        Column::Number("Readings"),
        Column::Number("Frames"),
        Column::Number("Findings"),
        Column::Number("Alarms"),
        Column::Trouble("Errors"),
        Column::Trouble("Dropped"),
        Column::Trouble("Doubled"),
        Column::Number("p95 ms"),
    ];
    table(&columns, &rows, "No telemetry yet.")
}

/// A name, which is not broken to make room for sentences.
fn whole(name: &str) -> String {
    format!("<span class=\"release\">{}</span>", escape(name))
}

fn happened(device: &DeviceShown, now: OffsetDateTime) -> String {
    let rows: Vec<Vec<String>> = device
        .events
        .iter()
        .take(EVENTS_SHOWN)
        .map(|happened| {
            vec![
                ago_and_time(&happened.at, now),
                event(&happened.kind),
                whole(&happened.slot),
                whole(happened.release.as_deref().unwrap_or_default()),
                escape(&happened.text),
            ]
        })
        .collect();
    let columns = [
        Column::Text("Time by the device, UTC"),
        Column::Text("Event"),
        Column::Text("Slot"),
        Column::Text("Release"),
        Column::Text("What"),
    ];
    table(&columns, &rows, "Nothing has happened yet.")
}
