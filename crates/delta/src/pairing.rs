//! Which old tensor each new one comes from.

use crate::onnx::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// Gives for each of `new` the place in `old` of the tensor it comes from, if there is one.
///
/// By name, kind and shape first; what is left by kind and shape, in order, because exporters
/// number their tensors anew when a layer is added.
pub(crate) fn pair<'a>(old: &'a [Tensor<'a>], new: &'a [Tensor<'a>]) -> Vec<Option<usize>> {
    let mut by_name: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, tensor) in old.iter().enumerate().rev() {
        by_name.entry((tensor.name, kind(tensor))).or_default().push(at);
    }
    // Constants mostly have no name at all: those of the same kind pair in order.
    let mut take =
        |tensor: &'a Tensor<'a>| by_name.get_mut(&(tensor.name, kind(tensor))).and_then(Vec::pop);
    let mut pairs: Vec<Option<usize>> = new.iter().map(&mut take).collect();
    let taken: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
    let mut left: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, tensor) in old.iter().enumerate().rev().filter(|(at, _)| !taken.contains(at)) {
        left.entry(kind(tensor)).or_default().push(at);
    }
    for (pair, tensor) in pairs.iter_mut().zip(new) {
        if pair.is_none() {
            *pair = left.get_mut(&kind(tensor)).and_then(Vec::pop);
        }
    }
    pairs
}

fn kind<'a>(tensor: &'a Tensor<'_>) -> (u64, &'a [u64], usize) {
    (tensor.data_type, &tensor.shape, tensor.range.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    fn tensor(name: &str, length: usize) -> Tensor<'_> {
        Tensor {
            name: name.as_bytes(),
            shape: vec![length as u64 / 4],
            data_type: 1,
            element: Element::F32,
            range: 0..length,
        }
    }

    #[test]
    fn names_count_before_order_and_shapes_before_both() {
        let old = [tensor("a", 8), tensor("b", 8), tensor("c", 12), tensor("d", 8)];
        let new = [tensor("b", 8), tensor("x", 8), tensor("c", 8), tensor("y", 8), tensor("z", 12)];
        assert_eq!(pair(&old, &new), [Some(1), Some(0), Some(3), None, Some(2)]);
    }

    #[test]
    fn tensors_without_a_name_pair_in_order() {
        let all = [tensor("", 8), tensor("", 12), tensor("", 8)];
        assert_eq!(pair(&all, &all), [Some(0), Some(1), Some(2)]);
    }
}
