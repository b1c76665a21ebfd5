//! Which numbers have been received: gaps are seen in them, and what comes under a number that is
//! known may be a repeat.

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

/// The records of a message by whether their numbers were known.
pub(super) struct Received {
    /// Those of new numbers.
    pub new: Vec<Taken>,
    /// Those whose number came before.
    pub known: Vec<Taken>,
    /// Numbers that nobody waits for any longer.
    pub given_up: i64,
}

/// Marks the numbers of records as received.
pub(super) async fn receive(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    records: Vec<Taken>,
) -> Result<Received, Error> {
    let mine = || received::Column::Device.eq(device.as_str());
    let mut sets: BTreeMap<i64, RangeSet> = BTreeMap::new();
    for row in received::Entity::find().filter(mine()).all(transaction).await? {
        sets.entry(row.boot).or_default().insert(from_row(row.first), from_row(row.last));
    }
    let mut changed = BTreeSet::new();
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for record in records {
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
    for StandsFor { boot, first, last } in new.iter().flat_map(stands_for) {
        // Numbers beyond what is counted nobody has given.
        if *boot <= NUMBER_MAX && *last <= NUMBER_MAX && first <= last {
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
    Ok(Received { new, known, given_up })
}

/// The numbers that will not come because this record stands for them.
fn stands_for(record: &Taken) -> &[StandsFor] {
    match &record.view {
        View::Interval(interval) => &interval.stands_for,
        View::Event(_) | View::Unknown(_) | View::Unreadable { .. } => &[],
    }
}

/// Keeps the number of ranges bounded; gives how many numbers were given up.
fn bound(sets: &mut BTreeMap<i64, RangeSet>, changed: &mut BTreeSet<i64>) -> i64 {
    let mut count: usize = sets.values().map(|set| set.ranges().count()).sum();
    let mut given_up = 0_u64;
    while count > RANGES_MAX {
        let Some(mut oldest) = sets.first_entry() else { break };
        let boot = *oldest.key();
        let ranges: Vec<_> = oldest.get().ranges().collect();
        changed.insert(boot);
        match ranges.get(count - RANGES_MAX) {
            // Its first gaps are closed, as many as there are ranges too many.
            Some((_, last)) => {
                let closed = &ranges[..=count - RANGES_MAX];
                given_up = given_up.saturating_add(gaps(closed));
                oldest.get_mut().insert(0, *last);
                count = RANGES_MAX;
            }
            // A start so long ago that nothing of it will come again.
            None => {
                given_up = given_up.saturating_add(gaps(&ranges));
                count -= ranges.len();
                oldest.remove();
            }
        }
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
        assert_eq!(bound(&mut sets, &mut changed), 2, "numbers 0 and 1 of the first start");
        assert_eq!(sets.keys().copied().collect::<Vec<_>>(), [2]);
    }
}
