//! Drift of a column between a reference and current data, from all of their values: the tests and distances
//! of Evidently 0.7.23 (with scipy 1.17 and numpy 2) that draw no random number and are not about text or
//! embeddings, with its default choice of method, its thresholds and its comparisons.
//!
//! Opens no file or socket, reads no clock, draws no random number. It does not know the sketches that
//! devices send: what is estimated from those is no number of this crate.

mod column;
mod function;
mod method;
mod pair;
mod sum;
mod verdict;

pub use column::{Column, INTEGER_CATEGORIES_MAX, Kind, TEXT_SHARE};
pub use method::{Comparison, DEFAULT_ROWS, Method, UnknownMethod};
pub use verdict::{
    Choice, ColumnDrift, DRIFT_SHARE, DatasetDrift, MISSING_TOLERANCE, Missing, NotComputable,
    Score, Side, compare,
};
