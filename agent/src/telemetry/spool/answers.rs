//! Answers whose outcomes may come, written with what is counted of them.

use super::{Spool, SpoolError};
use crate::telemetry::outcomes::{Changes, Row};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// Slot and number: what was answered.
pub(super) const ANSWERS: TableDefinition<(&str, u64), &[u8]> =
    TableDefinition::new("spool/answers");
/// Slot: what outcomes of its answers are about.
pub(super) const ASKED: TableDefinition<&str, &[u8]> = TableDefinition::new("spool/asked");

/// Writes what has changed of a slot's answers; all of them are gone where it has none.
pub(super) fn write(
    transaction: &WriteTransaction,
    slot: &str,
    changes: Option<&Changes>,
) -> Result<(), SpoolError> {
    let mut answers = transaction.open_table(ANSWERS)?;
    let mut asked = transaction.open_table(ASKED)?;
    let Some(changes) = changes else {
        answers.retain_in((slot, 0)..=(slot, u64::MAX), |_, _| false)?;
        asked.remove(slot)?;
        return Ok(());
    };
    let forgotten = (slot, 0)..(slot, changes.first);
    if answers.range(forgotten.clone())?.next().is_some() {
        answers.retain_in(forgotten, |_, _| false)?;
    }
    for (number, row) in &changes.rows {
        answers.insert((slot, *number), &**row)?;
    }
    if let Some(file) = &changes.asked {
        asked.insert(slot, &**file)?;
    }
    Ok(())
}

impl Spool {
    /// What outcomes of a slot's answers are about, and the answers in their order, as they were written last.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn answers(&self, slot: &str) -> Result<(Option<Vec<u8>>, Vec<Row>), SpoolError> {
        let transaction = self.database.begin_read()?;
        let asked = transaction.open_table(ASKED)?.get(slot)?.map(|file| file.value().to_vec());
        let mut rows = Vec::new();
        let answers = transaction.open_table(ANSWERS)?;
        for entry in answers.range((slot, 0)..=(slot, u64::MAX))? {
            let (key, row) = entry?;
            rows.push((key.value().1, row.value().to_vec()));
        }
        Ok((asked, rows))
    }

    /// The slots of whose answers something was written.
    ///
    /// # Errors
    /// [`SpoolError::Database`].
    pub fn answer_slots(&self) -> Result<Vec<String>, SpoolError> {
        let table = self.database.begin_read()?.open_table(ASKED)?;
        table.iter()?.map(|entry| Ok(entry?.0.value().to_owned())).collect()
    }
}
