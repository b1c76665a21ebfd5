//! What has passed its checks with another agent or another library is checked anew, before it answers.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![cfg(target_pointer_width = "64")] // Elsewhere there is one engine for such models.

mod bench;
#[path = "kit/scripted.rs"]
mod scripted;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::update::engines::Kept;
use lineside_agent::update::library::{Known, Library};
use lineside_agent::worker::message::{FromWorker, ToWorker};
use lineside_agent::worker::process::End;
use lineside_agent::worker::{Failed, SelfTestError, WorkerLimits, check_anew, has_other_engines};
use lineside_bundle::Digest;
use lineside_runtime::{Choice, Measured, Onnxruntime, SharedLibrary};
use scripted::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Limits under which another agent has kept that a release passes in this engine, with what it measured.
fn kept_before(folder: &Path, release: &StagedRelease, engine: &str) -> WorkerLimits {
    let limits = impatient(folder);
    let measured = Measured { engine: engine.into(), figures: BTreeMap::new() };
    let choice = Choice { models: BTreeMap::from([("judge".to_owned(), measured)]) };
    let kept = Kept { agent: "0.0.1".into(), ..Kept::of(judge(engine), None, choice) };
    limits.choices.keep(release.release.digest, kept).unwrap();
    limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_agent_has_kept_is_checked_in_that_engine_alone_and_nothing_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = kept_before(folder.path(), &release, "rten");
    let before = kept(&limits, &release).unwrap();
    let script = Scripted::new(|engine, message| well(engine, message, 100));
    let anew = check_anew(&release, &limits, None, script.clone()).await.unwrap();
    assert_eq!((anew.engines, anew.failed), (judge("rten"), vec![]));
    assert_eq!(script.asked(), "check rten");
    assert_eq!(kept(&limits, &release).unwrap(), Kept::of(judge("rten"), None, before.choice));
    assert!(limits.has_passed(&release));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_kept_engine_does_not_pass_any_more_the_first_other_that_does_takes_over() {
    for (fails, told) in [
        ((|| Does::Ends(End::Itself("it aborted".into()))) as fn() -> Does, "it aborted"),
        (|| Does::Hangs, "the checks took longer than"),
        (killed, "it was killed"),
        (|| Does::Says(FromWorker::Failed("it does not load".into())), "it does not load"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let release = with_model(folder.path());
        let limits = kept_before(folder.path(), &release, "rten");
        let script = Scripted::new(move |engine, message| match engine {
            "rten" => fails(),
            _ => well(engine, message, 100),
        });
        let anew = check_anew(&release, &limits, None, script.clone()).await.unwrap();
        assert_eq!(anew.engines, judge("tract"));
        let [failed] = anew.failed.as_slice() else { panic!("{:?}", anew.failed) };
        assert!(failed.starts_with("judge in rten: ") && failed.contains(told), "{failed}");
        let again = if told == "it was killed" { "check rten, " } else { "" };
        assert_eq!(script.asked(), format!("check rten, {again}check tract"));
        assert_eq!(kept(&limits, &release).unwrap().passed, judge("tract"));
        assert!(limits.has_passed(&release));
        // What was measured as the fastest is wanted again, but for one that answers otherwise now.
        let is_wanted = ["the checks took longer than", "it was killed"].contains(&told);
        assert_eq!(limits.untested(&release), is_wanted.then(|| judge("rten")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_engine_passes_any_more_each_is_tried_once_and_all_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = kept_before(folder.path(), &release, "rten");
    let before = kept(&limits, &release);
    let wrong = |_: &str, _: &ToWorker| Does::Says(FromWorker::Failed("it is wrong".into()));
    let script = Scripted::new(wrong);
    let limits = WorkerLimits { engine: Some("rten".into()), ..limits };
    let error = check_anew(&release, &limits, None, script.clone()).await.unwrap_err();
    assert!(matches!(error, SelfTestError::Refused(_)), "{error}");
    let all = "it passes its checks in no engine here: \
               judge in rten: it is wrong; judge in tract: it is wrong";
    assert_eq!(error.to_string(), all);
    assert_eq!(script.asked(), "check rten, check tract");
    assert_eq!(kept(&limits, &release), before, "it is as it was");

    // What did not load on the route is not tried.
    let failed = Failed { engines: judge("rten"), why: "it is wrong".into() };
    let anew = check_anew(&release, &limits, Some(failed), script.clone()).await;
    assert_eq!(anew.unwrap_err().to_string(), all);
    assert_eq!(script.asked(), "check tract");
    assert!(has_other_engines(&release, &limits, &judge("rten")));

    // While the library of an engine has not loaded yet it may be that one.
    let onnxruntime = Onnxruntime::Unusable("it has not loaded yet".into());
    let library = Library::of(Known { onnxruntime, digest: None, waits: true });
    let limits = WorkerLimits { library, ..limits };
    let error = check_anew(&release, &limits, None, script).await.unwrap_err();
    assert!(matches!(error, SelfTestError::Waits(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_names_its_engine_is_tried_in_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model_in(folder.path(), ", engine = 'rten'");
    let limits = kept_before(folder.path(), &release, "rten");
    assert!(!has_other_engines(&release, &limits, &judge("rten")));
    let wrong = |_: &str, _: &ToWorker| Does::Says(FromWorker::Failed("it is wrong".into()));
    let script = Scripted::new(wrong);
    let error = check_anew(&release, &limits, None, script.clone()).await.unwrap_err();
    assert!(error.to_string().ends_with("judge in rten: it is wrong"), "{error}");
    assert_eq!(script.asked(), "check rten");
}

#[test]
fn two_slots_with_the_same_release_keep_each_what_they_have_seen() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let all = worker_limits(folder.path());
    let [one, two] = ["one", "two"].map(|name| WorkerLimits {
        choices: all.choices.of_slot(&name.parse().unwrap()),
        ..all.clone()
    });
    let digest = release.release.digest;
    one.choices.keep(digest, Kept::of(judge("tract"), None, Choice::default())).unwrap();
    assert!(one.has_passed(&release) && !two.has_passed(&release));
    two.choices.keep(digest, Kept::of(judge("rten"), None, Choice::default())).unwrap();
    assert_eq!(one.bundle(&release).engines.chosen, judge("tract"));
    assert_eq!(two.bundle(&release).engines.chosen, judge("rten"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_of_a_library_is_not_believed_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = kept_before(folder.path(), &release, "onnxruntime");
    let shared = SharedLibrary { path: "/usr/lib/libonnxruntime.so".into(), digest: None };
    let onnxruntime = Onnxruntime::At(shared);
    let digest = Some(Digest::of(b"another"));
    let library = Library::of(Known { onnxruntime, digest, waits: false });
    let limits = WorkerLimits { library, ..limits };
    let script = Scripted::new(|engine, message| match engine {
        "onnxruntime" => Does::Says(FromWorker::Failed("it is wrong".into())),
        _ => well(engine, message, 100),
    });
    check_anew(&release, &limits, None, script.clone()).await.unwrap();
    assert_eq!(script.asked(), "check onnxruntime, check tract");
    let now = kept(&limits, &release).unwrap();
    assert_eq!(now, Kept::of(judge("tract"), digest, Choice::default()));
    assert_eq!(limits.untested(&release), None, "nobody wants that one any more");
}
