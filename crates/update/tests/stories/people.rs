//! Candidates that wait until people let them take the route.

use crate::telling::{note, play, replay, target};
use lineside_update::Phase;

#[test]
fn a_site_that_withholds_its_consent_is_told_once_for_each_reason_and_once_when_it_is_late() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B busy | withheld B busy | withheld B night | withheld B busy | overdue B busy | overdue B night | withheld B busy | boot | withheld B busy | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B busy A/- held B         [EndShadow Held]
    withheld B busy A/- held B         []
    withheld B night A/- held B         [Held]
    withheld B busy A/- held B         []
    overdue B busy A/- held B         [Overdue]
    overdue B night A/- held B         []
    withheld B busy A/- held B         []
    boot           A/- held B         [Run(A) Collect]
    withheld B busy A/- held B         []
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    let held = "install A | assign B | downloaded B | staged B";
    assert_eq!(note(held), "pump B is about to be tried");
    assert_eq!(note(&format!("{held} | withheld B busy")), "pump B is held back: busy");
    assert_eq!(
        note(&format!("{held} | overdue B busy | withheld B night")),
        "pump B is held back, longer than it should: night"
    );
}

#[test]
fn a_site_whose_reasons_change_with_every_second_does_not_flood_anybody() {
    let reasons: Vec<String> = (0..50).map(|second| format!("withheld B {second}s")).collect();
    let told = replay(&format!(
        "install A | assign B | downloaded B | staged B | {}",
        reasons.join(" | ")
    ));
    assert_eq!(told.matches("[Held]").count() + told.matches("[EndShadow Held]").count(), 8);
}

#[test]
fn a_shadow_that_was_passed_waits_for_a_person_where_somebody_asks_for_one() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow ask | agrees B | consent B | boot | approve B | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow ask A/- shadow B       [Staged StartShadow(B)]
    agrees B       A/- held B         [ShadowPassed Held EndShadow]
    consent B      A/- held B         []
    boot           A/- held B         [Run(A) Collect]
    approve B      A/- held B         [Approved]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    assert_eq!(
        note("install A | assign B | downloaded B | staged B shadow ask | agrees B"),
        "pump B waits for a person to approve it"
    );
    // Also where nobody has thought of frames.
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B ask | consent B | approve B | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged Held EndShadow]
    consent B      A/- held B         []
    approve B      A/- held B         [Approved]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
}

#[test]
fn what_nobody_wants_any_more_is_left_wherever_it_is_and_may_come_again() {
    let unassigned = "install A | assign B | withdrawn B | withdrawn B | boot | assign B | downloaded B | withdrawn B | assign B | downloaded B | staged B shadow | withdrawn B | assign B | downloaded B | staged B | withdrawn B | assign B | downloaded B | staged B | consent B | withdrawn B | boot";
    insta::assert_snapshot!(replay(unassigned), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    withdrawn B    A/- idle           [Cancelled Collect]
    withdrawn B    A/- idle           []
    boot           A/- idle           [Run(A) Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    withdrawn B    A/- idle           [Cancelled Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    withdrawn B    A/- idle           [EndShadow Cancelled Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withdrawn B    A/- idle           [EndShadow Cancelled Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    withdrawn B    A/- idle           [Run(A) TrialCancelled Collect]
    boot           A/- idle           [Run(A) Collect]
    ");
    // Nor what is assigned still, and nobody vouches for.
    let disowned = replay(&unassigned.replace("withdrawn B", "disowned B"));
    assert_eq!(disowned.replace("disowned B ", "withdrawn B"), replay(unassigned));
    // Not even for want of another does it stay on the route.
    let first = replay("assign A | downloaded A | staged A | consent A | withdrawn A");
    assert!(
        first.ends_with("-/- idle           [Vacate TrialCancelled Collect Vacant]\n"),
        "{first}"
    );
    // Nor does what only stands in.
    let stands_in =
        replay("assign A | downloaded A | staged A | consent A | assign B | disowned A");
    assert!(
        stands_in.ends_with(
            "disowned A     -/- downloading B  [Vacate TrialCancelled Vacant Collect]\n"
        ),
        "{stands_in}"
    );
    // An approval does not survive it, and another release is none of its business.
    let ready = "downloaded B | staged B ask";
    let again = format!("approve B | withdrawn B | assign B | {ready} | withdrawn C | consent B");
    let other = format!("approve B | withdrawn C | {ready} | withdrawn C | consent B");
    for (story, waits) in [(again, true), (other, false)] {
        let told = replay(&format!("install A | assign B | {story}"));
        assert_eq!(told.ends_with("consent B      A/- held B         []\n"), waits, "{told}");
    }
}

#[test]
fn what_was_committed_goes_on_running_when_nobody_wants_it_and_says_so() {
    for (word, why) in [("disowned", "nobody vouches for it"), ("withdrawn", "it is unassigned")] {
        let unwanted = format!("install A | install B | {word} B");
        assert!(replay(&unwanted).ends_with("B/A idle           []\n"));
        assert_eq!(note(&unwanted), format!("pump B goes on running, though {why}"));
        // What rots then is not fetched again, where another one runs.
        let rotten = replay(&format!("{unwanted} | boot | damaged B | {word} B | boot"));
        assert!(
            rotten.ends_with(&format!(
                "damaged B      A/- idle           [Run(A) WorkerFailed]\n\
                 {:14} A/- idle           []\n\
                 boot           A/- idle           [Run(A) Collect]\n",
                format!("{word} B")
            )),
            "{rotten}"
        );
        let alone = replay(&format!("install A | {word} A | boot | damaged A"));
        assert!(
            alone.ends_with("A/- downloading A  [WorkerFailed Vacate Download(A)]\n"),
            "{alone}"
        );
        assert_eq!(note(&format!("{unwanted} | assign B")), "");
        assert_eq!(note(&format!("{unwanted} | assign C")).contains(why), word == "disowned");
    }
    // People have signed a list that names it again.
    assert_eq!(note("install A | install B | disowned B A | disowned"), "");
    // Nothing is known any more of what the slot has let go.
    let (state, _) = play("install A | install B | disowned B A | install C");
    let disowned = |word| state.disowned(&target(word).release.digest);
    assert_eq!((disowned("A"), disowned("B").is_some()), (None, true));
}

#[test]
fn an_approval_holds_for_one_release_until_another_is_assigned() {
    insta::assert_snapshot!(replay("install A | assign B | approve B | approve B | downloaded B | staged B ask | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    approve B      A/- downloading B  [Approved]
    approve B      A/- downloading B  []
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    insta::assert_snapshot!(replay("install A | approve B | assign B | downloaded B | staged B ask | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    approve B      A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    insta::assert_snapshot!(replay("install A | assign B | approve C | downloaded B | staged B ask | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    approve C      A/- downloading B  []
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged Held EndShadow]
    consent B      A/- held B         []
    ");
    insta::assert_snapshot!(replay("install A | assign B | approve B | assign C | assign B | downloaded B | staged B ask | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    approve B      A/- downloading B  [Approved]
    assign C       A/- downloading C  [Cancelled Collect Assigned Download(C)]
    assign B       A/- downloading B  [Cancelled Collect Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged Held EndShadow]
    consent B      A/- held B         []
    ");
    insta::assert_snapshot!(replay("install A | assign B | approve B | downloaded B | refused B | approve B | assign A | assign B | downloaded B | staged B ask | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    approve B      A/- downloading B  [Approved]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    refused B      A/- idle           [Refused Collect]
    approve B      A/- idle           []
    assign A       A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B ask   A/- held B         [Staged Held EndShadow]
    consent B      A/- held B         []
    ");
    // It ends with a release that is given up, and with no other; who approves what his device was too
    // small for has it once it fits.
    let ready = "downloaded B | staged B ask | consent B";
    for (story, waits) in [
        (format!("approve B | downloaded B | refused B | again B 4 | assign B | {ready}"), true),
        (format!("unfit B | approve B | again B 4 | assign B | {ready}"), false),
        (format!("assign C | approve B | downloaded C | refused C | assign B | {ready}"), false),
    ] {
        let told = replay(&format!("install A | assign B | {story}"));
        assert_eq!(told.ends_with("A/- held B         []\n"), waits, "{told}");
    }
}

#[test]
fn an_assignment_ends_a_wait_and_leaves_the_route_alone() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B busy | assign C | consent B | downloaded C | staged C | assign A"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B busy A/- held B         [EndShadow Held]
    assign C       A/- downloading C  [EndShadow Cancelled Collect Assigned Download(C)]
    consent B      A/- downloading C  []
    downloaded C   A/- staging C      [Downloaded Stage(C)]
    staged C       A/- held C         [Staged]
    assign A       A/- idle           [EndShadow Cancelled Collect]
    ");
}

#[test]
fn starts_of_the_device_are_not_held_against_a_candidate_that_waits() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B busy | boot | boot | boot | boot | boot | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B busy A/- held B         [EndShadow Held]
    boot           A/- held B         [Run(A) Collect]
    boot           A/- held B         [Run(A) Collect]
    boot           A/- held B         [Run(A) Collect]
    boot           A/- held B         [Run(A) Collect]
    boot           A/- held B         [Run(A) Collect]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
}

#[test]
fn an_active_release_that_rots_while_a_candidate_waits_is_fetched_again() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B busy | damaged A | 1s later tick | damaged A | boot | damaged A | refused A | 10s later tick | damaged A | downloaded A | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B busy A/- held B         [EndShadow Held]
    damaged A      A/- held B         [WorkerFailed Vacate Download(A)]
    tick           A/- held B         [Run(A)]
    damaged A      A/- held B         [Vacate Download(A)]
    boot           A/- held B         [Run(A) Collect]
    damaged A      A/- held B         [Vacate Download(A)]
    refused A      A/- held B         []
    tick           A/- held B         [Run(A)]
    damaged A      A/- held B         [Vacate Download(A)]
    downloaded A   A/- held B         [Downloaded Run(A)]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
}

#[test]
fn a_wait_for_the_site_counts_its_running_time_over_starts_and_not_the_wait_for_a_person() {
    let waited = |story: &str| match play(story).0.phase() {
        Phase::Held(held) => held.ran.as_secs(),
        other => panic!("{other:?}"),
    };
    let asks = "install A | assign B | downloaded B | staged B ask | 500s later approve B";
    assert_eq!(waited(asks), 0);
    let held = format!("{asks} | 5s later withheld B busy | 60s later tick | 30s later boot");
    assert_eq!(waited(&held), 90);
    assert_eq!(waited(&format!("{held} | 10s later withheld B window")), 100);
}

#[test]
fn the_first_release_of_a_slot_waits_for_a_person_where_the_site_wants_to_be_asked() {
    insta::assert_snapshot!(replay("assign A | downloaded A | staged A ask | consent A | approve A | consent A | passed A"), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A ask   -/- held A         [Staged Held EndShadow]
    consent A      -/- held A         []
    approve A      -/- held A         [Approved]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    passed A       A/- idle           [Committed Collect]
    ");
}

#[test]
fn a_site_that_becomes_stricter_reaches_a_candidate_that_waits_already() {
    // It is to be asked.
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B night | policy ask | policy ask | consent B | approve B | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B night A/- held B         [EndShadow Held]
    policy ask     A/- held B         [Held EndShadow]
    policy ask     A/- held B         []
    consent B      A/- held B         []
    approve B      A/- held B         [Approved]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    // It wants a comparison, then a longer one; a shorter one has been made already.
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B | withheld B night | policy 100 | compared B 40 | agrees B | policy 200 | agrees B | policy 100 | policy | consent B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B night A/- held B         [EndShadow Held]
    policy 100     A/- shadow B       [EndShadow Staged StartShadow(B)]
    compared B 40  A/- shadow B       []
    agrees B       A/- held B         [ShadowPassed]
    policy 200     A/- shadow B       [EndShadow Staged StartShadow(B)]
    agrees B       A/- held B         [ShadowPassed]
    policy 100     A/- held B         []
    policy         A/- held B         []
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    ");
    // What was counted by other tolerances says nothing; a mere number of frames takes nothing back.
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | staged B shadow | compared B 40 | policy 200 | policy exact 200 | policy exact 200"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B shadow A/- shadow B       [Staged StartShadow(B)]
    compared B 40  A/- shadow B       []
    policy 200     A/- shadow B       []
    policy exact 200 A/- shadow B       [EndShadow StartShadow(B)]
    policy exact 200 A/- shadow B       []
    ");
    // Nobody who goes back waits for any of it, and a trial that has begun goes on.
    let back = replay(
        "install A | install B | assign A | downloaded A | policy ask | staged A ask | policy ask",
    );
    assert!(back.ends_with("policy ask     B/A trial A        []\n"), "{back}");
}

#[test]
fn a_candidate_that_waits_is_compared_with_what_the_slot_has_gone_back_to() {
    let held = "install A | install B | assign C | downloaded C | staged C shadow | agrees C";
    let five = ["died B"; 5].join(" | ");
    let back = replay(&format!("{held} | {five} | whole A"));
    let end = "A/- shadow C       [Run(A) EndShadow Staged StartShadow(C) RolledBack Collect]";
    assert!(back.ends_with(&format!("{end}\n")), "{back}");
}

#[test]
fn a_person_has_what_was_given_up_tried_again_once_for_each_time_that_he_says_so() {
    insta::assert_snapshot!(replay("install A | assign B | downloaded B | refused B | assign B | again B 4 | assign B | downloaded B | refused B | again B 4 | assign B | boot | again B 4 | assign B | again B 5 | assign B"), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    refused B      A/- idle           [Refused Collect]
    assign B       A/- idle           []
    again B 4      A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    refused B      A/- idle           [Refused Collect]
    again B 4      A/- idle           []
    assign B       A/- idle           []
    boot           A/- idle           [Run(A) Collect]
    again B 4      A/- idle           []
    assign B       A/- idle           []
    again B 5      A/- idle           []
    assign B       A/- downloading B  [Assigned Download(B)]
    ");
    // What was rolled back, too, and what failed after its commit; but no other release.
    let failed = "install A | assign B | downloaded B | staged B | consent B | failed B";
    for (given_up, tried) in [
        (format!("{failed} | again B 4 | assign B"), true),
        (format!("{failed} | again C 4 | assign B"), false),
        (format!("again B 4 | {failed} | again B 4 | assign B"), false),
        (format!("again A 4 | {failed} | again B 4 | assign B"), false),
        (format!("again A 4 | {failed} | again B 5 | assign B"), true),
        // A new director counts from the beginning.
        (format!("again B 40 | {failed} | again B 6 | assign B"), true),
        (format!("{failed} | withdrawn B | assign B"), false),
    ] {
        let told = replay(&given_up);
        let is_tried = told.ends_with("[Assigned Download(B)]\n");
        assert_eq!(is_tried, tried, "{told}");
    }
    // It goes the way of any release, and needs a new approval.
    let failed = "install A | assign B | approve B | downloaded B | staged B ask | consent B";
    let ready = "downloaded B | staged B ask";
    let waits = "pump B waits for a person to approve it";
    let again = format!("{failed} | failed B | again B 4 | assign B | {ready}");
    assert_eq!(note(&again), waits);
    // The old approval goes on to be said with each assignment until then, and says nothing.
    let repeated = "assign B | approve B | again B 4 | assign B";
    assert_eq!(note(&format!("{failed} | failed B | {repeated} | {ready}")), waits);
    let anew = format!("{failed} | failed B | {repeated} | approve B | again B 4 | {ready}");
    assert!(!note(&anew).contains("waits for a person"), "{}", note(&anew));
}

#[test]
fn what_a_site_has_let_go_it_holds_back_until_it_has_the_route() {
    let held = "install A | assign B | downloaded B | staged B | withheld B busy";
    insta::assert_snapshot!(replay(&format!("{held} | let-go B | withheld B night | let-go B | boot | withheld B busy | consent B | withheld B busy | passed B")), @r"
    install A      A/- idle           [Committed Collect]
    assign B       A/- downloading B  [Assigned Download(B)]
    downloaded B   A/- staging B      [Downloaded Stage(B)]
    staged B       A/- held B         [Staged]
    withheld B busy A/- held B         [EndShadow Held]
    let-go B       A/- trial B        [TrialStarted Run(B) EndShadow]
    withheld B night A/- held B         [Held Run(A)]
    let-go B       A/- trial B        [TrialStarted Run(B) EndShadow]
    boot           A/- trial B        [RunMeanwhile(A) Run(B) Collect]
    withheld B busy A/- held B         [Held Run(A)]
    consent B      A/- trial B        [TrialStarted Run(B) EndShadow]
    withheld B busy A/- trial B        []
    passed B       B/A idle           [Committed Collect]
    ");
    // What answers where nothing was committed goes on, too, whatever becomes of its successor.
    let second =
        "assign A | downloaded A | staged A | consent A | assign B | downloaded B | staged B";
    insta::assert_snapshot!(replay(&format!("{second} | let-go B | withheld B busy | let-go B | unstartable B")), @r"
    assign A       -/- downloading A  [Assigned Download(A)]
    downloaded A   -/- staging A      [Downloaded Stage(A)]
    staged A       -/- held A         [Staged]
    consent A      -/- trial A        [TrialStarted Run(A) EndShadow]
    assign B       -/- downloading B  [Run(A) TrialCancelled Collect Assigned Download(B)]
    downloaded B   -/- staging B      [Downloaded Stage(B)]
    staged B       -/- held B         [Staged]
    let-go B       -/- trial B        [TrialStarted Run(B) EndShadow]
    withheld B busy -/- held B         [EndShadow Held Run(A)]
    let-go B       -/- trial B        [TrialStarted Run(B) EndShadow]
    unstartable B  -/- idle           [Run(A) RolledBack Collect]
    ");
    let other = replay(&format!("{second} | let-go B | assign C"));
    let goes_on = "[Run(A) TrialCancelled Collect Assigned Download(C)]\n";
    assert!(other.ends_with(goes_on), "{other}");
    assert_eq!(
        note(&format!("{held} | let-go B | withheld B night")),
        "pump B is held back: night"
    );
}

#[test]
fn what_makes_the_device_start_over_before_it_has_the_route_is_given_up_though_it_is_held_between()
{
    let once = "let-go B | boot | withheld B unknown";
    let often = [once; 4].join(" | ");
    let note = note(&format!("install A | assign B | downloaded B | staged B | {often}"));
    assert_eq!(note, "pump B: rolled back: the device started over 4 times during its trial");
}

#[test]
fn a_site_that_asks_for_more_is_heard_until_the_route_has_changed() {
    let go = "install A | assign B | downloaded B | staged B | let-go B";
    assert!(
        replay(&format!("{go} | policy 40"))
            .trim_end()
            .ends_with("shadow B       [Run(A) EndShadow Staged StartShadow(B)]")
    );
    assert_eq!(note(&format!("{go} | policy ask")), "pump B waits for a person to approve it");
    assert_eq!(note(&format!("{go} | policy")), "pump B on trial, 0 frames so far");
}
