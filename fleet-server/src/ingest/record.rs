//! Records as they arrive, read.

use lineside_wire::envelope::decode;
use lineside_wire::v1::{self, Body, Counts, Event, Interval, ReleaseRef};

/// Records that one message may carry. With those known already, their numbers always find room in
/// a set of ranges.
const RECORDS_MAX: usize = 1_000;

/// A record whose number fits the database.
pub(crate) struct Taken {
    pub boot: i64,
    pub sequence: i64,
    pub backfill: bool,
    /// Its bytes as they came.
    pub body: Vec<u8>,
    pub view: View,
}

/// What a record says.
pub(crate) enum View {
    Interval(Box<Interval>),
    Event(Event),
    /// A kind of the future, by its code.
    Unknown(u16),
}

/// Reads a message of telemetry.
///
/// # Errors
/// A sentence.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Taken>, String> {
    let message: v1::Telemetry = decode(payload).map_err(|error| error.to_string())?;
    let count = message.records.len();
    if count > RECORDS_MAX {
        return Err(format!("it has {count} records, {RECORDS_MAX} are read"));
    }
    message.records.into_iter().map(taken).collect()
}

fn taken(record: v1::Record) -> Result<Taken, String> {
    let number = |number: u64| {
        i64::try_from(number).map_err(|_| format!("number {number} is beyond what is counted"))
    };
    let (boot, sequence) = (number(record.boot)?, number(record.sequence)?);
    let view = match record.read().map_err(|error| error.to_string())? {
        Body::Interval(interval) => View::Interval(interval),
        Body::Event(event) => View::Event(event),
        Body::Unknown(code) => View::Unknown(code),
    };
    Ok(Taken { boot, sequence, backfill: record.backfill, body: record.body, view })
}

/// A release as people write it.
pub(crate) fn release_shown(release: &ReleaseRef) -> String {
    format!("{} v{}", release.name, release.version)
}

/// How often it happened, for whatever reason.
pub(crate) fn sum(counts: &Counts) -> u64 {
    counts.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
}

/// Time that 95 of 100 frames kept within, in microseconds.
pub(crate) fn latency_us_p95(interval: &Interval) -> Option<f64> {
    interval.latency_us.quantile(0.95).filter(|value| value.is_finite())
}

/// A kind of event as a word.
pub(crate) fn event_word(kind: u16) -> String {
    use v1::event;
    match kind {
        event::ASSIGNED => "assigned",
        event::DOWNLOADED => "downloaded",
        event::STAGED => "staged",
        event::REFUSED => "refused",
        event::TRIAL_STARTED => "trial_started",
        event::COMMITTED => "committed",
        event::ROLLED_BACK => "rolled_back",
        event::VACANT => "vacant",
        event::WORKER_FAILED => "worker_failed",
        event::DOCUMENTS_REFUSED => "documents_refused",
        event::DOWNLOAD_FAILED => "download_failed",
        event::TRIAL_CANCELLED => "trial_cancelled",
        event::ALARM => "alarm",
        event::INSTALL_FAILED => "install_failed",
        event::RECORDS_DROPPED => "records_dropped",
        event::FINDINGS_DROPPED => "findings_dropped",
        other => return format!("event {other}"),
    }
    .into()
}
