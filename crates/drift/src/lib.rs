//! Drift of a column between a reference and current data, from all of their values: the tests and distances
//! of Evidently 0.7.23 (with scipy 1.17 and numpy 2) that draw no random number and are not about text or
//! embeddings, with its default choice of method, its thresholds and its comparisons.
//!
//! And from sketches, which devices send and files need no memory for: [`SketchMethod`], under names of their own
//! and between stated bounds. A [`Profile`] is what a bundle takes from its training data along, to be compared
//! with.
//!
//! Opens no file or socket, reads no clock, draws no random number.

mod calibrated;
mod column;
mod function;
mod method;
mod pair;
mod profile;
pub mod quality;
mod sketched;
mod sum;
mod verdict;

pub use calibrated::{Expected, expected};
pub use column::{Column, INTEGER_CATEGORIES_MAX, Kind, TEXT_SHARE, Token};
pub use method::{Comparison, DEFAULT_ROWS, Method, UnknownMethod};
pub use profile::{
    COLUMNS_MAX, Chunk, ColumnProfile, Judged, Learnt, Limits, Observed, PROFILE_BYTES_MAX,
    Profile, ProfileError, Role, SIGMAS, Statistic, Statistics, learn,
};
pub use sketched::{
    ColumnSketch, Estimate, Marks, NoMarks, NoScore, OtherMarks, QUANTILE_BINS, SketchMethod,
    SketchScore, Survey, VALUES_MIN, category, median, quantile_edges, score,
};
pub use verdict::{
    Choice, ColumnDrift, DRIFT_SHARE, DatasetDrift, MISSING_TOLERANCE, Missing, NotComputable,
    Score, Side, compare,
};
