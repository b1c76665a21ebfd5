//! Why a `bundle.toml` is no description, by stage, key and line, in the words of its page: the names of Rust's
//! types tell its author nothing.

use crate::check::DescriptionError;
use crate::description::{BundleFile, Stage};
use std::ops::Range;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Longest piece of the author's text that an error repeats, in characters.
const SHOWN_MAX: usize = 60;
/// No stage has a key of this value: what comes of it shows which key is read first.
const NOBODYS: &str = "\u{1}";

/// Whether an error tells the line: it does where its reader has the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// He has.
    Told,
    /// The text was made of a table that was changed.
    Unknown,
}

/// Reads a description, or says what is none in it.
///
/// # Errors
/// [`DescriptionError`], by stage, port or place.
pub(crate) fn read(text: &str, lines: Lines) -> Result<BundleFile, DescriptionError> {
    let error = match toml::from_str(text) {
        Ok(bundle) => return Ok(bundle),
        Err(error) => error,
    };
    let syntax = || DescriptionError::Syntax(error.to_string());
    let Ok(spans) = DeTable::parse(text) else { return Err(syntax()) };
    let spans = spans.get_ref();
    let line = |offset: usize| match lines {
        Lines::Told => format!(" (line {})", 1 + text[..offset].matches('\n').count()),
        Lines::Unknown => String::new(),
    };
    // A stage's kind is known only when all of it was read, and by then nobody knows where it stood.
    if let Some((name, stage, said)) = wrong_stage(spans) {
        let key = key_of(&stage, &said);
        let path: Vec<&str> = ["stages", &name].into_iter().chain(key.as_deref()).collect();
        let place = place_of(spans, &path);
        let at = place.as_ref().map_or(String::new(), |place| line(place.key.start));
        let shown = key.filter(|_| !names_its_key(&said));
        let shown =
            shown.zip(place).map(|(key, place)| format!("{key} = {} ", written_at(text, place)));
        let problem = format!("{}{}{at}", shown.unwrap_or_default(), in_words(&said));
        return Err(DescriptionError::Stage { stage: name, problem });
    }
    let Some(offset) = error.span().map(|span| span.start) else { return Err(syntax()) };
    let path = path_at(spans, offset).unwrap_or_default();
    let said = error.message();
    let shown = match (path.split_last(), names_its_key(said)) {
        (Some((key, _)), false) => {
            let place = place_of(spans, &path.iter().map(String::as_str).collect::<Vec<_>>());
            let value =
                place.map_or(String::new(), |place| format!("= {} ", written_at(text, place)));
            format!("{key} {value}")
        }
        _ => String::new(),
    };
    let problem = format!("{shown}{}{}", in_words(said), line(offset));
    let above = match names_its_key(said) && !is_unknown(said) {
        // What lacks a key is itself what the path leads to.
        true => &path[..],
        false => &path[..path.len().saturating_sub(1)],
    };
    Err(match above {
        [] => DescriptionError::Syntax(problem),
        [inputs, port, ..] if inputs == "inputs" => {
            DescriptionError::Port { port: port.clone(), problem }
        }
        above => DescriptionError::Place { place: above.join("."), problem },
    })
}

/// The first stage that is none, and why.
fn wrong_stage(spans: &DeTable<'_>) -> Option<(String, Table, String)> {
    let stages = spans.iter().find(|(key, _)| key.get_ref() == "stages")?.1;
    let DeValue::Table(stages) = stages.get_ref() else { return None };
    stages.iter().find_map(|(name, stage)| {
        let Value::Table(stage) = value(stage.get_ref()) else { return None };
        let error = Value::Table(stage.clone()).try_into::<Stage>().err()?;
        Some((name.get_ref().to_string(), stage, error.message().to_owned()))
    })
}

/// The same as a value. A whole number that is too large for any is none: its text stands for it.
fn value(written: &DeValue<'_>) -> Value {
    match written {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::String(number.to_string()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::String(number.to_string()),
        },
        DeValue::Boolean(is_true) => Value::Boolean(*is_true),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| value(item.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let pairs = table.iter();
            Value::Table(
                pairs.map(|(key, it)| (key.get_ref().to_string(), value(it.get_ref()))).collect(),
            )
        }
    }
}

/// The key of a stage that an error is about: the last one, in the order in which they are read, without whose
/// value it would be another.
fn key_of(stage: &Table, said: &str) -> Option<String> {
    if let Some(key) = quoted(said).filter(|_| names_its_key(said)) {
        return stage.contains_key(key).then(|| key.to_owned());
    }
    let is_of = |key: &&String| {
        let mut changed = stage.clone();
        changed.insert((*key).clone(), Value::String(NOBODYS.to_owned()));
        let error = Value::Table(changed).try_into::<Stage>().err();
        error.is_none_or(|error| error.message() != said)
    };
    let others = || stage.keys().filter(|key| *key != "kind");
    let kind = || stage.get_key_value("kind").map(|(key, _)| key);
    others().rfind(is_of).or_else(kind).cloned()
}

/// Whether an error is about a key that there is not, or that is not there.
fn names_its_key(said: &str) -> bool {
    is_unknown(said) || said.starts_with("missing field")
}

fn is_unknown(said: &str) -> bool {
    said.starts_with("unknown field")
}

/// The first word in backquotes.
fn quoted(said: &str) -> Option<&str> {
    said.split('`').nth(1)
}

/// What serde says of a value, as its author knows it.
fn in_words(said: &str) -> String {
    if let Some(key) = quoted(said) {
        let rest = said.split_once(", expected ").map_or("", |(_, rest)| rest);
        let rest = rest.strip_prefix("one of ").unwrap_or(rest);
        if is_unknown(said) {
            return match rest.is_empty() || rest.starts_with("there are no") {
                true => format!("unknown key `{key}`"),
                false => format!("unknown key `{key}`, there are {rest}"),
            };
        }
        if said.starts_with("missing field") {
            return format!("`{key}` is missing");
        }
        if said.starts_with("unknown variant") {
            return format!("must be one of {rest}");
        }
    }
    let is_of_type = said.starts_with("invalid type") || said.starts_with("invalid value");
    match said.rsplit_once(", expected ") {
        Some((_, expected)) if is_of_type => format!("must be {}", expected_in_words(expected)),
        _ => said.to_owned(),
    }
}

fn expected_in_words(expected: &str) -> String {
    let most = match expected {
        "u8" => Some(u64::from(u8::MAX)),
        "u16" => Some(u64::from(u16::MAX)),
        "u32" => Some(u64::from(u32::MAX)),
        "u64" | "usize" => Some(i64::MAX as u64),
        _ => None,
    };
    if let Some(most) = most {
        return format!("a whole number from 0 to {most}");
    }
    match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "string or table" | "a borrowed string" => "a text".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        _ if expected.starts_with("struct ") || expected.contains("tagged enum") => {
            "a table".into()
        }
        _ => expected
            .strip_prefix("an array of length ")
            .map_or_else(|| expected.to_owned(), |length| format!("a list of {length}")),
    }
}

/// Where a key and its value stand, in bytes from the beginning.
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// The value that stands there, as it is written.
fn written_at(text: &str, place: Place) -> String {
    let written = text.get(place.value).unwrap_or_default();
    let words = written.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.chars().count() > SHOWN_MAX {
        true => words.chars().take(SHOWN_MAX).chain(['…']).collect(),
        false => words,
    }
}

/// Where the key at the end of this path stands; of a list, the item.
fn place_of(table: &DeTable<'_>, path: &[&str]) -> Option<Place> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    within_place(Place { key: key.span(), value: value.span() }, value.get_ref(), rest)
}

fn within_place(place: Place, value: &DeValue<'_>, path: &[&str]) -> Option<Place> {
    let Some((first, rest)) = path.split_first() else { return Some(place) };
    match value {
        DeValue::Table(table) => place_of(table, path),
        DeValue::Array(items) => {
            let item = items.get(first.parse::<usize>().ok()?)?;
            let place = Place { key: item.span(), value: item.span() };
            within_place(place, item.get_ref(), rest)
        }
        _ => None,
    }
}

/// The path to the innermost key or value that is at this place.
fn path_at(table: &DeTable<'_>, offset: usize) -> Option<Vec<String>> {
    let mut outer = None;
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if let Some(inner) = within(value.get_ref(), offset) {
            return Some([vec![name], inner].concat());
        }
        if key.span().contains(&offset) || value.span().contains(&offset) {
            outer = Some(vec![name]);
        }
    }
    outer
}

fn within(value: &DeValue<'_>, offset: usize) -> Option<Vec<String>> {
    match value {
        DeValue::Table(table) => path_at(table, offset),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(at, item)| {
            let inner = within(item.get_ref(), offset);
            let inner = inner.or_else(|| item.span().contains(&offset).then(Vec::new))?;
            Some([vec![at.to_string()], inner].concat())
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "format = 1
name = 'pump'
version = '1'
[inputs.row]
rate_hz = 1.0
fields = [{ name = 'flow' }]
[stages.window]
kind = 'window'
input = 'row'
rows = 6
stride = 3
[stages.smooth]
kind = 'filter'
input = 'window'
fir = [0.5, 0.5]
[stages.one]
kind = 'select'
input = 'window'
index = 0
[outputs]
it = { from = 'one' }
[limits]
memory_mib = 64
[[checks]]
name = 'own'
input = 'a.csv'
expected = 'a.jsonl'
";

    #[test]
    fn what_is_no_description_is_told_by_stage_key_and_line_in_words_of_the_page() {
        assert_eq!(read(GOOD, Lines::Told).map(|_| ()), Ok(()));
        let whole = "must be a whole number from 0 to 4294967295";
        for (from, to, error) in [
            ("stride = 3", "stride = -1", &*format!("stage window: stride = -1 {whole} (line 11)")),
            ("rows = 6", "rows = 3.0", &format!("stage window: rows = 3.0 {whole} (line 10)")),
            // Both are alike, and the first that is read is told.
            (
                "rows = 6\nstride = 3",
                "rows = -1\nstride = -1",
                &format!("stage window: rows = -1 {whole} (line 10)"),
            ),
            (
                "stride = 3",
                "stride = 1000000000000",
                &format!("stage window: stride = 1000000000000 {whole} (line 11)"),
            ),
            (
                "rows = 6",
                "row = 6",
                "stage window: unknown key `row`, there are `input`, `rows`, `stride`, `seconds`, `stride_seconds`, \
                 `gap_seconds` (line 10)",
            ),
            ("input = 'window'\nfir", "fir", "stage smooth: `input` is missing (line 12)"),
            ("fir = [0.5, 0.5]", "fir = 0.5", "stage smooth: fir = 0.5 must be a list (line 15)"),
            ("kind = 'select'\n", "", "stage one: `kind` is missing (line 16)"),
            (
                "memory_mib = 64",
                "memory_mib = '64'",
                &format!("limits: memory_mib = '64' {whole} (line 23)"),
            ),
            (
                "stride = 3",
                "stride = 18446744073709551615",
                &format!("stage window: stride = 18446744073709551615 {whole} (line 11)"),
            ),
            (
                "memory_mib = 64",
                "memory_mib = 18446744073709551615",
                &format!("limits: memory_mib = 18446744073709551615 {whole} (line 23)"),
            ),
            (
                "rate_hz = 1.0",
                "rate_hz = 'fast'",
                "port row: rate_hz = 'fast' must be a number (line 5)",
            ),
            (
                "{ name = 'flow' }",
                "{ name = 'flow', units = 'l' }",
                "port row: unknown key `units`, there are `name`, `unit`, `range` (line 6)",
            ),
            ("{ from = 'one' }", "{ from = 1 }", "outputs.it: from = 1 must be a text (line 21)"),
            ("expected = 'a.jsonl'\n", "", "checks.0: `expected` is missing (line 24)"),
            ("format = 1", "format = 'a'", &format!("format = 'a' {whole} (line 1)")),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from:?} is not in the example");
            let said = read(&text, Lines::Told).unwrap_err().to_string();
            assert_eq!(said, error, "{to}");
            let without = error.split(" (line").next().unwrap();
            let unlined = read(&text, Lines::Unknown).unwrap_err().to_string();
            assert_eq!(unlined, without, "{to}");
        }
        let kinds = read(&GOOD.replace("'filter'", "'fft'"), Lines::Told).unwrap_err().to_string();
        assert!(
            kinds.starts_with("stage smooth: kind = 'fft' must be one of `window`, "),
            "{kinds}"
        );
        assert!(kinds.ends_with(" (line 13)"), "{kinds}");
        let syntax = read(&GOOD.replace("rows = 6", "rows = = 6"), Lines::Told).unwrap_err();
        assert!(syntax.to_string().starts_with("TOML parse error at line 10"), "{syntax}");
    }
}
