//! Which texts there were, and how often.

use crate::encoding::{COUNT_MAX, DecodeError, Parts, Reader, Writer};
use crate::hash::hash;
use std::collections::BTreeMap;

/// Different texts that are counted exactly, one by one.
pub const FREQUENT_EXACT_MAX: usize = 32;
/// Bytes of a text that are kept to show it; texts that begin alike are told apart all the same.
pub const LABEL_BYTES_MAX: usize = 40;
/// Counters of a row.
const WIDTH: usize = 128;
/// Rows of counters: each text has one counter in each, chosen by seven digits of its hash.
const ROWS: usize = 3;

/// Texts and how often each came: categories of an input, classes of an output.
///
/// The texts with the [`FREQUENT_EXACT_MAX`] smallest hashes are counted exactly, with their beginnings.
/// All others go into a count-min sketch of 3 rows of 128 counters (G. Cormode and S. Muthukrishnan,
/// 2005). A text that has left the first ones never returns to them, and takes its exact count along:
/// so all of it follows from the texts and their counts alone, whatever their order and grouping.
/// (The usual summaries of frequent items, of Misra and Gries and those that save space, do not have
/// this: what they forget depends on what came first.)
///
/// The price: up to 32 different texts everything is exact; beyond, the 32 are a fair choice among the
/// different texts and not the most frequent ones. Of any other text that somebody can name, as those of
/// a profile, [`Frequent::estimate`] gives bounds that always hold; the upper one is too high by more
/// than 2.2 percent (e / 128) of what the counters hold for at most 5 percent (1 / e^3) of texts. The
/// name of a frequent text that is neither named nor among the 32 stays unknown, but that there is one
/// shows: [`Frequent::rest_most`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frequent {
    exact: BTreeMap<u64, Counted>,
    rest: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    label: Label,
    count: u64,
}

/// A text, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// At most [`LABEL_BYTES_MAX`] bytes.
    pub text: String,
    /// Whether this is all of it.
    pub is_whole: bool,
}

/// How often a text came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountBounds {
    /// At least so often.
    pub low: u64,
    /// At most so often.
    pub high: u64,
}

impl Label {
    fn of(text: &str) -> Label {
        let end = text.floor_char_boundary(LABEL_BYTES_MAX);
        Label { text: text[..end].to_owned(), is_whole: end == text.len() }
    }
}

impl Frequent {
    /// Takes a text.
    pub fn add(&mut self, text: &str) {
        self.add_hashed(hash(text.as_bytes()), text, 1);
    }

    pub(crate) fn add_hashed(&mut self, hash: u64, text: &str, times: u64) {
        if self.is_beyond(hash) {
            self.add_to_rest(hash, times);
        } else if let Some(counted) = self.exact.get_mut(&hash) {
            counted.count = counted.count.saturating_add(times);
        } else {
            self.count(hash, &Label::of(text), times);
        }
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &Frequent) {
        for (hash, counted) in &other.exact {
            self.count(*hash, &counted.label, counted.count);
        }
        if !other.rest.is_empty() {
            self.rest.resize(ROWS * WIDTH, 0);
        }
        for (counter, more) in self.rest.iter_mut().zip(&other.rest) {
            *counter = counter.saturating_add(*more);
        }
    }

    /// Texts taken, repeats included.
    pub fn count_all(&self) -> u64 {
        let counts = self.exact.values().map(|counted| counted.count);
        counts.fold(self.rest(), u64::saturating_add)
    }

    /// The texts that are counted exactly, the most frequent first, equally frequent ones by their
    /// beginnings.
    pub fn exact(&self) -> Vec<(&Label, u64)> {
        let counted = self.exact.values().map(|counted| (&counted.label, counted.count));
        let mut counted: Vec<_> = counted.collect();
        counted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        counted
    }

    /// How often this text came. Exact (both bounds the same) while there are no more than
    /// [`FREQUENT_EXACT_MAX`] different ones, and for those that are counted exactly beyond.
    pub fn estimate(&self, text: &str) -> CountBounds {
        let hash = hash(text.as_bytes());
        if let Some(counted) = self.exact.get(&hash) {
            return CountBounds { low: counted.count, high: counted.count };
        }
        if !self.is_beyond(hash) || self.rest.is_empty() {
            return CountBounds { low: 0, high: 0 };
        }
        let counters = places(hash).map(|place| self.rest[place]);
        CountBounds { low: 0, high: counters.into_iter().min().unwrap_or(0) }
    }

    /// Texts taken, repeats included, of those that are not counted exactly.
    pub fn rest(&self) -> u64 {
        self.rest.iter().take(WIDTH).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// No text that is not counted exactly came more often than this.
    pub fn rest_most(&self) -> u64 {
        let most = self.rest.chunks(WIDTH).filter_map(|row| row.iter().max()).min();
        most.copied().unwrap_or(0)
    }

    /// The hashes of the texts that are counted exactly, in rising order.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.exact.keys().copied()
    }

    /// Whether a hash is larger than all of as many as are counted exactly.
    fn is_beyond(&self, hash: u64) -> bool {
        self.exact.len() >= FREQUENT_EXACT_MAX
            && self.exact.last_key_value().is_some_and(|(last, _)| hash > *last)
    }

    fn count(&mut self, hash: u64, label: &Label, count: u64) {
        if self.is_beyond(hash) {
            return self.add_to_rest(hash, count);
        }
        let counted = self.exact.entry(hash);
        let counted = counted.or_insert_with(|| Counted { label: label.clone(), count: 0 });
        counted.count = counted.count.saturating_add(count);
        // Of two texts with one hash, should there ever be any, not the one that came first.
        if *label < counted.label {
            counted.label = label.clone();
        }
        if self.exact.len() > FREQUENT_EXACT_MAX
            && let Some((hash, counted)) = self.exact.pop_last()
        {
            self.add_to_rest(hash, counted.count);
        }
    }

    fn add_to_rest(&mut self, hash: u64, count: u64) {
        self.rest.resize(ROWS * WIDTH, 0);
        for place in places(hash) {
            self.rest[place] = self.rest[place].saturating_add(count);
        }
    }
}

/// The counters of a hash. Its lowest digits, since the highest ones say who is counted exactly.
fn places(hash: u64) -> [usize; ROWS] {
    [0, 1, 2].map(|row| row * WIDTH + (hash >> (7 * row)) as usize % WIDTH)
}

/// How many texts are counted exactly, and these in the order of their hashes: the length of its
/// beginning, doubled, and one more where that is not all; the beginning; the hash where it does not
/// follow from it; the count. Then, if there are as many as there may be, the counters by rows.
impl Parts for Frequent {
    const KIND: u8 = 4;

    fn write(&self, writer: &mut Writer) {
        writer.number(self.exact.len() as u64);
        for (hash, Counted { label, count }) in &self.exact {
            writer.number((label.text.len() as u64) << 1 | u64::from(!label.is_whole));
            writer.bytes(label.text.as_bytes());
            if !label.is_whole {
                writer.bytes(&hash.to_le_bytes());
            }
            writer.number(*count);
        }
        if self.exact.len() == FREQUENT_EXACT_MAX {
            writer.number(u64::from(!self.rest.is_empty()));
            self.rest.chunks(WIDTH).for_each(|row| writer.numbers(row));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Frequent, DecodeError> {
        let mut frequent = Frequent::default();
        for _ in 0..reader.length(FREQUENT_EXACT_MAX)? {
            let length = reader.length(LABEL_BYTES_MAX << 1 | 1)?;
            let is_whole = length & 1 == 0;
            let text = std::str::from_utf8(reader.bytes(length >> 1)?);
            let text = text.map_err(|_| DecodeError::NotCanonical("a text that is not UTF-8"))?;
            // It was cut where the next character would not have fit, and that has four bytes at most.
            if !is_whole && text.len() + 4 <= LABEL_BYTES_MAX {
                return Err(DecodeError::NotCanonical("a text cut short too early"));
            }
            let hash = match is_whole {
                true => hash(text.as_bytes()),
                false => u64::from_le_bytes(reader.eight()?),
            };
            if frequent.exact.last_key_value().is_some_and(|(last, _)| hash <= *last) {
                return Err(DecodeError::NotCanonical("texts out of order"));
            }
            let count = reader.count()?;
            if count == 0 {
                return Err(DecodeError::NotCanonical("a text that never came"));
            }
            let label = Label { text: text.to_owned(), is_whole };
            frequent.exact.insert(hash, Counted { label, count });
        }
        if frequent.exact.len() == FREQUENT_EXACT_MAX && reader.length(1)? == 1 {
            for _ in 0..ROWS {
                frequent.rest.extend(reader.numbers(WIDTH)?);
            }
            let mut sums = frequent.rest.chunks(WIDTH).map(|row| row.iter().sum::<u64>());
            let first = sums.next();
            if first == Some(0) || sums.any(|sum| Some(sum) != first) {
                return Err(DecodeError::NotCanonical("rows of counters that count differently"));
            }
        }
        if frequent.count_all() > COUNT_MAX {
            return Err(DecodeError::NotCanonical("more values than are read"));
        }
        Ok(frequent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn of<'a>(texts: impl IntoIterator<Item = &'a String>) -> Frequent {
        let mut frequent = Frequent::default();
        texts.into_iter().for_each(|text| frequent.add(text));
        frequent
    }

    /// The `i`-th of a thousand texts, the first ones far more often than the last ones.
    fn zipf(i: u64) -> String {
        let (one, other) = (hash(&i.to_le_bytes()) >> 8, hash(&(!i).to_le_bytes()) >> 8);
        format!("part {}", one % (other % 1_000 + 1))
    }

    #[test]
    fn few_texts_are_counted_exactly_and_listed_by_how_often_they_came() {
        let texts = ["ok", "worn", "ok", "torn", "ok", "worn", ""].map(str::to_owned);
        let frequent = of(&texts);
        let listed: Vec<(&str, u64)> =
            frequent.exact().iter().map(|(label, count)| (label.text.as_str(), *count)).collect();
        assert_eq!(listed, [("ok", 3), ("worn", 2), ("", 1), ("torn", 1)]);
        assert_eq!(frequent.estimate("never"), CountBounds { low: 0, high: 0 });
        assert_eq!((frequent.count_all(), frequent.rest(), frequent.rest_most()), (7, 0, 0));
    }

    #[test]
    fn long_texts_are_told_apart_by_all_of_them_and_shown_by_their_beginnings() {
        let long = "ä".repeat(25);
        let texts = [long.clone() + "a", long.clone() + "b", long.clone() + "a"];
        let frequent = of(&texts);
        let beginning = Label { text: "ä".repeat(20), is_whole: false };
        assert_eq!(frequent.exact(), [(&beginning, 2), (&beginning, 1)]);
        assert_eq!(frequent.estimate(&texts[0]), CountBounds { low: 2, high: 2 });
        assert_eq!(Frequent::decode(&frequent.encode()), Ok(frequent));
    }

    #[test]
    fn the_upper_bound_of_a_named_text_is_as_near_as_promised() {
        let texts: Vec<String> = (0..60_000).map(zipf).collect();
        let mut counts: HashMap<&String, u64> = HashMap::new();
        texts.iter().for_each(|text| *counts.entry(text).or_default() += 1);
        let frequent = of(&texts);
        let bound = frequent.rest() as f64 * std::f64::consts::E / WIDTH as f64;
        let far = counts
            .iter()
            .filter(|(text, count)| (frequent.estimate(text).high - **count) as f64 > bound);
        let far = far.count() as f64 / counts.len() as f64;
        assert!(
            counts.len() > 500 && frequent.rest() > 30_000 && far <= 0.05,
            "{} {far}",
            frequent.rest()
        );
        let most = counts.iter().filter(|(text, _)| frequent.estimate(text).low == 0);
        assert!(frequent.rest_most() >= *most.map(|(_, count)| count).max().unwrap());
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show_and_bounds_always_hold(
            numbers in prop::collection::vec(0u64..90, 0..200),
            splits in (0usize..200, 0usize..200),
        ) {
            let texts: Vec<String> = numbers.iter().map(|number| format!("text {number}")).collect();
            let (from, to) = (splits.0.min(splits.1), splits.0.max(splits.1));
            let (from, to) = (from.min(texts.len()), to.min(texts.len()));
            let parts = [&texts[..from], &texts[from..to], &texts[to..]].map(of);
            let mut left = parts[0].clone();
            left.merge(&parts[1]);
            left.merge(&parts[2]);
            let mut right = parts[2].clone();
            right.merge(&parts[1]);
            let mut outer = parts[0].clone();
            outer.merge(&right);
            outer.merge(&Frequent::default());
            let whole = of(texts.iter().rev());
            prop_assert_eq!(&left, &whole);
            prop_assert_eq!(&outer, &whole);
            prop_assert_eq!(whole.count_all(), texts.len() as u64);
            for number in 0..90 {
                let count = numbers.iter().filter(|other| **other == number).count() as u64;
                let bounds = whole.estimate(&format!("text {number}"));
                prop_assert!(bounds.low <= count && count <= bounds.high);
                prop_assert!(bounds.low == bounds.high || whole.exact.len() == FREQUENT_EXACT_MAX);
                prop_assert!(bounds.low > 0 || count <= whole.rest_most());
            }
            prop_assert_eq!(Frequent::decode(&whole.encode()), Ok(whole));
        }
    }
}
