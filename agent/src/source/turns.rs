//! Whose turn it is among the sources of one slot: their readings are taken in the order of their times, so
//! that the one that is read faster does not make those of the others late. Pure.
//!
//! One that has nothing to give is waited for where others are ahead of it by more than half of what frames
//! wait for a port, for as long as frames wait, on the clock of the device.

use std::time::{Duration, Instant};

/// Recordings are waited for at least so long: they have no clock, and only a busy machine keeps them.
const RECORDING_PATIENCE: Duration = Duration::from_secs(10);

/// What stands for the time of something without a reading, which waits for nobody.
pub const NO_TIME: i64 = i64::MIN;

/// What a source gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// What comes as it happens.
    Live,
    /// What was recorded.
    Recorded,
}

/// A source as the others see it.
#[derive(Debug, Clone)]
pub struct Feed {
    gives: Gives,
    /// Whether the release takes its port.
    wanted: bool,
    ended: bool,
    /// Time of the next reading that it has, nanoseconds since 1970.
    head_ns: Option<i64>,
    /// Time of the newest that was taken.
    newest_ns: Option<i64>,
    /// When it had something last, or began to be read.
    heard: Instant,
}

impl Feed {
    /// One that has given nothing yet.
    pub fn new(gives: Gives, now: Instant) -> Feed {
        Feed { gives, wanted: false, ended: false, head_ns: None, newest_ns: None, heard: now }
    }

    /// Whether the release takes its port.
    pub fn want(&mut self, wanted: bool, now: Instant) {
        if wanted && !self.wanted {
            self.heard = now;
        }
        self.wanted = wanted;
    }

    /// It has a reading of this time to give next, or none.
    pub fn offers(&mut self, head_ns: Option<i64>, now: Instant) {
        if head_ns.is_some() || self.head_ns.is_some() {
            self.heard = now;
        }
        self.head_ns = head_ns;
    }

    /// A reading of this time was taken.
    pub fn taken(&mut self, time_ns: i64) {
        self.newest_ns = self.newest_ns.max(Some(time_ns));
    }

    /// Nothing will come any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing will come any more, or what comes is not wanted.
    pub fn is_over(&self) -> bool {
        self.ended || !self.wanted
    }

    /// Whether it has given all that it had.
    pub fn has_ended(&self) -> bool {
        self.ended && self.wanted
    }

    fn holds_up(&self, time_ns: i64, wait: Duration, now: Instant) -> bool {
        if time_ns == NO_TIME || self.is_over() || self.head_ns.is_some() {
            return false;
        }
        // Half of it: some of its keys may be behind its newest reading.
        let lead_ns = i64::try_from(wait.as_nanos() / 2).unwrap_or(i64::MAX);
        if self.newest_ns.is_some_and(|newest| time_ns <= newest.saturating_add(lead_ns)) {
            return false;
        }
        let patience = match self.gives {
            Gives::Live => wait,
            Gives::Recorded => wait.max(RECORDING_PATIENCE),
        };
        now.saturating_duration_since(self.heard) < patience
    }
}

/// Which of the feeds may give its next reading: the one whose is the oldest, unless another one has to be
/// waited for. `wait` is how long frames wait for a port.
pub fn next(feeds: &[Feed], wait: Duration, now: Instant) -> Option<usize> {
    let heads = feeds.iter().enumerate().filter_map(|(at, feed)| Some((feed.head_ns?, at)));
    let (time_ns, at) = heads.min()?;
    let is_held_up = feeds.iter().any(|feed| feed.holds_up(time_ns, wait, now));
    (!is_held_up).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_nanos(10);

    fn feeds(gives: Gives, now: Instant) -> Vec<Feed> {
        let mut feeds = vec![Feed::new(gives, now), Feed::new(gives, now)];
        feeds.iter_mut().for_each(|feed| feed.want(true, now));
        feeds
    }

    #[test]
    fn the_oldest_reading_is_taken_and_who_runs_ahead_waits() {
        let now = Instant::now();
        let mut feeds = feeds(Gives::Live, now);
        feeds[0].offers(Some(5), now);
        assert_eq!(next(&feeds, WAIT, now), None, "the other one may have an older one");
        feeds[1].offers(Some(3), now);
        assert_eq!(next(&feeds, WAIT, now), Some(1));
        feeds[1].taken(3);
        feeds[1].offers(None, now);
        // It has given 3 and may lag behind by half of the wait.
        assert_eq!(next(&feeds, WAIT, now), Some(0));
        feeds[0].offers(Some(8), now);
        assert_eq!(next(&feeds, WAIT, now), Some(0));
        feeds[0].offers(Some(9), now);
        assert_eq!(next(&feeds, WAIT, now), None);
        assert_eq!(next(&feeds, WAIT, now + WAIT), Some(0), "it is silent");
        feeds[1].end();
        assert_eq!(next(&feeds, WAIT, now), Some(0));
    }

    #[test]
    fn what_has_no_reading_waits_for_nobody_even_before_there_was_one() {
        let now = Instant::now();
        for at in [0, 1] {
            let mut feeds = feeds(Gives::Live, now);
            feeds[at].offers(Some(NO_TIME), now);
            assert_eq!(next(&feeds, WAIT, now), Some(at));
        }
    }

    #[test]
    fn a_recording_is_waited_for_and_one_that_nobody_wants_is_not() {
        let now = Instant::now();
        let mut feeds = feeds(Gives::Recorded, now);
        feeds[0].offers(Some(5), now);
        assert_eq!(next(&feeds, WAIT, now + Duration::from_secs(1)), None);
        assert_eq!(next(&feeds, WAIT, now + RECORDING_PATIENCE), Some(0));
        feeds[1].want(false, now);
        assert_eq!(next(&feeds, WAIT, now), Some(0));
        // It is wanted again: its silence counts from now on.
        let later = now + 2 * RECORDING_PATIENCE;
        feeds[1].want(true, later);
        assert_eq!(next(&feeds, WAIT, later), None);
    }
}
