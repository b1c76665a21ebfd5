//! Repeats, and what only looks like them.
//!
//! A device whose state was lost, copied or set back counts from where it counted before. What it
//! then says comes under numbers that are known, but says something else: it is no repeat, and
//! would be lost if it was taken for one.

use crate::bounds::ROWS_AT_ONCE;
use crate::error::Error;
use crate::ingest::record::Taken;
use crate::store::tables::{event, interval, quality};
use lineside_wire::name::DeviceId;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use std::collections::{BTreeMap, BTreeSet};

/// Start, number and body of a record.
type Said = (i64, i64, Vec<u8>);

/// Those of `known`, whose numbers came before, that are not stored yet: under their number is
/// another body, or none that is kept any longer.
pub(super) async fn conflicting(
    transaction: &DatabaseTransaction,
    device: &DeviceId,
    known: Vec<Taken>,
) -> Result<Vec<Taken>, Error> {
    let mut numbers: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in &known {
        numbers.entry(record.boot).or_default().push(record.sequence);
    }
    let mut said: BTreeSet<Said> = BTreeSet::new();
    for (boot, sequences) in numbers {
        for sequences in sequences.chunks(ROWS_AT_ONCE) {
            let intervals = interval::Entity::find()
                .select_only()
                .columns([
                    interval::Column::Boot,
                    interval::Column::Sequence,
                    interval::Column::Body,
                ])
                .filter(interval::Column::Device.eq(device.as_str()))
                .filter(interval::Column::Boot.eq(boot))
                .filter(interval::Column::Sequence.is_in(sequences.iter().copied()));
            said.extend(intervals.into_tuple::<Said>().all(transaction).await?);
            let events = event::Entity::find()
                .select_only()
                .columns([event::Column::Boot, event::Column::Sequence, event::Column::Body])
                .filter(event::Column::Device.eq(device.as_str()))
                .filter(event::Column::Boot.eq(boot))
                .filter(event::Column::Sequence.is_in(sequences.iter().copied()));
            said.extend(events.into_tuple::<Said>().all(transaction).await?);
            let qualities = quality::Entity::find()
                .select_only()
                .columns([quality::Column::Boot, quality::Column::Sequence, quality::Column::Body])
                .filter(quality::Column::Device.eq(device.as_str()))
                .filter(quality::Column::Boot.eq(boot))
                .filter(quality::Column::Sequence.is_in(sequences.iter().copied()));
            said.extend(qualities.into_tuple::<Said>().all(transaction).await?);
        }
    }
    let is_new = |record: &Taken| said.insert((record.boot, record.sequence, record.body.clone()));
    Ok(known.into_iter().filter(is_new).collect())
}
