//! Candidates that answer beside the active release before they may take the route.

use crate::telling::{note, replay};

#[test]
fn a_candidate_that_agrees_beside_the_active_release_goes_on_trial_by_itself() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | compared B 40 | agrees B | consent B | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    compared B 40  A/- shadow B       []
    agrees B       A/- held B         [ShadowPassed]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    passed B       B/A idle           [Committed Collect]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B shadow | compared B 40"),
        "pump B answers beside the route, 40 frames compared so far"
    );
}

#[test]
fn a_candidate_that_answers_otherwise_than_the_active_release_never_takes_the_route() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | differs B | agrees B | consent B | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    differs B      A/- idle           [EndShadow Refused Collect]
    agrees B       A/- idle           []
    consent B      A/- idle           []
    assign B       A/- idle           []
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B shadow | differs B"),
        "pump B: refused: it agreed with the active release in 0 of 7 frames, a share of 0.950 is \
         wanted"
    );
}

#[test]
fn a_slot_without_an_active_release_has_nothing_to_compare_with() {
    insta::assert_snapshot!(replay("assign A | downloaded A | staged A shadow | consent A"), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A shadow -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    ");
}

#[test]
fn a_shadow_goes_on_after_a_power_cut_and_is_given_up_when_the_device_keeps_starting_over() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | compared B 40 | boot | stop | boot | boot | boot | boot"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    compared B 40  A/- shadow B       []
    boot           A/- shadow B       [Run(A) Collect StartShadow(B)]
    stop           A/- shadow B       []
    boot           A/- shadow B       [Run(A) Collect StartShadow(B)]
    boot           A/- shadow B       [Run(A) Collect StartShadow(B)]
    boot           A/- shadow B       [Run(A) Collect StartShadow(B)]
    boot           A/- idle           [Run(A) Collect EndShadow Refused Collect]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B shadow | boot | boot | boot | boot"),
        "pump B: refused: the device started over 4 times while it answered beside the route"
    );
}

#[test]
fn an_assignment_ends_a_shadow_and_leaves_the_route_alone() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | assign B | assign C | downloaded C | staged C shadow | assign A"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    assign B       A/- shadow B       []
    assign C       A/- downloading C  [EndShadow Cancelled Collect Assigned Download(C)]
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    staged C shadow A/- shadow C       [Staged StartShadow(C)]
    assign A       A/- idle           [EndShadow Cancelled Collect]
    ");
}

#[test]
fn a_shadow_that_something_else_prevents_is_tried_again_a_bounded_number_of_times() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | interrupted B | tick | 1s later tick | interrupted B | 2s later tick | compared B 3 | interrupted B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    interrupted B  A/- shadow B       [WorkerFailed]
    tick           A/- shadow B       []
    tick           A/- shadow B       [StartShadow(B)]
    interrupted B  A/- shadow B       []
    tick           A/- shadow B       [StartShadow(B)]
    compared B 3   A/- shadow B       []
    interrupted B  A/- shadow B       [WorkerFailed]
    ");
    let six = ["interrupted B"; 6].join(" | ");
    assert_eq!(
        note(&format!("install A | assign B | downloaded B | staged B shadow | {six}")),
        "pump B: refused: it could not answer beside the route, 6 times: some reason"
    );
}

#[test]
fn a_candidate_that_cannot_answer_beside_the_route_is_refused_and_one_that_is_damaged_fetched_again()
 {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | died B | refused B | assign C | downloaded C | staged C shadow | damaged C | downloaded C"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    died B         A/- shadow B       [WorkerFailed]
    refused B      A/- idle           [EndShadow Refused Collect]
    assign C       A/- downloading C  [Assigned Download(C)]
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    staged C shadow A/- shadow C       [Staged StartShadow(C)]
    damaged C      A/- downloading C  [EndShadow DownloadFailed Download(C)]
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    ");
}

#[test]
fn a_comparison_begins_anew_when_another_release_becomes_the_active_one() {
    insta::assert_snapshot!(replay("install A | install B | assign C | downloaded C | staged C shadow | compared C 90 | died B | died B | died B | died B | died B | whole A | compared C 10 | agrees C | consent C | passed C"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    assign C       B/A downloading C  [Assigned Download(C)]
    downloaded C   B/A staging C      [Downloaded Stage(C)]
    staged C shadow B/A shadow C       [Staged StartShadow(C)]
    compared C 90  B/A shadow C       []
    died B         B/A shadow C       [WorkerFailed]
    died B         B/A shadow C       []
    died B         B/A shadow C       []
    died B         B/A shadow C       []
    died B         B/A shadow C       [WorkerFailed Verify(A)]
    whole A        A/- shadow C       [Run(A) EndShadow StartShadow(C) RolledBack Collect]
    compared C 10  A/- shadow C       []
    agrees C       A/- held C         [ShadowPassed]
    consent C      A/- trial C        [TrialStarted Run(C) EndShadow]
    passed C       C/A idle           [Committed Collect]
    ");
    assert_eq!(
        note(
            "install A | install B | assign C | downloaded C | staged C shadow | compared C 90 | damaged B"
        ),
        "pump C answers beside the route, 0 frames compared so far"
    );
}

#[test]
fn a_candidate_that_becomes_the_active_release_meanwhile_is_not_tried() {
    insta::assert_snapshot!(replay("install A | install B | assign A | downloaded A | died B | died B | died B | died B | died B | whole A | staged A shadow | consent A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    assign A       B/A downloading A  [Assigned Download(A)]
    downloaded A   B/A staging A      [Downloaded Stage(A)]
    died B         B/A staging A      [WorkerFailed]
    died B         B/A staging A      []
    died B         B/A staging A      []
    died B         B/A staging A      []
    died B         B/A staging A      [WorkerFailed Verify(A)]
    whole A        A/- idle           [Run(A) Cancelled RolledBack Collect]
    staged A shadow A/- idle           []
    consent A      A/- idle           []
    ");
}

#[test]
fn an_active_release_that_fails_beside_a_shadow_is_helped_as_ever() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | unstartable A | 1s later tick | interrupted A | 2s later tick | damaged A | unreachable A | 4s later tick | damaged A | downloaded A | agrees B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    unstartable A  A/- shadow B       [WorkerFailed Vacate]
    tick           A/- shadow B       [Run(A) StartShadow(B)]
    interrupted A  A/- shadow B       [Vacate]
    tick           A/- shadow B       [Run(A) StartShadow(B)]
    damaged A      A/- held B         [Vacate EndShadow Held Download(A)]
    unreachable A  A/- held B         []
    tick           A/- held B         [Run(A)]
    damaged A      A/- held B         [Vacate Download(A)]
    downloaded A   A/- shadow B       [Downloaded Run(A) EndShadow Staged StartShadow(B)]
    agrees B       A/- held B         [ShadowPassed]
    ");
}

#[test]
fn a_candidate_does_not_wait_beside_a_vacant_route_for_what_is_damaged() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | compared B 40 | damaged A | withheld B night | boot | damaged A | consent B | passed B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    compared B 40  A/- shadow B       []
    damaged A      A/- held B         [WorkerFailed Vacate EndShadow Held Download(A)]
    withheld B night A/- held B         [EndShadow Held]
    boot           A/- held B         [Run(A) Collect]
    damaged A      A/- held B         [Vacate Download(A)]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    passed B       B/A idle           [Committed Collect]
    ");
    // Who wants to be asked is asked, and who has said so before need not say it again.
    let asks = "install A | assign B | downloaded B | staged B shadow ask | damaged A";
    assert_eq!(
        note(asks),
        "pump A is damaged on disk and fetched first; pump B waits for a person to approve it"
    );
    let asked = replay(&format!("{asks} | consent B | approve B | consent B"));
    assert!(
        asked.ends_with(
            "consent B      A/- held B         []\n\
             approve B      A/- held B         [Approved]\n\
             consent B      A/- trial B        [TrialStarted Run(B) EndShadow]\n"
        ),
        "{asked}"
    );
    // Both were damaged, and the candidate is fetched and checked first of the two.
    let both = "install A | assign B | downloaded B | staged B shadow | damaged B | downloaded B";
    let both =
        replay(&format!("{both} | damaged A | staged B shadow | tick | 9s later tick | damaged A"));
    assert!(
        both.ends_with("damaged A      A/- held B         [Vacate EndShadow Held Download(A)]\n"),
        "{both}"
    );
}

#[test]
fn a_candidate_waits_a_bounded_time_for_an_active_release_that_does_not_start() {
    for event in ["unstartable A", "interrupted A"] {
        let four = [event; 4].join(" | 300s later tick | ");
        let shadow = "install A | assign B | downloaded B | staged B shadow";
        let waits = replay(&format!("{shadow} | {four} | 300s later tick"));
        assert!(waits.ends_with("A/- shadow B       [Run(A) StartShadow(B)]\n"), "{waits}");
        let goes_on = replay(&format!("{shadow} | {four} | {event} | consent B"));
        assert!(
            goes_on.ends_with("A/- trial B        [TrialStarted Run(B) EndShadow]\n"),
            "{goes_on}"
        );
    }
    // Where there is a release to go back to, that is what it is compared with.
    let five = ["unstartable B"; 5].join(" | ");
    let back = replay(&format!(
        "install A | install B | assign C | downloaded C | staged C shadow | {five} | whole A"
    ));
    assert!(
        back.ends_with("A/- shadow C       [Run(A) EndShadow StartShadow(C) RolledBack Collect]\n"),
        "{back}"
    );
}
