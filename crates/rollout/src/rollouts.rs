//! All rollouts of a fleet, and one step of theirs.

use crate::conflict::Conflict;
use crate::effect::{Assign, Effect, Why};
use crate::event::Event;
use crate::fleet::{DeviceFacts, DeviceKey, Fleet, ReleaseKey};
use crate::member::{Member, State};
use crate::plan::PlanError;
use crate::rollout::{Rollout, RolloutId, Status};
use crate::site::SiteFacts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the state as it is written.
pub const STATE_VERSION: u16 = 1;
/// Most rollouts that are kept, those that are over among them.
pub const ROLLOUTS_MAX: usize = 256;

/// The fleet and its rollouts.
///
/// It is changed by [`Rollouts::step`] alone. Written by serde it carries a version; what is counted from
/// it is not written, and counted anew when it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rollouts {
    version: u16,
    /// Running time in milliseconds.
    pub(crate) ran_ms: u64,
    /// The minute of the week in UTC, as far as it was told.
    pub(crate) utc_minute: Option<u16>,
    pub(crate) fleet: Fleet,
    pub(crate) rollouts: BTreeMap<RolloutId, Rollout>,
    pub(crate) last_id: RolloutId,
}

/// The state as it is read.
#[derive(Deserialize)]
struct Written {
    version: u16,
    ran_ms: u64,
    utc_minute: Option<u16>,
    fleet: Fleet,
    rollouts: BTreeMap<RolloutId, Rollout>,
    last_id: RolloutId,
}

impl TryFrom<Written> for Rollouts {
    type Error = String;

    fn try_from(written: Written) -> Result<Rollouts, String> {
        let Written { version, ran_ms, utc_minute, mut fleet, mut rollouts, last_id } = written;
        if version != STATE_VERSION {
            return Err(format!(
                "rollouts of version {version} cannot be read: this server reads {STATE_VERSION}"
            ));
        }
        for (id, rollout) in &mut rollouts {
            if rollout.waves.len() != rollout.plan.waves.len() {
                return Err(format!("rollout {id} has more or fewer waves than its plan"));
            }
            rollout.recount(*id, &mut fleet);
        }
        Ok(Rollouts { version, ran_ms, utc_minute, fleet, rollouts, last_id })
    }
}

impl Default for Rollouts {
    fn default() -> Rollouts {
        Rollouts {
            version: STATE_VERSION,
            ran_ms: 0,
            utc_minute: None,
            fleet: Fleet::default(),
            rollouts: BTreeMap::new(),
            last_id: 0,
        }
    }
}

/// Why something cannot be done. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The device is not in the fleet.
    #[error("there is no device {device}; enrol it")]
    NoDevice {
        /// The name.
        device: String,
    },
    /// There is no room for it, or a name is no name.
    #[error(
        "{what} cannot be taken down: its name, site or labels are too long, too many or not such"
    )]
    NoRoom {
        /// What.
        what: String,
    },
    /// There is no such rollout.
    #[error("there is no rollout {rollout}")]
    NoRollout {
        /// Its number.
        rollout: RolloutId,
    },
    /// The number was given already.
    #[error("rollout {rollout} cannot be made: numbers go on from {last}")]
    Number {
        /// The number.
        rollout: RolloutId,
        /// The last one given.
        last: RolloutId,
    },
    /// There are too many.
    #[error("{ROLLOUTS_MAX} rollouts are kept; forget one that is over")]
    TooMany,
    /// The plan is wrong.
    #[error("the plan cannot be followed")]
    Plan(#[from] PlanError),
    /// Approvals are missing.
    #[error("rollout {rollout} has {approved} of {needed} approvals by others than its author")]
    Approvals {
        /// Its number.
        rollout: RolloutId,
        /// Those there are.
        approved: usize,
        /// Those there have to be.
        needed: usize,
    },
    /// Nobody approves what he has written himself.
    #[error("{by} has written rollout {rollout}; somebody else has to approve it")]
    OwnApproval {
        /// Its number.
        rollout: RolloutId,
        /// Who.
        by: String,
    },
    /// Other rollouts want the same.
    #[error("rollout {rollout} wants what others want, too ({}); let priorities decide, or narrow its selector", told(.conflicts))]
    Conflicts {
        /// Its number.
        rollout: RolloutId,
        /// With whom.
        conflicts: Vec<Conflict>,
    },
    /// It is not in a state for that.
    #[error("rollout {rollout} ({status}): {cure}")]
    Status {
        /// Its number.
        rollout: RolloutId,
        /// Its status.
        status: String,
        /// What to do.
        cure: &'static str,
    },
    /// The device is not in the rollout.
    #[error("{device} is not in rollout {rollout}, or there is nothing of that kind to do for it")]
    NotIn {
        /// The device.
        device: String,
        /// The rollout.
        rollout: RolloutId,
    },
}

fn told(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(Conflict::to_string).collect::<Vec<_>>().join("; ")
}

impl Rollouts {
    /// Takes the fleet and its rollouts one event further. Reads no clock, file or socket.
    ///
    /// The driver writes the event down, then carries the effects out; a state that is written now and then
    /// saves replaying the log from its beginning. What is refused changes nothing.
    ///
    /// # Errors
    /// [`Refused`] if the event cannot be followed.
    pub fn step(&mut self, event: &Event) -> Result<Vec<Effect>, Refused> {
        match event {
            Event::Started => Ok(self.repeat()),
            Event::Ticked(ticked) => Ok(self.tick(*ticked)),
            Event::Device(facts) => self.enrol(facts),
            Event::Left { device } => self.leave(device),
            Event::Site(facts) => match self.fleet.put_site(facts) {
                Some(()) => Ok(vec![]),
                None => Err(Refused::NoRoom { what: facts.site.clone() }),
            },
            Event::Reported(report) => self.report(report),
            Event::Measured(measured) => self.measure(measured),
            Event::TakenOver { device, slot } => self.take_over(device, slot),
            Event::Created { rollout, plan, by } => self.create(*rollout, plan, by),
            Event::Person(person) => self.person(person),
        }
    }

    /// Gives out again what was given out and not confirmed: effects may be lost with the power.
    fn repeat(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, rollout) in &self.rollouts {
            effects.extend(self.outstanding(*id, rollout));
        }
        effects
    }

    pub(crate) fn outstanding(&self, id: RolloutId, rollout: &Rollout) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !rollout.status.returns() {
            return effects;
        }
        for (_, key) in &rollout.index.undecided {
            let Some(member) = rollout.members.get(key) else { continue };
            match member.state {
                State::Assigned if rollout.status.brings() => {
                    effects.push(self.give(id, rollout, *key, member));
                }
                State::Returning => effects.extend(self.give_back(id, rollout, *key, member)),
                _ => {}
            }
        }
        effects
    }

    /// Has a device run the release.
    pub(crate) fn give(
        &self,
        id: RolloutId,
        rollout: &Rollout,
        key: DeviceKey,
        member: &Member,
    ) -> Effect {
        Effect::Assign(Assign {
            rollout: id,
            device: self.fleet.name(key).to_owned(),
            slot: rollout.plan.slot.clone(),
            release: Some(rollout.plan.release.clone()),
            attempt: member.attempt,
            why: Why::Turn(member.wave),
        })
    }

    /// Has a device run what it had before. None where nobody knows what that was, or it is gone.
    pub(crate) fn give_back(
        &self,
        id: RolloutId,
        rollout: &Rollout,
        key: DeviceKey,
        member: &Member,
    ) -> Option<Effect> {
        if member.before == ReleaseKey::ANOTHER || !self.fleet.is_here(key) {
            return None;
        }
        Some(Effect::Assign(Assign {
            rollout: id,
            device: self.fleet.name(key).to_owned(),
            slot: rollout.plan.slot.clone(),
            release: self.fleet.release_name(member.before).map(str::to_owned),
            attempt: member.attempt,
            why: Why::Return,
        }))
    }

    /// Running time in seconds.
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.ran_ms / 1000).unwrap_or(u32::MAX)
    }

    /// The rollouts by their numbers.
    pub fn rollouts(&self) -> impl Iterator<Item = (RolloutId, &Rollout)> {
        self.rollouts.iter().map(|(id, rollout)| (*id, rollout))
    }

    /// The rollout of this number.
    pub fn rollout(&self, id: RolloutId) -> Option<&Rollout> {
        self.rollouts.get(&id)
    }

    /// The number of the rollout that was made last, 0 if there was none.
    pub fn last_id(&self) -> RolloutId {
        self.last_id
    }

    /// What is known of a device that is here.
    pub fn facts(&self, device: &str) -> Option<DeviceFacts> {
        self.fleet.facts(self.fleet.key(device)?)
    }

    /// The devices that are here, in the order in which they were first heard of.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.fleet.keys().map(|key| self.fleet.name(key))
    }

    /// What is known of a site; none if nobody has spoken of it.
    pub fn site(&self, site: &str) -> Option<&SiteFacts> {
        self.fleet.site(site)
    }

    /// Whether it is known already that a slot runs this release, or none.
    pub fn knows(&self, device: &str, slot: &str, active: Option<&str>) -> bool {
        let Some(key) = self.fleet.key(device) else { return false };
        let Some(known) = self.fleet.active(key, slot) else { return false };
        known == active.map_or(ReleaseKey::VACANT, |active| self.fleet.release_or_another(active))
    }

    /// The rollouts that neither were given up nor are done and that this device is in with this slot.
    pub fn concerning(&self, device: &str, slot: &str) -> Vec<RolloutId> {
        let Some(key) = self.fleet.key(device) else { return vec![] };
        let concerns = |(id, rollout): (&RolloutId, &Rollout)| {
            let is_in = rollout.plan.slot == slot && rollout.members.contains_key(&key);
            (is_in && !matches!(rollout.status, Status::Aborted | Status::Done)).then_some(*id)
        };
        self.rollouts.iter().filter_map(concerns).collect()
    }

    /// Whether any rollout that is kept has this device in it with this slot, however far it is: one that is over
    /// may still be taken back.
    pub fn has(&self, device: &str, slot: &str) -> bool {
        let Some(key) = self.fleet.number(device) else { return false };
        let has =
            |rollout: &Rollout| rollout.plan.slot == slot && rollout.members.contains_key(&key);
        self.rollouts.values().any(has)
    }

    /// Whether a rollout still wants what it wanted: it may have paused, been given up or tried again since.
    pub fn wants(&self, assign: &Assign) -> bool {
        let Some(rollout) = self.rollouts.get(&assign.rollout) else { return false };
        let Some(key) = self.fleet.key(&assign.device) else { return false };
        let Some(member) = rollout.members.get(&key) else { return false };
        let is_due = match assign.why {
            Why::Turn(_) => rollout.status.brings() && member.state == State::Assigned,
            Why::Return => rollout.status.returns() && member.state == State::Returning,
        };
        is_due && member.attempt == assign.attempt
    }

    /// The devices of a rollout that come after `after`, in the order in which they were first heard of; all of
    /// them where it names none: name, state, wave (0 for none).
    pub fn members(
        &self,
        id: RolloutId,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&str, State, u8)> {
        let first = after.and_then(|after| self.fleet.number(after)).map_or(0, |after| after + 1);
        let members = self.rollouts.get(&id).map(|rollout| rollout.members.range(first..));
        let shown = |(key, member): (&DeviceKey, &Member)| {
            (self.fleet.name(*key), member.state, member.wave)
        };
        members.into_iter().flatten().map(shown)
    }

    /// Where a device is in a rollout, and the wave it is in (0 for none); none if it is not in it.
    pub fn member(&self, id: RolloutId, device: &str) -> Option<(State, u8)> {
        let member = self.rollouts.get(&id)?.members.get(&self.fleet.number(device)?)?;
        Some((member.state, member.wave))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Conflicts, Person, Report, Ticked, Way, Wish};
    use crate::fleet::Order;
    use crate::member::Phase;
    use crate::plan::Plan;

    fn says(sequence: u32, way: Way) -> Event {
        Event::Reported(Report {
            device: "a".into(),
            slot: "line".into(),
            order: Order { boot: 1, sequence },
            active: Some("1".into()),
            way,
        })
    }

    #[test]
    fn what_was_wanted_is_wanted_as_long_as_the_rollout_brings_it_and_the_device_has_not_begun() {
        let mut rollouts = Rollouts::default();
        let facts = DeviceFacts { device: "a".into(), ..DeviceFacts::default() };
        let plan: Plan = serde_json::from_str(
            r#"{"release": "2", "slot": "line", "selector": {"names": ["*"]},
                "waves": [{"size": {"percent": 100}}]}"#,
        )
        .unwrap();
        let wish = |wish| Event::Person(Person { rollout: 1, by: "ada".into(), wish });
        for event in [
            Event::Device(facts),
            says(1, Way::Idle),
            Event::Created { rollout: 1, plan: Box::new(plan), by: "ada".into() },
            wish(Wish::Begin { conflicts: Conflicts::Refuse }),
        ] {
            rollouts.step(&event).unwrap();
        }
        let ticked = Event::Ticked(Ticked { ran_ms: 1_000, utc_minute: None });
        let effects = rollouts.step(&ticked).unwrap();
        let find = |effect: &Effect| match effect {
            Effect::Assign(assign) => Some(assign.clone()),
            Effect::Tell { .. } => None,
        };
        let assign = effects.iter().find_map(find).unwrap();
        assert!(rollouts.wants(&assign));
        assert!(!rollouts.wants(&Assign { attempt: 1, ..assign.clone() }));
        rollouts.step(&wish(Wish::Pause)).unwrap();
        assert!(!rollouts.wants(&assign));
        // Resumed, it says so again, for what was not wanted was not done.
        assert_eq!(
            rollouts.step(&wish(Wish::Resume)).unwrap().iter().find_map(find),
            Some(assign.clone())
        );
        assert!(rollouts.wants(&assign));
        let (release, phase) = ("2".into(), Phase::Downloading);
        rollouts.step(&says(2, Way::Working { release, phase })).unwrap();
        assert!(!rollouts.wants(&assign));
        rollouts.step(&wish(Wish::Abort)).unwrap();
        assert!(!rollouts.wants(&assign));
        assert!(rollouts.has("a", "line") && rollouts.concerning("a", "line").is_empty());
    }
}
