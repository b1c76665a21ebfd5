//! What came of the story, computed from what devices and server recorded.

use anyhow::bail;
use lineside_tests::account::{Audit, Counts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// Devices whose telemetry the server has.
    pub devices: u64,
    /// Versions of turbine that hold, by the last commit of each device.
    pub committed: BTreeSet<String>,
    /// Versions that a device has refused.
    pub refused: BTreeSet<String>,
    /// Versions that a device has taken back.
    pub rolled_back: BTreeSet<String>,
    /// Versions of turbine that a rule has fired for.
    pub alerted: BTreeSet<String>,
    /// Frames that the server has been told of as answered twice.
    pub doubled_told: u64,
    /// By device and slot.
    pub slots: Vec<SlotOutcome>,
}

/// What came of one slot: what it counts itself, and what its findings say.
pub struct SlotOutcome {
    /// The device.
    pub device: String,
    /// The slot.
    pub slot: String,
    /// The release that answers.
    pub release: String,
    /// What it counts.
    pub counts: Counts,
    /// What its findings say.
    pub audit: Audit,
}

impl Outcome {
    fn findings(&self) -> u64 {
        self.slots.iter().map(|slot| slot.audit.answered).sum()
    }

    fn lost(&self) -> u64 {
        self.slots.iter().map(|slot| slot.counts.lost + slot.audit.lost).sum()
    }

    fn doubled(&self) -> u64 {
        let of = |slot: &SlotOutcome| slot.counts.doubled + slot.audit.doubled;
        self.slots.iter().map(of).sum::<u64>() + self.doubled_told
    }

    /// Whether all is as it should be.
    ///
    /// # Errors
    /// Names what is not.
    pub fn check(&self) -> anyhow::Result<()> {
        let only = |version: &str| BTreeSet::from([version.to_owned()]);
        let unanswered = |slot: &SlotOutcome| slot.counts.errors + slot.audit.unanswered;
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        expect(self.devices == 3, "not all three devices were heard");
        expect(self.slots.iter().all(|slot| slot.audit.answered > 0), "a slot has found nothing");
        expect(self.committed == only("v2"), "turbine v2 does not hold everywhere");
        expect(self.alerted == only("v1"), "a rule should fire for turbine v1, and for it alone");
        expect(self.refused == only("v3"), "turbine v3, and only it, should be refused");
        expect(self.rolled_back == only("v4"), "turbine v4, and only it, should be taken back");
        expect(self.slots.iter().map(unanswered).sum::<u64>() == 0, "frames have no answer");
        let dropped = self.slots.iter().map(|slot| slot.counts.dropped).sum::<u64>();
        expect(dropped == 0, "readings were dropped");
        expect(self.lost() == 0, "readings were lost");
        expect(self.doubled() == 0, "frames were answered twice");
        match wrong.as_slice() {
            [] => Ok(()),
            wrong => bail!("the story did not end as it should: {}", wrong.join("; ")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |versions: &BTreeSet<String>| match versions.is_empty() {
            true => "none".to_owned(),
            false => versions.iter().cloned().collect::<Vec<_>>().join("+"),
        };
        write!(
            f,
            "demo: devices={} findings={} alerted={} committed={} refused={} rolled_back={} lost={} doubled={}",
            self.devices,
            self.findings(),
            all(&self.alerted),
            all(&self.committed),
            all(&self.refused),
            all(&self.rolled_back),
            self.lost(),
            self.doubled()
        )
    }
}

/// Whether the server has heard a device: of its status, and of what it measured.
pub fn is_heard(device: &Value) -> bool {
    let slots = device["telemetry"].as_object();
    let measured = slots.is_some_and(|slots| {
        slots.values().any(|slot| slot["frames"].as_u64().is_some_and(|frames| frames > 0))
    });
    device["last_seen"].is_string() && measured
}

/// Which events of a device count.
#[derive(Clone, Copy, PartialEq)]
pub enum Which {
    All,
    Last,
}

/// The versions of a bundle that events of this kind speak of, over all devices.
pub fn versions(
    devices: &BTreeMap<String, Value>,
    bundle: &str,
    kind: &str,
    which: Which,
) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    for device in devices.values() {
        // Newest first.
        let events = device["events"].as_array().into_iter().flatten();
        let of_kind = events.filter(|event| event["kind"] == kind);
        let releases = of_kind.filter_map(|event| event["release"].as_str()?.split_once(' '));
        let named = releases.filter(|(name, _)| *name == bundle);
        let wanted = if which == Which::Last { 1 } else { usize::MAX };
        versions.extend(named.map(|(_, version)| version.to_owned()).take(wanted));
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn right() -> Outcome {
        let only = |version: &str| BTreeSet::from([version.to_owned()]);
        let slot = SlotOutcome {
            device: "mill-1".into(),
            slot: "turbine".into(),
            release: "turbine v2".into(),
            counts: Counts::default(),
            audit: Audit { answered: 500, ..Audit::default() },
        };
        Outcome {
            devices: 3,
            alerted: only("v1"),
            committed: only("v2"),
            refused: only("v3"),
            rolled_back: only("v4"),
            doubled_told: 0,
            slots: vec![slot],
        }
    }

    #[test]
    fn the_last_line_says_what_was_counted_by_device_findings_and_server() {
        assert_eq!(
            right().to_string(),
            "demo: devices=3 findings=500 alerted=v1 committed=v2 refused=v3 rolled_back=v4 lost=0 \
             doubled=0"
        );
        right().check().unwrap();
        let mut outcome = right();
        outcome.slots[0].counts.lost = 2;
        outcome.slots[0].audit.lost = 4;
        outcome.slots[0].counts.doubled = 1;
        outcome.slots[0].audit.doubled = 1;
        outcome.doubled_told = 1;
        assert!(outcome.to_string().ends_with("lost=6 doubled=3"), "{outcome}");
    }

    #[test]
    fn whatever_is_not_as_it_should_be_is_named() {
        let check = |change: fn(&mut Outcome), words: &str| {
            let mut outcome = right();
            change(&mut outcome);
            let error = outcome.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        check(|outcome| outcome.devices = 2, "not all three");
        check(|outcome| outcome.slots[0].audit.answered = 0, "found nothing");
        check(|outcome| outcome.committed.clear(), "v2 does not hold");
        check(|outcome| outcome.alerted.extend(["v2".to_owned()]), "v1, and for it alone");
        check(|outcome| outcome.refused.extend(["v2".to_owned()]), "v3, and only it");
        check(|outcome| outcome.rolled_back.clear(), "v4, and only it");
        check(|outcome| outcome.slots[0].counts.errors = 1, "no answer");
        check(|outcome| outcome.slots[0].audit.unanswered = 1, "no answer");
        check(|outcome| outcome.slots[0].counts.dropped = 1, "dropped");
        check(|outcome| outcome.slots[0].audit.lost = 1, "lost");
        check(|outcome| outcome.doubled_told = 1, "twice");
    }

    #[test]
    fn a_device_is_heard_when_it_has_told_and_measured() {
        let mut device = json!({ "last_seen": "2026-11-24T11:59:55Z",
            "telemetry": { "turbine": { "frames": 3 } } });
        assert!(is_heard(&device));
        device["telemetry"]["turbine"]["frames"] = 0.into();
        assert!(!is_heard(&device));
        let silent = json!({ "last_seen": null, "telemetry": { "turbine": { "frames": 3 } } });
        assert!(!is_heard(&silent));
    }

    #[test]
    fn versions_are_those_of_the_bundle_and_the_last_is_the_newest() {
        let event = |kind: &str, release: &str| json!({ "kind": kind, "release": release });
        let events = [
            event("committed", "turbine v2"),
            event("refused", "turbine v3"),
            event("committed", "turbine v1"),
            event("committed", "ecg v7"),
        ];
        let devices = BTreeMap::from([("mill".to_owned(), json!({ "events": events }))]);
        let of = |kind, which| {
            versions(&devices, "turbine", kind, which).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of("committed", Which::Last), ["v2"]);
        assert_eq!(of("committed", Which::All), ["v1", "v2"]);
        assert_eq!(of("refused", Which::All), ["v3"]);
    }
}
