//! Starts worker processes: the same executable, with a socket as its standard input and nothing
//! else of ours.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A worker that was started. Dropping `life` kills it.
pub struct Started {
    /// Our end of the socket.
    pub stream: UnixStream,
    /// Says how it ended.
    pub ended: oneshot::Receiver<String>,
    /// Keeps it alive.
    pub life: Life,
}

/// Keeps a worker alive while it lives.
pub struct Life(#[allow(dead_code)] pub oneshot::Sender<()>);

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
/// the *thread* that started it is gone, and the threads of a runtime come and go.
pub struct Processes {
    requests: mpsc::Sender<Request>,
}

impl Processes {
    /// Starts the thread. `runtime` is where ends of processes are waited for.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(runtime: Handle) -> io::Result<Processes> {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("starter".into()).spawn(move || {
            let _inside = runtime.enter();
            for (socket, answer) in inbox {
                // Nobody waits for it any more only when the agent stops.
                let _ = answer.send(spawn(socket));
            }
        })?;
        Ok(Processes { requests })
    }
}

impl Starter for Processes {
    fn start(&self) -> io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let (answer, answered) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts workers is gone");
        self.requests.send((theirs.into(), answer)).map_err(|_| gone())?;
        let mut child = answered.recv().map_err(|_| gone())??;
        let (life, killed) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                _ = killed => {
                    // It may have ended by itself in the meantime.
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            let _ = tell.send(status.map_or_else(|error| error.to_string(), said));
        });
        Ok(Started { stream: ours, ended, life: Life(life) })
    }
}

fn spawn(socket: OwnedFd) -> io::Result<Child> {
    // Not the path we were started by: the file there may have been replaced by another version.
    Command::new("/proc/self/exe")
        .arg0("lineside-agent")
        .arg("worker")
        .env_clear()
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn said(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(6), _) => "it aborted, as it does when it needs more memory than it may have".into(),
        (Some(9), _) => "it was killed".into(),
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(0)) => "it ended by itself".into(),
        (None, Some(101)) => "it panicked".into(),
        (None, code) => format!("it ended with exit code {}", code.unwrap_or(-1)),
    }
}
