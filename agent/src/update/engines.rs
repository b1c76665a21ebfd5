//! Which engines were chosen for the models of the releases on disk.
//!
//! What was measured where a release was staged holds for as long as a slot may run it: at a start
//! nothing is measured again, and what answers is what has passed the checks.

use crate::update::journal::{Journal, JournalError};
use lineside_bundle::Digest;
use lineside_runtime::Choice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The choices, by release. Those made without a journal are kept in memory alone.
#[derive(Clone, Default)]
pub struct EngineChoices {
    journal: Option<Journal>,
    kept: Arc<Mutex<BTreeMap<Digest, Choice>>>,
}

impl EngineChoices {
    /// Those in the journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(journal: Journal) -> Result<EngineChoices, JournalError> {
        let kept = Arc::new(Mutex::new(journal.engines()?));
        Ok(EngineChoices { journal: Some(journal), kept })
    }

    /// What was chosen for the release; nothing where there was no choice.
    pub fn of(&self, release: &Digest) -> Choice {
        self.lock().get(release).cloned().unwrap_or_default()
    }

    /// Keeps what was chosen for the release, and no longer what was for those that no slot has.
    ///
    /// # Errors
    /// [`JournalError`]; then nothing was chosen.
    pub fn keep(&self, release: Digest, choice: Choice) -> Result<(), JournalError> {
        let mut kept = self.lock();
        let mut next = kept.clone();
        next.insert(release, choice);
        if let Some(journal) = &self.journal {
            let needed = needed(journal)?;
            next.retain(|digest, _| *digest == release || needed.contains(digest));
            journal.write_engines(&next)?;
        }
        *kept = next;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Choice>> {
        // It is whole whatever has become of whoever held it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The releases that a slot has, or is to have.
fn needed(journal: &Journal) -> Result<BTreeSet<Digest>, JournalError> {
    let mut needed: BTreeSet<Digest> =
        journal.accepted()?.targets.into_values().map(|target| target.release.digest).collect();
    for slot in journal.slots()?.values() {
        needed.extend(slot.kept().map(|release| release.digest));
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::update::journal::Accepted;
    use lineside_bundle::ReleaseId;
    use lineside_runtime::Measured;
    use lineside_update::Target;

    fn choice(engine: &str) -> Choice {
        let measured = Measured { engine: engine.into(), figures: BTreeMap::new() };
        Choice { models: BTreeMap::from([("judge".to_owned(), measured)]) }
    }

    #[test]
    fn what_was_chosen_is_there_after_a_restart_until_no_slot_needs_it() {
        let database = in_memory();
        let journal = || Journal::open(database.clone()).unwrap();
        let releases = [Digest::of(b"one"), Digest::of(b"two"), Digest::of(b"three")];
        let release = ReleaseId {
            name: "echo".parse().unwrap(),
            version: "1".parse().unwrap(),
            digest: releases[0],
            size: 1,
        };
        let target = Target { release, number: 1, floor: 0 };
        let targets = BTreeMap::from([("line".parse().unwrap(), target)]);
        journal().accept(&Accepted { targets, ..Accepted::default() }, &[], &[]).unwrap();
        let choices = EngineChoices::open(journal()).unwrap();
        for (release, engine) in releases.into_iter().zip(["tract", "rten", "rten"]) {
            choices.keep(release, choice(engine)).unwrap();
        }
        let choices = EngineChoices::open(journal()).unwrap();
        assert_eq!(choices.of(&releases[0]), choice("tract"), "it is to be in a slot");
        assert_eq!(choices.of(&releases[1]), Choice::default(), "nobody wants it any more");
        assert_eq!(choices.of(&releases[2]), choice("rten"), "it is being staged");
    }
}
