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

impl Table {
    /// Reads the beginning of a recording: at most so many rows. Of objects a line the first one has
    /// the columns.
    ///
    /// # Errors
    /// [`RecordingError::Header`].
    pub fn read(source: impl Read, rows_max: usize) -> Result<Table, RecordingError> {
        let mut lines = Lines::new(source);
        let mut first = first_line(&mut lines)?;
        let names: Vec<String> = match &first {
            First::Names(columns) => columns.iter().map(str::to_owned).collect(),
            First::Object => match serde_json::from_slice(lines.bytes()) {
                Ok(Names(names)) => names,
                Err(_) => return Err(RecordingError::Header("it is no JSON object".into())),
            },
        };
        let mut table = Table { names, rows: Vec::new(), unreadable: 0 };
        let mut is_at_row = matches!(first, First::Object);
        while table.rows.len() < rows_max {
            match if std::mem::take(&mut is_at_row) { Ok(true) } else { lines.advance() } {
                Ok(false) => break,
                Ok(true) => match table.row(&mut first, lines.bytes()) {
                    Some(row) => table.rows.push(row),
                    None => table.unreadable += 1,
                },
                Err(LineError::Long) => table.unreadable += 1,
                Err(LineError::Io(error)) => {
                    return Err(RecordingError::Header(error.to_string()));
                }
            }
        }
        Ok(table)
    }

    fn row(&self, first: &mut First, line: &[u8]) -> Option<Vec<String>> {
        match first {
            First::Names(columns) => {
                columns.split(line).ok()?;
                let texts = (0..self.names.len()).map(|at| columns.get(at).unwrap_or_default());
                Some(texts.map(str::to_owned).collect())
            }
            First::Object => {
                let Ok(Value::Object(object)) = serde_json::from_slice(line) else { return None };
                let text = |name: &String| match object.get(name) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                Some(self.names.iter().map(text).collect())
            }
        }
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
