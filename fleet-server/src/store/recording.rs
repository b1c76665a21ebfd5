//! Entries of the audit log, written with what they are about.

use crate::error::Error;
use crate::store::tables::{audit_entry, audit_hash};
use crate::store::{from_row, to_row, unix_ms};
use lineside_audit::{Action, BECAUSE_MAX, Change, Clock, Entry, Frontier, Hash, Stored, peaks};
use sea_orm::sea_query::{Cond, Condition};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Entries about something among which approvals are looked for.
const ENTRIES_LOOKED_AT: u64 = 64;
/// Rows of one statement.
const ROWS_AT_ONCE: usize = 500;
/// Hashes that are asked for at once.
const HASHES_AT_ONCE: usize = 128;

/// What is to be recorded.
pub(super) struct Recorded {
    pub change: Change,
    pub follows: Follows,
}

/// What led to an entry besides what it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Nothing,
    /// The one that was recorded before it.
    TheOneBefore,
}

/// Appends entries in their order. Who calls it writes alone, so the log has one order.
pub(super) async fn append(
    on: &impl ConnectionTrait,
    changes: Vec<Recorded>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let at = from_row(unix_ms(now));
    let mut tree = frontier(on, size(on).await?).await?;
    let (mut entries, mut hashes) = (Vec::new(), Vec::new());
    for Recorded { mut change, follows } in changes {
        let seq = tree.size();
        change.because.extend(seq.checked_sub(1).filter(|_| follows == Follows::TheOneBefore));
        let subject = change.subject.to_string();
        let entry = Entry::new(seq, at, Clock::Unknown, change).map_err(broken)?.to_bytes();
        hashes.extend(tree.append(Hash::leaf(&entry)).map_err(broken)?.into_iter().map(hash_row));
        entries.push(audit_entry::ActiveModel {
            seq: Set(to_row(seq)),
            subject: Set(subject),
            entry: Set(Some(entry)),
            erased_by: Set(None),
        });
    }
    for rows in entries.chunks(ROWS_AT_ONCE) {
        audit_entry::Entity::insert_many(rows.to_vec()).exec_without_returning(on).await?;
    }
    for rows in hashes.chunks(ROWS_AT_ONCE) {
        audit_hash::Entity::insert_many(rows.to_vec()).exec_without_returning(on).await?;
    }
    Ok(())
}

/// Entries that there are.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn size(on: &impl ConnectionTrait) -> Result<u64, Error> {
    let last: Option<Option<i64>> = audit_entry::Entity::find()
        .select_only()
        .column_as(audit_entry::Column::Seq.max(), "seq")
        .into_tuple()
        .one(on)
        .await?;
    Ok(last.flatten().map_or(0, |seq| from_row(seq) + 1))
}

/// The latest approvals about something, as in `rollout 3`: numbers of their entries, ascending.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn approvals(on: &impl ConnectionTrait, subject: &str) -> Result<Vec<u64>, Error> {
    let rows = audit_entry::Entity::find()
        .filter(audit_entry::Column::Subject.eq(subject))
        .order_by_desc(audit_entry::Column::Seq)
        .limit(ENTRIES_LOOKED_AT)
        .all(on)
        .await?;
    let is_approval = |row: &audit_entry::Model| {
        let entry = Entry::parse(row.entry.as_deref().unwrap_or_default()).ok();
        let action = entry.and_then(|entry| Action::of(&entry.action));
        action.is_some_and(Action::is_approval)
    };
    let mut found: Vec<u64> =
        rows.iter().filter(|row| is_approval(row)).map(|row| from_row(row.seq)).collect();
    found.truncate(BECAUSE_MAX);
    found.reverse();
    Ok(found)
}

/// The right edge of the tree over so many entries.
///
/// # Errors
/// [`Error::Conflict`] if hashes are missing; [`Error::Database`].
pub(crate) async fn frontier(on: &impl ConnectionTrait, size: u64) -> Result<Frontier, Error> {
    let places: Vec<(u8, u64)> = peaks(size).collect();
    let found = hashes(on, &places).await?;
    let hash = |place: &(u8, u64)| {
        found.get(place).copied().ok_or_else(|| broken(format!("hash {place:?} is gone")))
    };
    let peaks: Result<Vec<Hash>, Error> = places.iter().map(hash).collect();
    Frontier::of(size, peaks?).map_err(broken)
}

/// The hashes of these subtrees, by level and index, as far as they are there.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn hashes(
    on: &impl ConnectionTrait,
    places: &[(u8, u64)],
) -> Result<BTreeMap<(u8, u64), Hash>, Error> {
    let mut found = BTreeMap::new();
    for places in places.chunks(HASHES_AT_ONCE) {
        let each = places.iter().fold(Condition::any(), |any, (level, place)| {
            let level = audit_hash::Column::Level.eq(i64::from(*level));
            any.add(Cond::all().add(level).add(audit_hash::Column::Place.eq(to_row(*place))))
        });
        for row in audit_hash::Entity::find().filter(each).all(on).await? {
            let place = (u8::try_from(row.level).unwrap_or(u8::MAX), from_row(row.place));
            // One that somebody has cut is none: what is asked for is missing then.
            if let Ok(bytes) = row.hash.try_into() {
                found.insert(place, Hash(bytes));
            }
        }
    }
    Ok(found)
}

fn hash_row(stored: Stored) -> audit_hash::ActiveModel {
    audit_hash::ActiveModel {
        level: Set(i64::from(stored.level)),
        place: Set(to_row(stored.index)),
        hash: Set(stored.hash.0.to_vec()),
    }
}

fn broken(problem: impl std::fmt::Display) -> Error {
    Error::Conflict(format!(
        "nothing is done that cannot be recorded in the audit log, and that is broken: {problem}; restore \
         the database from a copy"
    ))
}
