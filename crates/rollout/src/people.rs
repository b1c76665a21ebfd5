//! What people do with rollouts.

use crate::effect::{Effect, News};
use crate::event::{Conflicts, Person, Wish};
use crate::fleet::DeviceKey;
use crate::gate::Breach;
use crate::member::{Member, Seen, State};
use crate::plan::Plan;
use crate::rollout::{Asked, Cause, Rollout, RolloutId, Status};
use crate::rollouts::{ROLLOUTS_MAX, Refused, Rollouts};

impl Rollouts {
    pub(crate) fn create(
        &mut self,
        id: RolloutId,
        plan: &Plan,
        by: &str,
    ) -> Result<Vec<Effect>, Refused> {
        plan.check()?;
        if id <= self.last_id {
            return Err(Refused::Number { rollout: id, last: self.last_id });
        }
        if self.rollouts.len() >= ROLLOUTS_MAX {
            return Err(Refused::TooMany);
        }
        let Some(release) = self.fleet.planned_release(&plan.release) else {
            return Err(Refused::NoRoom { what: plan.release.clone() });
        };
        self.last_id = id;
        self.rollouts.insert(id, Rollout::new(plan.clone(), by, release));
        Ok(vec![])
    }

    /// Follows the wish of a person.
    pub(crate) fn person(&mut self, person: &Person) -> Result<Vec<Effect>, Refused> {
        let Person { rollout: id, by, wish } = person;
        let Some(mut rollout) = self.rollouts.remove(id) else {
            return Err(Refused::NoRollout { rollout: *id });
        };
        let done = self.follow(*id, &mut rollout, by, wish);
        if !(*wish == Wish::Forget && done.is_ok()) {
            self.rollouts.insert(*id, rollout);
        }
        done
    }

    /// Follows a wish. What is refused has changed nothing.
    fn follow(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        by: &str,
        wish: &Wish,
    ) -> Result<Vec<Effect>, Refused> {
        let status = rollout.status;
        let not = |cure| Err(Refused::Status { rollout: id, status: status.to_string(), cure });
        let tell = |news| Effect::Tell { rollout: id, news };
        match (wish, status) {
            (Wish::Approve, Status::Draft) if by == rollout.author => {
                Err(Refused::OwnApproval { rollout: id, by: by.to_owned() })
            }
            (Wish::Approve, Status::Draft) => {
                rollout.approved.insert(by.to_owned());
                Ok(vec![])
            }
            (Wish::Approve, _) => not("only a draft is approved"),

            (Wish::Begin { conflicts }, Status::Draft) => self.begin(id, rollout, *conflicts),
            (Wish::Begin { .. }, _) => not("only a draft begins; make another one"),

            (Wish::Pause, Status::Running | Status::Standing | Status::Asking(_)) => {
                rollout.status = Status::Paused(Cause::Person);
                Ok(vec![tell(News::Paused { cause: Cause::Person })])
            }
            (Wish::Pause, _) => not("there is nothing to pause"),

            (Wish::Resume, Status::Paused(cause)) => {
                rollout.status = match rollout.standing {
                    true => Status::Standing,
                    false => Status::Running,
                };
                if let Cause::Broken(..) = cause {
                    for wave in &mut rollout.waves {
                        wave.forgiven = wave.tally.no_more_than(wave.tally);
                    }
                }
                let mut effects = self.outstanding(id, rollout);
                if cause == Cause::Plan {
                    effects.extend(rollout.go_on(id));
                }
                Ok(effects)
            }
            (Wish::Resume, _) => not("only what pauses is resumed"),

            (Wish::Proceed { wave }, Status::Asking(_)) if *wave == rollout.wave => {
                let news = rollout.go_on(id);
                // What was given out while it asked was not carried out.
                Ok([self.outstanding(id, rollout), news].concat())
            }
            (Wish::Proceed { .. }, Status::Asking(_)) => not("it asks after another wave"),
            (Wish::Proceed { .. }, _) => not("it does not ask"),

            (Wish::Retry { devices }, status)
                if status.is_open() && status != Status::RollingBack =>
            {
                self.retry(id, rollout, devices)
            }
            (Wish::Retry { .. }, _) => not("only while it is open is a device tried again"),

            (Wish::Exclude { device }, status) if status.is_open() => {
                self.exclude(id, rollout, device)
            }
            (Wish::Exclude { .. }, _) => not("only while it is open is a device left out"),

            (Wish::RollBack, Status::Draft) => not("it has given nothing to anybody; abort it"),
            (Wish::RollBack, Status::RollingBack | Status::RolledBack) => not("it does so already"),
            (Wish::RollBack, _) => Ok(self.roll_back(id, rollout, None)),

            (Wish::Abort, status) if !status.is_over() => {
                rollout.status = Status::Aborted;
                Ok(vec![tell(News::Aborted)])
            }
            (Wish::Abort, _) => not("it is over"),

            (Wish::Close, status) if status.is_open() && status != Status::RollingBack => {
                rollout.status = Status::Done;
                Ok(vec![tell(News::Done)])
            }
            (Wish::Close, _) => not("only what is open is closed; abort it"),

            (Wish::Forget, status) if status.is_over() => {
                let keys: Vec<DeviceKey> = rollout.members.keys().copied().collect();
                for key in keys {
                    rollout.put(id, &mut self.fleet, key, None);
                }
                Ok(vec![])
            }
            (Wish::Forget, _) => not("abort or close it first"),
        }
    }

    fn begin(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        conflicts: Conflicts,
    ) -> Result<Vec<Effect>, Refused> {
        let (approved, needed) = (rollout.approved.len(), usize::from(rollout.plan.approvals));
        if approved < needed {
            return Err(Refused::Approvals { rollout: id, approved, needed });
        }
        let devices = self.selected(&rollout.plan);
        if conflicts == Conflicts::Refuse {
            let conflicts = self.conflicts(id, &rollout.plan, &devices);
            if !conflicts.is_empty() {
                return Err(Refused::Conflicts { rollout: id, conflicts });
            }
        }
        let member = |key: DeviceKey| {
            let runs = self.fleet.active(key, &rollout.plan.slot) == Some(rollout.release);
            let state = if runs { State::Had } else { State::Waiting };
            (key, Member { state, ..Member::WAITING })
        };
        rollout.members = devices.into_iter().map(member).collect();
        rollout.recount(id, &mut self.fleet);
        rollout.status = Status::Running;
        rollout.wave = 1;
        Ok(vec![Effect::Tell { rollout: id, news: News::Began { wave: 1 } }])
    }

    /// The devices that a plan's selector matches, in the order of their numbers.
    pub(crate) fn selected(&self, plan: &Plan) -> Vec<DeviceKey> {
        let matches = |key: &DeviceKey| plan.selector.matches(&self.fleet, *key, &plan.slot);
        self.fleet.keys().filter(matches).collect()
    }

    fn retry(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        devices: &[String],
    ) -> Result<Vec<Effect>, Refused> {
        let again = |member: &Member| {
            let failed = matches!(member.state, State::Refused | State::RolledBack | State::Stuck);
            failed && !member.excluded && member.attempt < u8::MAX
        };
        let mut keys = Vec::new();
        for device in devices {
            let key = self.here(device)?;
            if !rollout.members.get(&key).is_some_and(again) {
                return Err(Refused::NotIn { device: device.clone(), rollout: id });
            }
            keys.push(key);
        }
        if devices.is_empty() {
            let failed = rollout.members.iter().filter(|(_, member)| again(member));
            keys.extend(failed.map(|(key, _)| *key).filter(|key| self.fleet.is_here(*key)));
        }
        let since = self.now();
        for key in keys {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            // A device may be named twice, and is tried once.
            if !again(&member) {
                continue;
            }
            let attempt = member.attempt + 1;
            let seen = Seen::NOTHING;
            let member = Member { state: State::Waiting, attempt, since, seen, ..member };
            rollout.put(id, &mut self.fleet, key, Some(member));
        }
        Ok(vec![])
    }

    fn exclude(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        device: &str,
    ) -> Result<Vec<Effect>, Refused> {
        let key = self.here(device)?;
        let not_in = || Refused::NotIn { device: device.to_owned(), rollout: id };
        let member = rollout.members.get(&key).copied().ok_or_else(not_in)?;
        let state = match member.state {
            State::Assigned | State::Working(_) | State::Stuck => State::ToReturn,
            State::Waiting if member.given => State::ToReturn,
            state => state,
        };
        let member = Member { state, excluded: true, ..member };
        rollout.put(id, &mut self.fleet, key, Some(member));
        Ok(vec![])
    }

    /// Everybody whom the rollout gave the release is to be given what it had before.
    pub(crate) fn roll_back(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        broken: Option<(u8, Breach)>,
    ) -> Vec<Effect> {
        let goes_back = rollout.members.iter().filter(|(_, member)| member.goes_back());
        let keys: Vec<DeviceKey> = goes_back.map(|(key, _)| *key).collect();
        for key in keys {
            let member = rollout.members.get(&key).copied();
            let member = member.map(|member| Member { state: State::ToReturn, ..member });
            rollout.put(id, &mut self.fleet, key, member);
        }
        rollout.status = Status::RollingBack;
        vec![Effect::Tell { rollout: id, news: News::RollingBack { broken } }]
    }
}

impl Rollout {
    /// Leaves the wave for what comes after it.
    pub(crate) fn go_on(&mut self, id: RolloutId) -> Vec<Effect> {
        let tell = |news| Effect::Tell { rollout: id, news };
        if let Some(wave) = self.waves.get_mut(usize::from(self.wave).saturating_sub(1)) {
            wave.closed = true;
        }
        if usize::from(self.wave) < self.plan.waves.len() {
            self.wave += 1;
            self.status = Status::Running;
            return vec![tell(News::Began { wave: self.wave })];
        }
        self.standing = true;
        self.status = Status::Standing;
        match self.is_finished() {
            true => {
                self.status = Status::Done;
                vec![tell(News::Done)]
            }
            false => vec![tell(News::Standing)],
        }
    }

    /// Whether nobody whom the last wave would take can come any more.
    pub(crate) fn is_finished(&self) -> bool {
        use crate::selector::Membership;

        let takes_more = self.room(self.wave).is_none_or(|room| room > 0);
        let may_follow = takes_more && !self.index.waiting.is_empty();
        let listed = self.room(self.wave).is_some();
        self.plan.selector.membership == Membership::Fixed
            && self.index.on_trial == 0
            && self.index.again.is_empty()
            && self.index.to_return.is_empty()
            && self.index.returning == 0
            && !(may_follow && listed)
    }

    /// Asks somebody.
    pub(crate) fn ask(&mut self, id: RolloutId, asked: Asked) -> Vec<Effect> {
        if self.status == Status::Asking(asked) {
            return vec![];
        }
        self.status = Status::Asking(asked);
        vec![Effect::Tell { rollout: id, news: News::Asks { wave: self.wave, asked } }]
    }
}
