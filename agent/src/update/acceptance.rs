//! `Assignment -> TrustedTarget`: what this device believes, and what it takes for true next.
//!
//! The root is pinned by the folder that the device was installed with; the journal keeps what was
//! accepted since, so that neither an older document nor an earlier time is ever believed. Documents
//! come as a mirror that nobody has to trust; the device follows them as any TUF client does.

mod policy;
mod verified;
mod vouched;

pub use verified::Verified;
pub use vouched::Disowned;

use crate::fleet::Device;
use crate::update::journal::{Accepted, Document, Good, Journal, JournalError, Owner, Withdrawn};
use lineside_bundle::Digest;
use lineside_rules::SitePolicy;
use lineside_trust::repository::RepositoryError;
use lineside_trust::{
    AgreeError, Listed, Root, TrustError, TrustedLogRequest, TrustedReceipt, verify_log_request,
    verify_receipt,
};
use lineside_update::Target;
use lineside_wire::name::{DeviceId, SiteName, SlotName};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use tokio::sync::watch;

/// What the list of releases is called to people.
const LIST: &str = "list of releases";

/// What this device believes.
pub struct Acceptance {
    owner: Owner,
    journal: Journal,
    root: Root,
    accepted: Accepted,
    versions: watch::Sender<Versions>,
    good: watch::Sender<Option<Good>>,
    /// Where this device stands; none where no site's policy holds.
    site: Option<SiteName>,
    policy: watch::Sender<SitePolicy>,
    /// Why the newest policy of the site was not taken.
    policy_trouble: Option<String>,
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
                if is_known { kept } else { verified::together(kept, pinned, &mut accepted)? }
            }
        };
        let good = watch::Sender::new(accepted.good.clone());
        let versions = watch::Sender::default();
        let acceptance = Acceptance {
            owner,
            journal,
            root,
            accepted,
            versions,
            good,
            site: None,
            policy: watch::Sender::default(),
            policy_trouble: None,
        };
        acceptance.tell()?;
        Ok(acceptance)
    }

    /// Whose trust this is.
    pub fn device(&self) -> &DeviceId {
        &self.owner.device
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    /// What each slot is to hold.
    pub fn targets(&self) -> &BTreeMap<SlotName, Target> {
        &self.accepted.targets
    }

    /// What slots were to hold that have no target any more.
    pub fn withdrawn(&self) -> &BTreeMap<SlotName, Withdrawn> {
        &self.accepted.withdrawn
    }

    /// Slots for which the director says that a person has approved what is assigned to them.
    pub fn approved(&self) -> &BTreeSet<SlotName> {
        &self.accepted.approved
    }

    /// Slots of which the director says that a person wants the target tried again, and the number of that
    /// wish.
    pub fn again(&self) -> &BTreeMap<SlotName, u64> {
        &self.accepted.again
    }

    /// How long what was accepted last is good, and when that changes.
    pub fn good(&self) -> watch::Receiver<Option<Good>> {
        self.good.subscribe()
    }

    /// Writes down what was verified; from now on it is what the device believes.
    ///
    /// # Errors
    /// [`AcceptError::Journal`]; what was accepted before still holds.
    pub fn accept(&mut self, verified: Verified) -> Result<(), AcceptError> {
        let Verified { accepted, assignment } = verified;
        let root = self.root.clone();
        self.write(root, accepted, &[(Document::Assignment, &*assignment)], &[])
    }

    /// Verifies the server's receipt for a report, by the newest root that was followed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn receipt(&self, bytes: &[u8]) -> Result<TrustedReceipt, TrustError> {
        verify_receipt(&self.root, bytes, &self.owner.device)
    }

    /// Verifies a request for lines of the log, by the newest root that was followed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn log_request(
        &self,
        bytes: &[u8],
        now: OffsetDateTime,
    ) -> Result<TrustedLogRequest, TrustError> {
        verify_log_request(&self.root, bytes, &self.owner.device, now)
    }

    fn write(
        &mut self,
        root: Root,
        accepted: Accepted,
        documents: &[(Document, &[u8])],
        forgotten: &[&str],
    ) -> Result<(), AcceptError> {
        let documents = [&[(Document::Root, root.bytes())], documents].concat();
        self.journal.accept(&accepted, &documents, forgotten)?;
        self.root = root;
        self.accepted = accepted;
        Ok(self.tell()?)
    }

    /// Tells who listens what was accepted.
    fn tell(&self) -> Result<(), JournalError> {
        let timestamp = self.shelved("timestamp.json")?;
        let now = Versions {
            root: self.root.version(),
            timestamp: timestamp.map_or(0, |listed| listed.version()),
            releases: self.accepted.releases.map_or(0, |seen| seen.version),
            assignment: self.accepted.assignment.map_or(0, |seen| seen.version),
        };
        self.versions.send_if_modified(|versions| std::mem::replace(versions, now) != now);
        self.good.send_replace(self.accepted.good.clone());
        Ok(())
    }

    /// A document of the repository as it is kept.
    fn shelved(&self, name: &str) -> Result<Option<Listed>, JournalError> {
        // It was verified before it was kept.
        Ok(self.journal.shelved(name)?.and_then(|bytes| Listed::of(LIST, &bytes).ok()))
    }
}

/// Why documents were not accepted. What was accepted before goes on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// They are not to be trusted, or no longer.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The repository that they make cannot be followed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The clock has no date that a calendar knows.
    #[error("the clock shows a time that cannot be: {0} ms since 1970")]
    Clock(i64),
    /// Where a site's policy is to hold, nothing is taken before it is known.
    #[error(
        "this device stands at site {0}, and the policy of that site has never come; the server sends \
         it to devices that stand there by its own list"
    )]
    NoPolicy(SiteName),
    /// They could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AcceptError {
    /// Whether there is nothing wrong with the documents but that newer ones were accepted before.
    pub fn is_older(&self) -> bool {
        match self {
            AcceptError::Trust(error) => matches!(error, TrustError::Older { .. }),
            AcceptError::Repository(error) => matches!(error, RepositoryError::Older { .. }),
            AcceptError::Clock(_) | AcceptError::NoPolicy(_) | AcceptError::Journal(_) => false,
        }
    }
}

impl From<AgreeError> for AcceptError {
    fn from(error: AgreeError) -> AcceptError {
        match error {
            AgreeError::Repository(error) => error.into(),
            AgreeError::Trust(error) => error.into(),
        }
    }
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
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the list of releases.
    pub releases: u64,
    /// Of the assignment.
    pub assignment: u64,
}
