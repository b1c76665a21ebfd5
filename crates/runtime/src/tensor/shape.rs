//! Which shapes there can be.

/// Elements that one tensor may have.
pub const ELEMENTS_MAX: usize = 16 << 20;
/// Dimensions that a shape may have.
pub(crate) const DIMENSIONS_MAX: usize = 16;

/// How many elements a tensor of `shape` has; none if there can be no such tensor.
///
/// A dimension of none makes the others no smaller: engines compute with each of them.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    if shape.len() > DIMENSIONS_MAX {
        return None;
    }
    let product = shape.iter().try_fold(1usize, |product, size| {
        product.checked_mul((*size).max(1)).filter(|product| *product <= ELEMENTS_MAX)
    })?;
    Some(if shape.contains(&0) { 0 } else { product })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_shape_that_nothing_could_hold_has_no_number_of_elements() {
        assert_eq!(elements(&[]), Some(1));
        assert_eq!(elements(&[6, 5]), Some(30));
        assert_eq!(elements(&[3, 0, 2]), Some(0));
        assert_eq!(elements(&[ELEMENTS_MAX]), Some(ELEMENTS_MAX));
        assert_eq!(elements(&[ELEMENTS_MAX + 1]), None);
        assert_eq!(elements(&[0, usize::MAX]), None);
        assert_eq!(elements(&[usize::MAX, 2, 0]), None);
        assert_eq!((elements(&[1; 16]), elements(&[1; 17])), (Some(1), None));
    }

    proptest! {
        #[test]
        fn whatever_the_sizes_the_number_is_their_product_or_there_is_none(
            shape in proptest::collection::vec(
                prop_oneof![0..5usize, any::<usize>(), Just(usize::MAX)], 0..20),
        ) {
            let product = shape.iter().try_fold(1u128, |a, b| a.checked_mul(*b as u128));
            if let Some(count) = elements(&shape) {
                prop_assert!(count <= ELEMENTS_MAX);
                prop_assert_eq!(product, Some(count as u128));
            }
        }
    }
}
