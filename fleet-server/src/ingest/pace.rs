//! A device that refuses its documents says so in a status, and would be sent them again for it,
//! for ever. So the same documents are sent to one that has not been started again meanwhile a few
//! times a minute at most.

use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same documents are sent to a start of a device within [`SPAN`].
const TIMES_MAX: usize = 5;
const SPAN: Duration = Duration::from_secs(60);

/// Versions of root, list of releases and assignment.
pub(crate) type Versions = (u64, u64, u64);

/// What was sent to whom, and when.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    sent: Mutex<BTreeMap<DeviceId, Sent>>,
}

/// What one start of a device was sent, and when.
#[derive(Debug, Default)]
struct Sent {
    boot: u64,
    versions: Versions,
    times: Vec<Instant>,
}

impl Pace {
    /// Whether documents of these versions may be sent `now` to a device that was started as `boot`;
    /// if so, they count as sent.
    pub fn allows(&self, device: &DeviceId, boot: u64, versions: Versions, now: Instant) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let last = sent.entry(device.clone()).or_default();
        if (last.boot, last.versions) != (boot, versions) {
            *last = Sent { boot, versions, times: Vec::new() };
        }
        last.times.retain(|time| now.duration_since(*time) < SPAN);
        let allowed = last.times.len() < TIMES_MAX;
        if allowed {
            last.times.push(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_documents_are_sent_a_few_times_a_minute_and_new_ones_at_once() {
        let (pace, start) = (Pace::default(), Instant::now());
        let (one, other): (DeviceId, DeviceId) =
            ("line-3".parse().unwrap(), "line-4".parse().unwrap());
        for _ in 0..TIMES_MAX {
            assert!(pace.allows(&one, 7, (1, 1, 1), start));
        }
        assert!(!pace.allows(&one, 7, (1, 1, 1), start));
        assert!(pace.allows(&other, 7, (1, 1, 1), start));
        // Whoever is started again and again must hear what it is to run each time.
        assert!(pace.allows(&one, 8, (1, 1, 1), start));
        assert!(pace.allows(&one, 8, (1, 1, 1), start + SPAN));
        assert!(pace.allows(&one, 8, (1, 1, 2), start + SPAN));
    }
}
