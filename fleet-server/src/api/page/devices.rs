//! All devices: a line each.

use crate::api::devices::DEVICES;
use crate::api::page::alerts;
use crate::api::page::html::{Column, escape, table};
use crate::api::page::routes::Shown;
use crate::api::page::words::{ago, event, release, seen};
use crate::api::view::{self, DeviceShown, SlotShown};
use crate::error::Error;
use crate::fleet::Fleet;
use time::OffsetDateTime;

pub(super) async fn show(fleet: &Fleet, after: &str, now: OffsetDateTime) -> Result<Shown, Error> {
    let count = fleet.registry.count().await?;
    let devices = view::list(fleet, fleet.registry.after(after, DEVICES).await?).await?;
    let rows: Vec<_> = devices.iter().map(|device| row(device, now)).collect();
    let columns = [
        Column::Text("Device"),
        Column::Text("Site"),
        Column::Text("Last seen"),
        Column::Text("Slots"),
        Column::Text("Attention"),
        Column::Text("Last event"),
    ];
    let mut body = match count {
        1 => "<p class=\"quiet\">1 device</p>".into(),
        count => format!("<p class=\"quiet\">{count} devices</p>"),
    };
    body.push_str(&alerts::waiting(fleet).await?);
    body.push_str(&table(&columns, &rows, "No devices yet: add one with `lineside device add`."));
    if !after.is_empty() {
        body.push_str("<p><a href=\"/\">The first devices</a></p>");
    }
    if let Some(last) = devices.last().filter(|_| devices.len() as u64 == DEVICES) {
        let last = escape(&last.name);
        body.push_str(&format!("<p><a href=\"/?after={last}\">The devices after {last}</a></p>"));
    }
    Ok(Shown { title: "Devices".into(), place: "/", body })
}

fn row(device: &DeviceShown, now: OffsetDateTime) -> Vec<String> {
    let name = escape(&device.name);
    let slots: Vec<String> = device.slots.iter().map(|(name, slot)| line(name, slot)).collect();
    let attention = match device.attention.len() {
        0 => String::new(),
        count => format!(
            "<span class=\"chip warn\" title=\"{}\">{count} to look at</span>",
            escape(&device.attention.join("\n"))
        ),
    };
    let happened = device.events.first().map(|happened| {
        format!(
            "{} {} <span class=\"quiet\">{}</span>",
            event(&happened.kind),
            ago(&happened.at, now),
            escape(&happened.text)
        )
    });
    vec![
        format!("<a href=\"/devices/{name}\"><b>{name}</b></a>"),
        escape(&device.site),
        seen(device, now),
        slots.join("<br>"),
        attention,
        happened.unwrap_or_default(),
    ]
}

fn line(name: &str, slot: &SlotShown) -> String {
    let name = escape(name);
    let mut line =
        format!("<span class=\"quiet\">{name}:</span> {}", release(slot.active.as_ref(), "vacant"));
    if let Some(candidate) = &slot.candidate {
        line.push_str(&format!(
            " → {} <span class=\"chip\">{}</span>",
            release(Some(candidate), ""),
            escape(&slot.phase)
        ));
    }
    if !slot.note.is_empty() {
        line.push_str(&format!(" <span class=\"quiet\">{}</span>", escape(&slot.note)));
    }
    line
}
