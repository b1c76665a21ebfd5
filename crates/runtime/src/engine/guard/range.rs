//! What is known of the numbers of a tensor before a model runs: between which they lie, and whether one of
//! them may be no number.

/// Below this size, which is near the smallest that 32 bits hold, a number may have become nought.
const TINY: f64 = 1e-37;

/// All numbers of a tensor lie between `low` and `high`, infinity among what may be there; where `nan` is set,
/// some may be no number at all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) nan: bool,
}

impl Range {
    /// Nothing is known.
    pub(super) const ANY: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY, nan: true };
    /// Yes or no, or a part.
    pub(super) const PART: Range = Range { low: 0.0, high: 1.0, nan: false };

    /// Numbers between two.
    pub(super) fn new(low: f64, high: f64) -> Range {
        Range { low, high, nan: false }
    }

    /// Numbers up to a size.
    pub(super) fn within(size: f64) -> Range {
        Range::new(-size, size)
    }

    /// The largest size.
    pub(super) fn size(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// Whether there is neither infinity nor what is no number.
    pub(super) fn is_finite(self) -> bool {
        !self.nan && self.size().is_finite()
    }

    /// The same numbers, of which some may be none.
    pub(super) fn or_nan(self, nan: bool) -> Range {
        Range { nan: self.nan || nan, ..self }
    }

    /// Those of them up to a size, all of them numbers.
    pub(super) fn cut(self, size: f64) -> Range {
        let (low, high) = (self.low.clamp(-size, size), self.high.clamp(-size, size));
        Range::new(low, high)
    }

    /// What an engine makes of these: what is larger than `ceiling` may be infinity, and what is tiny
    /// nought.
    pub(super) fn rounded(self, ceiling: f64) -> Range {
        let low = match self.low {
            low if low.is_nan() || low < -ceiling => f64::NEG_INFINITY,
            low if low > 0.0 && low < TINY => 0.0,
            low => low.min(ceiling),
        };
        let high = match self.high {
            high if high.is_nan() || high > ceiling => f64::INFINITY,
            high if high < 0.0 && high > -TINY => 0.0,
            high => high.max(-ceiling),
        };
        Range { low, high, nan: self.nan }
    }

    /// The numbers of both.
    pub(super) fn join(self, other: Range) -> Range {
        let (low, high) = (self.low.min(other.low), self.high.max(other.high));
        Range { low, high, nan: self.nan || other.nan }
    }

    pub(super) fn holds_nought(self) -> bool {
        self.low < TINY && self.high > -TINY
    }

    pub(super) fn add(self, other: Range) -> Range {
        let opposed =
            |one: Range, two: Range| one.high == f64::INFINITY && two.low == f64::NEG_INFINITY;
        let nan = self.nan || other.nan || opposed(self, other) || opposed(other, self);
        // Of opposite infinities, no number comes, and of their neighbours any.
        let (low, high) = (self.low + other.low, self.high + other.high);
        let low = if low.is_nan() { f64::NEG_INFINITY } else { low };
        Range { low, high: if high.is_nan() { f64::INFINITY } else { high }, nan }
    }

    pub(super) fn negated(self) -> Range {
        Range { low: -self.high, high: -self.low, nan: self.nan }
    }

    pub(super) fn mul(self, other: Range) -> Range {
        let vanishing = |one: Range, two: Range| one.holds_nought() && two.size().is_infinite();
        let nan = self.nan || other.nan || vanishing(self, other) || vanishing(other, self);
        let product = |one: f64, two: f64| if one == 0.0 || two == 0.0 { 0.0 } else { one * two };
        let products = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        let low = products.into_iter().fold(f64::INFINITY, f64::min);
        let high = products.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Range { low, high, nan }
    }

    pub(super) fn div(self, other: Range) -> Range {
        let both_unbounded = self.size().is_infinite() && other.size().is_infinite();
        let both_nought = self.holds_nought() && other.holds_nought();
        let nan = self.nan || other.nan || both_unbounded || both_nought;
        if other.holds_nought() || both_unbounded {
            let is_positive = self.low >= 0.0 && other.low >= 0.0;
            let low = if is_positive { 0.0 } else { f64::NEG_INFINITY };
            return Range { low, high: f64::INFINITY, nan };
        }
        // A side without nought, turned over.
        let inverse = Range::new(1.0 / other.high, 1.0 / other.low);
        self.mul(inverse).or_nan(nan)
    }

    /// The squares of these.
    pub(super) fn square(self) -> Range {
        let size = self.size();
        let least = if self.holds_nought() { 0.0 } else { self.low.abs().min(self.high.abs()) };
        Range { low: least * least, high: size * size, nan: self.nan }
    }

    /// What a function makes of them that grows with its input and has no gaps.
    pub(super) fn map(self, function: impl Fn(f64) -> f64) -> Range {
        Range { low: function(self.low), high: function(self.high), nan: self.nan }
    }

    /// What is made of them by a function that never gives more than a `share` of the size and `more`, and of
    /// infinity perhaps no number.
    pub(super) fn about(self, share: f64, more: f64) -> Range {
        let size = self.size();
        Range::within(share * size + more).or_nan(self.nan || size.is_infinite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_in(number: f64, range: Range) -> bool {
        if number.is_nan() { range.nan } else { range.low <= number && number <= range.high }
    }

    proptest! {
        #[test]
        fn whatever_is_made_of_numbers_lies_in_what_is_known_of_them(
            ends in proptest::collection::vec(
                prop_oneof![Just(0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), -1e30..1e30, -2.0..2.0],
                4,
            ),
            parts in proptest::collection::vec(0..3usize, 2),
        ) {
            let range = |one: f64, two: f64| Range::new(one.min(two), one.max(two));
            let ranges = [range(ends[0], ends[1]), range(ends[2], ends[3])];
            let pick = |at: usize| {
                let range = ranges[at];
                let middle = range.low.max(-1e300) / 2.0 + range.high.min(1e300) / 2.0;
                [range.low, middle, range.high][parts[at]]
            };
            let (one, two) = (pick(0), pick(1));
            let [first, second] = ranges;
            for (number, range) in [
                (one + two, first.add(second)),
                (one - two, first.add(second.negated())),
                (one * two, first.mul(second)),
                (one / two, first.div(second)),
                (one * one, first.square()),
                (one.max(two), first.join(second)),
            ] {
                // The last digits are rounded.
                let slack = 1e-9 * number.abs().min(1e300);
                let wide = Range { low: range.low - slack, high: range.high + slack, ..range };
                prop_assert!(is_in(number, wide), "{} in {:?}", number, range);
                let rounded = range.rounded(1e37);
                prop_assert!(rounded.low <= range.low && rounded.high >= range.high);
                prop_assert!(rounded.nan || !range.nan);
            }
        }
    }

    #[test]
    fn what_may_be_no_number_is_known() {
        let finite = Range::within(1e30);
        assert!(!finite.add(finite).nan && !finite.mul(finite).nan);
        assert!(finite.div(finite).nan && !finite.div(Range::new(1e-5, 1e30)).nan);
        let beyond = finite.mul(finite).rounded(1e37);
        assert!(beyond.size().is_infinite() && !beyond.nan);
        assert!(beyond.add(beyond).nan && beyond.mul(finite).nan);
        assert!(!Range::new(1.0, f64::INFINITY).add(Range::new(0.0, f64::INFINITY)).nan);
        let tiny = Range::new(1e-30, 1.0).mul(Range::new(1e-30, 1.0)).rounded(1e37);
        assert!(tiny.holds_nought());
        assert!(beyond.cut(5.0).is_finite() && Range::ANY.cut(5.0) == Range::within(5.0));
    }
}
