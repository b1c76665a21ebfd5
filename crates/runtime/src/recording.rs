//! Recorded input: rows of a CSV file, or JSON objects a line each, into readings of a port. At the
//! desk, on the device and in tests.

mod line;
mod object;
mod table;

pub use table::{Rows, Table};

use crate::pipeline::Reading;
use line::{Columns, LINE_BYTES_MAX, LineError, Lines};
use lineside_bundle::{BundleFile, Port};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Streams that a slot may tell apart.
pub const KEYS_MAX: usize = 4096;
/// What is said of a time that is none.
const NO_TIME: &str = "is no RFC 3339 time such as 2014-01-18T00:10:00Z (Python: isoformat() of a datetime \
    with tzinfo); or say rate_hz";
/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// Why a recording cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A column that a port names is not there.
    #[error("there is no column {column}, only [{}]", .found.join(", "))]
    Column {
        /// The column.
        column: String,
        /// The columns of the first line.
        found: Vec<String>,
    },
    /// A column that a port names is there more than once.
    #[error("column {0} is there twice: give each a name of its own")]
    Twice(String),
    /// No first line.
    #[error("the first line cannot be read as column names: {0}")]
    Header(String),
}

/// Why one row is no reading. The next one may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RowError {
    /// Line of the file, from 1.
    pub line: u64,
    /// Reason in one word, for counting: `malformed`, `missing`, `not_finite`, `key`, `time`, `port`. Or
    /// [`RowError::IO`], which is about the file and counts no row.
    pub reason: &'static str,
    /// What is wrong, with the column and the text found.
    pub problem: String,
}

impl RowError {
    /// The reason of a file that cannot be read for now. It is not over: asking for the next row goes
    /// on where it stopped, which for a disk that is gone may never do any good.
    pub const IO: &str = "io";
}

/// One row: a reading that has no sequence number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRow {
    /// Line of the file, from 1.
    pub line: u64,
    /// The stream: the key, empty where the port has none; `port/key` where there are several ports.
    pub key: String,
    /// Nanoseconds since 1970-01-01 UTC; from 0 where rows carry no time.
    pub time_unix_ns: i64,
    /// The port's fields, in order.
    pub values: Vec<f64>,
}

/// The columns of a recording, by its first line: those that it names, or the members of an object.
///
/// # Errors
/// [`RecordingError::Header`].
pub fn columns(source: impl Read) -> Result<BTreeSet<String>, RecordingError> {
    let mut lines = Lines::new(source);
    Ok(match first_line(&mut lines)? {
        First::Names(columns) => columns.iter().map(str::to_owned).collect(),
        First::Object => match serde_json::from_slice(lines.bytes()) {
            Ok(Value::Object(object)) => object.into_iter().map(|(name, _)| name).collect(),
            _ => return Err(RecordingError::Header("it is no JSON object".into())),
        },
    })
}

/// What the first line of a recording is.
enum First {
    /// The names of its columns.
    Names(Box<Columns>),
    /// Its first row already.
    Object,
}

fn first_line<R: Read>(lines: &mut Lines<R>) -> Result<First, RecordingError> {
    let header = RecordingError::Header;
    match lines.advance() {
        Ok(true) => {}
        Ok(false) => return Err(header("the file is empty".into())),
        Err(LineError::Io(error)) => return Err(header(error.to_string())),
        Err(LineError::Long) => return Err(header(too_long())),
    }
    // No column is called so.
    if lines.bytes().first() == Some(&b'{') {
        return Ok(First::Object);
    }
    let mut columns = Columns::new();
    columns.name(lines.bytes()).map_err(|problem| header(unreadable(lines.bytes(), problem)))?;
    if columns.iter().count() == 1
        && let Some(cure) = other_form(lines.bytes())
    {
        return Err(header(cure.into()));
    }
    Ok(First::Names(Box::new(columns)))
}

fn unreadable(line: &[u8], problem: String) -> String {
    match std::str::from_utf8(line) {
        Ok(_) => problem,
        Err(_) => format!("{problem}: save it as UTF-8"),
    }
}

/// What to do with a file whose first line seems to be columns of another form than here.
fn other_form(line: &[u8]) -> Option<&'static str> {
    let has = |byte: u8| line.contains(&byte);
    if has(b'\r') {
        Some("its lines end in carriage returns alone: write it with line feeds")
    } else if has(b';') {
        Some("its columns are separated by semicolons: write it with commas")
    } else if has(b'\t') {
        Some("its columns are separated by tabs: write it with commas")
    } else {
        None
    }
}

/// The column, or the member, that says of which port a row is, where there are several.
const PORT: &str = "port";

/// Rows of a recording, one a line, one at a time.
pub struct Recording<R> {
    lines: Lines<R>,
    ports: Vec<(String, Port)>,
    form: Form,
    period_ns: f64,
    read: u64,
}

/// How rows are written.
enum Form {
    /// The columns of a line, and where each of the ports' is; in which is the name of the port, where
    /// there are several.
    Csv { columns: Box<Columns>, of: Option<usize>, ports: Vec<Places> },
    /// An object with a member for each. The first line is one already, and may not be read yet.
    Json { is_first: bool },
}

/// Where the columns of a port are, each with its name.
struct Places {
    key: Option<(String, usize)>,
    time: Option<(String, usize)>,
    fields: Vec<(String, usize)>,
}

impl Places {
    fn find(port: &Port, columns: &Columns) -> Result<Places, RecordingError> {
        let place = |name: &String| place(name, columns).map(|at| (name.clone(), at));
        Ok(Places {
            key: port.key.as_ref().map(place).transpose()?,
            time: port.time.as_ref().map(place).transpose()?,
            fields: port.fields.iter().map(|f| place(&f.name)).collect::<Result<_, _>>()?,
        })
    }
}

fn place(name: &str, columns: &Columns) -> Result<usize, RecordingError> {
    let mut places = (0..).zip(columns.iter()).filter(|(_, column)| *column == name);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => Err(RecordingError::Twice(name.to_owned())),
        (None, _) => Err(RecordingError::Column {
            column: name.to_owned(),
            found: columns.iter().take(50).map(str::to_owned).collect(),
        }),
    }
}

impl<R: Read> Recording<R> {
    /// Reads the first line and finds the port's columns in it; others are ignored.
    ///
    /// # Errors
    /// [`RecordingError`], naming the column.
    pub fn open(port: &Port, source: R) -> Result<Recording<R>, RecordingError> {
        Recording::of_ports(vec![(String::new(), port.clone())], source)
    }

    /// As [`Recording::open`], of all ports of a bundle. Where there are several, a column `port` says of
    /// which a row is; columns of others may be empty in it.
    ///
    /// # Errors
    /// [`RecordingError`], naming the column.
    pub fn open_all(bundle: &BundleFile, source: R) -> Result<Recording<R>, RecordingError> {
        let ports = bundle.inputs.iter().map(|(name, port)| (name.clone(), port.clone()));
        Recording::of_ports(ports.collect(), source)
    }

    fn of_ports(ports: Vec<(String, Port)>, source: R) -> Result<Recording<R>, RecordingError> {
        let mut lines = Lines::new(source);
        // Several ports have times of their own.
        let rate_hz = ports.first().and_then(|(_, port)| port.rate_hz);
        let period_ns = rate_hz.map_or(0.0, |rate| 1e9 / rate);
        let form = match first_line(&mut lines)? {
            First::Object => Form::Json { is_first: true },
            First::Names(columns) => Form::Csv {
                of: (ports.len() > 1).then(|| place(PORT, &columns)).transpose()?,
                ports: ports
                    .iter()
                    .map(|(_, port)| Places::find(port, &columns))
                    .collect::<Result<_, _>>()?,
                columns,
            },
        };
        Ok(Recording { lines, ports, form, period_ns, read: 0 })
    }

    fn row(&mut self) -> Result<RecordedRow, RowError> {
        let line = self.lines.number();
        let fail = |reason, problem| Err(RowError { line, reason, problem });
        let by_rate_ns = (self.read as f64 * self.period_ns) as i64;
        let (columns, of, places) = match &mut self.form {
            Form::Csv { columns, of, ports } => (columns, of, ports),
            Form::Json { .. } => {
                let object: Value = match serde_json::from_slice(self.lines.bytes()) {
                    Ok(object) => object,
                    Err(error) => return fail("malformed", format!("it is no JSON: {error}")),
                };
                let [(_, port)] = self.ports.as_slice() else {
                    let named = object.get(PORT).and_then(Value::as_str);
                    let of = self.ports.iter().find(|(name, _)| Some(name.as_str()) == named);
                    let Some((name, port)) = of else {
                        return fail(PORT, no_port(&self.ports, named));
                    };
                    let mut row = RecordedRow::of_json(port, &object, line, by_rate_ns)?;
                    row.key = format!("{name}/{}", row.key);
                    return Ok(row);
                };
                return RecordedRow::of_json(port, &object, line, by_rate_ns);
            }
        };
        if let Err(problem) = columns.split(self.lines.bytes()) {
            return fail("malformed", problem);
        }
        let named = of.map(|at| columns.get(at).unwrap_or_default());
        let at = match named {
            None => 0,
            Some(named) => match self.ports.iter().position(|(name, _)| name == named) {
                Some(at) => at,
                None => {
                    let problem = no_port(&self.ports, Some(named));
                    return fail(PORT, problem);
                }
            },
        };
        let Places { key, time, fields } = &places[at];
        let text = |(_, at): &(String, usize)| columns.get(*at);
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let name = &field.0;
            match text(field) {
                None | Some("") => return fail("missing", format!("column {name} is empty")),
                Some(text) => match text.parse::<f64>() {
                    Err(_) => {
                        let text: String = text.chars().take(40).collect();
                        return fail("malformed", format!("column {name}: {text:?} is no number"));
                    }
                    Ok(value) if !value.is_finite() => {
                        return fail("not_finite", format!("column {name}: {text} is not finite"));
                    }
                    Ok(value) => values.push(value),
                },
            }
        }
        let mut key = match key {
            None => String::new(),
            Some(column) => match text(column) {
                Some(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => key.to_owned(),
                _ => return fail("key", format!("column {} names no stream", column.0)),
            },
        };
        let time_unix_ns = match time {
            None => by_rate_ns,
            Some(column) => match text(column).and_then(parse_time) {
                Some(time) => time,
                None => {
                    let found: String = text(column).unwrap_or_default().chars().take(40).collect();
                    return fail("time", format!("column {}: {found:?} {NO_TIME}", column.0));
                }
            },
        };
        if let Some(port) = named {
            key = format!("{port}/{key}");
        }
        Ok(RecordedRow { line, key, time_unix_ns, values })
    }
}

fn no_port(ports: &[(String, Port)], named: Option<&str>) -> String {
    let ports: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
    let named: String = named.unwrap_or("nothing").chars().take(40).collect();
    format!("{PORT}: {named:?} is none of [{}]", ports.join(", "))
}

impl<R: Read> Iterator for Recording<R> {
    type Item = Result<RecordedRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_read = match &mut self.form {
            Form::Json { is_first } => std::mem::take(is_first),
            Form::Csv { .. } => false,
        };
        let advanced = if is_read { Ok(true) } else { self.lines.advance() };
        let failed = |line, reason, problem| Some(Err(RowError { line, reason, problem }));
        let row = match advanced {
            Ok(false) => return None,
            Err(LineError::Io(error)) => {
                let problem = format!("the file cannot be read on: {error}");
                return failed(self.lines.number(), RowError::IO, problem);
            }
            Err(LineError::Long) => failed(self.lines.number(), "malformed", too_long()),
            Ok(true) => Some(self.row()),
        };
        self.read += 1;
        row
    }
}

fn too_long() -> String {
    format!("it is longer than {LINE_BYTES_MAX} bytes")
}

/// Reads RFC 3339, with or without seconds (`2014-01-18T00:00Z`), into nanoseconds since 1970.
pub fn parse_time(text: &str) -> Option<i64> {
    let parsed =
        OffsetDateTime::parse(text, &Rfc3339).or_else(|error| match text.split_once('Z') {
            Some((minutes, "")) => OffsetDateTime::parse(&format!("{minutes}:00Z"), &Rfc3339),
            _ => Err(error),
        });
    i64::try_from(parsed.ok()?.unix_timestamp_nanos()).ok()
}

/// Numbers readings per stream, in the order in which they are accepted.
#[derive(Debug, Default, Clone)]
pub struct Sequencer {
    next: BTreeMap<String, u64>,
}

impl Sequencer {
    /// Makes a reading of a row; none if there are too many streams already.
    pub fn accept(&mut self, row: RecordedRow) -> Option<Reading> {
        if !self.next.contains_key(&row.key) && self.next.len() >= KEYS_MAX {
            return None;
        }
        let next = self.next.entry(row.key.clone()).or_insert(0);
        let sequence = *next;
        *next += 1;
        Some(Reading { key: row.key, sequence, time_unix_ns: row.time_unix_ns, values: row.values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Port {
        toml_port(
            "key = 'turbine'\ntime = 'time'\nfields = [{ name = 'wind' }, { name = 'power' }]",
        )
    }

    fn toml_port(text: &str) -> Port {
        let text = format!(
            "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
             stages.w = {{ kind = 'window', input = 'p', rows = 1, stride = 1 }}\n[inputs.p]\n{text}"
        );
        lineside_bundle::BundleFile::parse(&text).unwrap().port().1.clone()
    }

    fn rows(text: &str) -> Vec<Result<RecordedRow, RowError>> {
        Recording::open(&port(), text.as_bytes()).unwrap().collect()
    }

    /// What each row says, or what is wrong with it.
    fn by_line(text: &str) -> Vec<String> {
        let said = |row: Result<RecordedRow, RowError>| match row {
            Ok(row) => format!("line {}: {} {:?}", row.line, row.key, row.values),
            Err(error) => format!("{error} ({})", error.reason),
        };
        rows(text).into_iter().map(said).collect()
    }

    #[test]
    fn a_bad_row_is_named_by_line_and_column_and_the_next_one_is_read() {
        let said: Vec<String> = rows(
            "time,turbine,wind,power\n2014-01-18T00:00Z,A,1,2\n2014-01-18T00:10Z,A,,2\n\
             2014-01-18T00:20Z,A,x,2\n2014-01-18T00:30Z,A,NaN,2\n2014-01-18T00:40Z,,1,2\n\
             yesterday,A,1,2\n2014-01-18T01:00Z,A\n2014-01-18T01:10:00Z,A,3,4\n",
        )
        .into_iter()
        .map(|row| match row {
            Ok(row) => format!("{} {} {:?}", row.key, row.time_unix_ns / 1_000_000_000, row.values),
            Err(error) => format!("{} ({})", error, error.reason),
        })
        .collect();
        assert_eq!(
            said,
            [
                "A 1390003200 [1.0, 2.0]",
                "line 3: column wind is empty (missing)",
                "line 4: column wind: \"x\" is no number (malformed)",
                "line 5: column wind: NaN is not finite (not_finite)",
                "line 6: column turbine names no stream (key)",
                "line 7: column time: \"yesterday\" is no RFC 3339 time such as 2014-01-18T00:10:00Z (Python: \
                 isoformat() of a datetime with tzinfo); or say rate_hz (time)",
                "line 8: it has 2 cells, the first line has 4: write all commas, also around cells \
                 that are empty (malformed)",
                "A 1390007400 [3.0, 4.0]",
            ]
        );
    }

    #[test]
    fn objects_a_line_are_rows_and_a_bad_one_costs_no_other() {
        let text = "{\"time\":\"2014-01-18T00:00Z\",\"turbine\":\"A\",\"wind\":1,\"power\":2.5,\"x\":[]}\n\
            \n{\"turbine\":7,\"time\":\"2014-01-18T00:10Z\",\"wind\":\"NaN\",\"power\":2}\n\
            {\"turbine\":7}\nnothing\n[]\n\
            {\"power\":4,\"turbine\":7,\"time\":\"2014-01-18T00:20Z\",\"wind\":3}";
        assert_eq!(
            by_line(text),
            [
                "line 1: A [1.0, 2.5]",
                "line 3: field wind: NaN is not finite (not_finite)",
                "line 4: there is no field wind, only [\"turbine\"] (missing)",
                "line 5: it is no JSON: expected ident at line 1 column 2 (malformed)",
                "line 6: [] is no object (malformed)",
                "line 7: 7 [3.0, 4.0]",
            ]
        );
        let names = columns(text.as_bytes()).unwrap();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["power", "time", "turbine", "wind", "x"]
        );
        assert!(columns("{".as_bytes()).is_err());
    }

    #[test]
    fn a_row_costs_no_other_however_long_or_badly_quoted_it_is() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let text = format!(
            "\u{feff}time,turbine,wind,power\r\n\r\n2014-01-18T00:00Z,\"A,1\",1,2\r\n\
             2014-01-18T00:10Z,A,\"1,2\r\n2014-01-18T00:20Z,A,3,4,{long}\n\
             2014-01-18T00:30Z,A,5,6{}\n2014-01-18T00:40Z,A,\"7\",8",
            ",".repeat(1100)
        );
        assert_eq!(
            by_line(&text),
            [
                "line 3: A,1 [1.0, 2.0]",
                "line 4: it has 3 cells, the first line has 4: write all commas, also around cells \
                 that are empty (malformed)",
                "line 5: it is longer than 65536 bytes (malformed)",
                "line 6: it has more than 1024 columns (malformed)",
                "line 7: A [7.0, 8.0]",
            ]
        );
        let error = Recording::open(&port(), long.repeat(2).as_bytes()).err().unwrap();
        assert!(error.to_string().ends_with("it is longer than 65536 bytes"), "{error}");
    }

    /// Gives a few bytes at a time, and fails each time before it does.
    struct Hiccups<'a> {
        bytes: &'a [u8],
        failed: bool,
    }

    impl Read for Hiccups<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.failed = !self.failed;
            if self.failed {
                return Err(std::io::Error::other("the stick was pulled"));
            }
            let length = buffer.len().min(7);
            self.bytes.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_for_a_while_has_not_ended() {
        let text = "x\n1\n2\n3\n4\n5\n6\n7\n8\n";
        let port = toml_port("rate_hz = 1.0\nfields = [{ name = 'x' }]");
        let mut source = Hiccups { bytes: text.as_bytes(), failed: false };
        assert!(source.read(&mut []).is_err());
        let recording = Recording::open(&port, source).unwrap();
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for row in recording {
            match row {
                Ok(row) => values.push((row.values[0], row.time_unix_ns / 1_000_000_000)),
                Err(error) => {
                    assert_eq!(error.reason, RowError::IO);
                    problems.push(error.to_string());
                }
            }
        }
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8].map(|n| (f64::from(n), i64::from(n) - 1)));
        assert_eq!(problems[0], "line 4: the file cannot be read on: the stick was pulled");
    }

    #[test]
    fn rows_of_several_ports_say_of_which_they_are() {
        let bundle = lineside_bundle::BundleFile::parse(
            "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'v'\n\
             stages.r = { kind = 'resample', input = 'heat', rate_hz = 1, gap_seconds = 1 }\n\
             stages.s = { kind = 'resample', input = 'noise', rate_hz = 1, gap_seconds = 1 }\n\
             stages.w = { kind = 'window', input = 'r', seconds = 1, stride_seconds = 1 }\n\
             stages.v = { kind = 'window', input = 's', seconds = 1, stride_seconds = 1 }\n\
             inputs.heat = { key = 'k', time = 't', fields = [{ name = 'c' }] }\n\
             inputs.noise = { key = 'k', time = 't', fields = [{ name = 'db' }] }\n",
        );
        let bundle = bundle.unwrap();
        let csv = "port,t,k,c,db\nheat,1970-01-01T00:00:01Z,A,7,\nnoise,1970-01-01T00:00:02Z,A,,3\n\
            light,1970-01-01T00:00:02Z,A,7,3\nheat,1970-01-01T00:00:03Z,A,,3\n";
        let json = "{\"port\":\"heat\",\"t\":\"1970-01-01T00:00:01Z\",\"k\":\"A\",\"c\":7}\n\
            {\"port\":\"noise\",\"t\":\"1970-01-01T00:00:02Z\",\"k\":\"A\",\"db\":3}\n\
            {\"port\":\"light\",\"k\":\"A\"}\n{\"port\":\"heat\",\"k\":\"A\"}\n";
        for (text, missing) in [(csv, "column c is empty"), (json, "there is no field c, only")] {
            let rows: Vec<_> = Recording::open_all(&bundle, text.as_bytes()).unwrap().collect();
            let keys: Vec<_> = rows[..2].iter().flatten().map(|row| row.key.as_str()).collect();
            assert_eq!(keys, ["heat/A", "noise/A"]);
            assert_eq!(rows[1].as_ref().unwrap().values, [3.0]);
            let said = rows[2].as_ref().unwrap_err().to_string();
            assert!(said.ends_with(": port: \"light\" is none of [heat, noise]"), "{said}");
            let said = rows[3].as_ref().unwrap_err().to_string();
            assert!(said.contains(missing), "{said}");
        }
        let error = Recording::open_all(&bundle, &b"t,k,c,db\n"[..]).err().unwrap();
        assert_eq!(error.to_string(), "there is no column port, only [t, k, c, db]");
    }

    #[test]
    fn a_row_with_more_cells_than_the_first_line_is_no_reading_but_one_of_an_error() {
        // A decimal comma, which nobody has quoted.
        let text = "time,turbine,wind,power\n2014-01-18T00:00Z,A,12,5,100\n\
            2014-01-18T00:10Z,A,\"12\",5\n";
        let wanted = [
            "line 2: it has 5 cells, the first line has 4: put cells that hold a comma in quotation \
             marks (malformed)",
            "line 3: A [12.0, 5.0]",
        ];
        assert_eq!(by_line(text), wanted);
    }

    #[test]
    fn a_column_of_a_port_that_is_there_twice_is_refused_and_another_is_not() {
        let open = |names: &[u8]| Recording::open(&port(), names).map(drop);
        let error = open(b"time,turbine,wind,power,wind\n").unwrap_err().to_string();
        assert_eq!(error, "column wind is there twice: give each a name of its own");
        assert!(open(b",time,turbine,wind,power,remark,remark\n").is_ok());
    }

    #[test]
    fn a_file_of_another_form_is_refused_with_the_form_that_is_read() {
        for (bytes, cure) in [
            (&b"time;a;b\n"[..], "separated by semicolons: write it with commas"),
            (b"time\ta\tb\n", "separated by tabs: write it with commas"),
            (b"time\r1\r2\r", "end in carriage returns alone: write it with line feeds"),
            (b"\xff\xfet\0i\0m\0e\0\n\0", "it is no UTF-8 text: save it as UTF-8"),
        ] {
            let error = Recording::open(&port(), bytes).err().unwrap().to_string();
            assert!(error.ends_with(cure), "{error}");
        }
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = Recording::open(&port(), &b"time,turbine,wind\n"[..]).err().unwrap();
        assert_eq!(error.to_string(), "there is no column power, only [time, turbine, wind]");
    }

    #[test]
    fn readings_without_a_time_follow_the_rate() {
        let port = toml_port("rate_hz = 4.0\nfields = [{ name = 'x' }]");
        let times: Vec<i64> = Recording::open(&port, &b"x\n1\n2\n3\n"[..])
            .unwrap()
            .map(|row| row.unwrap().time_unix_ns)
            .collect();
        assert_eq!(times, [0, 250_000_000, 500_000_000]);
    }

    #[test]
    fn readings_are_numbered_per_stream() {
        let mut sequencer = Sequencer::default();
        let numbers: Vec<(String, u64)> =
            rows("time,turbine,wind,power\n2014-01-18T00:00Z,A,1,2\n2014-01-18T00:00Z,B,1,2\n2014-01-18T00:10Z,A,1,2\n")
                .into_iter()
                .map(|row| sequencer.accept(row.unwrap()).unwrap())
                .map(|reading| (reading.key, reading.sequence))
                .collect();
        assert_eq!(numbers, [("A".into(), 0), ("B".into(), 0), ("A".into(), 1)]);
    }
}
