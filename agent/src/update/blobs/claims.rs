//! Who may put in what: a blob is put in by one at a time, and by hand before by the network. What is
//! being put in is not collected, and nobody begins while something is.

use super::{BlobError, Blobs};
use lineside_bundle::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// How often somebody who waits for a blob looks whether it is still wanted.
const CLAIM_LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Claims {
    /// The blobs that somebody is putting in now: two slots may want the same one.
    pub(super) claimed: BTreeSet<Digest>,
    /// People who are putting blobs in by hand.
    by_hand: usize,
    /// Whether garbage is being collected.
    collecting: bool,
    /// What a power cut may forget of each folder.
    pub(super) names: BTreeMap<PathBuf, Names>,
    /// Partials with an end that may not be on the medium, though it is read as if it were.
    pub(super) uncut: BTreeSet<PathBuf>,
}

/// Names that a folder may not have on the medium.
#[derive(Clone, Copy, Default)]
pub(super) struct Names {
    /// How often the folder could not be synced after a blob got its name.
    pub(super) unsettled: u64,
    /// How many of these times have been made good.
    pub(super) settled: u64,
}

/// The right to put in one blob.
pub struct Claim<'a> {
    blobs: &'a Blobs,
    digest: Digest,
}

impl Claim<'_> {
    /// Whether the blob is there, whole and durable; somebody else may have put it in. A damaged one
    /// is removed, which makes room for what comes in its place. That is decided by its digest alone
    /// and after a second look: it may be the only copy, and what asks for it may be wrong, or a read.
    pub fn holds(&self, size: u64) -> bool {
        let Claim { blobs, digest } = self;
        let is_damaged = || blobs.found(digest).is_ok_and(|(found, _)| found != *digest);
        if is_damaged() && is_damaged() {
            // What stays behind is overwritten.
            let _ = blobs.disk.remove(&blobs.path(digest));
        }
        blobs.holds(digest, size)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.blobs.claims().claimed.remove(&self.digest);
        self.blobs.claims.1.notify_all();
    }
}

/// The right of way of what is put in by hand, made by [`Blobs::by_hand`].
pub struct ByHand {
    blobs: Blobs,
}

impl ByHand {
    /// Waits until nobody else puts this blob in. Ask [`Claim::holds`] afterwards.
    pub fn claim(&self, digest: &Digest) -> Claim<'_> {
        let mut claims = self.blobs.claims();
        while claims.claimed.contains(digest) {
            claims = self.blobs.wait(claims);
        }
        claims.claimed.insert(*digest);
        Claim { blobs: &self.blobs, digest: *digest }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.blobs.claims().by_hand -= 1;
        self.blobs.claims.1.notify_all();
    }
}

/// The right to remove blobs.
pub(super) struct Collecting<'a>(&'a Blobs);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.claims().collecting = false;
        self.0.claims.1.notify_all();
    }
}

impl Blobs {
    /// Gives what is put in by hand the right of way, until the guard is dropped: downloads stand
    /// aside, because a file at hand must not wait for the slow network that it replaces, and no
    /// garbage is collected, because the journal may not name these blobs yet.
    pub fn by_hand(&self) -> ByHand {
        let mut claims = self.claims();
        while claims.collecting {
            claims = self.wait(claims);
        }
        claims.by_hand += 1;
        ByHand { blobs: self.clone() }
    }

    /// Whether blobs are being put in by hand: a download then lets go of its blob.
    pub fn is_by_hand(&self) -> bool {
        self.claims().by_hand > 0
    }

    /// For downloads: waits until nobody else puts this blob in, or any by hand, and nothing is
    /// collected: who collects may not have heard of this one. Ask [`Claim::holds`] afterwards.
    ///
    /// # Errors
    /// [`BlobError::Cancelled`].
    pub fn claim(
        &self,
        digest: &Digest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Claim<'_>, BlobError> {
        let mut claims = self.claims();
        while claims.by_hand > 0 || claims.collecting || claims.claimed.contains(digest) {
            if cancelled() {
                return Err(BlobError::Cancelled);
            }
            let waited = self.claims.1.wait_timeout(claims, CLAIM_LOOK_EVERY);
            claims = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        claims.claimed.insert(*digest);
        Ok(Claim { blobs: self, digest: *digest })
    }

    /// Waits until nothing is put in by hand, and nothing collected.
    pub(super) fn collecting(&self) -> Collecting<'_> {
        let mut claims = self.claims();
        while claims.collecting || claims.by_hand > 0 {
            claims = self.wait(claims);
        }
        claims.collecting = true;
        Collecting(self)
    }

    fn wait<'a>(&'a self, claims: MutexGuard<'a, Claims>) -> MutexGuard<'a, Claims> {
        self.claims.1.wait(claims).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
