//! `Record -> message`: what waits, as it is at one moment, in messages that the server takes.
//!
//! The database shows who reads it what was committed when he began, so nobody who writes is kept
//! waiting, however much there is to read.

use super::merging::{self, SENT};
use super::{EVENTS, INTERVALS, Key, SpoolError, size};
use crate::database::Database;
use crate::error::chain;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{Record, Telemetry, record};
use redb::{ReadableTable, TableHandle};
use std::sync::{Arc, Mutex, TryLockError};

/// Records that one message may carry.
const BATCH_RECORDS_MAX: usize = 200;
/// Bytes of bodies that one message may carry.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How often what waits is read again because it was merged meanwhile.
const READ_AGAIN_MAX: usize = 3;

/// When a record is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Not now: it is on its way.
    Wait,
    /// With others.
    Company,
    /// By itself: it went unanswered, and may be what the server cannot read.
    Alone,
}

/// A message, and the keys of the records in it.
pub type Batch = (Vec<u8>, Vec<Key>);

/// What waits in a spool.
#[derive(Clone)]
pub struct Waiting {
    pub(super) database: Arc<Database>,
    pub(super) boot: u64,
    /// Bytes of intervals that may have been sent and wait on: the rest of the room is for those that
    /// can be merged, should the server never answer.
    pub(super) sent_bytes_max: u64,
    /// Held by whoever notes what is sent. A disk may hang, and nobody else is to hang with it.
    pub(super) marking: Arc<Mutex<()>>,
}

/// Which intervals may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those of which it is noted that they may have been.
    Noted,
}

/// Whether intervals are noted as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Yes,
    /// They were merged meanwhile.
    Merged,
    /// The disk is busy with the ones before.
    NotNow,
}

impl Waiting {
    /// The next records to be sent, events first, oldest first, as one message and the keys of its
    /// records; none if there are none. Records of earlier starts, and those below `fresh`, waited
    /// out an interruption. `pace` says what is not to be sent now, and what only by itself.
    ///
    /// It is on disk which intervals are in it, so that these are merged with no other from now on.
    /// Where the disk does not take that, the others of the message go without them.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn batch(
        &self,
        fresh: u64,
        pace: impl Fn(&Key) -> Pace,
    ) -> Result<Option<Batch>, SpoolError> {
        for _ in 0..READ_AGAIN_MAX {
            let message = self.look(fresh, &pace, Which::All)?;
            match self.note(&message) {
                Ok(Noted::Yes) => return message.batch(),
                Ok(Noted::Merged) => {}
                Ok(Noted::NotNow) => break,
                Err(error) => {
                    tracing::debug!(
                        "intervals wait because it cannot be noted that they are sent: {}",
                        chain(error)
                    );
                    break;
                }
            }
        }
        self.look(fresh, &pace, Which::Noted)?.batch()
    }

    /// What would be sent next.
    fn look(
        &self,
        fresh: u64,
        pace: &impl Fn(&Key) -> Pace,
        which: Which,
    ) -> Result<Message, SpoolError> {
        let transaction = self.database.begin_read()?;
        let sent = transaction.open_table(SENT)?.get(())?.map(|key| key.value());
        let (mut message, mut alone) = (Message::default(), None);
        let mut sent_bytes = 0;
        for table in [EVENTS, INTERVALS] {
            for entry in transaction.open_table(table)?.iter()? {
                let (key, value) = entry?;
                let (key, (code, body)) = (key.value(), value.value());
                if table.name() == INTERVALS.name() {
                    let is_full = sent_bytes > 0 && sent_bytes + size(body) > self.sent_bytes_max;
                    if Some(key) > sent && (which == Which::Noted || is_full) {
                        break;
                    }
                    sent_bytes += size(body);
                }
                let (boot, sequence) = key;
                let backfill = boot != self.boot || sequence < fresh;
                let record = || Record { boot, sequence, backfill, code, body: body.to_vec() };
                match pace(&key) {
                    Pace::Wait => {}
                    Pace::Alone => {
                        alone.get_or_insert_with(record);
                    }
                    Pace::Company if message.has_room_for(body) => message.push(record()),
                    Pace::Company => break,
                }
            }
        }
        if message.is_empty()
            && let Some(record) = alone
        {
            message.push(record);
        }
        message.sent = sent;
        Ok(message)
    }

    /// Notes that the intervals of a message may have been sent, if they are still what they were.
    fn note(&self, message: &Message) -> Result<Noted, SpoolError> {
        let key = |record: &Record| (record.boot, record.sequence);
        let unsent = message.records.iter().filter(|record| record.code == record::INTERVAL);
        let unsent: Vec<_> = unsent.filter(|record| Some(key(record)) > message.sent).collect();
        let Some(last) = unsent.iter().map(|record| key(record)).max() else {
            return Ok(Noted::Yes);
        };
        let _marking = match self.marking.try_lock() {
            Ok(marking) => marking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(Noted::NotNow),
        };
        let transaction = self.database.begin_write()?;
        {
            let intervals = transaction.open_table(INTERVALS)?;
            for record in unsent {
                let stored = intervals.get(key(record))?;
                if stored.is_none_or(|stored| stored.value().1 != record.body) {
                    return Ok(Noted::Merged);
                }
            }
            let mut table = transaction.open_table(SENT)?;
            let before = table.get(())?.map(|key| key.value());
            table.insert((), before.map_or(last, |before| before.max(last)))?;
        }
        transaction.commit()?;
        Ok(Noted::Yes)
    }

    /// Notes that all intervals that wait may be with somebody else soon; gives the last of them. One
    /// that is written later may be merged.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(super) fn note_all(&self) -> Result<Option<Key>, SpoolError> {
        let transaction = self.database.begin_write()?;
        let noted;
        {
            let last = transaction.open_table(INTERVALS)?.last()?.map(|(key, _)| key.value());
            let Some(last) = last.max(merging::sent(&transaction)?) else { return Ok(None) };
            transaction.open_table(SENT)?.insert((), last)?;
            noted = last;
        }
        transaction.commit()?;
        Ok(Some(noted))
    }
}

/// Records that go together.
#[derive(Default)]
pub(super) struct Message {
    pub(super) records: Vec<Record>,
    bytes: usize,
    /// The last interval of which it was noted that it may have been sent.
    sent: Option<Key>,
}

impl Message {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record of this body goes with the others. There is room for one, whatever its size.
    pub(super) fn has_room_for(&self, body: &[u8]) -> bool {
        self.is_empty()
            || self.records.len() < BATCH_RECORDS_MAX && self.bytes + body.len() <= BATCH_BYTES_MAX
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.body.len();
        self.records.push(record);
    }

    fn batch(self) -> Result<Option<Batch>, SpoolError> {
        if self.is_empty() {
            return Ok(None);
        }
        let keys = self.records.iter().map(|record| (record.boot, record.sequence)).collect();
        Ok(Some((self.encode()?, keys)))
    }

    pub(super) fn encode(self) -> Result<Vec<u8>, SpoolError> {
        encode(&Telemetry { records: self.records })
            .map_err(|error| SpoolError::Record(error.to_string()))
    }
}
