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

/// Whether elements that lie row by row in a tensor of the shape `from` mean the same in one of the shape
/// `to`: neighbouring dimensions are joined, or one is split, and dimensions of one come or go. `[32, 8]` as
/// `[8, 32]` has as many elements, and almost none of them where it was.
pub(crate) fn is_regrouped(from: &[usize], to: &[usize]) -> bool {
    if from == to {
        return true;
    }
    let mut from = from.iter().filter(|size| **size != 1);
    let mut to = to.iter().filter(|size| **size != 1);
    loop {
        // A group on either side with as many elements: all of one dimension of the other side.
        let (mut left, mut right) = match (from.next(), to.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) => (*left, *right),
            (Some(_), None) | (None, Some(_)) => return false,
        };
        let (mut joined, mut split) = (false, false);
        while left != right {
            let (less, next) = if left < right {
                joined = true;
                (&mut left, from.next())
            } else {
                split = true;
                (&mut right, to.next())
            };
            let Some(product) = next.and_then(|size| less.checked_mul(*size)) else { return false };
            *less = product;
        }
        if joined && split {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dimensions_are_joined_or_split_and_never_reordered() {
        for (from, to) in [
            (&[6, 5][..], &[1, 6, 5][..]),
            (&[6, 5], &[30]),
            (&[30], &[6, 5]),
            (&[6, 5, 4], &[6, 20]),
            (&[6, 20], &[1, 6, 1, 5, 4]),
            (&[1], &[]),
            (&[0, 3], &[0, 3]),
        ] {
            assert!(is_regrouped(from, to), "{from:?} {to:?}");
        }
        for (from, to) in [
            (&[32, 8][..], &[8, 32][..]),
            (&[5, 6], &[6, 5]),
            (&[4, 6], &[8, 3]),
            (&[6, 5], &[31]),
            (&[6, 5], &[6]),
            (&[], &[2]),
            (&[0, 3], &[3, 0]),
            (&[usize::MAX, 2], &[2, usize::MAX]),
        ] {
            assert!(!is_regrouped(from, to), "{from:?} {to:?}");
        }
    }

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
        fn what_is_regrouped_has_as_many_elements_and_can_be_taken_back(
            from in proptest::collection::vec(0..5usize, 0..5),
            to in proptest::collection::vec(0..13usize, 0..5),
        ) {
            let regrouped = is_regrouped(&from, &to);
            prop_assert_eq!(regrouped, is_regrouped(&to, &from));
            prop_assert!(!regrouped || elements(&from) == elements(&to));
        }

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
