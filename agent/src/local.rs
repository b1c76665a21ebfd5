//! The door for people on the device itself, and for programs of the plant: `state_dir/agent.sock`, one
//! line of JSON each way, or a request of HTTP.
//!
//! Whoever may open the state folder may ask; nobody else reaches the socket.

mod door;
mod http;
mod who;

use crate::capture::CaptureReport;
use crate::error::chain;
use crate::fleet::carry::{Carried, Carrier, Receipt};
use crate::status::DeviceStatus;
use crate::update::consent::holds::{Hold, HoldError, Holds};
use crate::update::driver::{Installed, Updates};
use door::{Door, NAME};
use lineside_bundle::Digest;
use lineside_trust::REPORT_BYTES_MAX;
use lineside_wire::name::SlotName;
use lineside_wire::v1::event;
use rustix::net::{SendFlags, send};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Take, Write};
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Largest question and largest answer in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// People who may ask at the same time.
const VISITORS_MAX: usize = 8;
/// How long a question may take to arrive.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// How long the answer to a question may take: an agent that hangs must not make people hang.
const STATUS_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take to be read: whoever stops reading must not keep the door.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether somebody who asks no more is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// As [`STATUS_MAX`], for a file: the largest that may come, from a slow stick.
const INSTALL_MAX: Duration = Duration::from_secs(3600);
/// As [`STATUS_MAX`], for a report: all that waits is read and signed.
const REPORT_MAX: Duration = Duration::from_secs(300);

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// How the device is.
    Status,
    /// To install what a file brings.
    Install {
        /// The file, from the root folder.
        file: PathBuf,
    },
    /// To hold the updates of a slot back.
    Hold {
        /// The slot.
        slot: SlotName,
        /// Why.
        reason: String,
        /// For how many minutes of running; until it is released where nothing is said.
        minutes: Option<u64>,
    },
    /// To approve a release that is assigned to a slot.
    Approve {
        /// The slot.
        slot: SlotName,
        /// The release that was looked at.
        release: Digest,
    },
    /// To let go of the updates of a slot.
    ReleaseHold {
        /// The slot.
        slot: SlotName,
    },
    /// What is captured of each slot.
    Capture,
    /// For a report that is carried to the server; its bytes follow the line of the answer.
    Report,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer<T> {
    Done(T),
    Failed(String),
}

/// What a file brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivered {
    /// What is to be installed.
    #[serde(flatten)]
    pub installed: Installed,
    /// What became of the server's receipt for a report, if there was one.
    pub receipt: Option<Receipt>,
}

/// What is captured of each slot.
pub type Captured = BTreeMap<SlotName, CaptureReport>;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is behind the door.
    #[error("no agent answers at {}", socket.display())]
    Nobody {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent went away in the middle, or speaks another language.
    #[error("the agent did not answer in full")]
    Answer(#[source] io::Error),
    /// It has not answered in time.
    #[error("the agent has not answered within {seconds} s; its log may say why")]
    Silent {
        /// How long it had.
        seconds: u64,
    },
    /// The agent says no.
    #[error("{0}")]
    Refused(String),
}

/// Opens the door. Whoever waits for what is given lets people in, for ever: they are told the status and
/// what is captured, have files installed, updates held back or approved, and reports written. Must be
/// called within a tokio runtime.
///
/// # Errors
/// The socket cannot be made.
pub fn serve<S, C>(
    state_dir: &Path,
    status: S,
    captured: C,
    updates: Updates,
    holds: Holds,
    carrier: Carrier,
) -> io::Result<impl Future<Output = ()> + use<S, C>>
where
    S: Fn() -> DeviceStatus + Send + Sync + 'static,
    C: Fn() -> Captured + Send + Sync + 'static,
{
    let mut door = Door::of(state_dir)?;
    let listener = door.open()?;
    listener.set_nonblocking(true)?;
    let (listener, door) = (UnixListener::from_std(listener)?, Arc::new(door));
    let (status, captured, carrier) = (Arc::new(status), Arc::new(captured), Arc::new(carrier));
    let visitors = Arc::new(Semaphore::new(VISITORS_MAX));
    Ok(async move {
        loop {
            let Ok(place) = visitors.clone().acquire_owned().await else { return };
            let visitor = match listener.accept().await {
                Ok((visitor, _)) => visitor,
                Err(error) => {
                    tracing::warn!("{NAME}: {error}");
                    sleep(QUESTION_MAX).await;
                    continue;
                }
            };
            let (status, captured, updates) = (status.clone(), captured.clone(), updates.clone());
            let (holds, carrier, door) = (holds.clone(), carrier.clone(), door.clone());
            tokio::spawn(async move {
                let answered =
                    answer(visitor, &door, &*status, captured, &updates, holds, &carrier).await;
                if let Err(error) = answered {
                    tracing::debug!("{NAME}: {error}");
                }
                drop(place);
            });
        }
    })
}

async fn answer(
    visitor: UnixStream,
    door: &Door,
    status: &(impl Fn() -> DeviceStatus + Send + Sync),
    captured: Arc<impl Fn() -> Captured + Send + Sync + 'static>,
    updates: &Updates,
    holds: Holds,
    carrier: &Carrier,
) -> io::Result<()> {
    let by = who::user(door.admit(&visitor)?);
    let (read, mut write) = visitor.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX));
    timeout(QUESTION_MAX, read.read_line(&mut line)).await.map_err(io::Error::other)??;
    if http::is_request(&line) {
        let answered = timeout(QUESTION_MAX, http::answer(&line, &mut read, holds, by));
        let answer = answered.await.map_err(io::Error::other)?;
        return written(&mut write, &answer).await;
    }
    let answer = match serde_json::from_str(&line) {
        Err(error) => to_json(&Answer::<()>::Failed(format!("the question is not known: {error}"))),
        Ok(Question::Status) => to_json(&Answer::Done(status())),
        Ok(Question::Install { file }) => {
            let installed = updates.install(file.clone()).await;
            // After the documents, for they may bring the root that names the key of the receipt; and
            // whatever became of them.
            let receipt = carrier.receipt(file.clone()).await;
            to_json(&match installed {
                Ok(installed) => Answer::Done(Delivered { installed, receipt }),
                Err(error) => {
                    let (name, why) = (file_name(&file), chain(error));
                    let text = format!("{name}, brought by {by}, is not installed: {why}");
                    tracing::warn!("{text}");
                    carrier.telemetry.event("", event::INSTALL_FAILED, &text);
                    Answer::Failed(why)
                }
            })
        }
        Ok(Question::Hold { slot, reason, minutes }) => {
            changed(move || holds.hold(&slot, &by, &reason, minutes)).await
        }
        Ok(Question::Approve { slot, release }) => tokio::select! {
            approved = updates.approve(slot, release) => to_json(&match approved {
                Ok(release) => Answer::Done(release),
                Err(error) => Answer::Failed(chain(error)),
            }),
            // An installation may take the driver longer than anybody waits.
            () = gone(&mut read, write.as_ref()) => return Ok(()),
        },
        Ok(Question::ReleaseHold { slot }) => changed(move || holds.release(&slot, &by)).await,
        Ok(Question::Capture) => to_json(&match spawn_blocking(move || captured()).await {
            Ok(captured) => Answer::Done(captured),
            Err(_) => Answer::Failed("it was cut off".into()),
        }),
        Ok(Question::Report) => match carrier.told().await {
            Ok((carried, bytes)) => [to_json(&Answer::Done(carried)), bytes].concat(),
            Err(reason) => to_json(&Answer::<()>::Failed(reason)),
        },
    };
    written(&mut write, &answer).await
}

async fn written(write: &mut (impl AsyncWriteExt + Unpin), answer: &[u8]) -> io::Result<()> {
    timeout(ANSWER_MAX, write.write_all(answer)).await.map_err(io::Error::other)?
}

/// What a file is called, for people.
fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|char| !char.is_control()).collect()
}

/// Waits until whoever has asked is gone. Who has only said that he asks no more still listens.
async fn gone(read: &mut (impl AsyncReadExt + Unpin), visitor: &UnixStream) {
    let mut more = [0; 64];
    while read.read(&mut more).await.is_ok_and(|count| count > 0) {}
    // Which of both it was the runtime does not tell.
    while !has_hung_up(visitor) {
        sleep(LOOK_EVERY).await;
    }
}

/// Whether nobody is at the other end.
fn has_hung_up(visitor: &UnixStream) -> bool {
    // The system refuses even to send him nothing (unix(7)).
    send(visitor, &[], SendFlags::NOSIGNAL).is_err()
}

/// Changes a hold off the runtime's threads, and answers with it.
async fn changed(change: impl FnOnce() -> Result<Hold, HoldError> + Send + 'static) -> Vec<u8> {
    to_json(&match spawn_blocking(change).await {
        Ok(Ok(hold)) => Answer::Done(hold),
        Ok(Err(error)) => Answer::Failed(chain(error)),
        Err(_) => Answer::Failed("it was cut off".into()),
    })
}

/// Asks the agent of `state_dir` how it is.
///
/// # Errors
/// [`AskError`].
pub fn status(state_dir: &Path) -> Result<DeviceStatus, AskError> {
    ask(state_dir, &Question::Status, STATUS_MAX)
}

/// Has the agent of `state_dir` install what `file` brings.
///
/// # Errors
/// [`AskError`].
pub fn install(state_dir: &Path, file: PathBuf) -> Result<Delivered, AskError> {
    ask(state_dir, &Question::Install { file }, INSTALL_MAX)
}

/// Has the agent of `state_dir` hold the updates of a slot back.
///
/// # Errors
/// [`AskError`].
pub fn hold(
    state_dir: &Path,
    slot: SlotName,
    reason: String,
    minutes: Option<u64>,
) -> Result<Hold, AskError> {
    ask(state_dir, &Question::Hold { slot, reason, minutes }, STATUS_MAX)
}

/// Has the agent of `state_dir` take a release that is assigned to a slot for approved. Gives its name.
///
/// # Errors
/// [`AskError`].
pub fn approve(state_dir: &Path, slot: SlotName, release: Digest) -> Result<String, AskError> {
    ask(state_dir, &Question::Approve { slot, release }, STATUS_MAX)
}

/// Has the agent of `state_dir` let go of the updates of a slot.
///
/// # Errors
/// [`AskError`].
pub fn release_hold(state_dir: &Path, slot: SlotName) -> Result<Hold, AskError> {
    ask(state_dir, &Question::ReleaseHold { slot }, STATUS_MAX)
}

/// Asks the agent of `state_dir` what is captured of each slot.
///
/// # Errors
/// [`AskError`].
pub fn captured(state_dir: &Path) -> Result<Captured, AskError> {
    ask(state_dir, &Question::Capture, STATUS_MAX)
}

/// Has the agent of `state_dir` write a report: what it holds, and its bytes.
///
/// # Errors
/// [`AskError`].
pub fn report(state_dir: &Path) -> Result<(Carried, Vec<u8>), AskError> {
    let (carried, mut rest): (Carried, _) = begin(state_dir, &Question::Report, REPORT_MAX)?;
    let mut bytes = Vec::new();
    rest.get_mut().set_limit(REPORT_BYTES_MAX as u64);
    rest.read_to_end(&mut bytes).map_err(AskError::Answer)?;
    if bytes.len() != carried.bytes {
        return Err(AskError::Answer(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok((carried, bytes))
}

fn ask<T: DeserializeOwned>(
    state_dir: &Path,
    question: &Question,
    longest: Duration,
) -> Result<T, AskError> {
    begin(state_dir, question, longest).map(|(answer, _)| answer)
}

/// Asks, and reads the line of the answer; what follows it is left to be read.
fn begin<T: DeserializeOwned>(
    state_dir: &Path,
    question: &Question,
    longest: Duration,
) -> Result<(T, BufReader<Take<Stream>>), AskError> {
    let nobody = |source| AskError::Nobody { socket: state_dir.join(NAME), source };
    let door = Door::of(state_dir).map_err(nobody)?;
    let mut agent = door.enter().map_err(nobody)?;
    agent.set_read_timeout(Some(longest)).map_err(AskError::Answer)?;
    agent.write_all(&to_json(question)).map_err(AskError::Answer)?;
    let mut line = String::new();
    let mut answer = BufReader::new(agent.take(LINE_BYTES_MAX));
    answer.read_line(&mut line).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => AskError::Silent { seconds: longest.as_secs() },
        _ => AskError::Answer(error),
    })?;
    match serde_json::from_str(&line).map_err(|error| AskError::Answer(error.into()))? {
        Answer::Done(done) => Ok((done, answer)),
        Answer::Failed(reason) => Err(AskError::Refused(reason)),
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("questions and answers have string keys");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_no_more_still_listens_until_he_has_hung_up() {
        let (mut visitor, agent) = UnixStream::pair().unwrap();
        visitor.shutdown().await.unwrap();
        let (mut read, write) = agent.into_split();
        assert_eq!(read.read(&mut [0; 64]).await.unwrap(), 0, "he asks no more");
        assert!(!has_hung_up(write.as_ref()));
        drop(visitor);
        timeout(ANSWER_MAX, gone(&mut read, write.as_ref())).await.expect("he has hung up");
    }
}
