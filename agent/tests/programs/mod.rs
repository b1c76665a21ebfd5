//! Workers that are processes, as on a device.

use lineside_agent::worker::process::{End, Life, Started, Starter};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Starts the agent's own program as a worker, for as long as somebody wants it.
pub struct Programs;

impl Starter for Programs {
    fn start(&self) -> io::Result<Started> {
        let (stream, theirs) = UnixStream::pair()?;
        let runtime = Handle::current();
        let _inside = runtime.enter();
        let mut worker = Command::new(env!("CARGO_BIN_EXE_lineside-agent"))
            .arg("worker")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .kill_on_drop(true)
            .spawn()?;
        let (life, unwanted) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        runtime.spawn(async move {
            let status = tokio::select! {
                status = worker.wait() => status,
                _ = unwanted => {
                    let _ = worker.start_kill();
                    worker.wait().await
                }
            };
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let _ = tell.send(End::Itself(format!("it ended with {how}")));
        });
        Ok(Started { stream, ended, life: Life { _end: life } })
    }
}
