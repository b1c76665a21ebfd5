//! What becomes of rollouts when devices come, change, go and speak.

use crate::effect::Effect;
use crate::event::{Measured, Report, Way};
use crate::fleet::{DeviceFacts, DeviceKey, ReleaseKey};
use crate::member::{Heard, HeardWay, Member, Parts, Seen, State};
use crate::rollout::Rollout;
use crate::rollouts::{Refused, Rollouts};
use crate::selector::Membership;

impl Rollouts {
    /// Takes a device in, or what has changed of it. Whoever has left and comes back waits for its turn
    /// like everybody.
    pub(crate) fn enrol(&mut self, facts: &DeviceFacts) -> Result<Vec<Effect>, Refused> {
        let known = self.fleet.number(&facts.device);
        let mut members = Vec::new();
        // Whatever is counted by site is counted at the site it stands at now.
        if let Some(key) = known {
            for (id, rollout) in &mut self.rollouts {
                if let Some(member) = rollout.members.get(&key).copied() {
                    rollout.put(*id, &mut self.fleet, key, None);
                    members.push((*id, member));
                }
            }
        }
        let key = self.fleet.put(facts);
        for (id, mut member) in members {
            if let (Some(known), Some(rollout)) = (known, self.rollouts.get_mut(&id)) {
                if key.is_some() && member.state == State::Left {
                    member = member.back(rollout.status);
                }
                rollout.put(id, &mut self.fleet, known, Some(member));
            }
        }
        let Some(key) = key else { return Err(Refused::NoRoom { what: facts.device.clone() }) };
        self.select(key);
        Ok(vec![])
    }

    /// A device is gone. Where it had failed, that stays known and counts.
    pub(crate) fn leave(&mut self, device: &str) -> Result<Vec<Effect>, Refused> {
        let key = self.here(device)?;
        for (id, rollout) in &mut self.rollouts {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            let member = match member.state {
                State::Waiting | State::Had if member.wave == 0 && !member.excluded => None,
                State::Refused | State::RolledBack | State::Taken => Some(member),
                _ => Some(Member { state: State::Left, ..member }),
            };
            rollout.put(*id, &mut self.fleet, key, member);
        }
        self.fleet.leave(key);
        Ok(vec![])
    }

    /// Looks which rollouts a device belongs to now. Once in a wave it stays in it.
    fn select(&mut self, key: DeviceKey) {
        for (id, rollout) in &mut self.rollouts {
            if !rollout.status.is_open() || rollout.plan.selector.membership == Membership::Fixed {
                continue;
            }
            let plan = &rollout.plan;
            let matches = plan.selector.matches(&self.fleet, key, &plan.slot);
            match rollout.members.get(&key) {
                None if matches => {
                    let runs = self.fleet.active(key, &plan.slot) == Some(rollout.release);
                    let state = if runs { State::Had } else { State::Waiting };
                    let member = Member { state, ..Member::WAITING };
                    rollout.put(*id, &mut self.fleet, key, Some(member));
                }
                Some(member)
                    if !matches
                        && member.wave == 0
                        && !member.excluded
                        && matches!(member.state, State::Waiting | State::Had) =>
                {
                    rollout.put(*id, &mut self.fleet, key, None);
                }
                None | Some(_) => {}
            }
        }
    }

    /// Takes down what a device says of a slot. What is late, doubled or out of order changes nothing.
    pub(crate) fn report(&mut self, report: &Report) -> Result<Vec<Effect>, Refused> {
        let key = self.here(&report.device)?;
        let active = self.fleet.release(report.active.as_deref());
        if self.fleet.hear(key, &report.slot, report.order, active).is_none() {
            return Ok(vec![]);
        }
        // What is neither in a plan nor on a slot is no release that anything follows from.
        let known = |release: &str| self.fleet.known_release(release);
        let of = |release: &str| known(release).unwrap_or(ReleaseKey::ANOTHER);
        let way = match &report.way {
            Way::Idle => HeardWay::Idle,
            Way::Working { release, phase } => HeardWay::Working(of(release), *phase),
            Way::Refused { release, attempt } => HeardWay::Refused(of(release), *attempt),
            Way::RolledBack { release, attempt } => HeardWay::RolledBack(of(release), *attempt),
        };
        let (heard, now) = (Heard { active, way }, self.now());
        let mut forgotten = Vec::new();
        for (id, rollout) in &mut self.rollouts {
            if rollout.plan.slot != report.slot {
                continue;
            }
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            let after = member.heard(&heard, rollout.release, now);
            if after != member {
                rollout.put(*id, &mut self.fleet, key, Some(after));
            }
            let was_working = matches!(member.state, State::Working(_));
            if was_working && after.state == State::Assigned && rollout.status.brings() {
                forgotten.push(*id);
            }
        }
        self.select(key);
        // A device that has lost what it was given is given it again.
        let again = forgotten.into_iter().filter_map(|id| {
            let rollout = self.rollouts.get(&id)?;
            Some(self.give(id, rollout, key, rollout.members.get(&key)?))
        });
        Ok(again.collect())
    }

    /// Takes down how a device runs a release, instead of what was known.
    pub(crate) fn measure(&mut self, measured: &Measured) -> Result<Vec<Effect>, Refused> {
        let key = self.here(&measured.device)?;
        let frames = u32::try_from(measured.frames).unwrap_or(u32::MAX);
        let seen = Seen {
            frames,
            latency_us: measured.latency_p95_ms.map_or(u32::MAX, microseconds),
            errors: measured.error_share.map_or(Parts::UNKNOWN, Parts::up),
            drift: measured.drift.map_or(Parts::UNKNOWN, Parts::up),
            agreement: measured.agreement.map_or(Parts::UNKNOWN, Parts::down),
        };
        let is_of = |rollout: &Rollout| {
            rollout.plan.slot == measured.slot && rollout.plan.release == measured.release
        };
        for (id, rollout) in &mut self.rollouts {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            if is_of(rollout) && member.given {
                let member = Member { seen, ..member };
                rollout.put(*id, &mut self.fleet, key, Some(member));
            }
        }
        Ok(vec![])
    }

    /// Somebody else has the slot from now on.
    pub(crate) fn take_over(&mut self, device: &str, slot: &str) -> Result<Vec<Effect>, Refused> {
        let key = self.here(device)?;
        for (id, rollout) in &mut self.rollouts {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            if rollout.plan.slot == slot && member.state != State::Left {
                let member = Member { state: State::Taken, ..member };
                rollout.put(*id, &mut self.fleet, key, Some(member));
            }
        }
        Ok(vec![])
    }

    pub(crate) fn here(&self, device: &str) -> Result<DeviceKey, Refused> {
        let key = self.fleet.key(device);
        key.ok_or_else(|| Refused::NoDevice { device: device.to_owned() })
    }
}

/// Microseconds, rounded up; one less than [`u32::MAX`] at most. NaN is as slow as that.
fn microseconds(milliseconds: f64) -> u32 {
    match milliseconds.is_nan() {
        true => u32::MAX - 1,
        false => ((milliseconds.max(0.0) * 1000.0 - 1e-6).ceil() as u32).min(u32::MAX - 1),
    }
}
