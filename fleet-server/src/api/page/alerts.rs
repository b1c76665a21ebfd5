//! Alerts: those that wait for somebody to know of them, and those of one device.

use crate::api::page::html::{Column, escape, table};
use crate::api::page::words::ago_and_time;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::monitor::AlertShown;
use time::OffsetDateTime;

/// Alerts that are told above the list of devices.
const WAITING_SHOWN: u64 = 10;

/// What nobody has said yet that he knows of it, for the top of a page.
pub(super) async fn waiting(fleet: &Fleet) -> Result<String, Error> {
    let (alerts, count) = fleet.alerts.newest_waiting(WAITING_SHOWN).await?;
    if alerts.is_empty() {
        return Ok(String::new());
    }
    let mut items: String = alerts.iter().map(item).collect();
    let more = count.saturating_sub(alerts.len() as u64);
    if more > 0 {
        items.push_str(&format!("<li>and {more} more: <code>lineside alerts</code></li>"));
    }
    Ok(format!("<ul class=\"troubles\">{items}</ul>"))
}

fn item(alert: &AlertShown) -> String {
    let place = match &alert.device {
        Some(device) => {
            let device = escape(device);
            format!("<a href=\"/devices/{device}\"><b>{device}</b></a>")
        }
        None => format!("<b>{}</b>", escape(&alert.place())),
    };
    let (id, slot, text) = (alert.id, escape(&alert.slot), escape(&alert.text));
    format!("<li>alert {id}, {place}, slot {slot}: {text}{}</li>", escape(&alert.asks()))
}

/// What was done on the server, or is to be decided.
fn came_of_it(alert: &AlertShown) -> String {
    match &alert.proposal {
        Some(proposal) if !proposal.text.is_empty() => format!("; {}", proposal.text),
        Some(proposal) if proposal.state == "declined" => "; what it proposed was declined".into(),
        _ => alert.asks(),
    }
}

/// A table of alerts.
pub(super) fn rows(alerts: &[AlertShown], now: OffsetDateTime) -> String {
    let row = |alert: &AlertShown| {
        let moment = |time: &Option<String>| time.as_ref().map(|time| ago_and_time(time, now));
        let state = match (&alert.over, &alert.acknowledged_by) {
            (Some(_), _) => "<span class=\"chip\">over</span>".into(),
            (None, Some(by)) => format!("<span class=\"chip\">known to {}</span>", escape(by)),
            (None, None) => "<span class=\"chip bad\">open</span>".into(),
        };
        vec![
            alert.id.to_string(),
            moment(&alert.fired).unwrap_or_default(),
            state,
            format!("<span class=\"release\">{}</span>", escape(&alert.slot)),
            format!("<span class=\"release\">{}</span>", escape(&alert.release)),
            format!("{}{}", escape(&alert.text), escape(&came_of_it(alert))),
        ]
    };
    let rows: Vec<Vec<String>> = alerts.iter().map(row).collect();
    let columns = [
        Column::Number("Number"),
        Column::Text("Fired, by the device, UTC"),
        Column::Text("State"),
        Column::Text("Slot"),
        Column::Text("Release"),
        Column::Text("What"),
    ];
    table(&columns, &rows, "No rule has fired yet.")
}
