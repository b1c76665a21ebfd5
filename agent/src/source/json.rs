//! A message of a plant's broker: a JSON object, or an array of them, into rows of a port.

use crate::source::Row;
use lineside_bundle::Port;
use serde_json::Value;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Rows that one message may carry.
const ROWS_MAX: usize = 10_000;
/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Reads the rows of a message. Gives what were none as well, by reason.
///
/// `now_unix_ns` is the time of a row whose port has no field for it.
pub fn rows(
    port: &Port,
    payload: &[u8],
    now_unix_ns: i64,
) -> (Vec<Row>, BTreeMap<&'static str, u64>) {
    let mut dropped = BTreeMap::new();
    let objects = match serde_json::from_slice(payload) {
        Ok(Value::Array(objects)) if objects.len() <= ROWS_MAX => objects,
        Ok(Value::Array(objects)) => {
            return (vec![], BTreeMap::from([("too_many", objects.len() as u64)]));
        }
        Ok(one) => vec![one],
        Err(_) => return (vec![], BTreeMap::from([("malformed", 1)])),
    };
    let mut rows = Vec::new();
    for object in &objects {
        match row(port, object, now_unix_ns) {
            Ok(row) => rows.push(row),
            Err(reason) => *dropped.entry(reason).or_insert(0) += 1,
        }
    }
    (rows, dropped)
}

fn row(port: &Port, object: &Value, now_unix_ns: i64) -> Result<Row, &'static str> {
    let Value::Object(object) = object else { return Err("malformed") };
    let mut values = Vec::with_capacity(port.fields.len());
    for field in &port.fields {
        match object.get(&field.name) {
            None | Some(Value::Null) => return Err("missing"),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(value) if value.is_finite() => values.push(value),
                _ => return Err("not_finite"),
            },
            // JSON has no word for them, so people write them as text.
            Some(Value::String(text)) if text.parse().is_ok_and(|v: f64| !v.is_finite()) => {
                return Err("not_finite");
            }
            Some(_) => return Err("malformed"),
        }
    }
    let key = match port.key.as_ref().map(|key| object.get(key)) {
        None => String::new(),
        Some(Some(Value::String(key))) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => {
            key.clone()
        }
        Some(Some(Value::Number(key))) if key.is_i64() || key.is_u64() => key.to_string(),
        Some(_) => return Err("key"),
    };
    let time_unix_ns = match port.time.as_ref().map(|time| object.get(time)) {
        None => now_unix_ns,
        Some(Some(Value::String(text))) => parse_time(text).ok_or("time")?,
        Some(_) => return Err("time"),
    };
    Ok(Row { key, time_unix_ns, values })
}

/// RFC 3339, with or without seconds.
fn parse_time(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| {
        let minutes = text.strip_suffix('Z')?;
        OffsetDateTime::parse(&format!("{minutes}:00Z"), &Rfc3339).ok()
    })?;
    i64::try_from(time.unix_timestamp_nanos()).ok()
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
            let (rows, dropped) = rows(&port, payload.as_bytes(), 7);
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
}
