//! What becomes of a slot, told as stories: one line an event, with what the slot then holds
//! (`active/previous`), what is going on, and what is to be done.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Breach, Verdict};
use lineside_update::{Effect, Event, Installed, Phase, SlotState, Tally, Target, step};
use std::time::Duration;

/// Release `B` is number 2 of bundle `pump`; `B2` says the same with floor 2.
fn target(word: &str) -> Target {
    let (letter, floor) = word.split_at(1);
    let number = u64::from(letter.as_bytes()[0] - b'A') + 1;
    let release = ReleaseId {
        name: "pump".parse().unwrap(),
        version: letter.parse().unwrap(),
        digest: Digest::of(letter.as_bytes()),
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
        ["downloaded", b] => vec![Event::Downloaded { release: digest(b) }],
        ["unreachable", b] => vec![Event::DownloadFailed { release: digest(b), reason: reason() }],
        ["staged", b] => vec![Event::Staged { release: digest(b), limits: Default::default() }],
        ["interrupted", b] => vec![Event::Interrupted { release: digest(b), reason: reason() }],
        ["damaged", b] => vec![Event::Damaged { release: digest(b), reason: reason() }],
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
        ["install", b] => ["assign", "downloaded", "staged", "passed"]
            .iter()
            .flat_map(|event| events(&format!("{event} {b}")))
            .collect(),
        _ => panic!("{line}: no such event"),
    }
}

fn name(held: Option<&Installed>) -> String {
    held.map_or("-".into(), |held| held.release.version.to_string())
}

fn phase(state: &SlotState) -> String {
    match state.phase() {
        Phase::Idle => "idle".into(),
        Phase::Downloading { target, .. } => format!("downloading {}", target.release.version),
        Phase::Staging { target, .. } => format!("staging {}", target.release.version),
        Phase::Trial(trial) => format!("trial {}", trial.candidate.release.version),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Download { target, .. } => format!("Download({})", target.release.version),
        Effect::Stage { target, .. } => format!("Stage({})", target.release.version),
        Effect::Run(held) => format!("Run({})", held.release.version),
        Effect::Vacate { .. } => "Vacate".into(),
        Effect::Collect => "Collect".into(),
        Effect::Report(report) => format!("{:?}", report.kind),
    }
}

/// Plays a story: events separated by `|`. An event may be preceded by the running time before it,
/// in seconds. Reports are handed over at once, and every state survives the journal.
fn play(story: &str) -> (SlotState, String) {
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
            effects = done;
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

fn replay(story: &str) -> String {
    play(story).1
}

/// The note that people see at the end of a story.
fn note(story: &str) -> String {
    play(story).0.note()
}

fn floor(story: &str) -> u64 {
    play(story).0.floor(&"pump".parse().unwrap())
}

#[test]
fn a_release_that_behaves_is_committed_and_its_predecessor_kept() {
    insta::assert_snapshot!(replay("boot | assign A | downloaded A | staged A | passed A | install B | boot"), @r"
    boot           -/- idle           [Vacate Collect]
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- trial A        [TrialStarted Run(A)]
    passed A       A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    boot           B/A idle           [Run(B) Collect]
    ");
}

#[test]
fn a_candidate_that_misbehaves_is_taken_back_and_not_tried_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | frames B 40 | failed B | assign B | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    frames B 40    A/- trial B        []
    failed B       A/- idle           [Run(A) RolledBack Collect]
    assign B       A/- idle           []
    boot           A/- idle           [Run(A) Collect]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B | failed B"),
        "pump vB: rolled back: the worker died 3 times, 2 allowed"
    );
}

#[test]
fn a_release_whose_checks_fail_never_runs() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | refused B | staged B | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    refused B      A/- idle           [Refused Collect]
    staged B       A/- idle           []
    assign B       A/- idle           []
    ");
}

#[test]
fn a_slot_whose_first_release_fails_is_vacant() {
    insta::assert_snapshot!(replay("boot | assign A | downloaded A | refused A | boot | assign B | downloaded B | staged B | failed B | boot"), @r"
    boot           -/- idle           [Vacate Collect]
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    refused A      -/- idle           [Refused Vacant Collect]
    boot           -/- idle           [Vacate Collect]
    assign B       -/- downloading B  [Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    staged B       -/- trial B        [TrialStarted Run(B)]
    failed B       -/- idle           [Vacate RolledBack Vacant Collect]
    boot           -/- idle           [Vacate Collect]
    ");
}

#[test]
fn a_blocked_release_may_be_tried_again_after_another_was_assigned() {
    insta::assert_snapshot!(replay("install A | assign B | refused B | assign B | assign A | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    refused B      A/- idle           [Refused Collect]
    assign B       A/- idle           []
    assign A       A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    ");
}

#[test]
fn a_trial_goes_on_after_a_power_cut_and_ends_when_the_device_keeps_starting_over() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | frames B 30 | boot | frames B 70 | boot | boot | boot | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    frames B 30    A/- trial B        []
    boot           A/- trial B        [Run(B) Collect]
    frames B 70    A/- trial B        []
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- idle           [Run(A) RolledBack Collect]
    boot           A/- idle           [Run(A) Collect]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B | boot | boot | boot | boot"),
        "pump vB: rolled back: the device started over 4 times during its trial"
    );
}

#[test]
fn a_line_that_is_switched_off_every_evening_gets_its_update() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | 30000s later boot | boot | boot | boot | 700s later frames B 9 | boot | boot | boot | boot | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    frames B 9     A/- trial B        []
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    passed B       B/A idle           [Committed Collect]
    ");
}

#[test]
fn an_agent_that_is_stopped_and_started_by_people_refuses_nothing() {
    let stops = "stop | boot | stop | boot | stop | boot | stop | boot | stop | boot";
    let staging = "install A | assign B | downloaded B";
    assert!(
        replay(&format!("{staging} | {stops}"))
            .ends_with("boot           A/- staging B      [Run(A) Collect Stage(B)]\n")
    );
    assert!(
        replay(&format!("{staging} | staged B | {stops} | passed B"))
            .ends_with("passed B       B/A idle           [Committed Collect]\n")
    );
    // One that starts over by itself in between is counted as before.
    let mixed = "boot | stop | boot | boot | stop | boot | boot | boot";
    assert!(
        replay(&format!("{staging} | {mixed}"))
            .ends_with("boot           A/- idle           [Run(A) Collect Refused Collect]\n")
    );
}

#[test]
fn checks_that_make_the_device_start_over_are_given_up() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | boot | boot | boot | boot | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    boot           A/- staging B      [Run(A) Collect Stage(B)]
    boot           A/- staging B      [Run(A) Collect Stage(B)]
    boot           A/- staging B      [Run(A) Collect Stage(B)]
    boot           A/- idle           [Run(A) Collect Refused Collect]
    boot           A/- idle           [Run(A) Collect]
    ");
}

#[test]
fn checks_that_something_else_prevents_are_replayed_again_a_bounded_number_of_times() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | interrupted B | interrupted B | staged B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    interrupted B  A/- staging B      [WorkerFailed Stage(B)]
    interrupted B  A/- staging B      [Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    ");
    let six = ["interrupted B"; 6].join(" | ");
    assert_eq!(
        note(&format!("install A | assign B | downloaded B | {six}")),
        "pump vB: refused: its checks could not be replayed, 6 times: some reason"
    );
}

#[test]
fn a_candidate_that_something_else_keeps_from_starting_is_tried_again_a_bounded_number_of_times() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | interrupted B | tick | 1s later tick | interrupted B | 1s later tick | 1s later tick | frames B 3 | interrupted B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    interrupted B  A/- trial B        [WorkerFailed]
    tick           A/- trial B        []
    tick           A/- trial B        [Run(B)]
    interrupted B  A/- trial B        []
    tick           A/- trial B        []
    tick           A/- trial B        [Run(B)]
    frames B 3     A/- trial B        []
    interrupted B  A/- trial B        [WorkerFailed]
    ");
    let six = ["interrupted B"; 6].join(" | ");
    assert_eq!(
        note(&format!("install A | assign B | downloaded B | staged B | {six}")),
        "pump vB: rolled back: it could not be started, 6 times: some reason"
    );
}

#[test]
fn a_download_goes_on_for_ever_and_complains_once() {
    insta::assert_snapshot!(replay("install A | assign B | unreachable B | unreachable B | boot | unreachable B | downloaded B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    unreachable B  A/- downloading B  [DownloadFailed Download(B)]
    unreachable B  A/- downloading B  [Download(B)]
    boot           A/- downloading B  [Run(A) Collect Download(B)]
    unreachable B  A/- downloading B  [Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    ");
}

#[test]
fn a_newer_assignment_replaces_whatever_is_under_way() {
    insta::assert_snapshot!(replay("install A | assign B | assign C | downloaded B | downloaded C | assign D | staged C | downloaded D | staged D | assign E | failed D | downloaded E"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    assign C       A/- downloading C  [Collect Assigned Download(C)]
    downloaded B   A/- downloading C  []
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    assign D       A/- downloading D  [Collect Assigned Download(D)]
    staged C       A/- downloading D  []
    downloaded D   A/- staging D      [Downloaded Stage(D)]
    staged D       A/- trial D        [TrialStarted Run(D)]
    assign E       A/- downloading E  [Run(A) TrialCancelled Collect Assigned Download(E)]
    failed D       A/- downloading E  []
    downloaded E   A/- staging E      [Downloaded Stage(E)]
    ");
}

#[test]
fn assigning_the_active_release_ends_what_is_under_way_and_nothing_else() {
    insta::assert_snapshot!(replay("install A | assign A | assign B | assign A | assign B | downloaded B | staged B | assign A | assign A"), @r"
    install A      A/- idle           [Committed Collect]
    assign A       A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    assign A       A/- idle           [Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    assign A       A/- idle           [Run(A) TrialCancelled Collect]
    assign A       A/- idle           []
    ");
}

#[test]
fn an_operator_may_go_back_to_the_previous_release() {
    insta::assert_snapshot!(replay("install A | install B | assign A | downloaded A | staged A | passed A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    assign A       B/A downloading A  [Assigned Download(A)]
    downloaded A   B/A staging A      [Downloaded Stage(A)]
    staged A       B/A trial A        [TrialStarted Run(A)]
    passed A       A/B idle           [Committed Collect]
    ");
}

#[test]
fn a_failed_way_back_leaves_the_active_release() {
    insta::assert_snapshot!(replay("install A | install B | assign A | downloaded A | staged A | failed A | boot"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    assign A       B/A downloading A  [Assigned Download(A)]
    downloaded A   B/A staging A      [Downloaded Stage(A)]
    staged A       B/A trial A        [TrialStarted Run(A)]
    failed A       B/A idle           [Run(B) RolledBack Collect]
    boot           B/A idle           [Run(B) Collect]
    ");
}

#[test]
fn an_active_release_that_keeps_dying_gives_way_to_the_previous_one() {
    insta::assert_snapshot!(replay("install A | install B | died B | died B | died B | died B | died B | assign B | died A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    died B         A/- idle           [WorkerFailed Run(A) RolledBack Collect]
    assign B       A/- idle           []
    died A         A/- idle           [WorkerFailed]
    ");
}

#[test]
fn an_only_release_that_keeps_dying_stays_and_is_tried_ever_more_rarely() {
    insta::assert_snapshot!(replay("install A | unstartable A | tick | 1s later tick | unstartable A | 1s later tick | 1s later tick | died A | died A | died A | died A"), @r"
    install A      A/- idle           [Committed Collect]
    unstartable A  A/- idle           [WorkerFailed Vacate]
    tick           A/- idle           []
    tick           A/- idle           [Run(A)]
    unstartable A  A/- idle           [Vacate]
    tick           A/- idle           []
    tick           A/- idle           [Run(A)]
    died A         A/- idle           []
    died A         A/- idle           []
    died A         A/- idle           [WorkerFailed]
    died A         A/- idle           []
    ");
}

#[test]
fn an_active_release_that_something_else_keeps_from_starting_is_not_given_up() {
    insta::assert_snapshot!(replay("install A | install B | interrupted B | 1s later tick | interrupted B | 2s later tick | interrupted B | interrupted B | interrupted B | interrupted B | 32s later tick | tick"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    interrupted B  B/A idle           [WorkerFailed Vacate]
    tick           B/A idle           [Run(B)]
    interrupted B  B/A idle           [Vacate]
    tick           B/A idle           [Run(B)]
    interrupted B  B/A idle           [Vacate]
    interrupted B  B/A idle           [Vacate]
    interrupted B  B/A idle           [Vacate]
    interrupted B  B/A idle           [Vacate]
    tick           B/A idle           [Run(B)]
    tick           B/A idle           []
    ");
}

#[test]
fn an_active_release_that_is_damaged_on_disk_is_fetched_again_while_the_previous_one_runs() {
    insta::assert_snapshot!(replay("install A | install B | damaged B | assign B | downloaded B | staged B | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    damaged B      A/- downloading B  [Run(A) WorkerFailed Download(B)]
    assign B       A/- downloading B  []
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    passed B       B/A idle           [Committed Collect]
    ");
}

#[test]
fn an_only_release_that_is_damaged_on_disk_is_fetched_again() {
    insta::assert_snapshot!(replay("install A | damaged A | unreachable A | 1s later tick | damaged A | boot | assign A | refused A | downloaded A | tick"), @r"
    install A      A/- idle           [Committed Collect]
    damaged A      A/- downloading A  [WorkerFailed Vacate Download(A)]
    unreachable A  A/- downloading A  [Download(A)]
    tick           A/- downloading A  [Run(A)]
    damaged A      A/- downloading A  [Vacate]
    boot           A/- downloading A  [Run(A) Collect Download(A)]
    assign A       A/- downloading A  []
    refused A      A/- downloading A  [Download(A)]
    downloaded A   A/- idle           [Downloaded Run(A)]
    tick           A/- idle           []
    ");
    // What is on its way goes first.
    insta::assert_snapshot!(replay("install A | assign B | damaged A | downloaded B | damaged A | staged B | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    damaged A      A/- downloading B  [WorkerFailed Vacate]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    damaged A      A/- staging B      [Vacate]
    staged B       A/- trial B        [TrialStarted Run(B)]
    passed B       B/A idle           [Committed Collect]
    ");
}

#[test]
fn a_candidate_that_is_damaged_on_disk_is_fetched_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | boot | damaged B | downloaded B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    boot           A/- trial B        [Run(B) Collect]
    damaged B      A/- downloading B  [Run(A) DownloadFailed Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    ");
}

#[test]
fn deaths_far_apart_do_not_add_up() {
    insta::assert_snapshot!(replay("install A | install B | died B | died B | died B | died B | 600s later tick | died B | died B"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    tick           B/A idle           []
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    ");
}

#[test]
fn a_release_that_cannot_be_started_ends_its_trial() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | unstartable B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- trial B        [TrialStarted Run(B)]
    unstartable B  A/- idle           [Run(A) RolledBack Collect]
    ");
}

#[test]
fn a_damaged_blob_is_fetched_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | damaged B | downloaded B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    damaged B      A/- downloading B  [DownloadFailed Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    ");
}

#[test]
fn a_floor_that_another_slot_has_raised_keeps_older_releases_away_and_leaves_what_runs() {
    insta::assert_snapshot!(replay("install B | assign A floor 3 | assign B floor 3 | boot | assign C floor 3"), @r"
    install B      B/- idle           [Committed Collect]
    assign A floor 3 B/- idle           [Refused]
    assign B floor 3 B/- idle           []
    boot           B/- idle           [Run(B) Collect]
    assign C floor 3 B/- downloading C  [Assigned Download(C)]
    ");
}

#[test]
fn floors_rise_with_a_commit_and_not_before_the_predecessor_is_given_up() {
    // C demands at least 3, but B is what the slot goes back to until C has a successor.
    assert_eq!(floor("install A | install B | assign C3 | downloaded C | staged C"), 0);
    assert_eq!(floor("install A | install B | install C3"), 2);
    assert_eq!(floor("install A | install B | install C3 | install D"), 3);
    assert_eq!(floor("install C3"), 3);
    // Going back to B keeps B allowed.
    assert_eq!(floor("install A | install B | install C3 | install B"), 2);
    insta::assert_snapshot!(replay("install B | install C3 | install D | assign B | assign C | assign B | boot"), @r"
    install B      B/- idle           [Committed Collect]
    install C3     C/B idle           [Committed Collect]
    install D      D/C idle           [Committed Collect]
    assign B       D/C idle           [Refused]
    assign C       D/C downloading C  [Assigned Download(C)]
    assign B       D/C downloading C  [Refused]
    boot           D/C downloading C  [Run(D) Collect Download(C)]
    ");
    assert_eq!(
        note("install C3 | install D | assign B"),
        "pump vB: refused: number 2 is below the floor 3 that was signed for pump"
    );
}

#[test]
fn reports_wait_for_somebody_to_take_them() {
    let assigned = |word| Event::Assigned { target: target(word), floor: 0 };
    let (state, _) = step(SlotState::default(), assigned("A"), Duration::ZERO);
    let (state, effects) = step(state, Event::Booted, Duration::ZERO);
    let told: Vec<String> = effects.iter().map(effect).collect();
    assert_eq!(told, ["Vacate", "Assigned", "Collect", "Download(A)"]);
    // Nobody takes them: the oldest give way, and the numbers show the gap.
    let mut state = state;
    for round in 0..100 {
        let other = if round % 2 == 0 { "B" } else { "A" };
        state = step(state, assigned(other), Duration::ZERO).0;
    }
    let numbers: Vec<u64> = state.reports().map(|report| report.number).collect();
    assert_eq!(numbers.len(), 32);
    assert_eq!(numbers.last(), Some(&100));
}

#[test]
fn only_progress_may_be_lost() {
    let (trial, _) = play("install A | assign B | downloaded B | staged B | frames B 10");
    let (further, _) = play("install A | assign B | downloaded B | staged B | frames B 20");
    let (booted, _) = play("install A | assign B | downloaded B | staged B | frames B 10 | boot");
    assert!(trial.differs_only_in_progress(&further));
    assert!(!trial.differs_only_in_progress(&booted));
    assert!(!trial.differs_only_in_progress(&play("install A").0));
    // A report that nobody has yet must be on disk before it is handed over; one that was handed
    // over may be handed over again.
    let idle = play("install A").0;
    let died = Event::WorkerFailed { release: target("A").release.digest, reason: "x".into() };
    let (told, _) = step(trial.clone(), Event::Ticked, Duration::from_secs(3));
    assert!(trial.differs_only_in_progress(&told));
    let (failed, _) = step(idle.clone(), died, Duration::ZERO);
    assert!(!idle.differs_only_in_progress(&failed));
    let (reported, _) = step(failed.clone(), Event::Reported { through: 99 }, Duration::ZERO);
    assert!(failed.differs_only_in_progress(&reported));
}
