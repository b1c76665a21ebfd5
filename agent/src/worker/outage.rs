//! A release that has the route and does not answer: its workers die over and over, or do not load.

use std::time::{Duration, Instant};

/// How long there may be no worker that takes readings before the plant is told.
const UNREADY_MAX: Duration = Duration::from_secs(5);
/// Deaths in a row without an answer between them after which the plant is told.
const DEATHS_MAX: u32 = 3;

/// What has happened since the release answered a frame last.
#[derive(Debug, Default)]
pub(super) struct Outage {
    deaths: u32,
    /// Since when there has been no worker that takes readings.
    unready_since: Option<Instant>,
    /// Why the last worker died.
    reason: String,
    told: bool,
}

impl Outage {
    /// A worker died.
    pub(super) fn died(&mut self, now: Instant, reason: &str) {
        self.deaths = self.deaths.saturating_add(1);
        self.unready_since.get_or_insert(now);
        reason.clone_into(&mut self.reason);
    }

    /// A worker takes readings. Whether it answers is to be seen.
    pub(super) fn ready(&mut self) {
        self.unready_since = None;
    }

    /// A frame was answered.
    pub(super) fn end(&mut self) {
        self.deaths = 0;
        self.told = false;
    }

    /// What to tell the plant, once an outage.
    pub(super) fn untold(&mut self, now: Instant) -> Option<String> {
        let unready = |since: Instant| now.saturating_duration_since(since) > UNREADY_MAX;
        let lasts = self.deaths >= DEATHS_MAX || self.unready_since.is_some_and(unready);
        if !lasts || self.told {
            return None;
        }
        self.told = true;
        Some(self.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_the_next_one_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outage = Outage::default();
        outage.died(at(0), "first");
        outage.ready();
        outage.died(at(1), "second");
        assert_eq!(outage.untold(at(2)), None);
        outage.ready();
        outage.died(at(2), "third");
        assert_eq!(outage.untold(at(2)).as_deref(), Some("third"));
        outage.ready();
        outage.died(at(3), "fourth");
        assert_eq!(outage.untold(at(60)), None);
        outage.ready();
        outage.end();
        // One that does not load is told by the time it takes.
        outage.died(at(100), "fifth");
        assert_eq!(outage.untold(at(104)), None);
        assert_eq!(outage.untold(at(106)).as_deref(), Some("fifth"));
    }

    #[test]
    fn a_worker_that_answers_between_its_deaths_is_no_outage() {
        let mut outage = Outage::default();
        for _ in 0..100 {
            outage.died(Instant::now(), "it was killed");
            outage.ready();
            outage.end();
            assert_eq!(outage.untold(Instant::now()), None);
        }
    }
}
