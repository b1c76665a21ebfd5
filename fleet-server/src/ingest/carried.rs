//! Reports that somebody carries here: what they tell is taken as if the network had brought it.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::ear::{take_reminder, unreadable};
use crate::registry::imported_before;
use lineside_trust::{RECEIPT_RANGES_MAX, ReportError, UnverifiedReport};
use lineside_wire::envelope::{self, Message};
use lineside_wire::name::DeviceId;
use lineside_wire::range_set::RangeSet;
use lineside_wire::v1::{Ack, Reminder, Status, Telemetry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What a report brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// Whose it was.
    pub device: String,
    /// Which of its reports.
    pub number: u64,
    /// Events and intervals that are new here.
    pub new_records: usize,
}

/// Takes a report, if the device that it names has signed it and none after it was taken.
///
/// # Errors
/// [`Error::Missing`] if there is no such device; [`Error::Refused`] if it has not signed this;
/// [`Error::Conflict`] for a report that came before, or a device without a key.
pub(crate) async fn import(
    fleet: &Fleet,
    bytes: &[u8],
    now: OffsetDateTime,
) -> Result<Imported, Error> {
    let report = UnverifiedReport::read(bytes).map_err(refused)?;
    let device = fleet.registry.get(report.device().as_str()).await?;
    let key = device.report_key().ok_or_else(|| {
        Error::Conflict(format!(
            "{0} has no key for reports: make its folder again with `lineside device reissue {0}`",
            device.id
        ))
    })?;
    let report = report.verify(&key).map_err(refused)?;
    if report.number <= device.report_number() {
        return Err(imported_before(&device.id, report.number));
    }
    let (mut new_records, mut stored) = (0, BTreeMap::new());
    for message in report.messages {
        // One message at a time, as those that come through the network.
        let _turn = fleet.ear.turn.lock().await;
        if fleet.ear.closed.load(Ordering::Acquire) {
            return Err(Error::Conflict("the server is stopping: import it again later".into()));
        }
        let (new, acks) = take(fleet, &device.id, message, now).await?;
        new_records += new;
        gather(&mut stored, acks);
    }
    // Only now: a report that was taken in part may be imported again, and says nothing twice.
    let stored = within_bound(&stored);
    fleet.registry.reported(&device.id, report.number, &stored, now).await?;
    Ok(Imported { device: device.id.to_string(), number: report.number, new_records })
}

async fn take(
    fleet: &Fleet,
    device: &DeviceId,
    message: &[u8],
    now: OffsetDateTime,
) -> Result<(usize, Vec<Ack>), Error> {
    match envelope::open(message) {
        Ok((Status::KIND, _, _)) => match envelope::decode::<Status>(message) {
            Ok(status) => {
                let known = fleet.registry.get(device.as_str()).await?.boot();
                // What came through the network since is newer, whenever the file arrives.
                if status.boot >= known {
                    // It was said when it was written, and no other clock knows when that was.
                    let said = status.wall_clock_unix_ms;
                    fleet.registry.heard(device, &status, said, now).await?;
                }
            }
            Err(error) => unreadable(fleet, device, "status", &error.to_string()).await?,
        },
        Ok((Telemetry::KIND, _, _)) => {
            return fleet.telemetry.take(fleet, device, message, now).await;
        }
        Ok((Reminder::KIND, _, _)) => take_reminder(fleet, device, message, now).await?,
        Ok((kind, version, _)) => {
            let problem = format!("message {kind} version {version} is not known here");
            unreadable(fleet, device, "a message", &problem).await?;
        }
        Err(error) => unreadable(fleet, device, "a message", &error.to_string()).await?,
    }
    Ok((0, Vec::new()))
}

/// Adds what was stored to what is to be receipted.
fn gather(stored: &mut BTreeMap<u64, RangeSet>, acks: Vec<Ack>) {
    for Ack { boot, ranges } in acks {
        let set = stored.entry(boot).or_default();
        for (first, last) in ranges {
            // One that finds no place is told again.
            set.insert(first, last);
        }
    }
}

/// What a receipt has room for, the oldest first.
fn within_bound(stored: &BTreeMap<u64, RangeSet>) -> Vec<Ack> {
    let mut left = RECEIPT_RANGES_MAX;
    let mut acks = Vec::new();
    for (boot, set) in stored {
        let ranges: Vec<(u64, u64)> = set.ranges().take(left).collect();
        left -= ranges.len();
        if !ranges.is_empty() {
            acks.push(Ack { boot: *boot, ranges });
        }
    }
    acks
}

fn refused(error: ReportError) -> Error {
    Error::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_names_what_was_stored_once_and_within_its_bound() {
        let mut stored = BTreeMap::new();
        let ack = |boot, ranges: &[(u64, u64)]| Ack { boot, ranges: ranges.to_vec() };
        gather(&mut stored, vec![ack(7, &[(0, 3)]), ack(9, &[(0, 0)])]);
        gather(&mut stored, vec![ack(7, &[(2, 4), (6, 6)])]);
        assert_eq!(within_bound(&stored), [ack(7, &[(0, 4), (6, 6)]), ack(9, &[(0, 0)])]);
        let every_second: Vec<_> = (0..5000).map(|number| (2 * number, 2 * number)).collect();
        gather(&mut stored, vec![ack(8, &every_second)]);
        let bounded = within_bound(&stored);
        let ranges: usize = bounded.iter().map(|ack| ack.ranges.len()).sum();
        assert_eq!((bounded[0].boot, ranges), (7, RECEIPT_RANGES_MAX));
    }
}
