//! A column as it is counted: over which edges or categories, and what came of it.

use crate::column::Kind;
use lineside_sketch::{
    Categories, CategoryColumn, DecodeError, Edges, MergeError, NumberColumn, OtherCategories,
    Sketch, TextColumn,
};

/// Bins that a profile's edges make of numbers, each of which holds as much of the reference.
pub const QUANTILE_BINS: usize = 20;

/// What the values of a column are counted over, so that two counts compare.
#[derive(Debug, Clone, PartialEq)]
pub enum Marks {
    /// Of numbers.
    Edges(Edges),
    /// Of texts.
    Categories(Categories),
}

/// What was counted of a column: on a device in an interval, of a file, or of the reference.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnSketch {
    /// Of numbers.
    Numbers(NumberColumn),
    /// Of texts.
    Categories(CategoryColumn),
}

/// A value or a sketch that does not belong to a column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherMarks {
    /// Numbers over other edges.
    #[error(transparent)]
    Edges(#[from] MergeError),
    /// Texts over other categories.
    #[error(transparent)]
    Categories(#[from] OtherCategories),
    /// A text where numbers are, or the other way around.
    #[error("one is of numbers and the other of categories: take both from the same profile")]
    Kinds,
}

impl Marks {
    /// A sketch over them that has taken nothing yet.
    pub fn empty(&self) -> ColumnSketch {
        match self {
            Marks::Edges(edges) => ColumnSketch::Numbers(NumberColumn::new(Some(edges))),
            Marks::Categories(names) => ColumnSketch::Categories(CategoryColumn::new(names)),
        }
    }

    /// What they are for.
    pub fn kind(&self) -> Kind {
        match self {
            Marks::Edges(_) => Kind::Numerical,
            Marks::Categories(_) => Kind::Categorical,
        }
    }

    /// What a device has counted as texts, as if over these categories; its `true` and `false` are `1` and `0`
    /// where the profile has these in their place. None over edges.
    ///
    /// Exact up to 32 different texts. Beyond, categories have the lower bounds of their counts, and whatever is
    /// above them counts as no category: they are not taken for what they may not be.
    pub fn of_texts(&self, texts: &TextColumn) -> Option<ColumnSketch> {
        let Marks::Categories(categories) = self else { return None };
        let names = categories.names();
        let is_name = |text: &str| names.binary_search_by(|name| name.as_str().cmp(text)).is_ok();
        let mut column = CategoryColumn::new(categories);
        column.add_missing_rows(texts.missing());
        let frequent = texts.frequent();
        let mut counted = 0u64;
        for name in names {
            let stands_for = match name.as_str() {
                "1" if !is_name("true") => Some("true"),
                "0" if !is_name("false") => Some("false"),
                _ => None,
            };
            for text in [Some(name.as_str()), stands_for].into_iter().flatten() {
                let times = frequent.estimate(text).low;
                column.add_times(categories, name, times).ok()?;
                counted = counted.saturating_add(times);
            }
        }
        let other = frequent.count_all().saturating_sub(counted);
        // Nobody asks for its name: it only has to be none of theirs.
        let mut name = "other".to_owned();
        while is_name(&name) {
            name.push('\'');
        }
        column.add_times(categories, &name, other).ok()?;
        Some(ColumnSketch::Categories(column))
    }

    /// Whether a sketch was counted over them.
    pub fn are_of(&self, sketch: &ColumnSketch) -> bool {
        match (self, sketch) {
            (Marks::Edges(edges), ColumnSketch::Numbers(numbers)) => {
                numbers.bins().is_some_and(|bins| bins.edges() == edges.id())
            }
            (Marks::Categories(names), ColumnSketch::Categories(column)) => {
                column.counts().categories() == names.id()
            }
            _ => false,
        }
    }
}

impl ColumnSketch {
    /// Takes a number; NaN is missing. Where categories are counted, it is the text of it.
    ///
    /// # Errors
    /// [`OtherMarks`]; then nothing is counted.
    pub fn add_number(&mut self, marks: &Marks, value: f64) -> Result<(), OtherMarks> {
        if value.is_nan() {
            self.add_missing();
            return Ok(());
        }
        match (self, marks) {
            (ColumnSketch::Numbers(numbers), Marks::Edges(edges)) => {
                Ok(numbers.add(Some(edges), value)?)
            }
            (ColumnSketch::Categories(column), Marks::Categories(names)) => {
                Ok(column.add(names, &(value + 0.0).to_string())?)
            }
            _ => Err(OtherMarks::Kinds),
        }
    }

    /// Takes numbers, as [`ColumnSketch::add_number`] takes each, in a fraction of the time.
    ///
    /// # Errors
    /// [`OtherMarks`]; then nothing is counted.
    pub fn add_numbers(&mut self, marks: &Marks, values: &[f64]) -> Result<(), OtherMarks> {
        match (&mut *self, marks) {
            (ColumnSketch::Numbers(numbers), Marks::Edges(edges))
                if !values.iter().any(|value| value.is_nan()) =>
            {
                Ok(numbers.add_all(Some(edges), values)?)
            }
            _ => values.iter().try_for_each(|value| self.add_number(marks, *value)),
        }
    }

    /// Takes a text.
    ///
    /// # Errors
    /// [`OtherMarks`]; then nothing is counted.
    pub fn add_text(&mut self, marks: &Marks, text: &str) -> Result<(), OtherMarks> {
        match (self, marks) {
            (ColumnSketch::Categories(column), Marks::Categories(names)) => {
                Ok(column.add(names, text)?)
            }
            _ => Err(OtherMarks::Kinds),
        }
    }

    /// Takes a row without a value.
    pub fn add_missing(&mut self) {
        match self {
            ColumnSketch::Numbers(numbers) => numbers.add_missing(),
            ColumnSketch::Categories(column) => column.add_missing(),
        }
    }

    /// Takes what another has counted.
    ///
    /// # Errors
    /// [`OtherMarks`]; then nothing is counted.
    pub fn merge(&mut self, other: &ColumnSketch) -> Result<(), OtherMarks> {
        match (self, other) {
            (ColumnSketch::Numbers(numbers), ColumnSketch::Numbers(more)) => {
                Ok(numbers.merge(more)?)
            }
            (ColumnSketch::Categories(column), ColumnSketch::Categories(more)) => {
                Ok(column.merge(more)?)
            }
            _ => Err(OtherMarks::Kinds),
        }
    }

    /// What it is of.
    pub fn kind(&self) -> Kind {
        match self {
            ColumnSketch::Numbers(_) => Kind::Numerical,
            ColumnSketch::Categories(_) => Kind::Categorical,
        }
    }

    /// Values that methods look at: finite numbers, or texts.
    pub fn values(&self) -> u64 {
        match self {
            ColumnSketch::Numbers(numbers) => numbers.moments().count(),
            ColumnSketch::Categories(column) => column.counts().count_all(),
        }
    }

    /// Rows, those without a value among them, and infinities.
    pub fn rows(&self) -> u64 {
        let infinities = match self {
            ColumnSketch::Numbers(numbers) => numbers.histogram().not_finite(),
            ColumnSketch::Categories(_) => 0,
        };
        self.values().saturating_add(infinities).saturating_add(self.missing())
    }

    /// Rows without a value.
    pub fn missing(&self) -> u64 {
        match self {
            ColumnSketch::Numbers(numbers) => numbers.missing(),
            ColumnSketch::Categories(column) => column.missing(),
        }
    }

    /// The share of rows without a value (0 to 1), exact; 0 without rows.
    pub fn missing_share(&self) -> f64 {
        self.missing() as f64 / self.rows().max(1) as f64
    }

    /// Its bytes, as [`Sketch::encode`] has them.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ColumnSketch::Numbers(numbers) => numbers.encode(),
            ColumnSketch::Categories(column) => column.encode(),
        }
    }

    /// Reads a sketch of a column of this kind.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<ColumnSketch, DecodeError> {
        match kind {
            Kind::Numerical => NumberColumn::decode(bytes).map(ColumnSketch::Numbers),
            Kind::Categorical | Kind::Text => {
                CategoryColumn::decode(bytes).map(ColumnSketch::Categories)
            }
        }
    }
}

/// Edges of which any two neighbours have as much of `sample` between them, from the least to the greatest of
/// all values: at most [`QUANTILE_BINS`] and one more. None without a finite value.
///
/// `sample` is a part of the values, in any order, shape `[n]`; `range` the extremes of all of them. A value that
/// fills whole bins has one of its own.
pub fn quantile_edges(mut sample: Vec<f64>, range: (f64, f64)) -> Option<Edges> {
    sample.retain(|value| value.is_finite());
    sample.sort_by(f64::total_cmp);
    let at = |step: usize| {
        let rank = (step * sample.len()).div_ceil(QUANTILE_BINS).max(1);
        sample.get(rank - 1).copied()
    };
    let (least, greatest) = range;
    let mut edges = vec![least];
    for step in 1..QUANTILE_BINS {
        edges.push(at(step)?.clamp(least, greatest));
    }
    let is_heavy = edges.last() == Some(&greatest);
    edges.push(greatest);
    if is_heavy {
        // The last bin holds both its edges, so the greatest value has to be its lower one.
        edges.push(greatest.next_up());
    }
    edges.iter_mut().for_each(|edge| *edge += 0.0);
    edges.dedup();
    edges.retain(|edge| edge.is_finite());
    if edges.len() == 1 {
        edges.insert(0, greatest.next_down());
    }
    Edges::new(edges).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(sample: &[f64]) -> Vec<f64> {
        let least = sample.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = sample.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        quantile_edges(sample.to_vec(), (least, greatest)).unwrap().edges().to_vec()
    }

    #[test]
    fn bins_hold_as_much_and_what_fills_them_has_its_own() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = edges(&hundred);
        assert_eq!((found.len(), &found[..3], found[20]), (21, &[1.0, 5.0, 10.0][..], 100.0));
        assert_eq!(edges(&[0.0, 1.0, 1.0, 0.0]), [0.0, 1.0, 1.0f64.next_up()]);
        assert_eq!(edges(&[7.5; 9]), [7.5, 7.5f64.next_up()]);
        assert_eq!(edges(&[f64::MAX; 2]), [f64::MAX.next_down(), f64::MAX]);
        assert_eq!(quantile_edges(vec![f64::NAN], (0.0, 1.0)), None);
    }

    #[test]
    fn what_a_device_counts_as_true_and_false_is_compared_with_one_and_nought() {
        let counts = |names: &[&str], texts: &[(&str, u64)]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let marks = Marks::Categories(Categories::new(names).unwrap());
            let mut column = TextColumn::default();
            texts.iter().for_each(|(text, times)| column.add_times(text, *times));
            column.add_missing_rows(5);
            let sketch = marks.of_texts(&column).unwrap();
            assert!(marks.are_of(&sketch));
            assert_eq!((sketch.missing(), sketch.rows()), (5, column.frequent().count_all() + 5));
            let ColumnSketch::Categories(column) = sketch else { panic!("{column:?}") };
            (column.counts().counts().to_vec(), column.counts().other())
        };
        let verdicts = [("true", 7), ("false", 1_000_000)];
        assert_eq!(counts(&["0", "1"], &verdicts), (vec![1_000_000, 7], 0));
        // A device that has never said yes, and a profile that had never seen it.
        assert_eq!(counts(&["0", "1"], &verdicts[1..]), (vec![1_000_000, 0], 0));
        assert_eq!(counts(&["0"], &verdicts), (vec![1_000_000], 7));
        // Where the profile has the words themselves, they are what they are.
        assert_eq!(counts(&["1", "false", "true"], &verdicts), (vec![0, 1_000_000, 7], 0));
        assert_eq!(counts(&["other", "worn"], &[("worn", 3), ("torn", 2)]), (vec![0, 3], 2));
        // Of more texts than are counted one by one no category gets more than it certainly has.
        let many: Vec<String> = (0..500).map(|at| format!("part {at}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 2)).collect();
        let (named, other) = counts(&["part 7", "part 8"], &many);
        assert!(named.iter().all(|count| *count <= 2), "{named:?}");
        assert_eq!(named.iter().sum::<u64>() + other, 1_000);
        let edges = Marks::Edges(Edges::new(vec![0.0, 1.0]).unwrap());
        assert_eq!(edges.of_texts(&TextColumn::default()), None);
    }

    #[test]
    fn numbers_and_texts_do_not_mix() {
        let numbers = Marks::Edges(Edges::new(vec![0.0, 1.0]).unwrap());
        let texts = Marks::Categories(Categories::new(vec!["1".into(), "a".into()]).unwrap());
        let mut sketch = numbers.empty();
        assert_eq!(sketch.add_text(&numbers, "a"), Err(OtherMarks::Kinds));
        assert_eq!(sketch.merge(&texts.empty()), Err(OtherMarks::Kinds));
        sketch.add_number(&numbers, f64::NAN).unwrap();
        sketch.add_number(&numbers, f64::INFINITY).unwrap();
        sketch.add_number(&numbers, 0.5).unwrap();
        assert_eq!((sketch.values(), sketch.missing(), sketch.rows()), (1, 1, 3));
        let mut sketch = texts.empty();
        sketch.add_number(&texts, 1.0).unwrap();
        sketch.add_text(&texts, "b").unwrap();
        let ColumnSketch::Categories(column) = &sketch else { panic!("{sketch:?}") };
        assert_eq!((column.counts().counts(), column.counts().other()), (&[1, 0][..], 1));
        assert_eq!(ColumnSketch::decode(Kind::Categorical, &sketch.encode()), Ok(sketch));
    }
}
