//! The publisher's choice: an update that is rounded, so that its recipe becomes small.

use crate::graph::transposed;
use crate::grid::{Step, to_f64};
use crate::onnx::{self, INT8, Tensor, UINT8};
use crate::pairing::pair;
use crate::rescale::{Rescaled, rescale};

/// Smaller tensors stay exact: they cost next to nothing.
const ELEMENTS_MIN: usize = 16;
/// How much finer smaller tensors are rounded, by the logarithm of how much smaller they are.
const FINER: f64 = 0.75;

/// How coarsely an update may be rounded: the step of the largest tensor's grid, at most, as a share
/// of the root mean square of that tensor's update. More than 0.
///
/// A tensor of a sixteenth of the elements has a step of an eighth of that share: finer steps cost
/// little there, and a model's first and last tensors, which weigh most, are small.
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
/// Each tensor that both have, by name and shape, is `base`'s plus whole numbers of a step of its own;
/// everything else is as in `target`. What rounding takes from one weight it gives to the next one of
/// the same output, so that sums over an output's inputs stay: with steps of several times the
/// update's size most models then still answer alike, where plain rounding forgets the update.
/// Weights that are quantised keep the scales of `base`.
///
/// The result is another model than `target`: it is to be checked, measured and signed in its stead.
pub fn snap(base: &[u8], target: &[u8], tolerance: Tolerance) -> Vec<u8> {
    let (old, new) = (onnx::tensors(base), onnx::tensors(target));
    let transposed = transposed(target);
    let pairs = pair(&old, &new);
    let mut snapped = target.to_vec();
    let rescaled = rescale((base, &old), (target, &new), &pairs, is_weights, &mut snapped);
    let places = new.iter().zip(pairs).enumerate();
    let pairs = places.filter_map(|(at, (new, pair))| Some((at, old.get(pair?)?, new)));
    let changed = pairs.filter(|(_, old, new)| {
        is_weights(new) && base[old.range.clone()] != target[new.range.clone()]
    });
    let changed: Vec<_> = changed.collect();
    let count_max = changed.iter().map(|(.., new)| elements(new)).max().unwrap_or(1);
    for (at, old, new) in changed {
        let smaller = elements(new) as f64 / count_max as f64;
        let share = tolerance.0 * smaller.powf(FINER);
        let sums = Sums::of(new, transposed.contains(new.name));
        let (old, bytes) = (&base[old.range.clone()], &mut snapped[new.range.clone()]);
        snap_tensor(new, old, bytes, share, sums, rescaled.get(&at));
    }
    snapped
}

fn elements(tensor: &Tensor<'_>) -> usize {
    tensor.range.len() / tensor.element.bytes()
}

/// Whether a tensor holds weights that many terms of a sum have, rather than biases, scales, places or
/// sizes: those weigh much and cost next to nothing.
fn is_weights(tensor: &Tensor<'_>) -> bool {
    let kind = tensor.element.float().is_some() || [UINT8, INT8].contains(&tensor.data_type);
    kind && tensor.shape.len() > 1 && elements(tensor) >= ELEMENTS_MIN
}

/// What rounding has taken from the weights of each output so far, in steps.
enum Sums {
    /// The shape says nothing of outputs.
    None,
    /// One output after the other has a row of this length.
    Row { length: usize, taken: f64 },
    /// Outputs lie side by side, as in `MatMul`'s second factor.
    Columns(Vec<f64>),
}

impl Sums {
    fn of(tensor: &Tensor<'_>, is_transposed: bool) -> Sums {
        let count = elements(tensor);
        match tensor.shape[..] {
            [_, columns] if !is_transposed && (2..=count as u64).contains(&columns) => {
                Sums::Columns(vec![0.0; columns as usize])
            }
            // Filters of a convolution are rows, whatever the shape of each.
            [rows, _, ..] if (1..=count as u64).contains(&rows) => {
                Sums::Row { length: count / rows as usize, taken: 0.0 }
            }
            _ => Sums::None,
        }
    }

    /// That of the output which this element belongs to.
    fn at(&mut self, element: usize) -> Option<&mut f64> {
        match self {
            Sums::None => None,
            Sums::Row { length, taken } => {
                if element.is_multiple_of(*length) {
                    *taken = 0.0;
                }
                Some(taken)
            }
            Sums::Columns(columns) => {
                let column = element % columns.len();
                columns.get_mut(column)
            }
        }
    }
}

/// Rounds the update of one tensor to a step of at most `share` of its root mean square. Leaves it as
/// it is where a value is not finite and where integers have no coarser step, unless they are to be told
/// in other scales.
fn snap_tensor(
    tensor: &Tensor<'_>,
    old: &[u8],
    new: &mut [u8],
    share: f64,
    mut sums: Sums,
    rescaled: Option<&Rescaled>,
) {
    let element = tensor.element;
    let width = element.bytes();
    let value = |bits: u64| match tensor.data_type {
        UINT8 => bits as f64,
        _ => to_f64(element, bits),
    };
    let read = |bytes: &[u8]| element.read(bytes);
    let exact = |at: usize, new: u64| match rescaled {
        Some(rescaled) => rescaled.wanted(at, value(new)),
        None => value(new),
    };
    let pairs = old.chunks_exact(width).zip(new.chunks_exact(width)).enumerate();
    let squares = pairs.map(|(at, (old, new))| (exact(at, read(new)) - value(read(old))).powi(2));
    let size = share * (squares.sum::<f64>() / elements(tensor) as f64).sqrt();
    let step = (size.is_normal()).then(|| Step::within(size, element)).flatten();
    let step = step.or(rescaled.and_then(|_| Step::new(0, element)));
    let Some(step) = step else { return };
    let pairs = old.chunks_exact(width).zip(new.chunks_exact_mut(width));
    for (at, (old, bytes)) in pairs.enumerate() {
        let (old, new) = (read(old), read(bytes));
        let mut none = 0.0;
        let taken = sums.at(at).unwrap_or(&mut none);
        let exact = exact(at, new);
        let stays = match rescaled {
            Some(_) => exact == value(old),
            None => old == new,
        };
        if stays {
            element.write(old, bytes);
            continue; // Dead units stay so.
        }
        let size = step.size(element, old);
        let wanted = exact + *taken * size;
        let count = ((wanted - value(old)) / size).round();
        // The next point of the grid may lie beyond what the element can hold; then the one before.
        let points = [count, count - count.signum()];
        let points = points.map(|count| step.above(element, old, count as i32));
        let near = |bits: &u64| (value(*bits) - wanted).abs() <= size;
        let snapped = points.into_iter().find(near).unwrap_or_else(|| match tensor.data_type {
            UINT8 => u64::from(exact.round() as u8),
            INT8 => u64::from(exact.round() as i8 as u8),
            _ => new,
        });
        *taken = ((wanted - value(snapped)) / size).clamp(-1.0, 1.0);
        element.write(snapped, bytes);
    }
}
