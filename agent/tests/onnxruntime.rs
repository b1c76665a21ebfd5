//! An engine in a shared library: tried out, measured and run by workers that are real processes.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod bench;
#[path = "../../tests/tests/library/mod.rs"]
mod library;

use bench::*;
use lineside_agent::update::engines::Kept;
use lineside_agent::update::library::{Known, Library};
use lineside_agent::worker::library::{FIRST_MAX, tried_out};
use lineside_agent::worker::message::{FromWorker, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::{WorkerLimits, check_anew, self_test};
use lineside_bundle::Digest;
use lineside_runtime::{Choice, Figure, Onnxruntime, SharedLibrary};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
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

/// What is known of a library when the slots begin.
async fn known(library: Option<SharedLibrary>, starter: Arc<dyn Starter>) -> Known {
    tried_out(library, starter, FIRST_MAX).await.0.now()
}

fn usable(library: SharedLibrary, digest: Option<Digest>) -> Known {
    Known { onnxruntime: Onnxruntime::At(library), digest, waits: false }
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
        let tried = known(Some(library), Arc::new(Programs)).await;
        let Onnxruntime::Unusable(told) = tried.onnxruntime else { panic!("{tried:?}") };
        assert_eq!((tried.digest, tried.waits), (None, false), "{told}");
        assert!(told.contains(&path.display().to_string()) && told.contains(why), "{told}");
    }
    assert_eq!(known(None, Arc::new(Programs)).await, Known::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_is_loaded_only_if_it_is_the_one_that_the_settings_want() {
    let library = library::library();
    let digest = Digest::of(&std::fs::read(&library.path).unwrap());
    let right = SharedLibrary { digest: Some(digest), ..library.clone() };
    for right in [right, library.clone()] {
        let tried = known(Some(right.clone()), Arc::new(Programs)).await;
        assert_eq!(tried, usable(right, Some(digest)));
    }
    let wrong = SharedLibrary { digest: Some(Digest::of(b"another")), ..library };
    let tried = known(Some(wrong), Arc::new(Programs)).await;
    let Onnxruntime::Unusable(told) = tried.onnxruntime else { panic!("{tried:?}") };
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
    let tried = known(Some(library.clone()), Arc::new(Full)).await;
    assert_eq!(tried, usable(library, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_measured_beside_the_others_and_runs_within_the_limits_of_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let library = Library::of(usable(library::library(), None));
    let limits = WorkerLimits { memory_mib_max: 256, library, ..worker_limits(folder.path()) };
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
    let limits = WorkerLimits { library: Library::default(), ..limits };
    let error = self_test(&release, &limits, Arc::new(Programs)).await.unwrap_err().to_string();
    assert!(error.contains("onnxruntime has all operators and is not installed here"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_passed_in_it_runs_in_another_engine_once_its_library_is_gone_and_the_checks_pass()
{
    let folder = tempfile::tempdir().unwrap();
    let release = with_model(folder.path());
    let judge = BTreeMap::from([("judge".to_owned(), "onnxruntime".to_owned())]);
    let shared = SharedLibrary { path: "/usr/lib/libonnxruntime.so".into(), digest: None };
    let one = Some(Digest::of(b"one"));
    let with = |digest| Library::of(usable(shared.clone(), digest));
    let limits = WorkerLimits { library: with(one), ..worker_limits(folder.path()) };
    let kept = Kept::of(judge, one, Choice::default());
    limits.choices.keep(release.release.digest, kept).unwrap();
    assert!(limits.has_passed(&release));
    let another = WorkerLimits { library: with(Some(Digest::of(b"two"))), ..limits.clone() };
    assert!(!another.has_passed(&release), "another library is another engine");
    let unknown = WorkerLimits { library: with(None), ..limits.clone() };
    assert!(unknown.has_passed(&release), "it could not be tried out now");

    let gone = WorkerLimits { library: Library::default(), memory_mib_max: 256, ..limits };
    assert!(!gone.has_passed(&release));
    check_anew(&release, &gone, None, Arc::new(Programs)).await.unwrap();
    assert!(gone.has_passed(&release));
    let kept = gone.choices.of(&release.release.digest).unwrap();
    assert!(["tract", "rten"].contains(&kept.passed["judge"].as_str()), "{kept:?}");
}

/// Workers that do not answer at first, and then say this of a library.
struct Busy {
    hangs: AtomicUsize,
    says: FromWorker,
}

impl Starter for Busy {
    fn start(&self) -> io::Result<Started> {
        let (stream, mut theirs) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let left = self.hangs.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            write(&mut theirs, &self.says)?;
        }
        std::thread::spawn(move || {
            // It goes on until nobody listens any more.
            let _ = io::copy(&mut theirs, &mut io::sink());
            let _ = tell.send(End::Itself("it was let go".into()));
        });
        Ok(Started { stream, ended, life: Life { _end: oneshot::channel().0 } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_is_slow_is_not_given_up_and_what_needs_it_hears_when_it_is_there() {
    let shared = SharedLibrary { path: "/usr/lib/libonnxruntime.so".into(), digest: None };
    let digest = Digest::of(b"library");
    for (says, then) in [
        (FromWorker::TriedOut(digest), Onnxruntime::At(shared.clone())),
        (FromWorker::Failed("it is none".into()), Onnxruntime::Unusable("it is none".into())),
    ] {
        let busy = Arc::new(Busy { hangs: AtomicUsize::new(4), says });
        let first_max = Duration::from_millis(50);
        let (library, patience) = tried_out(Some(shared.clone()), busy.clone(), first_max).await;
        let Known { onnxruntime, waits, .. } = library.now();
        assert!(waits && matches!(onnxruntime, Onnxruntime::Unusable(_)), "{onnxruntime:?}");
        let going_on = tokio::spawn(patience.unwrap().go_on());
        library.settled().await;
        assert_eq!(busy.hangs.load(Relaxed), 0);
        assert_eq!(library.now().onnxruntime, then);
        assert!(!going_on.is_finished(), "who is watched does not end");
        going_on.abort();
    }
}
