//! What time brings: devices get stuck, gates are judged, waves end and begin.

use crate::effect::{Effect, News};
use crate::event::Ticked;
use crate::fleet::DeviceKey;
use crate::gate::{Breach, Fill, Otherwise, Short, Signal, Verdict, Waiting, judge};
use crate::member::{Member, State};
use crate::plan::Then;
use crate::rollout::{Asked, Cause, Rollout, RolloutId, Status};
use crate::rollouts::Rollouts;

/// Devices that a rollout gives something at one tick, so that no tick takes longer than people wait.
pub(crate) const GIVEN_MAX: usize = 10_000;

impl Rollouts {
    /// Lets time pass. Reports are taken down as they come, and followed here: first is judged what is
    /// known, then devices are given what is due.
    pub(crate) fn tick(&mut self, ticked: Ticked) -> Vec<Effect> {
        let Ticked { ran_ms, utc_minute } = ticked;
        self.ran_ms = self.ran_ms.saturating_add(ran_ms);
        self.utc_minute = utc_minute.map(|minute| minute % crate::window::WEEK_MINUTES);
        self.fleet.sites.iter_mut().for_each(|site| site.pass(ran_ms));
        let mut effects = Vec::new();
        for id in self.in_order() {
            let Some(mut rollout) = self.rollouts.remove(&id) else { continue };
            self.advance(id, &mut rollout, ran_ms, &mut effects);
            self.rollouts.insert(id, rollout);
        }
        effects
    }

    fn advance(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        ran_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        self.count_overdue(id, rollout);
        if rollout.status.is_watched()
            && let Some((wave, breach)) = rollout.broken()
        {
            effects.extend(self.stop(id, rollout, wave, breach));
        }
        if matches!(rollout.status, Status::Running | Status::Asking(Asked::Short(_))) {
            effects.extend(rollout.judge_wave(id, ran_ms));
        }
        if rollout.status == Status::RolledBack && !rollout.index.to_return.is_empty() {
            rollout.status = Status::RollingBack;
        }
        if rollout.status.returns() {
            self.return_devices(id, rollout, effects);
        }
        if rollout.status.brings() {
            self.fill(id, rollout, effects);
        }
        let Rollout { status, index, .. } = &*rollout;
        if *status == Status::RollingBack && index.to_return.is_empty() && index.returning == 0 {
            rollout.status = Status::RolledBack;
            let not = |member: &&Member| member.state == State::NotReturned;
            let not_returned = rollout.members.values().filter(not).count() as u32;
            effects.push(Effect::Tell { rollout: id, news: News::RolledBack { not_returned } });
        }
        if rollout.status == Status::Standing && rollout.is_finished() {
            rollout.status = Status::Done;
            effects.push(Effect::Tell { rollout: id, news: News::Done });
        }
    }

    /// Devices that have not decided in time count as stuck, and hold nobody.
    fn count_overdue(&mut self, id: RolloutId, rollout: &mut Rollout) {
        let deadline = rollout.plan.deadline_minutes.saturating_mul(60);
        let Some(latest) = self.now().checked_sub(deadline) else { return };
        let late = rollout.index.undecided.range(..=(latest, DeviceKey::MAX));
        let late: Vec<DeviceKey> = late.map(|(_, key)| *key).collect();
        for key in late {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            // What a pausing rollout does not give out is not late.
            if member.state != State::Waiting || rollout.status.brings() {
                rollout.put(id, &mut self.fleet, key, Some(member.overdue()));
            }
        }
    }

    /// A gate is broken.
    fn stop(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        wave: u8,
        breach: Breach,
    ) -> Vec<Effect> {
        let otherwise = rollout.plan.wave(wave).map(|wave| wave.gate.otherwise);
        if otherwise == Some(Otherwise::RollBack) && breach.signal != Signal::Stuck {
            return self.roll_back(id, rollout, Some((wave, breach)));
        }
        let cause = Cause::Broken(wave, breach);
        rollout.status = Status::Paused(cause);
        vec![Effect::Tell { rollout: id, news: News::Paused { cause } }]
    }

    /// Gives devices what they had before, whatever windows and limits: it is on them already, and what
    /// they run now is not wanted.
    fn return_devices(&mut self, id: RolloutId, rollout: &mut Rollout, effects: &mut Vec<Effect>) {
        let due = rollout.index.to_return.iter().take(GIVEN_MAX).copied();
        for key in due.collect::<Vec<_>>() {
            let Some(member) = rollout.members.get(&key).copied() else { continue };
            let given = self.give_back(id, rollout, key, &member);
            let state = if given.is_some() { State::Returning } else { State::NotReturned };
            effects.extend(given);
            let member = Member { state, since: self.now(), ..member };
            rollout.put(id, &mut self.fleet, key, Some(member));
        }
    }

    /// Gives a device the release in this wave.
    pub(crate) fn assign(
        &mut self,
        id: RolloutId,
        rollout: &mut Rollout,
        key: DeviceKey,
        wave: u8,
    ) -> Option<Effect> {
        let member = *rollout.members.get(&key)?;
        let active = self.fleet.active(key, &rollout.plan.slot)?;
        let (before, since) = (active, self.now());
        let member = Member { state: State::Assigned, wave, given: true, before, since, ..member };
        rollout.put(id, &mut self.fleet, key, Some(member));
        let site = self.fleet.site_of(key);
        if let Some(site) = self.fleet.sites.get_mut(site) {
            site.owed_bytes = site.owed_bytes.saturating_add(rollout.plan.download_bytes);
        }
        // Whatever another rollout gave the slot is not there any more.
        for (other_id, other) in &mut self.rollouts {
            let Some(theirs) = other.members.get(&key).copied() else { continue };
            if other.plan.slot == rollout.plan.slot && theirs.given && theirs.state != State::Left {
                let theirs = Member { state: State::Taken, ..theirs };
                other.put(*other_id, &mut self.fleet, key, Some(theirs));
            }
        }
        Some(self.give(id, rollout, key, &member))
    }
}

impl Rollout {
    /// The first wave whose gate is broken.
    fn broken(&mut self) -> Option<(u8, Breach)> {
        let number = self.wave;
        (1..=number).find_map(|number| match self.verdict(number) {
            Verdict::Broken(breach) => Some((number, breach)),
            Verdict::Passed | Verdict::Waits(_) | Verdict::Short(_) => None,
        })
    }

    fn verdict(&mut self, number: u8) -> Verdict {
        let index = usize::from(number).saturating_sub(1);
        let gate = &self.plan.waves[index].gate;
        let wave = &mut self.waves[index];
        wave.forgiven = wave.forgiven.no_more_than(wave.tally);
        let fill = if wave.full || wave.closed { Fill::Full } else { Fill::Filling };
        let soaked = u32::try_from(wave.soaked_ms.unwrap_or(0) / 1000).unwrap_or(u32::MAX);
        judge(gate, wave.tally, wave.forgiven, fill, soaked)
    }

    /// Lets the wave soak, and looks whether it is through.
    fn judge_wave(&mut self, id: RolloutId, ran_ms: u64) -> Vec<Effect> {
        let index = usize::from(self.wave).saturating_sub(1);
        let before = self.verdict(self.wave);
        let soaked = match (before, self.waves[index].soaked_ms) {
            (Verdict::Waits(Waiting::Undecided(_) | Waiting::Filling) | Verdict::Broken(_), _) => {
                None
            }
            // Of the time that has just passed nobody knows how much was soaking.
            (_, None) => Some(0),
            (_, Some(soaked)) => Some(soaked.saturating_add(ran_ms)),
        };
        self.waves[index].soaked_ms = soaked;
        let has_all = soaked.is_some();
        let is_empty = self.waves[index].tally.entered == 0;
        match self.verdict(self.wave) {
            // Earlier waves have all that it would have had.
            Verdict::Short(Short::Devices)
                if is_empty && self.wave > 1 && self.room(self.wave) == Some(0) =>
            {
                self.pass(id)
            }
            Verdict::Passed => self.pass(id),
            Verdict::Short(short) => self.ask(id, Asked::Short(short)),
            Verdict::Waits(_) | Verdict::Broken(_) => {
                self.waves[index].closed |= has_all;
                self.status = Status::Running;
                vec![]
            }
        }
    }

    fn pass(&mut self, id: RolloutId) -> Vec<Effect> {
        let tell = |news| Effect::Tell { rollout: id, news };
        let passed = tell(News::Passed { wave: self.wave });
        let index = usize::from(self.wave).saturating_sub(1);
        self.waves[index].closed = true;
        let then = match self.plan.waves[index].then {
            Then::Next => self.go_on(id),
            Then::Ask => self.ask(id, Asked::Plan),
            Then::Pause => {
                self.status = Status::Paused(Cause::Plan);
                vec![tell(News::Paused { cause: Cause::Plan })]
            }
        };
        [vec![passed], then].concat()
    }
}
