//! Reports that somebody carries to the server in a file, and the receipts that come back.

use super::freed::Freed;
use super::waiting::{Message, Waiting};
use super::{INTERVALS, Key, Spool, SpoolError, TABLES};
use lineside_wire::v1::{Ack, Record};
use redb::{ReadableTable, TableDefinition, TableHandle};
use std::collections::BTreeMap;

/// The number of the last report that was written for a file, under [`LAST`], and of the last one for
/// which the server has given a receipt, under [`RECEIVED`].
pub(super) const CARRIED: TableDefinition<&str, u64> = TableDefinition::new("spool/carried");
const LAST: &str = "last";
const RECEIVED: &str = "received";
/// By table: the last record that was written into a report. All before it were as well, or are gone:
/// a report takes the oldest of each table, and what is new comes behind them.
pub(super) const CARRIED_TO: TableDefinition<&str, Key> = TableDefinition::new("spool/carried-to");

/// Highest number of a report that a clock may ask for: it may show anything, and there must be
/// numbers after it.
const REPORT_NUMBER_BY_CLOCK_MAX: u64 = 1 << 52;

/// Records for a file that somebody carries to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The number of the report, above that of each before.
    pub number: u64,
    /// How many records it has.
    pub records: usize,
    /// Whether there are more than found a place.
    pub more: bool,
}

impl Waiting {
    /// Gives `take` all records for a file, alerts and events first, oldest first, in messages of at most
    /// `bytes_max` together. They stay until the server says that it has stored them. `now_unix_ms` is
    /// what the device takes for the time: a device whose state was lost goes on with higher numbers by
    /// it.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn load(
        &self,
        bytes_max: usize,
        now_unix_ms: i64,
        take: impl FnMut(Vec<u8>),
    ) -> Result<Load, SpoolError> {
        // Before anything is read: what is in a file is merged with nothing any more.
        let noted = self.note_all()?;
        self.load_to(noted, bytes_max, now_unix_ms, take)
    }

    /// The same, of intervals up to the one that is `noted`.
    fn load_to(
        &self,
        noted: Option<Key>,
        bytes_max: usize,
        now_unix_ms: i64,
        take: impl FnMut(Vec<u8>),
    ) -> Result<Load, SpoolError> {
        let mut writing = Writing {
            take,
            left: bytes_max,
            message: Message::default(),
            ends: BTreeMap::new(),
            records: 0,
            taken_to: BTreeMap::new(),
        };
        let is_whole = writing.write(self, noted)?;
        // Written before it is used: no two reports have one number.
        let transaction = self.database.begin_write()?;
        let number = {
            let mut table = transaction.open_table(CARRIED)?;
            let last = table.get(LAST)?.map_or(0, |last| last.value());
            let now = u64::try_from(now_unix_ms).unwrap_or(0).min(REPORT_NUMBER_BY_CLOCK_MAX);
            let number = now.max(last + 1);
            table.insert(LAST, number)?;
            let mut carried_to = transaction.open_table(CARRIED_TO)?;
            for (table, last) in writing.taken_to {
                let before = carried_to.get(table)?.map(|key| key.value());
                carried_to.insert(table, before.map_or(last, |before| before.max(last)))?;
            }
            number
        };
        transaction.commit()?;
        Ok(Load { number, records: writing.records, more: !is_whole })
    }
}

/// A report that is being written.
struct Writing<T> {
    take: T,
    /// Bytes for which there is a place.
    left: usize,
    message: Message,
    /// By table: the last record in the message.
    ends: BTreeMap<&'static str, Key>,
    /// Records that were taken.
    records: usize,
    /// By table: the last one that was taken.
    taken_to: BTreeMap<&'static str, Key>,
}

impl<T: FnMut(Vec<u8>)> Writing<T> {
    /// Goes through all that waits, once; of intervals, up to the one that is `noted`. Says whether all of it has found a place.
    fn write(&mut self, waiting: &Waiting, noted: Option<Key>) -> Result<bool, SpoolError> {
        let transaction = waiting.database.begin_read()?;
        for table in TABLES.iter().rev() {
            for entry in transaction.open_table(*table)?.iter()? {
                let (key, value) = entry?;
                let ((boot, sequence), (code, body)) = (key.value(), value.value());
                // It was written meanwhile, and may be merged after it was read here.
                if table.name() == INTERVALS.name() && Some((boot, sequence)) > noted {
                    break;
                }
                if !self.message.has_room_for(body) && !self.hand_over()? {
                    return Ok(false);
                }
                // Whatever waits for a file waited out an interruption.
                let (backfill, body) = (true, body.to_vec());
                self.message.push(Record { boot, sequence, backfill, code, body });
                self.ends.insert(table.name(), (boot, sequence));
            }
        }
        Ok(self.message.is_empty() || self.hand_over()?)
    }

    /// Has the message taken, if there is a place for it.
    fn hand_over(&mut self) -> Result<bool, SpoolError> {
        let message = std::mem::take(&mut self.message);
        let records = message.records.len();
        let message = message.encode()?;
        let Some(left) = self.left.checked_sub(message.len()) else { return Ok(false) };
        (self.left, self.records) = (left, self.records + records);
        self.taken_to.append(&mut self.ends);
        (self.take)(message);
        Ok(true)
    }
}

impl Spool {
    /// Removes what the server has `stored` of report `number`, by its receipt; gives how many records
    /// that were. What was never written into a report stays, whatever the receipt says.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was removed.
    pub fn received(&mut self, number: u64, stored: &[Ack]) -> Result<usize, SpoolError> {
        let transaction = self.database.begin_write()?;
        let mut freed = Freed::default();
        {
            let mut carried = transaction.open_table(CARRIED)?;
            let last = carried.get(LAST)?.map_or(0, |last| last.value());
            let seen = carried.get(RECEIVED)?.map_or(0, |seen| seen.value());
            if number > last {
                return Err(SpoolError::Unwritten { number, last });
            }
            if number < seen {
                return Err(SpoolError::Outdated { number, seen });
            }
            carried.insert(RECEIVED, number)?;
            let carried_to = transaction.open_table(CARRIED_TO)?;
            for records in TABLES {
                let Some(last) = carried_to.get(records.name())?.map(|key| key.value()) else {
                    continue;
                };
                let mut table = transaction.open_table(records)?;
                for ack in stored {
                    freed.of(&mut table, ack, last)?;
                }
            }
        }
        self.let_go(transaction, &freed)?;
        Ok(freed.records)
    }
}

#[cfg(test)]
mod tests {
    use super::super::merging;
    use super::*;
    use crate::database::Database;
    use crate::database::tests::in_memory;
    use crate::telemetry::spool::tests::{event, interval, keys, none};
    use lineside_wire::envelope::decode;
    use lineside_wire::v1::{Body, Telemetry};
    use std::sync::Arc;

    fn load(spool: &Spool, bytes_max: usize, now_unix_ms: i64) -> (Load, Vec<Vec<u8>>) {
        let mut messages = Vec::new();
        let take = |message| messages.push(message);
        let load = spool.waiting().load(bytes_max, now_unix_ms, take).unwrap();
        (load, messages)
    }

    #[test]
    fn a_file_gets_every_record_and_a_higher_number_each_time_and_nothing_is_removed() {
        let database = in_memory();
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        let bodies: Vec<Body> = (0..500).map(|number| event(&number.to_string())).collect();
        spool.write(&bodies, &BTreeMap::new()).unwrap();
        spool.write(&[interval(7)], &BTreeMap::new()).unwrap();
        let (first, messages) = load(&spool, 1 << 20, 100);
        assert_eq!(first, Load { number: 100, records: 501, more: false });
        let mut sequences = Vec::new();
        for message in &messages {
            let message: Telemetry = decode(message).unwrap();
            assert!(message.records.iter().all(|record| record.backfill));
            sequences.extend(message.records.iter().map(|record| record.sequence));
        }
        sequences.sort_unstable();
        assert_eq!(sequences, (0..501).collect::<Vec<u64>>());

        // A clock that was set back, and a start later.
        let (again, same) = load(&spool, 1 << 20, 50);
        assert_eq!((again.number, same), (101, messages));
        let spool = Spool::open(database, 2, 1 << 20).unwrap();
        assert_eq!(load(&spool, 1 << 20, -5).0.number, 102);
    }

    /// A spool with events 0 and 2 and interval 1 of this start, all in a report, and events 3 and 4
    /// that came after it.
    fn carried(database: &Arc<Database>) -> (Spool, u64) {
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        spool.write(&[event("a"), interval(1), event("b")], &none()).unwrap();
        let number = load(&spool, 1 << 20, 100).0.number;
        spool.write(&[event("c"), event("d")], &none()).unwrap();
        (spool, number)
    }

    fn stored(ranges: &[(u64, u64)]) -> [Ack; 1] {
        [Ack { boot: 1, ranges: ranges.to_vec() }]
    }

    #[test]
    fn a_receipt_lets_go_of_exactly_what_was_stored_of_the_report() {
        let database = in_memory();
        let (mut spool, number) = carried(&database);
        let before = spool.bytes();
        // The server could not read one of its messages.
        assert_eq!(spool.received(number, &stored(&[(0, 1)])).unwrap(), 2);
        assert_eq!(keys(&spool), [(1, 2), (1, 3), (1, 4)]);
        assert!(spool.bytes() < before);
        // The same again, a restart later, says nothing new.
        drop(spool);
        let mut spool = Spool::open(database, 2, 1 << 20).unwrap();
        let bytes = spool.bytes();
        assert_eq!(spool.received(number, &stored(&[(0, 1)])).unwrap(), 0);
        assert_eq!((keys(&spool).len(), spool.bytes()), (3, bytes));
    }

    #[test]
    fn a_receipt_that_names_what_was_never_sent_takes_nothing_of_it() {
        let (mut spool, number) = carried(&in_memory());
        let all = [
            Ack { boot: 0, ranges: vec![(0, u64::MAX)] },
            Ack { boot: 1, ranges: vec![(9, 3), (0, u64::MAX)] },
            Ack { boot: u64::MAX, ranges: vec![(0, u64::MAX)] },
        ];
        assert_eq!(spool.received(number, &all).unwrap(), 3);
        assert_eq!(keys(&spool), [(1, 3), (1, 4)]);
        let mut fresh = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        fresh.write(&[event("a")], &none()).unwrap();
        let unwritten = fresh.received(number, &all);
        assert!(matches!(unwritten, Err(SpoolError::Unwritten { number: 100, last: 0 })));
        assert_eq!(keys(&fresh), [(1, 0)]);
    }

    #[test]
    fn a_start_that_could_not_be_counted_loses_nothing_to_an_old_receipt() {
        let database = in_memory();
        let (mut spool, number) = carried(&database);
        assert_eq!(spool.received(number, &stored(&[(0, 2)])).unwrap(), 3);
        spool.acked(&Ack { boot: 1, ranges: vec![(0, 9)] }).unwrap();
        drop(spool);
        let mut spool = Spool::open(database, 1, 1 << 20).unwrap();
        spool.write(&[event("new")], &none()).unwrap();
        assert_eq!(spool.received(number, &stored(&[(0, 2)])).unwrap(), 0);
        // It goes on behind all that the server may know.
        assert_eq!(keys(&spool), [(1, 5)]);
    }

    #[test]
    fn an_older_receipt_is_refused_and_a_later_one_covers_what_came_between() {
        let (mut spool, first) = carried(&in_memory());
        let second = load(&spool, 1 << 20, 0).0.number;
        spool.write(&[event("e")], &none()).unwrap();
        assert_eq!(spool.received(second, &stored(&[(0, 4)])).unwrap(), 5);
        let older = spool.received(first, &stored(&[(0, 2)]));
        assert!(matches!(older, Err(SpoolError::Outdated { number: 100, seen: 101 })));
        assert_eq!(keys(&spool), [(1, 5)]);
    }

    #[test]
    fn a_report_that_was_cut_at_its_bound_has_a_receipt_for_what_is_in_it_alone() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        let bodies: Vec<Body> = (0..500)
            .map(|number| match number % 5 {
                0 => interval(number),
                _ => event(&"x".repeat(100)),
            })
            .collect();
        spool.write(&bodies, &none()).unwrap();
        let (part, _) = load(&spool, 40_000, 1);
        assert!(part.more && part.records > 0);
        let everything = stored(&[(0, u64::MAX)]);
        assert_eq!(spool.received(part.number, &everything).unwrap(), part.records);
        // In the end all of them have been told, each once.
        let mut told = part.records;
        while told < 500 {
            let (part, _) = load(&spool, 40_000, 1);
            assert!(part.records > 0);
            told += spool.received(part.number, &everything).unwrap();
        }
        assert_eq!((told, spool.bytes()), (500, 0));
    }

    #[test]
    fn an_interval_that_is_written_while_a_file_is_goes_into_the_next_one() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        for (before, meanwhile) in [(None, 0), (Some((1, 0)), 1), (Some((1, 1)), 2)] {
            let noted = spool.waiting().note_all().unwrap();
            assert_eq!(noted, before);
            spool.write(&[interval(meanwhile)], &none()).unwrap();
            let load = spool.waiting().load_to(noted, 1 << 20, 1, drop).unwrap();
            assert_eq!((load.records as u64, load.more), (meanwhile, false));
            // Nor is it taken for carried.
            let transaction = spool.waiting().database.begin_write().unwrap();
            assert_eq!(merging::sent(&transaction).unwrap(), noted);
        }
    }

    #[test]
    fn what_finds_no_place_in_a_file_is_told_to_be_there() {
        let mut spool = Spool::open(in_memory(), 1, 1 << 20).unwrap();
        let bodies: Vec<Body> = (0..500).map(|number| event(&number.to_string())).collect();
        spool.write(&bodies, &BTreeMap::new()).unwrap();
        let (part, messages) = load(&spool, 8_000, 1);
        assert!(part.more && part.records > 0 && part.records < 500, "{}", part.records);
        assert!(messages.iter().map(Vec::len).sum::<usize>() <= 8_000);
    }
}
