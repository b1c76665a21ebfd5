//! The log given out, as a file that proves itself.

use crate::audit::Log;
use crate::audit::log::{Signed, read};
use crate::error::Error;
use crate::store::recording::hashes;
use crate::store::tables::{audit_checkpoint, audit_entry};
use crate::store::{from_row, to_row};
use futures::{Stream, stream};
use lineside_audit::{Hash, Header, checkpoint_line, erased_line, stored_line};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that are read at once.
const ENTRIES_AT_ONCE: u64 = 256;

impl Log {
    /// The lines from entry `from` on up to what is signed now: a header, entries with the checkpoints that this
    /// key has signed between them, and the last checkpoint.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are fewer entries; as for [`Log::checkpoint`].
    pub async fn given_out(
        self: Arc<Log>,
        from: u64,
    ) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static, Error> {
        let end = self.checkpoint().await?;
        let size = end.checkpoint.size();
        if from > size {
            return Err(Error::Missing(format!("the log has {size} entries, and none {from}")));
        }
        let before = self.edge(from).await?;
        let header = Header { key: self.key().clone(), before, size }.to_line();
        let state = (self, Some(header), from, Some(end));
        Ok(stream::try_unfold(state, move |(log, header, at, end)| async move {
            if let Some(header) = header {
                return Ok(Some((header, (log, None, at, end))));
            }
            let Some(end) = end else { return Ok(None) };
            if at >= size {
                return Ok(Some((checkpoint_line(&end.note), (log, None, at, None))));
            }
            let next = size.min(at.saturating_add(ENTRIES_AT_ONCE));
            let lines = log.lines(at, next, size).await?;
            Ok(Some((lines, (log, None, next, Some(end)))))
        }))
    }

    /// The lines of the entries from `from` up to `until`, with the checkpoints of those sizes.
    async fn lines(&self, from: u64, until: u64, size: u64) -> Result<String, Error> {
        let on = self.store().read();
        let rows = audit_entry::Entity::find()
            .filter(audit_entry::Column::Seq.gte(to_row(from)))
            .filter(audit_entry::Column::Seq.lt(to_row(until)))
            .order_by_asc(audit_entry::Column::Seq)
            .limit(ENTRIES_AT_ONCE)
            .all(on)
            .await?;
        let places: Vec<(u8, u64)> = (from..until).map(|seq| (0, seq)).collect();
        let leaves = hashes(on, &places).await?;
        let signed = self.signed_between(from, until, size).await?;
        let mut lines = String::new();
        for row in rows {
            let seq = from_row(row.seq);
            // One that is gone is missed by whoever verifies.
            let leaf = leaves.get(&(0, seq)).copied().unwrap_or_else(Hash::empty);
            match (row.entry, row.erased_by) {
                (Some(entry), _) => lines.push_str(&stored_line(leaf, &entry)),
                (None, Some(by)) => lines.push_str(&erased_line(leaf, from_row(by))),
                (None, None) => lines.push_str(&stored_line(leaf, b"null")),
            }
            if let Some(signed) = signed.get(&(seq + 1)) {
                lines.push_str(&checkpoint_line(&signed.note));
            }
        }
        Ok(lines)
    }

    /// What this key has signed of sizes above `from` and up to `until`, but for `size`, with which a file ends.
    async fn signed_between(
        &self,
        from: u64,
        until: u64,
        size: u64,
    ) -> Result<BTreeMap<u64, Signed>, Error> {
        let rows = audit_checkpoint::Entity::find()
            .filter(audit_checkpoint::Column::Size.gt(to_row(from)))
            .filter(audit_checkpoint::Column::Size.lte(to_row(until)))
            .all(self.store().read())
            .await?;
        let is_ours = |(at, signed): &(u64, Signed)| {
            *at != size && signed.checkpoint.size() == *at && signed.note.verify(self.key()).is_ok()
        };
        let signed =
            rows.iter().filter_map(|row| Some((from_row(row.size), read(&row.note).ok()?)));
        Ok(signed.filter(is_ours).collect())
    }
}
