//! A first look at a column, value by value in constant memory: what it holds, and over which edges or
//! categories it is to be counted.

use super::column::{Marks, quantile_edges};
use crate::column::{INTEGER_CATEGORIES_MAX, Kind, TEXT_SHARE, Token};
use lineside_sketch::{CATEGORIES_MAX, CATEGORY_BYTES_MAX, Categories, Distinct};
use std::borrow::Cow;
use std::collections::HashMap;

/// Numbers that are kept to find edges: a fair choice of all. Shares between edges are then right to within
/// some two percent.
const SAMPLE: usize = 4096;
/// Numbers that are looked at together.
const VALUES_AT_ONCE: usize = 256;
/// Different texts that are counted to find categories; those that come later are none.
const TEXTS_MAX: usize = 1024;

/// What was seen of a column.
#[derive(Debug, Clone)]
pub struct Survey {
    rows: u64,
    missing: u64,
    numbers: u64,
    booleans: u64,
    is_whole: bool,
    distinct: Distinct,
    sample: Vec<f64>,
    range: (f64, f64),
    /// None once there are too many of a column of numbers.
    texts: Option<HashMap<String, u64>>,
}

/// Why a column is not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMarks {
    /// No value at all.
    #[error("the reference has no valid value: look at what writes the column")]
    Empty,
    /// Nearly every text is another.
    #[error(
        "it holds text, more than half of which is distinct: take it as categorical, or leave it out"
    )]
    Text,
    /// Texts among the numbers.
    #[error(
        "the reference holds what is no number: take the column as categorical, or mend the data"
    )]
    NotNumbers,
    /// Numbers, of which too many differ.
    #[error(
        "more than {CATEGORIES_MAX} different numbers are no categories: take the column as numerical"
    )]
    TooManyNumbers,
}

impl Default for Survey {
    fn default() -> Survey {
        Survey {
            rows: 0,
            missing: 0,
            numbers: 0,
            booleans: 0,
            is_whole: true,
            distinct: Distinct::default(),
            sample: Vec::new(),
            range: (f64::INFINITY, f64::NEG_INFINITY),
            texts: Some(HashMap::new()),
        }
    }
}

impl Survey {
    /// Takes a cell of a table of texts.
    pub fn add_text(&mut self, text: &str) {
        match Token::of(text) {
            Token::Missing => self.add_missing(),
            Token::Integer(value) => self.take_number(value as f64, true),
            Token::Number(value) => self.take_number(value, false),
            Token::Boolean(value) => {
                self.booleans += 1;
                self.take_text(if value { "true" } else { "false" });
            }
            Token::Text => self.take_text(text),
        }
    }

    /// Takes a number that may be a fraction; NaN is missing.
    pub fn add_number(&mut self, value: f64) {
        match value.is_nan() {
            true => self.add_missing(),
            false => self.take_number(value, false),
        }
    }

    /// Takes numbers, as [`Survey::add_number`] takes each, in a fraction of the time.
    pub fn add_numbers(&mut self, values: &[f64]) {
        for values in values.chunks(VALUES_AT_ONCE) {
            // One by one until it is known to be no column of categories.
            if self.texts.is_some() || !values.iter().all(|value| value.is_finite()) {
                values.iter().for_each(|value| self.add_number(*value));
                continue;
            }
            values.iter().for_each(|value| self.take_finite(*value));
            self.is_whole = false;
            self.rows += values.len() as u64;
            self.distinct.add_all(values);
        }
    }

    /// Takes a number that is whole by its type.
    pub fn add_integer(&mut self, value: f64) {
        self.take_number(value, true);
    }

    /// Takes a row without a value.
    pub fn add_missing(&mut self) {
        self.rows += 1;
        self.missing += 1;
    }

    fn take_number(&mut self, value: f64, is_whole: bool) {
        self.rows += 1;
        self.is_whole &= is_whole;
        match value.is_finite() {
            true => self.take_finite(value),
            false => self.numbers += 1,
        }
        self.distinct.add(value);
        if let Some(texts) = &mut self.texts
            && value.is_finite()
        {
            *texts.entry((value + 0.0).to_string()).or_default() += 1;
            if texts.len() > CATEGORIES_MAX && self.numbers == self.rows - self.missing {
                self.texts = None;
            }
        }
    }

    fn take_finite(&mut self, value: f64) {
        let (least, greatest) = self.range;
        self.range = (least.min(value), greatest.max(value));
        // Each of `numbers` finite ones is as likely to be in the sample (Vitter 1985, algorithm R), by numbers
        // that are the same for every file.
        match self.sample.len() {
            0..SAMPLE => self.sample.push(value),
            _ => {
                let place = mixed(self.numbers) % (self.numbers + 1);
                if let Some(kept) = self.sample.get_mut(place as usize) {
                    *kept = value;
                }
            }
        }
        self.numbers += 1;
    }

    fn take_text(&mut self, text: &str) {
        self.rows += 1;
        self.distinct.add_text(text);
        let texts = self.texts.get_or_insert_default();
        if let Some(count) = texts.get_mut(text) {
            *count += 1;
        } else if texts.len() < TEXTS_MAX && text.len() <= CATEGORY_BYTES_MAX {
            texts.insert(text.to_owned(), 1);
        }
    }

    /// Rows taken, those without a value among them.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many different values there were.
    pub fn distinct(&self) -> &Distinct {
        &self.distinct
    }

    /// What the column holds, as [`Column::kind`](crate::Column::kind): exact up to 48 different values; beyond,
    /// the number of different texts is within some percent.
    pub fn kind(&self) -> Kind {
        let there = self.rows - self.missing;
        let is_few = self.distinct.estimate() <= INTEGER_CATEGORIES_MAX as f64;
        if self.numbers == there {
            let whole = self.is_whole && self.missing == 0 && there > 0;
            return if whole && is_few { Kind::Categorical } else { Kind::Numerical };
        }
        let is_text = self.distinct.estimate() > there as f64 * TEXT_SHARE;
        if self.booleans < there && is_text { Kind::Text } else { Kind::Categorical }
    }

    /// What its values are to be counted over: quantiles of numbers, the most frequent of texts.
    ///
    /// # Errors
    /// [`NoMarks`].
    pub fn marks(&self, kind: Option<Kind>) -> Result<Marks, NoMarks> {
        if self.rows == self.missing {
            return Err(NoMarks::Empty);
        }
        match kind.unwrap_or_else(|| self.kind()) {
            Kind::Text => Err(NoMarks::Text),
            Kind::Numerical if self.numbers < self.rows - self.missing => Err(NoMarks::NotNumbers),
            Kind::Numerical => {
                let edges = quantile_edges(self.sample.clone(), self.range);
                edges.map(Marks::Edges).ok_or(NoMarks::Empty)
            }
            Kind::Categorical => {
                let texts = self.texts.as_ref().ok_or(NoMarks::TooManyNumbers)?;
                let mut texts: Vec<(&String, &u64)> = texts.iter().collect();
                texts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                let names = texts.into_iter().take(CATEGORIES_MAX);
                let mut names: Vec<String> = names.map(|(text, _)| text.clone()).collect();
                names.sort_unstable();
                Categories::new(names).map(Marks::Categories).map_err(|_| NoMarks::Empty)
            }
        }
    }
}

/// A cell of a table as the category that it is counted as: numbers that are equal are one, and so are the spellings
/// of `true`. None of a missing one.
pub fn category(text: &str) -> Option<Cow<'_, str>> {
    Some(match Token::of(text) {
        Token::Missing => return None,
        Token::Integer(value) => Cow::Owned((value as f64 + 0.0).to_string()),
        Token::Number(value) => Cow::Owned((value + 0.0).to_string()),
        Token::Boolean(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Token::Text => Cow::Borrowed(text),
    })
}

/// Digits of which each depends on all of `number` (SplitMix64, Steele, Lea and Flood 2014).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;
    use proptest::prelude::*;

    fn survey<'a>(texts: impl IntoIterator<Item = &'a str>) -> Survey {
        let mut survey = Survey::default();
        texts.into_iter().for_each(|text| survey.add_text(text));
        survey
    }

    #[test]
    fn the_most_frequent_texts_are_categories_and_equal_numbers_are_one() {
        let names =
            |texts: &[&str]| match survey(texts.iter().copied()).marks(Some(Kind::Categorical)) {
                Ok(Marks::Categories(names)) => names.names().to_vec(),
                other => panic!("{other:?}"),
            };
        assert_eq!(names(&["b", "a", "b", ""]), ["a", "b"]);
        assert_eq!(names(&["1", "1.0", "TRUE", "true"]), ["1", "true"]);
        let many: Vec<String> = (0..200).map(|at| format!("x{:03}", at % 150)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let found = names(&many);
        assert_eq!((found.len(), found[0].as_str()), (CATEGORIES_MAX, "x000"));
        assert_eq!(category("TRUE").as_deref(), Some("true"));
        assert_eq!(category("NA"), None);
    }

    #[test]
    fn edges_of_many_values_divide_them_nearly_evenly() {
        let values: Vec<f64> =
            (0..100_000u64).map(|at| (mixed(at) % 1_000_003) as f64 / 7.0).collect();
        let mut survey = Survey::default();
        values.iter().for_each(|value| survey.add_number(*value));
        let Ok(Marks::Edges(edges)) = survey.marks(None) else { panic!("{survey:?}") };
        let edges = edges.edges();
        for pair in edges.windows(2) {
            let inside = values.iter().filter(|it| (pair[0]..pair[1]).contains(*it)).count();
            assert!((3_500..6_500).contains(&inside), "{inside}");
        }
    }

    #[test]
    fn what_cannot_be_counted_says_why() {
        let numbers: Vec<String> = (0..100).map(|at| at.to_string()).collect();
        let numbers = survey(numbers.iter().map(String::as_str));
        assert_eq!(numbers.marks(Some(Kind::Categorical)), Err(NoMarks::TooManyNumbers));
        assert_eq!(survey(["", "NA"]).marks(None), Err(NoMarks::Empty));
        assert_eq!(survey(["inf"]).marks(None), Err(NoMarks::Empty));
        assert_eq!(survey(["a", "b"]).marks(None), Err(NoMarks::Text));
        assert_eq!(survey(["a", "1"]).marks(Some(Kind::Numerical)), Err(NoMarks::NotNumbers));
    }

    proptest! {
        #[test]
        fn numbers_taken_at_once_are_those_taken_one_by_one(
            kinds in prop::collection::vec(0u8..40, 0..900),
            few: bool,
            split in any::<prop::sample::Index>(),
        ) {
            let (mut one_by_one, mut at_once) = (Survey::default(), Survey::default());
            // More than the sample holds.
            let values: Vec<f64> = (0..6u64).flat_map(|round| kinds.iter().enumerate().map(move |(at, kind)| {
                match kind {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => -0.0,
                    kind if few => f64::from(*kind),
                    _ => mixed(round << 32 | at as u64) as f64 / 1e6,
                }
            })).collect();
            values.iter().for_each(|value| one_by_one.add_number(*value));
            let (first, second) = values.split_at(split.index(values.len() + 1));
            at_once.add_numbers(first);
            at_once.add_numbers(second);
            prop_assert_eq!(&at_once.sample, &one_by_one.sample);
            prop_assert_eq!(&at_once.distinct, &one_by_one.distinct);
            let figures = |it: &Survey| {
                let texts = it.texts.clone().map(|texts| texts.into_iter().collect::<std::collections::BTreeMap<_, _>>());
                (it.rows, it.missing, it.numbers, it.is_whole, it.range, texts)
            };
            prop_assert_eq!(figures(&at_once), figures(&one_by_one));
        }

        #[test]
        fn the_kind_is_that_of_the_exact_method(
            texts in prop::collection::vec(
                prop_oneof![
                    3 => (0i32..14).prop_map(|it| it.to_string()),
                    1 => prop::sample::select(vec!["", "true", "False", "1.5", "a", "b", "-3", "1e3"])
                        .prop_map(str::to_owned),
                ],
                1..40,
            ),
            only in prop::sample::select(vec!["0123456789", "", "truefals"]),
        ) {
            let texts: Vec<&str> = texts
                .iter()
                .map(String::as_str)
                .filter(|text| only.is_empty() || text.to_lowercase().chars().all(|char| only.contains(char)))
                .collect();
            prop_assume!(!texts.is_empty());
            prop_assert_eq!(survey(texts.iter().copied()).kind(), Column::parse(texts.iter().copied()).kind());
        }
    }
}
