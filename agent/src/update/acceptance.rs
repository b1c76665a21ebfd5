//! `Assignment -> TrustedTarget`: what this device believes, and what it takes for true next.
//!
//! The root is pinned by the folder that the device was installed with; the journal keeps what was
//! accepted since, so that neither an older document nor an earlier time is ever believed.

use crate::fleet::Device;
use crate::update::journal::{Accepted, Document, Journal, JournalError, Owner};
use lineside_bundle::Digest;
use lineside_trust::{Root, TrustError, agree, verify_assignment, verify_releases};
use lineside_update::Target;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::Documents;
use std::collections::{BTreeMap, BTreeSet};
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
    #[error(
        "root.json of the device's folder cannot be trusted; copy it again from the folder that \
         `lineside keys new` made"
    )]
    Pinned(#[source] TrustError),
    /// The root that the journal keeps.
    #[error("the root kept in state.redb cannot be used")]
    Kept(#[source] TrustError),
    /// The state folder came from another device, or the device's folder did.
    #[error(
        "state_dir is that of device {was}, and the device's folder that of {is}; a device that gets \
         another name starts with a fresh state_dir"
    )]
    OtherDevice {
        /// Whose journal it is.
        was: DeviceId,
        /// Who this is.
        is: DeviceId,
    },
    /// Somebody exchanged the folder of a device that has a history.
    #[error(
        "root.json of the device's folder has nothing to do with the root that this device trusts; put \
         the one back that it was installed with, or, where it changes hands, start with a fresh \
         state_dir"
    )]
    OtherRoot,
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
    owner: Owner,
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
        let mut accepted = journal.accepted()?;
        let owner = Owner { device: device.id.clone(), pinned: Digest::of(&device.root) };
        if let Some(was) = &accepted.owner
            && was.device != owner.device
        {
            return Err(RestoreError::OtherDevice { was: was.device.clone(), is: owner.device });
        }
        let pinned = Root::pin(&device.root).map_err(RestoreError::Pinned)?;
        let root = match journal.document(Document::Root)? {
            None => pinned,
            Some(bytes) => {
                let kept = Root::pin(&bytes).map_err(RestoreError::Kept)?;
                let is_known =
                    accepted.owner.as_ref().is_some_and(|was| was.pinned == owner.pinned);
                if is_known { kept } else { together(kept, pinned, &mut accepted)? }
            }
        };
        let versions = watch::Sender::new(versions(&root, &accepted));
        Ok(Acceptance { owner, journal, root, accepted, versions })
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    /// Slots for which the director says that a person has approved what is assigned to them.
    pub fn approved(&self) -> &BTreeSet<SlotName> {
        &self.accepted.approved
    }

    /// Verifies documents in the order of trust: roots one after the other, releases, assignment,
    /// and that the last two agree.
    ///
    /// New roots are written down at once, whatever comes of the rest (TUF 5.3.8): a key that was
    /// stolen must not be trusted any longer than it takes to hear so. Nothing else is changed.
    ///
    /// `clock_unix_ms` is what the clock shows, in milliseconds since 1970; where a document was
    /// accepted at a later time, that time counts.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub fn verify(
        &mut self,
        documents: &Documents,
        clock_unix_ms: i64,
    ) -> Result<Verified, AcceptError> {
        let now_unix_ms = clock_unix_ms.max(self.accepted.latest_known_unix_ms);
        let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_unix_ms) * 1_000_000)
            .map_err(|_| AcceptError::Clock(now_unix_ms))?;
        self.follow(&documents.roots)?;
        let Accepted { releases, assignment, .. } = &self.accepted;
        let releases = verify_releases(&self.root, &documents.releases, releases.as_ref(), now)?;
        let device = &self.owner.device;
        let assignment =
            verify_assignment(&self.root, &documents.assignment, device, assignment.as_ref(), now)?;
        let trusted = agree(&releases, &assignment)?;
        let approved = trusted.iter().filter(|trusted| trusted.is_approved());
        let approved = approved.map(|trusted| trusted.slot().clone()).collect();
        let targets = trusted
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
            owner: Some(self.owner.clone()),
            releases: Some(releases.seen()),
            assignment: Some(assignment.seen()),
            targets,
            approved,
            latest_known_unix_ms: now_unix_ms,
        };
        let Documents { releases, assignment, .. } = documents.clone();
        Ok(Verified { accepted, releases, assignment })
    }

    /// Writes down what was verified; from now on it is what the device believes.
    ///
    /// # Errors
    /// [`AcceptError::Journal`]; what was accepted before still holds.
    pub fn accept(
        &mut self,
        verified: Verified,
    ) -> Result<BTreeMap<SlotName, Target>, AcceptError> {
        let Verified { accepted, releases, assignment } = verified;
        let root = self.root.clone();
        let documents = [(Document::Releases, &*releases), (Document::Assignment, &*assignment)];
        self.write(root, accepted, &documents)?;
        Ok(self.accepted.targets.clone())
    }

    /// Follows the roots that this device does not know yet, as far as they lead.
    fn follow(&mut self, roots: &[Vec<u8>]) -> Result<(), AcceptError> {
        if roots.len() > ROOTS_MAX {
            return Err(AcceptError::Roots(roots.len()));
        }
        let (mut root, mut accepted) = (self.root.clone(), self.accepted.clone());
        let followed = roots.iter().try_for_each(|bytes| {
            // One that is known already says nothing new, whoever sends it.
            if Root::pin(bytes)?.version() > root.version() {
                let next = root.update(bytes)?;
                succeed(&next, &root, &mut accepted);
                root = next;
            }
            Ok::<_, TrustError>(())
        });
        if root.version() > self.root.version() {
            accepted.owner = Some(self.owner.clone());
            self.write(root, accepted, &[])?;
        }
        Ok(followed?)
    }

    fn write(
        &mut self,
        root: Root,
        accepted: Accepted,
        documents: &[(Document, &[u8])],
    ) -> Result<(), AcceptError> {
        let documents = [&[(Document::Root, root.bytes())], documents].concat();
        self.journal.accept(&accepted, &documents)?;
        self.root = root;
        self.accepted = accepted;
        let now = versions(&self.root, &self.accepted);
        self.versions.send_if_modified(|versions| std::mem::replace(versions, now) != now);
        Ok(())
    }
}

/// The newer of two roots, if one was signed as the successor of the other.
///
/// A folder that was made after the last root was followed has a newer one than the journal; one that
/// was made in between, an older one.
fn together(kept: Root, pinned: Root, accepted: &mut Accepted) -> Result<Root, RestoreError> {
    if kept.bytes() == pinned.bytes() || pinned.update(kept.bytes()).is_ok() {
        return Ok(kept);
    }
    let next = kept.update(pinned.bytes()).map_err(|_| RestoreError::OtherRoot)?;
    succeed(&next, &kept, accepted);
    Ok(next)
}

/// Forgets versions that keys have signed which are trusted no more.
fn succeed(next: &Root, before: &Root, accepted: &mut Accepted) {
    if !next.honours_releases_of(before) {
        accepted.releases = None;
    }
    if !next.honours_assignments_of(before) {
        accepted.assignment = None;
    }
}

fn versions(root: &Root, accepted: &Accepted) -> Versions {
    Versions {
        root: root.version(),
        releases: accepted.releases.map_or(0, |seen| seen.version),
        assignment: accepted.assignment.map_or(0, |seen| seen.version),
    }
}
