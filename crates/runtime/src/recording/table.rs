//! A recording as the texts that are in it, for whoever does not know its port yet.

use super::line::{LineError, Lines};
use super::{First, RecordingError, first_line, parse_time, too_long};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::io::Read;

/// Names and rows of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The columns, in order.
    pub names: Vec<String>,
    /// A text for each column, empty where there is none. Rows that cannot be read are left out.
    pub rows: Vec<Vec<String>>,
    /// Rows that cannot be read.
    pub unreadable: u64,
    /// What is the matter with the first of these, and its line.
    pub problem: Option<String>,
}

/// Rows of a recording as the texts that are in it, one at a time.
pub struct Rows<R> {
    names: Vec<String>,
    lines: Lines<R>,
    first: First,
    is_at_row: bool,
    unreadable: u64,
    problem: Option<String>,
}

impl<R: Read> Rows<R> {
    /// Reads the first line. Of objects a line the first one has the columns.
    ///
    /// # Errors
    /// [`RecordingError::Header`].
    pub fn open(source: R) -> Result<Rows<R>, RecordingError> {
        let mut lines = Lines::new(source);
        let first = first_line(&mut lines)?;
        let names: Vec<String> = match &first {
            First::Names(columns) => named(columns.iter().map(str::to_owned).collect())
                .map_err(RecordingError::Header)?,
            First::Object => match serde_json::from_slice(lines.bytes()) {
                Ok(Names(names)) => names,
                Err(_) => return Err(RecordingError::Header("it is no JSON object".into())),
            },
        };
        let is_at_row = matches!(first, First::Object);
        Ok(Rows { names, lines, first, is_at_row, unreadable: 0, problem: None })
    }

    /// The columns, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows that could not be read so far, and were passed over.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Gives the next row's texts to `each` by the place of their columns, empty where there is none. False at
    /// the end of the file.
    ///
    /// # Errors
    /// [`RecordingError::Header`] if the file cannot be read on.
    pub fn read(&mut self, mut each: impl FnMut(usize, &str)) -> Result<bool, RecordingError> {
        loop {
            let advanced =
                if std::mem::take(&mut self.is_at_row) { Ok(true) } else { self.lines.advance() };
            match advanced {
                Ok(false) => return Ok(false),
                Ok(true) => match self.row(&mut each) {
                    Ok(()) => return Ok(true),
                    Err(problem) => self.passed_over(problem),
                },
                Err(LineError::Long) => self.passed_over(too_long()),
                Err(LineError::Io(error)) => {
                    return Err(RecordingError::Header(error.to_string()));
                }
            }
        }
    }

    fn passed_over(&mut self, problem: String) {
        self.unreadable += 1;
        let line = self.lines.number();
        self.problem.get_or_insert_with(|| format!("line {line}: {problem}"));
    }

    fn row(&mut self, each: &mut impl FnMut(usize, &str)) -> Result<(), String> {
        let line = self.lines.bytes();
        match &mut self.first {
            First::Names(columns) => {
                columns.split(line)?;
                (0..self.names.len()).for_each(|at| each(at, columns.get(at).unwrap_or_default()));
            }
            First::Object => {
                let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
                    return Err("it is no JSON object".into());
                };
                for (at, name) in self.names.iter().enumerate() {
                    match object.get(name) {
                        None | Some(Value::Null) => each(at, ""),
                        Some(Value::String(text)) => each(at, text),
                        Some(other) => each(at, &other.to_string()),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The names of columns, if each has one and they are no row of numbers already.
fn named(names: Vec<String>) -> Result<Vec<String>, String> {
    if let Some(at) = names.iter().position(String::is_empty) {
        let (place, count) = (at + 1, names.len());
        return Err(format!(
            "column {place} of {count} has no name: give it one, or leave it out (pandas writes its index \
             so: index=False)"
        ));
    }
    let number = |name: &String| name.parse::<f64>().ok();
    // Who has no names may number the columns, from any number on.
    let numbers: Option<Vec<f64>> = names.iter().map(number).collect();
    let is_numbered = numbers
        .is_some_and(|it| it.len() > 1 && it.windows(2).all(|pair| pair[1] - pair[0] == 1.0));
    if !is_numbered && names.iter().all(|it| number(it).is_some() || parse_time(it).is_some()) {
        let first = &names[0];
        return Err(format!(
            "its names are numbers ({first}): the first line must name the columns, as in time,flow,pressure"
        ));
    }
    Ok(names)
}

impl Table {
    /// Reads the beginning of a recording: at most so many rows. Of objects a line the first one has
    /// the columns.
    ///
    /// # Errors
    /// [`RecordingError::Header`].
    pub fn read(source: impl Read, rows_max: usize) -> Result<Table, RecordingError> {
        let mut read = Rows::open(source)?;
        let mut rows = Vec::new();
        while rows.len() < rows_max {
            let mut row = Vec::with_capacity(read.names.len());
            if !read.read(|_, text| row.push(text.to_owned()))? {
                break;
            }
            rows.push(row);
        }
        let Rows { names, unreadable, problem, .. } = read;
        Ok(Table { names, rows, unreadable, problem })
    }
}

/// The names of an object's members as they stand there, each once: the order of columns has a meaning,
/// which a [`Value`] forgets.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = members.next_entry::<String, _>()? {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_as_they_stand_in_both_forms() {
        let csv = "a,b\n1,\"x,y\"\n\n2,\n3,z\n";
        let table = Table::read(csv.as_bytes(), 3).unwrap();
        assert_eq!(table.names, ["a", "b"]);
        assert_eq!(table.rows, [["1", "x,y"], ["2", ""], ["3", "z"]]);
        assert_eq!((table.unreadable, table.problem), (0, None));
        let json = "{\"a\":1,\"b\":\"x\"}\nnothing\n{\"b\":null,\"a\":2.5,\"c\":3}\n{\"a\":7}";
        let table = Table::read(json.as_bytes(), 2).unwrap();
        assert_eq!(table.names, ["a", "b"]);
        assert_eq!((&table.rows[1], table.unreadable), (&vec!["2.5".to_owned(), String::new()], 1));
        assert_eq!(table.rows.len(), 2);
        let turned = Table::read("{\"b\":1,\"a\":2,\"b\":3}\n".as_bytes(), 9).unwrap();
        assert_eq!(
            (turned.names, turned.rows),
            (vec!["b".into(), "a".into()], vec![vec!["3".into(), "2".into()]])
        );
        assert!(Table::read("{]".as_bytes(), 9).is_err());
        assert!(Table::read("".as_bytes(), 9).is_err());
    }
    #[test]
    fn a_row_of_more_or_fewer_cells_than_names_is_passed_over_and_told_of() {
        let table = Table::read("a,b\n1,2,5\n1\n3,4\n".as_bytes(), 9).unwrap();
        assert_eq!((table.rows, table.unreadable), (vec![vec!["3".into(), "4".into()]], 2));
        let problem = table.problem.unwrap();
        assert!(
            problem.starts_with("line 2: it has 3 cells, the first line has 2: put"),
            "{problem}"
        );
    }

    #[test]
    fn a_first_line_that_names_no_columns_is_refused_with_the_cure() {
        let said = |names: &str| match Table::read(names.as_bytes(), 9) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        for right in ["a", "1,b", "0,1,2", "1,2", "2026-01-01T00:00:00Z,a"] {
            assert_eq!(said(right), "", "{right}");
        }
        for numbers in ["9.676,3.674,5.79", "0.5", "2026-01-01T00:00:00Z,3", "2,1"] {
            assert!(said(numbers).contains("the first line must name the columns"), "{numbers}");
        }
        assert!(said("time,a,,c").contains("column 3 of 4 has no name: give it one"));
    }
}
