//! How long a certificate lasts, and what is to be done at which time of its life.

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Days of the shortest and the longest life of a device's certificate.
const DAYS_MIN: u8 = 7;
const DAYS_MAX: u8 = 30;

/// How long a device's certificate lasts: 7 to 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(u8);

/// Why a certificate cannot last so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device's certificate lasts {DAYS_MIN} to {DAYS_MAX} days, {0} is no such number")]
pub struct LifetimeError(u8);

impl Lifetime {
    /// So many days.
    ///
    /// # Errors
    /// [`LifetimeError`] for fewer than 7 and more than 30.
    pub fn of_days(days: u8) -> Result<Lifetime, LifetimeError> {
        if (DAYS_MIN..=DAYS_MAX).contains(&days) {
            Ok(Lifetime(days))
        } else {
            Err(LifetimeError(days))
        }
    }

    /// The time itself.
    pub fn span(self) -> Duration {
        Duration::days(self.0.into())
    }
}

/// From when to when a certificate holds, both included (RFC 5280, 4.1.2.5); whole seconds, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Seconds", into = "Seconds")]
pub struct Validity {
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// Why two times are no validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a certificate cannot hold from {0} to {1}, in seconds since 1970")]
pub struct ValidityError(i64, i64);

/// As it is kept: seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Seconds(i64, i64);

impl TryFrom<Seconds> for Validity {
    type Error = ValidityError;

    fn try_from(Seconds(from, to): Seconds) -> Result<Validity, ValidityError> {
        let time = |seconds| {
            OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ValidityError(from, to))
        };
        Validity::new(time(from)?, time(to)?)
    }
}

impl From<Validity> for Seconds {
    fn from(validity: Validity) -> Seconds {
        Seconds(validity.not_before.unix_timestamp(), validity.not_after.unix_timestamp())
    }
}

/// Where in its life a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not hold yet: a clock is wrong.
    Early,
    /// It holds, and is to be renewed at this time.
    Fresh(OffsetDateTime),
    /// It holds, and two thirds of its life are over: it is to be renewed.
    Due,
    /// It holds no longer, and may still be renewed by its key.
    Lapsed,
    /// It has lapsed so long ago that a person has to accept the device again.
    Over,
}

impl Validity {
    /// From when to when; parts of a second are left out.
    ///
    /// # Errors
    /// [`ValidityError`] if it ends before it begins, or before 1970.
    pub fn new(
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<Validity, ValidityError> {
        let (from, to) = (not_before.unix_timestamp(), not_after.unix_timestamp());
        let fail = |_| ValidityError(from, to);
        if from < 0 || to < from {
            return Err(ValidityError(from, to));
        }
        Ok(Validity {
            not_before: OffsetDateTime::from_unix_timestamp(from).map_err(fail)?,
            not_after: OffsetDateTime::from_unix_timestamp(to).map_err(fail)?,
        })
    }

    /// The first second in which it holds.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last second in which it holds.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// When two thirds of its life are over.
    pub fn renew_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// Where in its life it is at `now`, when `grace` is how long after its end it may still be renewed.
    pub fn phase(&self, now: OffsetDateTime, grace: Duration) -> Phase {
        // Its last second is its own whole.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        if now < self.not_before {
            Phase::Early
        } else if now < self.renew_at() {
            Phase::Fresh(self.renew_at())
        } else if now <= self.not_after {
            Phase::Due
        } else if now - self.not_after <= grace {
            Phase::Lapsed
        } else {
            Phase::Over
        }
    }

    /// Whether it holds at `now`.
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        match self.phase(now, Duration::ZERO) {
            Phase::Fresh(_) | Phase::Due => true,
            Phase::Early | Phase::Lapsed | Phase::Over => false,
        }
    }
}

/// A time as people read it in an error.
pub(crate) fn shown(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn each_second_of_a_life_has_its_phase() {
        let validity = Validity::new(at(1_000), at(1_900)).unwrap();
        let grace = Duration::seconds(50);
        for (now, phase) in [
            (0, Phase::Early),
            (999, Phase::Early),
            (1_000, Phase::Fresh(at(1_600))),
            (1_599, Phase::Fresh(at(1_600))),
            (1_600, Phase::Due),
            (1_900, Phase::Due),
            (1_901, Phase::Lapsed),
            (1_950, Phase::Lapsed),
            (1_951, Phase::Over),
        ] {
            assert_eq!(validity.phase(at(now), grace), phase, "{now}");
        }
        assert_eq!(validity.phase(at(1_900) + Duration::milliseconds(999), grace), Phase::Due);
        assert_eq!(validity.phase(at(1_901), Duration::ZERO), Phase::Over);
        assert!(!validity.holds(at(999)) && validity.holds(at(1_000)) && validity.holds(at(1_900)));
        assert!(!validity.holds(at(1_901)));
    }

    #[test]
    fn a_life_has_seven_to_thirty_days() {
        for days in 0..=u8::MAX {
            assert_eq!(Lifetime::of_days(days).is_ok(), (7..=30).contains(&days), "{days}");
        }
        assert_eq!(Lifetime::of_days(7).unwrap().span(), Duration::days(7));
    }

    #[test]
    fn a_life_that_ends_before_it_begins_is_none() {
        assert!(Validity::new(at(2), at(1)).is_err());
        assert!(serde_json::from_str::<Validity>("[2,1]").is_err());
        assert!(serde_json::from_str::<Validity>("[1,9223372036854775807]").is_err());
        let kept = serde_json::to_string(&Validity::new(at(1), at(2)).unwrap()).unwrap();
        assert_eq!(kept, "[1,2]");
    }

    proptest! {
        #[test]
        fn a_life_goes_one_way(
            from in 0_i64..1 << 40, life in 0_i64..1 << 31, grace in 0_i64..1 << 31,
            now in 0_i64..1 << 41, later in 0_i64..1 << 32,
        ) {
            let order = |phase| match phase {
                Phase::Early => 0,
                Phase::Fresh(_) => 1,
                Phase::Due => 2,
                Phase::Lapsed => 3,
                Phase::Over => 4,
            };
            // Beyond the year 9999 there are no certificates (RFC 5280, 4.1.2.5).
            let last = 253_402_300_799;
            let (from, to) = (from.min(last), (from + life).min(last));
            let validity = Validity::new(at(from), at(to.max(from))).unwrap();
            let phase = |now: i64| validity.phase(at(now.min(last)), Duration::seconds(grace));
            prop_assert!(order(phase(now)) <= order(phase(now + later)));
            prop_assert!(validity.not_before() <= validity.renew_at());
            prop_assert!(validity.renew_at() <= validity.not_after());
        }
    }
}
