//! The envelope of every message: what it is, which version of it, and how long.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `LS` |
//! | 1 | version of the envelope, 1 |
//! | 2 | type of the message, little-endian |
//! | 2 | version of the message, little-endian |
//! | 4 | length of the payload in bytes, little-endian |
//! | … | payload: postcard of that type and version |
//!
//! Postcard alone tells nothing of what it holds and cannot change; the envelope can.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 2] = *b"LS";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 11;
/// Largest payload of any message, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 15 << 17;

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a message of ours.
    #[error("it is no Lineside message")]
    Foreign,
    /// An envelope of the future.
    #[error("its envelope has version {0}, {VERSION} is known here")]
    Version(u8),
    /// Longer than allowed.
    #[error("its payload has {bytes} bytes, {max} are allowed")]
    Size {
        /// Its size in bytes.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// Cut short, or followed by something.
    #[error("it should have {expected} bytes and has {found}")]
    Length {
        /// What the envelope says.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// Another type or version than asked for.
    #[error("it is message {kind} version {version}, not {wanted_kind} version {wanted_version}")]
    Kind {
        /// Type found.
        kind: u16,
        /// Version found.
        version: u16,
        /// Type asked for.
        wanted_kind: u16,
        /// Version asked for.
        wanted_version: u16,
    },
    /// A payload that is not what the envelope says.
    #[error("its payload is damaged: {0}")]
    Payload(String),
}

/// A message with a type and a version of its own. A released one never changes.
pub trait Message: Serialize + DeserializeOwned {
    /// Its type.
    const KIND: u16;
    /// Its version.
    const VERSION: u16;
    /// Its largest payload in bytes, at most [`PAYLOAD_BYTES_MAX`].
    const BYTES_MAX: usize = 1 << 20;
}

/// Type and version of the message in an envelope, and its payload.
///
/// # Errors
/// Every [`EnvelopeError`] but `Kind` and `Payload`.
pub fn open(bytes: &[u8]) -> Result<(u16, u16, &[u8]), EnvelopeError> {
    let (header, payload) =
        bytes.split_first_chunk::<HEADER_BYTES>().ok_or(EnvelopeError::Foreign)?;
    let [m0, m1, envelope, k0, k1, v0, v1, l0, l1, l2, l3] = *header;
    if [m0, m1] != MAGIC {
        return Err(EnvelopeError::Foreign);
    }
    if envelope != VERSION {
        return Err(EnvelopeError::Version(envelope));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(EnvelopeError::Size { bytes: length, max: PAYLOAD_BYTES_MAX });
    }
    if payload.len() != length {
        let (expected, found) = (HEADER_BYTES + length, bytes.len());
        return Err(EnvelopeError::Length { expected, found });
    }
    Ok((u16::from_le_bytes([k0, k1]), u16::from_le_bytes([v0, v1]), payload))
}

/// Reads a message of one type and version, to the last byte.
///
/// # Errors
/// [`EnvelopeError`].
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, EnvelopeError> {
    let (kind, version, payload) = open(bytes)?;
    if (kind, version) != (M::KIND, M::VERSION) {
        let (wanted_kind, wanted_version) = (M::KIND, M::VERSION);
        return Err(EnvelopeError::Kind { kind, version, wanted_kind, wanted_version });
    }
    if payload.len() > M::BYTES_MAX {
        return Err(EnvelopeError::Size { bytes: payload.len(), max: M::BYTES_MAX });
    }
    whole(payload)
}

/// Reads postcard to the last byte.
///
/// # Errors
/// [`EnvelopeError::Payload`].
pub fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, EnvelopeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(EnvelopeError::Payload(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(EnvelopeError::Payload(error.to_string())),
    }
}

/// Writes a message.
///
/// # Errors
/// [`EnvelopeError::Size`] if it is too large to be sent at once.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EnvelopeError> {
    let payload =
        postcard::to_stdvec(message).map_err(|error| EnvelopeError::Payload(error.to_string()))?;
    if payload.len() > M::BYTES_MAX {
        return Err(EnvelopeError::Size { bytes: payload.len(), max: M::BYTES_MAX });
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend(MAGIC);
    bytes.push(VERSION);
    bytes.extend(M::KIND.to_le_bytes());
    bytes.extend(M::VERSION.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    Ok(bytes)
}
