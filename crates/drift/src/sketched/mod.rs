//! Drift from sketches: scores of what devices count, each between two bounds that always hold. None of them
//! goes by the name of an exact method.

mod column;
mod known;
mod score;
mod survey;

pub use column::{ColumnSketch, Marks, OtherMarks, QUANTILE_BINS, quantile_edges};
pub use known::{Estimate, median};
pub use score::{NoScore, SketchMethod, SketchScore, VALUES_MIN, score};
pub use survey::{NoMarks, Survey, category};

#[cfg(test)]
mod tests;
