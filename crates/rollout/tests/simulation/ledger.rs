//! What was given to whom, counted apart from the engine: from the effects that came out of it, and from
//! what the network brought it.

use lineside_rollout::{Order, Phase, Report, RolloutId, Way};
use std::collections::{BTreeMap, BTreeSet};

/// A device that a rollout gave its release.
#[derive(Debug, Clone)]
pub struct Given {
    pub wave: u8,
    pub since_s: u64,
    pub attempt: u8,
    pub outcome: Outcome,
    pub phase: Option<Phase>,
    /// When it was known that it had decided.
    pub decided_s: u64,
    pub drifted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    Committed,
    Failed,
    Stuck,
    /// It is to be tried again, and has not been given the release anew.
    Again,
}

#[derive(Default)]
pub struct Ledger {
    pub given: BTreeMap<RolloutId, BTreeMap<String, Given>>,
    /// Devices that a rollout ever gave its release, and nobody else has since.
    pub ever: BTreeSet<(RolloutId, String)>,
    pub excluded: BTreeSet<(RolloutId, String)>,
    /// Rollouts in which people have put up with something.
    pub forgiven: BTreeSet<RolloutId>,
    newest: BTreeMap<String, Order>,
}

impl Ledger {
    pub fn of(&self, id: RolloutId) -> impl Iterator<Item = (&String, &Given)> {
        self.given.get(&id).into_iter().flatten()
    }

    pub fn open(&self, id: RolloutId) -> usize {
        self.of(id).filter(|(_, given)| given.outcome == Outcome::Open).count()
    }

    /// What the server heard: nothing if something newer was heard before.
    pub fn hear(&mut self, report: &Report, releases: &BTreeMap<RolloutId, String>, now_s: u64) {
        let newest = self.newest.entry(report.device.clone()).or_default();
        if *newest >= report.order {
            return;
        }
        *newest = report.order;
        for (id, devices) in &mut self.given {
            let release = &releases[id];
            let Some(given) = devices.get_mut(&report.device) else { continue };
            let attempt = given.attempt;
            let failed = |one: &String, of: u8| one == release && of >= attempt;
            given.phase = None;
            let outcome = match &report.way {
                _ if report.active.as_ref() == Some(release) => Outcome::Committed,
                Way::Refused { release, attempt } if failed(release, *attempt) => Outcome::Failed,
                Way::RolledBack { release, attempt } if failed(release, *attempt) => {
                    Outcome::Failed
                }
                Way::Working { release: one, phase } if one == release => {
                    given.phase = Some(*phase);
                    given.outcome
                }
                Way::Idle | Way::Working { .. } | Way::Refused { .. } | Way::RolledBack { .. } => {
                    given.outcome
                }
            };
            // Who counted as stuck had decided as far as its wave is concerned.
            if given.outcome == Outcome::Open && outcome != Outcome::Open {
                given.decided_s = now_s;
            }
            given.outcome = outcome;
        }
    }

    /// So much time has passed that some count as stuck.
    pub fn pass(&mut self, id: RolloutId, now_s: u64, deadline_s: u64) {
        for given in self.given.entry(id).or_default().values_mut() {
            if given.outcome == Outcome::Open && given.since_s + deadline_s <= now_s {
                given.outcome = Outcome::Stuck;
                given.decided_s = now_s;
            }
        }
    }

    /// A device is in no rollout any more: somebody else has its slot.
    pub fn strike(&mut self, device: &str, except: Option<RolloutId>) {
        for (id, devices) in &mut self.given {
            if Some(*id) != except {
                devices.remove(device);
            }
        }
        self.ever.retain(|(id, name)| name != device || Some(*id) == except);
    }

    /// A device has left; where it had failed, that goes on counting.
    pub fn leave(&mut self, device: &str) {
        for devices in self.given.values_mut() {
            if devices.get(device).is_some_and(|given| given.outcome != Outcome::Failed) {
                devices.remove(device);
            }
        }
        self.newest.remove(device);
    }
}
