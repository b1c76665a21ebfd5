//! Records on disk, until the server has said that they are stored.
//!
//! Two tables, because events outlive intervals: where the bound is reached the oldest intervals
//! give way first. What gave way shows as a gap in the numbers, and is told by a record of its own.

mod carried;
mod waiting;

pub use carried::Load;
pub use waiting::{Batch, Pace, Waiting};

use crate::clock::now_unix_ms;
use crate::database::Database;
use crate::failpoint;
use carried::{CARRIED, CARRIED_TO};
use lineside_update::Report;
use lineside_wire::v1::{Ack, Body, Event, Interval, Record, event, record};
use redb::{ReadableTable, Table, TableDefinition, TableHandle, WriteTransaction};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Start of the device, and number of the record within it.
pub type Key = (u64, u64);
type Numbered = TableDefinition<'static, Key, (u16, &'static [u8])>;

const INTERVALS: Numbered = TableDefinition::new("spool/intervals");
const EVENTS: Numbered = TableDefinition::new("spool/events");
/// Slot: the interval that is open.
const OPEN: TableDefinition<&str, &[u8]> = TableDefinition::new("spool/open");
/// The bytes that wait, so that a start need not read them all.
const BYTES: TableDefinition<(), u64> = TableDefinition::new("spool/bytes");
/// Slot: the number of the last report of the update engine that was taken.
const REPORTED: TableDefinition<&str, u64> = TableDefinition::new("spool/reported");
/// Largest body of a record, in bytes: a message must have room for one.
const BODY_BYTES_MAX: usize = 512 << 10;
/// Bytes that the database needs for a record besides its body, roughly.
const RECORD_BYTES: u64 = 48;
/// Ranges of an acknowledgement that are looked at.
const ACK_RANGES_MAX: usize = 4096;

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

/// The spool.
pub struct Spool {
    database: Arc<Database>,
    boot: u64,
    next: u64,
    bytes: u64,
    bytes_max: u64,
    /// Records that gave way and of which nothing has been told yet.
    gave_way: u64,
}

impl Spool {
    /// Opens the spool in `database`, for the device's start number `boot`; it keeps to `bytes_max`.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn open(database: Arc<Database>, boot: u64, bytes_max: u64) -> Result<Spool, SpoolError> {
        let tables = [INTERVALS.name(), EVENTS.name(), BYTES.name(), OPEN.name(), REPORTED.name()];
        let carried = [CARRIED.name(), CARRIED_TO.name()];
        database.have_tables(&[tables.as_slice(), &carried].concat(), |transaction| {
            transaction.open_table(INTERVALS)?;
            transaction.open_table(EVENTS)?;
            transaction.open_table(BYTES)?;
            transaction.open_table(OPEN)?;
            transaction.open_table(REPORTED)?;
            transaction.open_table(CARRIED)?;
            transaction.open_table(CARRIED_TO)?;
            Ok(())
        })?;
        let mut spool = Spool { database, boot, next: 0, bytes: 0, bytes_max, gave_way: 0 };
        // A start that could not be counted may have the number of the one before.
        (spool.next, spool.bytes) = spool.count()?;
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

    /// The number after the last record of this start that is on disk, and the bytes of all.
    fn count(&self) -> Result<(u64, u64), SpoolError> {
        let transaction = self.database.begin_read()?;
        let mut next = 0;
        for table in [INTERVALS, EVENTS] {
            let table = transaction.open_table(table)?;
            let last = table.range((self.boot, 0)..=(self.boot, u64::MAX))?.next_back();
            if let Some(last) = last.transpose()? {
                next = next.max(last.0.value().1.saturating_add(1));
            }
        }
        if let Some(bytes) = transaction.open_table(BYTES)?.get(())? {
            return Ok((next, bytes.value()));
        }
        // An agent before this one kept no count, and what it left counts: the next write notes it.
        let mut bytes = 0;
        for table in [INTERVALS, EVENTS] {
            for entry in transaction.open_table(table)?.iter()? {
                bytes += size(entry?.1.value().1);
            }
        }
        Ok((next, bytes))
    }

    /// Counts anew after a commit has failed: the disk may have taken it and not said so. Gives the
    /// number after the last record of this start, if the disk can be asked now.
    fn recount(&mut self) -> Option<u64> {
        // Only that opens a database again whose disk has failed.
        drop(self.database.begin_write());
        let (next, bytes) = self.count().ok()?;
        self.bytes = bytes;
        Some(next)
    }

    /// What waits in it. Who reads it keeps nobody waiting who writes.
    pub fn waiting(&self) -> Waiting {
        Waiting { database: self.database.clone(), boot: self.boot }
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
        self.transact(bodies, open, None).map(drop)
    }

    /// Writes the event that tells of a report, unless that report was taken before. Returns whether
    /// it is new.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written.
    pub fn report(&mut self, slot: &str, report: &Report, body: &Body) -> Result<bool, SpoolError> {
        let bodies = std::slice::from_ref(body);
        self.transact(bodies, &BTreeMap::new(), Some((slot, report.number)))
    }

    fn transact(
        &mut self,
        bodies: &[Body],
        open: &BTreeMap<String, Option<Interval>>,
        report: Option<(&str, u64)>,
    ) -> Result<bool, SpoolError> {
        let transaction = self.database.begin_write()?;
        let (mut next, mut bytes, mut gave_way) = (self.next, self.bytes, 0);
        let mut missed = None;
        {
            let mut intervals = transaction.open_table(INTERVALS)?;
            let mut events = transaction.open_table(EVENTS)?;
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
                    gave_way += 1;
                    continue;
                }
                while bytes + size(&coded) > self.bytes_max {
                    let freed = match oldest(&mut intervals)? {
                        None => oldest(&mut events)?,
                        interval => interval,
                    };
                    let Some(freed) = freed else { break };
                    bytes = bytes.saturating_sub(freed);
                    gave_way += 1;
                }
                bytes += size(&coded);
                let table = if code == record::INTERVAL { &mut intervals } else { &mut events };
                table.insert((self.boot, next), (code, &*coded))?;
                next += 1;
            }
            transaction.open_table(BYTES)?.insert((), bytes)?;
            let mut table = transaction.open_table(OPEN)?;
            for (slot, interval) in open {
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
            self.bytes = bytes;
        }
        self.gave_way += gave_way;
        Ok(true)
    }

    /// Records that gave way since this was asked last.
    pub fn gave_way(&mut self) -> u64 {
        std::mem::take(&mut self.gave_way)
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

    /// Removes what the server has stored.
    ///
    /// # Errors
    /// [`SpoolError::Database`]; it is acknowledged again when it is sent again.
    pub fn acked(&mut self, ack: &Ack) -> Result<(), SpoolError> {
        let transaction = self.database.begin_write()?;
        let mut freed = Freed::default();
        for table in [INTERVALS, EVENTS] {
            freed.of(&mut transaction.open_table(table)?, ack, (u64::MAX, u64::MAX))?;
        }
        self.let_go(transaction, &freed)
    }

    /// Has it on the medium that records are gone.
    fn let_go(&mut self, transaction: WriteTransaction, freed: &Freed) -> Result<(), SpoolError> {
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

/// Records that were removed.
#[derive(Default)]
struct Freed {
    records: usize,
    bytes: u64,
}

impl Freed {
    /// Removes what the server has stored from a table, up to the record `last`.
    fn of(
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

/// Removes the oldest record of a table; gives the bytes that it took.
fn oldest(table: &mut Table<'_, Key, (u16, &'static [u8])>) -> Result<Option<u64>, SpoolError> {
    let first = table.pop_first()?;
    Ok(first.map(|(_, value)| size(value.value().1)))
}

fn size(body: &[u8]) -> u64 {
    RECORD_BYTES + body.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use lineside_update::ReportKind;
    use lineside_wire::envelope::decode;
    use lineside_wire::v1::{Event, Telemetry, event};

    pub(super) fn event(text: &str) -> Body {
        let (slot, text) = ("line".into(), text.into());
        Body::Event(Event { slot, kind: event::ALARM, release: None, text, at_unix_ms: 1 })
    }

    pub(super) fn interval(frames: u64) -> Body {
        Body::Interval(Box::new(open_interval(frames)))
    }

    fn open_interval(frames: u64) -> Interval {
        let release = lineside_wire::v1::ReleaseRef {
            name: "echo".into(),
            version: "1".into(),
            digest: [1; 32],
        };
        Interval {
            slot: "line".into(),
            release,
            start_unix_ms: 0,
            end_unix_ms: 1,
            readings: 0,
            late_readings: 0,
            frames,
            findings: 0,
            alarms: 0,
            doubled: 0,
            errors: vec![],
            dropped: vec![],
            latency_us: Default::default(),
            inputs: vec![],
            outputs: vec![],
            resources: Default::default(),
        }
    }

    pub(super) fn none() -> BTreeMap<String, Option<Interval>> {
        BTreeMap::new()
    }

    pub(super) fn keys(spool: &Spool) -> Vec<Key> {
        spool
            .waiting()
            .batch(0, |_| Pace::Company)
            .unwrap()
            .map(|(_, keys)| keys)
            .unwrap_or_default()
    }

    #[test]
    fn records_stay_until_they_are_acknowledged_whatever_happens_meanwhile() {
        let database = in_memory();
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        spool.write(&[interval(1), event("a"), interval(2)], &none()).unwrap();
        assert_eq!(keys(&spool), [(1, 1), (1, 0), (1, 2)], "events come first");
        let pace = |key: &Key| if *key == (1, 2) { Pace::Wait } else { Pace::Company };
        let (message, _) = spool.waiting().batch(1, pace).unwrap().unwrap();
        let records = decode::<Telemetry>(&message).unwrap().records;
        assert_eq!(records.iter().map(|r| r.backfill).collect::<Vec<_>>(), [false, true]);
        drop(spool);
        let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
        spool.write(&[event("b")], &none()).unwrap();
        assert_eq!(keys(&spool), [(1, 1), (2, 0), (1, 0), (1, 2)]);
        for ranges in [vec![(5, 2)], vec![(7, u64::MAX)], vec![]] {
            spool.acked(&Ack { boot: 1, ranges }).unwrap();
        }
        assert_eq!(keys(&spool).len(), 4, "what was not sent is not taken for stored");
        spool.acked(&Ack { boot: 1, ranges: vec![(0, 1)] }).unwrap();
        assert_eq!(keys(&spool), [(2, 0), (1, 2)]);
        spool.acked(&Ack { boot: 1, ranges: vec![(0, u64::MAX)] }).unwrap();
        spool.acked(&Ack { boot: 2, ranges: vec![(0, 0)] }).unwrap();
        assert_eq!(
            (spool.bytes(), spool.waiting().batch(0, |_| Pace::Company).unwrap()),
            (0, None)
        );
    }

    #[test]
    fn a_record_that_went_unanswered_is_sent_by_itself_after_the_others() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        spool.write(&[event("a"), event("poison"), event("b")], &none()).unwrap();
        let sent = |wait: &[u64]| {
            let pace = |(_, sequence): &Key| match sequence {
                sequence if wait.contains(sequence) => Pace::Wait,
                1 => Pace::Alone,
                _ => Pace::Company,
            };
            spool.waiting().batch(0, pace).unwrap().map(|(_, keys)| keys).unwrap_or_default()
        };
        assert_eq!(sent(&[]), [(1, 0), (1, 2)]);
        assert_eq!(sent(&[0, 2]), [(1, 1)]);
        assert_eq!(sent(&[0, 1, 2]), []);
    }

    #[test]
    fn a_record_that_no_message_can_carry_gives_way_and_stops_no_other() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 30).unwrap();
        let huge = event(&"x".repeat(BODY_BYTES_MAX));
        let large = event(&"x".repeat(BODY_BYTES_MAX - 100));
        spool.write(&[event("a"), huge, large.clone(), large, event("b")], &none()).unwrap();
        assert_eq!(spool.gave_way(), 1);
        let mut messages = 0;
        while let Some((_, keys)) = spool.waiting().batch(0, |_| Pace::Company).unwrap() {
            messages += 1;
            let ranges = keys.iter().map(|(_, sequence)| (*sequence, *sequence)).collect();
            spool.acked(&Ack { boot: 1, ranges }).unwrap();
        }
        assert_eq!(messages, 4, "each of the large ones goes by itself");
    }

    #[test]
    fn a_full_spool_gives_up_old_intervals_and_keeps_events() {
        let mut spool = Spool::open(in_memory(), 1, 4096).unwrap();
        spool.write(&[event("kept")], &none()).unwrap();
        for frames in 0..500 {
            spool.write(&[interval(frames)], &none()).unwrap();
            assert!(spool.bytes() <= 4096);
        }
        let kept = keys(&spool);
        assert_eq!(kept[0], (1, 0), "the event");
        assert_eq!(kept.last(), Some(&(1, 500)), "the newest interval");
        assert_eq!(spool.gave_way(), 501 - kept.len() as u64);
        assert_eq!(spool.gave_way(), 0);
        for number in 0..500 {
            spool.write(&[event(&number.to_string())], &none()).unwrap();
        }
        assert!(spool.bytes() <= 4096 && !keys(&spool).is_empty());
    }

    #[test]
    fn what_an_agent_has_left_that_kept_no_count_keeps_to_the_bound_as_well() {
        let database = in_memory();
        let mut spool = Spool::open(database.clone(), 1, 4096).unwrap();
        while spool.gave_way() == 0 {
            spool.write(&[event("kept"), interval(1)], &none()).unwrap();
        }
        let (bytes, records) = (spool.bytes(), keys(&spool).len());
        drop(spool);
        let transaction = database.begin_write().unwrap();
        assert!(transaction.delete_table(BYTES).unwrap());
        transaction.commit().unwrap();

        let mut spool = Spool::open(database.clone(), 2, 4096).unwrap();
        assert_eq!((spool.bytes(), keys(&spool).len()), (bytes, records));
        spool.write(&[event("kept"), interval(1)], &none()).unwrap();
        assert!(spool.gave_way() > 0 && spool.bytes() <= 4096);
        for boot in [1, 2] {
            spool.acked(&Ack { boot, ranges: vec![(0, u64::MAX - 1)] }).unwrap();
        }
        assert_eq!((spool.bytes(), keys(&spool).len()), (0, 0));
        assert_eq!(Spool::open(database, 3, 4096).unwrap().bytes(), 0);
    }

    #[test]
    fn a_report_is_told_once_however_often_it_is_handed_over() {
        let database = in_memory();
        let report = |number| Report {
            number,
            kind: ReportKind::Committed,
            release: None,
            text: "it stays".into(),
        };
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        assert!(spool.report("line", &report(0), &event("0")).unwrap());
        assert!(spool.report("line", &report(1), &event("1")).unwrap());
        assert!(!spool.report("line", &report(1), &event("1")).unwrap());
        assert!(spool.report("other", &report(0), &event("2")).unwrap());
        drop(spool);
        let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
        assert!(!spool.report("line", &report(0), &event("0")).unwrap());
        assert_eq!(keys(&spool).len(), 3);
    }

    #[test]
    fn reports_that_gave_way_before_the_disk_took_them_are_counted_and_told() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        let report = |number| Report {
            number,
            kind: ReportKind::Committed,
            release: None,
            text: "it stays".into(),
        };
        // Of a state that was lost and is numbered from far above nobody knows what came before.
        for number in [7, 8, 12, 14, 14, 15] {
            spool.report("line", &report(number), &event("told")).unwrap();
        }
        let (message, _) = spool.waiting().batch(0, |_| Pace::Company).unwrap().unwrap();
        let told = |record: Record| match record.read().unwrap() {
            Body::Event(event) => (event.kind, event.text),
            Body::Interval(_) | Body::Unknown(_) => panic!("nothing else was written"),
        };
        let records = decode::<Telemetry>(&message).unwrap().records;
        let told: Vec<_> = records.into_iter().map(told).collect();
        let alarm = || (event::ALARM, "told".to_owned());
        let gave_way = |text: &str| (event::RECORDS_DROPPED, text.to_owned());
        let wanted = [
            alarm(),
            alarm(),
            gave_way("3 reports of this slot gave way before the disk took them"),
            alarm(),
            gave_way("a report of this slot gave way before the disk took it"),
            alarm(),
            alarm(),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn the_open_interval_is_there_after_a_restart() {
        let database = in_memory();
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        let open = BTreeMap::from([("line".to_owned(), Some(open_interval(9)))]);
        spool.write(&[], &open).unwrap();
        drop(spool);
        let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
        assert_eq!(spool.open_interval("line").unwrap(), Some(open_interval(9)));
        spool.write(&[interval(9)], &BTreeMap::from([("line".to_owned(), None)])).unwrap();
        assert_eq!(spool.open_interval("line").unwrap(), None);
    }

    #[test]
    fn a_start_that_could_not_be_counted_uses_no_number_twice() {
        let database = in_memory();
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        spool.write(&[event("a"), interval(1)], &none()).unwrap();
        assert_eq!(Spool::open(database, 1, 1 << 20).unwrap().next(), 2);
    }
}
