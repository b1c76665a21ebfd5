//! What journals hold: states as agents have written them, which every later agent must understand.
//! Samples are only ever added to.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Range, ShadowLimits, TrialLimits, Values, Verdict};
use lineside_update::{Event, Phase, ReportKind, SlotState, Tally, Target, step};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn sample(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    fs::read_to_string(folder.join(format!("{name}.json"))).unwrap().trim_end().to_owned()
}

fn read(name: &str) -> SlotState {
    serde_json::from_str(&sample(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn target(version: &str, number: u64) -> Target {
    let release = ReleaseId {
        name: "pump".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Digest::of(version.as_bytes()),
        size: 1,
    };
    Target { release, number, floor: 0 }
}

/// The state in `trial-6.json`, as the steps to it make it.
fn on_trial() -> SlotState {
    let mut state = SlotState::default();
    for (version, number) in [("A", 1), ("B", 2)] {
        let target = target(version, number);
        let release = target.release.digest;
        let limits = TrialLimits {
            frames: Some(50),
            alarm_share: Some(Range { low: 0.0, high: 0.25 }),
            ..TrialLimits::default()
        };
        let mut values = Values::default();
        [0.0, 1.5, 1.5, -2.0].iter().for_each(|value| values.add("wear", *value));
        let counted =
            Tally { frames: 30, traps: 1, readings: 180, answers: 29, ..Tally::default() };
        let seen = Tally { latency_ms_p95: Some(1.5), values, ..counted };
        let verdict = if version == "A" { Verdict::Passed } else { Verdict::Undecided };
        for event in [
            Event::Assigned { target, floor: 0 },
            Event::Downloaded { release, how: String::new() },
            Event::Staged {
                release,
                limits: Box::new(limits),
                shadow: Box::default(),
                policy: ShadowLimits::default(),
                took: String::new(),
            },
            Event::Consented { release },
            Event::Observed { release, seen, verdict },
        ] {
            state = step(state, event, Duration::from_secs(1)).0;
        }
    }
    for event in [Event::Booted, Event::Stopped, Event::Reported { through: 8 }] {
        state = step(state, event, Duration::from_secs(1)).0;
    }
    state
}

#[test]
fn states_that_earlier_agents_have_written_are_understood() {
    let trial = read("trial-1");
    assert_eq!(trial.active().unwrap().release.version.to_string(), "A");
    assert_eq!(trial.floor(&"pump".parse().unwrap()), 1);
    let Phase::Trial(candidate) = trial.phase() else { panic!("{:?}", trial.phase()) };
    assert_eq!(candidate.candidate.release.version.to_string(), "B");
    assert_eq!((candidate.before.frames, candidate.seen.frames), (10, 30));
    assert_eq!(candidate.candidate.limits.frames, None);
    let report = trial.reports().next().unwrap();
    assert_eq!((report.number, report.kind), (6, ReportKind::TrialStarted));
    let staging = read("staging-1");
    assert!(matches!(staging.phase(), Phase::Staging { .. }), "{:?}", staging.phase());
    assert_eq!(staging.blocked().next().unwrap().reason, "refused: wrong answers");
    // Written before a candidate could be compared or held back.
    let older = read("trial-2");
    assert!(matches!(older.phase(), Phase::Trial(_)), "{:?}", older.phase());
    assert_eq!((older.stand_in(), older.active().unwrap().shadow.is_wanted()), (None, false));
    // Written before a release was measured by the one before.
    let unmeasured = read("trial-3");
    assert_eq!(unmeasured.measure(unmeasured.candidate().map(|it| &it.digest).unwrap()), None);
    // A slot of which nothing is known but that it exists.
    let empty: SlotState = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, SlotState::default());
}

#[test]
fn a_state_is_written_as_ever() {
    let written = serde_json::to_string(&on_trial()).unwrap();
    assert_eq!(written, sample("trial-6"));
    assert_eq!(read("trial-6"), on_trial());
    // Written before anybody could say that a release be tried again.
    assert_eq!(read("trial-5"), on_trial());
}
