//! Starts worker processes: the same executable, with a socket as its standard input and nothing
//! else of ours.

use crate::log::Format;
use crate::worker::serve::STACK_BYTES;
use nix::sys::signal::{SigSet, Signal};
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Bytes that may be on their way to a worker: a picture, so that nobody waits while it is written.
const SOCKET_BYTES: usize = 1 << 20;

/// A worker that was started. Dropping `life` kills it.
pub struct Started {
    /// Our end of the socket.
    pub stream: UnixStream,
    /// Says how it ended.
    pub ended: oneshot::Receiver<End>,
    /// Keeps it alive.
    pub life: Life,
}

/// How a worker ended, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, or over what it ran.
    Itself(String),
    /// Somebody else has ended it: a person, or a system that has no memory left. That says nothing
    /// about what it ran.
    Killed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (End::Itself(how) | End::Killed(how)) = self;
        f.write_str(how)
    }
}

/// Keeps a worker alive while it lives.
pub struct Life {
    /// Dropped with it, which the starter hears.
    pub _end: oneshot::Sender<()>,
}

/// Starts workers; a process of its own each, but for tests.
pub trait Starter: Send + Sync + 'static {
    /// Starts one.
    ///
    /// # Errors
    /// Why the system does not start another process.
    fn start(&self) -> io::Result<Started>;
}

type Request = (OwnedFd, mpsc::Sender<io::Result<Child>>);

/// Starts processes from a thread that lives as long as the agent: the kernel kills a worker when
/// the *thread* that started it is gone, and the threads of a runtime come and go. What that thread
/// does not hear its workers do not hear either, from their first moment on.
pub struct Processes {
    requests: mpsc::Sender<Request>,
    runtime: Handle,
}

impl Processes {
    /// Starts the thread. `runtime` is where ends of processes are waited for, `format` how workers write
    /// their last words.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(runtime: Handle, format: Format) -> io::Result<Processes> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let within = runtime.clone();
        std::thread::Builder::new().name("starter".into()).spawn(move || {
            let _inside = within.enter();
            let deaf = stop_signals().thread_block();
            for (socket, answer) in inbox {
                // Nobody waits for it any more only when the agent stops.
                let _ =
                    answer.send(deaf.map_err(io::Error::from).and_then(|()| spawn(socket, format)));
            }
        })?;
        Ok(Processes { requests, runtime })
    }
}

impl Starter for Processes {
    fn start(&self) -> io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        // With less than it wants, which is all that some systems give, a slot waits now and then.
        let _ = set_socket_send_buffer_size(&ours, SOCKET_BYTES);
        let (answer, answered) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts workers is gone");
        self.requests.send((theirs.into(), answer)).map_err(|_| gone())?;
        let mut child = answered.recv().map_err(|_| gone())??;
        let (life, killed) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        self.runtime.spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                _ = killed => {
                    // It may have ended by itself in the meantime.
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            let _ = tell.send(status.map_or_else(|error| End::Itself(error.to_string()), end));
        });
        Ok(Started { stream: ours, ended, life: Life { _end: life } })
    }
}

/// What tells a service to stop. Who stops a whole service (systemd does) tells each of its processes,
/// and the supervisor still needs its workers; those end with their socket.
fn stop_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

fn spawn(socket: OwnedFd, format: Format) -> io::Result<Child> {
    let said: &[&str] = match format {
        Format::Text => &[],
        Format::Json => &["--log-format", "json"],
    };
    // Not the path we were started by: the file there may have been replaced by another version.
    Command::new("/proc/self/exe")
        .arg0("lineside-agent")
        .arg("worker")
        .args(said)
        .env_clear()
        // A worker has one processor, and an engine would start as many threads as there are.
        .env("RTEN_NUM_THREADS", "1")
        .env("RUST_MIN_STACK", STACK_BYTES.to_string())
        // What a terminal sends to those in front of it is for the supervisor, which ends its workers
        // when they have finished.
        .process_group(0)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// Signals that a process does not get from what it computes: hangup, interrupt, quit, kill, terminate.
const FROM_OUTSIDE: [i32; 5] = [1, 2, 3, 9, 15];

fn end(status: ExitStatus) -> End {
    match (status.signal(), status.code()) {
        (Some(6), _) => End::Itself(
            "it aborted; perhaps it needs more memory than it may have, or its stack was full"
                .into(),
        ),
        (Some(9), _) => End::Killed("it was killed".into()),
        (Some(signal), _) if FROM_OUTSIDE.contains(&signal) => {
            End::Killed(format!("it was ended by signal {signal}"))
        }
        (Some(signal), _) => End::Itself(format!("it was ended by signal {signal}")),
        (None, Some(0)) => End::Itself("it ended by itself".into()),
        (None, Some(101)) => End::Itself("it panicked".into()),
        (None, code) => End::Itself(format!("it ended with exit code {}", code.unwrap_or(-1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_ended_by_others_is_not_to_blame() {
        let signal = |signal| end(ExitStatus::from_raw(signal));
        for outside in [1, 2, 9, 15] {
            assert!(matches!(signal(outside), End::Killed(_)), "signal {outside}");
        }
        // Illegal instruction, abort, bus error, floating point, segmentation fault, system call.
        for own in [4, 6, 7, 8, 11, 31] {
            assert!(matches!(signal(own), End::Itself(_)), "signal {own}");
        }
        // A full stack aborts as well as a full memory.
        assert!(signal(6).to_string().contains("perhaps"), "{}", signal(6));
        assert_eq!(end(ExitStatus::from_raw(101 << 8)).to_string(), "it panicked");
    }
}
