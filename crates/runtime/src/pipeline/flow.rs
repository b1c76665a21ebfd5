//! What is known of a tensor on its way from stage to stage before one has come.

use crate::tensor::{Element, Port, Tensor};
use lineside_bundle::stages::Each;

/// A tensor between two stages: its port, and what its numbers mean as far as that is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    /// Name, element type and shape.
    pub port: Port,
    /// The units of its columns. A tensor of one dimension has one column.
    pub units: Units,
    /// Where its rows are readings, or follow them: rows by which it moves on from a frame to the next.
    pub stride: Option<usize>,
}

impl Flow {
    /// A tensor of which nothing but its port is known.
    pub(super) fn of(port: Port) -> Flow {
        Flow { port, units: Units::All(String::new()), stride: None }
    }

    /// The only output of a stage, of which nothing more is known.
    ///
    /// # Errors
    /// What is too large to be passed on.
    pub(super) fn new(element: Element, shape: Vec<usize>) -> Result<Flow, String> {
        Flow::named("", element, shape)
    }

    /// As [`Flow::new`], one output of several.
    ///
    /// # Errors
    /// As [`Flow::new`].
    pub(super) fn named(name: &str, element: Element, shape: Vec<usize>) -> Result<Flow, String> {
        Ok(Flow::of(Port::new(name.to_owned(), element, shape).map_err(|error| error.to_string())?))
    }

    /// The same in these units.
    pub(super) fn in_units(self, units: impl Into<Units>) -> Flow {
        Flow { units: units.into(), ..self }
    }

    /// The same moving on by as many rows as `other`.
    pub(super) fn moving_as(self, other: &Flow) -> Flow {
        Flow { stride: other.stride, ..self }
    }

    /// Checks that it is in these units, as far as anybody knows its own.
    ///
    /// # Errors
    /// Which column is in which unit instead.
    pub(super) fn check_units(&self, key: &str, wanted: &Each<String>) -> Result<(), String> {
        let columns = self.columns();
        wanted.check_columns(key, columns)?;
        let mut pairs = (0..columns).map(|at| (at, self.units.of(at), wanted.of(at)));
        match pairs.find(|(_, unit, wanted)| !unit.is_empty() && unit != wanted) {
            None => Ok(()),
            Some((column, unit, wanted)) if columns > 1 => {
                Err(format!("column {column} in {unit}: {wanted} is needed"))
            }
            Some((_, unit, wanted)) => Err(format!("in {unit}: {wanted} is needed")),
        }
    }

    /// How many columns it has.
    pub(super) fn columns(&self) -> usize {
        columns(self.port.shape())
    }
}

/// The units of columns; empty where nobody has said. What a file declares may have millions of columns:
/// what they have in common is there once.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Units {
    /// One for all.
    All(String),
    /// One for each.
    Each(Vec<String>),
}

impl Units {
    /// The unit of a column; empty where nobody has said.
    pub(super) fn of(&self, column: usize) -> &str {
        match self {
            Units::All(unit) => unit,
            Units::Each(units) => units.get(column).map_or("", String::as_str),
        }
    }
}

impl From<&str> for Units {
    fn from(unit: &str) -> Units {
        Units::All(unit.to_owned())
    }
}

impl From<Vec<String>> for Units {
    fn from(units: Vec<String>) -> Units {
        Units::Each(units)
    }
}

impl From<&Each<String>> for Units {
    fn from(each: &Each<String>) -> Units {
        match each {
            Each::All(unit) => Units::All(unit.clone()),
            Each::Columns(units) => Units::Each(units.clone()),
        }
    }
}

/// The columns of a tensor of this shape: its last dimension, or one where it has no other.
fn columns(shape: &[usize]) -> usize {
    match shape {
        [] | [_] => 1,
        [.., columns] => *columns,
    }
}

/// The elements of a tensor as numbers; none of bytes.
pub(super) fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    (0..tensor.len()).map(|index| tensor.data().number(index)).collect()
}
