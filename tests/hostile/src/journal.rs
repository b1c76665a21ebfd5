//! What a journal may hold: written by an earlier agent, a later one, or a disk that has gone bad.

use lineside_bundle::{Digest, ReleaseId};
use lineside_update::{Event, SlotState, Target, step};
use std::time::Duration;

/// Reads the state of a slot, and goes on from it. Whatever it is, a start of the agent ends in a
/// state that can be written and read again, and no floor falls.
pub fn journal(input: &[u8]) -> bool {
    let Ok(mut state) = serde_json::from_slice::<SlotState>(input) else { return false };
    for event in [Event::Booted, Event::Ticked, Event::Stopped, Event::Booted] {
        let before = state.clone();
        state = step(state, event, Duration::from_secs(3600)).0;
        for (bundle, floor) in before.floors() {
            assert!(state.floor(bundle) >= floor, "the floor of {bundle} has fallen");
        }
        let written = serde_json::to_vec(&state).expect("a state can be written");
        assert_eq!(serde_json::from_slice::<SlotState>(&written).ok(), Some(state.clone()));
    }
    true
}

pub(crate) fn states() -> Vec<Vec<u8>> {
    let target = |version: &str, number| {
        let digest = Digest::of(version.as_bytes());
        let (name, version) =
            ("pump".parse().expect("a name"), version.parse().expect("a version"));
        Target { release: ReleaseId { name, version, digest, size: 1 }, number, floor: 1 }
    };
    let mut state = SlotState::default();
    let mut states = Vec::new();
    for (version, number) in [("A", 1), ("B", 2)] {
        let target = target(version, number);
        let release = target.release.digest;
        for event in [
            Event::Assigned { target, floor: 0 },
            Event::Downloaded { release, how: String::new() },
        ] {
            state = step(state, event, Duration::from_secs(1)).0;
            states.push(serde_json::to_vec(&state).expect("a state can be written"));
        }
    }
    states
}
