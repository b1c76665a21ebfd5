//! A recording as the texts that are in it, for whoever does not know its port yet.

use super::line::{LineError, Lines};
use super::{First, RecordingError, first_line};
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
}

/// Rows of a recording as the texts that are in it, one at a time.
pub struct Rows<R> {
    names: Vec<String>,
    lines: Lines<R>,
    first: First,
    is_at_row: bool,
    unreadable: u64,
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
            First::Names(columns) => columns.iter().map(str::to_owned).collect(),
            First::Object => match serde_json::from_slice(lines.bytes()) {
                Ok(Names(names)) => names,
                Err(_) => return Err(RecordingError::Header("it is no JSON object".into())),
            },
        };
        let is_at_row = matches!(first, First::Object);
        Ok(Rows { names, lines, first, is_at_row, unreadable: 0 })
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
                Ok(true) if self.row(&mut each) => return Ok(true),
                Ok(true) | Err(LineError::Long) => self.unreadable += 1,
                Err(LineError::Io(error)) => {
                    return Err(RecordingError::Header(error.to_string()));
                }
            }
        }
    }

    fn row(&mut self, each: &mut impl FnMut(usize, &str)) -> bool {
        let line = self.lines.bytes();
        match &mut self.first {
            First::Names(columns) => {
                if columns.split(line).is_err() {
                    return false;
                }
                (0..self.names.len()).for_each(|at| each(at, columns.get(at).unwrap_or_default()));
            }
            First::Object => {
                let Ok(Value::Object(object)) = serde_json::from_slice(line) else { return false };
                for (at, name) in self.names.iter().enumerate() {
                    match object.get(name) {
                        None | Some(Value::Null) => each(at, ""),
                        Some(Value::String(text)) => each(at, text),
                        Some(other) => each(at, &other.to_string()),
                    }
                }
            }
        }
        true
    }
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
        Ok(Table { names: read.names, rows, unreadable: read.unreadable })
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
        let csv = "a,b\n1,\"x,y\"\n\n2\n3,z,more\n";
        let table = Table::read(csv.as_bytes(), 3).unwrap();
        assert_eq!(table.names, ["a", "b"]);
        assert_eq!(table.rows, [["1", "x,y"], ["2", ""], ["3", "z"]]);
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
}
