//! Work on files of strangers with bounded memory and time: in a process of its own, because an engine
//! that has no memory left, or is broken by a model, takes its process with it, and because nothing but
//! the end of its process ends one that computes for ever.

use crate::output::Output;
use anyhow::{Context, anyhow, bail};
use lineside_runtime::is_contained;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::num::NonZeroU32;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Says to this program that it is the process of its own that it has started.
const APART: &str = "LINESIDE_APART";
/// Memory that a process may have which looks at one model, or one plugin.
pub const MODEL_BYTES_MAX: u64 = 4 << 30;
/// Longest that models may compute for one thing unless somebody says so: to load, or for one answer.
pub const SECONDS: NonZeroU32 = NonZeroU32::new(60).expect("a minute is not nought");
/// Longest that all checks of a bundle may take. A device gives them five minutes unless it is told
/// otherwise.
const CHECKS_TIME_MAX: Duration = Duration::from_secs(1800);
/// Bytes of what it tells.
const TOLD_BYTES_MAX: u64 = 16 << 20;
/// How the standard library begins what it says when there is no memory.
const NO_MEMORY: &str = "memory allocation of ";
/// As a shell would name them.
const SIGNALS: [(i32, &str); 4] = [
    (Signal::ABORT.as_raw(), "SIGABRT"),
    (Signal::SEGV.as_raw(), "SIGSEGV"),
    (Signal::BUS.as_raw(), "SIGBUS"),
    (Signal::ILL.as_raw(), "SIGILL"),
];

/// Has this program do something in a process of its own, and gives what it tells in JSON.
///
/// # Errors
/// What it says went wrong, or how it ended.
pub fn run<T: DeserializeOwned>(arguments: &[OsString], time_max: Duration) -> anyhow::Result<T> {
    let program = std::env::current_exe().context("this program does not find itself")?;
    let mut child = Command::new(program)
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start a process for it")?;
    let ended = told(&mut child, time_max);
    // It may have said all it had to say and go on all the same.
    let _ = child.kill();
    let status = child.wait().context("cannot wait for its process")?;
    let Some((stdout, stderr)) = ended else {
        bail!("it takes longer than {} s", time_max.as_secs());
    };
    let answer: Option<Value> = serde_json::from_slice(&stdout).ok();
    if let Some(error) = answer.as_ref().and_then(|answer| answer["error"].as_str()) {
        bail!("{error}");
    }
    if let Some(answer) = answer {
        return serde_json::from_value(answer).context("its process told something else");
    }
    if String::from_utf8_lossy(&stderr).contains(NO_MEMORY) {
        bail!("it needs more than {} GiB of memory", MODEL_BYTES_MAX >> 30);
    }
    match signal(status) {
        Some(signal) => bail!("it crashed ({signal})"),
        None => bail!("its process ended with {status} and told nothing"),
    }
}

/// What has ended a process, if a signal has.
fn signal(status: ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    let known = SIGNALS.iter().find(|(number, _)| *number == signal);
    Some(known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned()))
}

/// Has this same command done by a process of its own, which may have half of the machine's memory, and
/// gives what it ended with. None in that process, and where none can be started: then it is to be done
/// here, within the same bound.
pub fn apart(output: &Output) -> Option<ExitCode> {
    let most = memory_bytes_max();
    if std::env::var_os(APART).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).env(APART, "yes");
        if let Ok(status) = command.status() {
            return Some(ended(status, most, output));
        }
    }
    // Without the bound the work is done all the same.
    let _ = confine(most);
    None
}

fn ended(status: ExitStatus, most: u64, output: &Output) -> ExitCode {
    if let Some(code) = status.code() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let signal = signal(status).unwrap_or_else(|| status.to_string());
    output.fail(&anyhow!(
        "ended by {signal}: a model or a plugin needs more than {} GiB of memory, or breaks an engine; \
         `lineside model inspect` says what each engine makes of a model",
        most >> 30
    ));
    ExitCode::FAILURE
}

/// Prints no panics of engines: what gave up over a model is told as an error, or another engine runs it.
pub fn print_no_panics_of_engines() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_contained() {
            print(panic);
        }
    }));
}

/// Half of the machine's memory, and never less than one model may have.
fn memory_bytes_max() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 9).max(MODEL_BYTES_MAX)
}

/// Ends this process with an error when something takes too long, until it is dropped.
pub struct Watch(Option<(Sender<()>, JoinHandle<()>)>);

impl Watch {
    /// Begins to wait. `what` is said to take too long, and `cure` to help.
    fn over(what: String, time_max: Duration, cure: &'static str, output: &Output) -> Watch {
        let (sender, signs) = mpsc::channel();
        let output = Output { json: output.json };
        let thread = thread::Builder::new().spawn(move || {
            loop {
                match signs.recv_timeout(time_max) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let seconds = time_max.as_secs();
                        output.fail(&anyhow!("{what} takes longer than {seconds} s: {cure}"));
                        std::process::exit(1);
                    }
                }
            }
        });
        // Without a thread nobody watches, and the work is done all the same.
        Watch(thread.ok().map(|thread| (sender, thread)))
    }

    /// Begins to wait for the checks of a bundle.
    pub fn over_checks(bundle: &str, output: &Output) -> Watch {
        let cure = "a device gives them 300 s unless it is told otherwise: make their recordings shorter, or \
                    look into the models by `lineside model inspect`";
        Watch::over(format!("what the checks of {bundle} need"), CHECKS_TIME_MAX, cure, output)
    }

    /// Begins to wait for a model to be loaded, or to answer.
    pub fn over_answers(of: &str, seconds: NonZeroU32, output: &Output) -> Watch {
        let time_max = Duration::from_secs(u64::from(seconds.get()));
        let what = format!("loading {of}, or one answer of it,");
        Watch::over(what, time_max, "--seconds allows more", output)
    }

    /// Begins anew: the next step may take as long again.
    pub fn again(&self) {
        if let Some((sender, _)) = &self.0 {
            // It listens as long as we are there.
            let _ = sender.send(());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// What the process writes until it ends; none if that takes too long.
fn told(child: &mut Child, time_max: Duration) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sender, news) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take()?, child.stderr.take()?);
    // Each ends when its end of the pipe is closed, at the latest when the process is killed.
    thread::spawn({
        let sender = sender.clone();
        move || sender.send((true, all(stdout)))
    });
    thread::spawn(move || sender.send((false, all(stderr))));
    let deadline = Instant::now() + time_max;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(Instant::now());
        match news.recv_timeout(left).ok()? {
            (true, bytes) => out = bytes,
            (false, bytes) => err = bytes,
        }
    }
    Some((out, err))
}

fn all(source: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read until an error is all there is.
    let _ = source.take(TOLD_BYTES_MAX).read_to_end(&mut bytes);
    bytes
}

/// Gives up what the work must not have, before it begins: memory beyond `bytes_max`.
///
/// # Errors
/// What the system says.
pub fn confine(bytes_max: u64) -> anyhow::Result<()> {
    // Who asked may be gone.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot end with its parent")?;
    for (resource, most) in [(Resource::Data, bytes_max), (Resource::Core, 0)] {
        // Whoever started us may have set less.
        let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).context("cannot limit the process")?;
    }
    Ok(())
}
