//! What a trial is compared with: what the release before has done, kept over any power cut.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Breach, Observation, ShadowLimits, Verdict};
use lineside_update::{Event, SlotState, Tally, Target, step};
use std::time::Duration;

fn digest(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}

fn after(state: SlotState, events: impl IntoIterator<Item = Event>) -> SlotState {
    let state = events.into_iter().fold(state, |state, event| step(state, event, Duration::ZERO).0);
    // As a power cut would find it.
    serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap()
}

fn on_trial(state: SlotState, version: &str) -> SlotState {
    let release = digest(version);
    let id = ReleaseId {
        name: "pump".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: release,
        size: 1,
    };
    let (limits, shadow) = (Box::default(), Box::default());
    let (policy, took) = (ShadowLimits::default(), String::new());
    after(
        state,
        [
            Event::Assigned { target: Target { release: id, number: 1, floor: 0 }, floor: 0 },
            Event::Downloaded { release, how: String::new() },
            Event::Staged { release, limits, shadow, policy, took },
            Event::Consented { release },
        ],
    )
}

fn observed(version: &str, frames: u64, verdict: Verdict) -> Event {
    Event::Observed { release: digest(version), seen: done(frames), verdict }
}

fn committed(state: SlotState, version: &str, frames: u64) -> SlotState {
    after(on_trial(state, version), [observed(version, frames, Verdict::Passed)])
}

fn done(frames: u64) -> Tally {
    let mut seen = Observation { frames, readings: 4 * frames, ..Observation::default() };
    (0..frames).for_each(|frame| seen.values.add("score", frame as f64));
    Tally::of(&seen)
}

fn last_report(state: &SlotState) -> String {
    state.reports().last().unwrap().text.clone()
}

#[test]
fn a_release_is_measured_by_what_its_predecessor_did_in_its_trial_or_since() {
    let first = on_trial(SlotState::default(), "A");
    assert_eq!(first.measure(&digest("A")), None);
    assert_eq!(last_report(&first), "pump A is on trial");
    let state = after(first, [observed("A", 100, Verdict::Passed)]);
    assert_eq!(state.measure(&digest("B")), Some(&done(100)));
    let trial = on_trial(state.clone(), "B");
    assert_eq!(trial.measure(&digest("B")), Some(&done(100)));
    assert_eq!(last_report(&trial), "pump B is on trial, compared with 100 frames of pump A");
    // It has gone on since, and nobody else speaks for it.
    let remembered = |of, frames| Event::Remembered { release: digest(of), done: done(frames) };
    let state = after(state, [remembered("A", 250), remembered("B", 3)]);
    assert_eq!(state.measure(&digest("B")), Some(&done(250)));
    let trial = after(on_trial(state, "B"), [Event::Booted, observed("B", 7, Verdict::Undecided)]);
    assert_eq!(trial.measure(&digest("B")), Some(&done(250)));
    // What was taken back is no measure for anybody.
    let breach = Breach::Crashes { seen: 3, max: 2 };
    let back = after(trial, [observed("B", 7, Verdict::Failed(breach))]);
    assert_eq!(back.measure(&digest("C")), Some(&done(250)));
}

#[test]
fn who_goes_back_is_not_measured_by_what_is_to_be_left() {
    let state = committed(committed(SlotState::default(), "A", 100), "B", 50);
    assert_eq!(state.measure(&digest("C")), Some(&done(50)));
    assert_eq!(state.measure(&digest("A")), None);
    let back = on_trial(state, "A");
    assert_eq!(back.measure(&digest("A")), None);
    assert_eq!(last_report(&back), "pump A is on trial");
}

#[test]
fn of_a_release_that_came_back_because_its_successor_failed_nothing_is_made_up() {
    let state = committed(committed(SlotState::default(), "A", 100), "B", 50);
    let died = || Event::WorkerFailed { release: digest("B"), reason: "it died".into() };
    let whole = Event::Whole { release: digest("A") };
    let state = after(state, (0..5).map(|_| died()).chain([whole]));
    assert_eq!(state.active().unwrap().release.digest, digest("A"));
    assert_eq!(state.measure(&digest("C")), None);
    let trial = on_trial(state, "C");
    assert_eq!(
        last_report(&trial),
        "pump C is on trial; of pump A nothing is known to compare it with"
    );
}
