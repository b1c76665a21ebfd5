//! Whole numbers of either sign whose size is nearly known from their surroundings.
//!
//! Whether there is a change at all, the number of its binary digits and its sign are guessed from
//! all surroundings at once; the leading digits from the size. The digits below are as they are: there
//! is nothing to know about them, except that they may all be zero.

use crate::coder::{Bit, Coder};
use crate::mixer::Mixer;
use crate::neighbors::{CONTEXTS, Neighbors};

/// Digits below the first that are coded with what precedes them.
const LEADING: u32 = 3;
/// Sizes that are told apart below the first digit: 0 to 64 binary digits.
const SIZES: usize = 65;

/// What has been learnt of such numbers.
#[derive(Clone)]
pub(crate) struct Signed {
    /// Binary digits that a magnitude may have.
    digits: u32,
    /// By each surrounding.
    zeros: [Vec<Bit>; CONTEXTS],
    /// By each surrounding, one tree after the other.
    sizes: [Vec<Bit>; CONTEXTS],
    tree: usize,
    signs: [Vec<Bit>; 3],
    zero_mixer: Mixer<CONTEXTS>,
    /// By place in the tree.
    size_mixers: Vec<Mixer<CONTEXTS>>,
    sign_mixer: Mixer<3>,
    /// By size.
    leading: Vec<[Bit; 1 << LEADING]>,
    rest: Vec<Bit>,
}

/// Where a number stands.
pub(crate) struct Place {
    /// The class of the old element there.
    pub(crate) class: usize,
    /// Whether that is below zero.
    pub(crate) negative: bool,
    /// Sizes are counted from its negative on, round the tree: numbers that are large or small
    /// together with it are then alike. Zero counts from nowhere.
    pub(crate) shift: u32,
}

impl Signed {
    /// For numbers of `bits` bits, sign included, beside elements of so many classes.
    pub(crate) fn new(bits: u32, classes: usize) -> Signed {
        let tree = (bits as usize + 1).next_power_of_two();
        let contexts = Neighbors::counts(classes);
        Signed {
            digits: bits,
            zeros: contexts.map(|count| vec![Bit::default(); count]),
            sizes: contexts.map(|count| vec![Bit::default(); tree * count]),
            tree,
            signs: Neighbors::sign_counts(classes).map(|count| vec![Bit::default(); count]),
            zero_mixer: Mixer::default(),
            size_mixers: vec![Mixer::default(); tree],
            sign_mixer: Mixer::default(),
            leading: vec![Default::default(); SIZES],
            rest: vec![Bit::default(); SIZES],
        }
    }

    /// Codes one number, and shows it to its neighbors.
    pub(crate) fn code(
        &mut self,
        coder: &mut impl Coder,
        neighbors: &mut Neighbors,
        place: &Place,
        value: i64,
    ) -> i64 {
        let contexts = neighbors.contexts(place.class);
        let mut zeros = self.zeros.iter_mut().zip(contexts);
        let guesses = [(); CONTEXTS].map(|()| {
            let (zeros, context) = zeros.next().expect("as many as contexts");
            &mut zeros[context]
        });
        if !self.zero_mixer.bit(coder, guesses, value != 0) {
            neighbors.learn(0, 0);
            return 0;
        }
        let magnitude = value.unsigned_abs();
        let size = self.size(coder, contexts, place.shift, digits(magnitude));
        let negative = self.sign(coder, neighbors, place, value < 0);
        let at = size as usize;
        let leading = LEADING.min(size - 1);
        let rest = size - 1 - leading;
        let below = magnitude & ((1 << rest) - 1);
        let top = (magnitude >> rest) as u32 & ((1 << leading) - 1);
        let top = coder.symbol(&mut self.leading[at][..1 << leading], top);
        let any = rest > 0 && coder.bit(&mut self.rest[at], below != 0);
        let below = if any { coder.plain(below, rest) } else { 0 };
        let magnitude = 1 << (size - 1) | u64::from(top) << rest | below;
        let value = (magnitude as i64).wrapping_mul(if negative { -1 } else { 1 });
        neighbors.learn(size + place.shift, value);
        value
    }

    fn size(
        &mut self,
        coder: &mut impl Coder,
        contexts: [usize; CONTEXTS],
        shift: u32,
        digits: u32,
    ) -> u32 {
        let round = self.tree as u32 - 1;
        let turned = digits.wrapping_add(shift) & round;
        let mut node = 1;
        for place in (0..self.tree.trailing_zeros()).rev() {
            let mut trees = self.sizes.iter_mut().zip(contexts);
            let guesses = [(); CONTEXTS].map(|()| {
                let (trees, context) = trees.next().expect("as many as contexts");
                &mut trees[context * self.tree + node]
            });
            let bit = self.size_mixers[node].bit(coder, guesses, turned >> place & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        let turned = (node - self.tree) as u32;
        (turned.wrapping_sub(shift) & round).clamp(1, self.digits)
    }

    fn sign(
        &mut self,
        coder: &mut impl Coder,
        neighbors: &Neighbors,
        place: &Place,
        negative: bool,
    ) -> bool {
        let mut signs =
            self.signs.iter_mut().zip(neighbors.sign_contexts(place.class, place.negative));
        let guesses = [(); 3].map(|()| {
            let (signs, context) = signs.next().expect("as many as contexts");
            &mut signs[context]
        });
        self.sign_mixer.bit(coder, guesses, negative)
    }
}

/// Binary digits of a magnitude.
pub(crate) fn digits(magnitude: u64) -> u32 {
    64 - magnitude.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coder::{Decoder, Encoder};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            values in prop::collection::vec((any::<i64>(), 0u32..64, 0usize..3, any::<bool>(), 0u32..2048), 0..300),
            row in 1usize..20
        ) {
            let values: Vec<_> = values
                .into_iter()
                .map(|(value, small, class, negative, shift)| {
                    (value >> small, Place { class, negative, shift })
                })
                .collect();
            let mut encoder = Encoder::default();
            let (mut numbers, mut neighbors) = (Signed::new(64, 3), Neighbors::new(row));
            for (value, place) in &values {
                numbers.code(&mut encoder, &mut neighbors, place, *value);
            }
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes[..]);
            let (mut numbers, mut neighbors) = (Signed::new(64, 3), Neighbors::new(row));
            for (value, place) in values {
                let read = numbers.code(&mut decoder, &mut neighbors, &place, 0);
                prop_assert_eq!(read, value);
            }
        }
    }
}
