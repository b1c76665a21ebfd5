//! An engine in a shared library: tried out, measured and run by workers that are real processes.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;
#[path = "../../tests/tests/library/mod.rs"]
mod library;

use bench::*;
use lineside_agent::update::engines::Kept;
use lineside_agent::worker::library::tried_out;
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{WorkerLimits, self_test};
use lineside_bundle::Digest;
use lineside_runtime::{Figure, Onnxruntime, SharedLibrary};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Starts the agent's own program as a worker. Such a worker ends with its socket.
struct Programs;

impl Starter for Programs {
    fn start(&self) -> io::Result<Started> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut worker = Command::new(env!("CARGO_BIN_EXE_lineside-agent"))
            .arg("worker")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let (tell, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let status = worker.wait().unwrap();
            let _ = tell.send(End::Itself(format!("it ended with {status}")));
        });
        Ok(Started { stream, ended, life: Life { _end: oneshot::channel().0 } })
    }
}

/// A shared library made of this C.
fn compiled(folder: &Path, name: &str, code: &str) -> PathBuf {
    let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    std::fs::write(&source, code).unwrap();
    let mut compile = Command::new("cc");
    let built = compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("cc (Debian: apt-get install gcc)").success());
    library
}

/// A library with the entry of onnxruntime's that says this version, and has no interface to give.
fn of_version(version: &str) -> String {
    format!(
        "static const void *interface(unsigned v) {{ return 0; }}\n\
         static const char *version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void *(*i)(unsigned); const char *(*v)(void); }} base =\n\
           {{ interface, version }};\n\
         const void *OrtGetApiBase(void) {{ return &base; }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_cannot_be_used_is_told_and_takes_nobody_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("text.so"), "a text, and no library at all\n".repeat(9)).unwrap();
    let early = "void __attribute__((constructor)) early(void)";
    for (path, why) in [
        (folder.join("missing.so"), "No such file"),
        (folder.join("text.so"), "invalid ELF header"),
        (compiled(folder, "other", "int something;"), "it is no onnxruntime"),
        (compiled(folder, "old", &of_version("1.16.3")), "it is version 1.16.3, 1.17 or later"),
        (compiled(folder, "odd", &of_version("1.99.0")), "the engine gave up: "),
        (
            compiled(folder, "crash", &format!("{early} {{ *(volatile int *)0 = 1; }}")),
            "does not live: it ended with signal: 11",
        ),
        (
            compiled(folder, "leave", &format!("#include <stdlib.h>\n{early} {{ exit(3); }}")),
            "does not live: it ended with exit status: 3",
        ),
    ] {
        let library = SharedLibrary { path: path.clone(), digest: None };
        let (tried, is) = tried_out(Some(library), Arc::new(Programs)).await;
        let Onnxruntime::Unusable(told) = tried else { panic!("{tried:?}") };
        assert_eq!(is, None, "{told}");
        assert!(told.contains(&path.display().to_string()) && told.contains(why), "{told}");
    }
    assert_eq!(tried_out(None, Arc::new(Programs)).await, (Onnxruntime::Absent, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_is_loaded_only_if_it_is_the_one_that_the_settings_want() {
    let library = library::library();
    let digest = Digest::of(&std::fs::read(&library.path).unwrap());
    let right = SharedLibrary { digest: Some(digest), ..library.clone() };
    for right in [right, library.clone()] {
        let tried = tried_out(Some(right.clone()), Arc::new(Programs)).await;
        assert_eq!(tried, (Onnxruntime::At(right), Some(digest)));
    }
    let wrong = SharedLibrary { digest: Some(Digest::of(b"another")), ..library };
    let (tried, _) = tried_out(Some(wrong), Arc::new(Programs)).await;
    let Onnxruntime::Unusable(told) = tried else { panic!("{tried:?}") };
    let wanted = format!("its digest is {digest}, {} is wanted", Digest::of(b"another"));
    assert!(told.ends_with(&wanted), "{told}");
}

/// A machine that starts no process now.
struct Full;

impl Starter for Full {
    fn start(&self) -> io::Result<Started> {
        Err(io::Error::other("there are too many"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_cannot_be_tried_out_now_is_not_given_up() {
    let library = SharedLibrary { path: "/usr/lib/libonnxruntime.so".into(), digest: None };
    let tried = tried_out(Some(library.clone()), Arc::new(Full)).await;
    assert_eq!(tried, (Onnxruntime::At(library), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_measured_beside_the_others_and_runs_within_the_limits_of_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let onnxruntime = Onnxruntime::At(library::library());
    let limits = WorkerLimits { memory_mib_max: 256, onnxruntime, ..worker_limits(folder.path()) };
    let took = self_test(&release, &limits, Arc::new(Programs)).await.unwrap();
    let Kept { passed, choice, .. } = limits.choices.of(&release.release.digest).unwrap();
    let figure = &choice.models["judge"].figures["onnxruntime"];
    assert!(matches!(figure, Figure::Timed { .. }), "{choice}");
    assert!(took.engines.contains("onnxruntime ") && took.engines.contains("tract "), "{took}");
    assert_eq!(passed["judge"], choice.models["judge"].engine);

    // By the settings of the slot it is the only one, in a worker that has no more than the bundle asks.
    let limits = WorkerLimits { engine: Some("onnxruntime".into()), ..limits };
    let took = self_test(&release, &limits, Arc::new(Programs)).await.unwrap();
    assert!(took.frames > 0 && took.memory_mib.is_some_and(|mib| mib < 64.0), "{took:?}");

    // Without its library there is nothing that may run it: no other engine steps in unasked.
    let limits = WorkerLimits { onnxruntime: Onnxruntime::Absent, ..limits };
    let error = self_test(&release, &limits, Arc::new(Programs)).await.unwrap_err().to_string();
    assert!(error.contains("onnxruntime has all operators and is not installed here"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_passed_in_it_runs_in_another_engine_once_its_library_is_gone_and_the_checks_pass()
{
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let judge = BTreeMap::from([("judge".to_owned(), "onnxruntime".to_owned())]);
    let library = Some(Digest::of(b"one"));
    let onnxruntime =
        Onnxruntime::At(SharedLibrary { path: "/usr/lib/libonnxruntime.so".into(), digest: None });
    let limits = WorkerLimits { onnxruntime, library, ..worker_limits(folder.path()) };
    let kept = Kept { passed: judge, library, ..Kept::default() };
    limits.choices.keep(release.release.digest, kept).unwrap();
    assert!(limits.has_passed(&release));
    let another = WorkerLimits { library: Some(Digest::of(b"two")), ..limits.clone() };
    assert!(!another.has_passed(&release), "another library is another engine");
    let unknown = WorkerLimits { library: None, ..limits.clone() };
    assert!(unknown.has_passed(&release), "it could not be tried out now");

    let gone = WorkerLimits {
        onnxruntime: Onnxruntime::Absent,
        library: None,
        memory_mib_max: 256,
        ..limits
    };
    assert!(!gone.has_passed(&release));
    self_test(&release, &gone, Arc::new(Programs)).await.unwrap();
    assert!(gone.has_passed(&release));
    let kept = gone.choices.of(&release.release.digest).unwrap();
    assert!(["tract", "rten"].contains(&kept.passed["judge"].as_str()), "{kept:?}");
}
