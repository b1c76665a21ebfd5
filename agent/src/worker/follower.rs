//! What a worker beside the route is shown: readings that the route has accounted for, and none that
//! it owes, so that whatever the worker answers has been answered already. Pure.
//!
//! It first sees what the route keeps for warm-up, then follows. What it has not taken yet waits here
//! and not with the route, so a slow worker holds nothing up; where too much waits, readings are
//! skipped.

use crate::worker::route::{Feed, Route, Settled, Shape};
use lineside_runtime::{FrameOutcome, Reading};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Readings that may wait for a worker beside the route.
pub const BEHIND_MAX: usize = 10_000;

/// How far a worker beside the route has been shown what the route has accounted for.
#[derive(Debug, Clone)]
pub struct Follower {
    feed: Feed,
    shape: Shape,
    /// Where the fields of its port stand in the readings of the route; none where they are the same.
    places: Option<Vec<usize>>,
    stage: Stage,
    /// Readings that wait for the worker. The route may have let go of them.
    queue: VecDeque<Arc<Reading>>,
    /// The next reading of each stream that has not been put into the queue.
    queued: BTreeMap<String, u64>,
    /// Too many readings wait: what comes is skipped until half of them are gone.
    skips: bool,
    /// Frames that it may still tell of: a reading completes or breaks at most one.
    answers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for what was captured before the route kept it.
    Waiting,
    /// It sees that.
    Past,
    /// It sees what the route keeps.
    Warming,
    /// It sees what the route accounts for.
    Following,
    /// It sees what waits, and no more: what comes then it gets with the route.
    Ending,
}

/// What became of the readings that a frame accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The worker sees them, or has seen them.
    Yes,
    /// The worker does not follow yet, or not any more.
    NotNow,
    /// They are skipped: too many wait.
    Skipped,
}

impl Follower {
    /// For a worker that cuts readings as `shape` says, with the fields that stand at `places`.
    pub fn new(route: &Route, shape: Shape, places: Option<Vec<usize>>) -> Follower {
        Follower {
            feed: Feed::warming(route),
            shape,
            places,
            stage: Stage::Warming,
            queue: VecDeque::new(),
            queued: BTreeMap::new(),
            skips: false,
            answers: 0,
        }
    }

    /// Something older than what the route keeps will come, by [`Follower::past`].
    pub fn wait_for_past(&mut self) {
        self.stage = Stage::Waiting;
    }

    /// Takes what was captured: of readings that are accounted for, each stream's in order.
    pub fn past(&mut self, readings: Vec<Reading>) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Past;
            self.queue = readings.into_iter().map(Arc::new).collect();
        }
    }

    /// The next readings for the worker, at most `count`, with never more than `in_flight_max` on
    /// their way.
    pub fn take(&mut self, route: &Route, count: usize, in_flight_max: usize) -> Vec<Arc<Reading>> {
        let mut readings = Vec::new();
        if self.stage == Stage::Past && self.queue.is_empty() {
            self.stage = Stage::Warming;
        }
        if self.stage == Stage::Warming {
            readings = self.feed.take(route, count, in_flight_max);
            if readings.is_empty() && self.feed.has_taken_all(route) {
                self.follow(route);
            }
        }
        if !matches!(self.stage, Stage::Waiting | Stage::Warming) {
            let room = in_flight_max.saturating_sub(self.feed.in_flight());
            let take = room.min(count).min(self.queue.len());
            readings = self.queue.drain(..take).collect();
            readings.iter().for_each(|reading| self.feed.sent(reading));
            self.skips &= self.queue.len() > BEHIND_MAX / 2;
        }
        self.answers += readings.len();
        if let Some(places) = &self.places {
            for reading in &mut readings {
                let reading = Arc::make_mut(reading);
                reading.values = places.iter().map(|at| reading.values[*at]).collect();
            }
        }
        readings
    }

    /// Ends the warm-up, whether or not the worker has seen all that the route keeps for it.
    pub fn follow(&mut self, route: &Route) {
        if self.is_warm() {
            return;
        }
        self.stage = Stage::Following;
        self.queue = route.unsent(&self.feed).into();
        let over = self.queue.len().saturating_sub(BEHIND_MAX);
        self.queue.drain(..over);
        for reading in &self.queue {
            self.queued.insert(reading.key.clone(), reading.sequence + 1);
        }
    }

    /// Takes no more than what waits.
    pub fn end(&mut self, route: &Route) {
        self.follow(route);
        self.stage = Stage::Ending;
    }

    /// The route has settled a frame, and still keeps its readings.
    pub fn settled(&mut self, route: &Route, settled: &Settled) -> Shown {
        if self.stage != Stage::Following {
            return Shown::NotNow;
        }
        let Settled { key, frame, first, last, result, more, .. } = settled;
        let active = route.shape();
        let same = (active.rows, active.stride) == (self.shape.rows, self.shape.stride);
        // Windows that overlap reach beyond what their frame accounts for. One that cuts alike may
        // see all of it: the frames that it completes are those that were settled. Of those by
        // time each is over when readings of a later one are there.
        let until = match result {
            Ok(_) if same && active.time.is_none() && last >= first => {
                frame * active.stride + active.rows
            }
            _ => last.wrapping_add(1),
        };
        let own = more.stream.as_ref().unwrap_or(key);
        let others =
            more.others.iter().map(|(stream, span, _)| (stream, span.last.wrapping_add(1)));
        let mut spans = Vec::new();
        for (stream, until) in std::iter::once((own, until)).chain(others) {
            let next = self.queued.entry(stream.clone()).or_insert(0);
            let from = (*next).max(self.feed.next(stream));
            *next = from.max(until);
            spans.push((stream.as_str(), from, until));
        }
        let readings = route.kept_between(spans);
        self.skips |= self.queue.len() + readings.len() > BEHIND_MAX;
        if self.skips {
            return Shown::Skipped;
        }
        self.queue.extend(readings);
        Shown::Yes
    }

    /// Whether the worker can know what it says of a frame: it was sent the readings, and tells of no
    /// more frames than it was sent readings.
    pub fn may_answer(&mut self, outcome: &FrameOutcome) -> bool {
        let left = self.answers.checked_sub(1);
        self.answers = left.unwrap_or(0);
        if self.shape.time.is_some() {
            let was_sent = |stream: &str, first: u64, last: u64| {
                let next = self.feed.next(stream);
                last < next || (last.wrapping_add(1) == first && first <= next)
            };
            let FrameOutcome { key, first, last, spans, .. } = outcome;
            let knows = match spans.is_empty() {
                true => was_sent(key, *first, *last),
                false => spans.iter().all(|(stream, span)| was_sent(stream, span.first, span.last)),
            };
            return knows && left.is_some();
        }
        let next = self.feed.next(&outcome.key);
        let reach = match &outcome.result {
            Ok(_) => self.shape.end(outcome.frame),
            // A frame is broken by any reading of it.
            Err(_) => outcome.frame.checked_mul(self.shape.stride),
        };
        reach.is_some_and(|reach| reach < next) && left.is_some()
    }

    /// The worker has taken so many more. False if it was not sent as many.
    pub fn done(&mut self, count: u32) -> bool {
        count > 0 && self.feed.done(count)
    }

    /// Readings on their way to the worker.
    pub fn in_flight(&self) -> usize {
        self.feed.in_flight()
    }

    /// Whether the route has to keep for it what it would let go of.
    pub fn needs_kept(&self) -> bool {
        self.stage != Stage::Following
    }

    /// Whether it has taken what there was to warm it up.
    pub fn is_warm(&self) -> bool {
        matches!(self.stage, Stage::Following | Stage::Ending)
    }

    /// Whether it has taken all there is for it.
    pub fn is_level(&self) -> bool {
        self.is_warm() && self.queue.is_empty() && self.feed.in_flight() == 0
    }

    /// The worker has the route from here on.
    pub fn lead(mut self, route: &Route) -> Feed {
        self.feed.go_live(route);
        self.feed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_runtime::Unused;
    use std::time::Duration;

    const TWO: Shape = Shape { rows: 2, stride: 2, warm_up: 1000, time: None };

    /// A route whose worker answers at once, and what a follower of it has been sent.
    struct Line {
        route: Route,
        feed: Feed,
        shape: Shape,
        follower: Option<Follower>,
        sent: Vec<u64>,
    }

    impl Line {
        fn new(shape: Shape) -> Line {
            let route = Route::new(shape);
            let feed = Feed::again(&route, false);
            Line { route, feed, shape, follower: None, sent: Vec::new() }
        }

        fn follow(&mut self, shape: Shape) {
            self.follower = Some(Follower::new(&self.route, shape, None));
        }

        /// Accepts readings of one stream and answers the frames that become whole. What the
        /// follower was shown of each.
        fn go_on(&mut self, readings: u64) -> Vec<Shown> {
            let mut shown = Vec::new();
            for _ in 0..readings {
                let sequence = self.route.accept("k", 0, vec![0.0, 1.0]).unwrap();
                self.feed.accepted();
                let sent = self.feed.take(&self.route, 64, 64);
                assert!(self.feed.done(sent.len() as u32));
                let Shape { rows, stride, .. } = self.shape;
                let Some(first) = (sequence + 1).checked_sub(rows) else { continue };
                if !first.is_multiple_of(stride) {
                    continue;
                }
                let outcome = answer(first / stride, stride);
                for settled in self.route.settle(&self.feed, outcome).unwrap() {
                    let follower = self.follower.as_mut();
                    shown.extend(follower.map(|f| f.settled(&self.route, &settled)));
                }
                if self.follower.as_ref().is_none_or(|follower| !follower.needs_kept()) {
                    self.route.trim("k", Some(&self.feed));
                }
            }
            shown
        }

        /// The follower's worker takes what there is for it.
        fn take(&mut self) {
            let follower = self.follower.as_mut().unwrap();
            loop {
                let readings = follower.take(&self.route, 64, 64);
                if readings.is_empty() {
                    break;
                }
                self.sent.extend(readings.iter().map(|reading| reading.sequence));
                assert!(follower.done(readings.len() as u32));
            }
        }
    }

    fn answer(frame: u64, stride: u64) -> FrameOutcome {
        let first = frame.wrapping_mul(stride);
        FrameOutcome {
            key: "k".into(),
            frame,
            first,
            last: first.wrapping_add(stride - 1),
            spans: vec![],
            unused: Unused::default(),
            time_unix_ns: 0,
            result: Ok(vec![]),
            instead: None,
            said: Default::default(),
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_follower_sees_each_reading_once_and_in_order_from_the_warm_up_on() {
        let mut line = Line::new(TWO);
        line.go_on(101);
        line.follow(TWO);
        line.take();
        assert_eq!(line.sent, (0..100).collect::<Vec<_>>(), "reading 100 is owed");
        assert!(line.follower.as_ref().unwrap().is_level());
        assert_eq!(line.go_on(2), [Shown::Yes]);
        line.take();
        line.go_on(40);
        line.take();
        assert_eq!(line.sent, (0..142).collect::<Vec<_>>());
        // It leads: the reading that is owed, and whatever comes.
        let mut feed = line.follower.take().unwrap().lead(&line.route);
        line.route.accept("k", 0, vec![0.0, 1.0]).unwrap();
        let rest: Vec<u64> =
            feed.take(&line.route, 64, 64).iter().map(|reading| reading.sequence).collect();
        assert_eq!(rest, [142, 143]);
    }

    #[test]
    fn a_follower_that_wants_more_than_the_route_keeps_sees_what_was_captured_first() {
        let short = Shape { warm_up: 4, ..TWO };
        let mut line = Line::new(short);
        line.go_on(100);
        line.follow(TWO);
        line.follower.as_mut().unwrap().wait_for_past();
        line.take();
        assert!(line.sent.is_empty(), "it waits");
        // Meanwhile the route lets go of nothing.
        line.go_on(20);
        let reading = |sequence| Reading {
            key: "k".into(),
            sequence,
            time_unix_ns: 0,
            values: vec![0.0, 1.0],
        };
        line.follower.as_mut().unwrap().past((30..100).map(reading).collect());
        line.take();
        line.go_on(10);
        line.take();
        assert_eq!(line.sent, (30..130).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_answered_while_a_follower_warms_up_is_shown_to_it() {
        let mut line = Line::new(TWO);
        line.go_on(10);
        line.follow(TWO);
        let follower = line.follower.as_mut().unwrap();
        let first = follower.take(&line.route, 64, 64);
        assert_eq!((first.len(), follower.in_flight()), (10, 10));
        assert_eq!(line.go_on(6), [Shown::NotNow; 3]);
        assert!(line.follower.as_mut().unwrap().done(10));
        line.take();
        assert_eq!(line.sent, (10..16).collect::<Vec<_>>());
    }

    #[test]
    fn windows_that_overlap_are_shown_whole_to_whoever_cuts_alike_and_to_nobody_else() {
        let overlapping = Shape { rows: 4, stride: 2, warm_up: 0, time: None };
        for (shape, seen) in [(overlapping, 12), (TWO, 10)] {
            let mut line = Line::new(overlapping);
            line.follow(shape);
            line.take();
            line.go_on(12);
            line.take();
            // 8 to 11 is answered, and accounts for 8 and 9.
            assert_eq!(line.sent, (0..seen).collect::<Vec<_>>(), "{shape:?}");
        }
    }

    #[test]
    fn a_follower_that_is_too_slow_misses_whole_stretches_and_holds_nothing_up() {
        let mut line = Line::new(TWO);
        line.follow(TWO);
        line.take();
        let shown = line.go_on(3 * BEHIND_MAX as u64);
        let most = shown.iter().filter(|shown| **shown == Shown::Yes).count();
        assert_eq!((most, shown.len()), (BEHIND_MAX / 2, 3 * BEHIND_MAX / 2));
        assert!(line.route.kept() <= 1000, "the route keeps {}", line.route.kept());
        // A moment of peace is not enough: it would see a reading here and there.
        let follower = line.follower.as_mut().unwrap();
        assert_eq!(follower.take(&line.route, 64, 64).len(), 64);
        assert!(follower.done(64));
        assert_eq!(line.go_on(2), [Shown::Skipped]);
        line.take();
        assert_eq!(line.go_on(2), [Shown::Yes]);
        line.take();
        let last = 3 * BEHIND_MAX as u64 + 2;
        let expected: Vec<u64> = (64..BEHIND_MAX as u64).chain(last..last + 2).collect();
        assert_eq!(line.sent, expected);
    }

    #[test]
    fn who_tells_of_what_it_was_not_sent_is_not_believed_nor_who_has_no_end() {
        let mut line = Line::new(TWO);
        line.follow(TWO);
        line.go_on(20);
        line.take();
        let follower = line.follower.as_mut().unwrap();
        assert!(!follower.may_answer(&answer(10, 2)), "reading 20 has not come");
        assert!(!follower.may_answer(&answer(u64::MAX, 2)));
        assert!(!follower.may_answer(&FrameOutcome { key: "x".into(), ..answer(0, 2) }));
        let believed = (0..1000).filter(|_| follower.may_answer(&answer(3, 2))).count();
        assert!(believed < 20, "{believed}");
        assert!(!follower.done(0), "it says nothing with many words");
        assert!(!follower.done(1));
    }

    #[test]
    fn fields_are_given_in_the_order_of_the_followers_port() {
        let mut line = Line::new(TWO);
        line.go_on(2);
        let mut follower = Follower::new(&line.route, TWO, Some(vec![1]));
        let readings = follower.take(&line.route, 64, 64);
        assert_eq!(readings[0].values, [1.0]);
    }
}
