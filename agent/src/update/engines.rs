//! In which engines the releases on disk have passed their checks, and what was measured of others.
//!
//! What was seen where a slot staged a release holds for as long as the slot may run it: at a start
//! nothing is measured again, and what answers is what has passed the checks. Another agent has other
//! engines of the same names, and another library is another engine: in these the checks are replayed
//! before anything answers, and still nothing is measured.

use crate::error::chain;
use crate::lock::lock;
use crate::update::journal::{Journal, JournalError};
use lineside_bundle::Digest;
use lineside_runtime::Choice;
use lineside_wire::name::SlotName;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// This agent, as far as its engines are concerned.
pub const AGENT: &str = env!("CARGO_PKG_VERSION");

/// What is kept of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The engine of each model in which its checks have passed, by stage.
    pub passed: BTreeMap<String, String>,
    /// The library of an engine that is no part of the agent, as it was then; none where there was none,
    /// or it was not known.
    #[serde(default)]
    pub library: Option<Digest>,
    /// The version of the agent that replayed the checks; empty where it did not say.
    #[serde(default)]
    pub agent: String,
    /// What was measured where several could run a model, and which of them it was then.
    #[serde(default, deserialize_with = "readable")]
    pub choice: Choice,
}

impl Kept {
    /// What this agent keeps of a release that has passed its checks in these engines.
    pub fn of(passed: BTreeMap<String, String>, library: Option<Digest>, choice: Choice) -> Kept {
        Kept { passed, library, agent: AGENT.to_owned(), choice }
    }
}

/// What is kept, by slot and release.
pub type KeptEngines = BTreeMap<String, BTreeMap<Digest, Kept>>;

/// What another version of the agent has measured may be written otherwise. That nobody needs.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Choice, D::Error> {
    let written = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(written).unwrap_or_default())
}

/// What is kept of the releases of one slot. Without a journal it is kept in memory alone.
#[derive(Clone, Default)]
pub struct EngineChoices {
    slot: String,
    journal: Option<Journal>,
    kept: Arc<Mutex<KeptEngines>>,
    /// Held by who writes: the disk may take its time, and who starts a worker must not wait for it.
    writes: Arc<Mutex<()>>,
    changed: watch::Sender<()>,
}

impl EngineChoices {
    /// What is in the journal, of no slot yet. Where that cannot be understood, it is as if nothing were
    /// there: the checks are then replayed before anything answers.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be read at all.
    pub fn open(journal: Journal) -> Result<EngineChoices, JournalError> {
        let kept = match journal.engines() {
            Err(error @ JournalError::Entry { .. }) => {
                tracing::warn!("what runs is checked anew: {}", chain(error));
                KeptEngines::default()
            }
            read => read?,
        };
        let kept = Arc::new(Mutex::new(kept));
        Ok(EngineChoices { journal: Some(journal), kept, ..EngineChoices::default() })
    }

    /// The same for the releases of this slot: another one has settings of its own.
    #[must_use]
    pub fn of_slot(&self, slot: &SlotName) -> EngineChoices {
        EngineChoices { slot: slot.to_string(), ..self.clone() }
    }

    /// What is kept of the release; none where it has not passed its checks here.
    pub fn of(&self, release: &Digest) -> Option<Kept> {
        lock(&self.kept).get(&self.slot)?.get(release).cloned()
    }

    /// Keeps this of the release, and nothing any more of those that their slots do not have.
    ///
    /// # Errors
    /// [`JournalError`]; then it is as it was.
    pub fn keep(&self, release: Digest, kept: Kept) -> Result<(), JournalError> {
        let _turn = lock(&self.writes);
        let mut next = lock(&self.kept).clone();
        if let Some(journal) = &self.journal {
            let needed = needed(journal)?;
            next.retain(|slot, releases| {
                releases.retain(|digest, _| needed.contains(&(slot.clone(), *digest)));
                !releases.is_empty()
            });
        }
        next.entry(self.slot.clone()).or_default().insert(release, kept);
        if let Some(journal) = &self.journal {
            journal.write_engines(&next)?;
        }
        *lock(&self.kept) = next;
        self.changed.send_replace(());
        Ok(())
    }

    /// Rings when something else is kept, of whichever slot.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// The releases that each slot has, or is to have.
fn needed(journal: &Journal) -> Result<BTreeSet<(String, Digest)>, JournalError> {
    let targets = journal.accepted()?.targets.into_iter();
    let mut needed: BTreeSet<(String, Digest)> =
        targets.map(|(slot, target)| (slot.to_string(), target.release.digest)).collect();
    for (name, slot) in journal.slots()? {
        needed.extend(slot.kept().map(|release| (name.clone(), release.digest)));
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::update::journal::Accepted;
    use lineside_bundle::ReleaseId;
    use lineside_runtime::{Figure, Measured};
    use lineside_update::Target;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    fn kept(engine: &str) -> Kept {
        let figures = BTreeMap::from([("other".to_owned(), Figure::Refused("wrong".into()))]);
        let measured = Measured { engine: engine.into(), figures };
        Kept {
            passed: BTreeMap::from([("judge".to_owned(), engine.to_owned())]),
            library: Some(Digest::of(b"library")),
            agent: AGENT.to_owned(),
            choice: Choice { models: BTreeMap::from([("judge".to_owned(), measured)]) },
        }
    }

    fn slot(name: &str) -> SlotName {
        name.parse().unwrap()
    }

    #[test]
    fn what_has_passed_is_there_after_a_restart_until_its_slot_does_not_need_it() {
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
        let targets = BTreeMap::from([(slot("line"), target)]);
        journal().accept(&Accepted { targets, ..Accepted::default() }, &[], &[]).unwrap();
        let opened = EngineChoices::open(journal()).unwrap();
        let choices = opened.of_slot(&slot("line"));
        for (release, engine) in releases.into_iter().zip(["tract", "rten", "rten"]) {
            choices.keep(release, kept(engine)).unwrap();
        }
        opened.of_slot(&slot("spare")).keep(releases[0], kept("rten")).unwrap();
        let opened = EngineChoices::open(journal()).unwrap();
        let choices = opened.of_slot(&slot("line"));
        assert_eq!(choices.of(&releases[0]), Some(kept("tract")), "it is to be in the slot");
        assert_eq!(choices.of(&releases[1]), None, "nobody wants it any more");
        let spare = opened.of_slot(&slot("spare"));
        assert_eq!(spare.of(&releases[0]), Some(kept("rten")), "each slot has its own");
        assert_eq!(spare.of(&releases[2]), None);
    }

    #[test]
    fn what_another_agent_has_written_keeps_nobody_from_starting() {
        // What was measured is lost, and in which engine the checks have passed is not.
        let text = r#"{"passed":{"judge":"rten"},
            "choice":{"judge":{"engine":"rten","figures":{"tract":{"Weighed":7}}}}}"#;
        let read: Kept = serde_json::from_str(text).unwrap();
        let passed = kept("rten").passed;
        assert_eq!(read, Kept { passed, ..Kept::default() });

        let journal = Journal::open(in_memory()).unwrap();
        for written in ["[7]", r#"{"line":{"judge":"rten"}}"#] {
            journal.write_engines_as(written);
            let opened = EngineChoices::open(journal.clone()).unwrap();
            let choices = opened.of_slot(&slot("line"));
            assert_eq!(choices.of(&Digest::of(b"one")), None);
            choices.keep(Digest::of(b"one"), kept("rten")).unwrap();
            assert_eq!(choices.of(&Digest::of(b"one")), Some(kept("rten")));
        }
    }

    #[test]
    fn who_starts_a_worker_does_not_wait_for_a_disk_that_takes_its_time() {
        let database = in_memory();
        let choices = EngineChoices::open(Journal::open(database.clone()).unwrap()).unwrap();
        let release = Digest::of(b"one");
        choices.keep(release, kept("tract")).unwrap();
        let disk = database.begin_write().unwrap();
        let writer = choices.clone();
        let writing = std::thread::spawn(move || writer.keep(release, kept("rten")));
        let patience = Instant::now() + Duration::from_secs(30);
        while choices.writes.try_lock().is_ok() {
            assert!(Instant::now() < patience, "nobody writes");
            std::thread::yield_now();
        }
        let (tell, told) = mpsc::channel();
        let reader = choices.clone();
        std::thread::spawn(move || tell.send(reader.of(&release)));
        let read = told.recv_timeout(Duration::from_secs(30)).expect("it waits for the disk");
        assert_eq!(read, Some(kept("tract")), "what is not on the disk yet does not count");
        drop(disk);
        writing.join().unwrap().unwrap();
        assert_eq!(choices.of(&release), Some(kept("rten")));
    }
}
