//! The table of the engine as people read it: docs/states.md has every state with every event, as `step`
//! has it, and ARCHITECTURE.md what leads from one phase to another. `LINESIDE_WRITE=1` writes both anew; a
//! change of them is to be read like one of the code.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Breach, Decide, ShadowLimits, ShadowObservation, Verdict};
use lineside_update::{
    ATTEMPTS_MAX, BOOTS_MAX, Effect, Event, FAILURES_MAX, Phase, SlotState, Tally, Target, step,
};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREVIOUS: &str = "A";
const ACTIVE: &str = "B";
const CANDIDATE: &str = "C";
/// Nothing has heard of it yet.
const OTHER: &str = "D";

fn target(version: &str) -> Target {
    let release = ReleaseId {
        name: "pump".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: digest(version),
        size: 1,
    };
    Target { release, number: 1, floor: 0 }
}

fn digest(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}

fn role(release: &ReleaseId) -> &'static str {
    match release.version.to_string().as_str() {
        PREVIOUS => "previous",
        ACTIVE => "active",
        CANDIDATE => "candidate",
        _ => "other",
    }
}

fn assigned(version: &str) -> Event {
    Event::Assigned { target: target(version), floor: 0 }
}

fn disowned(version: &str) -> Event {
    let why = "nobody vouches for it".to_owned();
    Event::Disowned { releases: [(digest(version), why)].into() }
}

fn staged(policy: ShadowLimits, release: Digest) -> Event {
    let (limits, shadow) = (Box::default(), Box::default());
    Event::Staged { release, limits, shadow, policy, took: String::new() }
}

fn asks(frames: Option<u64>, decide: Option<Decide>) -> ShadowLimits {
    ShadowLimits { frames, decide, ..ShadowLimits::default() }
}

fn shadowed(verdict: Verdict) -> Event {
    let seen = ShadowObservation::default();
    Event::Shadowed { release: digest(CANDIDATE), seen, verdict }
}

fn observed(verdict: Verdict) -> Event {
    Event::Observed { release: digest(CANDIDATE), seen: Tally::default(), verdict }
}

fn unfit() -> Event {
    let facts = Digest::of(b"a small device");
    Event::Unfit { release: digest(CANDIDATE), reason: "some reason".into(), facts }
}

fn breach() -> Breach {
    Breach::Crashes { seen: 3, max: 2 }
}

/// Every event, in the words of the page: about the candidate first, then about what has the route
/// otherwise. A repeated event is sent that many times; the last answer counts.
fn events() -> Vec<(&'static str, u32, Event)> {
    use Event::*;
    let release = digest(CANDIDATE);
    let reason = || "some reason".to_owned();
    let (active, previous) = (digest(ACTIVE), digest(PREVIOUS));
    vec![
        ("the device starts", 1, Booted),
        ("the device starts over, the 4th time in a row", BOOTS_MAX + 1, Booted),
        ("the agent is told to stop", 1, Stopped),
        ("another release is assigned", 1, assigned(OTHER)),
        ("the candidate is assigned (again)", 1, assigned(CANDIDATE)),
        ("the active release is assigned", 1, assigned(ACTIVE)),
        ("the candidate is unassigned", 1, Withdrawn { release, reason: reason() }),
        ("nobody vouches for the candidate", 1, disowned(CANDIDATE)),
        ("nobody vouches for the active release", 1, disowned(ACTIVE)),
        ("nobody vouches for the previous release", 1, disowned(PREVIOUS)),
        ("a floor has risen above the candidate", 1, BelowFloor { release, reason: reason() }),
        ("a person approves the candidate", 1, Approved { release }),
        ("downloaded", 1, Downloaded { release, how: String::new() }),
        ("the download failed", 1, DownloadFailed { release, reason: reason() }),
        ("the checks passed, nobody wants a comparison", 1, staged(asks(None, None), release)),
        ("the checks passed, somebody wants a comparison", 1, staged(asks(Some(9), None), release)),
        (
            "the checks passed, somebody wants to be asked",
            1,
            staged(asks(None, Some(Decide::Ask)), release),
        ),
        ("refused: it cannot run here", 1, Refused { release, reason: reason() }),
        ("refused: it would not run on such a device", 1, unfit()),
        ("the device is another one now", 1, Reconsidered { release }),
        ("a person wants it tried again", 1, TryAgain { release, wish: 7 }),
        ("beside the route: undecided", 1, shadowed(Verdict::Undecided)),
        ("beside the route: passed", 1, shadowed(Verdict::Passed)),
        ("beside the route: failed", 1, shadowed(Verdict::Failed(breach()))),
        ("the site wants a comparison by now", 1, Policy { policy: asks(Some(99), None) }),
        ("the site wants to be asked by now", 1, Policy { policy: asks(None, Some(Decide::Ask)) }),
        (
            "what the active release has done is told",
            1,
            Remembered { release: active, done: Tally::default() },
        ),
        ("the site consents", 1, Consented { release }),
        (
            "the site withholds its consent",
            1,
            Withheld { release, reason: reason(), overdue: false },
        ),
        ("it has the route", 1, Placed { release }),
        ("it could not be started", 1, RunFailed { release, reason: reason() }),
        ("something else prevented it", 1, Interrupted { release, reason: reason() }),
        (
            "something else prevented it, the 6th time",
            ATTEMPTS_MAX + 1,
            Interrupted { release, reason: reason() },
        ),
        ("a blob of it is damaged", 1, Damaged { release, reason: reason() }),
        ("on trial: undecided", 1, observed(Verdict::Undecided)),
        ("on trial: passed", 1, observed(Verdict::Passed)),
        ("on trial: failed", 1, observed(Verdict::Failed(breach()))),
        ("its worker died", 1, WorkerFailed { release, reason: reason() }),
        ("the active release's worker died", 1, WorkerFailed { release: active, reason: reason() }),
        (
            "the active release's worker died, the 5th time",
            FAILURES_MAX,
            WorkerFailed { release: active, reason: reason() },
        ),
        (
            "the active release could not be started",
            1,
            RunFailed { release: active, reason: reason() },
        ),
        (
            "something else kept the active release from starting",
            1,
            Interrupted { release: active, reason: reason() },
        ),
        ("the active release is damaged", 1, Damaged { release: active, reason: reason() }),
        ("the active release is downloaded", 1, Downloaded { release: active, how: String::new() }),
        ("the previous release is as it was signed", 1, Whole { release: previous }),
        ("the previous release is damaged", 1, Damaged { release: previous, reason: reason() }),
        (
            "the previous release is downloaded",
            1,
            Downloaded { release: previous, how: String::new() },
        ),
        ("reports were taken", 1, Reported { through: u64::MAX }),
        ("time passed", 1, Ticked),
    ]
}

/// An event that was forgotten above does not compile here before it is looked for.
fn is_listed(event: &Event) -> bool {
    use Event::*;
    match event {
        Booted
        | Stopped
        | Assigned { .. }
        | Withdrawn { .. }
        | Disowned { .. }
        | BelowFloor { .. }
        | Remembered { .. }
        | Downloaded { .. }
        | DownloadFailed { .. }
        | Staged { .. }
        | Shadowed { .. }
        | Policy { .. }
        | Consented { .. }
        | Withheld { .. }
        | Approved { .. }
        | Refused { .. }
        | Unfit { .. }
        | Reconsidered { .. }
        | TryAgain { .. }
        | Placed { .. }
        | RunFailed { .. }
        | Interrupted { .. }
        | Damaged { .. }
        | Whole { .. }
        | Observed { .. }
        | WorkerFailed { .. }
        | Reported { .. }
        | Ticked => true,
    }
}

fn after(state: SlotState, events: impl IntoIterator<Item = Event>) -> SlotState {
    events.into_iter().fold(state, |state, event| step(state, event, Duration::ZERO).0)
}

/// The way of `version` up to its commit.
fn way(version: &str) -> [Event; 5] {
    let release = digest(version);
    [
        assigned(version),
        Event::Downloaded { release, how: String::new() },
        staged(ShadowLimits::default(), release),
        Event::Consented { release },
        Event::Observed { release, seen: Tally::default(), verdict: Verdict::Passed },
    ]
}

/// Every place that a slot can be in, with the words of the page.
fn places() -> Vec<(&'static str, &'static str, SlotState)> {
    let vacant = SlotState::default();
    let idle = after(after(vacant.clone(), way(PREVIOUS)), way(ACTIVE));
    let release = digest(CANDIDATE);
    let downloading = after(idle.clone(), [assigned(CANDIDATE)]);
    let staging = after(downloading.clone(), [Event::Downloaded { release, how: String::new() }]);
    let back = [CANDIDATE, PREVIOUS, ACTIVE].map(way).into_iter().fold(vacant.clone(), after);
    let back =
        after(back, [assigned(CANDIDATE), Event::Downloaded { release, how: String::new() }]);
    let shadow = after(staging.clone(), [staged(asks(Some(9), None), release)]);
    let asking = after(staging.clone(), [staged(asks(None, Some(Decide::Ask)), release)]);
    let held = after(staging.clone(), [staged(ShadowLimits::default(), release)]);
    let ready = after(held.clone(), [Event::Consented { release }]);
    let trial = after(ready.clone(), [Event::Placed { release }]);
    let first = after(vacant.clone(), way(ACTIVE).into_iter().take(4));
    let first = after(first, [Event::Placed { release: digest(ACTIVE) }]);
    let stands_in = after(first, [assigned(CANDIDATE)]);
    let reason = || "some reason".to_owned();
    let died = Event::WorkerFailed { release: digest(ACTIVE), reason: reason() };
    let failing = after(idle.clone(), (0..FAILURES_MAX).map(|_| died.clone()));
    let rotten = Event::Damaged { release: digest(PREVIOUS), reason: reason() };
    let rotten = after(failing.clone(), [rotten]);
    let orphaned = after(failing.clone(), [disowned(PREVIOUS)]);
    let unfit = after(downloading.clone(), [unfit()]);
    let alone = after(after(vacant.clone(), way(ACTIVE)), [assigned(CANDIDATE)]);
    let mending = after(alone, [Event::Damaged { release: digest(ACTIVE), reason: reason() }]);
    vec![
        ("Vacant", "no release was ever committed, and none is under way", vacant),
        ("Idle", "the active release has the route, and none is under way", idle),
        (
            "Idle, about to go back",
            "the active release has failed five times in a row, and the previous one is looked at",
            failing,
        ),
        (
            "Idle, with no way back",
            "the active release has failed five times in a row, and the previous one is damaged and \
             fetched again",
            rotten,
        ),
        (
            "Idle, with a way back that nobody vouches for",
            "the active release has failed five times in a row, and the list of releases names the \
             previous one no longer",
            orphaned,
        ),
        (
            "Idle, the candidate blocked",
            "it was refused, as it would not run on such a device",
            unfit,
        ),
        ("Downloading", "the blobs of the candidate are being fetched", downloading),
        (
            "Downloading, the active release first",
            "the candidate waits to be fetched, because the active release is damaged and there is no \
             previous one",
            mending,
        ),
        ("Staging", "the checks of the candidate are being replayed", staging),
        (
            "Staging, on the way back",
            "the checks of a candidate are being replayed that was committed here before",
            back,
        ),
        ("Shadow", "the candidate answers beside the route, without acting", shadow),
        ("Held, by a person", "the candidate waits for a person to approve it", asking),
        ("Held, by the site", "the candidate waits for the site's consent", held),
        ("Trial, before it has the route", "the candidate gets ready to take the route", ready),
        ("Trial", "the candidate has the route, on probation", trial),
        (
            "Downloading, with a stand-in",
            "the first release of the slot was on trial when the candidate was assigned, and answers \
             until the next trial begins; \"active\" means that release here",
            stands_in,
        ),
    ]
}

fn place(state: &SlotState) -> String {
    let of = |release: &ReleaseId| role(release).to_owned();
    let going_on = match state.phase() {
        Phase::Idle => "Idle".to_owned(),
        Phase::Downloading { target, .. } => format!("Downloading {}", of(&target.release)),
        Phase::Staging { target, .. } => format!("Staging {}", of(&target.release)),
        Phase::Shadow(run) => format!("Shadow {}", of(&run.candidate.release)),
        Phase::Held(held) => format!("Held {}", of(&held.candidate.release)),
        Phase::Trial(trial) => format!("Trial {}", of(&trial.candidate.release)),
    };
    let route = match (state.active(), state.stand_in()) {
        (Some(held), _) => format!("{} active", of(&held.release)),
        (None, Some(held)) => format!("{} stands in", of(&held.release)),
        (None, None) => "vacant".into(),
    };
    let blocked: Vec<&str> = state.blocked().map(|one| role(&one.release)).collect();
    let mending = match state.mending() {
        Some(held) => format!("; {} fetched first", of(&held.release)),
        None => String::new(),
    };
    match blocked.as_slice() {
        [] => format!("{going_on}; {route}{mending}"),
        blocked => format!("{going_on}; {route}{mending}; {} blocked", blocked.join(", ")),
    }
}

fn done(effects: &[Effect]) -> String {
    let word = |effect: &Effect| match effect {
        Effect::Download { target, .. } => format!("Download({})", role(&target.release)),
        Effect::Stage { target, .. } => format!("Stage({})", role(&target.release)),
        Effect::StartShadow(held) => format!("StartShadow({})", role(&held.release)),
        Effect::EndShadow => "EndShadow".into(),
        Effect::Run(held) => format!("Run({})", role(&held.release)),
        Effect::RunMeanwhile(held) => format!("RunMeanwhile({})", role(&held.release)),
        Effect::Verify(held) => format!("Verify({})", role(&held.release)),
        Effect::Vacate { .. } => "Vacate".into(),
        Effect::Collect => "Collect".into(),
        Effect::Report(report) => format!("*{:?}*", report.kind),
    };
    effects.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The page with the table as it is.
fn page(written: &str) -> String {
    let mut page = written.to_owned();
    page.truncate(page.find("\n## ").map_or(page.len(), |start| start + 1));
    for (name, meaning, state) in places() {
        // What was reported on the way there is of no interest here.
        let state = step(state, Event::Reported { through: u64::MAX }, Duration::ZERO).0;
        let (mut rows, mut nothing) = (String::new(), Vec::new());
        for (words, times, event) in events() {
            assert!(is_listed(&event));
            let before = after(state.clone(), (1..times).map(|_| event.clone()));
            let (is, effects) = step(before.clone(), event, Duration::ZERO);
            // What comes of it from the second time on is told only where it ends something.
            let ends = times == 1 || place(&is) != place(&before);
            if place(&is) == place(&state) && effects.is_empty() {
                nothing.push(words);
            } else if ends {
                writeln!(rows, "| {words} | {} | {} |", place(&is), done(&effects)).unwrap();
            }
        }
        write!(
            page,
            "## {name}\n\nWhere {meaning}: {}.\n\n| event | then | to be done |\n|---|---|---|\n{rows}\n\
             Nothing visible comes of: {}.\n\n",
            place(&state),
            nothing.join("; ")
        )
        .unwrap();
    }
    format!("{}\n", page.trim_end())
}

/// The phases of an update whose active release has a previous one.
const PHASES: [&str; 7] = [
    "Idle",
    "Downloading",
    "Staging",
    "Shadow",
    "Held, by the site",
    "Trial, before it has the route",
    "Trial",
];

/// What leads from one phase to another: part of the map.
fn overview() -> String {
    let mut table = format!("{OVERVIEW}\n|---|---|---|\n");
    for (name, _, state) in places().into_iter().filter(|(name, ..)| PHASES.contains(name)) {
        let mut leads: Vec<(String, Vec<&str>)> = Vec::new();
        for (words, times, event) in events() {
            let is = after(state.clone(), (0..times).map(|_| event.clone()));
            let (from, to) = (place(&state), place(&is));
            if from == to {
                continue;
            }
            match leads.iter_mut().find(|(known, _)| *known == to) {
                Some((_, events)) => events.push(words),
                None => leads.push((to, vec![words])),
            }
        }
        for (to, events) in leads {
            writeln!(table, "| {name} | {} | {to} |", events.join("; ")).unwrap();
        }
    }
    table
}

/// How the table of the map begins.
const OVERVIEW: &str = "| phase | event | then |";

/// The map with the table as it is.
fn map(written: &str) -> String {
    let start = written.find(OVERVIEW).unwrap();
    let end = written[start..].find("\n\n").map_or(written.len(), |end| start + end + 1);
    format!("{}{}{}", &written[..start], overview(), &written[end..])
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

#[test]
fn the_pages_say_what_the_table_does() {
    for (file, page) in [("docs/states.md", page as fn(&str) -> String), ("ARCHITECTURE.md", map)] {
        let page = page(&fs::read_to_string(path(file)).unwrap());
        if std::env::var_os("LINESIDE_WRITE").is_some() {
            fs::write(path(file), &page).unwrap();
        }
        let written = fs::read_to_string(path(file)).unwrap();
        let lines = written.lines().zip(page.lines());
        let first = lines.enumerate().find(|(_, (one, other))| one != other);
        if let Some((number, (written, does))) = first {
            panic!("{file}, line {}:\n{written}\nthe table does:\n{does}", number + 1);
        }
        assert_eq!(written, page);
    }
}
