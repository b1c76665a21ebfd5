//! What a device tells the server of its slots.

use crate::clock::now_unix_ms;
use crate::update::acceptance::Versions;
use crate::update::states::States;
use lineside_bundle::ReleaseId;
use lineside_update::{Phase, SlotState};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{ReleaseRef, SlotStatus, Status, phase};
use std::sync::Arc;
use tokio::sync::watch;

/// Longest note in characters: it may hold what a plugin or a model said.
const NOTE_CHARS_MAX: usize = 500;

/// Makes a status of what the slots hold.
pub struct Reporter {
    states: Arc<States>,
    boot: u64,
}

impl Reporter {
    /// For the slots in `states`, in the device's start number `boot`.
    pub fn new(states: Arc<States>, boot: u64) -> Reporter {
        Reporter { states, boot }
    }

    /// Rings when a status would tell something new.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.states.changed()
    }

    /// The status now.
    pub fn status(&self, versions: Versions) -> Status {
        let slots = self.states.all();
        Status {
            boot: self.boot,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: slots.iter().map(|(name, state)| slot(name, state)).collect(),
            assignment_version: versions.assignment,
            releases_version: versions.releases,
            root_version: versions.root,
            timestamp_version: versions.timestamp,
            wall_clock_unix_ms: now_unix_ms(),
        }
    }
}

/// A release as messages name it.
pub fn release_ref(release: &ReleaseId) -> ReleaseRef {
    ReleaseRef {
        name: release.name.to_string(),
        version: release.version.to_string(),
        digest: release.digest.bytes(),
    }
}

fn slot(name: &SlotName, state: &SlotState) -> SlotStatus {
    let active = state.active();
    SlotStatus {
        slot: name.to_string(),
        active: active.map(|held| release_ref(&held.release)),
        previous: state.previous().map(|held| release_ref(&held.release)),
        candidate: state.candidate().map(release_ref),
        phase: match state.phase() {
            Phase::Idle => phase::IDLE,
            Phase::Downloading { .. } => phase::DOWNLOADING,
            Phase::Staging { .. } => phase::STAGING,
            Phase::Shadow(_) => phase::SHADOW,
            Phase::Held(_) => phase::HELD,
            Phase::Trial(_) => phase::TRIAL,
        },
        note: state.note().chars().take(NOTE_CHARS_MAX).collect(),
        floor: active.map_or(0, |held| state.floor(&held.release.name)),
    }
}
