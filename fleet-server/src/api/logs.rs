//! Lines of a device's log, which it sends for as long as somebody has asked.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Look, May, Operate};
use crate::error::Error;
use crate::fleet::{Fleet, Kept, Known, Wanted};
use crate::ingest::time_shown;
use crate::store::unix_ms;
use axum::extract::State;
use lineside_wire::v1::LogLevel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

/// For how long lines are asked for unless told, in minutes.
const MINUTES: u32 = 10;
/// Lines that are shown unless told, and at most.
const LINES_MAX: usize = 1_000;

/// Which lines are asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLogRequest {
    /// `error`, `warn`, `info` (unless told) or `debug`: how much lines have to matter, at least.
    level: Option<String>,
    /// Parts of the agent, each with all below it, as in `lineside_agent::update`; all if none is named.
    #[serde(default)]
    targets: Vec<String>,
    /// For how long, in minutes: 10 unless told, 60 at most.
    minutes: Option<u32>,
}

/// What was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogRequestShown {
    /// The device.
    device: String,
    /// The number of the request.
    request: u64,
    /// Whether the device is connected; else it is asked when it is, within that time.
    connected: bool,
}

/// Which lines to show.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct After {
    /// Those after the one of this number; all unless told.
    after: Option<u64>,
    /// At most so many, the oldest first; 1000 unless told, and at most.
    limit: Option<usize>,
}

/// What is known of the log of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogShown {
    /// The device.
    device: String,
    /// The number of the last request; null if nothing was asked since the server's start.
    request: Option<u64>,
    /// How much lines have to matter, at least.
    level: Option<String>,
    /// Parts of the agent that were asked for.
    targets: Vec<String>,
    /// When the time is over for which it was asked.
    until: Option<String>,
    /// Whether lines may still come.
    open: bool,
    /// Whether the device has heard of the request.
    heard: bool,
    /// Why it sends none, or none any longer; empty while it does.
    ended: String,
    /// Lines that the device left out because there were too many.
    dropped: u64,
    /// Lines that were kept here and gave way to newer ones.
    gave_way: u64,
    /// The number of the last line, 0 for none.
    last: u64,
    /// Lines, the oldest first.
    lines: Vec<LogLineShown>,
}

/// A line of a log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLineShown {
    /// Its number here.
    number: u64,
    /// What the device took for the time.
    time: String,
    /// `error`, `warn`, `info`, `debug`, or a number that is not known here.
    level: String,
    /// The part of the agent that says it.
    target: String,
    /// What it says.
    message: String,
    /// What it is about, by name.
    fields: BTreeMap<String, String>,
}

/// Asks a device for lines of its log. It sends them until the time is over, and stops by itself; what was
/// asked before ends with it. The site of the device may forbid it.
#[utoipa::path(post, path = "/api/v1/devices/{device}/log", params(("device" = String, Path)),
    security(("person" = ["operate"])),
    responses((status = 200, body = LogRequestShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn ask(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Json(new): Json<NewLogRequest>,
) -> Result<Json<LogRequestShown>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let level = match new.level {
        None => LogLevel::Info,
        Some(level) => level
            .parse::<LogLevel>()
            .map_err(|problem| Error::Malformed(format!("level: {problem}")))?,
    };
    let wanted = Wanted { level, targets: new.targets, minutes: new.minutes.unwrap_or(MINUTES) };
    let (request, connected) =
        fleet.ask_log(&who.by, &device, wanted, OffsetDateTime::now_utc()).await?;
    Ok(Json(LogRequestShown { device: device.to_string(), request, connected }))
}

/// The lines that a device has sent. They are in memory: a bounded number of each device, the newest, until
/// the server stops.
#[utoipa::path(get, path = "/api/v1/devices/{device}/log",
    params(("device" = String, Path), After), security(("person" = ["look"])),
    responses((status = 200, body = LogShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<LogShown>, Error> {
    let device = who.device(&fleet, &device).await?.id;
    let lines_max = after.limit.unwrap_or(LINES_MAX).min(LINES_MAX);
    let known = fleet.logs.known(&device, after.after.unwrap_or(0), lines_max);
    Ok(Json(shown(device.to_string(), known, OffsetDateTime::now_utc())))
}

fn shown(device: String, known: Option<Known>, now: OffsetDateTime) -> LogShown {
    let Some(known) = known else {
        return LogShown {
            device,
            request: None,
            level: None,
            targets: Vec::new(),
            until: None,
            open: false,
            heard: false,
            ended: String::new(),
            dropped: 0,
            gave_way: 0,
            last: 0,
            lines: Vec::new(),
        };
    };
    LogShown {
        device,
        request: Some(known.request),
        level: Some(known.wanted.level.to_string()),
        targets: known.wanted.targets,
        until: Some(time_shown(unix_ms(known.until))),
        open: known.ended.is_empty() && now < known.until,
        heard: known.is_heard,
        ended: known.ended,
        dropped: known.dropped,
        gave_way: known.gave_way,
        last: known.last,
        lines: known.lines.into_iter().map(line).collect(),
    }
}

fn line(Kept { number, line }: Kept) -> LogLineShown {
    LogLineShown {
        number,
        time: moment(line.at_unix_ms),
        level: LogLevel::of(line.level)
            .map_or_else(|| line.level.to_string(), |level| level.to_string()),
        target: line.target,
        message: line.message,
        fields: line.fields.into_iter().collect(),
    }
}

/// A time to the millisecond: RFC 3339, UTC.
fn moment(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}
