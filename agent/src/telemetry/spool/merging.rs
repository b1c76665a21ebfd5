//! Intervals, and records of what outcomes say, that were never sent become fewer and longer ones where there
//! is no room, and count all that was counted in each. What was sent stays as it is: the server may have it.
//!
//! Those that stand for the fewest go first, two neighbours at a time: so old spans grow as coarse as
//! the room demands. Only the oldest [`LOOKED_AT_MAX`] are looked at in one go; those behind them stay as
//! they are.

use super::{BODY_BYTES_MAX, CARRIED_TO, INTERVALS, Key, SpoolError, size};
use lineside_wire::v1::{Body, Interval, Quality, Record, record};
use redb::{ReadableTable, Table, TableDefinition, TableError, TableHandle, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet};

/// The last interval that may have been sent. All before it may have been too.
pub(super) const SENT: TableDefinition<(), Key> = TableDefinition::new("spool/sent");
/// Intervals behind it that may have been sent too: new ones go before old ones.
pub(super) const AHEAD: TableDefinition<Key, ()> = TableDefinition::new("spool/ahead");
/// There since it is noted which records of outcomes were sent. Of those before it nobody knows.
pub(super) const NOTED: TableDefinition<(), ()> = TableDefinition::new("spool/qualities-noted");
/// Intervals that are looked at in one go, the oldest: it holds up who writes.
const LOOKED_AT_MAX: usize = 4096;

type Intervals<'a> = Table<'a, Key, (u16, &'static [u8])>;

/// What may be merged.
enum Sums {
    Interval(Box<Interval>),
    Quality(Box<Quality>),
}

/// What they are of, and how they are counted: those of one kind go together.
type Of = (u16, String, Option<(String, String, [u8; 32])>, String);

impl Sums {
    /// Of a record, unless another version of the agent has written it.
    fn read((code, body): (u16, &[u8])) -> Option<Sums> {
        let body = body.to_vec();
        match (Record { boot: 0, sequence: 0, backfill: false, code, body }).read() {
            Ok(Body::Interval(interval)) => Some(Sums::Interval(interval)),
            Ok(Body::Quality(quality)) => Some(Sums::Quality(quality)),
            _ => None,
        }
    }

    fn of(&self) -> Of {
        let (code, slot, release, output) = match self {
            Sums::Interval(it) => (record::INTERVAL, &it.slot, Some(&it.release), ""),
            Sums::Quality(it) => (record::QUALITY, &it.slot, it.release.as_ref(), &*it.output),
        };
        let release = release.map(|it| (it.name.clone(), it.version.clone(), it.digest));
        (code, slot.clone(), release, output.to_owned())
    }

    /// Records that it was made of.
    fn count(&self) -> u64 {
        match self {
            Sums::Interval(interval) => interval.intervals,
            Sums::Quality(quality) => quality.records,
        }
    }

    /// Both as one; none where they do not go together.
    fn merged(&self, number: Key, later: &Sums) -> Option<Sums> {
        match (self, later) {
            (Sums::Interval(one), Sums::Interval(other)) => {
                one.merged(number, other).ok().map(|it| Sums::Interval(Box::new(it)))
            }
            (Sums::Quality(one), Sums::Quality(other)) => {
                one.merged(number, other).ok().map(|it| Sums::Quality(Box::new(it)))
            }
            (Sums::Interval(_), Sums::Quality(_)) | (Sums::Quality(_), Sums::Interval(_)) => None,
        }
    }

    fn body(self) -> Body {
        match self {
            Sums::Interval(interval) => Body::Interval(interval),
            Sums::Quality(quality) => Body::Quality(quality),
        }
    }
}

/// A record that may be merged.
struct Unsent {
    key: Key,
    /// What it is of, as a number.
    group: usize,
    /// Records that it was made of.
    count: u64,
    bytes: u64,
}

/// How many records this one was made of.
pub(super) fn count(record: (u16, &[u8])) -> u64 {
    Sums::read(record).map_or(1, |sums| sums.count().max(1))
}

/// Notes all records of outcomes as sent that an agent has left which did not note it.
pub(super) fn note_those_before(transaction: &WriteTransaction) -> Result<(), TableError> {
    if transaction.open_table(NOTED)?.insert((), ())?.is_some() {
        return Ok(());
    }
    let mut ahead = transaction.open_table(AHEAD)?;
    for entry in transaction.open_table(INTERVALS)?.iter()? {
        let (key, value) = entry?;
        if value.value().0 == record::QUALITY {
            ahead.insert(key.value(), ())?;
        }
    }
    Ok(())
}

/// The last interval that somebody else may have by now, by message or by file.
pub(super) fn sent(transaction: &WriteTransaction) -> Result<Option<Key>, SpoolError> {
    let by_message = transaction.open_table(SENT)?.get(())?.map(|key| key.value());
    let carried_to = transaction.open_table(CARRIED_TO)?;
    let by_file = carried_to.get(INTERVALS.name())?.map(|key| key.value());
    Ok(by_message.max(by_file))
}

/// The intervals behind that one which somebody else may have by now.
pub(super) fn ahead(transaction: &WriteTransaction) -> Result<BTreeSet<Key>, SpoolError> {
    let ahead = transaction.open_table(AHEAD)?;
    ahead.iter()?.map(|entry| Ok(entry?.0.value())).collect()
}

/// Merges intervals behind `sent`, but those `ahead`, until `wanted` bytes are free, or half of what those that are looked at
/// take and at least `needed`, or nothing more can be merged. Gives the bytes that are free.
pub(super) fn merge(
    intervals: &mut Intervals<'_>,
    (sent, ahead): (Option<Key>, &BTreeSet<Key>),
    needed: u64,
    wanted: u64,
) -> Result<u64, SpoolError> {
    let mut unsent = look(intervals, sent, ahead)?;
    // Those behind them are there for the next time: not all of these are to become one.
    let bytes = unsent.iter().fold(0, |sum: u64, it| sum.saturating_add(it.bytes));
    let wanted = wanted.min(bytes / 2).max(needed);
    let all = unsent.iter().fold(0, |sum: u64, it| sum.saturating_add(it.count));
    let mut groups = unsent.len();
    let (mut freed, mut at_most) = (0, 2);
    loop {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        let mut gone = vec![false; unsent.len()];
        for at in 0..unsent.len() {
            let earlier = before.remove(&unsent[at].group);
            let Some(earlier) = earlier.filter(|earlier| {
                unsent[*earlier].count.saturating_add(unsent[at].count) <= at_most
            }) else {
                before.insert(unsent[at].group, at);
                continue;
            };
            let Some(whole) = join(intervals, &unsent[earlier], &unsent[at])? else {
                // What comes from here on is counted otherwise than what came before.
                let group = unsent[at].group;
                unsent[at..].iter_mut().filter(|it| it.group == group).for_each(|it| {
                    it.group = groups;
                });
                groups += 1;
                before.insert(unsent[at].group, at);
                continue;
            };
            let both = unsent[earlier].bytes + unsent[at].bytes;
            freed += both.saturating_sub(whole.bytes);
            (unsent[at], gone[earlier]) = (whole, true);
            if freed >= wanted {
                return Ok(freed);
            }
        }
        if at_most > all {
            return Ok(freed);
        }
        at_most = at_most.saturating_mul(2);
        let mut gone = gone.into_iter();
        unsent.retain(|_| !gone.next().unwrap_or(false));
    }
}

/// The oldest intervals that were never sent. One that was stands between those before it and those behind it.
fn look(
    intervals: &Intervals<'_>,
    sent: Option<Key>,
    ahead: &BTreeSet<Key>,
) -> Result<Vec<Unsent>, SpoolError> {
    let (mut groups, mut unsent, mut next) = (BTreeMap::new(), Vec::new(), 0);
    let from = sent.map_or((0, 0), |(boot, sequence)| (boot, sequence.saturating_add(1)));
    for entry in intervals.range(from..)?.take(LOOKED_AT_MAX) {
        let (key, value) = entry?;
        let (key, value) = (key.value(), value.value());
        // What another version of the agent has left is nobody's to change.
        let Some(sums) = Sums::read(value) else { continue };
        let of = sums.of();
        if ahead.contains(&key) {
            groups.remove(&of);
            continue;
        }
        let group = *groups.entry(of).or_insert_with(|| {
            next += 1;
            next - 1
        });
        unsent.push(Unsent { key, group, count: sums.count(), bytes: size(value.1) });
    }
    Ok(unsent)
}

/// Has one record in place of two, unless they do not go together or nothing is gained by it.
fn join(
    intervals: &mut Intervals<'_>,
    earlier: &Unsent,
    later: &Unsent,
) -> Result<Option<Unsent>, SpoolError> {
    let stored = |key: Key| -> Result<Option<Sums>, SpoolError> {
        Ok(intervals.get(key)?.and_then(|value| Sums::read(value.value())))
    };
    let (Some(one), Some(other)) = (stored(earlier.key)?, stored(later.key)?) else {
        return Ok(None);
    };
    let Some(whole) = one.merged(earlier.key, &other) else { return Ok(None) };
    let count = whole.count();
    let (code, body) =
        whole.body().encode().map_err(|error| SpoolError::Record(error.to_string()))?;
    let bytes = size(&body);
    if body.len() > BODY_BYTES_MAX || bytes >= earlier.bytes + later.bytes {
        return Ok(None);
    }
    intervals.remove(earlier.key)?;
    intervals.insert(later.key, (code, &*body))?;
    Ok(Some(Unsent { key: later.key, group: later.group, count, bytes }))
}

/// An interval, unless another version of the agent has written it.
pub(super) fn read(body: &[u8]) -> Option<Interval> {
    match Sums::read((record::INTERVAL, body)) {
        Some(Sums::Interval(interval)) => Some(*interval),
        Some(Sums::Quality(_)) | None => None,
    }
}
