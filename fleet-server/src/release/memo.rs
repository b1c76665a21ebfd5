//! What was made of signed documents, as long as nobody changes them: a list is verified once, and not for
//! each device that reports and each blob that somebody asks for.

use crate::store::Store;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// One thing that was made of signed documents.
#[derive(Debug, Clone)]
pub(super) struct Memo<T> {
    known: Arc<Mutex<Option<Known<T>>>>,
}

#[derive(Debug)]
struct Known<T> {
    /// The state that they were in.
    state: u64,
    /// It holds from then,
    from: OffsetDateTime,
    /// and no longer from then on, because something in it is past its date.
    until: OffsetDateTime,
    value: T,
}

impl<T> Default for Memo<T> {
    fn default() -> Memo<T> {
        Memo { known: Arc::default() }
    }
}

impl<T: Clone> Memo<T> {
    /// What was made, if it still holds at `now`.
    pub fn get(&self, store: &Store, now: OffsetDateTime) -> Option<T> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        let holds =
            known.state == store.documents_state() && known.from <= now && now < known.until;
        holds.then(|| known.value.clone())
    }

    /// Remembers what was made at `now` of what was read in `state`.
    pub fn put(&self, state: u64, now: OffsetDateTime, until: OffsetDateTime, value: T) {
        let known = Known { state, from: now, until, value };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    /// Forgets it.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::kept::{Kept, Kind};
    use time::Duration;
    use time::macros::datetime;

    #[tokio::test]
    async fn what_was_made_holds_until_a_document_changes_or_its_date_is_past() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let now = datetime!(2026-11-24 12:00 UTC);
        let until = now + Duration::HOUR;
        let memo = Memo::default();
        let made = || memo.get(&store, now);
        assert_eq!(made(), None);
        memo.put(store.documents_state(), now, until, 7);
        assert_eq!(made(), Some(7));
        assert_eq!(memo.get(&store, until - Duration::SECOND), Some(7));
        for other in [until, now - Duration::SECOND] {
            assert_eq!(memo.get(&store, other), None, "{other}");
        }
        // What changes nothing of them leaves it, and what was given up as well.
        store.write().await.unwrap().commit().await.unwrap();
        let writing = store.write().await.unwrap();
        Kept::put(&writing, Kind::Root, 1, vec![], now).await.unwrap();
        drop(writing);
        assert_eq!(made(), Some(7));
        // Somebody who has read before the change and is late with what he made of it does no harm.
        let state = store.documents_state();
        let writing = store.write().await.unwrap();
        writing.changes_without_entry("a test");
        Kept::put(&writing, Kind::Root, 1, vec![], now).await.unwrap();
        writing.commit().await.unwrap();
        assert_eq!(made(), None);
        memo.put(state, now, until, 8);
        assert_eq!(made(), None);
        memo.put(store.documents_state(), now, until, 9);
        assert_eq!(made(), Some(9));
        let writing = store.write().await.unwrap();
        writing.changes_without_entry("a test");
        Kept::forget(&writing, Kind::Root).await.unwrap();
        writing.commit().await.unwrap();
        assert_eq!(made(), None);
    }
}
