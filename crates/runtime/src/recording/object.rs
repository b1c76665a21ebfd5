//! A JSON object as a row of a port: a message of a plant's broker, or a line of a recording.

use super::{KEY_BYTES_MAX, NO_TIME, RecordedRow, RowError, parse_time};
use lineside_bundle::Port;
use serde_json::Value;

/// Names of fields that are told where one is missing.
const FIELDS_TOLD: usize = 20;
/// Characters of a wrong value that are told.
const TEXT_CHARS_TOLD: usize = 40;

impl RecordedRow {
    /// The row that `object` is, at line `line` of whatever it comes from. `time_unix_ns` is its time
    /// where the port has no field for it.
    ///
    /// # Errors
    /// [`RowError`], with the field and the text found.
    pub fn of_json(
        port: &Port,
        object: &Value,
        line: u64,
        time_unix_ns: i64,
    ) -> Result<RecordedRow, RowError> {
        let wrong = |reason, problem| Err(RowError { line, reason, problem });
        let Value::Object(object) = object else {
            return wrong("malformed", format!("{} is no object", found(object)));
        };
        let mut values = Vec::with_capacity(port.fields.len());
        for field in &port.fields {
            let name = &field.name;
            match object.get(name) {
                None => {
                    let there: Vec<&String> = object.keys().take(FIELDS_TOLD).collect();
                    return wrong("missing", format!("there is no field {name}, only {there:?}"));
                }
                Some(Value::Null) => return wrong("missing", format!("field {name} is null")),
                Some(Value::Number(number)) => match number.as_f64() {
                    Some(value) if value.is_finite() => values.push(value),
                    _ => {
                        return wrong(
                            "not_finite",
                            format!("field {name}: {number} is not finite"),
                        );
                    }
                },
                // JSON has no word for them, so people write them as text.
                Some(Value::String(text)) if text.parse().is_ok_and(|v: f64| !v.is_finite()) => {
                    return wrong("not_finite", format!("field {name}: {text} is not finite"));
                }
                Some(other) => {
                    return wrong(
                        "malformed",
                        format!("field {name}: {} is no number", found(other)),
                    );
                }
            }
        }
        let key = match port.key.as_ref().map(|key| (key, object.get(key))) {
            None => String::new(),
            Some((_, Some(Value::String(key))))
                if !key.is_empty() && key.len() <= KEY_BYTES_MAX =>
            {
                key.clone()
            }
            Some((_, Some(Value::Number(key)))) if key.is_i64() || key.is_u64() => key.to_string(),
            Some((name, other)) => {
                let text = other.map_or("nothing".to_owned(), found);
                return wrong("key", format!("field {name}: {text} names no stream"));
            }
        };
        let time_unix_ns = match port.time.as_ref().map(|time| (time, object.get(time))) {
            None => time_unix_ns,
            Some((name, value)) => match value.and_then(Value::as_str).and_then(parse_time) {
                Some(time) => time,
                None => {
                    let text = value.map_or("nothing".to_owned(), found);
                    return wrong("time", format!("field {name}: {text} {NO_TIME}"));
                }
            },
        };
        Ok(RecordedRow { line, key, time_unix_ns, values })
    }
}

/// A value as it stands there, cut short.
fn found(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(TEXT_CHARS_TOLD) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
