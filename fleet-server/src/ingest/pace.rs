//! A device that refuses its documents says so in a status, and would be sent them again for it,
//! for ever. So the same documents are sent to one that has not been started again meanwhile a few
//! times a minute at most; and whatever a device says of its starts, it is sent no more than it may
//! need.

use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same is done for a start of a device within [`SPAN`].
const TIMES_MAX: usize = 5;
/// How often documents are sent to a device within [`SPAN`], whatever they are.
const ALL_TIMES_MAX: usize = 20;
const SPAN: Duration = Duration::from_secs(60);

/// Versions of root, list of releases, timestamp and assignment.
pub(crate) type Versions = [u64; 4];

/// What was sent to whom, and when.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    sent: Mutex<BTreeMap<DeviceId, Sent>>,
}

/// What a device was sent, and when.
#[derive(Debug, Default)]
struct Sent {
    boot: u64,
    versions: Versions,
    /// When these were sent in this start.
    same: Times,
    /// When any were.
    all: Times,
}

impl Pace {
    /// Whether documents of these versions may be sent `now` to a device that was started as `boot`;
    /// if so, they count as sent.
    pub fn allows(&self, device: &DeviceId, boot: u64, versions: Versions, now: Instant) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let last = sent.entry(device.clone()).or_default();
        if (last.boot, last.versions) != (boot, versions) {
            (last.boot, last.versions, last.same) = (boot, versions, Times::default());
        }
        let allowed = last.same.has_room(TIMES_MAX, now) && last.all.has_room(ALL_TIMES_MAX, now);
        if allowed {
            last.same.0.push(now);
            last.all.0.push(now);
        }
        allowed
    }
}

/// Whose turn it was, and when: each device a few times a minute.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<BTreeMap<DeviceId, Times>>,
}

impl Turns {
    /// Whether it is the device's turn `now`; if so, it has had it.
    pub fn allows(&self, device: &DeviceId, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let times = taken.entry(device.clone()).or_default();
        let allowed = times.has_room(TIMES_MAX, now);
        if allowed {
            times.0.push(now);
        }
        allowed
    }
}

/// When something was done.
#[derive(Debug, Default)]
struct Times(Vec<Instant>);

impl Times {
    /// Whether it was done less often than so in the last [`SPAN`].
    fn has_room(&mut self, times_max: usize, now: Instant) -> bool {
        self.0.retain(|time| now.duration_since(*time) < SPAN);
        self.0.len() < times_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> (DeviceId, DeviceId) {
        ("line-3".parse().unwrap(), "line-4".parse().unwrap())
    }

    #[test]
    fn the_same_documents_are_sent_a_few_times_a_minute_and_new_ones_at_once() {
        let (pace, start) = (Pace::default(), Instant::now());
        let (one, other) = devices();
        for _ in 0..TIMES_MAX {
            assert!(pace.allows(&one, 7, [1, 1, 1, 1], start));
        }
        assert!(!pace.allows(&one, 7, [1, 1, 1, 1], start));
        assert!(pace.allows(&other, 7, [1, 1, 1, 1], start));
        // Whoever is started again and again must hear what it is to run each time.
        assert!(pace.allows(&one, 8, [1, 1, 1, 1], start));
        assert!(pace.allows(&one, 8, [1, 1, 1, 1], start + SPAN));
        assert!(pace.allows(&one, 8, [1, 1, 1, 2], start + SPAN));
    }

    #[test]
    fn who_says_that_he_is_started_all_the_time_is_sent_no_more_for_it() {
        let (pace, start) = (Pace::default(), Instant::now());
        let (one, other) = devices();
        let sent = (0..1_000).filter(|boot| pace.allows(&one, boot % 2, [1, 1, 1, *boot], start));
        assert_eq!(sent.count(), ALL_TIMES_MAX);
        assert!(pace.allows(&other, 0, [1, 1, 1, 1], start));
        assert!(pace.allows(&one, 0, [1, 1, 1, 1], start + SPAN));
    }

    #[test]
    fn each_has_a_few_turns_a_minute() {
        let (turns, start) = (Turns::default(), Instant::now());
        let (one, other) = devices();
        assert_eq!((0..9).filter(|_| turns.allows(&one, start)).count(), TIMES_MAX);
        assert!(turns.allows(&other, start) && turns.allows(&one, start + SPAN));
    }
}
