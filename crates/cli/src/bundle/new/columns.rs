//! What the columns of a recording look like: numbers, times, streams, labels.

use lineside_runtime::{Table, parse_time};
use std::collections::BTreeSet;

/// Streams that a column may tell apart and still be taken for a key.
const STREAMS_MAX: usize = 256;
/// Rows that a stream has on average where a column is a key, at the least.
const ROWS_A_STREAM_MIN: usize = 10;
/// What people call columns that hold answers rather than measurements.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "target",
    "class",
    "y",
    "anomaly",
    "changepoint",
    "species",
    "diagnosis",
    "symbol",
    "outcome",
    "fault",
];
/// What they call columns of whole numbers that tell machines, patients or recordings apart.
const KEYS: [&str; 14] = [
    "id",
    "key",
    "record",
    "machine",
    "device",
    "unit",
    "turbine",
    "pump",
    "asset",
    "patient",
    "line",
    "station",
    "experiment",
    "run",
];

/// What they call columns of times.
const TIMES: [&str; 8] = ["time", "timestamp", "ts", "epoch", "t", "date", "datetime", "unix_time"];

/// A column of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Where it stands, from 0.
    pub place: usize,
    /// What is in it.
    pub content: Content,
    /// Cells in which something else is, as in a line of totals below the measurements.
    pub odd: usize,
}

/// What a column holds, as far as it shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Measurements, from the least to the greatest.
    Numbers {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
    },
    /// Whole numbers, nearly each one more than the one before: they number the rows.
    Counter,
    /// Numbers that are called like answers.
    Labels,
    /// What tells streams apart, so many of them.
    Key(usize),
    /// Times as RFC 3339 has them.
    Time,
    /// Times of another form; so many seconds lie between two rows.
    Clock {
        /// The median; none where all are alike.
        period_s: Option<f64>,
    },
    /// Anything else.
    Text,
}

impl Content {
    /// What a column is where it holds no measurements.
    pub fn other(&self) -> Option<&'static str> {
        match self {
            Content::Numbers { .. } => None,
            Content::Counter => Some("(it counts the rows)"),
            Content::Labels => Some("(it is called like an answer)"),
            Content::Key(_) => Some("(it tells streams apart)"),
            Content::Time | Content::Clock { .. } => Some("(times)"),
            Content::Text => Some("(text, or always the same)"),
        }
    }
}

/// Looks at every column.
pub fn columns(table: &Table) -> Vec<Column> {
    let column = |(place, name): (usize, &String)| {
        let texts: Vec<&str> = table.rows.iter().map(|row| &*row[place]).collect();
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        let (content, odd) = content(name, &texts);
        Column { name: name.clone(), place, content, odd }
    };
    table.names.iter().enumerate().map(column).collect()
}

/// Whether so many of all cells say what a column holds: one in twenty may be something else.
fn is_most(cells: usize, all: usize) -> bool {
    cells == all || cells.saturating_mul(20) >= all.saturating_mul(19)
}

/// What a column holds, and in how many cells there is something else.
fn content(name: &str, texts: &[&str]) -> (Content, usize) {
    if texts.is_empty() {
        return (Content::Text, 0);
    }
    let numbers: Vec<f64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let odd = texts.len() - numbers.len();
    if !is_most(numbers.len(), texts.len()) {
        return words(name, texts);
    }
    let content = match epochs(name, &numbers) {
        Some(clock) => clock,
        None => measured(name, texts, &numbers),
    };
    (content, odd)
}

/// What a column of texts holds.
fn words(name: &str, texts: &[&str]) -> (Content, usize) {
    if let Some(clock) = clock(texts) {
        return clock;
    }
    match streams(texts) {
        Some(streams) if !is_called(name, &LABELS) => (Content::Key(streams), 0),
        _ => (Content::Text, 0),
    }
}

fn is_called(name: &str, names: &[&str]) -> bool {
    names.contains(&name.to_lowercase().trim())
}

/// How many streams a column may tell apart; none if it does not look so.
fn streams(texts: &[&str]) -> Option<usize> {
    let distinct = texts.iter().take(100_000).collect::<BTreeSet<_>>().len();
    let tells =
        (2..=STREAMS_MAX).contains(&distinct) && texts.len() >= distinct * ROWS_A_STREAM_MIN;
    tells.then_some(distinct)
}

/// Times as numbers since 1970, by the column's name and how large they are: in seconds, or thousandths,
/// millionths or thousand-millionths of one.
fn epochs(name: &str, numbers: &[f64]) -> Option<Content> {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let unit = [(1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0)];
    let (_, unit) = unit.into_iter().find(|(from, _)| least >= *from)?;
    if !is_called(name, &TIMES) {
        return None;
    }
    let mut steps: Vec<f64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.retain(|step| *step > 0.0);
    steps.sort_unstable_by(f64::total_cmp);
    Some(Content::Clock { period_s: steps.get(steps.len() / 2).map(|step| step * unit) })
}

/// What a column of numbers holds.
fn measured(name: &str, texts: &[&str], numbers: &[f64]) -> Content {
    let finite = numbers.iter().copied().filter(|number| number.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
        (low.min(number), high.max(number))
    });
    let whole = numbers.iter().all(|number| number.fract() == 0.0);
    // Where recordings stand behind each other it begins anew with each.
    let steps = numbers.windows(2).filter(|pair| pair[1] - pair[0] == 1.0).count();
    let counts = numbers.len() > 2 && steps * 100 >= (numbers.len() - 1) * 99;
    let is_key = whole && is_called(name, &KEYS);
    let is_one = texts.iter().all(|text| Some(text) == texts.first());
    if low > high || (is_key && is_one) {
        return Content::Text;
    }
    if is_called(name, &LABELS) {
        return Content::Labels;
    }
    if whole && counts {
        return Content::Counter;
    }
    match streams(texts).filter(|_| is_key) {
        Some(streams) => Content::Key(streams),
        None => Content::Numbers { low, high },
    }
}

/// A column of times, if nearly all are; with how many are not.
fn clock(texts: &[&str]) -> Option<(Content, usize)> {
    let times = texts.iter().filter(|text| parse_time(text).is_some()).count();
    if is_most(times, texts.len()) {
        return Some((Content::Time, texts.len() - times));
    }
    let times: Vec<i64> = texts.iter().filter_map(|text| dated(text)).collect();
    if !is_most(times.len(), texts.len()) {
        return None;
    }
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Where rows of several streams stand behind each other, steps back lie between them.
    steps.retain(|step| *step > 0);
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2);
    let period_s = median.map(|step| *step as f64 / 1e9);
    Some((Content::Clock { period_s }, texts.len() - times.len()))
}

/// A time such as `2020-03-09 13:34:39`, of which nobody says where on earth, in nanoseconds.
fn dated(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let date = date.replace(['/', '.'], "-");
    parse_time(&format!("{date}T{}Z", time.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(csv: &str) -> Vec<(String, Content)> {
        let table = Table::read(csv.as_bytes(), 1000).unwrap();
        columns(&table).into_iter().map(|column| (column.name, column.content)).collect()
    }

    #[test]
    fn columns_are_taken_for_what_their_names_and_values_say() {
        let rows = (0..40).map(|row| {
            let (pump, hour) = (["a", "b"][row % 2], row / 2);
            format!("2020-03-09 {hour:02}:30:00,2020-03-09T{hour:02}:30Z,{pump},{row},7,{}.5,{},x{row}\n", row * row, row % 3)
        });
        let header = "when,time,pump,n,id,flow,anomaly,remark\n";
        let said = contents(&(header.to_owned() + &rows.collect::<String>()));
        let wanted = [
            ("when", Content::Clock { period_s: Some(3600.0) }),
            ("time", Content::Time),
            ("pump", Content::Key(2)),
            ("n", Content::Counter),
            ("id", Content::Text),
            ("flow", Content::Numbers { low: 0.5, high: 1521.5 }),
            ("anomaly", Content::Labels),
            ("remark", Content::Text),
        ];
        for ((name, content), (wanted_name, wanted)) in said.iter().zip(&wanted) {
            assert_eq!((name.as_str(), content), (*wanted_name, wanted));
        }
    }

    #[test]
    fn gaps_and_what_is_not_finite_do_not_make_numbers_text() {
        let said = contents("a,b,c\n1.5,,NaN\n,,1\nnan,,2\n-2,,4\n");
        assert_eq!(said[0].1, Content::Numbers { low: -2.0, high: 1.5 });
        assert_eq!(said[1].1, Content::Text);
        assert_eq!(said[2].1, Content::Numbers { low: 1.0, high: 4.0 });
    }

    #[test]
    fn a_line_of_totals_does_not_change_what_a_column_is_and_is_counted() {
        let rows: String =
            (0..40).map(|row| format!("2020-03-09T00:{row:02}:00Z,{row}.5\n")).collect();
        let table = format!("time,a\n{rows}Total,820\n");
        let table = Table::read(table.as_bytes(), 1000).unwrap();
        let said = columns(&table);
        assert_eq!((&said[0].content, said[0].odd), (&Content::Time, 1));
        assert_eq!(
            (&said[1].content, said[1].odd),
            (&Content::Numbers { low: 0.5, high: 820.0 }, 0)
        );
    }

    #[test]
    fn times_as_numbers_since_1970_say_how_far_apart_rows_are() {
        for (unit, first) in [(1, 1_700_000_000_i64), (1000, 1_700_000_000_000)] {
            let rows: String =
                (0..9).map(|row| format!("{},7\n", first + row * 60 * unit)).collect();
            let said = contents(&format!("timestamp,a\n{rows}"));
            assert_eq!(said[0].1, Content::Clock { period_s: Some(60.0) }, "{unit}");
        }
        // Small ones, or under another name, may be measurements.
        assert!(matches!(contents("time,a\n1,7\n4,7\n9,7\n")[0].1, Content::Numbers { .. }));
    }

    #[test]
    fn whole_numbers_that_tell_recordings_apart_are_a_key() {
        let rows: String =
            (0..60).map(|row| format!("{},{}\n", 100 + row / 20, row * 7 % 5)).collect();
        let said = contents(&format!("record,mv\n{rows}"));
        assert_eq!(said[0].1, Content::Key(3));
        assert_eq!(said[1].1, Content::Numbers { low: 0.0, high: 4.0 });
    }
}
