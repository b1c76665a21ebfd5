//! What a rule says: which number of an interval, within which limits, for how long.

use super::actions::Actions;
use crate::check::{ordered, whole};
use crate::limits::Range;
use lineside_drift::{Estimate, Limits, Statistic};
use serde::{Deserialize, Serialize};

/// Most intervals that a rule may wait for.
pub(super) const INTERVALS_MAX: u32 = 100;
/// Intervals that a rule waits for unless it says otherwise: one alone may be an accident.
const INTERVALS_DEFAULT: u32 = 2;
/// Values that an interval needs unless a rule says otherwise.
const VALUES_MIN_DEFAULT: u64 = 30;
/// Most values that a rule may want of an interval.
const VALUES_MIN_MAX: u64 = 1 << 40;
/// Longest quiet time, in hours: ten weeks.
const QUIET_HOURS_MAX: u32 = 1680;
/// Most hours of a span: ten weeks.
const HOURS_MAX: u32 = 1680;
/// Longest name of a column, in bytes.
const COLUMN_BYTES_MAX: usize = 200;

/// A number that an interval has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Of a column: the value of which as many are below as above. One standstill does not move it.
    Median,
    /// Of a column: the mean of its finite values.
    Mean,
    /// Of a column: the share of rows without a value, 0 to 1.
    MissingShare,
    /// Of a column: the share of values outside of the range that the bundle states, 0 to 1.
    OutOfRangeShare,
    /// Of a column: its score against the training data, by the method of the bundle's profile.
    Drift,
    /// The share of frames without an answer, 0 to 1.
    ErrorShare,
    /// The share of readings that were dropped, 0 to 1.
    DroppedShare,
    /// The share of frames with an alarm, 0 to 1.
    AlarmShare,
    /// Time that 95 of 100 frames kept within, in milliseconds.
    LatencyP95Ms,
}

impl Signal {
    /// Whether it is a number of a column.
    pub fn is_of_column(self) -> bool {
        match self {
            Signal::Median
            | Signal::Mean
            | Signal::MissingShare
            | Signal::OutOfRangeShare
            | Signal::Drift => true,
            Signal::ErrorShare
            | Signal::DroppedShare
            | Signal::AlarmShare
            | Signal::LatencyP95Ms => false,
        }
    }

    /// What a profile has learnt limits of, if it has.
    pub(super) fn statistic(self) -> Option<Statistic> {
        match self {
            Signal::Median => Some(Statistic::Median),
            Signal::MissingShare => Some(Statistic::Missing),
            Signal::OutOfRangeShare => Some(Statistic::OutOfRange),
            Signal::Drift => Some(Statistic::Drift),
            Signal::Mean
            | Signal::ErrorShare
            | Signal::DroppedShare
            | Signal::AlarmShare
            | Signal::LatencyP95Ms => None,
        }
    }

    /// As people say it.
    pub fn words(self) -> &'static str {
        match self {
            Signal::Median => "median",
            Signal::Mean => "mean",
            Signal::MissingShare => "share of missing values",
            Signal::OutOfRangeShare => "share of values out of range",
            Signal::Drift => "drift",
            Signal::ErrorShare => "share of frames without an answer",
            Signal::DroppedShare => "share of readings dropped",
            Signal::AlarmShare => "share of frames with an alarm",
            Signal::LatencyP95Ms => "95th percentile of the latency in milliseconds",
        }
    }
}

/// Whose intervals a rule judges together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A device's own, on the device, with or without a server.
    #[default]
    Device,
    /// Those of all devices of the site, on the server.
    Site,
    /// Those of all devices, on the server.
    Fleet,
}

/// Which column a signal is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// The interval as a whole.
    Interval,
    /// A field of what comes in.
    Input(&'a str),
    /// An output of the bundle.
    Output(&'a str),
}

/// A rule on the intervals of a slot: it fires where its signal lies outside of its limits in so many spans
/// in a row. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// What is looked at.
    pub signal: Signal,
    /// The field of the input that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The output that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Where it lies while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Range>,
    /// That it should lie within what the bundle's profile has learnt; where it has learnt nothing, the rule
    /// says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learnt: bool,
    /// Where it has to lie before it is well again (default as its limits): narrower, so that a signal at the
    /// edge does not ring again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_within: Option<Range>,
    /// Hours of the readings' own time that are looked at as one span (default: what the profile's limits are
    /// for where it is about these, else each interval by itself). Spans begin at multiples of it since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// Spans in a row after which it fires, and after which it is well again (default 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<u32>,
    /// Values that a span needs to be judged by (default 30): readings, frames or values of the column.
    /// Others count neither way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_min: Option<u64>,
    /// Hours after it has fired in which it does not fire again (default 0), by the readings' own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<u32>,
    /// Whose intervals are judged together (default those of a device).
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// What is done when it fires, beside telling it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub then: Actions,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl AlertRule {
    /// What its signal is of.
    pub fn source(&self) -> Source<'_> {
        match (&self.input, &self.output) {
            (Some(input), _) => Source::Input(input),
            (None, Some(output)) => Source::Output(output),
            (None, None) => Source::Interval,
        }
    }

    /// Intervals in a row after which it fires, at least one.
    pub fn intervals(&self) -> u32 {
        self.intervals.unwrap_or(INTERVALS_DEFAULT).clamp(1, INTERVALS_MAX)
    }

    /// Values that an interval needs to be judged by.
    pub fn values_min(&self) -> u64 {
        self.values_min.unwrap_or(VALUES_MIN_DEFAULT)
    }

    /// What its signal is called, as in `median of score`.
    pub fn told(&self) -> String {
        match self.source() {
            Source::Interval => self.signal.words().to_owned(),
            Source::Input(name) | Source::Output(name) => {
                format!("{} of {name}", self.signal.words())
            }
        }
    }

    /// Where its signal lies while all is well, given what a profile has learnt of it. None where nothing says.
    pub(super) fn limits(&self, learnt: Option<&Limits>) -> Option<Band> {
        match (self.within, learnt.filter(|_| self.learnt)) {
            (Some(Range { low, high }), _) => Some(Band { low, high }),
            (None, Some(limits)) => Some(Band {
                low: limits.lower.unwrap_or(f64::NEG_INFINITY),
                high: limits.upper.unwrap_or(f64::INFINITY),
            }),
            (None, None) => None,
        }
    }

    /// Milliseconds of the readings' own time that it looks at as one, if it says so.
    pub(super) fn span_ms(&self) -> Option<i64> {
        self.hours.map(|hours| i64::from(hours.max(1)) * 3_600_000)
    }

    /// Milliseconds after it has fired in which it does not fire again.
    pub fn quiet_ms(&self) -> i64 {
        i64::from(self.quiet_hours.unwrap_or(0)) * 3_600_000
    }

    /// Whether it can be judged by.
    ///
    /// # Errors
    /// The first field that is wrong, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, problem: String| (field.to_owned(), problem);
        match (self.within, self.learnt) {
            (Some(_), true) => {
                return Err(wrong("learnt", "its limits are learnt, or `within` has them".into()));
            }
            (None, false) => {
                let problem = "say where it should lie: [low, high], or `learnt = true`";
                return Err(wrong("within", problem.into()));
            }
            (None, true) if self.signal.statistic().is_none() => {
                let problem = "no limits are learnt of it: median, missing_share, out_of_range_share and \
                               drift have some";
                return Err(wrong("learnt", problem.into()));
            }
            _ => {}
        }
        if let Some(within) = self.within {
            ordered(within).map_err(|problem| wrong("within", problem))?;
        }
        if let Some(clear) = self.clear_within {
            ordered(clear).map_err(|problem| wrong("clear_within", problem))?;
            if let Some(within) = self.within
                && !(within.contains(clear.low) && within.contains(clear.high))
            {
                let Range { low, high } = within;
                let problem = format!(
                    "{} to {} is not inside of `within`, {low} to {high}: it would be well again where it \
                     fires",
                    clear.low, clear.high
                );
                return Err(wrong("clear_within", problem));
            }
        }
        let named = |(field, problem): (&str, String)| (field.to_owned(), problem);
        let intervals = 1..=u64::from(INTERVALS_MAX);
        let hours = 1..=u64::from(HOURS_MAX);
        whole("hours", self.hours.map(u64::from), hours).map_err(named)?;
        whole("intervals", self.intervals.map(u64::from), intervals).map_err(named)?;
        whole("values_min", self.values_min, 1..=VALUES_MIN_MAX).map_err(named)?;
        let hours = 0..=u64::from(QUIET_HOURS_MAX);
        whole("quiet_hours", self.quiet_hours.map(u64::from), hours).map_err(named)?;
        for (field, column) in [("input", &self.input), ("output", &self.output)] {
            let Some(column) = column else { continue };
            if column.is_empty() || column.len() > COLUMN_BYTES_MAX {
                let problem = format!("a name has 1 to {COLUMN_BYTES_MAX} bytes");
                return Err(wrong(field, problem));
            }
        }
        if self.scope != Scope::Device && self.hours.is_none() && !self.learnt {
            let problem = "devices send their intervals one by one: say how many of the readings' own hours \
                           are looked at together";
            return Err(wrong("hours", problem.into()));
        }
        self.then
            .check(self.scope)
            .map_err(|(field, problem)| (format!("then.{field}"), problem))?;
        match (self.signal.is_of_column(), &self.input, &self.output) {
            (_, Some(_), Some(_)) => {
                Err(wrong("output", "a signal is of an input or of an output, not of both".into()))
            }
            (true, None, None) => Err(wrong(
                "signal",
                "it is of a column: name a field with `input` or an output with `output`".into(),
            )),
            (false, None, None) | (true, ..) => Ok(()),
            (false, ..) => Err(wrong(
                "signal",
                "it is of the whole interval: leave `input` and `output` out".into(),
            )),
        }
    }
}

/// Where a signal lies while all is well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Band {
    /// Below is outside; minus infinity where nothing is.
    pub low: f64,
    /// Above is outside; infinity where nothing is.
    pub high: f64,
}

impl Band {
    /// Whether it lies outside for certain. What is no number does.
    pub(super) fn excludes(self, estimate: Estimate) -> bool {
        // A bucket of noughts reaches to the smallest number, and limits that noughts have taught end there.
        let is_more = |more: f64, less: f64| more > less && more - less > f64::MIN_POSITIVE;
        estimate.value.is_nan()
            || is_more(estimate.low, self.high)
            || is_more(self.low, estimate.high)
    }

    /// Whether this value lies inside.
    pub(super) fn holds(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn rule() -> AlertRule {
        AlertRule {
            signal: Signal::Median,
            input: None,
            output: Some("score".into()),
            within: Some(Range { low: 0.0, high: 1.0 }),
            learnt: false,
            clear_within: None,
            hours: None,
            intervals: None,
            values_min: None,
            quiet_hours: None,
            scope: Scope::Device,
            then: Actions::default(),
        }
    }

    #[test]
    fn a_rule_that_cannot_be_judged_by_is_told_with_the_field() {
        assert_eq!(rule().check(), Ok(()));
        let range = |low, high| Range { low, high };
        for (wrong, field) in [
            (AlertRule { within: Some(range(1.0, 0.0)), ..rule() }, "within"),
            (AlertRule { within: Some(range(f64::NAN, 0.0)), ..rule() }, "within"),
            (AlertRule { within: None, ..rule() }, "within"),
            (AlertRule { learnt: true, ..rule() }, "learnt"),
            (AlertRule { learnt: true, within: None, signal: Signal::Mean, ..rule() }, "learnt"),
            (AlertRule { hours: Some(0), ..rule() }, "hours"),
            (AlertRule { scope: Scope::Site, ..rule() }, "hours"),
            (AlertRule { clear_within: Some(range(0.5, 1.5)), ..rule() }, "clear_within"),
            (AlertRule { intervals: Some(0), ..rule() }, "intervals"),
            (AlertRule { intervals: Some(INTERVALS_MAX + 1), ..rule() }, "intervals"),
            (AlertRule { values_min: Some(0), ..rule() }, "values_min"),
            (AlertRule { quiet_hours: Some(QUIET_HOURS_MAX + 1), ..rule() }, "quiet_hours"),
            (AlertRule { output: Some(String::new()), ..rule() }, "output"),
            (AlertRule { input: Some("wind".into()), ..rule() }, "output"),
            (AlertRule { output: None, ..rule() }, "signal"),
            (AlertRule { signal: Signal::AlarmShare, ..rule() }, "signal"),
        ] {
            assert_eq!(wrong.check().unwrap_err().0, field, "{wrong:?}");
        }
        let learnt = AlertRule { learnt: true, within: None, ..rule() };
        assert_eq!(learnt.check(), Ok(()));
        let whole = AlertRule { signal: Signal::ErrorShare, output: None, ..rule() };
        assert_eq!((whole.check(), whole.source()), (Ok(()), Source::Interval));
    }
}
