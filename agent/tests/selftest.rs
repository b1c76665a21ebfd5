//! A release's checks are replayed in a worker of their own, which tells what that took.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{SelfTestError, WorkerLimits, choose_engines, self_test};
use lineside_bundle::{BundleFile, build_with_operators};
use lineside_runtime::{Choice, ENGINES, Figure, LoadOptions, MemoryFiles, OnnxModel, record};
use std::collections::BTreeMap;
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
    let used = OnnxModel::read(&model)
        .unwrap()
        .facts()
        .operators
        .iter()
        .map(ToString::to_string)
        .collect();
    let used = BTreeMap::from([("m.onnx".to_owned(), used)]);
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
    for engine in ENGINES {
        let figure = &measured.figures[engine.name()];
        assert!(matches!(figure, Figure::Timed { .. }), "{}: {figure:?}", engine.name());
    }
    assert_eq!(limits.bundle(&release).engines.chosen["judge"], measured.engine);
    let took = self_test(&release, &limits, threads.clone()).await.unwrap();
    let told = format!("; judge runs in {}: ", measured.engine);
    assert!(took.to_string().contains(&told), "{took}");

    // Where the device's settings say which, there is nothing to choose.
    let limits = WorkerLimits { engine: Some("tract".into()), ..worker_limits(folder.path()) };
    choose_engines(&release, &limits, threads.clone()).await.unwrap();
    assert_eq!(limits.choices.of(&release.release.digest), Choice::default());
    assert_eq!(limits.bundle(&release).engines.site.as_deref(), Some("tract"));
    assert_eq!(self_test(&release, &limits, threads).await.unwrap().engines, "");
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
