//! What supervisor and worker say to each other: a length of four bytes (little-endian), then that
//! many bytes of postcard. Both are the same executable, so the format need not outlive it.

use crate::heavy::heavily;
use crate::worker::packed::{self, Following, Owned, Pack, Unpack};
use lineside_bundle::Digest;
use lineside_runtime::{Engines, Figure, FrameOutcome, ReplayCost, SharedLibrary};
use lineside_wire::envelope::whole;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are kept for the next message.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Largest message in bytes. The manifest is the largest thing that is sent.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What a worker is to load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// The manifest as JSON; its digest was verified by the supervisor.
    pub manifest: Vec<u8>,
    /// The folder with the bundle's blobs.
    pub blobs: PathBuf,
    /// Memory that the worker may have, in MiB.
    pub memory_mib: u32,
    /// Which engine runs each of its models.
    pub engines: Engines,
    /// Breaks of a plugin that are allowed here, if anybody but the bundle says.
    pub plugin_traps_max: Option<u32>,
    /// Folder of compiled plugins.
    pub cache: PathBuf,
    /// The key that authenticates this release's.
    pub cache_key: [u8; 32],
}

/// From the supervisor.
pub type ToWorker = ToWorkerWith<Owned>;

/// From the supervisor, with readings as either end has them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Pack", deserialize = "R: Unpack<'de>"))]
pub enum ToWorkerWith<R> {
    /// What follows is work beside the route, which is to take nothing from the worker on it.
    Follow,
    /// From here on the worker has the route.
    Lead,
    /// Load a bundle; the first message of a worker that takes readings.
    Load(Bundle),
    /// Time an engine, by its name, with those of a bundle's models that others may run as well; the only
    /// message of such a worker.
    Time(Bundle, String),
    /// Replay a bundle's checks; the only message of such a worker.
    Check(Bundle),
    /// Load a library, to see whether it can be used; the only message of such a worker.
    TryOut(SharedLibrary),
    /// Load a bundle's models, and answer requests to them: what follows is
    /// [`ToServing`](crate::worker::serving::message::ToServing). So many rows are run at once.
    Serve(Bundle, usize),
    /// Readings in order.
    Readings(#[serde(with = "packed")] R),
    /// The recording ends here.
    Finish,
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The bundle is ready for readings.
    Loaded,
    /// The bundle cannot be loaded, or its checks say no.
    Failed(String),
    /// A frame.
    Outcome(FrameOutcome),
    /// So many readings have been taken since the last such message.
    Done(u32),
    /// All frames that the end of the recording brings have been given.
    Finished,
    /// What was seen of the engine, by stage.
    Timed(BTreeMap<String, Figure>),
    /// The library can be used; what it is.
    TriedOut(Digest),
    /// The checks have passed.
    Checked(Checked),
}

/// What replaying the checks took, and in which engines they have passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// In time.
    pub cost: ReplayCost,
    /// Most memory that the worker had for itself; none where the machine does not tell.
    pub memory_kib: Option<u64>,
    /// The engine that each model was in, by stage.
    pub engines: BTreeMap<String, String>,
}

/// A message with its length before it.
///
/// # Errors
/// If it is larger than [`MESSAGE_BYTES_MAX`].
pub fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    frame_within(message, MESSAGE_BYTES_MAX)
}

/// As [`frame`], with another bound.
///
/// # Errors
/// If it is larger than `bytes_max`.
pub fn frame_within<T: Serialize>(message: &T, bytes_max: usize) -> io::Result<Vec<u8>> {
    frame_behind(message, bytes_max, vec![0; 4])
}

/// As [`frame`], also of readings, in the room that an earlier message had.
///
/// # Errors
/// As [`frame`].
pub fn frame_in(message: &ToWorker, mut room: Vec<u8>) -> io::Result<Vec<u8>> {
    if room.capacity() > SPARE_BYTES_MAX {
        room = Vec::new();
    }
    room.clear();
    room.extend([0; 4]);
    let ToWorkerWith::Readings(readings) = message else {
        return frame_behind(message, MESSAGE_BYTES_MAX, room);
    };
    let follow = ToWorkerWith::Readings(Following);
    let bytes = postcard::to_extend(&follow, room).map_err(io::Error::other)?;
    let bytes = packed::append(readings, bytes).map_err(io::Error::other)?;
    with_length(bytes, MESSAGE_BYTES_MAX)
}

/// A message behind four bytes that are there for its length.
fn frame_behind<T: Serialize>(
    message: &T,
    bytes_max: usize,
    before: Vec<u8>,
) -> io::Result<Vec<u8>> {
    with_length(postcard::to_extend(message, before).map_err(io::Error::other)?, bytes_max)
}

/// A message with its length in its first four bytes.
fn with_length(mut bytes: Vec<u8>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = bytes.len() - 4;
    check_length(length, bytes_max)?;
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Writes a message.
///
/// # Errors
/// What the socket says.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    stream.write_all(&frame(message)?)
}

/// Reads a message; none where the other end has closed between two.
///
/// # Errors
/// What the socket says, and whatever is no message.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    read_within(stream, MESSAGE_BYTES_MAX)
}

/// As [`read`], with another bound.
///
/// # Errors
/// As [`read`].
pub fn read_within<T: DeserializeOwned>(
    stream: &mut impl Read,
    bytes_max: usize,
) -> io::Result<Option<T>> {
    let mut bytes = Vec::new();
    let Some(length) = read_bytes(stream, bytes_max, &mut bytes)? else { return Ok(None) };
    whole(&bytes[..length]).map(Some).map_err(io::Error::other)
}

/// As [`read`], of a message that is left where it has come: in the room that an earlier one had.
///
/// # Errors
/// As [`read`].
pub fn read_in<'a, T: Deserialize<'a>>(
    stream: &mut impl Read,
    room: &'a mut Vec<u8>,
) -> io::Result<Option<T>> {
    if room.len() > SPARE_BYTES_MAX {
        *room = Vec::new();
    }
    let Some(length) = read_bytes(stream, MESSAGE_BYTES_MAX, room)? else { return Ok(None) };
    whole(&room[..length]).map(Some).map_err(io::Error::other)
}

/// Reads the bytes of a message, of which there may be fewer than there is room. Gives how many there are.
fn read_bytes(
    stream: &mut impl Read,
    bytes_max: usize,
    room: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        let closed = error.kind() == io::ErrorKind::UnexpectedEof;
        return if closed { Ok(None) } else { Err(error) };
    }
    let length = u32::from_le_bytes(length) as usize;
    check_length(length, bytes_max)?;
    if room.len() < length {
        room.resize(length, 0);
    }
    stream.read_exact(&mut room[..length])?;
    Ok(Some(length))
}

/// As [`read`], without blocking a thread.
///
/// # Errors
/// As [`read`].
pub async fn read_async<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    read_async_within(stream, MESSAGE_BYTES_MAX).await
}

/// As [`read_async`], with another bound.
///
/// # Errors
/// As [`read`].
pub async fn read_async_within<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length).await {
        let closed = error.kind() == io::ErrorKind::UnexpectedEof;
        return if closed { Ok(None) } else { Err(error) };
    }
    let length = u32::from_le_bytes(length) as usize;
    check_length(length, bytes_max)?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    heavily(length, || whole(&bytes)).map(Some).map_err(io::Error::other)
}

fn check_length(length: usize, bytes_max: usize) -> io::Result<()> {
    if length > bytes_max {
        return Err(io::Error::other(format!(
            "a message of {length} bytes, {bytes_max} are allowed"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_crosses_the_socket_unchanged_and_half_of_one_is_noticed() {
        let outcome = FrameOutcome {
            key: "R80711".into(),
            frame: 2,
            first: 12,
            last: 17,
            spans: vec![],
            unused: lineside_runtime::Unused::default(),
            time_unix_ns: -1,
            result: Ok(vec![]),
            instead: None,
            said: Default::default(),
            elapsed: std::time::Duration::from_micros(3),
        };
        let messages = [FromWorker::Outcome(outcome), FromWorker::Done(6), FromWorker::Finished];
        let mut bytes = Vec::new();
        for message in &messages {
            write(&mut bytes, message).unwrap();
        }
        let mut stream = bytes.as_slice();
        for message in messages {
            assert_eq!(read::<FromWorker>(&mut stream).unwrap(), Some(message));
        }
        assert_eq!(read::<FromWorker>(&mut stream).unwrap(), None);
        assert!(read::<FromWorker>(&mut &bytes[..6]).is_err());
    }

    #[test]
    fn a_worker_cannot_make_the_supervisor_allocate_without_end() {
        let error = read::<FromWorker>(&mut [0xff; 8].as_slice()).unwrap_err().to_string();
        assert!(error.contains("are allowed"), "{error}");
    }
}
