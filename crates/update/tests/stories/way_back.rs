//! The release that a slot goes back to by itself: looked at before it is needed.

use crate::telling::{note, replay, said};

#[test]
fn a_slot_goes_back_only_to_what_is_whole_and_keeps_what_answers_between_its_failures() {
    let failing = "install A | install B | died B | died B | died B | died B | died B";
    insta::assert_snapshot!(replay(&format!("{failing} | damaged A | died B | unreachable A | 1s later tick | downloaded A | boot")), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           [WorkerFailed Verify(A)]
    damaged A      B/A idle           [DownloadFailed Download(A)]
    died B         B/A idle           []
    unreachable A  B/A idle           []
    tick           B/A idle           [Download(A)]
    downloaded A   A/- idle           [Downloaded Run(A) RolledBack Collect]
    boot           A/- idle           [Run(A) Collect]
    ");
    assert_eq!(
        note(&format!("{failing} | whole A")),
        "pump B: rolled back: it failed 5 times in a row: some reason"
    );
    // By then it has been quiet for long enough.
    let quiet = replay(&format!("{failing} | 600s later whole A"));
    assert!(quiet.ends_with("whole A        B/A idle           []\n"), "{quiet}");
}

#[test]
fn the_previous_release_is_looked_at_every_day_and_fetched_again_when_nothing_else_is() {
    insta::assert_snapshot!(replay("install A | install B | 600s later tick | whole A | 86400s later tick | damaged A | assign C | downloaded C | staged C | consent C | 5s later tick | failed C | tick | downloaded A | boot | 599s later tick | 1s later tick"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    tick           B/A idle           [Verify(A)]
    whole A        B/A idle           []
    tick           B/A idle           [Verify(A)]
    damaged A      B/A idle           [DownloadFailed Download(A)]
    assign C       B/A downloading C  [Assigned Download(C)]
    downloaded C   B/A staging C      [Downloaded Stage(C)]
    staged C       B/A held C         [Staged]
    consent C      B/A trial C        [TrialStarted Run(C) EndShadow]
    tick           B/A trial C        []
    failed C       B/A idle           [Run(B) RolledBack Collect]
    tick           B/A idle           [Download(A)]
    downloaded A   B/A idle           [Downloaded]
    boot           B/A idle           [Run(B) Collect]
    tick           B/A idle           []
    tick           B/A idle           [Verify(A)]
    ");
}

#[test]
fn an_active_release_that_is_damaged_is_not_left_for_one_that_is_known_to_be() {
    insta::assert_snapshot!(replay("install A | install B | 600s later tick | damaged A | damaged B | downloaded A | downloaded B | 1s later tick | downloaded A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    tick           B/A idle           [Verify(A)]
    damaged A      B/A idle           [DownloadFailed Download(A)]
    damaged B      B/A downloading B  [WorkerFailed Vacate Download(B)]
    downloaded A   B/A downloading B  []
    downloaded B   B/A idle           [Downloaded Run(B)]
    tick           B/A idle           [Download(A)]
    downloaded A   B/A idle           [Downloaded]
    ");
}

#[test]
fn the_committed_release_answers_while_a_candidate_cannot_be_started_after_a_boot() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | consent B | boot | interrupted B | 1s later tick | frames B 9"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    boot           A/- trial B        [Run(B) Collect]
    interrupted B  A/- trial B        [WorkerFailed RunMeanwhile(A)]
    tick           A/- trial B        [Run(B)]
    frames B 9     A/- trial B        []
    ");
}

#[test]
fn a_floor_that_rises_elsewhere_does_not_take_the_way_back_away() {
    let five = ["died B"; 5].join(" | ");
    let back = "install A | install B | assign A | below A";
    for way in ["", "| downloaded A", "| downloaded A | staged A"] {
        let way = back.replace("| below A", &format!("{way} | below A"));
        let told = replay(&format!("{way} | {five} | whole A"));
        assert!(
            told.ends_with("whole A        A/- idle           [Run(A) RolledBack Collect]\n"),
            "{told}"
        );
    }
}

#[test]
fn a_slot_never_goes_back_by_itself_to_what_nobody_vouches_for() {
    let failing = "install A | install B | disowned A | died B | died B | died B | died B | died B";
    insta::assert_snapshot!(replay(&format!("{failing} | whole A | 600s later tick | boot | damaged B | downloaded B | 600s later tick")), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    disowned A     B/A idle           []
    died B         B/A idle           [WorkerFailed]
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           []
    died B         B/A idle           [WorkerFailed]
    whole A        B/A idle           []
    tick           B/A idle           []
    boot           B/A idle           [Run(B) Collect]
    damaged B      B/A downloading B  [WorkerFailed Vacate Download(B)]
    downloaded B   B/A idle           [Downloaded Run(B)]
    tick           B/A idle           []
    ");
    let why = "there is no way back to pump A, because nobody vouches for it";
    assert_eq!(note(failing), why);
    assert_eq!(said(failing), format!("worker of pump B, failure 5 in a row: some reason; {why}"));
    // Nor if that is heard when it is about to, or fetches what it would go back to.
    let five = ["died B"; 5].join(" | ");
    let late = replay(&format!("install A | install B | {five} | disowned A | whole A"));
    assert!(late.ends_with("whole A        B/A idle           []\n"), "{late}");
    let fetched =
        "install A | install B | 600s later tick | damaged A | disowned A | 5s later tick";
    assert!(replay(fetched).ends_with("tick           B/A idle           []\n"));
    // People sign a list that names it again: then it does.
    let again = replay(&format!("{failing} | disowned B | died B | whole A"));
    assert!(
        again.ends_with("whole A        A/- idle           [Run(A) RolledBack Collect]\n"),
        "{again}"
    );
    let fetched = replay(&format!("{fetched} | disowned | tick"));
    assert!(fetched.ends_with("tick           B/A idle           [Download(A)]\n"), "{fetched}");
}

#[test]
fn who_brings_back_what_nobody_vouched_for_assigns_it_by_a_list_that_names_it() {
    insta::assert_snapshot!(replay("install A | install B | disowned A | assign A | downloaded A | staged A | passed A"), @r"
    install A      A/- idle           [Committed Collect]
    install B      B/A idle           [Committed Collect]
    disowned A     B/A idle           []
    assign A       B/A downloading A  [Assigned Download(A)]
    downloaded A   B/A staging A      [Downloaded Stage(A)]
    staged A       B/A trial A        [Staged TrialStarted Run(A) EndShadow]
    passed A       A/B idle           [Committed Collect]
    ");
}

#[test]
fn who_unassigns_a_slot_takes_no_way_back_away() {
    for unassigned in ["withdrawn B", "withdrawn A"] {
        let five = ["died B"; 5].join(" | ");
        let told = replay(&format!("install A | install B | {unassigned} | {five} | whole A"));
        assert!(
            told.ends_with("whole A        A/- idle           [Run(A) RolledBack Collect]\n"),
            "{told}"
        );
    }
}

#[test]
fn who_assigned_what_a_damaged_release_gives_way_to_does_not_get_that_one_back() {
    let told = replay("install A | install B | assign A | damaged B | boot");
    assert!(
        told.ends_with(
            "damaged B      A/- idle           [Run(A) Cancelled WorkerFailed]\n\
             boot           A/- idle           [Run(A) Collect]\n"
        ),
        "{told}"
    );
}
