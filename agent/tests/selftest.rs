//! A release's checks are replayed in a worker of their own, which tells what that took.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::{SelfTestError, self_test};
use lineside_bundle::BundleFile;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
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
