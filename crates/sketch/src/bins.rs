//! Counts per bin, over edges that were chosen beforehand.

use crate::encoding::{DecodeError, Parts, Reader, Writer};
use crate::hash::hash;

/// Bins that edges make at most.
pub const BINS_MAX: usize = 64;

/// Edges of bins: those of the profile, so that counts of this year and of the training data compare.
///
/// Bin `i` holds what is at least edge `i` and below edge `i + 1`; the last one holds its upper edge
/// too, as with numpy's `histogram`.
#[derive(Debug, Clone, PartialEq)]
pub struct Edges {
    edges: Vec<f64>,
    id: EdgesId,
}

/// Names edges: XXH64 of their numbers. So counts need not carry their edges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgesId([u8; 8]);

impl std::fmt::Display for EdgesId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for EdgesId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Why numbers are no edges.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EdgesError {
    /// Fewer than two, or more than make [`BINS_MAX`] bins.
    #[error("{0} edges, where there are at least 2, and at most one more than {BINS_MAX} bins")]
    Number(usize),
    /// One of them is no finite number.
    #[error("edge {0} is {1}: edges are finite; what lies beyond them is counted apart")]
    NotFinite(usize, f64),
    /// One of them is not above the one before.
    #[error("edge {0} is {1} and not above the edge before it: leave it out")]
    NotRising(usize, f64),
}

/// Counts over other edges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "counts over the edges {theirs} do not add to counts over the edges {ours}: merge what was counted \
     with the same profile, or compare quantiles, which need no edges"
)]
pub struct OtherEdges {
    /// The edges of the sketch.
    pub ours: EdgesId,
    /// The edges that were handed in.
    pub theirs: EdgesId,
}

impl Edges {
    /// Edges in rising order, 2 to [`BINS_MAX`] + 1.
    ///
    /// # Errors
    /// [`EdgesError`].
    pub fn new(mut edges: Vec<f64>) -> Result<Edges, EdgesError> {
        if !(2..=BINS_MAX + 1).contains(&edges.len()) {
            return Err(EdgesError::Number(edges.len()));
        }
        if let Some(at) = edges.iter().position(|edge| !edge.is_finite()) {
            return Err(EdgesError::NotFinite(at, edges[at]));
        }
        if let Some(at) = (1..edges.len()).find(|at| edges[*at] <= edges[at - 1]) {
            return Err(EdgesError::NotRising(at, edges[at]));
        }
        // Zero has two signs; they are one edge.
        edges.iter_mut().for_each(|edge| *edge += 0.0);
        let bytes: Vec<u8> = edges.iter().flat_map(|edge| edge.to_bits().to_le_bytes()).collect();
        let id = EdgesId(hash(&bytes).to_le_bytes());
        Ok(Edges { edges, id })
    }

    /// The edges: shape `[n_bins + 1]`.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Their name.
    pub fn id(&self) -> EdgesId {
        self.id
    }

    fn bins(&self) -> usize {
        self.edges.len() - 1
    }
}

/// How many values fell into each bin, below the first and above the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bins {
    edges: EdgesId,
    below: u64,
    above: u64,
    not_finite: u64,
    counts: Vec<u64>,
}

impl Bins {
    /// Counts over these edges; none yet.
    pub fn new(edges: &Edges) -> Bins {
        Bins { edges: edges.id, below: 0, above: 0, not_finite: 0, counts: vec![0; edges.bins()] }
    }

    /// Takes a value, with the edges that it was begun with.
    ///
    /// # Errors
    /// [`OtherEdges`]; then nothing is counted.
    pub fn add(&mut self, edges: &Edges, value: f64) -> Result<(), OtherEdges> {
        self.check(edges.id)?;
        let last = edges.bins() - 1;
        let counted = if !value.is_finite() {
            &mut self.not_finite
        } else if value > edges.edges[last + 1] {
            &mut self.above
        } else {
            match edges.edges.partition_point(|edge| *edge <= value) {
                0 => &mut self.below,
                passed => &mut self.counts[(passed - 1).min(last)],
            }
        };
        *counted = counted.saturating_add(1);
        Ok(())
    }

    /// Takes what another has counted.
    ///
    /// # Errors
    /// [`OtherEdges`]; then nothing is counted.
    pub fn merge(&mut self, other: &Bins) -> Result<(), OtherEdges> {
        self.check(other.edges)?;
        self.below = self.below.saturating_add(other.below);
        self.above = self.above.saturating_add(other.above);
        self.not_finite = self.not_finite.saturating_add(other.not_finite);
        for (counted, more) in self.counts.iter_mut().zip(&other.counts) {
            *counted = counted.saturating_add(*more);
        }
        Ok(())
    }

    /// Which edges it counts over.
    pub fn edges(&self) -> EdgesId {
        self.edges
    }

    /// Values in each bin: shape `[n_bins]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Finite values below the first edge.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// Finite values above the last edge.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// NaN and infinities.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    pub(crate) fn check(&self, theirs: EdgesId) -> Result<(), OtherEdges> {
        if self.edges == theirs { Ok(()) } else { Err(OtherEdges { ours: self.edges, theirs }) }
    }
}

impl Parts for Bins {
    const KIND: u8 = 3;

    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.edges.0);
        writer.number(self.below);
        writer.number(self.above);
        writer.number(self.not_finite);
        writer.number(self.counts.len() as u64);
        writer.numbers(&self.counts);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Bins, DecodeError> {
        let edges = EdgesId(reader.eight()?);
        let (below, above, not_finite) = (reader.count()?, reader.count()?, reader.count()?);
        let length = reader.length(BINS_MAX)?;
        if length == 0 {
            return Err(DecodeError::NotCanonical("no bins"));
        }
        let counts = reader.numbers(length)?;
        Ok(Bins { edges, below, above, not_finite, counts })
    }
}

impl Bins {
    /// Finite values, wherever they lie.
    pub(crate) fn count(&self) -> u64 {
        let inside = self.counts.iter().fold(0, |sum, count| u64::saturating_add(sum, *count));
        inside.saturating_add(self.below).saturating_add(self.above)
    }

    /// Writes what does not follow from how many finite values there are, and how many others.
    pub(crate) fn write_of(&self, count: u64, writer: &mut Writer) {
        writer.bytes(&self.edges.0);
        writer.number(self.below);
        writer.number(self.above);
        writer.number(self.counts.len() as u64);
        let inside = count.saturating_sub(self.below).saturating_sub(self.above);
        writer.numbers_of(inside, &self.counts);
    }

    /// Reads what [`Bins::write_of`] has written.
    pub(crate) fn read_of(
        count: u64,
        not_finite: u64,
        reader: &mut Reader<'_>,
    ) -> Result<Bins, DecodeError> {
        let edges = EdgesId(reader.eight()?);
        let (below, above) = (reader.count()?, reader.count()?);
        let inside = count.checked_sub(below).and_then(|count| count.checked_sub(above));
        let inside =
            inside.ok_or(DecodeError::NotCanonical("more values beyond than there are"))?;
        let length = reader.length(BINS_MAX)?;
        if length == 0 {
            return Err(DecodeError::NotCanonical("no bins"));
        }
        let counts = reader.numbers_of(inside, length)?;
        Ok(Bins { edges, below, above, not_finite, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    fn edges() -> Edges {
        Edges::new(vec![-1.0, -0.0, 0.5, 2.0]).unwrap()
    }

    fn of(values: &[f64]) -> Bins {
        let mut bins = Bins::new(&edges());
        values.iter().for_each(|value| bins.add(&edges(), *value).unwrap());
        bins
    }

    #[test]
    fn bins_hold_their_lower_edge_and_the_last_one_both() {
        let bins = of(&[-1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 2.1, -1.1, f64::NAN, f64::INFINITY]);
        assert_eq!(bins.counts(), [2, 2, 3]);
        assert_eq!((bins.below(), bins.above(), bins.not_finite()), (1, 1, 2));
    }

    #[test]
    fn other_edges_are_refused_and_nothing_is_counted() {
        let other = Edges::new(vec![-1.0, 0.0, 0.5, 2.5]).unwrap();
        let mut bins = of(&[1.0]);
        let before = bins.clone();
        let refused = bins.add(&other, 1.0).unwrap_err();
        assert_eq!(bins.merge(&Bins::new(&other)), Err(refused.clone()));
        assert_eq!(bins, before);
        let said = refused.to_string();
        assert!(said.contains(&other.id().to_string()) && said.contains("same profile"), "{said}");
    }

    #[test]
    fn what_makes_no_bins_is_refused() {
        let refused = |edges: &[f64]| Edges::new(edges.to_vec()).unwrap_err();
        assert_eq!(refused(&[1.0]), EdgesError::Number(1));
        assert_eq!(refused(&vec![0.0; BINS_MAX + 2]), EdgesError::Number(BINS_MAX + 2));
        assert_eq!(refused(&[-0.0, 0.0]), EdgesError::NotRising(1, 0.0));
        assert_eq!(refused(&[0.0, f64::INFINITY]), EdgesError::NotFinite(1, f64::INFINITY));
        assert!(matches!(refused(&[f64::NAN, 1.0]), EdgesError::NotFinite(0, _)));
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_show(
            values in prop::collection::vec(-3f64..3.0, 0..60),
            split in 0usize..60,
        ) {
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left)).unwrap();
            merged.merge(&of(&[])).unwrap();
            prop_assert_eq!(&merged, &of(&values));
            prop_assert_eq!(Bins::decode(&merged.encode()), Ok(merged));
        }
    }
}
