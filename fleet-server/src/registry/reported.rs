//! What a device says that its slots hold, in the words that people read.

use lineside_bundle::Digest;
use lineside_wire::v1::{ReleaseRef, SlotStatus, phase};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A release as a device names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReleaseShown {
    /// The bundle's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its OCI manifest.
    pub digest: String,
}

impl From<&ReleaseRef> for ReleaseShown {
    fn from(release: &ReleaseRef) -> ReleaseShown {
        ReleaseShown {
            name: release.name.clone(),
            version: release.version.clone(),
            digest: Digest::from(release.digest).to_string(),
        }
    }
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SlotReported {
    /// The slot.
    pub slot: String,
    /// The release that answers.
    pub active: Option<ReleaseShown>,
    /// The release kept beside it.
    pub previous: Option<ReleaseShown>,
    /// The release on its way in.
    pub candidate: Option<ReleaseShown>,
    /// `idle`, `downloading`, `staging`, `trial`, or `phase 9` if this server does not know it.
    pub phase: String,
    /// What people should know.
    pub note: String,
    /// The number below which it may not go.
    pub floor: u64,
}

impl From<&SlotStatus> for SlotReported {
    fn from(status: &SlotStatus) -> SlotReported {
        let shown = |release: &Option<ReleaseRef>| release.as_ref().map(ReleaseShown::from);
        SlotReported {
            slot: status.slot.clone(),
            active: shown(&status.active),
            previous: shown(&status.previous),
            candidate: shown(&status.candidate),
            phase: phase_word(status.phase),
            note: status.note.clone(),
            floor: status.floor,
        }
    }
}

/// A phase as a word.
fn phase_word(code: u16) -> String {
    match code {
        phase::IDLE => "idle".into(),
        phase::DOWNLOADING => "downloading".into(),
        phase::STAGING => "staging".into(),
        phase::TRIAL => "trial".into(),
        other => format!("phase {other}"),
    }
}
