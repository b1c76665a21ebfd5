//! A device that refuses its documents says so in a status, and would be sent them again for it,
//! for ever. So the same documents are sent a few times a minute at most.

use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same documents are sent to a device within [`SPAN`].
const TIMES_MAX: usize = 5;
const SPAN: Duration = Duration::from_secs(60);

/// Versions of root, list of releases and assignment.
pub(crate) type Versions = (u64, u64, u64);

/// What was sent to whom, and when.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    sent: Mutex<BTreeMap<DeviceId, (Versions, Vec<Instant>)>>,
}

impl Pace {
    /// Whether documents of these versions may be sent to a device `now`; if so, they count as sent.
    pub fn allows(&self, device: &DeviceId, versions: Versions, now: Instant) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, times) = sent.entry(device.clone()).or_default();
        if *last != versions {
            *last = versions;
            times.clear();
        }
        times.retain(|time| now.duration_since(*time) < SPAN);
        let allowed = times.len() < TIMES_MAX;
        if allowed {
            times.push(now);
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
            assert!(pace.allows(&one, (1, 1, 1), start));
        }
        assert!(!pace.allows(&one, (1, 1, 1), start));
        assert!(pace.allows(&other, (1, 1, 1), start));
        assert!(pace.allows(&one, (1, 1, 1), start + SPAN));
        assert!(pace.allows(&one, (1, 1, 2), start + SPAN));
    }
}
