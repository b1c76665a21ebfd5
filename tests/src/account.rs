//! The account of what devices did, computed from the findings that they gave and from what they
//! counted themselves: two witnesses that do not know of each other.

use anyhow::Context;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the findings of a device say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Findings of frames that were answered.
    pub answered: u64,
    /// Frames that were told with a fail-safe value instead of an answer.
    pub unanswered: u64,
    /// Readings before a stream's last answer that no answer accounts for.
    pub lost: u64,
    /// Findings that are there twice, and frames that answer a reading again.
    pub doubled: u64,
}

/// Counts what the findings of a device say, in whatever order they came.
///
/// Every frame of the slots in `whole` has a finding, so there a reading without an answer shows as
/// a hole between frames. Elsewhere (a frame without a heart beat has no finding) nothing can be
/// said of holes, and the device's own counts have to speak.
///
/// # Errors
/// A finding of a frame does not say which readings it accounts for.
pub fn audit(findings: &[Value], whole: &[&str]) -> anyhow::Result<Audit> {
    let mut audit = Audit::default();
    let mut parts = BTreeSet::new();
    let mut streams: BTreeMap<(&str, &str), BTreeMap<u64, Span>> = BTreeMap::new();
    // A slot without a release says so in a finding of no frame.
    for finding in findings.iter().filter(|finding| !finding["frame"].is_null()) {
        let lacks = |field: &str| format!("a finding lacks {field}: {finding}");
        let text = |field: &str| finding[field].as_str().with_context(|| lacks(field));
        let number = |field: &str| finding[field].as_u64().with_context(|| lacks(field));
        let (slot, key) = (text("slot")?, text("key")?);
        let (frame, part) = (number("frame")?, number("part")?);
        let span = Span { first: number("first")?, last: number("last")? };
        if finding["fail_safe"] == true {
            audit.unanswered += 1;
            continue;
        }
        audit.answered += 1;
        let answered = streams.entry((slot, key)).or_default();
        let is_new = parts.insert((slot, key, frame, part));
        // The parts of a frame account for its readings together.
        let agrees = *answered.entry(frame).or_insert(span) == span;
        audit.doubled += u64::from(!is_new || !agrees);
    }
    for ((slot, _), frames) in &streams {
        let mut spans: Vec<Span> = frames.values().copied().collect();
        spans.sort();
        // Readings are numbered from 0.
        let mut owed = 0;
        for Span { first, last } in spans {
            audit.doubled += u64::from(first < owed);
            if whole.contains(slot) {
                audit.lost += first.saturating_sub(owed);
            }
            owed = owed.max(last + 1);
        }
    }
    Ok(audit)
}

/// The readings that a frame accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    first: u64,
    last: u64,
}

/// What a slot counts itself, as `lineside-agent status --json` tells it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Readings accepted.
    pub accepted: u64,
    /// Rows and messages that were no readings, and readings that gave way; not the copies that a
    /// broker sent of what it had sent before.
    pub dropped: u64,
    /// Frames accounted for.
    pub frames: u64,
    /// Frames without an answer.
    pub errors: u64,
    /// Findings of frames.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Readings between two frames that no frame accounts for.
    pub lost: u64,
    /// Frames that were accounted for twice.
    pub doubled: u64,
}

impl Counts {
    /// Reads what a slot's status says.
    ///
    /// # Errors
    /// It does not say one of them.
    pub fn of(slot: &Value) -> anyhow::Result<Counts> {
        let counts = &slot["counts"];
        let number = |field: &str| {
            counts[field].as_u64().with_context(|| format!("a slot does not count {field}: {slot}"))
        };
        let sum = |field: &str| {
            let reasons = counts[field].as_object();
            let reasons = reasons.with_context(|| format!("a slot does not count {field}: {slot}"));
            let wanted = reasons?.iter().filter(|(reason, _)| *reason != "copy");
            Ok::<u64, anyhow::Error>(wanted.filter_map(|(_, count)| count.as_u64()).sum())
        };
        Ok(Counts {
            accepted: number("accepted")?,
            dropped: sum("dropped")?,
            frames: number("frames")?,
            errors: sum("errors")?,
            findings: number("findings")?,
            alarms: number("alarms")?,
            lost: number("lost")?,
            doubled: number("doubled")?,
        })
    }
}

/// The share of alarms among the last `frames` answers of a slot; none before there are as many.
pub fn alarm_share(findings: &[Value], slot: &str, release: &str, frames: usize) -> Option<f64> {
    let of = |finding: &&Value| finding["slot"] == slot && finding["release"] == release;
    let alarms = findings.iter().rev().filter(of).filter_map(|finding| finding["alarm"].as_bool());
    let last: Vec<bool> = alarms.take(frames).collect();
    let count = last.iter().filter(|alarm| **alarm).count();
    (last.len() == frames).then(|| count as f64 / frames as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding(frame: u64, first: u64, last: u64) -> Value {
        json!({
            "slot": "turbine", "key": "A", "frame": frame, "part": 0, "first": first, "last": last,
            "alarm": frame.is_multiple_of(2), "release": "turbine v1",
        })
    }

    fn check(findings: &[Value]) -> (u64, u64, u64, u64) {
        let audit = audit(findings, &["turbine"]).unwrap();
        (audit.answered, audit.unanswered, audit.lost, audit.doubled)
    }

    #[test]
    fn frames_that_follow_each_other_lose_and_double_nothing_in_any_order() {
        let mut findings = vec![finding(1, 6, 11), finding(0, 0, 5), finding(2, 12, 17)];
        assert_eq!(check(&findings), (3, 0, 0, 0));
        // Another stream counts for itself.
        let mut other = finding(0, 0, 5);
        other["key"] = "B".into();
        findings.push(other);
        // What a vacant slot says is of no frame.
        findings.push(json!({ "slot": "turbine", "fail_safe": true, "id": "turbine/vacant" }));
        assert_eq!(check(&findings), (4, 0, 0, 0));
    }

    #[test]
    fn a_hole_is_as_many_readings_lost_as_it_is_wide() {
        assert_eq!(check(&[finding(0, 0, 5), finding(2, 12, 17)]), (2, 0, 6, 0));
        assert_eq!(check(&[finding(0, 0, 5), finding(1, 9, 11)]), (2, 0, 3, 0));
        assert_eq!(check(&[finding(1, 6, 11)]), (1, 0, 6, 0), "the first readings are missing");
    }

    #[test]
    fn readings_that_were_only_told_a_fail_safe_value_for_are_lost_to_the_plant() {
        let mut gap = finding(1, 6, 11);
        gap["fail_safe"] = true.into();
        assert_eq!(check(&[finding(0, 0, 5), gap, finding(2, 12, 17)]), (2, 1, 6, 0));
    }

    #[test]
    fn a_repeat_and_an_overlap_are_doubled() {
        let frames = [finding(0, 0, 5), finding(1, 6, 11)];
        assert_eq!(check(&[&frames[..], &frames[1..]].concat()), (3, 0, 0, 1), "a repeat");
        assert_eq!(check(&[finding(0, 0, 5), finding(1, 4, 11)]), (2, 0, 0, 1), "an overlap");
        assert_eq!(check(&[finding(0, 0, 5), finding(1, 0, 5)]), (2, 0, 0, 1), "two numbers");
        let other = [finding(0, 0, 5), finding(1, 6, 11), finding(1, 6, 9)];
        assert_eq!(check(&other), (3, 0, 0, 1), "a frame that was cut in two ways");
    }

    #[test]
    fn several_findings_of_a_frame_are_no_repeat() {
        let (mut first, mut second) = (finding(0, 0, 5), finding(0, 0, 5));
        first["part"] = 0.into();
        second["part"] = 1.into();
        assert_eq!(check(&[first, second]), (2, 0, 0, 0));
    }

    #[test]
    fn where_frames_may_be_silent_holes_say_nothing_and_repeats_still_do() {
        let beats = [finding(3, 108, 143), finding(9, 324, 359), finding(9, 324, 359)];
        let audit = audit(&beats, &[]).unwrap();
        assert_eq!((audit.lost, audit.doubled), (0, 1));
    }

    #[test]
    fn a_finding_that_does_not_say_its_readings_is_refused() {
        let mut silent = finding(0, 0, 5);
        silent["last"] = Value::Null;
        let error = audit(&[silent], &[]).unwrap_err().to_string();
        assert!(error.contains("lacks last"), "{error}");
    }

    #[test]
    fn a_slot_that_does_not_count_is_refused_and_reasons_are_added_up() {
        let mut slot = json!({ "counts": {
            "accepted": 30, "dropped": { "missing": 2, "overflow": 1, "copy": 9 }, "frames": 5,
            "errors": { "gap": 4 }, "findings": 5, "alarms": 1, "lost": 3, "doubled": 1,
        }});
        let counts = Counts::of(&slot).unwrap();
        assert_eq!((counts.dropped, counts.errors, counts.lost, counts.doubled), (3, 4, 3, 1));
        slot["counts"]["lost"] = Value::Null;
        assert!(Counts::of(&slot).unwrap_err().to_string().contains("does not count lost"));
    }

    #[test]
    fn the_share_of_alarms_is_that_of_the_last_answers_of_a_release() {
        let findings: Vec<Value> = (0..5).map(|n| finding(n, 6 * n, 6 * n + 5)).collect();
        assert_eq!(alarm_share(&findings, "turbine", "turbine v1", 5), Some(0.6));
        assert_eq!(alarm_share(&findings, "turbine", "turbine v1", 4), Some(0.5));
        assert_eq!(alarm_share(&findings, "turbine", "turbine v1", 6), None);
        assert_eq!(alarm_share(&findings, "turbine", "turbine v2", 1), None);
    }
}
