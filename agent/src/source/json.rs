//! A message of a plant's broker: a JSON object, or an array of them, into rows of a port.

use crate::source::Row;
use lineside_bundle::Port;
use lineside_runtime::{RecordedRow, RowError};
use serde_json::Value;
use std::collections::BTreeMap;

/// Rows that one message may carry.
const ROWS_MAX: usize = 10_000;

/// What a message held.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    /// Its readings, in order.
    pub rows: Vec<Row>,
    /// What was no reading, by reason: how many, and what was wrong with the first.
    pub dropped: BTreeMap<&'static str, (u64, String)>,
}

/// Reads the rows of a message. Gives what were none as well, by reason.
///
/// `now_unix_ns` is the time of a row whose port has no field for it.
pub fn rows(port: &Port, payload: &[u8], now_unix_ns: i64) -> Rows {
    let whole = |reason, count, problem| Rows {
        rows: Vec::new(),
        dropped: BTreeMap::from([(reason, (count, problem))]),
    };
    let objects = match serde_json::from_slice(payload) {
        Ok(Value::Array(objects)) if objects.len() <= ROWS_MAX => objects,
        Ok(Value::Array(objects)) => {
            let count = objects.len() as u64;
            return whole("too_many", count, format!("{count} rows, {ROWS_MAX} are taken"));
        }
        Ok(one) => vec![one],
        Err(error) => return whole("malformed", 1, format!("no JSON: {error}")),
    };
    let mut read = Rows::default();
    for object in &objects {
        // A message has no lines.
        match RecordedRow::of_json(port, object, 0, now_unix_ns) {
            Ok(RecordedRow { key, time_unix_ns, values, .. }) => {
                read.rows.push(Row { key, time_unix_ns, values });
            }
            Err(RowError { reason, problem, .. }) => {
                read.dropped.entry(reason).or_insert((0, problem)).0 += 1;
            }
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::port;

    #[test]
    fn every_row_is_a_reading_or_counted_with_its_reason() {
        let port = port(
            "key = 'turbine'\ntime = 'time'\nfields = [{ name = 'wind' }, { name = 'power' }]",
        );
        let said = |payload: &str| {
            let Rows { rows, dropped } = rows(&port, payload.as_bytes(), 7);
            let dropped: BTreeMap<_, _> =
                dropped.into_iter().map(|(reason, (count, _))| (reason, count)).collect();
            let rows: Vec<String> = rows
                .iter()
                .map(|row| {
                    format!("{} {} {:?}", row.key, row.time_unix_ns / 1_000_000_000, row.values)
                })
                .collect();
            (rows.join("; "), format!("{dropped:?}"))
        };
        let good = r#"{"turbine":"A","time":"2014-01-18T00:00Z","wind":1,"power":2.5,"more":[1]}"#;
        assert_eq!(said(good), ("A 1390003200 [1.0, 2.5]".into(), "{}".into()));
        let two = format!("[{good}, {}]", good.replace("\"A\"", "7"));
        assert_eq!(said(&two).0, "A 1390003200 [1.0, 2.5]; 7 1390003200 [1.0, 2.5]");
        for (from, to, reason) in [
            ("\"wind\":1", "\"wind\":null", "missing"),
            ("\"wind\":1,", "", "missing"),
            ("\"wind\":1", "\"wind\":\"NaN\"", "not_finite"),
            ("\"wind\":1", "\"wind\":\"-inf\"", "not_finite"),
            ("\"wind\":1", "\"wind\":1e999", "malformed"),
            ("\"wind\":1", "\"wind\":true", "malformed"),
            ("\"wind\":1", "\"wind\":[1]", "malformed"),
            ("\"A\"", "\"\"", "key"),
            ("\"A\"", "1.5", "key"),
            ("2014-01-18T00:00Z", "yesterday", "time"),
            ("\"2014-01-18T00:00Z\"", "12", "time"),
            ("}", "", "malformed"),
        ] {
            let payload = good.replacen(from, to, 1);
            assert_eq!(
                said(&payload),
                (String::new(), format!("{{\"{reason}\": 1}}")),
                "{payload}"
            );
        }
        assert_eq!(said("[]").1, "{}");
        assert_eq!(said("[1, 2]").1, "{\"malformed\": 2}");
    }

    #[test]
    fn what_is_wrong_is_told_with_the_field_and_the_text() {
        let port = port("key = 'k'\ntime = 't'\nfields = [{ name = 'wind' }]");
        let good = r#"{"k":"A","t":"2014-01-18T00:00Z","wind":1}"#;
        for (from, to, wanted) in [
            ("\"wind\"", "\"Wind\"", "there is no field wind, only [\"Wind\", \"k\", \"t\"]"),
            ("\"wind\":1", "\"wind\":\"x\"", "field wind: \"x\" is no number"),
            ("\"wind\":1", "\"wind\":\"NaN\"", "field wind: NaN is not finite"),
            ("\"k\":\"A\",", "", "field k: nothing names no stream"),
            (
                "2014-01-18T00:00Z",
                "noon",
                "field t: \"noon\" is no RFC 3339 time such as 2014-01-18T00:10:00Z (Python: isoformat() of a \
             datetime with tzinfo); or say rate_hz",
            ),
            (good, "7", "7 is no object"),
        ] {
            let dropped = rows(&port, good.replacen(from, to, 1).as_bytes(), 7).dropped;
            let told: Vec<&str> = dropped.values().map(|(_, problem)| &**problem).collect();
            assert_eq!(told, [wanted]);
        }
        let long = good.replace(":1}", &format!(":\"{}\"}}", "ä".repeat(9000)));
        let dropped = rows(&port, long.as_bytes(), 7).dropped;
        assert!(dropped.values().all(|(_, problem)| problem.chars().count() < 80), "{dropped:?}");
    }
}
