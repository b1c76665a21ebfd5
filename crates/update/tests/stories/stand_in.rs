//! Slots whose first trial is ended by another assignment.

use crate::telling::{note, replay};

#[test]
fn the_candidate_of_a_first_trial_keeps_the_route_until_its_successor_is_ready() {
    insta::assert_snapshot!(replay("boot | assign A | downloaded A | staged A | consent A | frames A 9 | assign B | unreachable B | boot | died A | downloaded B | staged B shadow | boot | consent B | passed B"), @r"
    boot           -/- idle           [Vacate Collect]
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    frames A 9     -/- trial A        []
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    unreachable B  -/- downloading B  [DownloadFailed Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    died A         -/- downloading B  [WorkerFailed]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    staged B shadow -/- held B         [Staged]
    boot           -/- held B         [Run(A) Collect]
    consent B      -/- trial B        [TrialStarted Run(B) EndShadow]
    passed B       B/- idle           [Committed Collect]
    ");
    assert_eq!(
        note("assign A | downloaded A | staged A | consent A | assign B"),
        "downloading pump B; pump A answers meanwhile"
    );
}

#[test]
fn what_stands_in_goes_on_where_its_successor_is_refused_and_goes_where_that_is_tried() {
    let stands_in = "assign A | downloaded A | staged A | consent A | assign B | downloaded B";
    insta::assert_snapshot!(replay(&format!("{stands_in} | refused B | boot | assign C | downloaded C | staged C | consent C | assign D")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    refused B      -/- idle           [Refused Collect]
    boot           -/- idle           [Run(A) Collect]
    assign C       -/- downloading C  [Assigned Download(C)]
    downloaded C   -/- staging C      [Downloaded Stage(C)]
    staged C       -/- held C         [Staged]
    consent C      -/- trial C        [TrialStarted Run(C) EndShadow]
    assign D       -/- downloading D  [Run(C) TrialCancelled Collect Assigned Download(D)]
    ");
    assert_eq!(
        note(&format!("{stands_in} | refused B")),
        "pump A answers until another release is tried; pump B: refused: some reason"
    );
    insta::assert_snapshot!(replay(&format!("{stands_in} | staged B | consent B | failed B | boot")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    staged B       -/- held B         [Staged]
    consent B      -/- trial B        [TrialStarted Run(B) EndShadow]
    failed B       -/- idle           [Vacate RolledBack Vacant Collect]
    boot           -/- idle           [Vacate Collect]
    ");
}

#[test]
fn what_stands_in_may_be_assigned_again() {
    insta::assert_snapshot!(replay("assign A | downloaded A | staged A | consent A | assign B | assign A | downloaded A | staged A | consent A | passed A"), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    assign A       -/- downloading A  [Cancelled Collect Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    passed A       A/- idle           [Committed Collect]
    ");
}

#[test]
fn what_stands_in_stays_on_probation() {
    let stands_in = "assign A | downloaded A | staged A | consent A | assign B";
    insta::assert_snapshot!(replay(&format!("{stands_in} | passed A | failed A | downloaded B")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    passed A       -/- downloading B  []
    failed A       -/- downloading B  [Vacate RolledBack Vacant Collect]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    ");
    insta::assert_snapshot!(replay(&format!("{stands_in} | died A | died A | died A | died A | died A | boot")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    died A         -/- downloading B  [WorkerFailed]
    died A         -/- downloading B  []
    died A         -/- downloading B  []
    died A         -/- downloading B  []
    died A         -/- downloading B  [WorkerFailed Vacate RolledBack Vacant Collect]
    boot           -/- downloading B  [Vacate Collect Download(B)]
    ");
    insta::assert_snapshot!(replay(&format!("{stands_in} | boot | unstartable A | downloaded B")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    unstartable A  -/- downloading B  [Vacate RolledBack Vacant Collect]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    ");
    insta::assert_snapshot!(replay(&format!("{stands_in} | boot | damaged A | downloaded B")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    damaged A      -/- downloading B  [Vacate WorkerFailed Vacant Collect]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    ");
    insta::assert_snapshot!(replay(&format!("{stands_in} | boot | interrupted A | 1s later tick | downloaded B")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    interrupted A  -/- downloading B  [WorkerFailed Vacate]
    tick           -/- downloading B  [Run(A)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    ");
    // Damaged through no fault of its own, and assigned again: it is tried.
    insta::assert_snapshot!(replay(&format!("{stands_in} | assign A | damaged A | downloaded A | staged A")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    assign A       -/- downloading A  [Cancelled Collect Assigned Download(A)]
    damaged A      -/- downloading A  [Vacate WorkerFailed Vacant Collect]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    ");
    // Assigned again and found out before its checks have been replayed.
    insta::assert_snapshot!(replay(&format!("{stands_in} | assign A | failed A | downloaded A | assign A")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    assign A       -/- downloading A  [Cancelled Collect Assigned Download(A)]
    failed A       -/- idle           [Vacate RolledBack Vacant Collect]
    downloaded A   -/- idle           []
    assign A       -/- idle           []
    ");
}

#[test]
fn what_stands_in_and_makes_the_device_start_over_is_given_up_after_the_checks_of_its_successor() {
    insta::assert_snapshot!(replay("assign A | downloaded A | staged A | consent A | assign B | boot | stop | boot | boot | boot | boot | downloaded B"), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    stop           -/- downloading B  []
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    boot           -/- downloading B  [Run(A) Collect Download(B)]
    boot           -/- downloading B  [Vacate RolledBack Vacant Collect Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    ");
    insta::assert_snapshot!(replay("assign A | downloaded A | staged A | consent A | assign B | downloaded B | boot | boot | boot | boot | boot | boot | boot | boot"), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    boot           -/- staging B      [Run(A) Collect Stage(B)]
    boot           -/- staging B      [Run(A) Collect Stage(B)]
    boot           -/- staging B      [Run(A) Collect Stage(B)]
    boot           -/- idle           [Run(A) Collect Refused Collect]
    boot           -/- idle           [Run(A) Collect]
    boot           -/- idle           [Run(A) Collect]
    boot           -/- idle           [Run(A) Collect]
    boot           -/- idle           [Vacate RolledBack Vacant Collect]
    ");
}
