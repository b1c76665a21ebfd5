//! What is not as it should be with a device, said once for pages, programs and the tool.

use crate::api::view::DeviceShown;

/// A sentence for each thing that people should look at. `releases_version` is the version of this
/// server's list of releases.
pub(super) fn attention(device: &DeviceShown, releases_version: u64) -> Vec<String> {
    let (assigned, accepted) = (device.assignment_version, device.assignment_accepted);
    let mut sentences = Vec::new();
    if accepted < assigned {
        let holds = if accepted == 0 { "none".into() } else { accepted.to_string() };
        sentences.push(format!(
            "assignment {assigned} is signed and not accepted yet: the device holds {holds}"
        ));
    }
    if accepted > assigned {
        sentences.push(format!(
            "the device holds assignment {accepted}, newer than any that this server has signed: \
             was the server restored from a copy?"
        ));
    }
    if device.releases_accepted > releases_version {
        sentences.push(format!(
            "the device has accepted list of releases {}, this server has {releases_version}: \
             give it the newer one with `lineside keys publish`",
            device.releases_accepted
        ));
    }
    let [mut dropped, mut doubled, mut errors] = [0_u64; 3];
    for slot in device.telemetry.values() {
        dropped = dropped.saturating_add(slot.dropped);
        doubled = doubled.saturating_add(slot.doubled);
        errors = errors.saturating_add(slot.errors);
    }
    for (count, what) in [
        (dropped, "readings were dropped on the device"),
        (doubled, "frames were answered by more than one release"),
        (errors, "frames got no answer"),
        (device.missing_records, "telemetry records are missing: not here yet, or lost"),
        (device.unreadable_messages, "messages could not be read"),
        (
            device.unreadable_records,
            "telemetry records could not be read, and are kept as they came",
        ),
        (
            device.conflicting_records,
            "telemetry records came under numbers that were used before: was the device's state \
             lost, set back or copied?",
        ),
        (device.intervals_dropped, "old intervals were dropped here to make room"),
        (device.events_dropped, "old events were dropped here to make room"),
    ] {
        if count > 0 {
            sentences.push(format!("{count} {what}"));
        }
    }
    sentences
}
