//! Outcomes as they are brought: JSON, read without keeping more of it than is taken.

use lineside_wire::name::SlotName;
use lineside_wire::v1::OUTCOME_CHARS_MAX;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Outcomes that are brought at once, at most.
pub const OUTCOMES_MAX: usize = 10_000;

/// What has become of what a finding is about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The finding's id.
    pub finding: String,
    /// How it was.
    pub outcome: Truth,
}

/// How it was.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Yes or no.
    Bool(bool),
    /// A number, or a category that is one.
    Number(f64),
    /// A category.
    Text(String),
}

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Truth, D::Error> {
        deserializer.deserialize_any(TruthVisitor)
    }
}

/// Takes what can be an outcome, and nothing that would have to be kept to see what it is.
struct TruthVisitor;

impl Visitor<'_> for TruthVisitor {
    type Value = Truth;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("true, false, a number or a text")
    }

    fn visit_bool<E>(self, is_so: bool) -> Result<Truth, E> {
        Ok(Truth::Bool(is_so))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Truth, E> {
        Ok(Truth::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Truth, E> {
        Ok(Truth::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Truth, E> {
        Ok(Truth::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Truth, E> {
        Ok(Truth::Text(text.to_owned()))
    }
}

/// Takes a list of outcomes, up to [`OUTCOMES_MAX`], and says how many there are.
struct SeveralVisitor;

impl<'de> Visitor<'de> for SeveralVisitor {
    type Value = (Vec<Outcome>, usize);

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of outcomes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut outcomes = vec![];
        while outcomes.len() < OUTCOMES_MAX {
            let Some(outcome) = list.next_element()? else { break };
            outcomes.push(outcome);
        }
        let mut count = outcomes.len();
        // What is too much is counted, and kept nowhere.
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((outcomes, count))
    }
}

/// Why an outcome cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOutcome {
    /// Something else.
    #[error(
        r#"it has to be {{"finding": "its id", "outcome": true, false, a number or a text}}, or a list of such"#
    )]
    Other,
    /// Too many at once.
    #[error("{count} outcomes at once are too many: bring {OUTCOMES_MAX} at most")]
    Many {
        /// How many.
        count: usize,
    },
    /// A text that is too long.
    #[error("the outcome of finding {finding:?} has more than {OUTCOME_CHARS_MAX} characters")]
    Long {
        /// The finding.
        finding: String,
    },
}

/// Reads outcomes, all or none of them.
///
/// # Errors
/// [`NoOutcome`].
pub fn read(bytes: &[u8]) -> Result<Vec<Outcome>, NoOutcome> {
    let outcomes = if bytes.trim_ascii_start().first() == Some(&b'[') {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let several = json.deserialize_seq(SeveralVisitor);
        let several = several.and_then(|several| json.end().map(|()| several));
        let (outcomes, count) = several.map_err(|_| NoOutcome::Other)?;
        if count > OUTCOMES_MAX {
            return Err(NoOutcome::Many { count });
        }
        outcomes
    } else {
        vec![serde_json::from_slice(bytes).map_err(|_| NoOutcome::Other)?]
    };
    outcomes.iter().try_for_each(Outcome::check)?;
    Ok(outcomes)
}

impl Outcome {
    /// The slot that the finding is of, by its id.
    pub fn slot(&self) -> Option<SlotName> {
        self.finding.split('/').next()?.parse().ok()
    }

    /// Refuses what is too long to be a category.
    pub(super) fn check(&self) -> Result<(), NoOutcome> {
        match &self.outcome {
            Truth::Text(text) if text.chars().count() > OUTCOME_CHARS_MAX => {
                let finding = self.finding.chars().take(OUTCOME_CHARS_MAX).collect();
                Err(NoOutcome::Long { finding })
            }
            Truth::Bool(_) | Truth::Number(_) | Truth::Text(_) => Ok(()),
        }
    }
}
