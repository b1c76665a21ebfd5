//! Who is told of every frame: the telemetry.

use crate::update::StagedRelease;
use crate::worker::route::Settled;
use lineside_bundle::ReleaseId;
use lineside_rules::ShadowObservation;
use lineside_wire::name::SlotName;
use std::sync::Arc;

/// Hears of frames once they are committed, and when they are answered. Must not block.
pub trait Witness: Send + Sync + 'static {
    /// A release takes the route.
    fn placed(&self, slot: &SlotName, release: &StagedRelease);
    /// Nothing has the route any more.
    fn vacated(&self, _slot: &SlotName) {}
    /// A frame has an answer, which is not on the disk yet. Who keeps what is committed need not hear it.
    fn answered(&self, _slot: &SlotName, _settled: &Settled) {}
    /// Frames were accounted for, each with the release that had the route.
    fn frames(&self, slot: &SlotName, frames: Vec<(Arc<ReleaseId>, Settled)>);
    /// So many frames were compared with those of a release beside the route, and so many of them agreed.
    fn compared(&self, _slot: &SlotName, _frames: u64, _agreed: u64) {}
    /// A release has stopped to answer beside the route.
    fn shadowed(&self, slot: &SlotName, release: &ReleaseId, seen: &ShadowObservation);
    /// Rows were no readings, or readings gave way.
    fn dropped(&self, slot: &SlotName, reason: &str, count: u64);
    /// Frames were committed twice.
    fn doubled(&self, slot: &SlotName, count: u64);
}

/// Nobody listens.
impl Witness for () {
    fn placed(&self, _slot: &SlotName, _release: &StagedRelease) {}
    fn frames(&self, _slot: &SlotName, _frames: Vec<(Arc<ReleaseId>, Settled)>) {}
    fn shadowed(&self, _slot: &SlotName, _release: &ReleaseId, _seen: &ShadowObservation) {}
    fn dropped(&self, _slot: &SlotName, _reason: &str, _count: u64) {}
    fn doubled(&self, _slot: &SlotName, _count: u64) {}
}
