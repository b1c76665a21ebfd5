//! Intervals that were never sent become fewer and longer ones where there is no room, and count all
//! that was counted in each. What was sent stays as it is: the server may have it.
//!
//! Those that stand for the fewest go first, two neighbours at a time: so old spans grow as coarse as
//! the room demands. Only the oldest [`LOOKED_AT_MAX`] are looked at in one go; those behind them stay as
//! they are.

use super::{BODY_BYTES_MAX, CARRIED_TO, INTERVALS, Key, SpoolError, size};
use lineside_wire::v1::{Body, Interval, Record, record};
use redb::{ReadableTable, Table, TableDefinition, TableHandle, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet};

/// The last interval that may have been sent. All before it may have been too.
pub(super) const SENT: TableDefinition<(), Key> = TableDefinition::new("spool/sent");
/// Intervals behind it that may have been sent too: new ones go before old ones.
pub(super) const AHEAD: TableDefinition<Key, ()> = TableDefinition::new("spool/ahead");
/// Intervals that are looked at in one go, the oldest: it holds up who writes.
const LOOKED_AT_MAX: usize = 4096;

type Intervals<'a> = Table<'a, Key, (u16, &'static [u8])>;

/// An interval that may be merged.
struct Unsent {
    key: Key,
    /// Slot and release, as a number.
    group: usize,
    intervals: u64,
    bytes: u64,
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
    let all = unsent.iter().fold(0, |sum: u64, it| sum.saturating_add(it.intervals));
    let mut groups = unsent.len();
    let (mut freed, mut at_most) = (0, 2);
    loop {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        let mut gone = vec![false; unsent.len()];
        for at in 0..unsent.len() {
            let earlier = before.remove(&unsent[at].group);
            let Some(earlier) = earlier.filter(|earlier| {
                unsent[*earlier].intervals.saturating_add(unsent[at].intervals) <= at_most
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
        let (key, (code, body)) = (key.value(), value.value());
        if code != record::INTERVAL {
            continue;
        }
        // What another version of the agent has left is nobody's to change.
        let Some(interval) = read(body) else { continue };
        let release = interval.release;
        let of = (interval.slot, release.name, release.version, release.digest);
        if ahead.contains(&key) {
            groups.remove(&of);
            continue;
        }
        let group = *groups.entry(of).or_insert_with(|| {
            next += 1;
            next - 1
        });
        unsent.push(Unsent { key, group, intervals: interval.intervals, bytes: size(body) });
    }
    Ok(unsent)
}

/// Has one interval in place of two, unless they do not go together or nothing is gained by it.
fn join(
    intervals: &mut Intervals<'_>,
    earlier: &Unsent,
    later: &Unsent,
) -> Result<Option<Unsent>, SpoolError> {
    let stored = |key: Key| -> Result<Option<Interval>, SpoolError> {
        Ok(intervals.get(key)?.and_then(|value| read(value.value().1)))
    };
    let (Some(one), Some(other)) = (stored(earlier.key)?, stored(later.key)?) else {
        return Ok(None);
    };
    let Ok(whole) = one.merged(earlier.key, &other) else { return Ok(None) };
    let count = whole.intervals;
    let (code, body) = Body::Interval(Box::new(whole))
        .encode()
        .map_err(|error| SpoolError::Record(error.to_string()))?;
    let bytes = size(&body);
    if body.len() > BODY_BYTES_MAX || bytes >= earlier.bytes + later.bytes {
        return Ok(None);
    }
    intervals.remove(earlier.key)?;
    intervals.insert(later.key, (code, &*body))?;
    Ok(Some(Unsent { key: later.key, group: later.group, intervals: count, bytes }))
}

/// An interval, unless another version of the agent has written it.
pub(super) fn read(body: &[u8]) -> Option<Interval> {
    let (code, body) = (record::INTERVAL, body.to_vec());
    match (Record { boot: 0, sequence: 0, backfill: false, code, body }).read() {
        Ok(Body::Interval(interval)) => Some(*interval),
        _ => None,
    }
}
