//! A worker process that serves: its socket, and what comes from it.

use crate::heavy::heavily;
use crate::worker::message::{Bundle, ToWorker, frame, frame_within, read_async_within};
use crate::worker::process::{End, Life, Started, Starter};
use crate::worker::serving::message::{FromServing, SERVING_BYTES_MAX, ToServing};
use crate::worker::serving::queue::bytes_of;
use lineside_runtime::Tensor;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Messages on their way in either direction. Those to the worker are bounded by who sends them.
const MESSAGES_MAX: usize = 8;
/// How long a worker whose socket has closed may take to be gone.
const END_MAX: Duration = Duration::from_secs(2);

/// What comes from a worker.
pub(super) enum Heard {
    /// A message.
    Said(FromServing),
    /// It is gone, or there is none.
    Ended(String),
}

/// A worker. Dropping it ends it.
pub(super) struct Link {
    messages: mpsc::Sender<Vec<u8>>,
    heard: mpsc::Receiver<Heard>,
    /// Closed when this is dropped.
    _wanted: oneshot::Sender<()>,
}

impl Link {
    /// Starts a worker that serves the models of a bundle, so many rows at once.
    pub(super) fn start(starter: Arc<dyn Starter>, bundle: Bundle, rows_max: usize) -> Link {
        let (messages, outbox) = mpsc::channel(MESSAGES_MAX);
        let (tell, heard) = mpsc::channel(MESSAGES_MAX);
        let (wanted, unwanted) = oneshot::channel();
        tokio::spawn(async move {
            let first = frame(&ToWorker::Serve(bundle, rows_max));
            let ended = tokio::select! {
                ended = live(starter, first, outbox, &tell) => ended,
                _ = unwanted => return,
            };
            // Who started it is gone only when nobody asks any more.
            let _ = tell.send(Heard::Ended(ended)).await;
        });
        Link { messages, heard, _wanted: wanted }
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Heard {
        let heard = self.heard.recv().await;
        heard.unwrap_or_else(|| Heard::Ended("what listens to it broke down".to_owned()))
    }

    /// Sends requests to the worker.
    ///
    /// # Errors
    /// If they are larger than a message may be.
    pub(super) fn send(&self, message: &ToServing<Vec<&[Tensor]>>) -> io::Result<()> {
        let ToServing::Run { requests, .. } = message;
        let size = requests.iter().copied().flatten().map(bytes_of).sum();
        let bytes = heavily(size, || frame_within(message, SERVING_BYTES_MAX))?;
        // One that takes no messages is found by its silence.
        let _ = self.messages.try_send(bytes);
        Ok(())
    }
}

/// Starts a worker and passes on what it says until it ends; gives how.
async fn live(
    starter: Arc<dyn Starter>,
    first: io::Result<Vec<u8>>,
    outbox: mpsc::Receiver<Vec<u8>>,
    tell: &mpsc::Sender<Heard>,
) -> String {
    let started = match spawn_blocking(move || starter.start()).await {
        Ok(started) => started.and_then(|started| Ok((first?, split(started)?))),
        Err(broken) => Err(io::Error::other(broken)),
    };
    let (first, (reader, writer, ended, life)) = match started {
        Ok(started) => started,
        Err(error) => return format!("no worker can be started: {error}"),
    };
    let problem = tokio::select! {
        problem = listen(reader, tell) => problem,
        never = write(writer, first, outbox) => match never {},
    };
    let how = match timeout(END_MAX, ended).await {
        Ok(Ok(end)) => end.to_string(),
        _ => "it closed its socket".to_owned(),
    };
    drop(life);
    match problem {
        Some(problem) => format!("{problem}; {how}"),
        None => how,
    }
}

type Halves = (OwnedReadHalf, OwnedWriteHalf, oneshot::Receiver<End>, Life);

fn split(started: Started) -> io::Result<Halves> {
    let Started { stream, ended, life } = started;
    stream.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(stream)?.into_split();
    Ok((reader, writer, ended, life))
}

async fn listen(stream: OwnedReadHalf, tell: &mpsc::Sender<Heard>) -> Option<String> {
    let mut stream = BufReader::new(stream);
    loop {
        match read_async_within(&mut stream, SERVING_BYTES_MAX).await {
            Ok(Some(said)) => {
                if tell.send(Heard::Said(said)).await.is_err() {
                    return None;
                }
            }
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        }
    }
}

async fn write(
    mut stream: OwnedWriteHalf,
    first: Vec<u8>,
    mut outbox: mpsc::Receiver<Vec<u8>>,
) -> std::convert::Infallible {
    let mut next = Some(first);
    while let Some(bytes) = next {
        // The reading half tells why.
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
        next = outbox.recv().await;
    }
    std::future::pending().await
}
