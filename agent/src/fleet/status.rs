//! What a device tells the server of its slots.

use crate::clock::now_unix_ms;
use crate::update::acceptance::Versions;
use crate::update::states::{HoldTold, States};
use lineside_bundle::ReleaseId;
use lineside_update::{Phase, SlotState};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{ReleaseRef, SlotStatus, Status, phase};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Longest note in characters: it may hold what a plugin or a model said.
const NOTE_CHARS_MAX: usize = 500;

/// Why the source of each slot brings no readings; none where it does.
pub type Sources = BTreeMap<SlotName, watch::Receiver<Option<String>>>;

/// How long the site wants an update to wait, by slot; for as long as it takes where nothing is said.
pub type Deadlines = BTreeMap<SlotName, Duration>;

/// Makes a status of what the slots hold.
pub struct Reporter {
    states: Arc<States>,
    sources: Sources,
    deadlines: Deadlines,
    boot: u64,
}

impl Reporter {
    /// For the slots in `states`, in the device's start number `boot`.
    pub fn new(states: Arc<States>, sources: Sources, deadlines: Deadlines, boot: u64) -> Reporter {
        Reporter { states, sources, deadlines, boot }
    }

    /// Rings when a status would tell something new.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.states.changed()
    }

    /// What the slots hold, and what is wrong with them.
    pub fn slots(&self) -> Vec<SlotStatus> {
        let (states, holds) = (self.states.all(), self.states.holds());
        let told = states.iter().map(|(name, state)| {
            let source = self.sources.get(name).and_then(|source| source.borrow().clone());
            SlotStatus {
                deadline_left_seconds: self.deadlines.get(name).and_then(|it| left(*it, state)),
                ..slot(name, state, source.as_deref(), holds.get(name))
            }
        });
        told.collect()
    }

    /// The status now.
    pub fn status(&self, versions: Versions) -> Status {
        Status {
            boot: self.boot,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: self.slots(),
            assignment_version: versions.assignment,
            releases_version: versions.releases,
            root_version: versions.root,
            timestamp_version: versions.timestamp,
            wall_clock_unix_ms: now_unix_ms(),
        }
    }
}

/// What is wrong with a slot though no release is at fault.
fn trouble(state: &SlotState, source: Option<&str>) -> String {
    let told = match (source, state.phase()) {
        (Some(why), _) => format!("its source brings no readings: {why}"),
        (None, Phase::Downloading { target, reason: Some(reason), .. }) => {
            format!("{} cannot be fetched yet: {reason}", target.release)
        }
        (None, _) => String::new(),
    };
    told.chars().take(NOTE_CHARS_MAX).collect()
}

/// A release as messages name it.
pub fn release_ref(release: &ReleaseId) -> ReleaseRef {
    ReleaseRef {
        name: release.name.to_string(),
        version: release.version.to_string(),
        digest: release.digest.bytes(),
    }
}

fn slot(
    name: &SlotName,
    state: &SlotState,
    source: Option<&str>,
    hold: Option<&HoldTold>,
) -> SlotStatus {
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
        trouble: trouble(state, source),
        floor: active.map_or(0, |held| state.floor(&held.release.name)),
        hold: hold.map(|hold| hold.told.clone()),
        hold_left_seconds: hold
            .and_then(|hold| hold.ends)
            .map(|ends| ends.duration_since(Instant::now()).as_secs()),
        deadline_left_seconds: None,
    }
}

/// Running time in seconds until what is held back has waited for `deadline`, below zero since it has.
fn left(deadline: Duration, state: &SlotState) -> Option<i64> {
    let Phase::Held(held) = state.phase() else { return None };
    // What waits for a person waits for as long as that takes.
    held.withheld.as_ref()?;
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Some(seconds(deadline).saturating_sub(seconds(held.ran)))
}
