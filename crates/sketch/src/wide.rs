//! Whole numbers of 192 binary digits: room for the squares of 2^64 values. And of 256, for products of
//! such sums.

use serde::{Deserialize, Serialize};

/// A number from 0 to 2^192 - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wide {
    high: u64,
    low: u128,
}

const MAX: Wide = Wide { high: u64::MAX, low: u128::MAX };

impl From<u128> for Wide {
    fn from(low: u128) -> Wide {
        Wide { high: 0, low }
    }
}

impl Wide {
    /// `a * b`, which always fits.
    pub fn product(a: u64, b: u128) -> Wide {
        let (a, half) = (u128::from(a), u128::from(u64::MAX));
        let upper = a * (b >> 64);
        let (low, carry) = (a * (b & half)).overflowing_add(upper << 64);
        // At most 2^64 - 2 before the carry, so neither line cuts anything off.
        let high = (upper >> 64) as u64 + u64::from(carry);
        Wide { high, low }
    }

    /// The sum, or the largest number there is.
    #[inline]
    pub fn saturating_add(self, other: Wide) -> Wide {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high);
        match high.and_then(|high| high.checked_add(u64::from(carry))) {
            Some(high) => Wide { high, low },
            None => MAX,
        }
    }

    /// The difference, or nought.
    pub fn saturating_sub(self, other: Wide) -> Wide {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high);
        match high.and_then(|high| high.checked_sub(u64::from(borrow))) {
            Some(high) => Wide { high, low },
            None => Wide::default(),
        }
    }

    /// The nearest 64-bit float, within one part in 2^51.
    pub fn to_f64(self) -> f64 {
        self.high as f64 * TWO_128 + self.low as f64
    }

    /// `self * factor`, which always fits.
    pub fn times(self, factor: u64) -> Double {
        let Wide { high, low } = Wide::product(factor, self.low);
        Double { high: u128::from(self.high) * u128::from(factor) + u128::from(high), low }
    }

    pub fn to_u128(self) -> Option<u128> {
        (self.high == 0).then_some(self.low)
    }

    pub fn to_le_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }

    pub fn from_le_bytes(bytes: [u8; 24]) -> Wide {
        let digits = |bytes: &[u8]| {
            bytes.iter().rev().fold(0u128, |number, byte| number << 8 | u128::from(*byte))
        };
        Wide { high: digits(&bytes[16..]) as u64, low: digits(&bytes[..16]) }
    }
}

/// 2^128.
const TWO_128: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// A number from 0 to 2^256 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Double {
    high: u128,
    low: u128,
}

impl Double {
    /// `a * b`, which always fits.
    pub fn product(a: u128, b: u128) -> Double {
        // a = (upper, lower): the upper half enters 64 digits higher.
        let lower = Wide::product(a as u64, b);
        let upper = Wide::product((a >> 64) as u64, b);
        let shifted =
            Double { high: u128::from(upper.high) << 64 | upper.low >> 64, low: upper.low << 64 };
        shifted.plus(Double { high: u128::from(lower.high), low: lower.low })
    }

    /// The sum, or the largest number there is.
    pub fn plus(self, other: Double) -> Double {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high);
        match high.and_then(|high| high.checked_add(u128::from(carry))) {
            Some(high) => Double { high, low },
            None => Double { high: u128::MAX, low: u128::MAX },
        }
    }

    /// The difference, or nought.
    pub fn less(self, other: Double) -> Double {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high);
        match high.and_then(|high| high.checked_sub(u128::from(borrow))) {
            Some(high) => Double { high, low },
            None => Double { high: 0, low: 0 },
        }
    }

    /// The nearest 64-bit float, within one part in 2^51.
    pub fn to_f64(self) -> f64 {
        self.high as f64 * TWO_128 + self.low as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_and_sums_keep_the_laws_of_whole_numbers(a: u64, b: u128, c: u64) {
            // a (b + c) = a b + a c, wherever b + c fits.
            let b = b / 2;
            let sum = Wide::product(a, b + u128::from(c));
            let parts = Wide::product(a, b).saturating_add(Wide::product(a, u128::from(c)));
            prop_assert_eq!(sum, parts);
            prop_assert_eq!(sum.saturating_sub(Wide::product(a, u128::from(c))), Wide::product(a, b));
            prop_assert_eq!(Wide::product(a, u128::from(c)), Wide::from(u128::from(a) * u128::from(c)));
        }
    }

    proptest! {
        #[test]
        fn products_of_sums_keep_the_laws_of_whole_numbers(a: u128, b: u64, c: u64, d: u128) {
            // a (b c) = (a b) c, and what is added can be taken away again.
            let bc = u128::from(b) * u128::from(c);
            prop_assert_eq!(Double::product(a, bc), Wide::product(b, a).times(c));
            prop_assert_eq!(Double::product(bc, a), Double::product(a, bc));
            let (small, smaller) = (Double::product(a >> 1, d), Double::product(a >> 1, bc));
            prop_assert_eq!(small.plus(smaller).less(smaller), small);
            let wide = Wide::product(b, a);
            prop_assert_eq!(Wide::from_le_bytes(wide.to_le_bytes()), wide);
        }
    }

    #[test]
    fn the_ends_hold() {
        let most = Double::product(u128::MAX, u128::MAX);
        assert_eq!((most.high, most.low), (u128::MAX - 1, 1));
        let full = Double { high: u128::MAX, low: u128::MAX };
        assert_eq!(
            (most.plus(most), Double::product(1, 1).less(most)),
            (full, Double::product(0, 0))
        );
        assert_eq!(MAX.saturating_add(Wide::from(1)), MAX);
        assert_eq!(Wide::from(1).saturating_sub(Wide::from(2)), Wide::default());
        let largest = Wide::product(u64::MAX, u128::MAX);
        assert_eq!(largest.saturating_add(Wide::from(u128::MAX)).high, u64::MAX);
    }
}
