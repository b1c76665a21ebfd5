//! Which deltas are still to be made: a device that is assigned a release as soon as it is published
//! would otherwise find none, and fetch the whole of it a moment before there is one.

use crate::bounds::{DELTA_WAIT_MAX, DELTA_WAITING_MAX};
use lineside_bundle::Digest;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Deltas that are still to be made.
#[derive(Debug, Clone)]
pub(crate) struct Outstanding {
    work: Arc<watch::Sender<Work>>,
    room: Arc<Semaphore>,
    wait_max: Duration,
}

#[derive(Debug, Default)]
struct Work {
    /// Lists of releases that have come, and how many of them were looked at.
    lists: u64,
    looked_at: u64,
    /// Releases to which deltas are to be made.
    targets: BTreeSet<Digest>,
}

/// Lists that were there when somebody began to look at them.
pub(crate) struct Look(u64);

impl Outstanding {
    /// What there was at the last stop has still to be looked at.
    pub fn new() -> Outstanding {
        let (work, _) = watch::channel(Work { lists: 1, ..Work::default() });
        let room = Arc::new(Semaphore::new(DELTA_WAITING_MAX));
        Outstanding { work: Arc::new(work), room, wait_max: DELTA_WAIT_MAX }
    }

    /// A list of releases has come.
    pub fn list_came(&self) {
        self.work.send_modify(|work| work.lists += 1);
    }

    /// Waits until there is a list that was not looked at.
    pub async fn next(&self) -> Look {
        let mut work = self.work.subscribe();
        let work = work.wait_for(|work| work.looked_at < work.lists).await;
        Look(work.expect("the sender is in the same place").lists)
    }

    /// What was looked at needs deltas to these.
    pub fn are_to(&self, targets: BTreeSet<Digest>, look: Look) {
        self.work.send_modify(|work| (work.looked_at, work.targets) = (look.0, targets));
    }

    /// All deltas to a release are made, or will not be.
    pub fn done(&self, target: &Digest) {
        self.work.send_if_modified(|work| work.targets.remove(target));
    }

    /// Whether no delta to a release is to be made any more; waits a little for that, as long as few
    /// do so.
    pub async fn are_made(&self, target: &Digest) -> bool {
        let is_made = |work: &Work| work.looked_at == work.lists && !work.targets.contains(target);
        let mut work = self.work.subscribe();
        if is_made(&work.borrow()) {
            return true;
        }
        let Ok(_room) = self.room.try_acquire() else { return false };
        timeout(self.wait_max, work.wait_for(is_made)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn who_asks_for_a_delta_waits_for_it_and_not_for_ever() {
        let mut outstanding = Outstanding::new();
        let (here, there) = (Digest::of(b"here"), Digest::of(b"there"));
        let mut asked = Box::pin(outstanding.are_made(&here));
        assert_eq!(asked.as_mut().now_or_never(), None, "nobody has looked yet");
        let look = outstanding.next().await;
        outstanding.are_to(BTreeSet::from([here]), look);
        assert!(outstanding.are_made(&there).await);
        assert_eq!(asked.as_mut().now_or_never(), None);
        outstanding.done(&here);
        assert!(asked.await);

        // A list that came while the one before was looked at has still its turn.
        let look = outstanding.next();
        outstanding.list_came();
        let look = look.await;
        outstanding.list_came();
        outstanding.are_to(BTreeSet::new(), look);
        outstanding.wait_max = Duration::from_millis(10);
        assert!(!outstanding.are_made(&here).await, "the time is up");
        outstanding.wait_max = DELTA_WAIT_MAX;
        let look = outstanding.next().await;
        outstanding.are_to(BTreeSet::from([here]), look);
        let waiting: Vec<_> = (0..DELTA_WAITING_MAX)
            .map(|_| {
                let mut asked = Box::pin(outstanding.are_made(&here));
                assert_eq!(asked.as_mut().now_or_never(), None);
                asked
            })
            .collect();
        assert_eq!(outstanding.are_made(&here).now_or_never(), Some(false), "too many wait");
        drop(waiting);
        assert_eq!(outstanding.are_made(&here).now_or_never(), None);
    }
}
