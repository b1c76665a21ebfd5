//! Intervals that are looked at as one.

use lineside_wire::v1::Interval;
use serde::{Deserialize, Serialize};

/// Spans ahead of the newest open one from which on an interval may be the work of a wrong clock.
const FAR_SPANS: i64 = 8;
/// Intervals in a row that lie that far ahead before they are believed.
const AHEAD_BELIEVED: u32 = 3;
/// Intervals in a row that come too late before the clock that was ahead of them is given up.
const LATE_BELIEVED: u32 = 100;

/// How much is looked at as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Length {
    /// Each interval by itself.
    Each,
    /// Of the readings' own time, from multiples since 1970 on.
    Milliseconds(i64),
    /// Until there are so many readings.
    Readings(u64),
}

/// Spans of one length, with what has fallen into them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Spans {
    length: Length,
    /// Whether intervals come from several devices: then a span ends only when another has passed after it.
    of_many: bool,
    /// Beginning and content, the oldest first.
    open: Vec<(i64, Interval)>,
    /// Intervals in a row that were far ahead, or too late.
    far: u32,
}

impl Spans {
    pub(super) fn new(length: Length, of_many: bool) -> Spans {
        Spans { length, of_many, open: vec![], far: 0 }
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    /// Takes an interval, and gives the spans that have ended by it, the oldest first.
    pub(super) fn take(&mut self, interval: &Interval) -> Vec<Interval> {
        match self.length {
            Length::Each => vec![interval.clone()],
            Length::Readings(readings) => self.fill(interval, readings),
            Length::Milliseconds(length) => {
                let begins = interval.start_unix_ms.div_euclid(length).saturating_mul(length);
                if self.of_many {
                    self.take_of_many(interval, begins, length)
                } else {
                    self.take_of_one(interval, begins, length)
                }
            }
        }
    }

    fn fill(&mut self, interval: &Interval, readings: u64) -> Vec<Interval> {
        let mut ended = self.add(interval, 0);
        if self.open.first().is_some_and(|(_, open)| open.readings >= readings) {
            ended.extend(self.end());
        }
        ended
    }

    /// A device's own come in their order. Late ones count into the span that is open, as late readings count
    /// into the open interval; where a clock was ahead of its time, they lead back.
    fn take_of_one(&mut self, interval: &Interval, begins: i64, length: i64) -> Vec<Interval> {
        let open = self.open.first().map(|(begins, _)| *begins);
        let is_other =
            open.is_some_and(|open| begins > open || begins.saturating_add(length) < open);
        let mut ended = if is_other { self.end() } else { vec![] };
        let begins = open.filter(|_| !is_other).unwrap_or(begins);
        ended.extend(self.add(interval, begins));
        ended
    }

    fn take_of_many(&mut self, interval: &Interval, begins: i64, length: i64) -> Vec<Interval> {
        let (oldest, newest) = match (self.open.first(), self.open.last()) {
            (Some((oldest, _)), Some((newest, _))) => (*oldest, *newest),
            _ => return self.add(interval, begins),
        };
        // The span before the only one that is open may have begun on another device.
        let lag = if self.open.len() == 1 { length } else { 0 };
        let is_ahead = begins > newest.saturating_add(length.saturating_mul(FAR_SPANS));
        let is_late = begins < oldest.saturating_sub(lag);
        let mut ended = vec![];
        if is_ahead || is_late {
            self.far += 1;
            if self.far < if is_ahead { AHEAD_BELIEVED } else { LATE_BELIEVED } {
                return ended;
            }
            ended = self.end();
        }
        self.far = 0;
        ended.extend(self.add(interval, begins));
        while self.open.len() > 2 {
            ended.push(self.open.remove(0).1);
        }
        ended
    }

    /// Everything that is open has ended.
    fn end(&mut self) -> Vec<Interval> {
        std::mem::take(&mut self.open).into_iter().map(|(_, interval)| interval).collect()
    }

    /// Counts it into the span that begins there. What does not go with what is there ends it: it was counted
    /// over other edges.
    fn add(&mut self, interval: &Interval, begins: i64) -> Vec<Interval> {
        let at = self.open.partition_point(|(known, _)| *known < begins);
        match self.open.get_mut(at) {
            Some((known, open)) if *known == begins => match open.absorb(interval) {
                Ok(()) => vec![],
                Err(_) => vec![std::mem::replace(open, interval.clone())],
            },
            _ => {
                self.open.insert(at, (begins, interval.clone()));
                vec![]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::interval;
    use super::*;

    const DAY: i64 = 24;

    fn days(of_many: bool) -> Spans {
        Spans::new(Length::Milliseconds(DAY * 3_600_000), of_many)
    }

    /// Gives intervals that begin at these hours, and says how many readings the spans had that ended after each.
    fn ended(spans: &mut Spans, hours: &[i64]) -> Vec<Vec<u64>> {
        let take = |hour: &i64| {
            let ended = spans.take(&interval(*hour, &[1.0; 10]));
            ended.iter().map(|interval| interval.readings).collect()
        };
        hours.iter().map(take).collect()
    }

    fn told(spans: &mut Spans, hours: &[i64]) -> Vec<u64> {
        ended(spans, hours).concat()
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn a_span_of_one_device_ends_when_the_next_begins() {
        let hours = [1, 2, 23, 25, 24, 30, 49];
        assert_eq!(
            ended(&mut days(false), &hours),
            [vec![], vec![], vec![], vec![30], vec![], vec![], vec![30]]
        );
        let mut each = Spans::new(Length::Each, false);
        assert_eq!(told(&mut each, &[1, 9, 2]), [10, 10, 10]);
        let mut full = Spans::new(Length::Readings(25), false);
        assert_eq!(ended(&mut full, &[1, 9, 2, 3]), [vec![], vec![], vec![30], vec![]]);
    }

    #[test]
    fn what_is_a_little_late_counts_in_and_a_clock_that_was_ahead_is_led_back() {
        let mut spans = days(false);
        let far = 1_000_000;
        assert_eq!(told(&mut spans, &[30, 10, far]), [20]);
        assert_eq!(told(&mut spans, &[31, 32, 50]), [10, 20]);
    }

    #[test]
    fn a_span_of_many_ends_when_another_has_passed_after_it() {
        let mut spans = days(true);
        // Another device is half a day behind.
        assert_eq!(told(&mut spans, &[20, 8, 26, 14, 30, 18, 47, 35, 49]), [40]);
        assert_eq!(spans.open.len(), 2);
        assert_eq!(told(&mut spans, &[2]), NONE, "too late");
        // The day before the first one that is seen may come, too.
        let mut spans = days(true);
        assert_eq!(told(&mut spans, &[24, 23, 49]), [10]);
    }

    #[test]
    fn one_wrong_clock_among_many_ends_nothing() {
        let mut spans = days(true);
        let far = 1_000_000;
        assert_eq!(told(&mut spans, &[1, far, 2, far, far, 3]), NONE);
        assert_eq!(told(&mut spans, &[far, far, far]), [30], "a long pause, and all go on");
        let mut spans = days(true);
        told(&mut spans, &[far]);
        assert_eq!(told(&mut spans, &[1; LATE_BELIEVED as usize - 1]), NONE);
        assert_eq!(told(&mut spans, &[1, 2, 3]), [10], "the first one was wrong");
    }

    #[test]
    fn what_was_counted_over_other_edges_is_another_span() {
        let mut spans = days(false);
        let mut other = interval(2, &[1.0; 10]);
        other.outputs[0].column = lineside_wire::v1::Column::numbers(None);
        assert!(spans.take(&interval(1, &[1.0; 10])).is_empty());
        assert_eq!(spans.take(&other).len(), 1);
    }
}
