//! `Assignment -> TrustedTarget`: what this device believes, and what it takes for true next.
//!
//! The root is pinned by the folder that the device was installed with; the journal keeps what was
//! accepted since, so that neither an older document nor an earlier time is ever believed.

use crate::fleet::Device;
use crate::update::journal::{Accepted, Document, Journal, JournalError};
use lineside_trust::{Root, TrustError, agree, verify_assignment, verify_releases};
use lineside_update::Target;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::Documents;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Roots that one delivery may bring.
const ROOTS_MAX: usize = 64;

/// Why documents were not accepted. What was accepted before goes on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// They are not to be trusted, or no longer.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// More roots than a device can have missed.
    #[error("{0} roots were sent, at most {ROOTS_MAX} are read")]
    Roots(usize),
    /// The clock has no date that a calendar knows.
    #[error("the clock shows a time that cannot be: {0} ms since 1970")]
    Clock(i64),
    /// They could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why the trust that the journal keeps cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The root of the device's folder.
    #[error("root.json of the device's folder cannot be trusted; export the device again")]
    Pinned(#[source] TrustError),
    /// The root that the journal keeps.
    #[error("the root kept in state.redb cannot be used")]
    Kept(#[source] TrustError),
    /// Somebody exchanged the folder of a device that has a history.
    #[error(
        "root.json of the device's folder differs from the root that this device trusts; a device \
         that changes hands starts with a fresh state_dir"
    )]
    Other,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Versions of what was accepted, 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of the list of releases.
    pub releases: u64,
    /// Of the assignment.
    pub assignment: u64,
}

/// Documents that were verified and not yet written down. Only [`Acceptance::verify`] makes them.
pub struct Verified {
    root: Root,
    accepted: Accepted,
    releases: Vec<u8>,
    assignment: Vec<u8>,
}

impl Verified {
    /// What both documents agree on, by slot.
    pub fn targets(&self) -> &BTreeMap<SlotName, Target> {
        &self.accepted.targets
    }
}

/// What this device believes.
pub struct Acceptance {
    device: DeviceId,
    journal: Journal,
    root: Root,
    accepted: Accepted,
    versions: watch::Sender<Versions>,
}

impl Acceptance {
    /// Takes up what the device was installed with and what the journal has kept since.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(device: &Device, journal: Journal) -> Result<Acceptance, RestoreError> {
        let pinned = Root::pin(&device.root).map_err(RestoreError::Pinned)?;
        let root = match journal.document(Document::Root)? {
            None => pinned,
            Some(bytes) => {
                let kept = Root::pin(&bytes).map_err(RestoreError::Kept)?;
                let other = kept.version() == pinned.version() && kept.bytes() != pinned.bytes();
                if other || kept.version() < pinned.version() {
                    return Err(RestoreError::Other);
                }
                kept
            }
        };
        let accepted = journal.accepted()?;
        let versions = watch::Sender::new(versions(&root, &accepted));
        Ok(Acceptance { device: device.id.clone(), journal, root, accepted, versions })
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    /// Verifies documents in the order of trust: roots one after the other, releases, assignment,
    /// and that the last two agree. Nothing is changed.
    ///
    /// `clock_unix_ms` is what the clock shows, in milliseconds since 1970; where a document was
    /// accepted at a later time, that time counts.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub fn verify(
        &self,
        documents: &Documents,
        clock_unix_ms: i64,
    ) -> Result<Verified, AcceptError> {
        let now_unix_ms = clock_unix_ms.max(self.accepted.latest_known_unix_ms);
        let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_unix_ms) * 1_000_000)
            .map_err(|_| AcceptError::Clock(now_unix_ms))?;
        let root = self.follow(&documents.roots)?;
        // A director's key that was replaced may have been stolen, and have signed the highest
        // version there is; its successor must be able to begin anew (TUF 5.3.11).
        let assignment_seen = match root.has_same_director(&self.root) {
            true => self.accepted.assignment.as_ref(),
            false => None,
        };
        let releases_seen = self.accepted.releases.as_ref();
        let releases = verify_releases(&root, &documents.releases, releases_seen, now)?;
        let assignment =
            verify_assignment(&root, &documents.assignment, &self.device, assignment_seen, now)?;
        let targets = agree(&releases, &assignment)?
            .into_iter()
            .map(|trusted| {
                let target = Target {
                    release: trusted.release().clone(),
                    number: trusted.number(),
                    floor: trusted.floor(),
                };
                (trusted.slot().clone(), target)
            })
            .collect();
        let accepted = Accepted {
            releases: Some(releases.seen()),
            assignment: Some(assignment.seen()),
            targets,
            latest_known_unix_ms: now_unix_ms,
        };
        let Documents { releases, assignment, .. } = documents.clone();
        Ok(Verified { root, accepted, releases, assignment })
    }

    /// Writes down what was verified; from now on it is what the device believes.
    ///
    /// # Errors
    /// [`AcceptError::Journal`]; what was accepted before still holds.
    pub fn accept(
        &mut self,
        verified: Verified,
    ) -> Result<BTreeMap<SlotName, Target>, AcceptError> {
        let Verified { root, accepted, releases, assignment } = verified;
        self.journal.accept(
            &accepted,
            &[
                (Document::Root, root.bytes()),
                (Document::Releases, &releases),
                (Document::Assignment, &assignment),
            ],
        )?;
        self.root = root;
        self.accepted = accepted;
        let now = versions(&self.root, &self.accepted);
        self.versions.send_if_modified(|versions| std::mem::replace(versions, now) != now);
        Ok(self.accepted.targets.clone())
    }

    /// Follows the roots that this device does not know yet.
    fn follow(&self, roots: &[Vec<u8>]) -> Result<Root, AcceptError> {
        if roots.len() > ROOTS_MAX {
            return Err(AcceptError::Roots(roots.len()));
        }
        let mut root = self.root.clone();
        for bytes in roots {
            // One that is known already says nothing new, whoever sends it.
            if Root::pin(bytes)?.version() > root.version() {
                root = root.update(bytes)?;
            }
        }
        Ok(root)
    }
}

fn versions(root: &Root, accepted: &Accepted) -> Versions {
    Versions {
        root: root.version(),
        releases: accepted.releases.map_or(0, |seen| seen.version),
        assignment: accepted.assignment.map_or(0, |seen| seen.version),
    }
}
