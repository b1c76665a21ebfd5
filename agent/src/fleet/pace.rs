//! When the server is tried again, and what of its coming and going is news.
//!
//! A connection counts only once it has lasted. A server that takes one and drops it, for instance
//! because another agent was installed with the same name, is as good as away: it is asked less and
//! less often, and nobody hears of it again and again.

use crate::backoff;
use std::time::Duration;
use tokio::time::Instant;

/// First and longest pause before the server is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How long a connection must have lasted to count.
const LASTING: Duration = Duration::from_secs(30);

/// What the pauses hang on.
#[derive(Debug, Default)]
pub struct Pace {
    /// Attempts since a connection lasted.
    attempts: u32,
    /// When the connection was made that there is now.
    since: Option<Instant>,
    /// Whether the last connection broke as soon as it was made.
    is_dropped: bool,
    told: Told,
}

/// What was told last of the server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Here,
    Away,
}

impl Pace {
    /// A connection was made. Returns whether that is news.
    pub fn made(&mut self, now: Instant) -> bool {
        self.since = Some(now);
        !self.is_dropped && self.tell(Told::Here)
    }

    /// Asked from time to time while there is a connection: whether it is news now that it lasts.
    pub fn lasts(&mut self, now: Instant) -> bool {
        self.has_lasted(now) && self.tell(Told::Here)
    }

    /// There is no connection, because it broke or could not be made. Returns whether that is news, and
    /// how long to wait before the next attempt.
    pub fn broken(&mut self, now: Instant) -> (bool, Duration) {
        let has_lasted = self.has_lasted(now);
        if has_lasted {
            self.attempts = 0;
        }
        self.is_dropped = self.since.take().is_some() && !has_lasted;
        let (first, longest) = PAUSE;
        let pause = backoff::pause(first, longest, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        (self.tell(Told::Away), pause)
    }

    fn has_lasted(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= LASTING)
    }

    fn tell(&mut self, what: Told) -> bool {
        std::mem::replace(&mut self.told, what) != what
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_connections_and_drops_them_is_tried_less_often_and_told_of_once() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut news = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let made = pace.made(now);
            now += Duration::from_millis(10);
            assert!(!pace.lasts(now));
            let (broken, pause) = pace.broken(now);
            now += pause;
            news.push((made, broken));
            pauses.push(pause);
        }
        assert_eq!(news[0], (true, true));
        assert!(news[1..].iter().all(|told| *told == (false, false)), "{news:?}");
        let (_, longest) = PAUSE;
        assert!(pauses[10..].iter().all(|pause| *pause >= longest / 2), "{pauses:?}");
        // The other agent has been switched off.
        assert!(!pace.made(now));
        now += LASTING;
        assert!(pace.lasts(now) && !pace.lasts(now));
        let (is_news, pause) = pace.broken(now);
        assert!(is_news && pause <= PAUSE.0, "{pause:?}");
    }

    #[test]
    fn a_server_that_was_away_is_told_of_as_soon_as_it_is_back() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert!(pace.broken(now).0);
        for _ in 0..10 {
            now += Duration::from_secs(60);
            assert!(!pace.broken(now).0);
        }
        assert!(pace.made(now));
        now += Duration::from_secs(3600);
        assert!(!pace.lasts(now));
        assert!(pace.broken(now).0);
        assert!(pace.made(now));
    }
}
