//! That entries, or values of entries, were erased on purpose: recorded in the log itself, with a hash over
//! the leaves of what went. What is missing without such an entry was not erased but taken.

use crate::entry::{Entry, Small, Value};
use crate::hash::Hash;
use crate::{Action, tree::LOG_SIZE_MAX};
use ring::digest::{Context, SHA256};
use std::fmt;
use std::str::FromStr;

/// Most ranges in one record of an erasure.
pub const RANGES_MAX: usize = 16;
const BEGIN: &[u8] = b"lineside-audit-erasure/v1\n";

/// Ranges of entries: ascending, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

/// What an entry says that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Which entries, or the values of which.
    pub ranges: Ranges,
    /// SHA-256 over the hashes of the leaves of all of them, in their order.
    pub leaves: Hash,
}

/// What is no record of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no record of an erasure: 1 to {RANGES_MAX} ascending ranges such as 0-99,120-130 and a hash"
)]
pub struct ErasureError;

impl Ranges {
    /// Adds the number that follows all others.
    ///
    /// # Panics
    /// If it does not follow: whoever counts entries counts upwards.
    pub fn push(&mut self, index: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            Some((_, last)) => {
                assert!(*last < index, "entries are counted upwards");
                self.0.push((index, index));
            }
            None => self.0.push((index, index)),
        }
    }

    /// Each range: its first and its last entry.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether the entry is in one of them.
    pub fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).is_some_and(|at| index <= self.0[at].1)
    }

    /// How many entries they are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The entries that are in any of these ranges, in whatever order these are.
    pub fn union(mut ranges: Vec<(u64, u64)>) -> Ranges {
        ranges.sort_unstable();
        let mut union: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            match union.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => union.push((first, last)),
            }
        }
        Ranges(union)
    }

    /// Those from this entry on.
    pub fn since(&self, from: u64) -> Ranges {
        let left = self.0.iter().filter(|(_, last)| from <= *last);
        Ranges(left.map(|(first, last)| (*first.max(&from), *last)).collect())
    }

    /// The entries of these that are in none of the others.
    pub fn without(&self, others: &Ranges) -> Ranges {
        let mut left = Vec::new();
        let mut cuts = others.0.iter().copied().peekable();
        for &(first, last) in &self.0 {
            let mut begin = first;
            while let Some(&(cut_first, cut_last)) = cuts.peek() {
                if cut_last < begin {
                    cuts.next();
                    continue;
                }
                if last < cut_first {
                    break;
                }
                if begin < cut_first {
                    left.push((begin, cut_first - 1));
                }
                begin = cut_last + 1;
                if last < begin {
                    break;
                }
            }
            if begin <= last {
                left.push((begin, last));
            }
        }
        Ranges(left)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            write!(f, "{}{first}-{last}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = ErasureError;

    fn from_str(text: &str) -> Result<Ranges, ErasureError> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let numbers = part.split_once('-').and_then(|(first, last)| {
                Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
            });
            let (first, last) = numbers.ok_or(ErasureError)?;
            let follows = ranges.last().is_none_or(|(_, last): &(u64, u64)| last + 1 < first);
            if ranges.len() >= RANGES_MAX || last < first || LOG_SIZE_MAX <= last || !follows {
                return Err(ErasureError);
            }
            ranges.push((first, last));
        }
        let ranges = Ranges(ranges);
        if ranges.to_string() == text { Ok(ranges) } else { Err(ErasureError) }
    }
}

impl Erasure {
    /// The record of what is to be erased: the numbers of the entries, ascending, and their leaves.
    ///
    /// # Errors
    /// [`ErasureError`] where there are none, or more ranges than one record takes: make several.
    pub fn of(leaves: impl IntoIterator<Item = (u64, Hash)>) -> Result<Erasure, ErasureError> {
        let (mut ranges, mut sum) = (Ranges::default(), LeafSum::default());
        for (index, leaf) in leaves {
            ranges.push(index);
            sum.add(&leaf);
        }
        if !(1..=RANGES_MAX).contains(&ranges.0.len()) {
            return Err(ErasureError);
        }
        Ok(Erasure { ranges, leaves: sum.finish() })
    }

    /// As the new value of an entry whose action is [`Action::EntriesErased`] or [`Action::ValuesErased`].
    pub fn to_value(&self) -> Value {
        let text = self.to_string().parse::<Small>();
        Value::Text(text.expect("sixteen pairs of numbers and a hash fit a short text"))
    }

    /// What an entry says that was erased, if that is what it is about.
    ///
    /// # Errors
    /// [`ErasureError`]: it is about an erasure and has none, or one of entries that do not come before it.
    pub fn read(entry: &Entry) -> Option<Result<Erasure, ErasureError>> {
        let action = Action::of(&entry.action)?;
        if !matches!(action, Action::EntriesErased | Action::ValuesErased) {
            return None;
        }
        let Some(Value::Text(text)) = &entry.new else { return Some(Err(ErasureError)) };
        let erasure = text.as_str().parse().and_then(|erasure: Erasure| {
            let last = erasure.ranges.0.last();
            let is_past = last.is_some_and(|(_, last)| *last < entry.seq);
            if is_past { Ok(erasure) } else { Err(ErasureError) }
        });
        Some(erasure)
    }
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ranges, self.leaves)
    }
}

impl FromStr for Erasure {
    type Err = ErasureError;

    fn from_str(text: &str) -> Result<Erasure, ErasureError> {
        let (ranges, leaves) = text.split_once(' ').ok_or(ErasureError)?;
        let leaves = leaves.parse().map_err(|_| ErasureError)?;
        Ok(Erasure { ranges: ranges.parse()?, leaves })
    }
}

/// A hash over leaves, one after the other.
#[derive(Clone)]
pub(crate) struct LeafSum(Context);

impl Default for LeafSum {
    fn default() -> LeafSum {
        let mut context = Context::new(&SHA256);
        context.update(BEGIN);
        LeafSum(context)
    }
}

impl LeafSum {
    pub fn add(&mut self, leaf: &Hash) {
        self.0.update(&leaf.0);
    }

    pub fn finish(self) -> Hash {
        Hash::finish(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges(indices: &BTreeSet<u64>) -> Ranges {
        let mut ranges = Ranges::default();
        indices.iter().for_each(|index| ranges.push(*index));
        ranges
    }

    #[test]
    fn a_record_of_an_erasure_reads_back_and_only_as_it_was_written() {
        let leaves = [0, 1, 2, 7, 9, 10].map(|index| (index, Hash::leaf(&[index as u8])));
        let erasure = Erasure::of(leaves).unwrap();
        assert_eq!(erasure.ranges.to_string(), "0-2,7-7,9-10");
        assert_eq!(erasure.ranges.count(), 6);
        assert_eq!(erasure.to_string().parse(), Ok(erasure.clone()));
        let hash = erasure.leaves;
        for wrong in [
            "",
            "1",
            "1-",
            "2-1",
            "0-2,3-4",
            "0-2,1-4",
            "4-5,1-2",
            "0-2,",
            "00-1",
            "+0-1",
            "0-9007199254740992",
            "0-18446744073709551616",
        ] {
            assert!(format!("{wrong} {hash}").parse::<Erasure>().is_err(), "{wrong}");
        }
        assert!("0-2".parse::<Erasure>().is_err());
        assert!(Erasure::of([]).is_err());
        assert!(Erasure::of((0..34).step_by(2).map(|index| (index, hash))).is_err());
        let longest = (0..16).map(|at| ((1 << 53) - 100 + 3 * at, hash));
        assert!(matches!(Erasure::of(longest).unwrap().to_value(), Value::Text(_)));
    }

    proptest! {
        #[test]
        fn ranges_are_sets(a: BTreeSet<u8>, b: BTreeSet<u8>) {
            let wide = |set: BTreeSet<u8>| set.into_iter().map(u64::from).collect::<BTreeSet<u64>>();
            let (a, b) = (wide(a), wide(b));
            let (left, right) = (ranges(&a), ranges(&b));
            prop_assert_eq!(left.count(), a.len() as u64);
            let rest: BTreeSet<u64> = a.difference(&b).copied().collect();
            let found = left.without(&right);
            for index in 0..=256 {
                prop_assert_eq!(left.contains(index), a.contains(&index));
                prop_assert_eq!(found.contains(index), rest.contains(&index), "{}", index);
            }
            prop_assert_eq!(found.count(), rest.len() as u64);
            let both = left.as_slice().iter().chain(right.as_slice()).rev().copied().collect();
            prop_assert_eq!(Ranges::union(both), ranges(&a.union(&b).copied().collect()));
            let late: BTreeSet<u64> = a.iter().copied().filter(|index| *index >= 100).collect();
            prop_assert_eq!(left.since(100), ranges(&late));
        }

        #[test]
        fn no_text_breaks_it(text in "[0-9,-]{0,60}") {
            if let Ok(ranges) = text.parse::<Ranges>() {
                prop_assert_eq!(ranges.to_string(), text);
            }
        }
    }
}
