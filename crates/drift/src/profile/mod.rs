//! The profile of a bundle: what its columns looked like in the training data, and how far good data stray.

mod learnt;
mod written;

pub use learnt::{Judged, Learnt, Limits, Observed, SIGMAS, Statistic, Statistics, learn};
pub use written::PROFILE_BYTES_MAX;

use crate::sketched::{ColumnSketch, Marks, NoScore, SketchMethod, SketchScore, score};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Columns that a profile may have.
pub const COLUMNS_MAX: usize = 512;
/// Longest name of a column in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Where a column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A field of the readings. Where a bundle has several ports, its name is `port.field`.
    Input,
    /// An output of the bundle.
    Output,
}

/// What the limits were learnt from, and therefore are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunk {
    /// Intervals of the readings' own time, in milliseconds since 1970.
    Milliseconds(i64),
    /// So many rows.
    Rows(u64),
}

/// A column of the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// What telemetry calls it, too.
    pub name: String,
    /// Whether it comes in or goes out.
    pub role: Role,
    /// What its values are counted over.
    pub marks: Marks,
    /// What was counted in the training data.
    pub reference: ColumnSketch,
    /// How the current data are compared with that.
    pub method: SketchMethod,
    /// What a score is held against, where nothing was learnt: a constant.
    pub threshold: f64,
    /// Limits from chunks of the training data.
    pub learnt: Option<Learnt>,
}

/// What a bundle's columns looked like in its training data.
///
/// It is written as JSON ([`Profile::to_json`]); equal profiles give equal bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    models: BTreeMap<String, String>,
    chunk: Option<Chunk>,
    values_min: u64,
    columns: Vec<ColumnProfile>,
}

/// Why something is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// More bytes than are read.
    #[error("{0} bytes, {PROFILE_BYTES_MAX} are allowed: profile fewer columns")]
    Size(usize),
    /// Not the JSON we write.
    #[error("it cannot be read: build it anew by `lineside profile build`")]
    Json(#[from] serde_json::Error),
    /// Written by a later program.
    #[error("format {0} is not known here: update this program, or build the profile anew")]
    Format(u32),
    /// Columns that are too many, or not in order.
    #[error("{0}: build it anew by `lineside profile build`")]
    Columns(String),
    /// Something about a column.
    #[error("column {name}: {problem}: build it anew by `lineside profile build`")]
    Column {
        /// The column.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Profile {
    /// A profile of these columns, inputs before outputs, each by its name. There is no score for less than
    /// `values_min` values.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn new(
        chunk: Option<Chunk>,
        values_min: u64,
        columns: Vec<ColumnProfile>,
    ) -> Result<Profile, ProfileError> {
        if columns.is_empty() || columns.len() > COLUMNS_MAX {
            let problem = format!("{} columns, where there are 1 to {COLUMNS_MAX}", columns.len());
            return Err(ProfileError::Columns(problem));
        }
        if matches!(chunk, Some(Chunk::Milliseconds(..=0) | Chunk::Rows(0))) {
            return Err(ProfileError::Columns("chunks of no length".into()));
        }
        let place = |column: &ColumnProfile| (column.role, column.name.clone());
        if let Some(pair) = columns.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
            let problem = format!("column {} is not behind the one before it", pair[1].name);
            return Err(ProfileError::Columns(problem));
        }
        for column in &columns {
            column
                .check()
                .map_err(|problem| ProfileError::Column { name: column.name.clone(), problem })?;
        }
        Ok(Profile { models: BTreeMap::new(), chunk, values_min, columns })
    }

    /// The same, of outputs that these models gave: digests by path.
    pub fn of_models(self, models: BTreeMap<String, String>) -> Profile {
        Profile { models, ..self }
    }

    /// The models that gave its outputs, digests by path. Of other models they say nothing.
    pub fn models(&self) -> &BTreeMap<String, String> {
        &self.models
    }

    /// What its limits were learnt from.
    pub fn chunk(&self) -> Option<Chunk> {
        self.chunk
    }

    /// Values below which there is no score.
    pub fn values_min(&self) -> u64 {
        self.values_min
    }

    /// Its columns, inputs before outputs, each by its name.
    pub fn columns(&self) -> &[ColumnProfile] {
        &self.columns
    }

    /// The column of this name.
    pub fn column(&self, role: Role, name: &str) -> Option<&ColumnProfile> {
        let place = |column: &ColumnProfile| (column.role, column.name.as_str()).cmp(&(role, name));
        self.columns.binary_search_by(place).ok().map(|at| &self.columns[at])
    }
}

impl ColumnProfile {
    /// Compares what was counted with the training data, by the constants.
    ///
    /// # Errors
    /// [`NoScore`].
    pub fn score(&self, current: &ColumnSketch, values_min: u64) -> Result<SketchScore, NoScore> {
        let threshold = Some(self.threshold);
        score(&self.reference, current, &self.marks, self.method, threshold, values_min)
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
        }
        if !self.marks.are_of(&self.reference) {
            return Err("its reference was counted over other edges or categories".into());
        }
        if !self.method.applies_to(self.marks.kind()) {
            return Err(format!("{} is not for its kind", self.method));
        }
        if !self.threshold.is_finite() || self.threshold < 0.0 {
            return Err(format!("threshold {} must be finite and not negative", self.threshold));
        }
        self.learnt.as_ref().map_or(Ok(()), Learnt::check)
    }
}

#[cfg(test)]
mod tests;
