//! Which records are on their way, and how those are sent that have been sent before.

use crate::telemetry::spool::{Key, Pace};
use lineside_wire::v1::Ack;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the server may take to say that records are stored, before they are sent again.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(15);
/// How often a record is sent together with others before it is sent by itself.
const IN_COMPANY_MAX: u32 = 2;
/// Records of which it is known how often they were sent.
const TIMES_MAX: usize = 10_000;

/// What was sent and is not known to have arrived.
#[derive(Default)]
pub(super) struct Sending {
    /// When records were sent that nobody has acknowledged.
    under_way: BTreeMap<Key, Instant>,
    /// How often records were sent that nobody has acknowledged.
    times: BTreeMap<Key, u32>,
    /// Records below this number waited out an interruption.
    fresh: u64,
}

impl Sending {
    /// These records are on their way.
    pub(super) fn sent(&mut self, keys: Vec<Key>, now: Instant) {
        if self.times.len() > TIMES_MAX {
            // Some of them gave way meanwhile. Those that are left go with others again.
            self.times.clear();
        }
        for key in keys {
            *self.times.entry(key).or_insert(0) += 1;
            self.under_way.insert(key, now);
        }
    }

    /// The connection is new: what was sent before may have been lost with the old one, and what has a
    /// number below `next` waited out an interruption.
    pub(super) fn begin_anew(&mut self, next: u64) {
        self.under_way.clear();
        self.fresh = next;
    }

    /// The number below which records waited out an interruption.
    pub(super) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// Takes for lost what went unanswered for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.under_way.retain(|_, sent| now.duration_since(*sent) < ACKNOWLEDGE_MAX);
    }

    /// Forgets what the server has.
    pub(super) fn stored(&mut self, ack: &Ack) {
        let is_stored = |key: &Key| {
            key.0 == ack.boot && ack.ranges.iter().any(|(a, b)| (*a..=*b).contains(&key.1))
        };
        self.under_way.retain(|key, _| !is_stored(key));
        self.times.retain(|key, _| !is_stored(key));
    }

    /// How records are sent that have been sent before. A server that cannot read one record of a
    /// message stores none of it: what went unanswered repeatedly must not take others with it.
    pub(super) fn paces(&self) -> BTreeMap<Key, Pace> {
        let alone = self.times.iter().filter(|(_, times)| **times >= IN_COMPANY_MAX);
        let alone = alone.map(|(key, _)| (*key, Pace::Alone));
        alone.chain(self.under_way.keys().map(|key| (*key, Pace::Wait))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_acknowledges_is_soon_sent_by_itself() {
        let mut sending = Sending::default();
        let pace = |sending: &Sending, key| sending.paces().get(&key).copied();
        let now = Instant::now();
        for _ in 0..IN_COMPANY_MAX {
            assert_ne!(pace(&sending, (1, 7)), Some(Pace::Alone));
            sending.sent(vec![(1, 7)], now);
            assert_eq!(pace(&sending, (1, 7)), Some(Pace::Wait));
            sending.begin_anew(0);
        }
        assert_eq!(pace(&sending, (1, 7)), Some(Pace::Alone));
        assert_eq!(pace(&sending, (1, 8)), None);
        for sequence in 0..100_000 {
            sending.sent(vec![(2, sequence)], now);
        }
        assert!(sending.times.len() <= TIMES_MAX + 1);
    }
}
