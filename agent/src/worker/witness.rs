//! Who is told of every frame: the telemetry.

use crate::worker::route::Settled;
use lineside_bundle::ReleaseId;
use lineside_wire::name::SlotName;

/// Hears of frames once they are committed. Must not block.
pub trait Witness: Send + Sync + 'static {
    /// A frame was accounted for.
    fn frame(&self, slot: &SlotName, release: &ReleaseId, settled: &Settled);
    /// Rows were no readings, or readings gave way.
    fn dropped(&self, slot: &SlotName, reason: &str, count: u64);
}

/// Nobody listens.
impl Witness for () {
    fn frame(&self, _slot: &SlotName, _release: &ReleaseId, _settled: &Settled) {}
    fn dropped(&self, _slot: &SlotName, _reason: &str, _count: u64) {}
}
