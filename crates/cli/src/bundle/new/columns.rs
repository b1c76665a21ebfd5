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

/// A column of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Where it stands, from 0.
    pub place: usize,
    /// What is in it.
    pub content: Content,
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

/// Looks at every column.
pub fn columns(table: &Table) -> Vec<Column> {
    let column = |(place, name): (usize, &String)| {
        let texts: Vec<&str> = table.rows.iter().map(|row| &*row[place]).collect();
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        Column { name: name.clone(), place, content: content(name, &texts) }
    };
    table.names.iter().enumerate().map(column).collect()
}

fn content(name: &str, texts: &[&str]) -> Content {
    if texts.is_empty() {
        return Content::Text;
    }
    let numbers: Option<Vec<f64>> = texts.iter().map(|text| text.parse().ok()).collect();
    let is_called = |names: &[&str]| names.contains(&name.to_lowercase().trim());
    let distinct = texts.iter().take(100_000).collect::<BTreeSet<_>>().len();
    let tells_streams =
        (2..=STREAMS_MAX).contains(&distinct) && texts.len() >= distinct * ROWS_A_STREAM_MIN;
    let Some(numbers) = numbers else {
        return match clock(texts) {
            Some(content) => content,
            None if tells_streams && !is_called(&LABELS) => Content::Key(distinct),
            None => Content::Text,
        };
    };
    let finite = numbers.iter().copied().filter(|number| number.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
        (low.min(number), high.max(number))
    });
    let whole = numbers.iter().all(|number| number.fract() == 0.0);
    // Where recordings stand behind each other it begins anew with each.
    let steps = numbers.windows(2).filter(|pair| pair[1] - pair[0] == 1.0).count();
    let counts = numbers.len() > 2 && steps * 100 >= (numbers.len() - 1) * 99;
    let is_key = whole && is_called(&KEYS);
    if low > high || (is_key && distinct == 1) {
        return Content::Text;
    }
    if is_called(&LABELS) {
        return Content::Labels;
    }
    if whole && counts {
        return Content::Counter;
    }
    if is_key && tells_streams { Content::Key(distinct) } else { Content::Numbers { low, high } }
}

/// A column of times, if each is one.
fn clock(texts: &[&str]) -> Option<Content> {
    if texts.iter().all(|text| parse_time(text).is_some()) {
        return Some(Content::Time);
    }
    let times: Option<Vec<i64>> = texts.iter().map(|text| dated(text)).collect();
    let mut steps: Vec<i64> = times?.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Where rows of several streams stand behind each other, steps back lie between them.
    steps.retain(|step| *step > 0);
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2);
    Some(Content::Clock { period_s: median.map(|step| *step as f64 / 1e9) })
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
    fn whole_numbers_that_tell_recordings_apart_are_a_key() {
        let rows: String =
            (0..60).map(|row| format!("{},{}\n", 100 + row / 20, row * 7 % 5)).collect();
        let said = contents(&format!("record,mv\n{rows}"));
        assert_eq!(said[0].1, Content::Key(3));
        assert_eq!(said[1].1, Content::Numbers { low: 0.0, high: 4.0 });
    }
}
