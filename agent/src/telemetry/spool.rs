//! Records on disk, until the server has said that they are stored.
//!
//! Three tables, because alerts are told before events and outlive them, as these do intervals: where the bound
//! is reached intervals that were never sent are merged, then the oldest give way, then the oldest events, then
//! alerts. What gave way shows as a gap in the numbers, and is told by a record of its own.

mod aging;
mod answers;
mod carried;
mod freed;
mod merging;
#[cfg(test)]
mod tests;
mod waiting;

pub use carried::Load;
pub use waiting::{Allowed, Batch, Pace, Waiting};

use crate::clock::now_unix_ms;
use crate::database::Database;
use crate::failpoint;
use crate::telemetry::outcomes::Changes;
use aging::{DAYS, RAN};
use answers::{ANSWERS, ASKED};
use carried::{CARRIED, CARRIED_TO};
use freed::oldest;
use lineside_update::Report;
use lineside_wire::v1::{Body, Event, Interval, Quality, Record, event, record};
use merging::{AHEAD, NOTED, SENT};
use redb::{ReadableTable, TableDefinition, TableHandle};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Start of the device, and number of the record within it.
pub type Key = (u64, u64);
/// What is written of slots; none where it is gone.
type BySlot<T> = BTreeMap<String, Option<T>>;
type Numbered = TableDefinition<'static, Key, (u16, &'static [u8])>;

/// Kinds of records that count things: they can be merged, and give way before events.
const SUMMARIES: [u16; 3] = [record::INTERVAL, record::QUALITY, record::QUALITY_MERGED];

/// Those of [`SUMMARIES`].
const INTERVALS: Numbered = TableDefinition::new("spool/intervals");
/// All others; an agent before this one had its alerts here as well.
const EVENTS: Numbered = TableDefinition::new("spool/events");
const ALERTS: Numbered = TableDefinition::new("spool/alerts");
/// Where records wait; those that give way first come first.
const TABLES: [Numbered; 3] = [INTERVALS, EVENTS, ALERTS];
/// The start that wrote last, and the number after its last record, which may be gone by now.
const NEXT: TableDefinition<(), (u64, u64)> = TableDefinition::new("spool/next");
/// Slot: the interval that is open.
const OPEN: TableDefinition<&str, &[u8]> = TableDefinition::new("spool/open");
/// Slot: how far its rules are.
const JUDGED: TableDefinition<&str, &[u8]> = TableDefinition::new("spool/judged");
/// What outcomes say that is not told yet.
const QUALITIES: TableDefinition<u64, &[u8]> = TableDefinition::new("spool/qualities");
/// The bytes that wait, so that a start need not read them all.
const BYTES: TableDefinition<(), u64> = TableDefinition::new("spool/bytes");
/// Records that gave way and of which nothing has been told yet.
const GAVE_WAY: TableDefinition<(), u64> = TableDefinition::new("spool/gave-way");
/// Slot: the number of the last report of the update engine that was taken.
const REPORTED: TableDefinition<&str, u64> = TableDefinition::new("spool/reported");
/// Largest body of a record, in bytes: a message must have room for one.
const BODY_BYTES_MAX: usize = 512 << 10;
/// Bytes that the database needs for a record besides its body, roughly.
const RECORD_BYTES: u64 = 48;
/// What may have been sent and wait on, as a part of all that may wait.
const SENT_PART: u64 = 2;
/// What is made free by merging, as a part of all that may wait: so that not every record begins it anew.
const FREED_PART: u64 = 8;

/// Why the spool does not answer.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The database.
    #[error("the spool in state.redb cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// A record that cannot be written.
    #[error("a record cannot be written: {0}")]
    Record(String),
    /// A receipt for a report that was never written here.
    #[error(
        "the receipt is for report {number}, and the last one that was written here is {last}: was \
         the device's state lost since?"
    )]
    Unwritten {
        /// The report.
        number: u64,
        /// The last report.
        last: u64,
    },
    /// A receipt older than one that was taken.
    #[error("the receipt is for report {number}, and one for report {seen} was taken before")]
    Outdated {
        /// The report.
        number: u64,
        /// The report of the last receipt.
        seen: u64,
    },
}

impl<E: Into<redb::Error>> From<E> for SpoolError {
    fn from(error: E) -> SpoolError {
        SpoolError::Database(Box::new(error.into()))
    }
}

/// What is still being counted.
#[derive(Debug, Clone, Copy)]
pub struct Open<'a> {
    /// The interval of each slot; none where none is open any longer.
    pub intervals: &'a BySlot<Interval>,
    /// How far the rules of slots are by these records; where none is named, as they were.
    pub judged: &'a BySlot<Vec<u8>>,
    /// What outcomes say, in place of what they said before; none where that stays.
    pub qualities: Option<&'a [Quality]>,
    /// What has changed of the answers of slots whose outcomes may come; none where they are forgotten.
    pub answers: &'a BySlot<Changes>,
}

/// The spool.
pub struct Spool {
    database: Arc<Database>,
    boot: u64,
    next: u64,
    bytes: u64,
    bytes_max: u64,
    /// As in [`GAVE_WAY`].
    gave_way: u64,
    /// Days of running that a record may wait.
    days_max: u64,
    /// How long the device had been running when this was opened, and when that was.
    ran_before: Duration,
    opened: Instant,
    /// Held by whoever notes what is sent.
    marking: Arc<Mutex<()>>,
}

impl Spool {
    /// Opens the spool in `database`, for the device's start number `boot`; it keeps to `bytes_max`.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn open(database: Arc<Database>, boot: u64, bytes_max: u64) -> Result<Spool, SpoolError> {
        let tables = [INTERVALS.name(), EVENTS.name(), BYTES.name(), OPEN.name(), REPORTED.name()];
        let carried = [CARRIED.name(), CARRIED_TO.name(), SENT.name(), DAYS.name(), RAN.name()];
        let tables =
            [tables.as_slice(), &carried, &[GAVE_WAY.name(), JUDGED.name(), QUALITIES.name()]]
                .concat();
        let tables =
            [tables.as_slice(), &[AHEAD.name(), NOTED.name(), ANSWERS.name(), ASKED.name()]]
                .concat();
        database.have_tables(&tables, |transaction| {
            transaction.open_table(INTERVALS)?;
            transaction.open_table(EVENTS)?;
            transaction.open_table(ALERTS)?;
            transaction.open_table(BYTES)?;
            transaction.open_table(NEXT)?;
            transaction.open_table(OPEN)?;
            transaction.open_table(REPORTED)?;
            transaction.open_table(CARRIED)?;
            transaction.open_table(CARRIED_TO)?;
            transaction.open_table(SENT)?;
            transaction.open_table(AHEAD)?;
            transaction.open_table(ANSWERS)?;
            transaction.open_table(ASKED)?;
            transaction.open_table(DAYS)?;
            transaction.open_table(RAN)?;
            transaction.open_table(GAVE_WAY)?;
            transaction.open_table(JUDGED)?;
            transaction.open_table(QUALITIES)?;
            merging::note_those_before(transaction)
        })?;
        let (next, bytes, gave_way, marking) = (0, 0, 0, Arc::default());
        let ran_ms = database.begin_read()?.open_table(RAN)?.get(())?.map_or(0, |ms| ms.value());
        let (ran_before, opened) = (Duration::from_millis(ran_ms), Instant::now());
        let days_max = u64::MAX;
        let mut spool = Spool {
            database,
            boot,
            next,
            bytes,
            bytes_max,
            gave_way,
            days_max,
            ran_before,
            opened,
            marking,
        };
        // A start that could not be counted may have the number of the one before.
        (spool.next, spool.bytes, spool.gave_way) = spool.count()?;
        // Nor may it use the numbers of what has gone by a receipt: that would take the new ones along.
        let carried_to = spool.database.begin_read()?.open_table(CARRIED_TO)?;
        for entry in carried_to.iter()? {
            let (of, sequence) = entry?.1.value();
            if of == boot {
                spool.next = spool.next.max(sequence.saturating_add(1));
            }
        }
        Ok(spool)
    }

    /// The same, with records giving way that have waited for more than so many days of running.
    pub fn for_days(self, days_max: u64) -> Spool {
        Spool { days_max, ..self }
    }

    /// The number after the last record of this start that was on disk, the bytes of all, and how many
    /// gave way of which nothing has been told.
    fn count(&self) -> Result<(u64, u64, u64), SpoolError> {
        let transaction = self.database.begin_read()?;
        let mut next = 0;
        for table in TABLES {
            let table = transaction.open_table(table)?;
            let last = table.range((self.boot, 0)..=(self.boot, u64::MAX))?.next_back();
            if let Some(last) = last.transpose()? {
                next = next.max(last.0.value().1.saturating_add(1));
            }
        }
        // The server may have stored the last ones, and they are gone: it knows their numbers.
        if let Some(noted) = transaction.open_table(NEXT)?.get(())?
            && noted.value().0 == self.boot
        {
            next = next.max(noted.value().1);
        }
        let gave_way = transaction.open_table(GAVE_WAY)?.get(())?.map_or(0, |count| count.value());
        if let Some(bytes) = transaction.open_table(BYTES)?.get(())? {
            return Ok((next, bytes.value(), gave_way));
        }
        // An agent before this one kept no count, and what it left counts: the next write notes it.
        let mut bytes = 0;
        for table in TABLES {
            for entry in transaction.open_table(table)?.iter()? {
                bytes += size(entry?.1.value().1);
            }
        }
        Ok((next, bytes, gave_way))
    }

    /// Counts anew after a commit has failed: the disk may have taken it and not said so. Gives the
    /// number after the last record of this start, if the disk can be asked now.
    fn recount(&mut self) -> Option<u64> {
        // Only that opens a database again whose disk has failed.
        drop(self.database.begin_write());
        let (next, bytes, gave_way) = self.count().ok()?;
        (self.bytes, self.gave_way) = (bytes, gave_way);
        Some(next)
    }

    /// What waits in it. Who reads it keeps nobody waiting who writes.
    pub fn waiting(&self) -> Waiting {
        let marking = self.marking.clone();
        let (database, sent_bytes_max) = (self.database.clone(), self.bytes_max / SENT_PART);
        Waiting { database, boot: self.boot, sent_bytes_max, marking }
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes records, and the intervals that are open now, in one transaction.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written.
    pub fn write(
        &mut self,
        bodies: &[Body],
        open: &BTreeMap<String, Option<Interval>>,
    ) -> Result<(), SpoolError> {
        let (judged, answers) = (&BTreeMap::new(), &BTreeMap::new());
        let open = Open { intervals: open, judged, qualities: None, answers };
        self.write_with(bodies, open, 0)
    }

    /// The same, with all that is still being counted, and where the records tell of so many of those that
    /// [`Spool::gave_way`] counts.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written, and these count on.
    pub fn write_with(
        &mut self,
        bodies: &[Body],
        open: Open<'_>,
        told: u64,
    ) -> Result<(), SpoolError> {
        self.transact(bodies, open, told, None).map(drop)
    }

    /// Writes the event that tells of a report, unless that report was taken before. Returns whether
    /// it is new.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written.
    pub fn report(&mut self, slot: &str, report: &Report, body: &Body) -> Result<bool, SpoolError> {
        let bodies = std::slice::from_ref(body);
        let (intervals, judged) = (&BTreeMap::new(), &BTreeMap::new());
        let open = Open { intervals, judged, qualities: None, answers: &BTreeMap::new() };
        self.transact(bodies, open, 0, Some((slot, report.number)))
    }

    fn transact(
        &mut self,
        bodies: &[Body],
        open: Open<'_>,
        told: u64,
        report: Option<(&str, u64)>,
    ) -> Result<bool, SpoolError> {
        let transaction = self.database.begin_write()?;
        let (mut next, mut bytes) = (self.next, self.bytes);
        let mut gave_way = self.gave_way.saturating_sub(told);
        let mut missed = None;
        let sent = merging::sent(&transaction)?;
        let ran = self.ran_before.saturating_add(self.opened.elapsed());
        let aged = aging::age(&transaction, ran, (self.boot, next), self.days_max)?;
        bytes = bytes.saturating_sub(aged.bytes);
        gave_way = gave_way.saturating_add(aged.gave_way);
        {
            let mut intervals = transaction.open_table(INTERVALS)?;
            let mut events = transaction.open_table(EVENTS)?;
            let mut alerts = transaction.open_table(ALERTS)?;
            if let Some((slot, number)) = report {
                let mut reported = transaction.open_table(REPORTED)?;
                let last = reported.get(slot)?.map(|last| last.value());
                if last.is_some_and(|last| number <= last) {
                    return Ok(false);
                }
                reported.insert(slot, number)?;
                // Where nobody knows the last one, nobody knows what came between.
                missed = last.and_then(|last| gave_way_before(slot, number - last - 1));
            }
            for body in missed.iter().chain(bodies) {
                let (code, coded) =
                    body.encode().map_err(|error| SpoolError::Record(error.to_string()))?;
                if coded.len() > BODY_BYTES_MAX {
                    // No message could carry it, and all others would wait behind it.
                    tracing::error!(
                        "a record of {} bytes gives way: at most {BODY_BYTES_MAX} can be sent",
                        coded.len()
                    );
                    gave_way = gave_way.saturating_add(1);
                    continue;
                }
                let needed = bytes.saturating_add(size(&coded));
                if needed > self.bytes_max {
                    let (over, wanted) = (needed - self.bytes_max, self.bytes_max / FREED_PART);
                    let ahead = merging::ahead(&transaction)?;
                    let freed = merging::merge(&mut intervals, (sent, &ahead), over, wanted)?;
                    bytes = bytes.saturating_sub(freed);
                }
                while bytes + size(&coded) > self.bytes_max {
                    let mut freed = None;
                    for table in [&mut intervals, &mut events, &mut alerts] {
                        if freed.is_none() {
                            freed = oldest(table)?;
                        }
                    }
                    let Some(freed) = freed else { break };
                    bytes = bytes.saturating_sub(freed.bytes);
                    gave_way = gave_way.saturating_add(freed.gave_way);
                }
                bytes += size(&coded);
                let table = match code {
                    record::ALERT => &mut alerts,
                    code if SUMMARIES.contains(&code) => &mut intervals,
                    _ => &mut events,
                };
                table.insert((self.boot, next), (code, &*coded))?;
                next += 1;
            }
            transaction.open_table(BYTES)?.insert((), bytes)?;
            transaction.open_table(NEXT)?.insert((), (self.boot, next))?;
            transaction.open_table(GAVE_WAY)?.insert((), gave_way)?;
            if let Some(qualities) = open.qualities {
                let mut table = transaction.open_table(QUALITIES)?;
                table.retain(|_, _| false)?;
                for (number, quality) in (0..).zip(qualities) {
                    let coded = Body::Quality(Box::new(quality.clone())).encode();
                    let (_, coded) =
                        coded.map_err(|error| SpoolError::Record(error.to_string()))?;
                    table.insert(number, &*coded)?;
                }
            }
            let mut table = transaction.open_table(OPEN)?;
            for (slot, interval) in open.intervals {
                match interval {
                    Some(interval) => {
                        let coded = Body::Interval(Box::new(interval.clone())).encode();
                        let (_, coded) =
                            coded.map_err(|error| SpoolError::Record(error.to_string()))?;
                        table.insert(slot.as_str(), &*coded)?;
                    }
                    None => {
                        table.remove(slot.as_str())?;
                    }
                }
            }
            for (slot, changes) in open.answers {
                answers::write(&transaction, slot, changes.as_ref())?;
            }
            let mut table = transaction.open_table(JUDGED)?;
            for (slot, judged) in open.judged {
                match judged {
                    Some(judged) => table.insert(slot.as_str(), &**judged)?,
                    None => table.remove(slot.as_str())?,
                };
            }
        }
        let committed = failpoint::pass("spool.commit")
            .map_err(redb::Error::Io)
            .and_then(|()| Ok(transaction.commit()?))
            .and_then(|()| failpoint::pass("spool.committed").map_err(redb::Error::Io));
        let before = std::mem::replace(&mut self.next, next);
        if let Err(error) = committed {
            // Its numbers are not given again, as the server may have records under them. Where the
            // disk cannot be asked the records are taken for unwritten: better twice than never.
            let is_there = self.recount() == Some(next) && before < next;
            if !is_there {
                return Err(error.into());
            }
        } else {
            (self.bytes, self.gave_way) = (bytes, gave_way);
        }
        Ok(true)
    }

    /// Records that gave way, and of which nothing has been told yet; one that others were merged into
    /// counts as these. It is on disk with what gave way.
    pub fn gave_way(&self) -> u64 {
        self.gave_way
    }

    /// What outcomes said when it was written last.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn qualities(&self) -> Result<Vec<Quality>, SpoolError> {
        let table = self.database.begin_read()?.open_table(QUALITIES)?;
        let mut qualities = Vec::new();
        for entry in table.iter()? {
            let body = entry?.1.value().to_vec();
            let code = record::QUALITY;
            // As with an interval, one of another version is given up.
            if let Ok(Body::Quality(quality)) =
                (Record { boot: 0, sequence: 0, backfill: false, code, body }).read()
            {
                qualities.push(*quality);
            }
        }
        Ok(qualities)
    }

    /// The slots that have an interval that was open when it was written last.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn open_slots(&self) -> Result<Vec<String>, SpoolError> {
        let table = self.database.begin_read()?.open_table(OPEN)?;
        table.iter()?.map(|entry| Ok(entry?.0.value().to_owned())).collect()
    }

    /// The slots of whose rules something was written.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn judged_slots(&self) -> Result<Vec<String>, SpoolError> {
        let table = self.database.begin_read()?.open_table(JUDGED)?;
        table.iter()?.map(|entry| Ok(entry?.0.value().to_owned())).collect()
    }

    /// How far the rules of `slot` were when that was written last.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn judged(&self, slot: &str) -> Result<Option<Vec<u8>>, SpoolError> {
        judged(&self.database, slot)
    }

    /// The interval of `slot` that was open when it was written last.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn open_interval(&self, slot: &str) -> Result<Option<Interval>, SpoolError> {
        let table = self.database.begin_read()?.open_table(OPEN)?;
        let Some(coded) = table.get(slot)? else { return Ok(None) };
        let body = coded.value().to_vec();
        let record = Record { boot: 0, sequence: 0, backfill: false, code: record::INTERVAL, body };
        // One that a newer agent wrote is given up: it is a summary, and the next one is near.
        Ok(match record.read() {
            Ok(Body::Interval(interval)) => Some(*interval),
            _ => None,
        })
    }
}

/// How far the rules of `slot` were when that was written last; nothing where there is no spool yet.
///
/// # Errors
/// [`SpoolError::Database`].
pub fn judged(database: &Database, slot: &str) -> Result<Option<Vec<u8>>, SpoolError> {
    let table = match database.begin_read()?.open_table(JUDGED) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(slot)?.map(|judged| judged.value().to_vec()))
}

/// Tells that so many reports of a slot are gone: the slot keeps a few, and the disk has taken none of
/// them in time.
fn gave_way_before(slot: &str, count: u64) -> Option<Body> {
    let text = match count {
        0 => return None,
        1 => "a report of this slot gave way before the disk took it".to_owned(),
        count => format!("{count} reports of this slot gave way before the disk took them"),
    };
    let (slot, kind) = (slot.to_owned(), event::RECORDS_DROPPED);
    Some(Body::Event(Event { slot, kind, release: None, text, at_unix_ms: now_unix_ms() }))
}

fn size(body: &[u8]) -> u64 {
    RECORD_BYTES + body.len() as u64
}
