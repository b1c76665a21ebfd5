//! The pages: devices, their releases, what they measured and what happened. Rendered here, read
//! with any browser, asked for again every few seconds.

use crate::api::caller::{Browser, COOKIE_NAME};
use crate::api::html::{escape, page, table};
use crate::api::view::{self, DeviceShown, SlotShown};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::IntervalShown;
use crate::registry::ReleaseShown;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::sync::Arc;

/// Pause before a page asks for itself again.
const REFRESH_SECONDS: u32 = 5;
/// Intervals that the page of a device shows.
const INTERVALS_SHOWN: u64 = 50;

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
}

/// The routes of the pages.
pub(super) fn router() -> Router<Arc<Fleet>> {
    Router::new()
        .route("/", get(devices))
        .route("/login", post(login))
        .route("/devices/{device}", get(device))
        .route("/releases", get(releases))
}

async fn login(State(fleet): State<Arc<Fleet>>, Form(given): Form<Token>) -> Response {
    enter(&fleet, given.token.as_deref().unwrap_or_default())
}

/// Gives the browser its cookie and sends it to the devices, so that no token stays in the address.
fn enter(fleet: &Fleet, token: &str) -> Response {
    if !fleet.administrator.is_token(token) {
        return ask("That is not the administrator's token.");
    }
    let cookie = fleet.administrator.cookie();
    let cookie = format!("{COOKIE_NAME}={cookie}; Path=/; HttpOnly; SameSite=Lax");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else { return ask("") };
    let location = (LOCATION, HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [location, (SET_COOKIE, cookie)]).into_response()
}

fn ask(problem: &str) -> Response {
    let body = format!(
        "<p class=\"warn\">{}</p><p>The administrator's token stands in <code>admin.token</code> \
         in the server's data folder.</p><form method=\"post\" action=\"/login\">\
         <input name=\"token\" type=\"password\" aria-label=\"Token\" autofocus>\
         <button>Show the fleet</button></form>",
        escape(problem)
    );
    (StatusCode::UNAUTHORIZED, Html(page("Who are you?", &body, None))).into_response()
}

async fn devices(
    browser: Browser,
    State(fleet): State<Arc<Fleet>>,
    Query(given): Query<Token>,
) -> Response {
    if let Some(token) = given.token {
        return enter(&fleet, &token);
    }
    if !browser.logged_in {
        return ask("");
    }
    shown(devices_page(&fleet).await)
}

async fn device(
    browser: Browser,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
) -> Response {
    if !browser.logged_in {
        return ask("");
    }
    shown(device_page(&fleet, &name).await)
}

async fn releases(browser: Browser, State(fleet): State<Arc<Fleet>>) -> Response {
    if !browser.logged_in {
        return ask("");
    }
    shown(releases_page(&fleet).await)
}

fn shown(page: Result<String, Error>) -> Response {
    match page {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            let body = format!("<p>{}</p>", escape(&error.to_string()));
            (error.status(), Html(self::page("Not shown", &body, None))).into_response()
        }
    }
}

async fn devices_page(fleet: &Fleet) -> Result<String, Error> {
    let mut rows = Vec::new();
    for device in fleet.registry.all().await? {
        let shown = view::show(fleet, device).await?;
        let name = escape(&shown.name);
        let slots: Vec<String> =
            shown.slots.iter().map(|(name, slot)| slot_line(name, slot)).collect();
        let happened = shown.events.first().map(|event| {
            format!("{} <span class=\"quiet\">{}</span>", escape(&event.kind), escape(&event.text))
        });
        rows.push(vec![
            format!("<a href=\"/devices/{name}\">{name}</a>"),
            escape(&shown.site),
            seen(&shown),
            slots.join("<br>"),
            happened.unwrap_or_default(),
        ]);
    }
    let columns = [
        ("Device", false),
        ("Site", false),
        ("Last seen", false),
        ("Slots", false),
        ("Last event", false),
    ];
    let empty = "No devices yet: add one with `lineside device add`.";
    let body = format!("{}{}", storage_trouble(fleet), table(&columns, &rows, empty));
    Ok(page("Devices", &body, Some(REFRESH_SECONDS)))
}

/// That nothing can be stored, if so. What devices say waits on them meanwhile.
fn storage_trouble(fleet: &Fleet) -> String {
    let trouble = fleet.store.trouble();
    trouble.last.map_or_else(String::new, |why| {
        format!(
            "<p class=\"warn\">Nothing can be stored, and devices keep what they have to say: {} \
             ({} writes failed)</p>",
            escape(&why),
            trouble.failures
        )
    })
}

async fn device_page(fleet: &Fleet, name: &str) -> Result<String, Error> {
    let device = fleet.registry.get(name).await?;
    let intervals = fleet.telemetry.intervals(&device.id, None, INTERVALS_SHOWN).await?;
    let shown = view::show(fleet, device).await?;
    let mut body = format!("<p>{} · {}", seen(&shown), escape(&shown.site));
    for (key, value) in &shown.labels {
        body.push_str(&format!(" · <code>{}={}</code>", escape(key), escape(value)));
    }
    body.push_str(&format!(" · agent {} · start {}</p>", escape(&shown.agent_version), shown.boot));
    body.push_str(&troubles(&shown));
    body.push_str("<h2>Slots</h2>");
    body.push_str(&slots_table(&shown));
    body.push_str("<h2>Telemetry</h2>");
    body.push_str(&intervals_table(&intervals));
    body.push_str("<h2>Events</h2>");
    let rows: Vec<Vec<String>> = shown
        .events
        .iter()
        .map(|event| {
            vec![
                escape(&event.at),
                escape(&event.slot),
                escape(&event.kind),
                escape(event.release.as_deref().unwrap_or_default()),
                escape(&event.text),
            ]
        })
        .collect();
    let columns =
        [("Time", false), ("Slot", false), ("Event", false), ("Release", false), ("What", false)];
    body.push_str(&table(&columns, &rows, "Nothing has happened yet."));
    Ok(page(&shown.name, &body, Some(REFRESH_SECONDS)))
}

/// What is not as it should be: counted, and said.
fn troubles(shown: &DeviceShown) -> String {
    let counts = [
        (shown.missing_records, "telemetry records are missing"),
        (shown.unreadable_messages, "messages could not be read"),
        (
            shown.unreadable_records,
            "telemetry records could not be read, and are kept as they came",
        ),
        (
            shown.conflicting_records,
            "telemetry records came under numbers that were used before: \
             was the device's state lost, set back or copied?",
        ),
        (shown.intervals_dropped, "old intervals were dropped here to make room"),
        (shown.events_dropped, "old events were dropped here to make room"),
    ];
    let said = counts.iter().filter(|(count, _)| *count > 0);
    said.map(|(count, what)| format!("<p class=\"warn\">{count} {what}</p>")).collect()
}

fn slots_table(shown: &DeviceShown) -> String {
    let rows: Vec<Vec<String>> = shown
        .slots
        .iter()
        .map(|(name, slot)| {
            let totals = shown.telemetry.get(name).cloned().unwrap_or_default();
            vec![
                escape(name),
                escape(slot.assigned.as_deref().unwrap_or("nothing")),
                release(slot.active.as_ref(), "vacant"),
                release(slot.previous.as_ref(), ""),
                format!("{} {}", escape(&slot.phase), release(slot.candidate.as_ref(), "")),
                escape(&slot.note),
                totals.findings.to_string(),
                totals.alarms.to_string(),
                totals.errors.to_string(),
                totals.doubled.to_string(),
            ]
        })
        .collect();
    let columns = [
        ("Slot", false),
        ("Assigned", false),
        ("Active", false),
        ("Previous", false),
        ("Phase", false),
        ("Note", false),
        ("Findings", true),
        ("Alarms", true),
        ("Errors", true),
        ("Doubled", true),
    ];
    table(&columns, &rows, "Nothing is assigned: `lineside assign DEVICE SLOT RELEASE`.")
}

fn intervals_table(intervals: &[IntervalShown]) -> String {
    let rows: Vec<Vec<String>> = intervals
        .iter()
        .map(|interval| {
            vec![
                format!("{} – {}", escape(&interval.start), escape(&interval.end)),
                escape(&interval.slot),
                escape(&interval.release),
                interval.readings.to_string(),
                interval.frames.to_string(),
                interval.findings.to_string(),
                interval.alarms.to_string(),
                interval.errors.to_string(),
                interval.latency_ms_p95.map_or(String::new(), |ms| format!("{ms:.2}")),
            ]
        })
        .collect();
    let columns = [
        ("Interval", false),
        ("Slot", false),
        ("Release", false),
        ("Readings", true),
        ("Frames", true),
        ("Findings", true),
        ("Alarms", true),
        ("Errors", true),
        ("p95 ms", true),
    ];
    table(&columns, &rows, "No telemetry yet.")
}

async fn releases_page(fleet: &Fleet) -> Result<String, Error> {
    let released = fleet.documents.released_when_accepted().await?;
    let version = released.as_ref().map_or(0, |released| released.releases.seen().version);
    let rows: Vec<Vec<String>> = released
        .iter()
        .flat_map(|released| released.releases.iter())
        .map(|release| {
            vec![
                escape(&release.id.to_string()),
                release.number.to_string(),
                release.floor.to_string(),
                format!("<code>{}</code>", escape(&release.id.digest.short())),
            ]
        })
        .collect();
    let columns = [("Release", false), ("Number", true), ("Floor", true), ("Digest", false)];
    let body = table(&columns, &rows, "Nothing is released yet: `lineside release`.");
    let body = format!("<p class=\"quiet\">List of releases, version {version}</p>{body}");
    Ok(page("Releases", &body, Some(REFRESH_SECONDS)))
}

fn seen(shown: &DeviceShown) -> String {
    match &shown.last_seen {
        Some(time) => escape(time),
        None => "<span class=\"quiet\">never</span>".into(),
    }
}

fn slot_line(name: &str, slot: &SlotShown) -> String {
    let mut line = format!("{}: {}", escape(name), release(slot.active.as_ref(), "vacant"));
    if let Some(candidate) = &slot.candidate {
        line.push_str(&format!(" → {} ({})", release(Some(candidate), ""), escape(&slot.phase)));
    }
    if !slot.note.is_empty() {
        line.push_str(&format!(" <span class=\"quiet\">{}</span>", escape(&slot.note)));
    }
    line
}

fn release(release: Option<&ReleaseShown>, none: &str) -> String {
    match release {
        Some(release) => format!("{} v{}", escape(&release.name), escape(&release.version)),
        None => format!("<span class=\"quiet\">{}</span>", escape(none)),
    }
}
