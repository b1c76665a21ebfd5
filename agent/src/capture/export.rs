//! What was captured, as a recording that the desk reads.

use super::record::Entry;
use super::segments::{list, name, segment};
use crate::clock::written;
use std::io::{self, Write};
use std::path::Path;

/// What columns are called beside the fields, as the port of the bundle names them.
#[derive(Debug, Clone)]
pub struct Names {
    /// The reading's time.
    pub time: String,
    /// The stream.
    pub key: String,
}

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A field has the name.
    #[error(
        "a field of the readings is called {name}: let the time, or the stream, have another name"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// What was captured cannot be read, or what comes of it not written.
    #[error("cannot read what was captured, or cannot write it")]
    Disk(#[from] io::Error),
}

/// Writes the readings in `folder`, of a ring or of what is kept because a rule has fired, in their order as CSV:
/// a column for the time (RFC 3339), one for the stream, and one for each field that any reading has, empty where
/// one lacks it. Numbers are read again as they were. Gives how many readings there are. Segments that give way
/// meanwhile are left out.
///
/// # Errors
/// [`ExportError`].
pub fn export(folder: &Path, names: &Names, mut out: impl Write) -> Result<u64, ExportError> {
    let segments = list(folder)?;
    let entries = |number: u64| match segment(&folder.join(name(number))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        entries => entries,
    };
    let mut columns: Vec<String> = vec![];
    for (number, _) in &segments {
        for entry in entries(*number)? {
            let Entry::Head(head) = entry else { continue };
            let fresh = head.fields.into_iter().filter(|field| !columns.contains(field));
            columns.extend(fresh.collect::<Vec<_>>());
        }
    }
    if let Some(name) = [&names.time, &names.key].into_iter().find(|name| columns.contains(name)) {
        return Err(ExportError::Name { name: name.clone() });
    }
    let header = [&names.time, &names.key].into_iter().chain(&columns);
    row(&mut out, header.map(|column| quoted(column)))?;
    let mut count = 0;
    for (number, _) in &segments {
        let mut places: Vec<Option<usize>> = vec![];
        for entry in entries(*number)? {
            match entry {
                Entry::Head(head) => {
                    let place =
                        |column: &String| head.fields.iter().position(|field| field == column);
                    places = columns.iter().map(place).collect();
                }
                Entry::Reading(reading) => {
                    let value = |place: &Option<usize>| {
                        let value = place.and_then(|at| reading.values.get(at));
                        value.map(|value| format!("{value:?}")).unwrap_or_default()
                    };
                    let begin = [written(reading.time_unix_ns), quoted(&reading.key)];
                    row(&mut out, begin.into_iter().chain(places.iter().map(value)))?;
                    count += 1;
                }
                Entry::Answer(_) => {}
            }
        }
    }
    out.flush()?;
    Ok(count)
}

fn row(out: &mut impl Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Head;
    use super::super::segments::{Bounds, Ring};
    use super::*;
    use lineside_bundle::Port;
    use lineside_runtime::{Reading, Recording};
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_was_captured_is_read_at_the_desk_as_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { bytes_max: 1 << 20, age_max: Duration::from_secs(3600) };
        let mut ring = Ring::open(folder.path(), bounds).unwrap();
        let head = |fields: &[&str]| {
            let fields = fields.iter().map(|field| (*field).to_owned()).collect();
            Entry::Head(Head { fields, release: None })
        };
        let reading = |sequence, values| {
            let time_unix_ns = 1_400_000_000_123_456_789 + sequence as i64;
            Entry::Reading(Reading { key: "mill, 1".into(), sequence, time_unix_ns, values })
        };
        // Another bundle has them in another order, and one more.
        let odd = vec![0.1 + 0.2, -5e-324];
        let batch = [
            head(&["a", "b \"raw\""]),
            reading(0, odd),
            head(&["c", "b \"raw\"", "a"]),
            reading(1, vec![3.0, 2e300, 1.0]),
        ];
        ring.write(&batch, SystemTime::now()).unwrap();
        let mut out = vec![];
        let names = Names { time: "time".into(), key: "mill".into() };
        assert_eq!(export(folder.path(), &names, &mut out).unwrap(), 2);
        let port = r#"{"key": "mill", "time": "time",
            "fields": [{"name": "a"}, {"name": "b \"raw\""}]}"#;
        let port: Port = serde_json::from_str(port).unwrap();
        let rows: Vec<_> = Recording::open(&port, &*out).unwrap().map(Result::unwrap).collect();
        let rows: Vec<_> = rows.iter().map(|it| (&*it.key, it.time_unix_ns, &*it.values)).collect();
        let time = 1_400_000_000_123_456_789;
        let expected = [
            ("mill, 1", time, &[0.1 + 0.2, -5e-324][..]),
            ("mill, 1", time + 1, &[1.0, 2e300][..]),
        ];
        assert_eq!(rows, expected);
        let names = Names { time: "a".into(), ..names };
        let refused = export(folder.path(), &names, vec![]).unwrap_err();
        assert!(refused.to_string().contains("is called a"), "{refused}");
    }
}
