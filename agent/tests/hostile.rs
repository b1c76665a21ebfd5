//! A release whose model has no bound: staging ends with an error, within the memory and the time that the
//! device gives, and nothing but the worker that tried it is gone.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;
#[path = "../../tests/hostile/src/giants.rs"]
mod giants;
mod programs;

use bench::*;
use lineside_agent::update::StagedRelease;
use lineside_agent::worker::{SelfTestError, WorkerLimits, self_test};
use lineside_bundle::{BundleFile, build_with_operators};
use programs::Programs;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker may take to try an engine. The longest that one has to be waited for.
const SELF_TEST: Duration = Duration::from_secs(6);
/// Engines that may be tried one after the other, and what else it takes beside other tests.
const TRIED: u32 = 3;

/// A release that asks this model about each reading, and is checked by one of them.
fn release(folder: &Path, model: Vec<u8>) -> StagedRelease {
    let bundle = BundleFile::parse(
        "format = 1\nname = 'strange'\nversion = '1'\n\
         inputs.p = { rate_hz = 1.0, fields = [{ name = 'x' }] }\n\
         stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
         stages.judge = { kind = 'model', file = 'm.onnx', inputs = { x = 'w' } }\n\
         outputs.y.from = 'judge.y'\n\
         [limits]\nmemory_mib = 64\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n",
    );
    // Whoever builds a hostile bundle need not say what is in its model.
    let operators = BTreeMap::new();
    let files = BTreeMap::from([
        ("m.onnx".to_owned(), model),
        ("in.csv".to_owned(), b"x\n1.5\n".to_vec()),
        ("out.jsonl".to_owned(), b"{\"frame\":0,\"outputs\":{\"y\":1.5}}\n".to_vec()),
    ]);
    laid(folder, &build_with_operators(bundle.unwrap(), files, operators).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_bound_ends_with_an_error_where_it_is_staged() {
    for (name, model) in giants::giants() {
        let folder = tempfile::tempdir().unwrap();
        let release = release(folder.path(), model);
        let limits = WorkerLimits { self_test: SELF_TEST, ..worker_limits(folder.path()) };
        let began = Instant::now();
        let error = self_test(&release, &limits, Arc::new(Programs)).await.unwrap_err();
        let took = began.elapsed();
        assert!(took < SELF_TEST * TRIED + Duration::from_secs(10), "{name}: {took:?}, {error}");
        let is_its_own = matches!(
            error,
            SelfTestError::Refused(_) | SelfTestError::Died(_) | SelfTestError::Slow(_)
        );
        assert!(is_its_own, "{name}: {error}");
        println!("{name}: {took:.1?}, {error}");
    }
}
