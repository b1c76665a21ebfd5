//! What was stored of telemetry, for showing.

use crate::error::Error;
use crate::ingest::Telemetry;
use crate::store::from_row;
use crate::store::tables::{event, interval, total};
use lineside_wire::name::DeviceId;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// Sums over all intervals of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Intervals.
    pub intervals: u64,
    /// Readings accounted for.
    pub readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Readings dropped.
    pub dropped: u64,
    /// Frames answered by more than one active release.
    pub doubled: u64,
    /// Frames without an answer.
    pub errors: u64,
}

/// An interval.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IntervalShown {
    /// The slot.
    pub slot: String,
    /// The release that answered, as in `turbine v2`.
    pub release: String,
    /// First moment, by the readings' own time, RFC 3339.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// The start of the device it was made in.
    pub boot: u64,
    /// Its number within that start.
    pub sequence: u64,
    /// Whether it waited out an interruption.
    pub backfill: bool,
    /// Readings accounted for.
    pub readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Readings dropped.
    pub dropped: u64,
    /// Frames answered by more than one active release.
    pub doubled: u64,
    /// Frames without an answer.
    pub errors: u64,
    /// Time that 95 of 100 frames kept within, in milliseconds.
    pub latency_ms_p95: Option<f64>,
}

/// An event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EventShown {
    /// When, by the device's clock, RFC 3339.
    pub at: String,
    /// The slot, empty where it concerns the whole device.
    pub slot: String,
    /// What happened, as a word.
    pub kind: String,
    /// The release it is about, as in `turbine v2`.
    pub release: Option<String>,
    /// For people.
    pub text: String,
    /// The start of the device it was made in.
    pub boot: u64,
    /// Its number within that start.
    pub sequence: u64,
}

impl Telemetry {
    /// The newest intervals, of one slot if it is given.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn intervals(
        &self,
        device: &DeviceId,
        slot: Option<&str>,
        limit: u64,
    ) -> Result<Vec<IntervalShown>, Error> {
        let mut query = interval::Entity::find()
            .filter(interval::Column::Device.eq(device.as_str()))
            .order_by_desc(interval::Column::Id)
            .limit(limit);
        if let Some(slot) = slot {
            query = query.filter(interval::Column::Slot.eq(slot));
        }
        let rows = query.all(self.store.read()).await?;
        Ok(rows.into_iter().map(shown).collect())
    }

    /// The newest events, of one slot if it is given.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events(
        &self,
        device: &DeviceId,
        slot: Option<&str>,
        limit: u64,
    ) -> Result<Vec<EventShown>, Error> {
        let mut query = event::Entity::find()
            .filter(event::Column::Device.eq(device.as_str()))
            .order_by_desc(event::Column::Id)
            .limit(limit);
        if let Some(slot) = slot {
            query = query.filter(event::Column::Slot.eq(slot));
        }
        let rows = query.all(self.store.read()).await?;
        Ok(rows.into_iter().map(event_shown).collect())
    }
}

pub(super) fn totals_shown(row: &total::Model) -> Totals {
    Totals {
        intervals: from_row(row.intervals),
        readings: from_row(row.readings),
        frames: from_row(row.frames),
        findings: from_row(row.findings),
        alarms: from_row(row.alarms),
        dropped: from_row(row.dropped),
        doubled: from_row(row.doubled),
        errors: from_row(row.errors),
    }
}

pub(super) fn event_shown(row: event::Model) -> EventShown {
    EventShown {
        at: time_shown(row.at_unix_ms),
        slot: row.slot,
        kind: row.kind,
        release: row.release,
        text: row.text,
        boot: from_row(row.boot),
        sequence: from_row(row.sequence),
    }
}

fn shown(row: interval::Model) -> IntervalShown {
    IntervalShown {
        slot: row.slot,
        release: row.release,
        start: time_shown(row.start_unix_ms),
        end: time_shown(row.end_unix_ms),
        boot: from_row(row.boot),
        sequence: from_row(row.sequence),
        backfill: row.backfill,
        readings: from_row(row.readings),
        frames: from_row(row.frames),
        findings: from_row(row.findings),
        alarms: from_row(row.alarms),
        dropped: from_row(row.dropped),
        doubled: from_row(row.doubled),
        errors: from_row(row.errors),
        latency_ms_p95: row.latency_us_p95.map(|us| us / 1_000.0),
    }
}

/// A time for people and programs: RFC 3339, to the second, UTC.
pub(crate) fn time_shown(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}
