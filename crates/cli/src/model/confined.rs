//! Work on files of strangers, in a process of its own with bounded memory and time: whatever becomes
//! of it there, this process goes on.

use anyhow::{Context, bail};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Memory that the process may have.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
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
        bail!("it needs more than {} GiB of memory", MEMORY_BYTES_MAX >> 30);
    }
    match status.signal() {
        Some(signal) => {
            let name = SIGNALS.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name);
            bail!("it crashed ({})", name.unwrap_or("killed"))
        }
        None => bail!("its process ended with {status} and told nothing"),
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

/// Gives up what the work must not have, before it begins.
///
/// # Errors
/// What the system says.
pub fn confine() -> anyhow::Result<()> {
    // Who asked may be gone.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot end with its parent")?;
    for (resource, most) in [(Resource::Data, MEMORY_BYTES_MAX), (Resource::Core, 0)] {
        // Whoever started us may have set less.
        let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).context("cannot limit the process")?;
    }
    Ok(())
}
