//! What the ring holds, and its form on disk.

use crate::worker::route::{Settled, Shape};
use lineside_bundle::Digest;
use lineside_runtime::{Part, Reading};
use lineside_wire::envelope::whole;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Largest batch in bytes: a length beyond it is none of ours.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// Length and checksum before a batch.
const PREFIX_BYTES: usize = 4 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 8;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// What holds for the entries from here on; the first of each batch.
    Head(Head),
    /// A reading was accepted.
    Reading(Reading),
    /// The release on the route answered a frame.
    Answer(Answer),
}

impl Entry {
    /// About how many bytes it takes, as it is written.
    pub(super) fn bytes(&self) -> usize {
        /// Numbers and lengths beside what counts.
        const OTHER: usize = 24;
        let values = |parts: &[Part]| -> usize {
            let outputs = parts.iter().flat_map(|part| &part.outputs);
            outputs.map(|(name, _)| name.len() + OTHER).sum()
        };
        OTHER
            + match self {
                Entry::Head(head) => head.fields.iter().map(|field| field.len() + 1).sum(),
                Entry::Reading(reading) => reading.key.len() + 8 * reading.values.len(),
                Entry::Answer(answer) => answer.key.len() + values(&answer.parts),
            }
    }
}

/// What readings and answers mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Names of the readings' values.
    pub fields: Vec<String>,
    /// The release that has the route.
    pub release: Option<Digest>,
}

/// An answer of the release on the route. Frames without one are not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The stream.
    pub key: String,
    /// The window's last reading.
    pub end: u64,
    /// The findings.
    pub parts: Vec<Part>,
    /// How long the stages took.
    pub elapsed: Duration,
}

impl Answer {
    /// The answer to a frame of a release that cuts readings as `shape` says; none if it has none, or
    /// stands for what the end of a recording brought.
    pub fn of(settled: &Settled, shape: Shape) -> Option<Answer> {
        let Settled { key, frame, first, last, elapsed, result, .. } = settled;
        let parts = result.as_ref().ok().filter(|_| last >= first)?.clone();
        Some(Answer { key: key.clone(), end: shape.end(*frame)?, parts, elapsed: *elapsed })
    }
}

/// A batch as it is written; none if it is larger than any may be.
pub(super) fn encode(batch: &[Entry]) -> Option<Vec<u8>> {
    let mut bytes = postcard::to_extend(batch, vec![0; PREFIX_BYTES]).ok()?;
    let length = bytes.len() - PREFIX_BYTES;
    if length > BATCH_BYTES_MAX {
        return None;
    }
    let checksum = checksum(&bytes[PREFIX_BYTES..]);
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4..PREFIX_BYTES].copy_from_slice(&checksum);
    Some(bytes)
}

/// The batches at the beginning of `bytes` that are whole, and how many bytes they take.
pub(super) fn decode(bytes: &[u8]) -> (Vec<Entry>, usize) {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some((batch, length)) = first(&bytes[at..]) {
        entries.extend(batch);
        at += length;
    }
    (entries, at)
}

/// The batch at the beginning of `bytes` if it is whole, and how many bytes it takes.
pub(super) fn first(bytes: &[u8]) -> Option<(Vec<Entry>, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let end = PREFIX_BYTES.checked_add(length).filter(|_| length <= BATCH_BYTES_MAX)?;
    let batch = bytes.get(PREFIX_BYTES..end)?;
    if checksum(batch) != bytes[4..PREFIX_BYTES] {
        return None;
    }
    Some((whole(batch).ok()?, end))
}

/// Against torn and rotten bytes, not against people: whoever may write here may write anything.
fn checksum(batch: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest(&SHA256, batch).as_ref()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64) -> Vec<Entry> {
        let reading =
            Reading { key: "k".into(), sequence: number, time_unix_ns: 7, values: vec![0.5] };
        let answer = Answer {
            key: "k".into(),
            end: number,
            parts: vec![],
            elapsed: Duration::from_micros(number),
        };
        vec![Entry::Reading(reading), Entry::Answer(answer)]
    }

    #[test]
    fn whatever_is_cut_off_or_turned_over_the_whole_batches_before_it_are_read() {
        let batches: Vec<Vec<u8>> = (0..3).map(|number| encode(&batch(number)).unwrap()).collect();
        let bytes = batches.concat();
        let before = batches[0].len() + batches[1].len();
        let wanted: Vec<Entry> = [batch(0), batch(1)].concat();
        assert_eq!(decode(&bytes).1, bytes.len());
        for cut in before..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), (wanted.clone(), before), "cut at {cut}");
            let mut rotten = bytes.clone();
            rotten[cut] ^= 0x10;
            assert_eq!(decode(&rotten), (wanted.clone(), before), "byte {cut} turned over");
        }
        assert_eq!(decode(&[0xff; 64]), (vec![], 0));
        assert_eq!(decode(&[]), (vec![], 0));
    }
}
