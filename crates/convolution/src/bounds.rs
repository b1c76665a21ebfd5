//! Bounds of what comes out.

use rten_simd::Isa;
use rten_simd::ops::{BitOps, NumOps};

/// Between what the numbers lie that come out; what is no number (NaN) stays none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The least.
    pub low: f32,
    /// The largest.
    pub high: f32,
}

impl Bounds {
    /// Anything may come out.
    pub const NONE: Bounds = Bounds { low: f32::NEG_INFINITY, high: f32::INFINITY };

    #[inline(always)]
    pub(crate) fn apply<I: Isa>(self, isa: I, numbers: I::F32) -> I::F32 {
        let ops = isa.f32();
        let [low, high] = [ops.splat(self.low), ops.splat(self.high)];
        let numbers = ops.select(low, numbers, ops.lt(numbers, low));
        ops.select(high, numbers, ops.gt(numbers, high))
    }
}
