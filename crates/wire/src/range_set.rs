//! Sets of sequence numbers as ranges: what was acknowledged, what was seen before.

use std::collections::BTreeMap;

/// Ranges that a set may have.
pub const RANGES_MAX: usize = 4096;

/// A set of numbers, kept as at most [`RANGES_MAX`] ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// First number of each range, and its last.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds the numbers from `first` to `last`, both included; nothing if `first` is above `last`.
    ///
    /// False if the set has too many ranges to take one that touches none: it is as before then.
    /// Whoever acknowledges by the set acknowledges less, and is sent the rest again.
    pub fn insert(&mut self, first: u64, last: u64) -> bool {
        if first > last {
            return true;
        }
        let (mut first, mut last) = (first, last);
        let touching: Vec<(u64, u64)> = self
            .ranges
            .range(..=last.saturating_add(1))
            .rev()
            .map(|(a, b)| (*a, *b))
            .take_while(|(_, b)| b.saturating_add(1) >= first)
            .collect();
        if touching.is_empty() && self.ranges.len() == RANGES_MAX {
            return false;
        }
        for (a, b) in touching {
            self.ranges.remove(&a);
            first = first.min(a);
            last = last.max(b);
        }
        self.ranges.insert(first, last);
        true
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// The ranges in order, first and last number of each.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set = RangeSet::default();
        for (first, last) in [(5, 6), (1, 2), (3, 4), (9, 9), (8, 7), (u64::MAX, u64::MAX)] {
            set.insert(first, last);
        }
        let ranges: Vec<_> = set.ranges().collect();
        assert_eq!(ranges, [(1, 6), (9, 9), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn a_set_full_of_holes_takes_no_more_of_them() {
        let mut set = RangeSet::default();
        for number in 0..RANGES_MAX as u64 {
            assert!(set.insert(2 * number, 2 * number));
        }
        let beyond = 2 * RANGES_MAX as u64;
        assert!(!set.insert(beyond, beyond) && !set.contains(beyond));
        assert!(set.insert(1, 1) && set.contains(1), "a hole may always be filled");
        assert!(set.insert(beyond, beyond));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(parts in prop::collection::vec((0u64..60, 0u64..9), 0..20)) {
            let (mut set, mut plain) = (RangeSet::default(), BTreeSet::new());
            for (first, length) in parts {
                set.insert(first, first + length);
                plain.extend(first..=first + length);
            }
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), plain.contains(&number));
            }
            let ranges: Vec<_> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
