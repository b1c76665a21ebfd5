//! One value for every column of a tensor, or one for each.

use super::finite;
use serde::{Deserialize, Serialize};

/// Values that a description may list.
const VALUES_MAX: usize = 1 << 16;

/// One value for every column, or a list with one for each. The columns are the last dimension; a tensor
/// of one dimension has one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be one value, or a list with one for each column")]
pub enum Each<T> {
    /// The same for every column.
    All(T),
    /// One for each, in order.
    Columns(Vec<T>),
}

impl<T: Clone> Each<T> {
    /// The values of a tensor with so many columns.
    ///
    /// # Errors
    /// Where the list has another length.
    pub fn spread(&self, key: &str, columns: usize) -> Result<Vec<T>, String> {
        self.check_columns(key, columns)?;
        Ok(match self {
            Each::All(value) => vec![value.clone(); columns],
            Each::Columns(values) => values.clone(),
        })
    }

    /// Checks that it has a value for each of so many columns.
    ///
    /// # Errors
    /// Where the list has another length.
    pub fn check_columns(&self, key: &str, columns: usize) -> Result<(), String> {
        match self {
            Each::Columns(values) if values.len() != columns => {
                Err(format!("{key} has {} values for {columns} columns", values.len()))
            }
            _ => Ok(()),
        }
    }

    /// All values that are written down.
    pub fn values(&self) -> &[T] {
        match self {
            Each::All(value) => std::slice::from_ref(value),
            Each::Columns(values) => values,
        }
    }
}

impl Each<f64> {
    /// Checks that there are values, and that each is a number.
    pub(super) fn check(&self, key: &str) -> Result<(), String> {
        check_length(key, self.values().len())?;
        self.values().iter().try_for_each(|value| finite(key, *value))
    }
}

impl Each<String> {
    /// The value of a column; empty where the list ends before it.
    pub fn of(&self, column: usize) -> &str {
        match self {
            Each::All(value) => value,
            Each::Columns(values) => values.get(column).map_or("", String::as_str),
        }
    }

    /// Checks that there are units, and that none is empty.
    pub(crate) fn check(&self, key: &str) -> Result<(), String> {
        check_length(key, self.values().len())?;
        match self.values().iter().any(String::is_empty) {
            true => Err(format!("{key} has an empty unit: \"1\" is what has none")),
            false => Ok(()),
        }
    }
}

/// Checks how long a list of values is.
pub(super) fn check_length(key: &str, length: usize) -> Result<(), String> {
    match (1..=VALUES_MAX).contains(&length) {
        true => Ok(()),
        false => Err(format!("{key} has {length} values, 1 to {VALUES_MAX} are possible")),
    }
}
