//! `Record -> message`: what waits, as it is at one moment, in messages that the server takes.
//!
//! The database shows who reads it what was committed when he began, so nobody who writes is kept
//! waiting, however much there is to read.

use super::{EVENTS, INTERVALS, Key, SpoolError};
use crate::database::Database;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{Record, Telemetry};
use redb::ReadableTable;
use std::sync::Arc;

/// Records that one message may carry.
const BATCH_RECORDS_MAX: usize = 200;
/// Bytes of bodies that one message may carry.
const BATCH_BYTES_MAX: usize = 256 << 10;

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
}

impl Waiting {
    /// The next records to be sent, events first, oldest first, as one message and the keys of its
    /// records; none if there are none. Records of earlier starts, and those below `fresh`, waited
    /// out an interruption. `pace` says what is not to be sent now, and what only by itself.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn batch(
        &self,
        fresh: u64,
        pace: impl Fn(&Key) -> Pace,
    ) -> Result<Option<Batch>, SpoolError> {
        let transaction = self.database.begin_read()?;
        let (mut message, mut alone) = (Message::default(), None);
        for table in [EVENTS, INTERVALS] {
            for entry in transaction.open_table(table)?.iter()? {
                let (key, value) = entry?;
                let (key, (code, body)) = (key.value(), value.value());
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
        if message.is_empty() {
            return Ok(None);
        }
        let keys = message.records.iter().map(|record| (record.boot, record.sequence)).collect();
        Ok(Some((message.encode()?, keys)))
    }
}

/// Records that go together.
#[derive(Default)]
pub(super) struct Message {
    pub(super) records: Vec<Record>,
    bytes: usize,
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

    pub(super) fn encode(self) -> Result<Vec<u8>, SpoolError> {
        encode(&Telemetry { records: self.records })
            .map_err(|error| SpoolError::Record(error.to_string()))
    }
}
