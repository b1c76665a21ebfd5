//! What others may know of all slots: a copy of each slot's state, and a bell when one changes.

use lineside_update::SlotState;
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The states of all slots.
pub struct States {
    states: Mutex<BTreeMap<SlotName, SlotState>>,
    changed: watch::Sender<u64>,
}

impl Default for States {
    fn default() -> States {
        States { states: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl States {
    /// Takes the new state of a slot; `news` rings the bell.
    pub fn set(&self, slot: &SlotName, state: SlotState, news: bool) {
        self.lock().insert(slot.clone(), state);
        if news {
            self.ring();
        }
    }

    /// Says that something worth a status has changed.
    pub fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The states now.
    pub fn all(&self) -> BTreeMap<SlotName, SlotState> {
        self.lock().clone()
    }

    /// Rings when something has changed that people want to know.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotName, SlotState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
