//! All that is kept of a column in an interval.

mod encoded;

use crate::bins::{Bins, Edges, OtherEdges};
use crate::categories::{Categories, CategoryCounts, OtherCategories};
use crate::distinct::Distinct;
use crate::frequent::Frequent;
use crate::hash::hash;
use crate::histogram::Histogram;
use crate::moments::Moments;

/// Bytes that a column takes at most when it is written, with up to 2^32 values (fifty days of a
/// thousand a second). Every doubling beyond adds about 106 bytes, to a column that fills all its
/// buckets and bins.
pub const COLUMN_BYTES_MAX: usize = 4096;

/// Values that one sketch after the other takes: they stay in the nearest memory.
const VALUES_AT_ONCE: usize = 256;
/// Fewer are faster one by one: what a sketch makes ready for many is then for nothing.
const VALUES_MANY: usize = 32;

/// What is kept of a column of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberColumn {
    missing: u64,
    moments: Moments,
    histogram: Histogram,
    distinct: Distinct,
    bins: Option<Bins>,
}

/// The edges that were handed in are not those that a column was begun with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Both have edges.
    #[error(transparent)]
    OtherEdges(#[from] OtherEdges),
    /// One of the two has none.
    #[error(
        "one column has counts per bin and the other has none: merge what has the same profile"
    )]
    OneHasNoEdges,
}

impl NumberColumn {
    /// A column without values, with counts per bin if there are edges.
    pub fn new(edges: Option<&Edges>) -> NumberColumn {
        NumberColumn {
            missing: 0,
            moments: Moments::default(),
            histogram: Histogram::default(),
            distinct: Distinct::default(),
            bins: edges.map(Bins::new),
        }
    }

    /// Takes a value, with the edges that it was begun with.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing is counted.
    pub fn add(&mut self, edges: Option<&Edges>, value: f64) -> Result<(), MergeError> {
        match (&mut self.bins, edges) {
            (Some(bins), Some(edges)) => bins.add(edges, value)?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(MergeError::OneHasNoEdges),
        }
        self.moments.add(value);
        self.histogram.add(value);
        self.distinct.add(value);
        Ok(())
    }

    /// Takes values, as [`NumberColumn::add`] takes each, in a fraction of the time.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing is counted.
    pub fn add_all(&mut self, edges: Option<&Edges>, values: &[f64]) -> Result<(), MergeError> {
        match (&self.bins, edges) {
            (Some(bins), Some(edges)) => bins.check(edges.id())?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(MergeError::OneHasNoEdges),
        }
        for values in values.chunks(VALUES_AT_ONCE) {
            let are_many = values.len() >= VALUES_MANY;
            if !(are_many && values.iter().all(|value| value.is_finite())) {
                values.iter().try_for_each(|value| self.add(edges, *value))?;
                continue;
            }
            if let (Some(bins), Some(edges)) = (&mut self.bins, edges) {
                bins.add_finite(edges, values);
            }
            self.moments.add_finite(values);
            values.iter().for_each(|value| self.histogram.add(*value));
            self.distinct.add_finite(values);
        }
        Ok(())
    }

    /// Takes a row without a value.
    pub fn add_missing(&mut self) {
        self.add_missing_rows(1);
    }

    /// Takes so many rows without a value.
    pub fn add_missing_rows(&mut self, rows: u64) {
        self.missing = self.missing.saturating_add(rows);
    }

    /// Whether it was begun with these edges.
    pub fn has_edges(&self, edges: Option<&Edges>) -> bool {
        self.bins.as_ref().map(Bins::edges) == edges.map(Edges::id)
    }

    /// Takes what another has counted.
    ///
    /// # Errors
    /// [`MergeError`]; then nothing is counted.
    pub fn merge(&mut self, other: &NumberColumn) -> Result<(), MergeError> {
        match (&mut self.bins, &other.bins) {
            (Some(bins), Some(more)) => bins.merge(more)?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(MergeError::OneHasNoEdges),
        }
        self.missing = self.missing.saturating_add(other.missing);
        self.moments.merge(&other.moments);
        self.histogram.merge(&other.histogram);
        self.distinct.merge(&other.distinct);
        Ok(())
    }

    /// Rows without a value. NaN and infinities are values: [`Histogram::not_finite`] counts them.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Count, extremes, mean and spread.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Quantiles.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// The number of different values.
    pub fn distinct(&self) -> &Distinct {
        &self.distinct
    }

    /// Counts over the profile's edges.
    pub fn bins(&self) -> Option<&Bins> {
        self.bins.as_ref()
    }
}

/// What is kept of a column of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextColumn {
    missing: u64,
    frequent: Frequent,
    distinct: Distinct,
}

impl TextColumn {
    /// Takes a text. An empty one is a text.
    pub fn add(&mut self, text: &str) {
        self.add_times(text, 1);
    }

    /// Takes a text that came so often.
    pub fn add_times(&mut self, text: &str, times: u64) {
        if times == 0 {
            return;
        }
        let hash = hash(text.as_bytes());
        self.frequent.add_hashed(hash, text, times);
        self.distinct.add_hash(hash);
    }

    /// Takes a row without a text.
    pub fn add_missing(&mut self) {
        self.add_missing_rows(1);
    }

    /// Takes so many rows without a text.
    pub fn add_missing_rows(&mut self, rows: u64) {
        self.missing = self.missing.saturating_add(rows);
    }

    /// Takes what another has counted.
    pub fn merge(&mut self, other: &TextColumn) {
        self.missing = self.missing.saturating_add(other.missing);
        self.frequent.merge(&other.frequent);
        self.distinct.merge(&other.distinct);
    }

    /// Rows without a text.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Which texts came how often.
    pub fn frequent(&self) -> &Frequent {
        &self.frequent
    }

    /// The number of different texts.
    pub fn distinct(&self) -> &Distinct {
        &self.distinct
    }
}

/// What is kept of a column of texts of which a profile has named some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryColumn {
    texts: TextColumn,
    counts: CategoryCounts,
}

impl CategoryColumn {
    /// A column without texts, with counts of these categories.
    pub fn new(categories: &Categories) -> CategoryColumn {
        CategoryColumn { texts: TextColumn::default(), counts: CategoryCounts::new(categories) }
    }

    /// Takes a text, with the categories that it was begun with. An empty one is a text.
    ///
    /// # Errors
    /// [`OtherCategories`]; then nothing is counted.
    pub fn add(&mut self, categories: &Categories, text: &str) -> Result<(), OtherCategories> {
        self.add_times(categories, text, 1)
    }

    /// Takes a text that came so often.
    ///
    /// # Errors
    /// As [`CategoryColumn::add`].
    pub fn add_times(
        &mut self,
        categories: &Categories,
        text: &str,
        times: u64,
    ) -> Result<(), OtherCategories> {
        self.counts.add_times(categories, text, times)?;
        self.texts.add_times(text, times);
        Ok(())
    }

    /// Takes a row without a text.
    pub fn add_missing(&mut self) {
        self.add_missing_rows(1);
    }

    /// Takes so many rows without a text.
    pub fn add_missing_rows(&mut self, rows: u64) {
        self.texts.add_missing_rows(rows);
    }

    /// Takes what another has counted.
    ///
    /// # Errors
    /// [`OtherCategories`]; then nothing is counted.
    pub fn merge(&mut self, other: &CategoryColumn) -> Result<(), OtherCategories> {
        self.counts.merge(&other.counts)?;
        self.texts.merge(&other.texts);
        Ok(())
    }

    /// Rows without a text.
    pub fn missing(&self) -> u64 {
        self.texts.missing
    }

    /// What is kept without a profile, too.
    pub fn texts(&self) -> &TextColumn {
        &self.texts
    }

    /// How often each of the profile's categories came.
    pub fn counts(&self) -> &CategoryCounts {
        &self.counts
    }
}
