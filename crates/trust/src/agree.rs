//! Where repository and assignment agree, in the manner of Uptane, something may be installed.

use crate::assignment::{Assigned, TrustedAssignment};
use crate::error::TrustError;
use crate::releases::{SignedRelease, release};
use crate::repository::{Client, Mirror, RepositoryError, Shelf, TrustedFile};
use lineside_bundle::ReleaseId;
use lineside_wire::name::SlotName;
use time::OffsetDateTime;

/// Why there is no agreement.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// What the repository says of a target is not to be trusted.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The two do not say the same.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A release that both the repository and the director name for a slot of this device: the release
/// keys, or those to whom they have delegated its path.
///
/// Only [`agree`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedTarget {
    slot: SlotName,
    release: SignedRelease,
    approved: bool,
    again: u64,
}

impl TrustedTarget {
    /// The slot it is for.
    pub fn slot(&self) -> &SlotName {
        &self.slot
    }

    /// Which bundle exactly.
    pub fn release(&self) -> &ReleaseId {
        &self.release.id
    }

    /// Whether the director says that a person has approved it for the slot.
    pub fn is_approved(&self) -> bool {
        self.approved
    }

    /// The number of the wish with which a person has said last that it is to be tried again in the slot; 0
    /// for none.
    pub fn again(&self) -> u64 {
        self.again
    }

    /// Its place among the releases of its bundle.
    pub fn number(&self) -> u64 {
        self.release.number
    }

    /// The number below which a device that has this release may not go.
    pub fn floor(&self) -> u64 {
        self.release.floor
    }
}

/// The targets on which both agree, by digest and size, as the repository is at its last refresh. All
/// or none: an assignment that names one thing nobody released is not believed in the rest either.
///
/// # Errors
/// [`AgreeError`], above all [`TrustError::NotReleased`] and [`TrustError::Disagree`].
pub fn agree<M: Mirror, S: Shelf>(
    repository: &mut Client<M, S>,
    assignment: &TrustedAssignment,
    now: OffsetDateTime,
) -> Result<Vec<TrustedTarget>, AgreeError> {
    let mut targets = Vec::new();
    for (slot, assigned) in &assignment.slots {
        let target = &assigned.path;
        let file = repository.target(target, now)?;
        let file = file.ok_or_else(|| TrustError::NotReleased { target: target.clone() })?;
        let release = agreed(assigned, &file)?;
        let Assigned { approved, again, .. } = *assigned;
        targets.push(TrustedTarget { slot: slot.clone(), release, approved, again });
    }
    Ok(targets)
}

fn agreed(assigned: &Assigned, file: &TrustedFile) -> Result<SignedRelease, TrustError> {
    let Assigned { path, digest, size, .. } = assigned;
    if file.sha256() != Some(digest.hex().as_str()) || file.length() != *size {
        return Err(TrustError::Disagree { target: path.clone() });
    }
    release(path, *digest, *size, file.custom())
        .map_err(|problem| TrustError::Format { document: "list of releases", problem })
}
