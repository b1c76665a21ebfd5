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
    cells: Cells,
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
        let cells = Cells::of(&edges);
        Ok(Edges { edges, id, cells })
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

    /// How many edges are not above a finite value.
    #[inline]
    fn passed(&self, value: f64) -> usize {
        match self.cells.edges_max {
            1 => self.passed_within::<1>(value),
            2 => self.passed_within::<2>(value),
            _ => {
                let cell = self.cells.cell(value);
                let [from, to] = [cell, cell + 1].map(|at| usize::from(self.cells.passed[at]));
                from + self.edges[from..to].partition_point(|edge| *edge <= value)
            }
        }
    }

    /// The same, where no cell holds more edges than these.
    #[inline]
    fn passed_within<const EDGES: usize>(&self, value: f64) -> usize {
        let from = usize::from(self.cells.passed[self.cells.cell(value)]);
        // Edges of later cells are above the value, so it does not matter how many are its cell's.
        let is_passed = |at: usize| self.edges.get(at).is_some_and(|edge| *edge <= value);
        from + (0..EDGES).map(|at| usize::from(is_passed(from + at))).sum::<usize>()
    }
}

/// Cells of a table of edges.
const CELLS: usize = 128;

/// Where to look for a value: the range of the edges in cells of equal width.
#[derive(Clone, PartialEq)]
struct Cells {
    least: f64,
    per_unit: f64,
    /// Edges in the cells before each.
    passed: Box<[u8; CELLS + 1]>,
    /// Edges in the cell that holds the most.
    edges_max: usize,
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} a unit from {}", self.per_unit, self.least)
    }
}

impl Cells {
    fn of(edges: &[f64]) -> Cells {
        let (least, greatest) = (edges[0], edges[edges.len() - 1]);
        let per_unit = CELLS as f64 / (greatest - least);
        let mut cells = Cells { least, per_unit, passed: Box::new([0; CELLS + 1]), edges_max: 0 };
        let mut held = [0u8; CELLS];
        edges.iter().for_each(|edge| held[cells.cell(*edge)] += 1);
        for (cell, held) in held.iter().enumerate() {
            cells.passed[cell + 1] = cells.passed[cell] + held;
        }
        cells.edges_max = usize::from(held.into_iter().max().unwrap_or(0));
        cells
    }

    /// The cell of a finite value. No value has a cell before that of a lesser one, however its distance is
    /// rounded, and even where that is infinite: so what passes the edges is exact.
    #[inline]
    fn cell(&self, value: f64) -> usize {
        /// 2^52: the lowest digits of what is as far above it are those of a whole number.
        const WHOLE: f64 = 4_503_599_627_370_496.0;
        const LAST: f64 = (CELLS - 1) as f64;
        let cell = (value - self.least) * self.per_unit;
        // What is below the first edge, or no number, is in the first cell.
        let cell = if cell > 0.0 { cell } else { 0.0 };
        let cell = if cell < LAST { cell } else { LAST };
        (cell + WHOLE).to_bits() as usize % CELLS
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
        let counted = if !value.is_finite() {
            &mut self.not_finite
        } else {
            let passed = edges.passed(value);
            // The last bin holds its upper edge, too.
            let is_last = passed > edges.bins() && value == edges.edges[passed - 1];
            match passed.checked_sub(1) {
                None => &mut self.below,
                Some(bin) => match self.counts.get_mut(bin - usize::from(is_last)) {
                    Some(counted) => counted,
                    None => &mut self.above,
                },
            }
        };
        *counted = counted.saturating_add(1);
        Ok(())
    }

    /// Takes finite values, fewer than 2^32, with the edges that it was begun with.
    pub(crate) fn add_finite(&mut self, edges: &Edges, values: &[f64]) {
        match edges.cells.edges_max {
            1 => self.add_by(edges, values, |value| edges.passed_within::<1>(value)),
            2 => self.add_by(edges, values, |value| edges.passed_within::<2>(value)),
            _ => self.add_by(edges, values, |value| edges.passed(value)),
        }
    }

    fn add_by(&mut self, edges: &Edges, values: &[f64], passed: impl Fn(f64) -> usize) {
        let last = edges.edges[edges.bins()];
        // By edges passed, which are no more than these.
        let (mut by_passed, mut at_last) = ([0u32; 128], 0u32);
        for value in values {
            by_passed[passed(*value) % 128] += 1;
            at_last += u32::from(*value == last);
        }
        let add = |counted: &mut u64, more: u32| *counted = counted.saturating_add(more.into());
        let [below, passed @ ..] = by_passed;
        add(&mut self.below, below);
        self.counts.iter_mut().zip(passed).for_each(|(counted, more)| add(counted, more));
        // The last bin holds its upper edge, too.
        add(&mut self.counts[edges.bins() - 1], at_last);
        add(&mut self.above, passed[edges.bins()] - at_last);
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

    /// Finite numbers of all magnitudes, many of them near each other.
    fn anywhere() -> impl Strategy<Value = f64> {
        let bits = any::<u64>().prop_map(f64::from_bits);
        let any = bits.prop_filter("finite", |value| value.is_finite());
        prop_oneof![
            3 => any,
            3 => -3f64..3.0,
            2 => (0i32..60).prop_map(|power| 1.0 + 0.5f64.powi(power)),
            1 => (-40i32..40).prop_map(|power| 2f64.powi(power)),
            1 => prop::sample::select(vec![0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324]),
        ]
    }

    proptest! {
        #[test]
        fn a_value_falls_where_a_search_of_all_edges_puts_it(
            edges in prop::collection::vec(anywhere(), 2..BINS_MAX + 2),
            values in prop::collection::vec(anywhere(), 0..40),
        ) {
            let mut edges: Vec<f64> = edges.into_iter().map(|edge| edge + 0.0).collect();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            prop_assume!(edges.len() > 1);
            let near = edges.iter().flat_map(|edge| [edge.next_down(), *edge, edge.next_up()]);
            let values: Vec<f64> = near.chain(values).filter(|value| value.is_finite()).collect();
            let edges = Edges::new(edges).unwrap();
            let mut bins = Bins::new(&edges);
            let (mut below, mut above, mut counts) = (0, 0, vec![0u64; edges.bins()]);
            for value in &values {
                bins.add(&edges, *value).unwrap();
                let last = edges.bins() - 1;
                match edges.edges.partition_point(|edge| edge <= value) {
                    _ if *value > edges.edges[last + 1] => above += 1,
                    0 => below += 1,
                    passed => counts[(passed - 1).min(last)] += 1,
                }
            }
            prop_assert_eq!((bins.below(), bins.counts(), bins.above()), (below, &*counts, above));
        }

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
