//! How far the findings of a recording are those that were expected of it.

use crate::check::ExpectedFinding;
use crate::pipeline::Value;
use lineside_bundle::Tolerance;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Disagreements that are kept; the others are counted.
const KEPT_MAX: usize = 1000;

/// Compares findings, in any order, with those expected.
pub struct Agreement {
    expected: BTreeMap<Place, BTreeMap<String, Value>>,
    tolerance: BTreeMap<String, Tolerance>,
    /// For outputs without a tolerance of their own.
    otherwise: Tolerance,
    agreed: u64,
    disagreed: u64,
    worst: BTreeMap<String, f64>,
    kept: Vec<Disagreement>,
}

/// Stream, frame, part.
type Place = (String, u64, u64);

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreed {
    /// Findings that there are, or were expected.
    pub findings: u64,
    /// Those of them that are as expected, in every output that was named.
    pub agreed: u64,
    /// Largest absolute difference seen, by output.
    pub worst: BTreeMap<String, f64>,
    /// The first ones that are not, in the order in which they were seen; missing ones last.
    pub disagreements: Vec<Disagreement>,
}

/// A finding that is not as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disagreement {
    /// The stream; empty where the port has no key.
    pub key: String,
    /// The frame.
    pub frame: u64,
    /// Which of its findings.
    pub part: u64,
    /// What is not as expected.
    #[serde(flatten)]
    pub what: Difference,
}

/// What is not as expected of a finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Difference {
    /// There is none.
    Missing,
    /// Nobody expected one.
    Unexpected,
    /// An output.
    Output {
        /// Its name.
        output: String,
        /// What came; none where the bundle has no such output.
        got: Option<Value>,
        /// What was expected.
        expected: Value,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.frame)?;
        if self.part > 0 {
            write!(f, " part {}", self.part)?;
        }
        if !self.key.is_empty() {
            write!(f, " of {:?}", self.key)?;
        }
        match &self.what {
            Difference::Missing => f.write_str(": there is no answer"),
            Difference::Unexpected => f.write_str(": nobody expected an answer"),
            Difference::Output { output, got: None, .. } => {
                write!(f, ": it has no output {output}")
            }
            Difference::Output { output, got: Some(got), expected } => {
                write!(f, ": {output} is {got}, expected {expected}")
            }
        }
    }
}

impl Agreement {
    /// With these findings expected; an output is as far off as `tolerance` allows by name, and else
    /// `otherwise`.
    ///
    /// # Errors
    /// A finding that is expected twice, by stream and frame.
    pub fn with(
        expected: Vec<ExpectedFinding>,
        tolerance: BTreeMap<String, Tolerance>,
        otherwise: Tolerance,
    ) -> Result<Agreement, String> {
        let mut by_place = BTreeMap::new();
        for ExpectedFinding { key, frame, part, outputs } in expected {
            let told = format!("frame {frame} part {part} of {key:?} is expected twice");
            if by_place.insert((key, frame, part), outputs).is_some() {
                return Err(told);
            }
        }
        Ok(Agreement {
            expected: by_place,
            tolerance,
            otherwise,
            agreed: 0,
            disagreed: 0,
            worst: BTreeMap::new(),
            kept: Vec::new(),
        })
    }

    /// Compares a finding.
    pub fn see(&mut self, finding: &ExpectedFinding) {
        let place = (finding.key.clone(), finding.frame, finding.part);
        let Some(expected) = self.expected.remove(&place) else {
            return self.disagree(place, vec![Difference::Unexpected]);
        };
        let mut wrong = Vec::new();
        for (output, wanted) in expected {
            let got = finding.outputs.get(&output).copied();
            let tolerance = self.tolerance.get(&output).copied().unwrap_or(self.otherwise);
            let is_right = got.is_some_and(|got| {
                let (got, wanted) = (got.as_f64(), wanted.as_f64());
                let worst = self.worst.entry(output.clone()).or_insert(0.0);
                *worst = worst.max((got - wanted).abs());
                tolerance.allows(wanted, got)
            });
            if !is_right {
                wrong.push(Difference::Output { output, got, expected: wanted });
            }
        }
        match wrong.is_empty() {
            true => self.agreed += 1,
            false => self.disagree(place, wrong),
        }
    }

    fn disagree(&mut self, (key, frame, part): Place, differences: Vec<Difference>) {
        self.disagreed += 1;
        for what in differences {
            if self.kept.len() < KEPT_MAX {
                self.kept.push(Disagreement { key: key.clone(), frame, part, what });
            }
        }
    }

    /// What it came to: what is still expected is missing.
    pub fn finish(mut self) -> Agreed {
        let missing: Vec<Place> = std::mem::take(&mut self.expected).into_keys().collect();
        for place in missing {
            self.disagree(place, vec![Difference::Missing]);
        }
        Agreed {
            findings: self.agreed + self.disagreed,
            agreed: self.agreed,
            worst: self.worst,
            disagreements: self.kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(key: &str, frame: u64, outputs: &[(&str, Value)]) -> ExpectedFinding {
        let outputs = outputs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        ExpectedFinding { key: key.to_owned(), frame, part: 0, outputs }
    }

    fn score(key: &str, frame: u64, score: f64) -> ExpectedFinding {
        finding(key, frame, &[("score", Value::Number(score))])
    }

    fn agreed(expected: &[ExpectedFinding], got: &[ExpectedFinding], absolute: f64) -> Agreed {
        let otherwise = Tolerance { absolute, relative: 0.0 };
        let exact = BTreeMap::from([("exact".to_owned(), Tolerance::default())]);
        let mut agreement = Agreement::with(expected.to_vec(), exact, otherwise).unwrap();
        got.iter().for_each(|finding| agreement.see(finding));
        agreement.finish()
    }

    #[test]
    fn findings_agree_in_any_order_and_within_what_is_allowed() {
        let expected = [score("a", 0, 1.0), score("b", 0, 2.0)];
        let result = agreed(&expected, &[score("b", 0, 2.05), score("a", 0, 1.0)], 0.1);
        assert_eq!((result.findings, result.agreed), (2, 2));
        assert!((result.worst["score"] - 0.05).abs() < 1e-12);
        let exact = finding("", 0, &[("exact", Value::Integer(3))]);
        let other = finding("", 0, &[("exact", Value::Integer(4))]);
        assert_eq!(agreed(&[exact], &[other], 9.0).agreed, 0);
    }

    #[test]
    fn one_finding_that_is_missing_costs_no_other_its_agreement() {
        let all = [score("a", 0, 1.0), score("a", 1, 2.0), score("a", 2, 3.0)];
        let got = [score("a", 0, 1.0), score("a", 2, 4.0), score("c", 7, 1.0)];
        let result = agreed(&all, &got, 0.1);
        assert_eq!((result.findings, result.agreed), (4, 1));
        let told: Vec<String> = result.disagreements.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "frame 2 of \"a\": score is 4, expected 3",
                "frame 7 of \"c\": nobody expected an answer",
                "frame 1 of \"a\": there is no answer",
            ]
        );
        let json = serde_json::to_value(&result.disagreements[0]).unwrap();
        assert_eq!(json["what"], "output");
        assert_eq!(json["expected"], 3.0);
    }

    #[test]
    fn an_output_that_the_bundle_does_not_have_and_a_finding_expected_twice_are_named() {
        let expected = [finding("", 3, &[("wear", Value::Bool(true))])];
        let result = agreed(&expected, &[score("", 3, 1.0)], 0.1);
        assert_eq!(result.disagreements[0].to_string(), "frame 3: it has no output wear");
        let twice = vec![score("a", 1, 1.0), score("a", 1, 1.0)];
        let refused = Agreement::with(twice, BTreeMap::new(), Tolerance::default());
        assert_eq!(refused.err().unwrap(), "frame 1 part 0 of \"a\" is expected twice");
    }

    #[test]
    fn what_is_kept_of_many_disagreements_is_bounded_and_all_are_counted() {
        let got: Vec<_> = (0..2000).map(|frame| score("", frame, 0.0)).collect();
        let result = agreed(&[], &got, 0.0);
        assert_eq!(
            (result.findings, result.agreed, result.disagreements.len()),
            (2000, 0, KEPT_MAX)
        );
    }
}
