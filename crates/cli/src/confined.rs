//! Work on files of strangers with bounded memory and time: in a process of its own, because an engine
//! that has no memory left, or is broken by a model, takes its process with it, and because nothing but
//! the end of its process ends one that computes for ever.

use crate::output::Output;
use anyhow::{Context, anyhow, bail};
use lineside_runtime::is_contained;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Says to this program that it is the process of its own that it has started, and names the file in which it
/// notes what it does.
const APART: &str = "LINESIDE_APART";
/// Memory that a process may have which looks at one model, or one plugin.
pub const MODEL_BYTES_MAX: u64 = 4 << 30;
/// Longest that models may compute for one thing unless somebody says so: to load, or for one answer.
pub const SECONDS: NonZeroU32 = NonZeroU32::new(60).expect("a minute is not nought");
/// Bytes of what it tells.
const TOLD_BYTES_MAX: u64 = 16 << 20;
/// How the standard library begins what it says when there is no memory.
const NO_MEMORY: &str = "memory allocation of ";
/// As a shell would name them.
const SIGNALS: [(Signal, &str); 9] = [
    (Signal::ABORT, "SIGABRT"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::BUS, "SIGBUS"),
    (Signal::ILL, "SIGILL"),
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::KILL, "SIGKILL"),
    (Signal::TERM, "SIGTERM"),
];
/// Signals that a process does not get from what it computes.
const FROM_OUTSIDE: [Signal; 5] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::KILL, Signal::TERM];

/// Has this program do something in a process of its own, and gives what it tells in JSON. Where that takes
/// too long, `cure` is said to help.
///
/// # Errors
/// What it says went wrong, or how it ended.
pub fn run<T: DeserializeOwned>(
    arguments: &[OsString],
    time_max: Duration,
    cure: Option<&str>,
) -> anyhow::Result<T> {
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
        let cure = cure.map_or(String::new(), |cure| format!(": {cure}"));
        bail!("it takes longer than {} s{cure}", time_max.as_secs());
    };
    let answer: Option<Value> = serde_json::from_slice(&stdout).ok();
    if let Some(error) = answer.as_ref().and_then(|answer| answer["error"].as_str()) {
        bail!("{error}");
    }
    if let Some(answer) = answer {
        return serde_json::from_value(answer).context("its process told something else");
    }
    if String::from_utf8_lossy(&stderr).contains(NO_MEMORY) {
        bail!("it needs more than {} MiB of memory", allowed(MODEL_BYTES_MAX) >> 20);
    }
    match signal(status) {
        Some(signal) if is_from_outside(status) => bail!("{}", from_outside(&signal, "")),
        Some(signal) => bail!("it crashed ({signal})"),
        None => bail!("its process ended with {status} and told nothing"),
    }
}

/// What has ended a process, if a signal has.
fn signal(status: ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    let known = SIGNALS.iter().find(|(known, _)| known.as_raw() == signal);
    Some(known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned()))
}

/// Whether somebody else has ended a process: a person, or a system that has no memory left. That says nothing
/// about what it ran.
fn is_from_outside(status: ExitStatus) -> bool {
    FROM_OUTSIDE.iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

/// What is said of a process that somebody else has ended by a signal.
fn from_outside(signal: &str, while_doing: &str) -> String {
    let who = match signal {
        "SIGKILL" => "somebody has killed it, or the system had no memory left: see what else runs",
        _ => "somebody has ended it",
    };
    format!("ended by {signal}{while_doing}, from outside: {who}; it may be tried again")
}

/// Whose work it is that may take its process with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// Models, and plugins among them.
    Models,
    /// One plugin.
    Plugin,
}

/// Has this same command done by a process of its own, which may have half of the machine's memory, and
/// gives what it ended with. None in that process, and where none can be started: then it is to be done
/// here, within the same bound.
pub fn apart(strangers: Strangers, output: &Output) -> Option<ExitCode> {
    let most = memory_bytes_max();
    if std::env::var_os(APART).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let note = Note::new();
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1));
        command.env(APART, note.as_ref().map_or_else(String::new, Note::path));
        if let Ok(status) = command.status() {
            let doing = note.map(Note::read).unwrap_or_default();
            return Some(ended(status, &doing, most, strangers, output));
        }
    }
    // Without the bound the work is done all the same.
    let _ = confine(most);
    None
}

/// What the process of its own does, which this one hears of when it has died.
struct Note(File);

impl Note {
    /// None where the system has no such files: then nobody hears what it did.
    fn new() -> Option<Note> {
        memfd_create("lineside-step", MemfdFlags::CLOEXEC).ok().map(|file| Note(file.into()))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn read(self) -> String {
        let mut text = String::new();
        // What was read until an error is all there is.
        let _ = self.0.take(TOLD_BYTES_MAX).read_to_string(&mut text);
        text
    }
}

/// Notes what this process does from now on, should it die over it.
pub fn note(doing: &str) {
    if let Some(file) = std::env::var_os(APART).filter(|file| !file.is_empty()) {
        // Where it cannot be noted it is done all the same.
        let _ = std::fs::write(file, doing);
    }
}

fn ended(
    status: ExitStatus,
    doing: &str,
    most: u64,
    strangers: Strangers,
    output: &Output,
) -> ExitCode {
    if let Some(code) = status.code() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let by = signal(status).unwrap_or_else(|| status.to_string());
    let while_doing = if doing.is_empty() { String::new() } else { format!(" while {doing}") };
    let most = allowed(most) >> 20;
    output.fail(&match strangers {
        _ if is_from_outside(status) => anyhow!("{}", from_outside(&by, &while_doing)),
        Strangers::Models => anyhow!(
            "ended by {by}{while_doing}: a model or a plugin needs more than {most} MiB of memory, or breaks an engine; \
             `lineside model inspect` says what each engine makes of a model"
        ),
        Strangers::Plugin => anyhow!(
            "ended by {by}{while_doing}: to be compiled and run, the plugin needs more than {most} MiB of memory, or it \
             breaks the compiler; `lineside plugin check` says what it needs"
        ),
    });
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

/// So much memory, or less where whoever started us has set less.
fn allowed(bytes_max: u64) -> u64 {
    getrlimit(Resource::Data).maximum.map_or(bytes_max, |maximum| maximum.min(bytes_max))
}

/// Gives up what the work must not have, before it begins: memory beyond `bytes_max`.
///
/// # Errors
/// What the system says.
pub fn confine(bytes_max: u64) -> anyhow::Result<()> {
    // Who asked may be gone.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot end with its parent")?;
    for (resource, most) in [(Resource::Data, allowed(bytes_max)), (Resource::Core, 0)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).context("cannot limit the process")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_process_did_itself_is_told_of_what_it_ran() {
        let of = |number| ExitStatus::from_raw(number);
        for (number, name) in
            [(1, "SIGHUP"), (2, "SIGINT"), (3, "SIGQUIT"), (9, "SIGKILL"), (15, "SIGTERM")]
        {
            assert!(is_from_outside(of(number)), "{name}");
            assert_eq!(signal(of(number)).unwrap(), name);
            assert!(from_outside(name, " while it loads").contains("while it loads, from outside"));
        }
        for number in [4, 6, 7, 8, 11, 31] {
            assert!(!is_from_outside(of(number)), "signal {number}");
        }
        assert!(!is_from_outside(of(9 << 8)), "an exit code");
    }
}
