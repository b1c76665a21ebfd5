//! What becomes of the numbers that come out, while they are still in registers.

use crate::Bounds;
use rten_simd::Isa;
use rten_simd::ops::{BitOps, NumOps};

/// What becomes of each number that comes out: it is put between bounds, and then may be gated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ending {
    /// Between what it is put.
    pub bounds: Bounds,
    /// What it is then multiplied by.
    pub gate: Option<Gate>,
}

/// A number becomes itself times what bounds make of it: `x * bounds(x * slope + moved) * scale`, each step
/// rounded. ONNX's `HardSwish` with a slope of 1, moved by 3, between 0 and 6, and a scale of 1/6.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// What it is multiplied by before it is moved.
    pub slope: f32,
    /// By how much it is moved.
    pub moved: f32,
    /// Between what that lies.
    pub bounds: Bounds,
    /// What the product is multiplied by.
    pub scale: f32,
}

impl Ending {
    /// Everything comes out as it is.
    pub const NONE: Ending = Ending { bounds: Bounds::NONE, gate: None };

    #[inline(always)]
    pub(crate) fn apply<I: Isa>(self, isa: I, numbers: I::F32) -> I::F32 {
        let numbers = self.bounds.apply(isa, numbers);
        let Some(gate) = self.gate else { return numbers };
        let ops = isa.f32();
        let sloped = ops.mul(numbers, ops.splat(gate.slope));
        let by = gate.bounds.apply(isa, ops.add(sloped, ops.splat(gate.moved)));
        ops.mul(ops.mul(numbers, by), ops.splat(gate.scale))
    }
}
