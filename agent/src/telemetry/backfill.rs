//! How much goes at once of what waited out an interruption.

use crate::telemetry::spool::Batch;
use std::time::{Duration, Instant};

/// Bytes of a message, fewest and most: a message costs two writes to the disk, and what is new waits on the line
/// until the one before has gone.
const MESSAGE_BYTES: (u64, u64) = (16 << 10, 256 << 10);

/// So much a second of what waited: one message, and then none for as long as it takes at that rate. Pure: it is
/// told what the time is.
#[derive(Debug)]
pub(super) struct Backfill {
    bytes_per_second: u64,
    /// When the next message may go; none before the first.
    next: Option<Instant>,
}

impl Backfill {
    pub(super) fn new(bytes_per_second: u64) -> Backfill {
        Backfill { bytes_per_second: bytes_per_second.max(1), next: None }
    }

    /// Bytes that may go now.
    pub(super) fn room(&self, now: Instant) -> u64 {
        let (fewest, most) = MESSAGE_BYTES;
        match self.next {
            Some(next) if now < next => 0,
            Some(_) | None => self.bytes_per_second.clamp(fewest, most),
        }
    }

    /// So many bytes went.
    pub(super) fn sent(&mut self, batch: &Batch, now: Instant) {
        if batch.waited_bytes > 0 {
            let seconds = batch.waited_bytes as f64 / self.bytes_per_second as f64;
            self.next = Some(now + Duration::from_secs_f64(seconds));
        }
    }

    /// When there is room again, where there is none now.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| now < *next)
    }
}
