//! Rollouts that want the same slot of the same devices, and which of them goes first.

use crate::fleet::DeviceKey;
use crate::member::State;
use crate::plan::Plan;
use crate::rollout::{Rollout, RolloutId};
use crate::rollouts::Rollouts;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;

/// Names of devices that a conflict gives as examples.
const EXAMPLES_MAX: usize = 3;

/// Another rollout that wants the same slot of some of the devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Conflict {
    /// The other one.
    pub rollout: RolloutId,
    /// How many devices both want.
    pub devices: u32,
    /// A few of them.
    pub examples: Vec<String>,
    /// Whether the other one goes first.
    pub goes_first: bool,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { rollout, devices, examples, goes_first } = self;
        let order = if *goes_first { "goes first" } else { "comes after it" };
        write!(f, "rollout {rollout}, which {order}, on {devices} devices: {}", examples.join(", "))
    }
}

/// Which of two rollouts goes first: the larger of these.
fn precedence(id: RolloutId, plan: &Plan) -> (i32, Reverse<RolloutId>) {
    (plan.priority, Reverse(id))
}

impl Rollouts {
    /// Rollouts that a plan under number `id` would meet, were it begun now with `devices`.
    pub(crate) fn conflicts(
        &self,
        id: RolloutId,
        plan: &Plan,
        devices: &[DeviceKey],
    ) -> Vec<Conflict> {
        let others = self.rollouts.iter().filter(|(other, rollout)| {
            **other != id && rollout.status.is_open() && rollout.plan.slot == plan.slot
        });
        let conflicts = others.map(|(other, rollout)| {
            let both = devices.iter().filter(|key| wants(rollout, **key));
            let devices = both.clone().count() as u32;
            let names = both.take(EXAMPLES_MAX).map(|key| self.fleet.name(*key).to_owned());
            Conflict {
                rollout: *other,
                devices,
                examples: names.collect(),
                goes_first: precedence(*other, &rollout.plan) > precedence(id, plan),
            }
        });
        conflicts.filter(|conflict| conflict.devices > 0).collect()
    }

    /// The rollout that has to be waited for before `id` may have the slot of a device: one that goes
    /// before it, whatever the device has come to there, or one that comes after it and has the device on
    /// trial or on its way back. Devices that are stuck are not waited for.
    pub(crate) fn claimed(&self, id: RolloutId, plan: &Plan, key: DeviceKey) -> Option<RolloutId> {
        let other = self.rollouts.iter().find(|(other, rollout)| {
            if **other == id || !rollout.status.is_open() || rollout.plan.slot != plan.slot {
                return false;
            }
            let Some(member) = rollout.members.get(&key) else { return false };
            match precedence(**other, &rollout.plan) > precedence(id, plan) {
                true => wants(rollout, key),
                false => {
                    member.is_on_trial()
                        || matches!(member.state, State::ToReturn | State::Returning)
                }
            }
        });
        other.map(|(other, _)| *other)
    }

    /// The rollouts in the order in which they take devices.
    pub(crate) fn in_order(&self) -> Vec<RolloutId> {
        let mut ids: Vec<RolloutId> = self.rollouts.keys().copied().collect();
        let first = |id: &RolloutId| {
            Reverse(self.rollouts.get(id).map(|rollout| precedence(*id, &rollout.plan)))
        };
        ids.sort_by_key(first);
        ids
    }
}

fn wants(rollout: &Rollout, key: DeviceKey) -> bool {
    rollout.members.get(&key).is_some_and(|member| {
        !member.excluded && !matches!(member.state, State::Taken | State::Left)
    })
}
