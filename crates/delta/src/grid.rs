//! Updates that are multiples of a step: what [`crate::snap()`] makes.
//!
//! The new element is the old one plus a whole number of steps. Where the old one is so large that it
//! has no such step, the step is its last digit: a half float changes by that or not at all. The sum is
//! computed in binary64 and rounded to the element's kind. Steps are powers of two, or one and a half
//! times one, so the product is exact and there is one rounding on the way to binary64 and one from
//! there; every processor with IEEE 754 arithmetic gives the same.

use crate::coder::Coder;
use crate::element::Element;
use crate::neighbors::Neighbors;
use crate::signed::{Place, Signed};

/// Bits of a number of steps, its sign included.
const COUNT_BITS: u32 = 32;
/// Steps from the smallest power of two that binary64 has without losing digits to the largest.
const RANKS: std::ops::RangeInclusive<i16> = -2044..=2047;
/// The rank of 1, as binary64 has its exponent and the first digit of its mantissa.
const ONE: i32 = 1023 << 1;
const RANK_SHIFT: u32 = 51;

/// A step between neighbors on a grid, by its rank among 1, 1.5, 2, 3, 4, 6, 8 and so on; 1 has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step(i16);

impl Step {
    /// None where elements of this kind have no such step.
    pub(crate) fn new(rank: i16, element: Element) -> Option<Step> {
        let fits = match element.float() {
            Some(_) => RANKS.contains(&rank),
            None => (0..2 * element.bits() as i16).contains(&rank) && rank != 1,
        };
        fits.then_some(Step(rank))
    }

    /// The largest that is no larger than `size`, a positive number.
    pub(crate) fn within(size: f64, element: Element) -> Option<Step> {
        let rank = (size.to_bits() >> RANK_SHIFT) as i32 - ONE;
        let rank = i16::try_from(rank).ok()?;
        // Whole numbers have all of them but one and a half.
        let rank = if element.float().is_none() && rank == 1 { 0 } else { rank };
        Step::new(rank, element)
    }

    /// Its place among all of them.
    pub(crate) fn rank(self) -> i16 {
        self.0
    }

    fn value(self) -> f64 {
        // Ranks lie between those of a normal binary64.
        f64::from_bits(((ONE + i32::from(self.0)) as u64) << RANK_SHIFT)
    }

    /// Its size next to an old element: at least one in that element's last digit.
    pub(crate) fn size(self, element: Element, old: u64) -> f64 {
        let digit = element.float().map_or(0, |(exponent_bits, mantissa_bits)| {
            let bias = (1 << (exponent_bits - 1)) - 1;
            element.exponent(old).max(1) as i32 - bias - mantissa_bits as i32
        });
        // A last digit lies between the smallest and the largest normal binary64.
        self.value().max(f64::from_bits(((1023 + digit) as u64) << 52))
    }

    /// The element that lies `count` steps above `old`.
    pub(crate) fn above(self, element: Element, old: u64, count: i32) -> u64 {
        if count == 0 {
            return old; // Zeros keep their sign, and what is not a number its digits.
        }
        match element.float() {
            Some(_) => {
                let change = self.size(element, old) * f64::from(count);
                of_f64(element, to_f64(element, old) + change)
            }
            None => {
                old.wrapping_add(i64::from(count).wrapping_mul(self.whole()) as u64)
                    & element.mask()
            }
        }
    }

    /// Its size among whole numbers.
    fn whole(self) -> i64 {
        // 2 or 3, and the digits that follow.
        (2 + i64::from(self.0 & 1)) << (self.0 >> 1) >> 1
    }

    /// The number of steps next to the difference of two elements, if there is one.
    fn nearest(self, element: Element, old: u64, new: u64) -> Option<i32> {
        let steps = match element.float() {
            Some(_) => {
                let steps = (to_f64(element, new) - to_f64(element, old)) / self.size(element, old);
                steps.is_finite().then(|| steps.round_ties_even())?
            }
            None => {
                let difference = element.signed(new.wrapping_sub(old) & element.mask());
                (difference as f64 / self.size(element, old)).round_ties_even()
            }
        };
        (steps.abs() < f64::from(i32::MAX)).then_some(steps as i32)
    }

    /// The number of steps that leads from one element to exactly the other, if there is one.
    pub(crate) fn exactly(self, element: Element, old: u64, new: u64) -> Option<i32> {
        let nearest = if old == new { 0 } else { self.nearest(element, old, new)? };
        // Where the sum was rounded to the element's kind, the count may be the next one.
        let candidates = [nearest, nearest.saturating_sub(1), nearest.saturating_add(1)];
        candidates.into_iter().find(|count| self.above(element, old, *count) == new)
    }
}

/// The largest step of which all elements of a tensor differ from the old ones by whole numbers.
///
/// Nobody has to tell the sender that a model was snapped; unless one was, the first elements
/// mostly show that there is none.
pub(crate) fn common_step(element: Element, old: &[u8], new: &[u8]) -> Option<Step> {
    let width = element.bytes();
    let pairs = || {
        let bytes = old.chunks_exact(width).zip(new.chunks_exact(width));
        let bits = bytes.map(|(old, new)| (element.read(old), element.read(new)));
        bits.filter(|(old, new)| old != new)
    };
    let change = |(old, new)| (to_f64(element, new) - to_f64(element, old)).abs();
    let largest = pairs().map(change).fold(0.0, f64::max);
    let rank = (largest.to_bits() >> RANK_SHIFT) as i16 - ONE as i16;
    // Rounding to the element's kind can make a single step look like a little less.
    let ranks = (rank - 2 * (COUNT_BITS as i16 - 2)..=rank + 2).rev();
    ranks
        .filter_map(|rank| Step::new(rank, element))
        .find(|step| pairs().all(|(old, new)| step.exactly(element, old, new).is_some()))
}

/// What has been learnt of a tensor's numbers of steps.
#[derive(Clone)]
pub(crate) struct Grid {
    element: Element,
    step: Step,
    counts: Signed,
    neighbors: Neighbors,
}

impl Grid {
    pub(crate) fn new(element: Element, step: Step, row: usize) -> Grid {
        let counts = Signed::new(COUNT_BITS, element.classes());
        Grid { element, step, counts, neighbors: Neighbors::new(row) }
    }

    /// Goes on with another tensor and its step; numbers of steps are alike whatever the step.
    pub(crate) fn go_on(&mut self, step: Step, row: usize) {
        self.step = step;
        self.neighbors = Neighbors::new(row);
    }

    /// Codes one element next to the old one at its place; both as bits.
    ///
    /// The sender gives only tensors whose elements all lie on the grid.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, old: u64, new: u64) -> u64 {
        let element = self.element;
        let place =
            Place { class: element.class(old), negative: element.is_negative(old), shift: 0 };
        let count = self.step.exactly(element, old, new).unwrap_or(0);
        let count = self.counts.code(coder, &mut self.neighbors, &place, i64::from(count));
        let count = count.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        self.step.above(element, old, count)
    }
}

/// The value of a float of this kind.
pub(crate) fn to_f64(element: Element, bits: u64) -> f64 {
    let Some((exponent_bits, mantissa_bits)) = element.float() else {
        return element.signed(bits) as f64;
    };
    match element {
        Element::F64 => f64::from_bits(bits),
        Element::F32 => f64::from(f32::from_bits(bits as u32)),
        Element::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
        _ => {
            let exponent = element.exponent(bits);
            let mantissa = bits & ((1 << mantissa_bits) - 1);
            let bias = (1 << (exponent_bits - 1)) - 1;
            let power = |exponent: i32| f64::from_bits(((1023 + exponent) as u64) << 52);
            let magnitude = match exponent {
                0 => mantissa as f64 * power(1 - bias - mantissa_bits as i32),
                _ if exponent == (1 << exponent_bits) - 1 && mantissa == 0 => f64::INFINITY,
                _ if exponent == (1 << exponent_bits) - 1 => f64::NAN,
                _ => {
                    let whole = 1 << mantissa_bits | mantissa;
                    whole as f64 * power(exponent as i32 - bias - mantissa_bits as i32)
                }
            };
            let negative = bits >> (element.bits() - 1) & 1 == 1;
            if negative { -magnitude } else { magnitude }
        }
    }
}

/// The float of this kind next to a value, ties to the even one.
pub(crate) fn of_f64(element: Element, value: f64) -> u64 {
    match element {
        Element::F64 => value.to_bits(),
        Element::F32 => u64::from((value as f32).to_bits()),
        _ => {
            let (exponent_bits, mantissa_bits) = element.float().unwrap_or((11, 52));
            let sign = u64::from(value.is_sign_negative()) << (element.bits() - 1);
            let infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
            if value.is_nan() {
                return sign | infinity | 1 << (mantissa_bits - 1);
            }
            // Patterns of positive floats rise with their values. So the one sought is the
            // mantissa, rounded, and the exponent below it, into which the rounding may carry.
            let bits = value.abs().to_bits();
            let bias = (1 << (exponent_bits - 1)) - 1;
            let exponent = (bits >> 52) as i32 - 1023 + bias;
            let whole = 1 << 52 | bits & ((1 << 52) - 1);
            let dropped = 52 - mantissa_bits + (1 - exponent).max(0) as u32;
            if dropped > 54 {
                return sign;
            }
            let kept = whole >> dropped;
            let below = whole & ((1 << dropped) - 1);
            let half = 1 << (dropped - 1);
            let up = below > half || below == half && kept & 1 == 1;
            let rounded = (((exponent.max(1) - 1) as u64) << mantissa_bits) + kept + u64::from(up);
            sign | rounded.min(infinity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_half_float_comes_back_and_halves_round_to_even() {
        for element in [Element::F16, Element::Bf16] {
            for bits in 0..=u64::from(u16::MAX) {
                let value = to_f64(element, bits);
                if !value.is_nan() {
                    assert_eq!(of_f64(element, value), bits, "{element:?} {bits:#x}");
                }
            }
            for bits in 0..1000 {
                let (low, high) = (to_f64(element, bits), to_f64(element, bits + 1));
                assert_eq!(of_f64(element, (low + high) / 2.0), bits + (bits & 1), "{element:?}");
            }
        }
        // IEEE 754-2019, table 3.5: the largest binary16 is 65,504; from 65,520 on it is infinite.
        assert_eq!(of_f64(Element::F16, 65_519.0), 0x7BFF);
        assert_eq!(of_f64(Element::F16, -65_520.0), 0xFC00);
        assert_eq!(of_f64(Element::F16, 5e-324), 0);
        assert_eq!(to_f64(Element::F16, 0x3555), 0.333_251_953_125);
    }

    #[test]
    fn whole_numbers_have_whole_steps() {
        let steps = (0..9).filter_map(|rank| Step::new(rank, Element::I8));
        let sizes: Vec<i64> = steps.map(Step::whole).collect();
        assert_eq!(sizes, [1, 2, 3, 4, 6, 8, 12, 16]);
        for (size, step) in [(1.9, 1), (3.0, 3), (5.9, 4), (1e9, 0), (0.9, 0)] {
            let found = Step::within(size, Element::I8).map_or(0, Step::whole);
            assert_eq!(found, step, "{size}");
        }
    }

    proptest! {
        #[test]
        fn bfloats_are_rounded_as_by_the_usual_trick(value: f32) {
            prop_assume!(!value.is_nan());
            let bits = value.to_bits();
            let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
            prop_assert_eq!(of_f64(Element::Bf16, f64::from(value)), u64::from(rounded));
        }

        #[test]
        fn what_was_put_on_the_grid_is_found_there(
            old in -4f32..4.0, count in -1000i32..1000, rank in -60i16..0
        ) {
            for element in [Element::F32, Element::F16, Element::Bf16, Element::F64] {
                let step = Step::new(rank, element).unwrap();
                let old = of_f64(element, f64::from(old));
                let new = step.above(element, old, count);
                let found = step.exactly(element, old, new).expect("one of three counts");
                prop_assert_eq!(step.above(element, old, found), new);
            }
        }
    }
}
