//! Whether this machine's clock may be believed before something is signed by it.
//!
//! A timestamp says when it was signed, and devices believe no clock before that any more: one of a
//! day that has not come yet has them take every other document for expired until that day. So nothing
//! is signed by a clock that runs far ahead of the last signature, unless something else says the same:
//! a device, or the person who started the server. Devices only ever confirm. Many have clocks of 1970,
//! and a fleet of those is not to hold its server up.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use time::{Duration, OffsetDateTime};

/// How far ahead of the last signature the clock is believed by itself: a server that runs signs once a
/// week at least, and one that is off for a holiday is not to ask anybody. What a smaller jump costs is
/// over as soon.
const AHEAD_MAX: Duration = Duration::days(14);
/// How far two clocks are apart that say the same.
const AGREED: Duration = Duration::days(1);

/// This machine's clock, and what speaks for it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// What it said when something else said the same last, and when that was by a clock that nobody
    /// sets.
    confirmed: Mutex<Option<(OffsetDateTime, Instant)>>,
}

impl Clock {
    /// Takes somebody's word that it is right.
    pub fn confirm(&self, now: OffsetDateTime) {
        *self.confirmed() = Some((now, Instant::now()));
    }

    /// Hears what a device takes for the time.
    pub fn hear(&self, device_unix_ms: i64, now: OffsetDateTime) {
        let device = i128::from(device_unix_ms) * 1_000_000;
        let device = OffsetDateTime::from_unix_timestamp_nanos(device);
        if device.is_ok_and(|device| (now - device).abs() <= AGREED) {
            self.confirm(now);
        }
    }

    /// How far it runs ahead of the last signature, if that is too far and nothing speaks for it.
    pub fn ahead(&self, signed: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
        let ahead = now - signed;
        let is_confirmed =
            self.confirmed().is_some_and(|(then, at)| now <= then + at.elapsed() + AGREED);
        (ahead > AHEAD_MAX && !is_confirmed).then_some(ahead)
    }

    fn confirmed(&self) -> std::sync::MutexGuard<'_, Option<(OffsetDateTime, Instant)>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const SIGNED: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn unix_ms(at: OffsetDateTime) -> i64 {
        at.unix_timestamp() * 1_000
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_until_something_else_says_the_same() {
        let ahead = SIGNED + Duration::days(700);
        let clock = Clock::default();
        assert_eq!(
            clock.ahead(SIGNED, SIGNED - Duration::days(700)),
            None,
            "behind is another matter"
        );
        assert_eq!(clock.ahead(SIGNED, SIGNED + AHEAD_MAX), None);
        assert_eq!(clock.ahead(SIGNED, ahead), Some(Duration::days(700)));
        // Devices with other clocks say neither yes nor no.
        for other in [0, i64::MIN, i64::MAX, unix_ms(SIGNED), unix_ms(ahead + Duration::days(2))] {
            clock.hear(other, ahead);
            assert!(clock.ahead(SIGNED, ahead).is_some(), "{other}");
        }
        clock.hear(unix_ms(ahead - Duration::hours(3)), ahead);
        assert_eq!(clock.ahead(SIGNED, ahead), None);
        // What was confirmed says nothing of a jump that came after.
        assert!(clock.ahead(SIGNED, ahead + Duration::days(2)).is_some());
    }
}
