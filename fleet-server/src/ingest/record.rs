//! Records as they arrive, read.

use crate::bounds::{MESSAGE_RECORDS_MAX, NAME_CHARS_MAX, NUMBER_MAX, short};
use crate::store::to_row;
use lineside_bundle::spoken;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{self, Alert, Body, Counts, Event, Interval, Quality, ReleaseRef};

/// A record whose number fits the database.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub boot: i64,
    pub sequence: i64,
    pub backfill: bool,
    /// Its bytes as they came.
    pub body: Vec<u8>,
    pub view: View,
}

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) enum View {
    Interval(Box<Interval>),
    Event(Event),
    Alert(Box<Alert>),
    Quality(Box<Quality>),
    /// A kind of the future, by its code.
    Unknown(u16),
    /// A kind that is known, with a body that is not what it must be. Its device would send it for
    /// ever, in the company of others: so it is stored as it came.
    Unreadable {
        code: u16,
        problem: String,
    },
}

/// Reads a message of telemetry, each of its records for itself.
///
/// # Errors
/// A sentence, if nothing of it can be read.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Taken>, String> {
    let message: v1::Telemetry = decode(payload).map_err(|error| error.to_string())?;
    let count = message.records.len();
    if count > MESSAGE_RECORDS_MAX {
        return Err(format!("it has {count} records, {MESSAGE_RECORDS_MAX} are read"));
    }
    message.records.into_iter().map(taken).collect()
}

fn taken(record: v1::Record) -> Result<Taken, String> {
    for number in [record.boot, record.sequence] {
        if number > NUMBER_MAX {
            return Err(format!("number {number} is beyond what is counted"));
        }
    }
    let view = match record.read() {
        Ok(Body::Interval(interval)) => View::Interval(interval),
        Ok(Body::Event(event)) => View::Event(event),
        Ok(Body::Alert(alert)) => View::Alert(alert),
        Ok(Body::Quality(quality)) => View::Quality(quality),
        Ok(Body::Unknown(code)) => View::Unknown(code),
        Err(error) => View::Unreadable { code: record.code, problem: error.to_string() },
    };
    let (boot, sequence) = (to_row(record.boot), to_row(record.sequence));
    Ok(Taken { boot, sequence, backfill: record.backfill, body: record.body, view })
}

/// A release as people write it.
pub(crate) fn release_shown(release: &ReleaseRef) -> String {
    let part = |text| short(text, NAME_CHARS_MAX);
    spoken(&part(&release.name), &part(&release.version))
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
        event::WORKER_KILLED => "worker_killed",
        event::QUARANTINED => "quarantined",
        event::DOCUMENTS_REFUSED => "documents_refused",
        event::DOWNLOAD_FAILED => "download_failed",
        event::TRIAL_CANCELLED => "trial_cancelled",
        event::ALARM => "alarm",
        event::INSTALL_FAILED => "install_failed",
        event::RECORDS_DROPPED => "records_dropped",
        event::FINDINGS_DROPPED => "findings_dropped",
        event::STATE_LOST => "state_lost",
        event::STATE_UNWRITABLE => "state_unwritable",
        event::ENGINE => "engine",
        event::RULE_FIRED => "rule_fired",
        event::RULE_OVER => "rule_over",
        event::HOLD_BEGAN => "hold_began",
        event::HOLD_ENDED => "hold_ended",
        event::SHADOW_ENDED => "shadow_ended",
        event::SHADOW_PASSED => "shadow_passed",
        event::HELD => "held",
        event::OVERDUE => "overdue",
        event::APPROVED => "approved",
        event::CANCELLED => "cancelled",
        other => return format!("event {other}"),
    }
    .into()
}
