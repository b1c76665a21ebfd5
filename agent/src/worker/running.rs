//! A worker that runs: its socket, and what it says.

use crate::capture::Past;
use crate::worker::message::{self, FromWorker, ToWorker};
use crate::worker::process::{End, Started, Starter};
use crate::worker::task::IN_FLIGHT_OF_FRAME_MAX;
use lineside_runtime::Reading;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Messages that wait for the socket. Readings on their way are bounded by their sender, and each may be a
/// message of its own.
const MESSAGES_MAX: usize = IN_FLIGHT_OF_FRAME_MAX + 16;
/// How long a worker whose socket has closed may take to be gone.
const END_MAX: Duration = Duration::from_secs(2);

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It loads its bundle.
    Loading,
    /// It takes readings.
    Ready,
}

/// What comes from a worker.
#[derive(Debug)]
pub enum WorkerEvent {
    /// A message.
    Said(FromWorker),
    /// It is gone.
    Ended(End),
    /// There is none: the system starts no other process now.
    Unstarted(String),
    /// What was captured before it came, for its warm-up. Not from itself.
    Past(Box<Past>),
}

/// A worker, or one that is being started. Dropping it ends it.
pub struct Running {
    /// Tells it from those before.
    pub number: u64,
    /// How far it is.
    pub stage: Stage,
    /// When it last said something, or was given work after having had none.
    pub heard: Instant,
    messages: mpsc::Sender<ToWorker>,
    /// Closed when this is dropped.
    _wanted: oneshot::Sender<()>,
}

impl Running {
    /// Starts a worker with its first message. What it says comes through `events`, and whether it
    /// could be started at all: on a busy machine that takes longer than a frame, and who asks for it
    /// has frames to answer.
    pub fn start(
        number: u64,
        starter: Arc<dyn Starter>,
        first: ToWorker,
        events: mpsc::Sender<(u64, WorkerEvent)>,
    ) -> Running {
        let (messages, outbox) = mpsc::channel(MESSAGES_MAX);
        let (wanted, unwanted) = oneshot::channel();
        let running = Running {
            number,
            stage: Stage::Loading,
            heard: Instant::now(),
            messages,
            _wanted: wanted,
        };
        running.send(first);
        tokio::spawn(async move {
            let started = match spawn_blocking(move || starter.start()).await {
                Ok(started) => started
                    .and_then(|Started { stream, ended, life }| Ok((split(stream)?, ended, life))),
                Err(broken) => Err(io::Error::other(broken)),
            };
            match started {
                Ok(((reader, writer), ended, life)) => {
                    tokio::spawn(write(writer, outbox));
                    tokio::select! {
                        () = listen(number, reader, ended, &events) => {}
                        _ = unwanted => {}
                    }
                    drop(life);
                }
                Err(error) => {
                    let event =
                        WorkerEvent::Unstarted(format!("no worker can be started: {error}"));
                    // The slot is gone only when the agent stops.
                    let _ = events.send((number, event)).await;
                }
            }
        });
        running
    }

    /// Sends a message. A worker that does not read is found by its silence.
    pub fn send(&self, message: ToWorker) {
        if self.messages.try_send(message).is_err() {
            tracing::warn!("worker {} takes no messages", self.number);
        }
    }

    /// Sends readings, if there are any.
    pub fn send_readings(&self, readings: Vec<Arc<Reading>>) {
        if !readings.is_empty() {
            self.send(ToWorker::Readings(readings));
        }
    }
}

fn split(stream: std::os::unix::net::UnixStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?.into_split())
}

async fn write(mut stream: OwnedWriteHalf, mut outbox: mpsc::Receiver<ToWorker>) {
    let mut bytes = Vec::new();
    while let Some(message) = outbox.recv().await {
        bytes = match message::frame_in(&message, bytes) {
            Ok(bytes) => bytes,
            // It is ended as one that is silent, for which it cannot help.
            Err(error) => {
                return tracing::error!("a worker cannot be told what it should: {error}");
            }
        };
        // The reading half tells why.
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn listen(
    number: u64,
    stream: OwnedReadHalf,
    ended: oneshot::Receiver<End>,
    events: &mpsc::Sender<(u64, WorkerEvent)>,
) {
    let mut stream = BufReader::new(stream);
    let problem = loop {
        match message::read_async(&mut stream).await {
            Ok(Some(said)) => {
                if events.send((number, WorkerEvent::Said(said))).await.is_err() {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    let end = match timeout(END_MAX, ended).await {
        Ok(Ok(end)) => end,
        _ => End::Itself("it closed its socket".to_owned()),
    };
    let end = match (problem, end) {
        (Some(problem), End::Itself(how)) => End::Itself(format!("{problem}; {how}")),
        // Its socket has broken because somebody has ended it.
        (_, end) => end,
    };
    // The slot is gone only when the agent stops.
    let _ = events.send((number, WorkerEvent::Ended(end))).await;
}
