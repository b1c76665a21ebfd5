//! What is not as it should be with a device, said once for pages, programs and the tool.

use crate::api::view::{DeviceShown, SlotShown};
use crate::monitor::AlertShown;
use std::time::Duration;

/// A sentence for each thing that people should look at. `releases_version` is the version of this
/// server's list of releases; `silent` is how long the device has said nothing, if that is too long.
pub(super) fn attention(
    device: &DeviceShown,
    releases_version: u64,
    silent: Option<Duration>,
) -> Vec<String> {
    let (assigned, accepted) = (device.assignment_version, device.assignment_accepted);
    let mut sentences = Vec::new();
    if let Some(silent) = silent {
        let silent = span(silent);
        sentences.push(match device.connected {
            true => format!("it is connected, and has said nothing for {silent}"),
            false => format!("it is not connected, and was last heard of {silent} ago"),
        });
    }
    for (name, slot) in &device.slots {
        sentences.extend(of_slot(slot).into_iter().map(|what| format!("slot {name}: {what}")));
    }
    if accepted < assigned {
        let holds = if accepted == 0 { "none".into() } else { accepted.to_string() };
        sentences.push(format!(
            "assignment {assigned} is signed and not accepted yet: the device holds {holds}"
        ));
    }
    if accepted > assigned {
        sentences.push(format!(
            "the device holds assignment {accepted}, newer than any that this server has signed: \
             was the server restored from a copy? It is asked for what it holds when it reports; where \
             this stays, assign what it shall hold"
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

/// What is said of an alert that is not over and that nobody has acknowledged.
pub(super) fn alert(alert: &AlertShown) -> String {
    let AlertShown { id, slot, text, .. } = alert;
    format!("alert {id}, slot {slot}: {text}{}", alert.asks())
}

/// What people should look at in a slot.
fn of_slot(slot: &SlotShown) -> Vec<String> {
    let active = slot.active.as_ref().map(|active| format!("{}/{}", active.name, active.version));
    // Nothing is on its way, and what is assigned does not run: it was refused, or rolled back.
    let is_refused = slot.phase == "idle" && slot.assigned.is_some() && slot.assigned != active;
    let waits = slot.phase == "held" || is_refused;
    let mut sentences = vec![slot.trouble.clone()];
    if waits {
        sentences.push(match &slot.deadline {
            Some(deadline) => format!("{} (deadline {deadline})", slot.note),
            None => slot.note.clone(),
        });
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// A span as people say it.
fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..7_200 => format!("{} minutes", seconds / 60),
        seconds @ ..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ReleaseShown;

    #[test]
    fn a_slot_that_waits_for_people_or_brings_nothing_is_to_be_looked_at() {
        let active =
            ReleaseShown { name: "turbine".into(), version: "2".into(), digest: String::new() };
        let slot = |assigned: &str, phase: &str, note: &str, trouble: &str| SlotShown {
            assigned: Some(assigned.into()),
            active: Some(active.clone()),
            phase: phase.into(),
            note: note.into(),
            trouble: trouble.into(),
            ..SlotShown::default()
        };
        let blind = "its source brings no readings: no such file";
        let waits = "turbine v3 waits for a person to approve it";
        for (slot, expected) in [
            (slot("turbine/2", "idle", "", ""), vec![]),
            // What was refused before the release that runs was assigned.
            (slot("turbine/2", "idle", "turbine v3: too many errors", ""), vec![]),
            (
                slot("turbine/3", "idle", "turbine v3: too many errors", ""),
                vec!["turbine v3: too many errors"],
            ),
            // On its way to the device.
            (slot("turbine/3", "idle", "", ""), vec![]),
            (slot("turbine/3", "trial", "turbine v3 on trial", ""), vec![]),
            (slot("turbine/3", "held", waits, ""), vec![waits]),
            (slot("turbine/3", "trial", "turbine v3 on trial", blind), vec![blind]),
            (slot("turbine/3", "held", waits, blind), vec![blind, waits]),
        ] {
            assert_eq!(of_slot(&slot), expected);
        }
        let held = SlotShown {
            deadline: Some("2026-11-26T03:04:05Z".into()),
            ..slot("turbine/3", "held", "turbine v3 is held back: in use", "")
        };
        let said = "turbine v3 is held back: in use (deadline 2026-11-26T03:04:05Z)";
        assert_eq!(of_slot(&held), [said]);
    }

    #[test]
    fn a_span_is_told_in_the_unit_that_fits() {
        let said = [130, 7_199, 7_200, 172_799, 172_800].map(|s| span(Duration::from_secs(s)));
        assert_eq!(said, ["2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"]);
    }
}
