//! What was counted and what it cost, without any profile.

use crate::monitor::drift::times_shown;
use crate::monitor::merged::Part;
use lineside_wire::v1::Counts;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a slot did over a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SummaryShown {
    /// First moment, by the readings' own time, RFC 3339.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// Devices.
    pub devices: u64,
    /// Intervals; one that a device has merged counts as those it was made of.
    pub intervals: u64,
    /// Readings accounted for.
    pub readings: u64,
    /// Those of them that came after a later interval had begun.
    pub late_readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Frames answered by more than one active release.
    pub doubled: u64,
    /// Frames without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Readings dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Frames that a release beside the route has answered too or failed on.
    pub shadow_frames: u64,
    /// Of these, those in which every output agreed.
    pub shadow_agreed: u64,
    /// Time that a frame took.
    pub latency_ms: LatencyShown,
    /// What agents and workers used.
    pub resources: ResourcesShown,
    /// What the readings took: eight bytes for each value of each reading.
    pub reading_bytes: u64,
    /// What came of them: bytes of the interval records.
    pub record_bytes: u64,
}

/// Quantiles of the time a frame took, in milliseconds, each within 1/64 of itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LatencyShown {
    /// Frames measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: Option<f64>,
    /// 95 of 100.
    pub p95: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
}

/// What agents and workers used, of all slots of the devices: what a slot alone used is not told apart.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ResourcesShown {
    /// Processor time in seconds, from a device's first interval on.
    pub cpu_seconds: f64,
    /// Written to storage, in KiB, from a device's first interval on.
    pub written_kib: u64,
    /// Most resident memory of a device, in KiB.
    pub resident_kib_max: u64,
    /// Least free space of a state folder's disk, in MiB.
    pub disk_free_mib_min: u64,
    /// Highest temperature of a processor, where one is told.
    pub temperature_c_max: Option<f32>,
    /// Lowest charge of a battery in percent, where there is one.
    pub battery_percent_min: Option<u8>,
}

impl SummaryShown {
    /// A part, over its own time or that of a span.
    pub(super) fn of(part: &Part, span_unix_ms: Option<(i64, i64)>) -> SummaryShown {
        let Part { interval, cost, .. } = part;
        let own = (interval.start_unix_ms, interval.end_unix_ms);
        let (start, end) = times_shown(span_unix_ms.unwrap_or(own));
        let latency = &interval.latency_us;
        let at =
            |share: f64| latency.quantile(share).filter(|us| us.is_finite()).map(|us| us / 1_000.0);
        SummaryShown {
            start,
            end,
            devices: part.devices.len() as u64,
            intervals: interval.intervals,
            readings: interval.readings,
            late_readings: interval.late_readings,
            frames: interval.frames,
            findings: interval.findings,
            alarms: interval.alarms,
            doubled: interval.doubled,
            errors: by_reason(&interval.errors),
            dropped: by_reason(&interval.dropped),
            shadow_frames: interval.shadow_frames,
            shadow_agreed: interval.shadow_agreed,
            latency_ms: LatencyShown {
                count: latency.count(),
                p50: at(0.5),
                p95: at(0.95),
                p99: at(0.99),
            },
            resources: ResourcesShown {
                cpu_seconds: cost.cpu_ms as f64 / 1_000.0,
                written_kib: cost.written_kib,
                resident_kib_max: cost.resident_kib_max,
                disk_free_mib_min: cost.disk_free_mib_min,
                temperature_c_max: cost.temperature_c_max,
                battery_percent_min: cost.battery_percent_min,
            },
            reading_bytes: part.reading_bytes(),
            record_bytes: part.record_bytes,
        }
    }
}

fn by_reason(counts: &Counts) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for (reason, number) in counts {
        let known: &mut u64 = reasons.entry(reason.clone()).or_default();
        *known = known.saturating_add(*number);
    }
    reasons
}
