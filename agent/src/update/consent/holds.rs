//! Updates that people on the device hold back, or programs of the plant for them, until they let go or
//! so many minutes have run. Kept in the database: a device that starts over must not change what
//! somebody is working on.

use crate::database::{self, Database};
use crate::error::chain;
use lineside_wire::name::SlotName;
use redb::{ReadableTable, TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("holds");
/// How often running time is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often it is written down: what a start adds to a hold at most.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Longest reason in bytes.
const REASON_BYTES_MAX: usize = 200;
/// Longest hold in minutes: a year. One that is meant to last has no end.
const MINUTES_MAX: u64 = 525_600;

/// What holds the updates of a slot back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why, as somebody has said it.
    pub reason: String,
    /// The user of the device who has said it.
    pub by: String,
    /// For how many minutes of running; none: until somebody lets go.
    pub minutes: Option<u64>,
    /// Running time that is left of them, in seconds.
    pub seconds_left: Option<u64>,
}

impl Hold {
    /// One sentence for people, the same as long as it holds.
    pub fn told(&self) -> String {
        let Hold { reason, by, .. } = self;
        match self.minutes {
            None => format!("held back by hand ({by}) until it is released: {reason}"),
            Some(1) => format!("held back by hand ({by}) for a minute: {reason}"),
            Some(minutes) => format!("held back by hand ({by}) for {minutes} minutes: {reason}"),
        }
    }
}

/// Why a hold was not taken or not ended.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is no such slot.
    #[error("this device has no slot {0}")]
    Slot(SlotName),
    /// Nobody could tell why later.
    #[error("a reason of 1 to {REASON_BYTES_MAX} bytes is needed")]
    Reason,
    /// No such time.
    #[error("minutes must be 1 to {MINUTES_MAX}")]
    Minutes,
    /// Nothing holds it back.
    #[error("nothing is held back in slot {0}")]
    None(SlotName),
    /// The database did not take it, so a start would forget it.
    #[error("it cannot be written down")]
    Database(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for HoldError {
    fn from(error: E) -> HoldError {
        HoldError::Database(Box::new(error.into()))
    }
}

/// Told of each hold that begins, with it, or ends: the slot, and one sentence.
pub type Tell = Arc<dyn Fn(&SlotName, Option<&Hold>, &str) + Send + Sync>;

/// The holds of all slots.
#[derive(Clone)]
pub struct Holds {
    database: Arc<Database>,
    held: Arc<Mutex<BTreeMap<SlotName, Hold>>>,
    /// Of each slot that there is, whether what gets ready may take its route. Only set while
    /// [`Holds::held`] is taken.
    leaves: Arc<BTreeMap<SlotName, watch::Sender<bool>>>,
    /// Taken by who changes what is written, one after the other. Never while [`Holds::held`] is: a
    /// disk that hangs must not stop those who only ask. In it are the slots whose holds have ended, which
    /// the disk has not taken yet: a start would hold them back again.
    writing: Arc<Mutex<BTreeSet<SlotName>>>,
    tell: Tell,
}

impl Holds {
    /// Takes up the holds of these slots where they were left.
    ///
    /// # Errors
    /// [`HoldError::Database`].
    pub fn open(
        database: Arc<Database>,
        slots: BTreeSet<SlotName>,
        tell: Tell,
    ) -> Result<Holds, HoldError> {
        database.have_tables(&[TABLE.name()], |transaction| {
            transaction.open_table(TABLE)?;
            Ok(())
        })?;
        let mut held = BTreeMap::new();
        {
            let table = database.begin_read()?.open_table(TABLE)?;
            for entry in table.iter()? {
                let (key, value) = entry?;
                // One of a slot that agent.toml has no more stays where it is, for its return.
                let Some(slot) = slots.iter().find(|slot| slot.as_str() == key.value()) else {
                    continue;
                };
                // What cannot be read holds all the same: somebody has meant it.
                let hold = serde_json::from_slice(value.value()).unwrap_or_else(|_| Hold {
                    reason: "by a hold that this agent cannot read".into(),
                    by: "unknown".into(),
                    minutes: None,
                    seconds_left: None,
                });
                held.insert(slot.clone(), hold);
            }
        }
        let leaves = slots.into_iter().map(|slot| (slot, watch::Sender::new(false))).collect();
        let (held, leaves) = (Arc::new(Mutex::new(held)), Arc::new(leaves));
        Ok(Holds { database, held, leaves, writing: Arc::default(), tell })
    }

    /// What holds the updates of a slot back.
    pub fn of(&self, slot: &SlotName) -> Option<Hold> {
        self.lock().get(slot).cloned()
    }

    /// The leave of what gets ready to take the route of a slot, now that the site has answered whether it
    /// may. It ends in the moment in which a hold begins, and only a later answer gives it again.
    pub fn leave(&self, slot: &SlotName, given: bool) -> watch::Receiver<bool> {
        let held = self.lock();
        let Some(leave) = self.leaves.get(slot) else { return watch::channel(false).1 };
        leave.send_replace(given && !held.contains_key(slot));
        leave.subscribe()
    }

    /// Holds the updates of a slot back for the user `by`, in place of an earlier hold. On disk when it
    /// returns, and nothing that it binds takes the route from then on.
    ///
    /// # Errors
    /// [`HoldError`]; the earlier hold then stays.
    pub fn hold(
        &self,
        slot: &SlotName,
        by: &str,
        reason: &str,
        minutes: Option<u64>,
    ) -> Result<Hold, HoldError> {
        let leave = self.leaves.get(slot).ok_or_else(|| HoldError::Slot(slot.clone()))?;
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let reason = reason.trim().to_owned();
        if !(1..=REASON_BYTES_MAX).contains(&reason.len()) {
            return Err(HoldError::Reason);
        }
        if minutes.is_some_and(|minutes| !(1..=MINUTES_MAX).contains(&minutes)) {
            return Err(HoldError::Minutes);
        }
        let (by, seconds_left) = (by.to_owned(), minutes.map(|minutes| minutes * 60));
        let hold = Hold { reason, by, minutes, seconds_left };
        let writing = self.writing();
        self.write(slot, Some(&hold))?;
        let mut held = self.lock();
        held.insert(slot.clone(), hold.clone());
        leave.send_replace(false);
        drop((held, writing));
        self.copy();
        (self.tell)(slot, Some(&hold), &hold.told());
        Ok(hold)
    }

    /// Lets go of the updates of a slot, for the user `by`.
    ///
    /// # Errors
    /// [`HoldError`]; the hold then stays.
    pub fn release(&self, slot: &SlotName, by: &str) -> Result<Hold, HoldError> {
        let writing = self.writing();
        let hold = self.of(slot).ok_or_else(|| HoldError::None(slot.clone()))?;
        self.write(slot, None)?;
        self.lock().remove(slot);
        drop(writing);
        self.copy();
        (self.tell)(slot, None, &format!("released by hand ({by}): {}", hold.reason));
        Ok(hold)
    }

    /// Counts running time for ever, and ends what has run out.
    pub async fn count(self) {
        let (mut counted, mut written) = (Instant::now(), Instant::now());
        // Whole seconds are counted; what is left of one is counted with the next.
        loop {
            sleep(COUNT_EVERY).await;
            let ran = counted.elapsed().as_secs();
            counted += Duration::from_secs(ran);
            let ended = self.pass(ran);
            if !ended.is_empty() || written.elapsed() >= WRITE_EVERY {
                written = Instant::now();
                let holds = self.clone();
                // What is not written now is written next time; until then a start makes it longer.
                let _ = spawn_blocking(move || holds.write_all(ended)).await;
            }
        }
    }

    /// Counts `seconds` of running time. Gives the slots whose holds have run out.
    fn pass(&self, seconds: u64) -> Vec<SlotName> {
        let mut ended = Vec::new();
        self.lock().retain(|slot, hold| {
            let Some(left) = &mut hold.seconds_left else { return true };
            *left = left.saturating_sub(seconds);
            if *left == 0 {
                ended.push((slot.clone(), hold.reason.clone()));
            }
            *left > 0
        });
        for (slot, reason) in &ended {
            (self.tell)(
                slot,
                None,
                &format!("no longer held back by hand, its time is over: {reason}"),
            );
        }
        ended.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Writes what is left of each hold, and which have ended.
    fn write_all(&self, ended: Vec<SlotName>) {
        // What somebody does meanwhile comes after it.
        let mut owed = self.writing();
        owed.extend(ended);
        let held = self.lock().clone();
        let write = |slot: &SlotName, hold: Option<&Hold>| match self.write(slot, hold) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%slot, "{}", chain(error));
                false
            }
        };
        for (slot, hold) in held.iter().filter(|(_, hold)| hold.seconds_left.is_some()) {
            write(slot, Some(hold));
        }
        // Where somebody holds it back again, that has been written.
        owed.retain(|slot| !held.contains_key(slot) && !write(slot, None));
    }

    fn write(&self, slot: &SlotName, hold: Option<&Hold>) -> Result<(), HoldError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            match hold {
                Some(hold) => {
                    let bytes = serde_json::to_vec(hold).expect("a hold has string keys");
                    table.insert(slot.as_str(), bytes.as_slice())?;
                }
                None => {
                    table.remove(slot.as_str())?;
                }
            }
        }
        database::count(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// Has what people hold back written a second time. It holds without that.
    fn copy(&self) {
        if let Err(error) = self.database.renew_copy() {
            tracing::warn!("the second copy of what is held back waits: {}", chain(error));
        }
    }

    fn writing(&self) -> MutexGuard<'_, BTreeSet<SlotName>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotName, Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::test_medium::Disk;

    type Told = Arc<Mutex<Vec<String>>>;

    fn slot() -> SlotName {
        "line".parse().unwrap()
    }

    fn open(database: &Arc<Database>) -> (Holds, Told) {
        let told = Told::default();
        let log = told.clone();
        let tell: Tell = Arc::new(move |slot, hold, text| {
            log.lock().unwrap().push(format!("{slot} {} {text}", hold.is_some()));
        });
        (Holds::open(database.clone(), BTreeSet::from([slot()]), tell).unwrap(), told)
    }

    #[test]
    fn a_hold_outlives_the_agent_and_ends_by_hand() {
        let database = in_memory();
        let (holds, told) = open(&database);
        assert_eq!(holds.of(&slot()), None);
        holds.hold(&slot(), "anna", "changing\nthe belt ", None).unwrap();
        drop(holds);
        let (holds, told_later) = open(&database);
        let hold = holds.of(&slot()).unwrap();
        assert_eq!(hold.told(), "held back by hand (anna) until it is released: changing the belt");
        holds.pass(u64::MAX);
        holds.release(&slot(), "otto").unwrap();
        assert!(matches!(holds.release(&slot(), "otto"), Err(HoldError::None(_))));
        assert_eq!(open(&database).0.of(&slot()), None);
        assert_eq!(told.lock().unwrap().len(), 1);
        assert_eq!(
            *told_later.lock().unwrap(),
            ["line false released by hand (otto): changing the belt"]
        );
    }

    #[test]
    fn from_the_moment_in_which_somebody_holds_a_slot_back_nothing_has_leave_to_take_its_route() {
        let (holds, _) = open(&in_memory());
        let leave = holds.leave(&slot(), true);
        assert!(*leave.borrow());
        holds.hold(&slot(), "anna", "surgery", None).unwrap();
        assert!(!*leave.borrow());
        // The site was asked before that, and its answer comes after it.
        assert!(!*holds.leave(&slot(), true).borrow());
        holds.release(&slot(), "anna").unwrap();
        assert!(!*leave.borrow(), "the site may have something against it by now");
        assert!(!*holds.leave(&slot(), false).borrow());
        assert!(*holds.leave(&slot(), true).borrow() && *leave.borrow());
        assert!(!*holds.leave(&"other".parse().unwrap(), true).borrow());
    }

    #[test]
    fn a_hold_for_some_minutes_of_running_ends_by_itself_and_goes_on_where_it_was() {
        let database = in_memory();
        let (holds, told) = open(&database);
        holds.hold(&slot(), "anna", "surgery", Some(2)).unwrap();
        assert!(holds.pass(61).is_empty());
        holds.write_all(Vec::new());
        let (holds_later, _) = open(&database);
        assert_eq!(holds_later.of(&slot()).unwrap().seconds_left, Some(59));
        assert!(holds.pass(58).is_empty());
        let ended = holds.pass(1);
        assert_eq!(ended, [slot()]);
        holds.write_all(ended);
        assert_eq!(open(&database).0.of(&slot()), None);
        let told = told.lock().unwrap();
        assert_eq!(
            told.last().unwrap(),
            "line false no longer held back by hand, its time is over: surgery"
        );
    }

    /// A hold that has ended while the disk took nothing, which it does again by now.
    fn ended_while_the_disk_refused() -> (Arc<Database>, Holds) {
        let disk = Disk::of(64 << 20);
        let database = disk.database();
        let (holds, _) = open(&database);
        holds.hold(&slot(), "anna", "surgery", Some(1)).unwrap();
        disk.refuse();
        holds.write_all(holds.pass(60));
        disk.resize(64 << 20);
        (database, holds)
    }

    #[test]
    fn a_hold_that_has_ended_stays_ended_though_the_disk_did_not_take_it_at_once() {
        let (database, holds) = ended_while_the_disk_refused();
        assert!(open(&database).0.of(&slot()).is_some(), "the disk has taken nothing");
        holds.write_all(holds.pass(60));
        assert_eq!(open(&database).0.of(&slot()), None);
    }

    #[test]
    fn the_end_of_a_hold_takes_away_none_that_has_come_since() {
        let (database, holds) = ended_while_the_disk_refused();
        holds.hold(&slot(), "otto", "a second one", None).unwrap();
        holds.write_all(holds.pass(60));
        assert_eq!(open(&database).0.of(&slot()).unwrap().by, "otto");
    }

    #[test]
    fn a_hold_that_makes_no_sense_changes_nothing() {
        let (holds, told) = open(&in_memory());
        let other: SlotName = "other".parse().unwrap();
        assert!(matches!(holds.hold(&other, "anna", "why", None), Err(HoldError::Slot(_))));
        for reason in ["", " \n", &"x".repeat(REASON_BYTES_MAX + 1)] {
            assert!(matches!(holds.hold(&slot(), "anna", reason, None), Err(HoldError::Reason)));
        }
        for minutes in [0, MINUTES_MAX + 1] {
            let held = holds.hold(&slot(), "anna", "why", Some(minutes));
            assert!(matches!(held, Err(HoldError::Minutes)));
        }
        assert!(holds.of(&slot()).is_none() && told.lock().unwrap().is_empty());
    }
}
