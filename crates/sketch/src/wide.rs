//! Whole numbers of 192 binary digits: room for the squares of 2^64 values.

use serde::{Deserialize, Serialize};

/// A number from 0 to 2^192 - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Wide {
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
        self.high as f64 * 2f64.powi(128) + self.low as f64
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

    #[test]
    fn the_ends_hold() {
        assert_eq!(MAX.saturating_add(Wide::from(1)), MAX);
        assert_eq!(Wide::from(1).saturating_sub(Wide::from(2)), Wide::default());
        let largest = Wide::product(u64::MAX, u128::MAX);
        assert_eq!(largest.saturating_add(Wide::from(u128::MAX)).high, u64::MAX);
    }
}
