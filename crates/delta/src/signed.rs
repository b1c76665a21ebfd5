//! Whole numbers of either sign whose size is nearly known.
//!
//! The number of binary digits is coded in the context that the caller has, then the sign, then the
//! leading digits with what precedes them. The digits below are as they are: there is nothing to
//! know about them, except that they may all be zero.

use crate::coder::{Bit, Coder};

/// Digits below the first that are coded with what precedes them.
const LEADING: u32 = 3;
/// Sizes that are told apart below the first digit: 0 to 64 binary digits.
const SIZES: usize = 65;
/// What the sign may depend on besides the sign before.
pub(crate) const LEANINGS: usize = 2;

/// What has been learnt of such numbers.
#[derive(Clone)]
pub(crate) struct Signed {
    /// Binary digits that a magnitude may have.
    digits: u32,
    /// By context, one after the other.
    zeros: Vec<[Bit; 2]>,
    sizes: Vec<Bit>,
    tree: usize,
    signs: [[Bit; 3]; LEANINGS],
    /// By size.
    leading: Vec<[Bit; 1 << LEADING]>,
    rest: Vec<Bit>,
    /// 0 after zero, 1 after a positive number, 2 after a negative one.
    before: usize,
}

impl Signed {
    /// For numbers of `bits` bits, sign included, in so many contexts.
    pub(crate) fn new(bits: u32, contexts: usize) -> Signed {
        let tree = (bits as usize + 1).next_power_of_two();
        Signed {
            digits: bits,
            zeros: vec![Default::default(); contexts],
            sizes: vec![Bit::default(); tree * contexts],
            tree,
            signs: Default::default(),
            leading: vec![Default::default(); SIZES],
            rest: vec![Bit::default(); SIZES],
            before: 0,
        }
    }

    /// Codes one number. Its sign may depend on `leaning`.
    ///
    /// Sizes are counted from `-shift` on, round the tree: numbers that are large or small together
    /// with `shift` are then alike in one context. Zero counts from nowhere.
    pub(crate) fn code(
        &mut self,
        coder: &mut impl Coder,
        context: usize,
        leaning: usize,
        shift: u32,
        value: i64,
    ) -> i64 {
        let magnitude = value.unsigned_abs();
        if !coder.bit(&mut self.zeros[context][self.before.min(1)], value != 0) {
            self.before = 0;
            return 0;
        }
        let tree = &mut self.sizes[context * self.tree..][..self.tree];
        let round = self.tree as u32 - 1;
        let turned = coder.symbol(tree, digits(magnitude).wrapping_add(shift) & round);
        let size = (turned.wrapping_sub(shift) & round).clamp(1, self.digits);
        let negative = coder.bit(&mut self.signs[leaning][self.before], value < 0);
        self.before = 1 + usize::from(negative);
        let at = size as usize;
        let leading = LEADING.min(size - 1);
        let rest = size - 1 - leading;
        let below = magnitude & ((1 << rest) - 1);
        let top = (magnitude >> rest) as u32 & ((1 << leading) - 1);
        let top = coder.symbol(&mut self.leading[at][..1 << leading], top);
        let any = rest > 0 && coder.bit(&mut self.rest[at], below != 0);
        let below = if any { coder.plain(below, rest) } else { 0 };
        let magnitude = 1 << (size - 1) | u64::from(top) << rest | below;
        (magnitude as i64).wrapping_mul(if negative { -1 } else { 1 })
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
            values in prop::collection::vec((any::<i64>(), 0u32..64, 0usize..3, 0..LEANINGS, any::<u32>()), 0..300)
        ) {
            let values: Vec<_> = values.into_iter().map(|(v, s, c, l, t)| (v >> s, c, l, t)).collect();
            let mut encoder = Encoder::default();
            let mut numbers = Signed::new(64, 3);
            for (value, context, leaning, shift) in &values {
                numbers.code(&mut encoder, *context, *leaning, *shift, *value);
            }
            let bytes = encoder.finish();
            let (mut decoder, mut numbers) = (Decoder::new(&bytes[..]), Signed::new(64, 3));
            for (value, context, leaning, shift) in values {
                prop_assert_eq!(numbers.code(&mut decoder, context, leaning, shift, 0), value);
            }
        }
    }
}
