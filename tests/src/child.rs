//! Programs that run beside a test or the demo, and end with it.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest that a condition may be waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds` gives something.
///
/// # Errors
/// After [`PATIENCE`], with `what` was waited for.
pub fn wait<T>(what: &str, holds: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    wait_for(PATIENCE, what, holds)
}

/// As [`wait`], for as long as `patience` lasts.
///
/// # Errors
/// After `patience`, with `what` was waited for.
pub fn wait_for<T>(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = holds() {
            return Ok(value);
        }
        if began.elapsed() > patience {
            bail!("not within {patience:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The programs that run now.
struct Running {
    processes: BTreeSet<i32>,
    /// No more are started.
    is_over: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { processes: BTreeSet::new(), is_over: false });

/// Kills every program that was started here and still runs, and keeps others from being started:
/// for an end in the middle of it.
pub fn kill_all() {
    let mut running = running();
    running.is_over = true;
    for process in running.processes.iter().filter_map(|id| Pid::from_raw(*id)) {
        // It may have ended by itself.
        let _ = kill_process(process, Signal::KILL);
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that runs, with its words in files beside it. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    said: PathBuf,
}

impl Program {
    /// Starts `command`; what it says goes to `<name>.out` and `<name>.log` in `folder`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> anyhow::Result<Program> {
        let (said, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let to = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        fs::write(&said, b"").with_context(|| format!("cannot write {}", said.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::from(to(&said)?)).stderr(Stdio::from(to(&log)?));
        // Held until the process is noted, so that none slips through the end of all.
        let mut running = running();
        if running.is_over {
            bail!("{name} is not started any more");
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        running.processes.extend(i32::try_from(child.id()));
        Ok(Program { child, log, said })
    }

    /// Waits for a line on its standard output that begins with `prefix`; gives the rest of it.
    ///
    /// # Errors
    /// It ends before, or says nothing for too long: with what it wrote to its log.
    pub fn says(&mut self, prefix: &str) -> anyhow::Result<String> {
        let said = self.said.clone();
        let found = wait(&format!("a line that begins with {prefix:?}"), || {
            let text = fs::read_to_string(&said).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let line = whole.lines().find_map(|line| line.strip_prefix(prefix));
            match line {
                Some(rest) => Some(Some(rest.trim().to_owned())),
                None if self.has_ended() => Some(None),
                None => None,
            }
        });
        match found {
            Ok(Some(rest)) => Ok(rest),
            Ok(None) => bail!("it ended at once: {}", self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// What it wrote to standard output.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// The end of what it wrote to standard error.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal; it may have ended by itself.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on for longer than `patience`: with what it said.
    pub fn ends(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let ended =
            wait_for(patience, "the end of a program", || self.child.try_wait().transpose());
        let ended = ended.with_context(|| format!("{}\n{}", self.output(), self.log()));
        ended?.context("a program that was started here can be waited for")
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        running().processes.retain(|id| i32::try_from(self.child.id()) != Ok(*id));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
