//! How a story is told: one word or two an event, one line an answer.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Breach, Decide, ShadowLimits, ShadowObservation, Tolerance, Verdict};
use lineside_update::{Effect, Event, Installed, Phase, SlotState, Tally, Target, step};
use std::time::Duration;

/// Release `B` is number 2 of bundle `pump`, `fan/B` of another; `B2` says the same with floor 2.
pub fn target(word: &str) -> Target {
    let (bundle, word) = word.split_once('/').unwrap_or(("pump", word));
    let (letter, floor) = word.split_at(1);
    let number = u64::from(letter.as_bytes()[0] - b'A') + 1;
    let release = ReleaseId {
        name: bundle.parse().unwrap(),
        version: letter.parse().unwrap(),
        digest: Digest::of(format!("{bundle}/{letter}").as_bytes()),
        size: 1,
    };
    Target { release, number, floor: floor.parse().unwrap_or(0) }
}

fn events(line: &str) -> Vec<Event> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let digest = |word: &str| target(word).release.digest;
    let reason = || "some reason".to_owned();
    let seen = |frames| Tally { frames, ..Tally::default() };
    let breach = Breach::Crashes { seen: 3, max: 2 };
    match words.as_slice() {
        ["boot"] => vec![Event::Booted],
        ["tick"] => vec![Event::Ticked],
        ["stop"] => vec![Event::Stopped],
        ["assign", b] => vec![Event::Assigned { target: target(b), floor: 0 }],
        // Another slot of the device has raised the floor.
        ["assign", b, "floor", floor] => {
            vec![Event::Assigned { target: target(b), floor: floor.parse().unwrap() }]
        }
        ["withdrawn", b] => {
            vec![Event::Withdrawn { release: digest(b), reason: "it is unassigned".into() }]
        }
        ["disowned", all @ ..] => {
            let releases = all.iter().map(|b| (digest(b), "nobody vouches for it".into()));
            vec![Event::Disowned { releases: releases.collect() }]
        }
        ["below", b] => vec![Event::BelowFloor { release: digest(b), reason: reason() }],
        ["downloaded", b] => vec![Event::Downloaded { release: digest(b), how: String::new() }],
        ["unreachable", b] => vec![Event::DownloadFailed { release: digest(b), reason: reason() }],
        // The site asks for no shadow, for one, for one that a person decides on, for a person only.
        ["staged", b] => vec![staged(b, None, None)],
        ["staged", b, "shadow"] => vec![staged(b, Some(100), None)],
        ["staged", b, "shadow", "ask"] => vec![staged(b, Some(100), Some(Decide::Ask))],
        ["staged", b, "ask"] => vec![staged(b, None, Some(Decide::Ask))],
        ["compared", b, frames] => {
            vec![shadowed(b, frames.parse().unwrap(), Verdict::Undecided)]
        }
        ["agrees", b] => vec![shadowed(b, 100, Verdict::Passed)],
        ["differs", b] => {
            let (agreed, frames, min, worst) = (0, 7, 0.95, None);
            let breach = Breach::Disagreement { agreed, frames, min, worst };
            vec![shadowed(b, 7, Verdict::Failed(breach))]
        }
        // What the site asks for by now.
        ["policy"] => vec![Event::Policy { policy: asks(None, None) }],
        ["policy", "ask"] => vec![Event::Policy { policy: asks(None, Some(Decide::Ask)) }],
        ["policy", frames] => {
            vec![Event::Policy { policy: asks(Some(frames.parse().unwrap()), None) }]
        }
        ["policy", "exact", frames] => {
            let policy = ShadowLimits {
                agreement_min: Some(1.0),
                tolerance: [("*".into(), Tolerance::default())].into(),
                ..asks(Some(frames.parse().unwrap()), None)
            };
            vec![Event::Policy { policy }]
        }
        ["let-go", b] => vec![Event::Consented { release: digest(b) }],
        ["consent", b] => {
            let release = digest(b);
            vec![Event::Consented { release }, Event::Placed { release }]
        }
        ["withheld", b, reason] => vec![withheld(b, reason, false)],
        ["overdue", b, reason] => vec![withheld(b, reason, true)],
        ["approve", b] => vec![Event::Approved { release: digest(b) }],
        ["interrupted", b] => vec![Event::Interrupted { release: digest(b), reason: reason() }],
        ["damaged", b] => vec![Event::Damaged { release: digest(b), reason: reason() }],
        ["whole", b] => vec![Event::Whole { release: digest(b) }],
        ["unfit", b] => {
            let facts = Digest::of(b"a small device");
            vec![Event::Unfit { release: digest(b), reason: reason(), facts }]
        }
        ["again", b, wish] => {
            vec![Event::TryAgain { release: digest(b), wish: wish.parse().unwrap() }]
        }
        ["reconsider", b] => vec![Event::Reconsidered { release: digest(b) }],
        ["refused", b] => vec![Event::Refused { release: digest(b), reason: reason() }],
        ["unstartable", b] => vec![Event::RunFailed { release: digest(b), reason: reason() }],
        ["died", b] => vec![Event::WorkerFailed { release: digest(b), reason: reason() }],
        ["frames", b, frames] => vec![Event::Observed {
            release: digest(b),
            seen: seen(frames.parse().unwrap()),
            verdict: Verdict::Undecided,
        }],
        ["passed", b] => {
            vec![Event::Observed { release: digest(b), seen: seen(120), verdict: Verdict::Passed }]
        }
        ["failed", b] => vec![Event::Observed {
            release: digest(b),
            seen: seen(41),
            verdict: Verdict::Failed(breach),
        }],
        // A whole update that goes well.
        ["install", b] => ["assign", "downloaded", "staged", "consent", "passed"]
            .iter()
            .flat_map(|event| events(&format!("{event} {b}")))
            .collect(),
        _ => panic!("{line}: no such event"),
    }
}

fn staged(word: &str, frames: Option<u64>, decide: Option<Decide>) -> Event {
    let policy = asks(frames, decide);
    let release = target(word).release.digest;
    Event::Staged {
        release,
        limits: Default::default(),
        shadow: Default::default(),
        policy,
        took: String::new(),
    }
}

fn asks(frames: Option<u64>, decide: Option<Decide>) -> ShadowLimits {
    ShadowLimits { frames, decide, ..ShadowLimits::default() }
}

fn shadowed(word: &str, frames: u64, verdict: Verdict) -> Event {
    let seen = ShadowObservation { frames, ..ShadowObservation::default() };
    Event::Shadowed { release: target(word).release.digest, seen, verdict }
}

fn withheld(word: &str, reason: &str, overdue: bool) -> Event {
    Event::Withheld { release: target(word).release.digest, reason: reason.into(), overdue }
}

fn name(held: Option<&Installed>) -> String {
    held.map_or("-".into(), |held| held.release.version.to_string())
}

fn phase(state: &SlotState) -> String {
    match state.phase() {
        Phase::Idle => "idle".into(),
        Phase::Downloading { target, .. } => format!("downloading {}", target.release.version),
        Phase::Staging { target, .. } => format!("staging {}", target.release.version),
        Phase::Shadow(run) => format!("shadow {}", run.candidate.release.version),
        Phase::Held(held) => format!("held {}", held.candidate.release.version),
        Phase::Trial(trial) => format!("trial {}", trial.candidate.release.version),
    }
}

pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Download { target, .. } => format!("Download({})", target.release.version),
        Effect::Stage { target, .. } => format!("Stage({})", target.release.version),
        Effect::StartShadow(held) => format!("StartShadow({})", held.release.version),
        Effect::EndShadow => "EndShadow".into(),
        Effect::Run(held) => format!("Run({})", held.release.version),
        Effect::RunMeanwhile(held) => format!("RunMeanwhile({})", held.release.version),
        Effect::Verify(held) => format!("Verify({})", held.release.version),
        Effect::Vacate { .. } => "Vacate".into(),
        Effect::Collect => "Collect".into(),
        Effect::Report(report) => format!("{:?}", report.kind),
    }
}

/// Plays a story: events separated by `|`. An event may be preceded by the running time before it,
/// in seconds. Reports are handed over at once, and every state survives the journal.
pub fn play(story: &str) -> (SlotState, String) {
    let mut state = SlotState::default();
    let mut told = String::new();
    for line in story.split('|').map(str::trim) {
        let (ran, line) = match line.split_once("s later ") {
            Some((seconds, line)) => (seconds.parse().unwrap(), line),
            None => (0, line),
        };
        let mut effects = Vec::new();
        for event in events(line) {
            let (next, done) = step(state, event, Duration::from_secs(ran));
            state = serde_json::from_slice(&serde_json::to_vec(&next).unwrap()).unwrap();
            assert_eq!(state, next);
            // Of several events the last that has something done.
            effects = if done.is_empty() { effects } else { done };
        }
        let effects: Vec<String> = effects.iter().map(effect).collect();
        let held = format!("{}/{}", name(state.active()), name(state.previous()));
        told += &format!("{line:14} {held} {:14} [{}]\n", phase(&state), effects.join(" "));
        let through = state.reports().map(|report| report.number).max();
        if let Some(through) = through {
            let (next, done) = step(state, Event::Reported { through }, Duration::ZERO);
            assert!(done.is_empty() && next.reports().count() == 0);
            state = next;
        }
    }
    (state, told)
}

pub fn replay(story: &str) -> String {
    play(story).1
}

/// The note that people see at the end of a story.
pub fn note(story: &str) -> String {
    play(story).0.note()
}

/// What is reported at the end of a story.
pub fn said(story: &str) -> String {
    let (before, last) = story.rsplit_once('|').unwrap();
    let mut state = play(before).0;
    let mut said = Vec::new();
    for event in events(last.trim()) {
        let (next, effects) = step(state, event, Duration::ZERO);
        state = next;
        said = effects;
    }
    let texts = said.into_iter().filter_map(|effect| match effect {
        Effect::Report(report) => Some(report.text),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

pub fn floor(story: &str) -> u64 {
    play(story).0.floor(&"pump".parse().unwrap())
}
