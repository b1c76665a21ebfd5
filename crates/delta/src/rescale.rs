//! Quantised weights in the scales that an older model had for them.
//!
//! Training moves the largest weight of a channel, and with it the channel's scale, and with that every
//! whole number of the channel, also where the weight has stayed. Told in the old scale they stay.

use crate::element::Element;
use crate::graph::{Scaled, quantized};
use crate::onnx::{INT8, INT32, Tensor, UINT8, small_numbers};
use std::collections::BTreeMap;
use std::ops::Range;

/// What the whole numbers of a tensor become in other scales.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rescaled {
    /// By channel: new scale over old, and the number that stands for zero in both.
    channels: Vec<(f64, f64)>,
    /// Elements from one channel's to the next one's.
    inner: usize,
}

impl Rescaled {
    /// What the element at this place, which is `number`, becomes: seldom a whole number.
    pub(crate) fn wanted(&self, at: usize, number: f64) -> f64 {
        let (ratio, zero) = self.channels[at / self.inner % self.channels.len()];
        zero + (number - zero) * ratio
    }
}

/// An old tensor and the new one that comes of it, with their bytes.
#[derive(Clone, Copy, PartialEq)]
struct Twins<'a> {
    tensor: &'a Tensor<'a>,
    old: &'a [u8],
    new: &'a [u8],
}

impl Twins<'_> {
    /// Old and new scales; none unless all are sound.
    fn scales(&self) -> Option<Vec<(f64, f64)>> {
        if self.tensor.element != Element::F32 {
            return None;
        }
        let scale = |bytes: &[u8]| {
            let scale = f64::from(f32::from_bits(Element::F32.read(bytes) as u32));
            (scale > 0.0 && scale.is_normal()).then_some(scale)
        };
        let pairs = self.old.chunks_exact(4).zip(self.new.chunks_exact(4));
        pairs.map(|(old, new)| Some((scale(old)?, scale(new)?))).collect()
    }
}

/// Has those tensors of `target` that are quantised `weights` keep the scales of `base`, and writes these into
/// `snapped`, with biases that follow. What the weights become is for the caller to write.
///
/// Gives it by the tensor's place among `new`, whose places among `old` are `pairs`.
pub(crate) fn rescale(
    (base, old): (&[u8], &[Tensor<'_>]),
    (target, new): (&[u8], &[Tensor<'_>]),
    pairs: &[Option<usize>],
    weights: impl Fn(&Tensor<'_>) -> bool,
    snapped: &mut [u8],
) -> BTreeMap<usize, Rescaled> {
    let places: BTreeMap<&[u8], usize> =
        new.iter().enumerate().map(|(at, tensor)| (tensor.name, at)).collect();
    let twins = |name: &[u8]| {
        let at = *places.get(name)?;
        let (old, tensor) = (&old[pairs[at]?], &new[at]);
        let (old, new) = (&base[old.range.clone()], &target[tensor.range.clone()]);
        Some((at, Twins { tensor, old, new }))
    };
    let zeros = (small_numbers(base), small_numbers(target));
    let mut all = BTreeMap::new();
    for (names, bias) in quantized(target) {
        let found = twins(names.numbers).filter(|(_, numbers)| weights(numbers.tensor));
        let Some(((at, numbers), (_, scale))) = found.zip(twins(names.scale)) else { continue };
        let zero = zeros.1.get(names.zero).filter(|zero| zeros.0.get(names.zero) == Some(zero));
        let Some(rescaled) = rescaled(&names, numbers, scale, zero) else { continue };
        let mut changes = vec![(scale.tensor.range.clone(), scale.old.to_vec())];
        if let Some(bias) = bias {
            let scale = bias.scale.map(twins);
            let twins = twins(bias.numbers).filter(|_| scale != Some(None));
            let scale = scale.flatten().map(|(_, scale)| scale);
            match twins.and_then(|(_, numbers)| follow(&rescaled, numbers, scale)) {
                Some(follows) => changes.extend(follows),
                None => continue,
            }
        }
        for (range, bytes) in changes {
            snapped[range].copy_from_slice(&bytes);
        }
        all.insert(at, rescaled);
    }
    all
}

/// What weights become; none where they stay, or are of no kind that is known here.
fn rescaled(
    names: &Scaled<'_>,
    numbers: Twins<'_>,
    scale: Twins<'_>,
    zero: Option<&Vec<i64>>,
) -> Option<Rescaled> {
    let Tensor { data_type, shape, .. } = numbers.tensor;
    let is_known = [UINT8, INT8].contains(data_type);
    if !is_known || numbers.old == numbers.new || scale.old == scale.new {
        return None;
    }
    let scales = scale.scales()?;
    let inner = match scales.len() {
        1 => numbers.new.len(),
        count => {
            let rank = i64::try_from(shape.len()).ok()?;
            let axis = if names.axis < 0 { names.axis + rank } else { names.axis };
            let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.len())?;
            if shape[axis] != count as u64 {
                return None;
            }
            let inner = shape[axis + 1..].iter().try_fold(1u64, |a, b| a.checked_mul(*b))?;
            usize::try_from(inner).ok()?
        }
    };
    let zeros: Vec<f64> = match zero {
        Some(zero) if zero.len() == scales.len() => zero.iter().map(|zero| *zero as f64).collect(),
        None if names.zero.is_empty() => vec![0.0; scales.len()],
        _ => return None,
    };
    let ratios = scales.into_iter().map(|(old, new)| new / old);
    Some(Rescaled { channels: ratios.zip(zeros).collect(), inner: inner.max(1) })
}

/// A range of the new file, and what is to stand there.
type Change = (Range<usize>, Vec<u8>);

/// What becomes of a bias, and of its scale where it has one of its own: that is, as every engine that
/// computes with whole numbers expects, that of the weights times that of what they are multiplied with.
fn follow(weights: &Rescaled, numbers: Twins<'_>, scale: Option<Twins<'_>>) -> Option<Vec<Change>> {
    let mut ratios: Vec<f64> = weights.channels.iter().map(|(ratio, _)| *ratio).collect();
    let count = numbers.new.len() / 4;
    if numbers.tensor.data_type != INT32 || (ratios.len() > 1 && ratios.len() != count) {
        return None;
    }
    let mut changes = Vec::new();
    if let Some(scale) = scale {
        let scales = scale.scales()?;
        if scales.len() != ratios.len() {
            return None;
        }
        let mut kept = Vec::new();
        for (ratio, (_, new)) in ratios.iter_mut().zip(scales) {
            let rounded = (new / *ratio) as f32;
            kept.extend(rounded.to_le_bytes());
            *ratio = new / f64::from(rounded);
        }
        changes.push((scale.tensor.range.clone(), kept));
    }
    let biases = numbers.new.chunks_exact(4).zip(ratios.iter().cycle()).flat_map(|(new, ratio)| {
        let bias = f64::from(Element::I32.read(new) as u32 as i32);
        ((bias * ratio).round() as i32).to_le_bytes()
    });
    changes.push((numbers.tensor.range.clone(), biases.collect()));
    Some(changes)
}
