//! Whether readings come: what a release is given to show itself is time in which they do.

use std::time::{Duration, Instant};

/// Time without a reading after which the line is taken to stand still.
const STANDSTILL: Duration = Duration::from_secs(600);

/// When readings came last, and until when their time is counted.
pub(super) struct Flow {
    read: Option<Instant>,
    counted: Instant,
}

impl Flow {
    /// Nothing has come yet.
    pub(super) fn new(now: Instant) -> Flow {
        Flow { read: None, counted: now }
    }

    /// Readings have come.
    pub(super) fn came(&mut self, now: Instant) {
        self.read = Some(now);
    }

    /// The time that has passed since it was asked for last; none of it where the line stands still.
    /// Readings that `wait` for an answer are no standstill, however long the source has been silent.
    pub(super) fn passed(&mut self, now: Instant, wait: bool) -> Duration {
        let passed = now.saturating_duration_since(self.counted);
        self.counted = now;
        let stands_still = |read: Instant| now.saturating_duration_since(read) >= STANDSTILL;
        match !wait && self.read.is_none_or(stands_still) {
            true => Duration::ZERO,
            false => passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_while_readings_come_or_wait_and_not_while_the_line_stands_still() {
        let began = Instant::now();
        let minute = |count: u64| began + Duration::from_secs(60 * count);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let mut flow = Flow::new(began);
        assert_eq!(flow.passed(minute(60), false), Duration::ZERO, "nothing has come yet");
        flow.came(minute(60));
        assert_eq!(flow.passed(minute(65), false), minutes(5));
        // A slow line stands still from one reading to the next, and time goes on for a while.
        assert_eq!(flow.passed(minute(69), false), minutes(4));
        assert_eq!(flow.passed(minute(71), false), Duration::ZERO);
        assert_eq!(flow.passed(minute(1000), false), Duration::ZERO, "a weekend");
        assert_eq!(flow.passed(minute(1001), true), minutes(1), "somebody owes an answer");
        assert_eq!(flow.passed(minute(2000), false), Duration::ZERO);
        flow.came(minute(2000));
        assert_eq!(flow.passed(minute(2001), false), minutes(1));
    }
}
