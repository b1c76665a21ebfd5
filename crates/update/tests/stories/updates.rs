//! Updates that go well and updates that do not.

use crate::telling::{effect, floor, note, play, replay, target};
use lineside_update::{BUNDLES_MAX, Event, SlotState, step};
use std::time::Duration;

#[test]
fn a_release_that_behaves_is_committed_and_its_predecessor_kept() {
    insta::assert_snapshot!(replay("boot | assign A | downloaded A | staged A | consent A | passed A | install B | boot"), @r"
    boot           -/- idle           [Vacate Collect]
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    passed A       A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    boot           B/A idle           [Run(B) Collect]
    ");
}

#[test]
fn a_candidate_that_misbehaves_is_taken_back_and_not_tried_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | frames B 40 | failed B | assign B | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    frames B 40    A/- trial B        []
    failed B       A/- idle           [Run(A) RolledBack Collect]
    assign B       A/- idle           []
    boot           A/- idle           [Run(A) Collect]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B | consent B | failed B"),
        "pump B: rolled back: the worker died 3 times, 2 allowed"
    );
}

#[test]
fn a_release_whose_checks_fail_never_runs() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | refused B | staged B | consent B | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    refused B      A/- idle           [Refused Collect]
    staged B       A/- idle           []
    consent B      A/- idle           []
    assign B       A/- idle           []
    ");
}

#[test]
fn a_slot_whose_first_release_fails_is_vacant() {
    insta::assert_snapshot!(replay("boot | assign A | downloaded A | refused A | boot | assign B | downloaded B | staged B | consent B | failed B | boot"), @r"
    boot           -/- idle           [Vacate Collect]
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    refused A      -/- idle           [Refused Vacant Collect]
    boot           -/- idle           [Vacate Collect]
    assign B       -/- downloading B  [Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    staged B       -/- held B         [Staged]
    consent B      -/- trial B        [TrialStarted Run(B) EndShadow]
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
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | frames B 30 | boot | frames B 70 | boot | boot | boot | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    frames B 30    A/- trial B        []
    boot           A/- trial B        [Run(B) Collect]
    frames B 70    A/- trial B        []
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- trial B        [Run(B) Collect]
    boot           A/- idle           [Run(A) RolledBack Collect]
    boot           A/- idle           [Run(A) Collect]
    ");
    assert_eq!(
        note(
            "install A | assign B | downloaded B | staged B | consent B | boot | boot | boot | boot"
        ),
        "pump B: rolled back: the device started over 4 times during its trial"
    );
}

#[test]
fn a_line_that_is_switched_off_every_evening_gets_its_update() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | 30000s later boot | boot | boot | boot | 700s later frames B 9 | boot | boot | boot | boot | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
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
        replay(&format!("{staging} | staged B | consent B | {stops} | passed B"))
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
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | interrupted B | interrupted B | staged B | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    interrupted B  A/- staging B      [WorkerFailed Stage(B)]
    interrupted B  A/- staging B      [Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    let six = ["interrupted B"; 6].join(" | ");
    assert_eq!(
        note(&format!("install A | assign B | downloaded B | {six}")),
        "pump B: refused: its checks could not be replayed, 6 times: some reason"
    );
}

#[test]
fn a_candidate_that_something_else_keeps_from_starting_is_tried_again_a_bounded_number_of_times() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | interrupted B | tick | 1s later tick | interrupted B | 1s later tick | 1s later tick | frames B 3 | interrupted B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    interrupted B  A/- trial B        [WorkerFailed RunMeanwhile(A)]
    tick           A/- trial B        []
    tick           A/- trial B        [Run(B)]
    interrupted B  A/- trial B        [RunMeanwhile(A)]
    tick           A/- trial B        []
    tick           A/- trial B        [Run(B)]
    frames B 3     A/- trial B        []
    interrupted B  A/- trial B        [WorkerFailed RunMeanwhile(A)]
    ");
    let six = ["interrupted B"; 6].join(" | ");
    assert_eq!(
        note(&format!("install A | assign B | downloaded B | staged B | consent B | {six}")),
        "pump B: rolled back: it could not be started, 6 times: some reason"
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
    insta::assert_snapshot!(replay("install A | assign B | assign C | downloaded B | downloaded C | assign D | staged C | consent C | downloaded D | staged D | consent D | assign E | failed D | downloaded E"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    assign C       A/- downloading C  [Cancelled Collect Assigned Download(C)]
    downloaded B   A/- downloading C  []
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    assign D       A/- downloading D  [Cancelled Collect Assigned Download(D)]
    staged C       A/- downloading D  []
    consent C      A/- downloading D  []
    downloaded D   A/- staging D      [Downloaded Stage(D)]
    staged D       A/- held D         [Staged]
    consent D      A/- trial D        [TrialStarted Run(D) EndShadow]
    assign E       A/- downloading E  [Run(A) TrialCancelled Collect Assigned Download(E)]
    failed D       A/- downloading E  []
    downloaded E   A/- staging E      [Downloaded Stage(E)]
    ");
}

#[test]
fn assigning_the_active_release_ends_what_is_under_way_and_nothing_else() {
    insta::assert_snapshot!(replay("install A | assign A | assign B | assign A | assign B | downloaded B | staged B | consent B | assign A | assign A"), @r"
    install A      A/- idle           [Committed Collect]
    assign A       A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    assign A       A/- idle           [Cancelled Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
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
    staged A       B/A trial A        [Staged TrialStarted Run(A) EndShadow]
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
    staged A       B/A trial A        [Staged TrialStarted Run(A) EndShadow]
    failed A       B/A idle           [Run(B) RolledBack Collect]
    boot           B/A idle           [Run(B) Collect]
    ");
}

#[test]
fn an_active_release_that_keeps_dying_gives_way_to_the_previous_one() {
    insta::assert_snapshot!(replay("install A | install B | died B | died B | died B | died B | died B | whole A | assign B | died A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           [WorkerFailed Verify(A)]
    whole A        A/- idle           [Run(A) RolledBack Collect]
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
    staged B       A/- trial B        [Staged TrialStarted Run(B) EndShadow]
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
    // It is told, although it could not be started before.
    insta::assert_snapshot!(replay("install A | interrupted A | damaged A"), @r"
    install A      A/- idle           [Committed Collect]
    interrupted A  A/- idle           [WorkerFailed Vacate]
    damaged A      A/- downloading A  [Vacate DownloadFailed Download(A)]
    ");
    // What is on its way goes first.
    insta::assert_snapshot!(replay("install A | assign B | damaged A | downloaded B | damaged A | staged B | consent B | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    damaged A      A/- downloading B  [WorkerFailed Vacate Download(A)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    damaged A      A/- staging B      [Vacate]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    passed B       B/A idle           [Committed Collect]
    ");
}

#[test]
fn a_candidate_that_is_damaged_on_disk_is_fetched_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | boot | damaged B | downloaded B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
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
    tick           B/A idle           [Verify(A)]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    ");
}

#[test]
fn a_release_that_cannot_be_started_ends_its_trial() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | unstartable B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
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
fn the_way_back_to_what_was_committed_here_is_neither_compared_nor_held() {
    let bad = "install A | install B";
    insta::assert_snapshot!(replay(&format!("{bad} | assign A | downloaded A | staged A shadow ask | passed A | assign B | downloaded B | staged B shadow")), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    assign A       B/A downloading A  [Assigned Download(A)]
    downloaded A   B/A staging A      [Downloaded Stage(A)]
    staged A shadow ask B/A trial A        [Staged TrialStarted Run(A) EndShadow]
    passed A       A/B idle           [Committed Collect]
    assign B       A/B downloading B  [Assigned Download(B)]
    downloaded B   A/B staging B      [Downloaded Stage(B)]
    staged B shadow A/B trial B        [Staged TrialStarted Run(B) EndShadow]
    ");
    // Also further back than the previous release, and where the active one was damaged meanwhile.
    let further = replay(&format!("{bad} | install C | assign A | downloaded A | staged A shadow"));
    assert!(
        further.ends_with("C/B trial A        [Staged TrialStarted Run(A) EndShadow]\n"),
        "{further}"
    );
    let mended = replay(&format!("{bad} | damaged B | downloaded B | staged B shadow ask"));
    assert!(
        mended.ends_with("A/- trial B        [Staged TrialStarted Run(B) EndShadow]\n"),
        "{mended}"
    );
}

#[test]
fn what_failed_after_its_commit_comes_back_like_any_other_release() {
    let failed = "install A | install B | died B | died B | died B | died B | died B | whole A";
    insta::assert_snapshot!(replay(&format!("{failed} | assign A | assign B | downloaded B | staged B shadow")), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           [WorkerFailed Verify(A)]
    whole A        A/- idle           [Run(A) RolledBack Collect]
    assign A       A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    ");
    // A way back that comes to nothing is one no longer.
    let lost = "install A | install B | assign A | downloaded A | refused A | assign B | assign A";
    assert!(
        replay(&format!("{lost} | downloaded A | staged A"))
            .ends_with("B/A held A         [Staged]\n")
    );
}

#[test]
fn a_floor_that_was_signed_binds_every_assignment_from_the_commit_of_its_release_on() {
    // C demands at least 3.
    assert_eq!(floor("install A | install B | assign C3 | downloaded C | staged C | consent C"), 0);
    assert_eq!(floor("install A | install B | install C3"), 3);
    assert_eq!(floor("install C3"), 3);
    assert_eq!(floor("install C3 | install D"), 3);
    insta::assert_snapshot!(replay("install B | install C3 | assign B | boot"), @r"
    install B      B/- idle           [Committed Collect]
    install C3     C/B idle           [Committed Collect]
    assign B       C/B idle           [Refused]
    boot           C/B idle           [Run(C) Collect]
    ");
    insta::assert_snapshot!(replay("install B | install C3 | install D | assign B | assign C | assign B | boot"), @r"
    install B      B/- idle           [Committed Collect]
    install C3     C/B idle           [Committed Collect]
    install D      D/C idle           [Committed Collect]
    assign B       D/C idle           [Refused]
    assign C       D/C downloading C  [Assigned Download(C)]
    assign B       D/C idle           [Cancelled Collect Refused]
    boot           D/C idle           [Run(D) Collect]
    ");
    assert_eq!(
        note("install C3 | install D | assign B"),
        "pump B: refused: number 2 is below the floor 3 that was signed for pump"
    );
}

#[test]
fn what_is_refused_unseen_keeps_what_it_has_proven_and_what_fails_loses_it() {
    let has_proven = |story: &str| play(story).0.has_proven(&target("A").release.digest);
    assert!(has_proven("install A | install B2 | assign A"));
    let again = "assign A | downloaded A | staged A | consent A";
    assert!(!has_proven(&format!("install A | install B | {again} | failed A")));
}

#[test]
fn a_slot_takes_a_limited_number_of_different_bundles() {
    let all: Vec<String> = (0..BUNDLES_MAX).map(|n| format!("install b{n}/A")).collect();
    let told = replay(&format!("{} | assign b0/B | assign fan/A", all.join(" | ")));
    let end: Vec<&str> = told.lines().skip(BUNDLES_MAX).collect();
    assert!(end[0].ends_with("downloading B  [Assigned Download(B)]"), "{end:?}");
    assert!(end[1].ends_with("idle           [Cancelled Collect Refused]"), "{end:?}");
}

#[test]
fn a_slot_goes_back_by_itself_below_a_floor_and_nobody_can_send_it_there() {
    let failed = "install A | install B | install C3 | assign B | died C | died C | died C | died C | died C | whole B";
    insta::assert_snapshot!(replay(&format!("{failed} | assign A | assign B | assign D | downloaded D | staged D | consent D | failed D | boot")), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    install C3     C/B idle           [Committed Collect]
    assign B       C/B idle           [Refused]
    died C         C/B idle           [WorkerFailed]
    died C         C/B idle           []
    died C         C/B idle           []
    died C         C/B idle           []
    died C         C/B idle           [WorkerFailed Verify(B)]
    whole B        B/- idle           [Run(B) RolledBack Collect]
    assign A       B/- idle           [Refused]
    assign B       B/- idle           []
    assign D       B/- downloading D  [Assigned Download(D)]
    downloaded D   B/- staging D      [Downloaded Stage(D)]
    staged D       B/- held D         [Staged]
    consent D      B/- trial D        [TrialStarted Run(D) EndShadow]
    failed D       B/- idle           [Run(B) RolledBack Collect]
    boot           B/- idle           [Run(B) Collect]
    ");
    assert_eq!(floor(failed), 3);
    // While the committed release is fetched again, the one before answers, whatever its number.
    let damaged = replay("install B | install C3 | damaged C");
    assert!(
        damaged.ends_with("B/- downloading C  [Run(B) WorkerFailed Download(C)]\n"),
        "{damaged}"
    );
}

#[test]
fn a_floor_that_rises_elsewhere_ends_what_is_on_its_way_however_far_it_has_come() {
    let assigned = "install A | assign B | downloaded B | staged B";
    assert!(
        replay(&format!("{assigned} | refused B"))
            .ends_with("A/- idle           [EndShadow Refused Collect]\n")
    );
    assert!(replay(&format!("{assigned} | consent B | refused B | boot | assign B")).ends_with(
        "refused B      A/- idle           [Run(A) RolledBack Collect]\n\
         boot           A/- idle           [Run(A) Collect]\n\
         assign B       A/- idle           []\n"
    ));
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
    assert_eq!(numbers.last(), Some(&200));
}

#[test]
fn only_progress_may_be_lost() {
    let (trial, _) =
        play("install A | assign B | downloaded B | staged B | consent B | frames B 10");
    let (further, _) =
        play("install A | assign B | downloaded B | staged B | consent B | frames B 20");
    let (booted, _) =
        play("install A | assign B | downloaded B | staged B | consent B | frames B 10 | boot");
    assert!(trial.differs_only_in_progress(&further));
    assert!(!trial.differs_only_in_progress(&booted));
    assert!(!trial.differs_only_in_progress(&play("install A").0));
    // That a trial has been quiet for long is forgotten with the next start, and that is on disk.
    let quiet = "install A | assign B | downloaded B | staged B | consent B | 4000s later tick";
    let (booted, _) = play(&format!("{quiet} | boot"));
    assert!(!play(quiet).0.differs_only_in_progress(&booted));
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

#[test]
fn a_damaged_active_release_is_fetched_before_one_that_may_never_come() {
    insta::assert_snapshot!(replay("install A | assign B | unreachable B | damaged A | assign C | unreachable A | 1s later tick | damaged A | downloaded A | downloaded C"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    unreachable B  A/- downloading B  [DownloadFailed Download(B)]
    damaged A      A/- downloading B  [WorkerFailed Vacate Download(A)]
    assign C       A/- downloading C  [Cancelled Collect Assigned Download(C)]
    unreachable A  A/- downloading C  [DownloadFailed Download(C)]
    tick           A/- downloading C  [Run(A)]
    damaged A      A/- downloading C  [Vacate Download(A)]
    downloaded A   A/- downloading C  [Downloaded Run(A) Download(C)]
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    ");
    assert_eq!(
        note("install A | assign B | damaged A"),
        "pump A is damaged on disk and fetched first; downloading pump B"
    );
}

#[test]
fn what_mends_survives_a_start_and_ends_with_the_assignment_of_what_it_mends() {
    insta::assert_snapshot!(replay("install A | assign B | damaged A | boot | damaged A | assign A | unreachable A | 2s later tick | damaged A | downloaded A"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    damaged A      A/- downloading B  [WorkerFailed Vacate Download(A)]
    boot           A/- downloading B  [Run(A) Collect Download(B)]
    damaged A      A/- downloading B  [Vacate Download(A)]
    assign A       A/- idle           [Cancelled Collect]
    unreachable A  A/- idle           []
    tick           A/- idle           [Run(A)]
    damaged A      A/- downloading A  [Vacate DownloadFailed Download(A)]
    downloaded A   A/- idle           [Downloaded Run(A)]
    ");
}

#[test]
fn a_release_that_would_not_run_on_such_a_device_is_tried_when_the_device_is_another_one() {
    insta::assert_snapshot!(replay("install A | assign B | unfit B | assign B | reconsider B | assign B | downloaded B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    unfit B        A/- idle           [Refused Collect]
    assign B       A/- idle           []
    reconsider B   A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    ");
    let note = note("install A | assign B | unfit B");
    assert_eq!(note, "pump B: refused: some reason");
}

#[test]
fn what_a_release_has_done_itself_is_not_forgotten_for_another_device() {
    insta::assert_snapshot!(replay("install A | assign B | refused B | reconsider B | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    refused B      A/- idle           [Refused Collect]
    reconsider B   A/- idle           []
    assign B       A/- idle           []
    ");
}
