//! Where releases and assignment agree, in the manner of Uptane, something may be installed.

use crate::assignment::TrustedAssignment;
use crate::error::TrustError;
use crate::releases::{SignedRelease, TrustedReleases};
use lineside_bundle::ReleaseId;
use lineside_wire::name::SlotName;

/// A release that both the release keys and the director name for a slot of this device.
///
/// Only [`agree`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedTarget {
    slot: SlotName,
    release: SignedRelease,
    approved: bool,
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

    /// Its place among the releases of its bundle.
    pub fn number(&self) -> u64 {
        self.release.number
    }

    /// The number below which a device that has this release may not go.
    pub fn floor(&self) -> u64 {
        self.release.floor
    }
}

/// The targets on which both documents agree, by digest and size. All or none: an assignment that
/// names one thing nobody released is not believed in the rest either.
///
/// # Errors
/// [`TrustError::NotReleased`] or [`TrustError::Disagree`].
pub fn agree(
    releases: &TrustedReleases,
    assignment: &TrustedAssignment,
) -> Result<Vec<TrustedTarget>, TrustError> {
    let mut targets = Vec::new();
    for (slot, assigned) in &assignment.slots {
        let target = &assigned.path;
        let release = releases
            .get(target)
            .ok_or_else(|| TrustError::NotReleased { target: target.clone() })?;
        if release.id.digest != assigned.digest || release.id.size != assigned.size {
            return Err(TrustError::Disagree { target: target.clone() });
        }
        targets.push(TrustedTarget {
            slot: slot.clone(),
            release: release.clone(),
            approved: assigned.approved,
        });
    }
    Ok(targets)
}
