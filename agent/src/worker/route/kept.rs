//! The readings that are kept, in the slot's order.

use lineside_runtime::Reading;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Gaps that are left where they are: closing them moves what is behind.
const GAPS_MAX: usize = 64;

/// A reading that is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Shared with whoever has still to send or to count it.
    pub reading: Arc<Reading>,
    /// The place of its stream.
    pub stream: usize,
    /// The chunk of the journal that holds it.
    pub chunk: Option<u64>,
}

/// Readings by their place in the slot's order. They come in that order and nearly always go in it too; what
/// goes from between others leaves a gap, and gaps are closed when there are more of them than readings.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptReadings {
    /// In rising order; the first and the last are no gaps.
    entries: VecDeque<(u64, Option<Kept>)>,
    gaps: usize,
}

impl KeptReadings {
    /// Of readings in any order.
    pub(super) fn of(readings: BTreeMap<u64, Kept>) -> KeptReadings {
        let entries = readings.into_iter().map(|(order, kept)| (order, Some(kept))).collect();
        KeptReadings { entries, gaps: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gaps
    }

    /// Takes a reading behind all others.
    pub(super) fn push(&mut self, order: u64, kept: Kept) {
        self.entries.push_back((order, Some(kept)));
    }

    /// The reading at a place.
    pub(super) fn get(&self, order: u64) -> Option<&Kept> {
        self.entries[self.find(order)?].1.as_ref()
    }

    /// The reading at a place, to be changed.
    pub(super) fn get_mut(&mut self, order: u64) -> Option<&mut Kept> {
        let at = self.find(order)?;
        self.entries[at].1.as_mut()
    }

    /// The readings from a place on, with their places.
    pub(super) fn range(&self, order: u64) -> impl Iterator<Item = (u64, &Kept)> {
        let entries = self.entries.range(self.first_from(order)..);
        entries.filter_map(|(order, kept)| Some((*order, kept.as_ref()?)))
    }

    /// The readings from a place on, to be changed.
    pub(super) fn range_mut(&mut self, order: u64) -> impl Iterator<Item = (u64, &mut Kept)> {
        let first = self.first_from(order);
        let entries = self.entries.range_mut(first..);
        entries.filter_map(|(order, kept)| Some((*order, kept.as_mut()?)))
    }

    /// Lets go of the reading at a place.
    pub(super) fn remove(&mut self, order: u64) -> Option<Kept> {
        let at = self.find(order)?;
        let kept = self.entries[at].1.take()?;
        self.gaps += 1;
        let is_gap =
            |entry: Option<&(u64, Option<Kept>)>| entry.is_some_and(|(_, it)| it.is_none());
        while is_gap(self.entries.front()) {
            self.entries.pop_front();
            self.gaps -= 1;
        }
        while is_gap(self.entries.back()) {
            self.entries.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > self.len().max(GAPS_MAX) {
            self.entries.retain(|(_, kept)| kept.is_some());
            self.gaps = 0;
        }
        Some(kept)
    }

    /// Where in the entries the first lies that is at this place or behind it.
    fn first_from(&self, order: u64) -> usize {
        let Some((first, _)) = self.entries.front() else { return 0 };
        // Where none is missing before it, it lies as far behind the first as their places are apart.
        let apart = usize::try_from(order.saturating_sub(*first)).unwrap_or(usize::MAX);
        match self.entries.get(apart) {
            Some((there, _)) if *there == order => apart,
            None if self.entries.back().is_none_or(|(last, _)| *last < order) => self.entries.len(),
            _ => self.entries.partition_point(|(there, _)| *there < order),
        }
    }

    fn find(&self, order: u64) -> Option<usize> {
        let at = self.first_from(order);
        self.entries.get(at).filter(|(there, _)| *there == order).map(|_| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(order: u64) -> Kept {
        let reading =
            Reading { key: String::new(), sequence: order, time_unix_ns: 0, values: vec![] };
        Kept { reading: Arc::new(reading), stream: 0, chunk: None }
    }

    #[test]
    fn whatever_comes_and_goes_is_found_as_in_a_map() {
        for seed in 1..60u64 {
            let mut state = seed;
            // Knuth's generator for 64 bits (The Art of Computer Programming, volume 2, 3.3.4).
            let mut draw = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
                (state >> 33) % below
            };
            let mut wanted: BTreeMap<u64, u64> = (0..draw(20)).map(|it| (2 * it, 2 * it)).collect();
            let mut next = 40;
            let begun = wanted.keys().map(|order| (*order, kept(*order))).collect();
            let mut readings = KeptReadings::of(begun);
            // Some go as they have come, and some from anywhere.
            let spread = [4, 40, 400][seed as usize % 3];
            for _ in 0..600 {
                let at = wanted.keys().next().map_or(next, |first| first + draw(spread));
                if draw(5) < 3 {
                    readings.push(next, kept(next));
                    wanted.insert(next, next);
                    next += 1;
                } else {
                    let gone = readings.remove(at).map(|kept| kept.reading.sequence);
                    assert_eq!(gone, wanted.remove(&at));
                }
                assert_eq!(readings.len(), wanted.len());
                let orders: Vec<u64> = readings.range(at).map(|(order, _)| order).collect();
                let expected: Vec<u64> = wanted.range(at..).map(|(order, _)| *order).collect();
                assert_eq!(orders, expected);
                let orders: Vec<u64> = readings.range_mut(at).map(|(order, _)| order).collect();
                assert_eq!(orders, expected);
                let found = readings.get(at).map(|kept| kept.reading.sequence);
                assert_eq!(found, wanted.get(&at).copied());
                assert_eq!(readings.get_mut(at).is_some(), found.is_some());
                assert!(readings.entries.len() <= 2 * wanted.len() + GAPS_MAX + 1);
            }
        }
    }
}
