//! What is said of a column, and of all of them together.

use crate::column::{Column, Kind};
use crate::method::Method;
use crate::pair::{Numbers, Sample, Tally};
use std::fmt;

/// A dataset has drifted if at least this share of its columns has.
pub const DRIFT_SHARE: f64 = 0.5;
/// The share of missing values may be this share of itself off the reference's.
pub const MISSING_TOLERANCE: f64 = 0.1;
/// Shares that differ by no more than this are equal whatever they are.
const MISSING_TOLERANCE_ABSOLUTE: f64 = 1e-12;

/// One of the two datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is known to be good.
    Reference,
    /// What is compared with it.
    Current,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Reference => "reference",
            Side::Current => "current data",
        })
    }
}

/// Why there is no score for a column.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotComputable {
    /// Nothing but missing values and infinities.
    #[error("the {side} has no valid value: look at what writes the column")]
    Empty {
        /// Where.
        side: Side,
    },
    /// No method is for text.
    #[error(
        "it holds text, more than half of which is distinct: take it as categorical, or leave it out"
    )]
    Text,
    /// A numerical column with texts in it.
    #[error("the {side} holds what is no number: take the column as categorical, or mend the data")]
    NotNumbers {
        /// Where.
        side: Side,
    },
    /// The method that was named is not for this kind.
    #[error("{method} is not for {} columns: choose among {}", .kind.name(), methods_for(*.kind))]
    Applies {
        /// The method.
        method: Method,
        /// The column's kind.
        kind: Kind,
    },
    /// Too few values.
    #[error("{method} needs at least {needed} values on each side, and the {side} has {rows}")]
    TooFew {
        /// The method.
        method: Method,
        /// Fewest values that it takes.
        needed: usize,
        /// Where there are fewer.
        side: Side,
        /// Those that are there.
        rows: usize,
    },
    /// Too few values on both sides together.
    #[error("{method} needs more values than the {rows} of both sides: collect more, or choose ks")]
    TooFewTogether {
        /// The method.
        method: Method,
        /// Those that are there.
        rows: usize,
    },
    /// Every value, or the middle half, is one and the same.
    #[error("{method} needs values that differ, and {what} is one value: choose another method")]
    Constant {
        /// The method.
        method: Method,
        /// What does not differ.
        what: &'static str,
    },
    /// More than two values, where the method is for two.
    #[error("{method} is for two values, and there are {values}: choose chisquare")]
    NotBinary {
        /// The method.
        method: Method,
        /// Those that are there.
        values: usize,
    },
    /// The sides differ in length, where they may not.
    #[error(
        "{method} needs as many values on both sides, and there are {reference} and {current}: choose \
         chisquare"
    )]
    Lengths {
        /// The method.
        method: Method,
        /// Values of the reference.
        reference: u64,
        /// Values of the current data.
        current: u64,
    },
    /// Numbers and texts have no order.
    #[error("{method} needs an order, and the column has numbers and texts: choose chisquare")]
    Mixed {
        /// The method.
        method: Method,
    },
    /// Numbers so large or so close that no bins can be made.
    #[error(
        "the values from {least} to {greatest} cannot be divided into bins: choose ks or wasserstein"
    )]
    Bins {
        /// Smallest value.
        least: f64,
        /// Largest value.
        greatest: f64,
    },
    /// More ways to count than can be counted.
    #[error(
        "{method} counts exactly where one side has eight values or fewer, and these are too many to \
             count: choose ks"
    )]
    TooMany {
        /// The method.
        method: Method,
    },
    /// The formula divides nought by nought.
    #[error(
        "{method} has no value for these data, such as where nothing differs: choose another method"
    )]
    Undefined {
        /// The method.
        method: Method,
    },
}

fn methods_for(kind: Kind) -> String {
    let methods = Method::ALL.into_iter().filter(|method| method.applies_to(kind));
    methods.map(Method::name).collect::<Vec<_>>().join(", ")
}

/// What a person wants for a column, instead of what is inferred.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Choice {
    /// Its kind; that of the current data if none.
    pub kind: Option<Kind>,
    /// The method; by [`Method::default_for`] if none.
    pub method: Option<Method>,
    /// The threshold; the method's own if none.
    pub threshold: Option<f64>,
}

/// The score of a column and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The method that gave it.
    pub method: Method,
    /// A p-value (0 to 1) for tests, a distance (0 and above, possibly infinite) for others. Never NaN.
    pub score: f64,
    /// What it is held against.
    pub threshold: f64,
    /// Whether it is drift, by the method's [comparison](Method::comparison).
    pub drifted: bool,
}

/// How much of a column is missing: a signal of its own, since every method looks at what is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Missing {
    /// Share of the reference's rows (0 to 1), NaN and gaps; 0 without rows.
    pub reference: f64,
    /// Share of the current rows.
    pub current: f64,
    /// Whether the current share is off the reference's by more than [`MISSING_TOLERANCE`] of it (Evidently
    /// 0.7.23: the default test of a column's missing values against a reference). It does not count for
    /// [`DatasetDrift`].
    pub drifted: bool,
}

/// What is said of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDrift {
    /// What it was taken for.
    pub kind: Kind,
    /// The score, or why there is none.
    pub score: Result<Score, NotComputable>,
    /// What is missing on both sides.
    pub missing: Missing,
}

/// Compares the current data of a column with the reference.
///
/// Missing values and infinities are left out on each side, and the rest is compared by the method that was
/// chosen or by the default one. What cannot be compared is told in [`ColumnDrift::score`].
pub fn compare(reference: &Column, current: &Column, choice: &Choice) -> ColumnDrift {
    let kind = choice.kind.unwrap_or_else(|| current.kind());
    let score = score(reference, current, kind, choice);
    ColumnDrift { kind, score, missing: Missing::of(reference, current) }
}

fn score(
    reference: &Column,
    current: &Column,
    kind: Kind,
    choice: &Choice,
) -> Result<Score, NotComputable> {
    let tally = Tally::of(reference, current);
    if tally.rows.0 == 0 {
        return Err(NotComputable::Empty { side: Side::Reference });
    }
    if tally.rows.1 == 0 {
        return Err(NotComputable::Empty { side: Side::Current });
    }
    let numbers = match kind {
        Kind::Numerical => Some(numbers(reference, current)?),
        Kind::Categorical | Kind::Text => None,
    };
    let default = Method::default_for(kind, tally.rows.0, tally.counts.len());
    let method = choice.method.or(default).ok_or(NotComputable::Text)?;
    if choice.method.is_some() && !method.applies_to(kind) {
        return Err(match kind {
            Kind::Text => NotComputable::Text,
            _ => NotComputable::Applies { method, kind },
        });
    }
    let score = method.score(numbers.as_ref(), &tally)?;
    let threshold = choice.threshold.unwrap_or(method.default_threshold());
    Ok(Score { method, score, threshold, drifted: method.comparison().is_drift(score, threshold) })
}

fn numbers(reference: &Column, current: &Column) -> Result<Numbers, NotComputable> {
    let side = |column: &Column, side| column.finite().ok_or(NotComputable::NotNumbers { side });
    let (reference, whole) = side(reference, Side::Reference)?;
    let (current, as_well) = side(current, Side::Current)?;
    Ok(Numbers {
        reference: Sample::new(reference),
        current: Sample::new(current),
        whole: whole && as_well,
    })
}

impl Missing {
    fn of(reference: &Column, current: &Column) -> Missing {
        let share = |column: &Column| column.missing() as f64 / column.rows().max(1) as f64;
        Missing::of_shares(share(reference), share(current))
    }

    /// Compares two shares of missing values (0 to 1).
    pub fn of_shares(reference: f64, current: f64) -> Missing {
        let tolerance = (reference * MISSING_TOLERANCE).max(MISSING_TOLERANCE_ABSOLUTE);
        let drifted = current < reference - tolerance || current > reference + tolerance;
        Missing { reference, current, drifted }
    }
}

/// What is said of all columns together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DatasetDrift {
    /// Columns with a score.
    pub columns: usize,
    /// Those of them that have drifted.
    pub drifted: usize,
}

impl DatasetDrift {
    /// Counts columns. Those without a score are left out.
    pub fn of<'a>(columns: impl IntoIterator<Item = &'a ColumnDrift>) -> DatasetDrift {
        let mut all = DatasetDrift { columns: 0, drifted: 0 };
        for score in columns.into_iter().flat_map(|column| &column.score) {
            all.columns += 1;
            all.drifted += usize::from(score.drifted);
        }
        all
    }

    /// The share of columns that has drifted (0 to 1); none without a score in any column.
    pub fn share(self) -> Option<f64> {
        (self.columns > 0).then(|| self.drifted as f64 / self.columns as f64)
    }

    /// Whether the dataset has drifted: the share is at least `drift_share`, usually [`DRIFT_SHARE`].
    pub fn is_drift(self, drift_share: f64) -> bool {
        self.share().is_some_and(|share| share >= drift_share)
    }
}

#[cfg(test)]
mod tests;
