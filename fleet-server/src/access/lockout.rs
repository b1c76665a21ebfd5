//! Wrong passwords: an account that was tried in vain is left alone for a while. Decisions only.

use serde::{Deserialize, Serialize};

/// Wrong tries in a row that have no consequence.
const FREE: u32 = 4;
/// How long the next try has to wait after that: doubled with each, up to an hour.
const FIRST_MS: i64 = 30_000;
const LONGEST_MS: i64 = 3_600_000;

/// Tries in vain, one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tries {
    /// How many.
    pub failed: u32,
    /// Until when no other is looked at, in milliseconds since 1970.
    pub until_unix_ms: i64,
}

impl Tries {
    /// In how many seconds the next try is looked at; none if at once.
    pub fn wait(&self, now_unix_ms: i64) -> Option<u64> {
        // A clock that was ahead keeps nobody out for longer than the longest.
        let left = self.until_unix_ms.saturating_sub(now_unix_ms).min(LONGEST_MS);
        (left > 0).then(|| u64::try_from(left).unwrap_or(0).div_ceil(1_000))
    }

    /// With one more.
    #[must_use]
    pub fn and_another(self, now_unix_ms: i64) -> Tries {
        let failed = self.failed.saturating_add(1);
        let over = failed.saturating_sub(FREE);
        let pause = match over {
            0 => 0,
            over => FIRST_MS.saturating_mul(1 << (over - 1).min(16)).min(LONGEST_MS),
        };
        Tries { failed, until_unix_ms: now_unix_ms.saturating_add(pause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_takes_longer_each_time_and_never_more_than_an_hour() {
        let mut tries = Tries::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            waits.push(tries.wait(1_000));
            tries = tries.and_another(1_000);
        }
        assert_eq!(waits[..5], [None; 5]);
        assert_eq!(waits[5..8], [Some(30), Some(60), Some(120)]);
        assert_eq!(waits[13], Some(3_600));
        assert_eq!(tries.wait(1_000 + LONGEST_MS), None);
        // The clock was years ahead.
        assert_eq!(Tries { until_unix_ms: i64::MAX, ..tries }.wait(0), Some(3_600));
    }
}
