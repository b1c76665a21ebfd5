//! A column on both sides, without what is missing, in the two forms that methods take.

use crate::column::{Column, Key};
use std::collections::BTreeMap;

/// The finite numbers of one side: shape `[n]`.
pub(crate) struct Sample {
    /// In the order of the rows.
    pub values: Vec<f64>,
    /// From the smallest on.
    pub sorted: Vec<f64>,
}

impl Sample {
    pub(crate) fn new(values: Vec<f64>) -> Sample {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        Sample { values, sorted }
    }

    /// The number of values as a number.
    pub(crate) fn count(&self) -> f64 {
        self.values.len() as f64
    }
}

/// Numbers on both sides; neither side is empty.
pub(crate) struct Numbers {
    pub reference: Sample,
    pub current: Sample,
    /// Integers on both sides.
    pub whole: bool,
}

/// How often a value is there on each side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Group {
    pub value: f64,
    pub reference: u64,
    pub current: u64,
}

impl Numbers {
    /// The distinct values of both sides in order.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let (mut left, mut right) =
            (self.reference.sorted.as_slice(), self.current.sorted.as_slice());
        let mut groups = Vec::new();
        while let Some(value) = match (left.first(), right.first()) {
            (Some(left), Some(right)) => Some(left.min(*right)),
            (left, right) => left.or(right).copied(),
        } {
            let taken = |side: &mut &[f64]| {
                let end = side.iter().position(|other| *other != value).unwrap_or(side.len());
                *side = &side[end..];
                end as u64
            };
            let (reference, current) = (taken(&mut left), taken(&mut right));
            groups.push(Group { value, reference, current });
        }
        groups
    }

    pub(crate) fn least(&self) -> f64 {
        self.reference.sorted[0].min(self.current.sorted[0])
    }

    pub(crate) fn greatest(&self) -> f64 {
        let last = |sample: &Sample| sample.sorted[sample.sorted.len() - 1];
        last(&self.reference).max(last(&self.current))
    }
}

/// How often each distinct value is there on each side, in the order of the values: shape `[n_values]`.
pub(crate) struct Tally {
    pub counts: Vec<(u64, u64)>,
    pub rows: (u64, u64),
    /// Numbers on one side or within it, texts on the other: there is no order.
    pub mixed: bool,
}

impl Tally {
    pub(crate) fn of(reference: &Column, current: &Column) -> Tally {
        let mut counts: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
        let (reference, current) = (reference.keys(), current.keys());
        let rows = (reference.len() as u64, current.len() as u64);
        reference.iter().for_each(|key| counts.entry(*key).or_default().0 += 1);
        current.iter().for_each(|key| counts.entry(*key).or_default().1 += 1);
        let texts = counts.keys().filter(|key| matches!(key, Key::Text(_))).count();
        Tally {
            mixed: texts > 0 && texts < counts.len(),
            counts: counts.into_values().collect(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_both_sides_are_counted_in_order() {
        let (reference, current) = (vec![2.0, 1.0, 2.0, 0.0], vec![3.0, 2.0, -0.0]);
        let numbers = Numbers {
            reference: Sample::new(reference.clone()),
            current: Sample::new(current.clone()),
            whole: false,
        };
        let groups: Vec<_> =
            numbers.groups().iter().map(|it| (it.value + 0.0, it.reference, it.current)).collect();
        assert_eq!(groups, [(0.0, 1, 1), (1.0, 1, 0), (2.0, 2, 1), (3.0, 0, 1)]);
        let tally = Tally::of(&Column::numbers(reference), &Column::numbers(current));
        assert_eq!(tally.counts, [(1, 1), (1, 0), (2, 1), (0, 1)]);
        assert_eq!((tally.rows, tally.mixed), ((4, 3), false));
    }
}
