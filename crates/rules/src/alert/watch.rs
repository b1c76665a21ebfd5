//! What follows from intervals, one after the other.

use super::rule::{AlertRule, Band, INTERVALS_MAX};
use crate::limits::Range;
use lineside_drift::Estimate;
use serde::{Deserialize, Serialize};

/// What an interval says of a rule's signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// First moment of the interval, milliseconds since 1970 by the readings' own time.
    pub start_unix_ms: i64,
    /// Moment after the last.
    pub end_unix_ms: i64,
    /// The signal, and between what it lies for certain; none where the interval has no such number.
    pub estimate: Option<Estimate>,
    /// Values, readings or frames that it was made of.
    pub count: u64,
}

/// Why a rule has fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the first interval of them began.
    pub start_unix_ms: i64,
    /// When the last one ended.
    pub end_unix_ms: i64,
    /// The signal in each interval that counted, in their order.
    pub values: Vec<f64>,
}

/// What has become of a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It fires.
    Fired(Evidence),
    /// All is well again since so many intervals.
    Over {
        /// When the interval ended after which it is.
        end_unix_ms: i64,
    },
}

/// How far a rule is. Written down, so that a restart goes on with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The intervals in a row that were outside; of those that fired it, nothing.
    outside: Vec<f64>,
    /// When the first of them began.
    since_unix_ms: i64,
    /// Intervals in a row that were well, while it fires.
    well: u32,
    is_firing: bool,
    /// When it has fired last: the end of that interval.
    fired_unix_ms: Option<i64>,
    /// Whether the last span had too few values to be judged by.
    starved: bool,
}

impl Watch {
    /// Whether it has fired and is not over.
    pub fn is_firing(&self) -> bool {
        self.is_firing
    }

    /// Whether the last span had too few values to be judged by.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// When it has fired last: the end of that span, milliseconds since 1970 by the readings' own time.
    pub(super) fn fired_unix_ms(&self) -> Option<i64> {
        self.fired_unix_ms
    }

    /// Takes the next span. One with too few values counts for nothing: a line that stands still is neither
    /// well nor ill, so "in a row" is of those that say something.
    pub(super) fn step(&mut self, rule: &AlertRule, limits: Band, seen: &Seen) -> Option<Change> {
        self.starved = seen.count < rule.values_min();
        let estimate = seen.estimate.filter(|_| !self.starved)?;
        if self.is_firing {
            self.clear(rule, limits, seen, estimate)
        } else {
            self.count(rule, limits, seen, estimate)
        }
    }

    fn count(
        &mut self,
        rule: &AlertRule,
        limits: Band,
        seen: &Seen,
        estimate: Estimate,
    ) -> Option<Change> {
        if !limits.excludes(estimate) {
            self.outside.clear();
            return None;
        }
        if self.outside.is_empty() {
            self.since_unix_ms = seen.start_unix_ms;
        }
        // In a quiet time there may be more than fire it.
        if self.outside.len() >= INTERVALS_MAX as usize {
            self.outside.remove(0);
        }
        self.outside.push(estimate.value);
        let fired = self.fired_unix_ms;
        // What was fired after this, by a clock that went back, keeps nothing quiet.
        let is_quiet = fired
            .is_some_and(|at| (0..rule.quiet_ms()).contains(&seen.end_unix_ms.saturating_sub(at)));
        if is_quiet || self.outside.len() < rule.intervals() as usize {
            return None;
        }
        self.is_firing = true;
        self.well = 0;
        self.fired_unix_ms = Some(seen.end_unix_ms);
        Some(Change::Fired(Evidence {
            start_unix_ms: self.since_unix_ms,
            end_unix_ms: seen.end_unix_ms,
            values: std::mem::take(&mut self.outside),
        }))
    }

    fn clear(
        &mut self,
        rule: &AlertRule,
        limits: Band,
        seen: &Seen,
        estimate: Estimate,
    ) -> Option<Change> {
        // What would fire it is not well, however wide `clear_within` is.
        let is_clear = rule
            .clear_within
            .is_none_or(|Range { low, high }| Band { low, high }.holds(estimate.value));
        if limits.excludes(estimate) || !is_clear {
            self.well = 0;
            return None;
        }
        self.well += 1;
        if self.well < rule.intervals() {
            return None;
        }
        (self.is_firing, self.well) = (false, 0);
        Some(Change::Over { end_unix_ms: seen.end_unix_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::rule;
    use super::*;

    const WITHIN: Band = Band { low: 0.0, high: 1.0 };
    const HOUR_MS: i64 = 3_600_000;

    fn seen(hour: i64, value: f64) -> Seen {
        let start_unix_ms = hour * HOUR_MS;
        let end_unix_ms = start_unix_ms + HOUR_MS;
        Seen { start_unix_ms, end_unix_ms, estimate: Some(Estimate::exact(value)), count: 100 }
    }

    /// What becomes of a rule over hours: `!` fires, `+` is over, `.` nothing.
    fn story(rule: &AlertRule, values: &[f64]) -> String {
        let mut watch = Watch::default();
        let hours = values.iter().zip(0..);
        hours
            .map(|(value, hour)| {
                // Written down and read again each time, as on a device that is switched off each time.
                let bytes = postcard::to_stdvec(&watch).unwrap();
                watch = postcard::from_bytes(&bytes).unwrap();
                match watch.step(rule, WITHIN, &seen(hour, *value)) {
                    Some(Change::Fired(_)) => '!',
                    Some(Change::Over { .. }) => '+',
                    None => '.',
                }
            })
            .collect()
    }

    #[test]
    fn it_fires_once_after_so_many_in_a_row_and_is_over_after_as_many() {
        let rule = rule();
        let day = [0.5, 1.5, 0.5, 1.5, 1.6, 1.7, 1.8, 0.5, 1.5, 0.5, 0.6, 0.7, 2.0, -3.0];
        assert_eq!(story(&rule, &day), "....!.....+..!");
        let three = AlertRule { intervals: Some(3), ..rule.clone() };
        assert_eq!(story(&three, &day), ".....!.....+..");
        let one = AlertRule { intervals: Some(1), ..rule };
        assert_eq!(story(&one, &day), ".!+!...+!+..!.");
    }

    #[test]
    fn a_signal_at_the_edge_does_not_ring_again_and_again() {
        let edge = [1.1, 1.1, 0.95, 0.95, 1.1, 1.1, 0.95, 0.95, 0.8, 0.8, 1.1, 1.1];
        assert_eq!(story(&rule(), &edge), ".!.+.!.+...!");
        let clear_within = Some(Range { low: 0.0, high: 0.9 });
        assert_eq!(story(&AlertRule { clear_within, ..rule() }, &edge), ".!.......+.!");
    }

    #[test]
    fn in_its_quiet_time_it_does_not_fire_again_and_after_it_does_if_all_is_not_well() {
        let quiet = AlertRule { quiet_hours: Some(6), ..rule() };
        let day = [2.0, 2.0, 0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        assert_eq!(story(&quiet, &day), ".!.+...!..");
    }

    #[test]
    fn what_says_too_little_or_is_not_outside_for_certain_counts_for_nothing() {
        let (rule, mut watch) = (rule(), Watch::default());
        let few = Seen { count: 29, ..seen(1, 9.0) };
        let none = Seen { estimate: None, ..seen(3, 0.0) };
        let mut step = |seen: &Seen| watch.step(&rule, WITHIN, seen);
        for seen in [seen(0, 2.0), few, none] {
            assert_eq!(step(&seen), None, "{seen:?}");
        }
        let evidence =
            Evidence { start_unix_ms: 0, end_unix_ms: 5 * HOUR_MS, values: vec![2.0, 3.0] };
        assert_eq!(step(&seen(4, 3.0)), Some(Change::Fired(evidence)));
        assert!(watch.is_firing());
        let mut watch = Watch::default();
        let perhaps = Estimate { value: 1.01, low: 1.0, high: 1.02 };
        for hour in 0..5 {
            let seen = Seen { estimate: Some(perhaps), ..seen(hour, 0.0) };
            assert_eq!(watch.step(&rule, WITHIN, &seen), None);
        }
    }

    #[test]
    fn what_would_not_fire_it_ends_it_and_what_would_does_not() {
        let mut watch = Watch::default();
        let one = AlertRule { intervals: Some(1), ..rule() };
        assert!(watch.step(&one, WITHIN, &seen(0, 2.0)).is_some());
        // Its middle lies outside, and the values need not.
        let perhaps = Estimate { value: 1.01, low: 1.0, high: 1.02 };
        let perhaps = Seen { estimate: Some(perhaps), ..seen(1, 0.0) };
        assert_eq!(
            watch.step(&one, WITHIN, &perhaps),
            Some(Change::Over { end_unix_ms: 2 * HOUR_MS })
        );
        // Learnt limits may be narrower than what somebody has signed.
        let wide = AlertRule { clear_within: Some(Range { low: 0.0, high: 9.0 }), ..one };
        assert_eq!(story(&wide, &[2.0, 2.0, 2.0, 0.5]), "!..+");
    }

    #[test]
    fn it_is_known_that_a_span_had_too_few_values() {
        let mut watch = Watch::default();
        watch.step(&rule(), WITHIN, &Seen { count: 29, ..seen(0, 2.0) });
        assert!(watch.is_starved());
        watch.step(&rule(), WITHIN, &seen(1, 2.0));
        assert!(!watch.is_starved());
    }

    #[test]
    fn a_clock_that_goes_back_does_not_keep_it_quiet() {
        let quiet = AlertRule { quiet_hours: Some(10), intervals: Some(1), ..rule() };
        let mut watch = Watch::default();
        let mut fires = |hour, value| watch.step(&quiet, WITHIN, &seen(hour, value)).is_some();
        assert!(fires(1000, 2.0) && fires(1001, 0.5) && !fires(1002, 2.0));
        assert!(fires(10, 2.0));
    }

    #[test]
    fn what_is_no_number_is_outside_and_a_long_quiet_time_fills_no_memory() {
        assert_eq!(story(&rule(), &[f64::NAN, f64::INFINITY]), ".!");
        let rule = AlertRule { quiet_hours: Some(1680), ..rule() };
        let mut watch = Watch::default();
        let mut values = vec![9.0, 9.0, 0.5, 0.5];
        values.resize(1600, 9.0);
        for (value, hour) in values.into_iter().zip(0..) {
            watch.step(&rule, WITHIN, &seen(hour, value));
        }
        assert_eq!((watch.is_firing, watch.outside.len()), (false, INTERVALS_MAX as usize));
    }
}
