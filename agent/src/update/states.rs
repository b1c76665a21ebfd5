//! What others may know of all slots: a copy of each slot's state, and a bell when one changes.

use crate::update::consent::holds::Hold;
use lineside_bundle::BundleName;
use lineside_update::SlotState;
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The states of all slots, as the journal has them but for mere progress.
pub struct States {
    known: Mutex<Known>,
    changed: watch::Sender<u64>,
}

/// What others are told of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldTold {
    /// Why, who, and for how long.
    pub told: String,
    /// When it ends by itself; none where it does not.
    pub ends: Option<Instant>,
}

impl From<&Hold> for HoldTold {
    fn from(hold: &Hold) -> HoldTold {
        let left = hold.seconds_left.map(Duration::from_secs);
        HoldTold { told: hold.told(), ends: left.map(|left| Instant::now() + left) }
    }
}

#[derive(Default)]
struct Known {
    states: BTreeMap<SlotName, SlotState>,
    /// Why people hold updates of a slot back.
    holds: BTreeMap<SlotName, HoldTold>,
    /// The highest floor of each bundle in any slot. What was signed holds for the device: whoever
    /// could assign below it to another slot would go below it.
    floors: BTreeMap<BundleName, u64>,
}

impl Default for States {
    fn default() -> States {
        States { known: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl States {
    /// Takes the new state of a slot; `news` rings the bell.
    pub fn set(&self, slot: &SlotName, state: SlotState, news: bool) {
        self.raise_floors(&state);
        self.lock().states.insert(slot.clone(), state);
        if news {
            self.ring();
        }
    }

    /// Takes note of why people hold the updates of a slot back, or that nobody does.
    pub fn hold(&self, slot: &SlotName, hold: Option<HoldTold>) {
        match hold {
            Some(hold) => self.lock().holds.insert(slot.clone(), hold),
            None => self.lock().holds.remove(slot),
        };
        self.ring();
    }

    /// Why people hold updates back, by slot.
    pub fn holds(&self) -> BTreeMap<SlotName, HoldTold> {
        self.lock().holds.clone()
    }

    /// Takes note of the floors of a slot, whether it still exists or not.
    pub fn raise_floors(&self, state: &SlotState) {
        let mut known = self.lock();
        for (bundle, floor) in state.floors() {
            let highest = known.floors.entry(bundle.clone()).or_default();
            *highest = floor.max(*highest);
        }
    }

    /// The number below which no slot of this device accepts a release of `bundle`.
    pub fn floor(&self, bundle: &BundleName) -> u64 {
        self.lock().floors.get(bundle).copied().unwrap_or(0)
    }

    /// Says that something worth a status has changed.
    pub fn ring(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The states now.
    pub fn all(&self) -> BTreeMap<SlotName, SlotState> {
        self.lock().states.clone()
    }

    /// Rings when something has changed that people want to know.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
