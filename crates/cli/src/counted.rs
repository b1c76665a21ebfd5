//! Columns counted row by row, in constant memory: of a file, or of a bundle's pipeline over a file.

use crate::table_file::TableFile;
use anyhow::Context;
use lineside_drift::{ColumnSketch, Kind, Marks, Observed, Role, Survey, Token, category};
use lineside_rules::Range;
use lineside_runtime::{Rows, parse_time};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a row holds in a column.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// Of a table of texts.
    Text(&'a str),
    /// A number that may be a fraction.
    Number(f64),
    /// A number that is whole by its type; yes is 1 and no is 0.
    Whole(f64),
    /// Nothing, where something should be.
    Missing,
}

/// Where a row stands.
#[derive(Clone, Copy)]
pub struct Moment {
    /// Its own time in milliseconds since 1970, if it has one.
    pub time_ms: Option<i64>,
    /// Its number, from 0.
    pub number: u64,
}

/// A column that is read.
pub struct SourceColumn {
    pub name: String,
    pub role: Role,
    /// What it holds, where that is known beforehand.
    pub kind: Option<Kind>,
    /// Values that are plausible.
    pub range: Option<Range>,
}

/// Takes a cell: by the place of its column.
pub type Sink<'a> = dyn FnMut(usize, Moment, Cell<'_>) + Send + 'a;

/// What was read beside the cells.
#[derive(Debug, Default, Clone, Copy)]
pub struct Read {
    pub rows: u64,
    /// Rows that cannot be read, and frames without an answer.
    pub unreadable: u64,
    /// Rows whose time cannot be read.
    pub untimed: u64,
}

/// Rows that can be read again and again.
pub trait Source: Sync {
    /// The columns, by their places.
    fn columns(&self) -> &[SourceColumn];
    /// Reads all rows from the first one on.
    fn read(&self, sink: &mut Sink<'_>) -> anyhow::Result<Read>;
}

/// A file by itself.
pub struct FileSource {
    path: PathBuf,
    columns: Vec<SourceColumn>,
    time: Option<usize>,
}

impl FileSource {
    /// A file whose columns are what they look like. The column `time`, or else one of that name, has the time of
    /// a row and is no other column.
    ///
    /// # Errors
    /// It is no table, two of its columns have one name, or it has no column `time`.
    pub fn open(path: &Path, time: Option<&str>) -> anyhow::Result<FileSource> {
        let rows = rows(path)?;
        let names = rows.names();
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            anyhow::bail!(
                "{} has two columns called {twice}: give each a name of its own",
                path.display()
            );
        }
        let place = |name: &str| names.iter().position(|other| other == name);
        let time = match time {
            None => None,
            Some(name) => Some(place(name).with_context(|| {
                format!(
                    "{} has no column {name}: choose among {}",
                    path.display(),
                    names.join(", ")
                )
            })?),
        };
        let column = |name: &String| SourceColumn {
            name: name.clone(),
            role: Role::Input,
            kind: None,
            range: None,
        };
        let columns = names.iter().map(column).collect();
        Ok(FileSource { path: path.to_owned(), columns, time })
    }

    /// The place of the column with the time.
    pub fn time(&self) -> Option<usize> {
        self.time
    }
}

fn rows(path: &Path) -> anyhow::Result<Rows<TableFile>> {
    let file = TableFile::open(path)?;
    Rows::open(file).with_context(|| {
        let form = "a CSV file with the names of its columns in the first line is needed";
        format!("{} is no table: {form}", path.display())
    })
}

impl Source for FileSource {
    fn columns(&self) -> &[SourceColumn] {
        &self.columns
    }

    fn read(&self, sink: &mut Sink<'_>) -> anyhow::Result<Read> {
        let mut rows = rows(&self.path)?;
        let mut read = Read::default();
        let failed = || self.path.display().to_string();
        match self.time {
            None => loop {
                let moment = Moment { time_ms: None, number: read.rows };
                let each = |at: usize, text: &str| sink(at, moment, Cell::Text(text));
                if !rows.read(each).with_context(failed)? {
                    break;
                }
                read.rows += 1;
            },
            Some(time) => {
                let mut row = vec![String::new(); self.columns.len()];
                let keep = |row: &mut Vec<String>, at: usize, text: &str| {
                    row[at].clear();
                    row[at].push_str(text);
                };
                while rows.read(|at, text| keep(&mut row, at, text)).with_context(failed)? {
                    let time_ms = parse_time(&row[time]).map(|time| time.div_euclid(1_000_000));
                    read.untimed += u64::from(time_ms.is_none());
                    let moment = Moment { time_ms, number: read.rows };
                    let cells = row.iter().enumerate().filter(|(at, _)| *at != time);
                    cells.for_each(|(at, text)| sink(at, moment, Cell::Text(text)));
                    read.rows += 1;
                }
            }
        }
        read.unreadable = rows.unreadable();
        Ok(read)
    }
}

/// What each column holds, by their places.
pub fn surveyed(source: &dyn Source) -> anyhow::Result<(Vec<Survey>, Read)> {
    let mut surveys = vec![Survey::default(); source.columns().len()];
    let read = source.read(&mut |at, _, cell| match cell {
        Cell::Text(text) => surveys[at].add_text(text),
        Cell::Number(value) => surveys[at].add_number(value),
        Cell::Whole(value) => surveys[at].add_integer(value),
        Cell::Missing => surveys[at].add_missing(),
    })?;
    Ok((surveys, read))
}

/// Numbers of a column that wait to be counted together.
const WAITING_MAX: usize = 256;

/// What was counted of a column.
pub struct Counted {
    pub observed: Observed,
    /// Texts where numbers are expected.
    pub foreign: u64,
}

impl Counted {
    pub fn new(marks: &Marks, range: Option<Range>) -> Counted {
        let observed = Observed { sketch: marks.empty(), out_of_range: range.map(|_| 0) };
        Counted { observed, foreign: 0 }
    }

    /// Takes a cell of a column that is counted over `marks`, as it was begun.
    pub fn take(&mut self, marks: &Marks, range: Option<Range>, cell: Cell<'_>) {
        if let Some(number) = self.number(marks, range, cell) {
            self.observed.sketch.add_number(marks, number).expect("the marks are its own");
        }
    }

    /// The same, but a number may wait for others, with which it is counted in less time; what waits at the
    /// end is counted by [`Counted::take_waiting`].
    pub fn take_later(
        &mut self,
        marks: &Marks,
        range: Option<Range>,
        cell: Cell<'_>,
        waiting: &mut Vec<f64>,
    ) {
        waiting.extend(self.number(marks, range, cell));
        if waiting.len() >= WAITING_MAX {
            self.take_waiting(marks, waiting);
        }
    }

    /// Counts what waits.
    pub fn take_waiting(&mut self, marks: &Marks, waiting: &mut Vec<f64>) {
        self.observed.sketch.add_numbers(marks, waiting).expect("the marks are its own");
        waiting.clear();
    }

    /// A number that is still to be counted by the sketch, if the cell holds one.
    fn number(&mut self, marks: &Marks, range: Option<Range>, cell: Cell<'_>) -> Option<f64> {
        let Observed { sketch, out_of_range } = &mut self.observed;
        let number = match (cell, marks) {
            (Cell::Text(text), Marks::Categories(_)) => {
                self.take_text(marks, text);
                return None;
            }
            (Cell::Text(text), Marks::Edges(_)) => match Token::of(text) {
                Token::Missing => {
                    sketch.add_missing();
                    return None;
                }
                Token::Integer(value) => value as f64,
                Token::Number(value) => value,
                Token::Boolean(_) | Token::Text => {
                    self.foreign += 1;
                    return None;
                }
            },
            (Cell::Number(value) | Cell::Whole(value), _) => value,
            (Cell::Missing, _) => {
                sketch.add_missing();
                return None;
            }
        };
        if let (Some(outside), Some(range)) = (out_of_range, range) {
            *outside += u64::from(!range.contains(number));
        }
        Some(number)
    }

    fn take_text(&mut self, marks: &Marks, text: &str) {
        let sketch: &mut ColumnSketch = &mut self.observed.sketch;
        match category(text) {
            Some(name) => sketch.add_text(marks, &name).expect("the marks are its own"),
            None => sketch.add_missing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_waited_are_counted_as_if_they_had_not() {
        let mut survey = Survey::default();
        (0..1_000).for_each(|at| survey.add_number(f64::from(at) * 0.75));
        let marks = survey.marks(Some(Kind::Numerical)).unwrap();
        let texts: Vec<String> = (0..1_000)
            .map(|at: i32| match at % 50 {
                7 => String::new(),
                8 => "inf".into(),
                9 => "worn".into(),
                _ => (f64::from(at) * 0.75).to_string(),
            })
            .collect();
        let range = Some(Range { low: 1.0, high: 600.0 });
        let (mut one_by_one, mut together) =
            (Counted::new(&marks, range), Counted::new(&marks, range));
        let mut waiting = Vec::new();
        for text in &texts {
            one_by_one.take(&marks, range, Cell::Text(text));
            together.take_later(&marks, range, Cell::Text(text), &mut waiting);
        }
        assert!(!waiting.is_empty() && together.observed != one_by_one.observed);
        together.take_waiting(&marks, &mut waiting);
        assert_eq!(together.observed, one_by_one.observed);
        assert_eq!((together.foreign, waiting), (one_by_one.foreign, vec![]));
    }
}
