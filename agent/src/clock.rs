//! The wall clock, which may be wrong: it is for people and for expiry.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the clock shows, in milliseconds since 1970; 0 for a time before.
pub fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
