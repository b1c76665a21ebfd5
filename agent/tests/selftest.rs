//! A release's checks are replayed in a worker of their own, which tells what that took.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::message::{FromWorker, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{SelfTestError, WorkerLimits, choose_engines, self_test};
use lineside_bundle::{BundleFile, build_with_operators};
use lineside_runtime::{
    Choice, ENGINES, Figure, LoadOptions, Measured, MemoryFiles, OnnxModel, record,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

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

/// The operators of `m.onnx`, as a bundle's manifest tells them.
fn operators(model: &[u8]) -> BTreeMap<String, BTreeSet<String>> {
    let model = OnnxModel::read(model).unwrap();
    let operators = model.facts().operators.iter().map(ToString::to_string);
    BTreeMap::from([("m.onnx".to_owned(), operators.collect())])
}

/// A release with a model that every engine runs, and a check of its own answers.
fn with_model(folder: &Path) -> StagedRelease {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/turbine/models/turbine-v1.onnx");
    let model = std::fs::read(model).unwrap();
    let bundle = BundleFile::parse(
        "format = 1\nname = 'turbine'\nversion = '1'\n\
         inputs.p = { key = 'k', rate_hz = 1.0, fields = [{ name = 'a' }, { name = 'b' }, \
         { name = 'c' }, { name = 'd' }, { name = 'e' }] }\n\
         stages.w = { kind = 'window', input = 'p', rows = 6, stride = 6 }\n\
         stages.judge = { kind = 'model', file = 'm.onnx', inputs = { window = 'w' } }\n\
         outputs.score.from = 'judge.score'\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n\
         tolerance.score = { absolute = 1e-3, relative = 1e-3 }\n",
    );
    let bundle = bundle.unwrap();
    let row = |row: u32| format!("a,{}.5,{row}.0,1.0,2.0,3.0\n", row % 7);
    let rows: String = (0..120).map(row).collect();
    let used = operators(&model);
    let mut files = BTreeMap::from([
        ("m.onnx".to_owned(), model),
        ("in.csv".to_owned(), format!("k,a,b,c,d,e\n{rows}").into_bytes()),
        ("out.jsonl".to_owned(), vec![]),
    ]);
    let built = build_with_operators(bundle.clone(), files.clone(), used.clone()).unwrap();
    let check = &built.manifest.bundle.checks[0];
    let own = record(&built.manifest, &MemoryFiles(&built), check, &LoadOptions::default());
    files.insert("out.jsonl".to_owned(), own.unwrap().into_bytes());
    laid(folder, &build_with_operators(bundle, files, used).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_are_measured_where_a_release_is_staged_and_the_choice_is_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let threads = Arc::new(Threads::default());
    let limits = worker_limits(folder.path());
    choose_engines(&release, &limits, threads.clone()).await.unwrap();
    let choice = limits.choices.of(&release.release.digest);
    let measured = &choice.models["judge"];
    // The one for classical models does not run this one.
    for engine in ENGINES.iter().filter(|engine| engine.name() != "classical") {
        let figure = &measured.figures[engine.name()];
        assert!(matches!(figure, Figure::Timed { .. }), "{}: {figure:?}", engine.name());
    }
    assert_eq!(limits.bundle(&release).engines.chosen["judge"], measured.engine);
    let took = self_test(&release, &limits, threads.clone()).await.unwrap();
    let told = format!("; judge runs in {}: ", measured.engine);
    assert!(took.to_string().contains(&told), "{took}");

    // Where the device's settings say which, there is nothing to choose, and nothing to tell.
    let limits = WorkerLimits { engine: Some("tract".into()), ..limits };
    choose_engines(&release, &limits, threads.clone()).await.unwrap();
    assert_eq!(limits.choices.of(&release.release.digest), choice);
    assert_eq!(limits.bundle(&release).engines.site.as_deref(), Some("tract"));
    assert_eq!(self_test(&release, &limits, threads).await.unwrap().engines, "");
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
    let refused = |error: SelfTestError| {
        let error = error.to_string();
        assert!(error.contains("frame 1 of \"s\" has no answer"), "{error}");
    };
    refused(self_test(&release, &limits, threads.clone()).await.unwrap_err());
    choose_engines(&release, &limits, threads.clone()).await.unwrap();
    let took = self_test(&release, &limits, threads.clone()).await.unwrap();
    assert!(took.engines.starts_with("judge runs in rten: rten "), "{took}");
    assert!(took.engines.contains(" ms a frame, tract not: check own: frame 1 "), "{took}");

    // What the device's settings say holds, whatever the checks say of it.
    let limits = WorkerLimits { engine: Some("tract".into()), ..limits };
    choose_engines(&release, &limits, threads.clone()).await.unwrap();
    refused(self_test(&release, &limits, threads).await.unwrap_err());
}

/// Starts workers that say this, whatever they are asked.
struct Saying(FromWorker);

impl Starter for Saying {
    fn start(&self) -> std::io::Result<Started> {
        let (stream, mut theirs) = UnixStream::pair()?;
        write(&mut theirs, &self.0)?;
        // It goes on until nobody listens any more.
        let (tell, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut theirs, &mut std::io::sink());
            let _ = tell.send(End::Itself("it was let go".into()));
        });
        Ok(Started { stream, ended, life: Life { _end: oneshot::channel().0 } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_chooses_what_there_is_not_has_its_release_refused_and_nothing_kept() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = worker_limits(folder.path());
    let measured = |engine: &str| Measured { engine: engine.into(), figures: BTreeMap::new() };
    let choice = |stage: &str, engine| {
        let models = BTreeMap::from([(stage.to_owned(), measured(engine))]);
        FromWorker::Chosen(Choice { models })
    };
    for lie in [choice("judge", "abacus"), choice("w", "tract"), FromWorker::Loaded] {
        let chosen = choose_engines(&release, &limits, Arc::new(Saying(lie.clone()))).await;
        assert!(matches!(chosen, Err(SelfTestError::Died(_))), "{lie:?}: {chosen:?}");
        assert_eq!(limits.choices.of(&release.release.digest), Choice::default());
    }
    choose_engines(&release, &limits, Arc::new(Saying(choice("judge", "tract")))).await.unwrap();
    assert_eq!(limits.choices.of(&release.release.digest).models["judge"], measured("tract"));
}

/// Starts workers that are gone at once.
struct Dying;

impl Starter for Dying {
    fn start(&self) -> std::io::Result<Started> {
        let (stream, _) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let _ = tell.send(End::Itself("it was ended by signal 11".into()));
        Ok(Started { stream, ended, life: Life { _end: oneshot::channel().0 } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_over_a_model_leaves_the_release_to_the_first_that_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let limits = worker_limits(folder.path());
    choose_engines(&release, &limits, Arc::new(Dying)).await.unwrap();
    assert_eq!(limits.choices.of(&release.release.digest), Choice::default());
    assert!(self_test(&release, &limits, Arc::new(Threads::default())).await.is_ok());
}
