//! Which records are on their way, and how those are sent that have been sent before.

use crate::telemetry::backfill::Backfill;
use crate::telemetry::spool::{Batch, Key, Pace};
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
pub(super) struct Sending {
    /// Records that were sent and that nobody has acknowledged.
    under_way: BTreeMap<Key, UnderWay>,
    /// How often records were sent that nobody has acknowledged.
    times: BTreeMap<Key, u32>,
    /// Records below this number waited out an interruption.
    fresh: u64,
    /// Of these, intervals that go before the others; none before that was looked for.
    first: Option<Vec<Key>>,
    backfill: Backfill,
}

/// A record that was sent.
struct UnderWay {
    at: Instant,
    /// Whether nothing more of what waited goes before it is stored: a bad network has enough of it.
    holds_up: bool,
}

impl Sending {
    /// What waited goes at this rate.
    pub(super) fn new(backfill_bytes_per_second: u64) -> Sending {
        Sending {
            under_way: BTreeMap::new(),
            times: BTreeMap::new(),
            fresh: 0,
            first: None,
            backfill: Backfill::new(backfill_bytes_per_second),
        }
    }

    /// These records are on their way.
    pub(super) fn sent(&mut self, batch: &Batch, now: Instant) {
        if self.times.len() > TIMES_MAX {
            // Some of them gave way meanwhile. Those that are left go with others again.
            self.times.clear();
        }
        self.backfill.sent(batch, now);
        for key in &batch.keys {
            let times = self.times.entry(*key).or_insert(0);
            // What goes by itself may be what the server cannot read: nothing waits for it.
            let holds_up = batch.waited_bytes > 0 && *times < IN_COMPANY_MAX;
            *times += 1;
            self.under_way.insert(*key, UnderWay { at: now, holds_up });
        }
    }

    /// The connection is new: what was sent before may have been lost with the old one, and what has a
    /// number below `next` waited out an interruption.
    pub(super) fn begin_anew(&mut self, next: u64) {
        self.under_way.clear();
        self.first = None;
        self.fresh = next;
    }

    /// The number below which records waited out an interruption.
    pub(super) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// Of the records that waited, those that go before the others; none where that has to be looked for.
    pub(super) fn first(&self) -> Option<Vec<Key>> {
        self.first.clone()
    }

    /// These go before the others of those that waited when records from `fresh` on had not.
    pub(super) fn set_first(&mut self, first: Vec<Key>, fresh: u64) {
        if fresh == self.fresh {
            self.first = Some(first);
        }
    }

    /// Takes for lost what went unanswered for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.under_way.retain(|_, it| now.duration_since(it.at) < ACKNOWLEDGE_MAX);
    }

    /// Bytes of what waited that may go now.
    pub(super) fn room(&self, now: Instant) -> u64 {
        match self.under_way.values().any(|it| it.holds_up) {
            true => 0,
            false => self.backfill.room(now),
        }
    }

    /// When there is room again for what waited, where time alone will make it.
    pub(super) fn room_at(&self, now: Instant) -> Option<Instant> {
        self.backfill.next(now)
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
        let again = self.times.iter().map(|(key, times)| match *times < IN_COMPANY_MAX {
            true => (*key, Pace::Again),
            false => (*key, Pace::Alone),
        });
        again.chain(self.under_way.keys().map(|key| (*key, Pace::Wait))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_acknowledges_is_soon_sent_by_itself() {
        let mut sending = Sending::new(1000);
        let batch = |key, waited_bytes| Batch { message: vec![], keys: vec![key], waited_bytes };
        let pace = |sending: &Sending, key| sending.paces().get(&key).copied();
        let now = Instant::now();
        for _ in 0..IN_COMPANY_MAX {
            assert_ne!(pace(&sending, (1, 7)), Some(Pace::Alone));
            sending.sent(&batch((1, 7), 0), now);
            assert_eq!(pace(&sending, (1, 7)), Some(Pace::Wait));
            sending.begin_anew(0);
        }
        assert_eq!(pace(&sending, (1, 7)), Some(Pace::Alone));
        assert_eq!(pace(&sending, (1, 8)), None);
        for sequence in 0..100_000 {
            sending.sent(&batch((2, sequence), 0), now);
        }
        assert!(sending.times.len() <= TIMES_MAX + 1);
    }
    #[test]
    fn what_waited_goes_at_its_rate_and_only_once_what_went_before_it_is_stored() {
        let (mut sending, began) = (Sending::new(32 << 10), Instant::now());
        let batch = |sequence, waited_bytes| Batch {
            message: vec![],
            keys: vec![(1, sequence)],
            waited_bytes,
        };
        let seconds = |seconds| began + Duration::from_millis((seconds * 1000.0) as u64);
        let stored = |sequence| Ack { boot: 1, ranges: vec![(sequence, sequence)] };
        assert_eq!((sending.room(began), sending.room_at(began)), (32 << 10, None));
        // What is new takes no room.
        sending.sent(&batch(9, 0), began);
        assert_eq!(sending.room(began), 32 << 10);
        sending.sent(&batch(0, 48 << 10), began);
        assert_eq!(sending.room_at(began), Some(seconds(1.5)));
        assert_eq!(sending.room(seconds(2.0)), 0, "it may be on the line yet");
        sending.stored(&stored(0));
        assert_eq!((sending.room(seconds(1.4)), sending.room(seconds(1.5))), (0, 32 << 10));
        assert_eq!(sending.room_at(seconds(1.5)), None);
        // What nobody answers holds it up for a while each time, and in the end not at all.
        let mut now = seconds(2.0);
        for _ in 0..IN_COMPANY_MAX {
            sending.sent(&batch(1, 100), now);
            now += ACKNOWLEDGE_MAX - Duration::from_millis(1);
            sending.give_up(now);
            assert_eq!(sending.room(now), 0);
            now += Duration::from_millis(1);
            sending.give_up(now);
            assert_eq!(sending.room(now), 32 << 10);
        }
        sending.sent(&batch(1, 100), now);
        assert_eq!(sending.room(now + Duration::from_secs(1)), 32 << 10);
        // However slow or fast it is, a message is neither small nor large.
        for (rate, room) in [(1, 16 << 10), (u64::MAX, 256 << 10)] {
            assert_eq!(Sending::new(rate).room(began), room);
        }
    }
}
