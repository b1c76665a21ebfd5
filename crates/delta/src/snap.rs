//! The publisher's choice: an update that is rounded, so that its recipe becomes small.

use crate::grid::{Step, to_f64};
use crate::onnx::{self, Tensor};
use crate::pairing::pair;

/// Smaller tensors are scales and the like: exact ones cost next to nothing.
const ELEMENTS_MIN: usize = 16;
/// `TensorProto.DataType` of the whole numbers that are quantised weights.
const UINT8: u64 = 2;
const INT8: u64 = 3;

/// How coarsely an update may be rounded: the step of a tensor's grid, at most, as a share of the
/// root mean square of the tensor's update. More than 0.
///
/// Rounding to a step of `t` such shares adds noise of `t`/√12 shares: 7 % for a quarter.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Tolerance(f64);

impl Tolerance {
    /// None unless `share` is more than 0 and finite.
    pub fn new(share: f64) -> Option<Tolerance> {
        (share > 0.0 && share.is_finite()).then_some(Tolerance(share))
    }
}

/// Returns a model that lies near `target` and can be reached from `base` by a small recipe.
///
/// Each tensor that both have, by name and shape, is `base`'s plus whole numbers of a step of its own,
/// a power of two; everything else is as in `target`. The result is another model than `target`: it is
/// to be checked, measured and signed in its stead.
pub fn snap(base: &[u8], target: &[u8], tolerance: Tolerance) -> Vec<u8> {
    let (old, new) = (onnx::tensors(base), onnx::tensors(target));
    let mut snapped = target.to_vec();
    for (tensor, pair) in new.iter().zip(pair(&old, &new)) {
        if let Some(old) = pair.and_then(|at| old.get(at)) {
            let new = &mut snapped[tensor.range.clone()];
            snap_tensor(tensor, &base[old.range.clone()], new, tolerance);
        }
    }
    snapped
}

/// Rounds the update of one tensor. Leaves it as it is where that makes no sense: where there are few
/// elements, where a value is not finite, where nothing changed, where integers have no coarser step,
/// and where they are not weights but places or sizes.
fn snap_tensor(tensor: &Tensor<'_>, old: &[u8], new: &mut [u8], tolerance: Tolerance) {
    let element = tensor.element;
    let width = element.bytes();
    let weights = element.float().is_some() || [UINT8, INT8].contains(&tensor.data_type);
    if !weights || new.len() / width < ELEMENTS_MIN {
        return;
    }
    let value = |bits: u64| match tensor.data_type {
        UINT8 => bits as f64,
        _ => to_f64(element, bits),
    };
    let change = |old: &[u8], new: &[u8]| value(element.read(new)) - value(element.read(old));
    let changes = old.chunks_exact(width).zip(new.chunks_exact(width));
    let squares: f64 = changes.map(|(old, new)| change(old, new).powi(2)).sum();
    let deviation = (squares / (new.len() / width) as f64).sqrt();
    let exponent = (tolerance.0 * deviation).log2().floor();
    if !exponent.is_finite() {
        return;
    }
    let Some(step) = Step::new(exponent as i16, element) else { return };
    for (old, new) in old.chunks_exact(width).zip(new.chunks_exact_mut(width)) {
        let size = step.size(element, element.read(old));
        let count = (change(old, new) / size).round_ties_even();
        // The next point of the grid may lie beyond what the element can hold; then the one before.
        let from = element.read(old);
        let near = |bits: &u64| (value(*bits) - value(element.read(new))).abs() <= size;
        let points = [count, count - count.signum()];
        let points = points.map(|count| step.above(element, from, count as i32));
        if let Some(snapped) = points.into_iter().find(near) {
            element.write(snapped, new);
        }
    }
}
