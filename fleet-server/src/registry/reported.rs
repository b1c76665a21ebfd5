//! What a device says that its slots hold, in the words that people read.

use crate::bounds::{NAME_CHARS_MAX, TEXT_CHARS_MAX, sentence, short};
use crate::registry::slot_shown;
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
            name: short(&release.name, NAME_CHARS_MAX),
            version: short(&release.version, NAME_CHARS_MAX),
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
    /// `idle`, `downloading`, `staging`, `shadow`, `held`, `trial`, or `phase 9` if this server does
    /// not know it.
    pub phase: String,
    /// What people should know.
    pub note: String,
    /// What is wrong though no release is at fault; empty if nothing is.
    #[serde(default)]
    pub trouble: String,
    /// The number below which it may not go.
    pub floor: u64,
    /// Why people on the device hold its updates back.
    #[serde(default)]
    pub hold: Option<String>,
    /// When that ends by itself, if the device runs until then: milliseconds since 1970.
    #[serde(default)]
    pub hold_ends_unix_ms: Option<i64>,
    /// When what is held back has waited as long as its site wants, if the device runs until then.
    #[serde(default)]
    pub deadline_unix_ms: Option<i64>,
}

impl SlotReported {
    /// Of what a device has said at `said_unix_ms`. It may say anything: what is kept of it is bounded
    /// here, and shown many times later.
    pub(crate) fn of(status: &SlotStatus, said_unix_ms: i64) -> SlotReported {
        let after = |seconds: i64| said_unix_ms.saturating_add(seconds.saturating_mul(1000));
        let hold_left = status.hold_left_seconds.and_then(|left| i64::try_from(left).ok());
        let shown = |release: &Option<ReleaseRef>| release.as_ref().map(ReleaseShown::from);
        SlotReported {
            slot: slot_shown(&status.slot),
            active: shown(&status.active),
            previous: shown(&status.previous),
            candidate: shown(&status.candidate),
            phase: phase_word(status.phase),
            note: sentence(&status.note, TEXT_CHARS_MAX),
            trouble: sentence(&status.trouble, TEXT_CHARS_MAX),
            floor: status.floor,
            hold: status.hold.as_deref().map(|hold| sentence(hold, TEXT_CHARS_MAX)),
            hold_ends_unix_ms: hold_left.map(after),
            deadline_unix_ms: status.deadline_left_seconds.map(after),
        }
    }
}

/// The release that answers in a slot as the log names it, as in `turbine@2`; empty for none. Where a device
/// names what was never released so, its digest tells.
pub(crate) fn release_of(slot: &SlotReported) -> String {
    slot.active.as_ref().map(|is| format!("{}@{}", is.name, is.version)).unwrap_or_default()
}

/// A phase as a word.
fn phase_word(code: u16) -> String {
    match code {
        phase::IDLE => "idle".into(),
        phase::DOWNLOADING => "downloading".into(),
        phase::STAGING => "staging".into(),
        phase::SHADOW => "shadow".into(),
        phase::HELD => "held".into(),
        phase::TRIAL => "trial".into(),
        other => format!("phase {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_of_a_slot_is_kept_in_bounds() {
        let text = "\u{1}".repeat(1 << 20);
        let release = ReleaseRef { name: text.clone(), version: text.clone(), digest: [7; 32] };
        let status = SlotStatus {
            slot: text.clone(),
            active: Some(release.clone()),
            previous: Some(release.clone()),
            candidate: Some(release),
            phase: 9,
            note: text.clone(),
            trouble: text.clone(),
            floor: u64::MAX,
            hold: Some(text),
            hold_left_seconds: Some(u64::MAX),
            deadline_left_seconds: Some(i64::MIN),
        };
        let reported = SlotReported::of(&status, -1);
        assert_eq!((reported.slot.as_str(), reported.phase.as_str()), ("(others)", "phase 9"));
        assert!(serde_json::to_string(&reported).unwrap().len() < 2_700);
    }
}
