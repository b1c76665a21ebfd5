//! What is kept of each stream, by its key.

use std::collections::BTreeMap;

/// What is kept of each stream. The one that was asked for last is found without a search: readings often
/// come many of one in a row.
#[derive(Debug)]
pub(super) struct Streams<T> {
    places: BTreeMap<String, usize>,
    /// None of a stream that has ended.
    all: Vec<Option<(String, T)>>,
    last: usize,
}

impl<T> Default for Streams<T> {
    fn default() -> Streams<T> {
        Streams { places: BTreeMap::new(), all: Vec::new(), last: 0 }
    }
}

impl<T> Streams<T> {
    /// What is kept of a stream, from now on if it is new; none if there are `streams_max` others.
    pub(super) fn opened(
        &mut self,
        key: &str,
        streams_max: usize,
        new: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        let is_last =
            matches!(self.all.get(self.last), Some(Some((last, _))) if is_same_key(last, key));
        if !is_last {
            self.last = match self.places.get(key) {
                Some(place) => *place,
                None if self.places.len() >= streams_max => return None,
                None => {
                    self.places.insert(key.to_owned(), self.all.len());
                    self.all.push(Some((key.to_owned(), new())));
                    self.all.len() - 1
                }
            };
        }
        self.all[self.last].as_mut().map(|(_, kept)| kept)
    }

    /// Ends the first stream by key. None if none is open.
    pub(super) fn end_first(&mut self) -> Option<(String, T)> {
        let (_, place) = self.places.pop_first()?;
        let ended = self.all[place].take();
        if self.places.is_empty() {
            self.all.clear();
        }
        ended
    }
}

/// Whether two keys are the same.
///
/// A text of nothing may stand at an address where nothing is, and the C library's comparison of no bytes looks
/// there all the same, which takes some processors hundreds of cycles. Streams without a key are many.
pub fn is_same_key(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_its_own_and_ends_in_the_order_of_keys() {
        let mut streams = Streams::default();
        for (count, key) in ["b", "", "", "a", "b", "b", "a", "", "ab"].into_iter().enumerate() {
            let kept = streams.opened(key, 4, Vec::new).unwrap();
            kept.push(count);
        }
        assert_eq!(streams.opened("c", 4, Vec::new), None);
        assert_eq!(streams.opened("a", 4, Vec::new), Some(&mut vec![3, 6]));
        let key = |key: &str| key.to_owned();
        assert_eq!(streams.end_first(), Some((key(""), vec![1, 2, 7])));
        assert_eq!(streams.end_first(), Some((key("a"), vec![3, 6])));
        // One that has ended begins anew, whichever was asked for last.
        assert_eq!(streams.opened("a", 4, Vec::new), Some(&mut vec![]));
        assert_eq!(streams.opened("ab", 4, Vec::new), Some(&mut vec![8]));
        let rest: Vec<_> = std::iter::from_fn(|| streams.end_first()).collect();
        assert_eq!(rest, [(key("a"), vec![]), (key("ab"), vec![8]), (key("b"), vec![0, 4, 5])]);
        assert_eq!(streams.opened("b", 4, Vec::new), Some(&mut vec![]));
    }
}
