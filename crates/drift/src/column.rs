//! The values of a column on one side, and what kind of column it is.

use std::collections::HashSet;

/// An integer column with no more distinct values than these is categorical.
pub const INTEGER_CATEGORIES_MAX: usize = 10;
/// A column of texts of which more than this share is distinct holds text, not categories.
pub const TEXT_SHARE: f64 = 0.5;

/// What is read as missing in a table of texts, as pandas 2 does.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// What a column holds, which decides on the methods that apply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers of which distance and order mean something.
    Numerical,
    /// Values that are equal or not.
    Categorical,
    /// Texts that hardly ever come twice: no method here is for them.
    Text,
}

impl Kind {
    /// Its name, as in `numerical`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Numerical => "numerical",
            Kind::Categorical => "categorical",
            Kind::Text => "text",
        }
    }
}

/// The values of one column on one side, in the order of the rows: shape `[n_rows]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub(crate) cells: Cells,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    /// Missing ones are NaN; `whole` ones are integers, none of which is missing.
    Numbers {
        values: Vec<f64>,
        whole: bool,
    },
    Booleans(Vec<Option<bool>>),
    Texts(Vec<Option<String>>),
}

/// A value that is compared for equality alone. Numbers come before texts in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key<'a> {
    Number(i64),
    Text(&'a str),
}

impl Key<'_> {
    /// The key of a finite number. Noughts of both signs are one, and the order is that of the numbers.
    pub(crate) fn number(value: f64) -> Key<'static> {
        let bits = (value + 0.0).to_bits() as i64;
        Key::Number(bits ^ (((bits >> 63) as u64) >> 1) as i64)
    }
}

impl Column {
    /// Numbers that may be fractions; NaN is missing. Infinities count as neither missing nor valid: they
    /// are left out of every method.
    pub fn numbers(values: Vec<f64>) -> Column {
        Column { cells: Cells::Numbers { values, whole: false } }
    }

    /// Integers; beyond 2⁵³ they are taken as the nearest double.
    pub fn integers(values: impl IntoIterator<Item = i64>) -> Column {
        let values = values.into_iter().map(|value| value as f64).collect();
        Column { cells: Cells::Numbers { values, whole: true } }
    }

    /// Yes or no, or missing. As a number it is 1 or 0.
    pub fn booleans(values: Vec<Option<bool>>) -> Column {
        Column { cells: Cells::Booleans(values) }
    }

    /// Texts, or missing. The empty text is one.
    pub fn texts(values: Vec<Option<String>>) -> Column {
        Column { cells: Cells::Texts(values) }
    }

    /// A column of a table of texts, such as CSV: integers if all are such and none is missing, else numbers
    /// if all are, else booleans if all are `true` or `false` in one of three spellings, else texts. The
    /// empty text, `NA`, `NaN`, `null` and their like are missing. These are the rules of pandas 2
    /// (`read_csv`), except that numbers are read to the last digit.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Column {
        let texts: Vec<Option<&str>> =
            texts.into_iter().map(|text| (!MISSING.contains(&text)).then_some(text)).collect();
        if !texts.is_empty()
            && let Some(integers) = all(&texts, |text| text?.trim_matches(' ').parse::<i64>().ok())
        {
            return Column::integers(integers);
        }
        let number = |text: Option<&str>| match text {
            None => Some(f64::NAN),
            Some(text) => number(text),
        };
        if let Some(numbers) = all(&texts, number) {
            return Column::numbers(numbers);
        }
        let boolean = |text: Option<&str>| match text {
            None => Some(None),
            Some("true" | "True" | "TRUE") => Some(Some(true)),
            Some("false" | "False" | "FALSE") => Some(Some(false)),
            Some(_) => None,
        };
        if let Some(booleans) = all(&texts, boolean) {
            return Column::booleans(booleans);
        }
        Column::texts(texts.into_iter().map(|text| text.map(str::to_owned)).collect())
    }

    /// The number of rows, missing ones among them.
    pub fn rows(&self) -> usize {
        match &self.cells {
            Cells::Numbers { values, .. } => values.len(),
            Cells::Booleans(values) => values.len(),
            Cells::Texts(values) => values.len(),
        }
    }

    /// The number of missing values: NaN and gaps, not infinities.
    pub fn missing(&self) -> usize {
        match &self.cells {
            Cells::Numbers { values, .. } => values.iter().filter(|value| value.is_nan()).count(),
            Cells::Booleans(values) => values.iter().filter(|value| value.is_none()).count(),
            Cells::Texts(values) => values.iter().filter(|value| value.is_none()).count(),
        }
    }

    /// What the column holds: fractions are numerical; integers categorical up to
    /// [`INTEGER_CATEGORIES_MAX`] distinct values, numerical above; booleans categorical; texts categorical
    /// unless more than [`TEXT_SHARE`] of them is distinct (Evidently 0.7.23, `infer_column_type`, which knows
    /// no type for booleans with gaps; here they stay categorical).
    pub fn kind(&self) -> Kind {
        match &self.cells {
            Cells::Numbers { values, whole: true } => {
                let distinct: HashSet<Key> =
                    values.iter().map(|value| Key::number(*value)).collect();
                match distinct.len() <= INTEGER_CATEGORIES_MAX {
                    true => Kind::Categorical,
                    false => Kind::Numerical,
                }
            }
            Cells::Numbers { .. } => Kind::Numerical,
            Cells::Booleans(_) => Kind::Categorical,
            Cells::Texts(values) => {
                let there: Vec<&String> = values.iter().flatten().collect();
                let distinct: HashSet<&String> = there.iter().copied().collect();
                match distinct.len() as f64 > there.len() as f64 * TEXT_SHARE {
                    true => Kind::Text,
                    false => Kind::Categorical,
                }
            }
        }
    }

    /// The finite numbers, in the order of the rows, and whether the column is one of integers; none if it
    /// holds texts.
    pub(crate) fn finite(&self) -> Option<(Vec<f64>, bool)> {
        match &self.cells {
            Cells::Numbers { values, whole } => {
                let finite = values.iter().copied().filter(|value| value.is_finite());
                Some((finite.collect(), *whole))
            }
            Cells::Booleans(values) => {
                let numbers = values.iter().flatten().map(|value| f64::from(u8::from(*value)));
                Some((numbers.collect(), values.iter().all(Option::is_some)))
            }
            Cells::Texts(_) => None,
        }
    }

    /// What is there, for comparing.
    pub(crate) fn keys(&self) -> Vec<Key<'_>> {
        match (&self.cells, self.finite()) {
            (Cells::Texts(values), _) => {
                values.iter().flatten().map(|text| Key::Text(text)).collect()
            }
            (_, finite) => {
                let numbers = finite.map(|(numbers, _)| numbers).unwrap_or_default();
                numbers.into_iter().map(Key::number).collect()
            }
        }
    }
}

/// What a cell of a table of texts looks like by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token {
    /// The empty text, `NA`, `NaN`, `null` and their like.
    Missing,
    /// A whole number of 64 binary digits.
    Integer(i64),
    /// Any other number, an infinite one too.
    Number(f64),
    /// `true` or `false` in one of three spellings.
    Boolean(bool),
    /// Anything else.
    Text,
}

impl Token {
    /// Looks at a cell, by the rules of [`Column::parse`].
    pub fn of(text: &str) -> Token {
        if MISSING.contains(&text) {
            return Token::Missing;
        }
        if let Ok(integer) = text.trim_matches(' ').parse() {
            return Token::Integer(integer);
        }
        match (number(text), text) {
            (Some(number), _) => Token::Number(number),
            (None, "true" | "True" | "TRUE") => Token::Boolean(true),
            (None, "false" | "False" | "FALSE") => Token::Boolean(false),
            (None, _) => Token::Text,
        }
    }
}

/// What `read` makes of each text, if it reads them all.
fn all<T>(texts: &[Option<&str>], read: impl Fn(Option<&str>) -> Option<T>) -> Option<Vec<T>> {
    texts.iter().map(|text| read(*text)).collect()
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim_matches(' ');
    // A word for "no number" that is not in the list of missing ones is a text.
    let is_word =
        text.contains(|char: char| char.is_ascii_alphabetic() && !matches!(char, 'e' | 'E'));
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if is_word && word != "inf" && word != "infinity" {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> (Kind, usize) {
        let column = Column::parse(texts.iter().copied());
        (column.kind(), column.missing())
    }

    #[test]
    fn texts_of_a_table_become_what_they_look_like() {
        let ten: Vec<String> = (0..10).map(|at| at.to_string()).collect();
        let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
        let eleven = [&ten[..], &["-1"]].concat();
        assert_eq!(parsed(&ten), (Kind::Categorical, 0));
        assert_eq!(parsed(&eleven), (Kind::Numerical, 0));
        assert_eq!(
            parsed(&[&ten[..], &["NA"]].concat()),
            (Kind::Numerical, 1),
            "a gap makes fractions"
        );
        assert_eq!(parsed(&["1", "2.0"]), (Kind::Numerical, 0));
        assert_eq!(parsed(&["inf", "-Infinity", "1e3", " 2"]), (Kind::Numerical, 0));
        assert_eq!(parsed(&["true", "FALSE"]), (Kind::Categorical, 0));
        assert_eq!(parsed(&["true", ""]), (Kind::Categorical, 1));
        assert_eq!(
            parsed(&["a", "a", "b", "b"]),
            (Kind::Categorical, 0),
            "half is not more than half"
        );
        assert_eq!(parsed(&["a", "a", "b", "c", ""]), (Kind::Text, 1));
        assert_eq!(parsed(&["1", "x", "1", "1"]), (Kind::Categorical, 0));
        assert_eq!(parsed(&["", "null", "None"]), (Kind::Numerical, 3));
    }

    #[test]
    fn numbers_are_told_apart_and_ordered_as_they_are() {
        let mut keys = [3.5, -2.0, 0.0, -7.0, 1e-300, -1e300].map(Key::number);
        keys.sort();
        assert_eq!(keys, [-1e300, -7.0, -2.0, 0.0, 1e-300, 3.5].map(Key::number));
        assert_eq!(Key::number(0.0), Key::number(-0.0));
        assert!(Key::number(1e300) < Key::Text(""));
    }
}
