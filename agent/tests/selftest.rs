//! A release's checks are replayed in a worker of their own, which tells what that took.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;
#[path = "kit/scripted.rs"]
mod scripted;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::update::engines::Kept;
use lineside_agent::worker::message::{Checked, FromWorker, ToWorker};
use lineside_agent::worker::process::End;
use lineside_agent::worker::{SelfTestError, WorkerLimits, self_test, self_test_in};
use lineside_bundle::{BundleFile, build_with_operators};
use lineside_runtime::{Choice, ENGINES, Figure};
use scripted::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A release with a check of so many readings, four a frame, of which the answers are as `expected` says.
fn checked(folder: &Path, readings: u32, expected: fn(u32) -> u32) -> StagedRelease {
    let check = "\n[[checks]]\nname = 'january'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n";
    let text = toml::to_string(&release("1", "").manifest.bundle).unwrap();
    let text = text.replace("checks = []\n", "") + check;
    let bundle = BundleFile::parse(&text).unwrap();
    let rows: String = (0..readings).map(|row| format!("a,{row}\n")).collect();
    let line = |frame: u32| {
        let x = expected(frame);
        format!("{{\"key\":\"a\",\"frame\":{frame},\"outputs\":{{\"x\":{x}.0,\"alarm\":false}}}}\n")
    };
    let answers: String = (0..readings / 4).map(line).collect();
    let files = [("in.csv", format!("k,x\n{rows}")), ("out.jsonl", answers)];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    staged_in(folder, bundle, BTreeMap::from(files))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_tells_what_a_frame_and_the_whole_of_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let release = checked(folder.path(), 200, |frame| 4 * frame + 3);
    let threads = Arc::new(Threads::default());
    let took = self_test(&release, &worker_limits(folder.path()), threads).await.unwrap();
    // The first of fifty is cold.
    assert_eq!(took.frames, 49);
    assert!(took.p50 <= took.p95 && took.p95 <= took.longest, "{took:?}");
    assert!(took.first > Duration::ZERO && took.longest > Duration::ZERO, "{took:?}");
    assert!(took.load > Duration::ZERO);
    assert!(took.processor.is_some(), "{took:?}");
    assert!(took.memory_mib.is_some_and(|mib| mib > 0.0), "{took:?}");
    assert!(took.to_string().starts_with("49 frames, p95 "), "{took}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_answers_otherwise_here_is_refused_by_the_frame() {
    let folder = tempfile::tempdir().unwrap();
    let release = checked(folder.path(), 40, |frame| 4 * frame + u32::from(frame != 7) * 3);
    let threads = Arc::new(Threads::default());
    let error = self_test(&release, &worker_limits(folder.path()), threads).await.unwrap_err();
    assert!(matches!(error, SelfTestError::Refused(_)), "{error}");
    assert!(error.to_string().contains("x of frame 7 of \"a\" is 31, expected 28"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_are_measured_where_a_release_is_staged_and_the_choice_is_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let threads = Arc::new(Threads::default());
    let limits = worker_limits(folder.path());
    assert!(!limits.has_passed(&release));
    let took = self_test(&release, &limits, threads.clone()).await.unwrap();
    let Kept { passed, choice, .. } = kept(&limits, &release).unwrap();
    let measured = &choice.models["judge"];
    // The one for classical models does not run this one.
    let here = ENGINES.iter().filter(|engine| engine.absence().is_none());
    for engine in here.filter(|engine| engine.name() != "classical") {
        let figure = &measured.figures[engine.name()];
        assert!(matches!(figure, Figure::Timed { .. }), "{}: {figure:?}", engine.name());
    }
    assert_eq!(passed, judge(&measured.engine));
    assert!(took.frames > 0 && took.memory_mib.is_some_and(|mib| mib > 0.0), "{took:?}");
    let told = format!("; judge runs in {}: ", measured.engine);
    assert!(took.to_string().contains(&told), "{took}");
    assert_eq!(limits.bundle(&release).engines.chosen, passed);
    assert!(limits.has_passed(&release));

    // Where the device's settings say which, there is nothing to choose, and nothing to tell.
    let limits = WorkerLimits { engine: Some("tract".into()), ..limits };
    assert_eq!(self_test(&release, &limits, threads).await.unwrap().engines, "");
    let kept = kept(&limits, &release).unwrap();
    assert_eq!(kept, Kept::of(judge("tract"), None, Choice::default()));
}

/// A release whose model computes in halves, in which its check has no answer: the root of what is
/// squared is right in an engine that computes in more than its model asks for.
#[cfg(target_pointer_width = "64")]
fn in_halves(folder: &Path) -> StagedRelease {
    let model = include_bytes!("../../tests/models/halves.onnx").to_vec();
    let bundle = BundleFile::parse(
        "format = 1\nname = 'halves'\nversion = '1'\n\
         inputs.p = { key = 'k', rate_hz = 1.0, fields = [{ name = 'a' }] }\n\
         stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
         stages.judge = { kind = 'model', file = 'm.onnx', inputs = { x = 'w' } }\n\
         outputs.y.from = 'judge.y'\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n",
    );
    let used = operators(&model);
    let line = |frame: u32, y: u32| {
        format!("{{\"key\":\"s\",\"frame\":{frame},\"outputs\":{{\"y\":{y}.0}}}}\n")
    };
    let files = BTreeMap::from([
        ("m.onnx".to_owned(), model),
        ("in.csv".to_owned(), b"k,a\ns,3.0\ns,300.0\n".to_vec()),
        ("out.jsonl".to_owned(), (line(0, 3) + &line(1, 300)).into_bytes()),
    ]);
    laid(folder, &build_with_operators(bundle.unwrap(), files, used).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn where_the_first_engine_fails_the_checks_the_one_that_passes_is_kept_told_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let release = in_halves(folder.path());
    let threads = Arc::new(Threads::default());
    let limits = worker_limits(folder.path());
    let took = self_test(&release, &limits, threads.clone()).await.unwrap();
    assert!(took.engines.starts_with("judge runs in rten: rten "), "{took}");
    assert!(took.engines.contains(" ms a frame, tract not: check own: frame 1 "), "{took}");
    assert_eq!(limits.bundle(&release).engines.chosen, judge("rten"));

    // Where the settings say an engine in which it does not pass, it is refused.
    let limits = WorkerLimits { engine: Some("tract".into()), ..limits };
    let error = self_test(&release, &limits, threads).await.unwrap_err().to_string();
    assert!(error.contains("frame 1 of \"s\" has no answer"), "{error}");
    assert_eq!(limits.bundle(&release).engines.chosen, judge("rten"), "it is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn an_engine_that_settings_want_later_runs_a_release_only_once_it_passes_the_checks_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let release = in_halves(folder.path());
    let threads = Arc::new(Threads::default());
    let limits = worker_limits(folder.path());
    let engine = |engine: &str| WorkerLimits { engine: Some(engine.into()), ..limits.clone() };
    self_test(&release, &engine("rten"), threads.clone()).await.unwrap();
    assert_eq!(engine("rten").untested(&release), None);
    // The line was taken out: nobody wants another one.
    assert_eq!(limits.untested(&release), None);
    for wrong in ["tract", "classical", "abacus"] {
        let wanted = engine(wrong).untested(&release).unwrap();
        assert_eq!(wanted, judge(wrong));
        assert_eq!(engine(wrong).bundle(&release).engines.chosen, judge("rten"));
        let tried = self_test_in(wanted, &release, &engine(wrong), threads.clone()).await;
        assert!(matches!(tried, Err(SelfTestError::Refused(_))), "{wrong}: {tried:?}");
        assert_eq!(engine(wrong).bundle(&release).engines.chosen, judge("rten"));
    }

    // One in which it passes takes over, and what was measured then is not lost.
    let release = with_model(folder.path());
    self_test(&release, &limits, threads.clone()).await.unwrap();
    let first = kept(&limits, &release).unwrap();
    let other = if first.passed == judge("tract") { "rten" } else { "tract" };
    let wanted = engine(other).untested(&release).unwrap();
    self_test_in(wanted, &release, &engine(other), threads).await.unwrap();
    let now = kept(&limits, &release).unwrap();
    assert_eq!(now, Kept { passed: judge(other), ..first.clone() });
    assert_eq!(engine(other).untested(&release), None);
    assert_eq!(limits.untested(&release), Some(first.passed), "what was measured is wanted again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_here_any_more_counts_as_one_in_which_nothing_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = worker_limits(folder.path());
    let passed = |engine| Kept::of(judge(engine), None, Choice::default());
    for (engine, holds) in [("abacus", false), ("classical", false), ("tract", true)] {
        limits.choices.keep(release.release.digest, passed(engine)).unwrap();
        assert_eq!(limits.has_passed(&release), holds, "{engine}");
    }
    let before = Kept { agent: "0.0.1".into(), ..passed("tract") };
    limits.choices.keep(release.release.digest, before).unwrap();
    assert!(!limits.has_passed(&release), "another agent has other engines of the same names");
    // And a worker does not take another one in its place.
    limits.choices.keep(release.release.digest, passed("abacus")).unwrap();
    let error = lineside_agent::worker::serve::load(&limits.bundle(&release)).err().unwrap();
    assert!(error.contains("there is no engine abacus here"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn an_engine_that_dies_hangs_or_is_killed_over_a_model_leaves_it_to_the_next_one() {
    for (fails, told) in [
        ((|| Does::Ends(End::Itself("it aborted".into()))) as fn() -> Does, "it aborted"),
        (|| Does::Hangs, "the checks took longer than"),
        (killed, "it was killed"),
        (|| Does::Says(FromWorker::Failed("check own: it is wrong".into())), "it is wrong"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let release = with_model(folder.path());
        let limits = impatient(folder.path());
        let script = Scripted::new(move |engine, message| match engine {
            "tract" => fails(),
            _ => well(engine, message, 100),
        });
        let took = self_test(&release, &limits, script.clone()).await.unwrap();
        assert_eq!(kept(&limits, &release).unwrap().passed, judge("rten"), "{told}");
        let start = "judge runs in rten: rten 0.100 ms a frame, tract not: ";
        assert!(took.engines.starts_with(start) && took.engines.contains(told), "{took}");
        // Each engine has a worker of its own, with the memory that it would have on the route.
        let memory = BTreeSet::from([release.manifest.bundle.limits.memory_mib]);
        assert_eq!(*script.memory_mib.lock().unwrap(), memory);
        let asked = script.asked();
        assert!(asked.ends_with("check tract, check rten, time rten, time rten"), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn whatever_becomes_of_another_engine_the_first_that_passes_stays() {
    for fails in [
        (|| Does::Ends(End::Itself("it aborted".into()))) as fn() -> Does,
        || Does::Hangs,
        killed,
        || Does::Says(FromWorker::Loaded),
    ] {
        for while_timed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let release = with_model(folder.path());
            let limits = impatient(folder.path());
            let script = Scripted::new(move |engine, message| match (engine, message) {
                ("rten", ToWorker::Time(..)) if while_timed => fails(),
                // It is the faster one, and its answers are looked at.
                ("rten", ToWorker::Check(_)) => fails(),
                ("rten", _) => well(engine, message, 10),
                _ => well(engine, message, 100),
            });
            let took = self_test(&release, &limits, script.clone()).await.unwrap();
            assert_eq!(kept(&limits, &release).unwrap().passed, judge("tract"));
            assert!(took.engines.starts_with("judge runs in tract: rten not: "), "{took}");
            assert!(took.engines.ends_with("tract 0.100 ms a frame"), "{took}");
            let last = if while_timed { "time tract" } else { "check rten" };
            assert!(script.asked().ends_with(last));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn a_worker_that_is_killed_once_says_nothing_of_its_engine_and_nothing_of_the_release() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = impatient(folder.path());
    let first = Mutex::new(true);
    let script =
        Scripted::new(move |engine, message| match std::mem::take(&mut *first.lock().unwrap()) {
            true => killed(),
            false => well(engine, message, 100),
        });
    self_test(&release, &limits, script).await.unwrap();
    assert_eq!(kept(&limits, &release).unwrap().passed, judge("tract"));

    // Where every one is killed it is the machine, and it is tried again later.
    let limits = impatient(folder.path());
    let script = Scripted::new(|_, _| killed());
    let tried = self_test(&release, &limits, script.clone()).await;
    assert!(matches!(tried, Err(SelfTestError::Killed(_))), "{tried:?}");
    assert_eq!(script.asked(), "check tract, check tract, check rten, check rten");
    assert_eq!(kept(&limits, &release), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_pointer_width = "64")]
async fn another_engine_is_chosen_only_if_it_is_faster_at_the_best_of_times() {
    for (tract, rten, chosen) in [
        // At first the machine had something else to do.
        ([1000, 100], [95, 90], "tract"),
        ([100, 1000], [90, 95], "tract"),
        ([100, 110], [50, 1000], "rten"),
        ([100, 100], [100, 100], "tract"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let release = with_model(folder.path());
        let limits = impatient(folder.path());
        let turns = Mutex::new(BTreeMap::new());
        let script = Scripted::new(move |engine, message| {
            let ToWorker::Time(bundle, _) = message else { return well(engine, message, 0) };
            assert_eq!(bundle.engines.chosen, judge("tract"), "frames come from what passed");
            let mut turns = turns.lock().unwrap();
            let turn = turns.entry(engine.to_owned()).or_insert(0);
            *turn += 1;
            well(engine, message, if engine == "tract" { tract } else { rten }[*turn - 1])
        });
        self_test(&release, &limits, script.clone()).await.unwrap();
        let kept = kept(&limits, &release).unwrap();
        assert_eq!(kept.passed, judge(chosen), "{}", kept.choice);
        let asked = script.asked();
        let timed = "check tract, time rten, time tract, time rten, time tract";
        let checked = if chosen == "rten" { ", check rten" } else { "" };
        assert_eq!(asked, format!("{timed}{checked}"), "what wins has passed the checks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_names_engines_in_which_it_cannot_have_been_is_believed_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = impatient(folder.path());
    let checked = |engines: &[(&str, &str)]| {
        let engines = engines.iter().map(|(stage, engine)| ((*stage).into(), (*engine).into()));
        FromWorker::Checked(Checked { engines: engines.collect(), ..Checked::default() })
    };
    for lie in [
        checked(&[("judge", "abacus")]),
        checked(&[("judge", "classical")]),
        checked(&[("w", "tract")]),
        checked(&[]),
        checked(&[("judge", "tract"), ("w", "tract")]),
        FromWorker::Loaded,
    ] {
        let said = lie.clone();
        let script = Scripted::new(move |_, _| Does::Says(said.clone()));
        let tried = self_test(&release, &limits, script).await;
        assert!(matches!(tried, Err(SelfTestError::Died(_))), "{lie:?}: {tried:?}");
        assert_eq!(kept(&limits, &release), None);
    }
}
