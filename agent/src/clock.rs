//! The wall clock, which may be wrong: it is for people and for expiry.

use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the clock shows, in milliseconds since 1970; 0 for a time before.
pub fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in nanoseconds since 1970, as RFC 3339 writes it.
pub fn written(unix_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns));
    // An i64 of nanoseconds reaches from 1677 to 2262, all of which can be written.
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
