//! What leaves the spool: records that the server has stored, and the oldest where there is no room.

use super::merging;
use super::{BYTES, Key, Spool, SpoolError, TABLES, size};
use crate::failpoint;
use lineside_wire::v1::Ack;
use redb::{Table, WriteTransaction};

/// Ranges of an acknowledgement that are looked at.
const ACK_RANGES_MAX: usize = 4096;

impl Spool {
    /// Removes what the server has stored.
    ///
    /// # Errors
    /// [`SpoolError::Database`]; it is acknowledged again when it is sent again.
    pub fn acked(&mut self, ack: &Ack) -> Result<(), SpoolError> {
        let transaction = self.database.begin_write()?;
        let mut freed = Freed::default();
        for table in TABLES {
            freed.of(&mut transaction.open_table(table)?, ack, (u64::MAX, u64::MAX))?;
        }
        self.let_go(transaction, &freed)
    }

    /// Has it on the medium that records are gone.
    pub(super) fn let_go(
        &mut self,
        transaction: WriteTransaction,
        freed: &Freed,
    ) -> Result<(), SpoolError> {
        let bytes = self.bytes.saturating_sub(freed.bytes);
        transaction.open_table(BYTES)?.insert((), bytes)?;
        let committed = failpoint::pass("spool.ack")
            .map_err(redb::Error::Io)
            .and_then(|()| Ok(transaction.commit()?))
            .and_then(|()| failpoint::pass("spool.acked").map_err(redb::Error::Io));
        if let Err(error) = committed {
            self.recount();
            return Err(error.into());
        }
        self.bytes = bytes;
        Ok(())
    }
}

/// Records that were removed.
#[derive(Default)]
pub(super) struct Freed {
    pub(super) records: usize,
    pub(super) bytes: u64,
}

impl Freed {
    /// Removes what the server has stored from a table, up to the record `last`.
    pub(super) fn of(
        &mut self,
        table: &mut Table<'_, Key, (u16, &'static [u8])>,
        stored: &Ack,
        last: Key,
    ) -> Result<(), SpoolError> {
        for (first, end) in stored.ranges.iter().take(ACK_RANGES_MAX) {
            let (first, end) = ((stored.boot, *first), (stored.boot, *end).min(last));
            if first > end {
                continue;
            }
            for entry in table.extract_from_if(first..=end, |_, _| true)? {
                self.records += 1;
                self.bytes += size(entry?.1.value().1);
            }
        }
        Ok(())
    }
}

/// Records that gave way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GaveWay {
    /// Entries that were removed.
    pub(super) entries: usize,
    /// What they count as: one that others were merged into counts as these.
    pub(super) gave_way: u64,
    /// The bytes that they took.
    pub(super) bytes: u64,
}

impl GaveWay {
    pub(super) fn add(&mut self, record: (u16, &[u8])) {
        self.entries += 1;
        self.gave_way = self.gave_way.saturating_add(merging::count(record));
        self.bytes = self.bytes.saturating_add(size(record.1));
    }
}

/// Removes the oldest record of a table, if it has any.
pub(super) fn oldest(
    table: &mut Table<'_, Key, (u16, &'static [u8])>,
) -> Result<Option<GaveWay>, SpoolError> {
    Ok(table.pop_first()?.map(|(_, value)| {
        let mut gone = GaveWay::default();
        gone.add(value.value());
        gone
    }))
}
