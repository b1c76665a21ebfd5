//! What a slot tells the plant, as JSON.

use crate::clock::written;
use crate::worker::route::{Failure, Settled};
use lineside_bundle::{FailSafe, ReleaseId};
use lineside_runtime::{Part, StandIn, Value};
use lineside_wire::name::{DeviceId, SlotName};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whose findings they are.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// The slot.
    pub slot: &'a SlotName,
    /// The release on the route; none while the slot is vacant.
    pub release: Option<&'a ReleaseId>,
}

#[derive(Serialize)]
struct Finding<'a, T> {
    id: String,
    device: &'a DeviceId,
    slot: &'a SlotName,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(flatten)]
    of: Option<Frame<'a>>,
    outputs: &'a BTreeMap<String, T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    fail_safe: bool,
    #[serde(skip_serializing_if = "is_false")]
    held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Frame<'a> {
    key: &'a str,
    frame: u64,
    part: usize,
    first: u64,
    last: u64,
    time: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// One finding of a frame. Its id is the same whenever and wherever the frame is answered again, and
/// no other finding of the slot ever has it.
pub fn answer(author: Author<'_>, settled: &Settled, number: usize, part: &Part) -> String {
    let mut finding: Finding<'_, Value> =
        by(author, id(author.slot, settled, number), &part.outputs);
    finding.of = Some(frame(settled, number));
    finding.alarm = part.alarm;
    finding.latency_us = Some(u64::try_from(settled.elapsed.as_micros()).unwrap_or(u64::MAX));
    json(&finding)
}

/// What a slot says about a frame that has no answer, or whose answer the plant is not to have, for a reason.
pub fn fail_safe_frame(
    author: Author<'_>,
    settled: &Settled,
    reason: &str,
    outputs: &BTreeMap<String, FailSafe>,
) -> String {
    let mut finding = by(author, id(author.slot, settled, 0), outputs);
    finding.of = Some(frame(settled, 0));
    finding.fail_safe = true;
    finding.reason = Some(reason);
    json(&finding)
}

/// What a bundle wants to be told of a frame without an answer because a plugin broke: made of what the
/// plugin gave last, or of what the bundle says it is to give then. It says so, and why.
pub fn instead(
    author: Author<'_>,
    settled: &Settled,
    failure: &Failure,
    source: StandIn,
    (number, part): (usize, &Part),
) -> String {
    let mut finding: Finding<'_, Value> =
        by(author, id(author.slot, settled, number), &part.outputs);
    finding.of = Some(frame(settled, number));
    finding.alarm = part.alarm;
    finding.held = source == StandIn::Held;
    finding.fail_safe = source == StandIn::FailSafe;
    finding.reason = Some(&failure.text);
    json(&finding)
}

/// What a slot says once when it becomes vacant, or when its release does not answer: for the
/// `count`th time since the slot exists.
pub fn fail_safe(
    author: Author<'_>,
    count: u64,
    reason: &str,
    outputs: &BTreeMap<String, FailSafe>,
) -> String {
    // A frame's id has one part more, so it cannot be the same.
    let mut finding = by(author, format!("{}/fail-safe/{count}", author.slot), outputs);
    finding.fail_safe = true;
    finding.reason = Some(reason);
    json(&finding)
}

/// A frame is named by its first reading, which no other frame accounts for. Its number repeats when
/// an update changes how readings are cut.
pub fn id(slot: &SlotName, settled: &Settled, part: usize) -> String {
    format!("{slot}/{}/{}/{part}", settled.stream(), settled.first)
}

fn by<'a, T>(author: Author<'a>, id: String, outputs: &'a BTreeMap<String, T>) -> Finding<'a, T> {
    Finding {
        id,
        device: author.device,
        slot: author.slot,
        release: author.release.map(ToString::to_string),
        digest: author.release.map(|release| release.digest.to_string()),
        of: None,
        outputs,
        alarm: None,
        latency_us: None,
        fail_safe: false,
        held: false,
        reason: None,
    }
}

fn frame(settled: &Settled, part: usize) -> Frame<'_> {
    Frame {
        key: &settled.key,
        frame: settled.frame,
        part,
        first: settled.first,
        last: settled.last,
        time: written(settled.time_unix_ns),
    }
}

fn json(finding: &impl Serialize) -> String {
    serde_json::to_string(finding).expect("findings have string keys; what is no number is null")
}
