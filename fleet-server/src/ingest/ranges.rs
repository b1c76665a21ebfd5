//! Which numbers have been received: gaps are seen in them, and what comes under a number that is
//! known may be a repeat.
//!
//! Of the oldest starts that is not known any longer, only up to which one: what comes of these later may
//! be a repeat too.

use crate::bounds::{NUMBER_MAX, RANGES_MAX, ROWS_AT_ONCE};
use crate::error::Error;
use crate::ingest::record::{Taken, View};
use crate::store::tables::received;
use crate::store::{from_row, to_row};
use lineside_wire::name::DeviceId;
use lineside_wire::range_set::RangeSet;
use lineside_wire::v1::StandsFor;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use std::collections::{BTreeMap, BTreeSet};

/// The last number of a start that stands for itself and all before it: above any that is counted.
const ALL: u64 = i64::MAX as u64;

/// The records of a message by whether their numbers were known.
pub(super) struct Received {
    /// Those of new numbers.
    pub new: Vec<Taken>,
    /// Those whose number came before.
    pub known: Vec<Taken>,
    /// Those of starts that are not kept track of, long before the one that the device is in: nobody
    /// knows whether their number came before.
    pub late: Vec<Taken>,
    /// Numbers that nobody waits for any longer.
    pub given_up: i64,
}

/// Marks the numbers of records as received. `start` is the one that the device is in, 0 where it has
/// not said.
pub(super) async fn receive(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    start: i64,
    records: Vec<Taken>,
) -> Result<Received, Error> {
    let mine = || received::Column::Device.eq(device.as_str());
    let mut sets: BTreeMap<i64, RangeSet> = BTreeMap::new();
    for row in received::Entity::find().filter(mine()).all(transaction).await? {
        sets.entry(row.boot).or_default().insert(from_row(row.first), from_row(row.last));
    }
    let mut changed = BTreeSet::new();
    let (mut new, mut known, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let given_up_to = given_up_to(&sets);
    for record in records {
        if Some(record.boot) <= given_up_to {
            // A device that begins its starts below it has lost its state, and what it says is new.
            let has_begun_anew = start > 0 && Some(start) <= given_up_to;
            if has_begun_anew { &mut known } else { &mut late }.push(record);
            continue;
        }
        let set = sets.entry(record.boot).or_default();
        let sequence = from_row(record.sequence);
        if set.contains(sequence) {
            known.push(record);
        } else {
            set.insert(sequence, sequence);
            changed.insert(record.boot);
            new.push(record);
        }
    }
    // Of a message that names more than are kept, the rest is called missing: to write each of them down
    // would have all other devices wait.
    for StandsFor { boot, first, last } in new.iter().flat_map(stands_for).take(RANGES_MAX) {
        // Numbers beyond what is counted nobody has given.
        let is_counted = *boot <= NUMBER_MAX && *last <= NUMBER_MAX && first <= last;
        if is_counted && Some(to_row(*boot)) > given_up_to {
            sets.entry(to_row(*boot)).or_default().insert(*first, *last);
            changed.insert(to_row(*boot));
        }
    }
    let given_up = bound(&mut sets, &mut changed);
    for boot in changed {
        let old = received::Entity::delete_many().filter(mine());
        old.filter(received::Column::Boot.eq(boot)).exec(transaction).await?;
        let row = |(first, last)| received::ActiveModel {
            device: Set(device.to_string()),
            boot: Set(boot),
            first: Set(to_row(first)),
            last: Set(to_row(last)),
        };
        let rows: Vec<_> =
            sets.get(&boot).into_iter().flat_map(RangeSet::ranges).map(row).collect();
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let insert = received::Entity::insert_many(rows.to_vec());
            insert.exec_without_returning(transaction).await?;
        }
    }
    Ok(Received { new, known, late, given_up })
}

/// The numbers that will not come because this record stands for them.
fn stands_for(record: &Taken) -> &[StandsFor] {
    match &record.view {
        View::Interval(interval) => &interval.stands_for,
        View::Quality(quality) => &quality.stands_for,
        View::Event(_) | View::Alert(_) | View::Unknown(_) | View::Unreadable { .. } => &[],
    }
}

/// The last start that is not kept track of any longer, if there are such.
fn given_up_to(sets: &BTreeMap<i64, RangeSet>) -> Option<i64> {
    sets.iter().rev().find(|(_, set)| set.contains(ALL)).map(|(boot, _)| *boot)
}

/// Keeps the number of ranges bounded; gives how many numbers were given up.
fn bound(sets: &mut BTreeMap<i64, RangeSet>, changed: &mut BTreeSet<i64>) -> i64 {
    let mut count: usize = sets.values().map(|set| set.ranges().count()).sum();
    let mut given_up = 0_u64;
    while count > RANGES_MAX {
        let floor = given_up_to(sets);
        let mut kept = sets.iter_mut().filter(|(boot, _)| Some(**boot) > floor);
        let Some((boot, oldest)) = kept.next().map(|(boot, set)| (*boot, set)) else { break };
        let ranges: Vec<_> = oldest.ranges().collect();
        changed.insert(boot);
        match ranges.get(count - RANGES_MAX) {
            // Its first gaps are closed, as many as there are ranges too many.
            Some((_, last)) => {
                let closed = &ranges[..=count - RANGES_MAX];
                given_up = given_up.saturating_add(gaps(closed));
                oldest.insert(0, *last);
            }
            // Nothing of a start so long ago is waited for. It stands for those before it too.
            None => {
                given_up = given_up.saturating_add(gaps(&ranges));
                oldest.insert(0, ALL);
                if let Some(before) = floor {
                    sets.remove(&before);
                    changed.insert(before);
                }
            }
        }
        count = sets.values().map(|set| set.ranges().count()).sum();
    }
    to_row(given_up)
}

/// Numbers from 0 that are in none of the ranges before the last of them.
fn gaps(ranges: &[(u64, u64)]) -> u64 {
    let mut next = 0;
    let mut missing = 0_u64;
    for (first, last) in ranges {
        missing = missing.saturating_add(first.saturating_sub(next));
        next = last.saturating_add(1);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        let mut set = RangeSet::default();
        for (first, last) in ranges {
            assert!(set.insert(*first, *last));
        }
        set
    }

    #[test]
    fn numbers_are_kept_track_of_within_a_bound_and_what_is_given_up_is_counted() {
        let every_second: Vec<_> = (0..RANGES_MAX as u64 + 2).map(|n| (2 * n, 2 * n)).collect();
        let mut sets = BTreeMap::from([(7, set(&every_second))]);
        let mut changed = BTreeSet::new();
        assert_eq!(bound(&mut sets, &mut changed), 2);
        assert_eq!(sets[&7].ranges().count(), RANGES_MAX);
        assert_eq!(sets[&7].ranges().next(), Some((0, 4)));
        assert_eq!(changed, BTreeSet::from([7]));

        let full: Vec<_> = (1..=RANGES_MAX as u64).map(|n| (3 * n, 3 * n)).collect();
        let mut sets = BTreeMap::from([(1, set(&[(2, 2)])), (2, set(&full))]);
        assert_eq!(bound(&mut sets, &mut changed), 2 + 5, "the first gaps of both");
        assert_eq!(given_up_to(&sets), Some(1));
        assert_eq!(sets.values().map(|set| set.ranges().count()).sum::<usize>(), RANGES_MAX);
    }

    #[test]
    fn of_starts_without_end_the_oldest_become_one() {
        let (mut sets, mut changed) = (BTreeMap::new(), BTreeSet::new());
        let mut given_up = 0;
        for boot in 1..=3 * RANGES_MAX as i64 {
            sets.insert(boot, set(&[(1, 3)]));
            given_up += bound(&mut sets, &mut changed);
            assert!(sets.len() <= RANGES_MAX);
        }
        let last_given_up = 2 * RANGES_MAX as i64 + 1;
        assert_eq!((given_up_to(&sets), given_up), (Some(last_given_up), last_given_up));
        assert_eq!(sets.keys().next(), Some(&last_given_up));
    }
}
