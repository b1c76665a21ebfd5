//! The server with its network and its devices, and the promises that are looked at after each event.

use crate::device::{Device, Nature};
use crate::dice::Dice;
use crate::ledger::{Given, Ledger, Outcome};
use crate::promises::{Broken, Kept, Promise, keep};
use lineside_rollout::{
    Asked, Assign, Cause, DeviceFacts, Effect, Event, Membership, News, Person, Phase, Plan,
    RolloutId, Rollouts, SiteFacts, Size, State, Status, Ticked, WEEK_MINUTES, Why, Wish,
};
use std::collections::{BTreeMap, BTreeSet};

pub struct World {
    pub rollouts: Rollouts,
    pub log: Vec<Event>,
    pub devices: Vec<Device>,
    pub sites: Vec<SiteFacts>,
    pub plans: BTreeMap<RolloutId, Plan>,
    pub dice: Dice,
    pub ledger: Ledger,
    /// Devices that there were when a rollout began.
    pub then: BTreeMap<RolloutId, BTreeSet<String>>,
    /// What is on its way to the server, and when it comes.
    network: Vec<(u64, Event)>,
    pub is_calm: bool,
    pub now_s: u64,
    ran_ms: u64,
    pub minute: u16,
    round: u64,
}

fn brings(status: Status) -> bool {
    matches!(status, Status::Running | Status::Standing | Status::Asking(Asked::Short(_)))
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            rollouts: Rollouts::default(),
            log: Vec::new(),
            devices: Vec::new(),
            sites: Vec::new(),
            plans: BTreeMap::new(),
            dice: Dice(seed),
            ledger: Ledger::default(),
            then: BTreeMap::new(),
            network: Vec::new(),
            is_calm: false,
            now_s: 0,
            ran_ms: 0,
            minute: 0,
            round: 0,
        }
    }

    fn status(&self, id: RolloutId) -> Status {
        self.rollouts.rollout(id).map_or(Status::Draft, |rollout| rollout.status())
    }

    fn releases(&self) -> BTreeMap<RolloutId, String> {
        self.plans.iter().map(|(id, plan)| (*id, plan.release.clone())).collect()
    }

    /// Hands an event to the engine, looks at what comes out of it, and does that.
    pub fn happen(&mut self, event: Event) -> Kept {
        let before: BTreeMap<RolloutId, Status> =
            self.plans.keys().map(|id| (*id, self.status(*id))).collect();
        let unchanged = match event {
            Event::Person(_) | Event::Left { .. } => Some(self.rollouts.clone()),
            _ => None,
        };
        let done = self.rollouts.step(&event);
        self.log.push(event.clone());
        let Ok(effects) = done else {
            let is_unchanged = unchanged.is_none_or(|unchanged| self.rollouts == unchanged);
            return keep(is_unchanged, Promise::Refused, || {
                format!("{event:?} was refused and has changed something")
            });
        };
        self.note(&event);
        for (number, effect) in effects.iter().enumerate() {
            self.look_at(&before, &effects[..number], effect)?;
        }
        let is_lost = !self.is_calm && self.dice.one_in(40);
        if is_lost {
            return self.crash();
        }
        self.carry_out(&effects);
        self.look_at_director()
    }

    /// Whatever the engine takes for given is what the director has signed last.
    fn look_at_director(&self) -> Kept {
        for (id, plan) in &self.plans {
            let status = self.status(*id);
            for device in self.devices.iter().filter(|device| device.here) {
                let Some((state, _)) = self.rollouts.member(*id, &device.name) else { continue };
                let signed = device.assigned.as_ref();
                let is_signed = match state {
                    State::Assigned | State::Working(_) if brings(status) => {
                        signed.is_some_and(|one| one.release.as_ref() == Some(&plan.release))
                    }
                    State::Returning => signed.is_some_and(|one| one.why == Why::Return),
                    _ => true,
                };
                keep(is_signed, Promise::Repeats, || {
                    format!("rollout {id}, {status}: {state:?}, and signed is {signed:?}")
                })?;
            }
        }
        Ok(())
    }

    /// The server dies after it has written the event down, and before it has done anything.
    fn crash(&mut self) -> Kept {
        let text = postcard::to_stdvec(&self.rollouts).unwrap();
        let read: Rollouts = postcard::from_bytes(&text).unwrap();
        keep(read == self.rollouts, Promise::Replays, || "what is read is another state".into())?;
        self.rollouts = read;
        let effects = self.rollouts.step(&Event::Started).unwrap();
        self.log.push(Event::Started);
        for effect in &effects {
            let Effect::Assign(assign) = effect else { continue };
            let status = self.status(assign.rollout);
            let may =
                brings(status) || (assign.why == Why::Return && status == Status::RollingBack);
            keep(may, Promise::Still, || format!("{status} repeats {assign:?}"))?;
        }
        self.carry_out(&effects);
        self.look_at_director()
    }

    fn carry_out(&mut self, effects: &[Effect]) {
        // Effects may be done twice.
        for effect in effects.iter().chain(effects) {
            if let Effect::Assign(assign) = effect
                && let Some(device) = self.device_mut(&assign.device)
                && device.here
            {
                device.assigned = Some(assign.clone());
            }
        }
    }

    fn device_mut(&mut self, name: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.name == name)
    }

    /// Takes down what follows from an event that was followed, before what came out of it.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Ticked(ticked) => {
                self.ran_ms += ticked.ran_ms;
                self.now_s = self.ran_ms / 1000;
                for (id, plan) in &self.plans {
                    let deadline = u64::from(plan.deadline_minutes) * 60;
                    self.ledger.pass(*id, self.now_s, deadline);
                }
            }
            Event::Reported(report) => {
                let releases = self.releases();
                self.ledger.hear(report, &releases, self.now_s);
            }
            Event::Measured(measured) => {
                for (id, devices) in &mut self.ledger.given {
                    if self.plans[id].release == measured.release
                        && let Some(given) = devices.get_mut(&measured.device)
                    {
                        given.drifted |= measured.drift.is_some_and(|drift| drift > 0.5);
                    }
                }
            }
            Event::Left { device } => {
                self.ledger.leave(device);
            }
            Event::TakenOver { device, .. } => self.ledger.strike(device, None),
            Event::Person(Person { rollout, wish, .. }) => match wish {
                Wish::Exclude { device } => {
                    self.ledger.excluded.insert((*rollout, device.clone()));
                    self.ledger.given.entry(*rollout).or_default().remove(device);
                }
                Wish::Resume | Wish::Proceed { .. } => {
                    self.ledger.forgiven.insert(*rollout);
                }
                Wish::Retry { .. } => {
                    let devices = &self.devices;
                    for (name, given) in self.ledger.given.entry(*rollout).or_default() {
                        let here = devices.iter().any(|one| one.here && one.name == *name);
                        if here && matches!(given.outcome, Outcome::Failed | Outcome::Stuck) {
                            given.attempt += 1;
                            given.outcome = Outcome::Again;
                        }
                    }
                }
                Wish::Begin { .. } => {
                    let here = self.devices.iter().filter(|device| device.here);
                    let names = here.map(|device| device.name.clone()).collect();
                    self.then.insert(*rollout, names);
                }
                Wish::Approve
                | Wish::Pause
                | Wish::RollBack
                | Wish::Abort
                | Wish::Close
                | Wish::Forget => {}
            },
            Event::Started | Event::Device(_) | Event::Site(_) | Event::Created { .. } => {}
        }
    }

    fn look_at(
        &mut self,
        before: &BTreeMap<RolloutId, Status>,
        earlier: &[Effect],
        effect: &Effect,
    ) -> Kept {
        match effect {
            Effect::Assign(assign) => self.look_at_assign(before, earlier, assign),
            Effect::Tell { rollout, news: News::Began { wave } } if *wave > 1 => {
                self.look_at_gate(*rollout, *wave - 1)
            }
            Effect::Tell { rollout, news: News::RollingBack { .. } } => {
                self.ledger.given.remove(rollout);
                Ok(())
            }
            Effect::Tell { .. } => Ok(()),
        }
    }

    fn look_at_assign(
        &mut self,
        before: &BTreeMap<RolloutId, Status>,
        earlier: &[Effect],
        assign: &Assign,
    ) -> Kept {
        let id = assign.rollout;
        let (was, is) = (before[&id], self.status(id));
        let Why::Turn(wave) = assign.why else {
            let may = brings(was) || brings(is) || was == Status::RolledBack;
            let may = may || was == Status::RollingBack || is == Status::RollingBack;
            return keep(may, Promise::Still, || format!("{was} gives back {assign:?}"));
        };
        keep(brings(was) || brings(is), Promise::Still, || format!("{was} gives {assign:?}"))?;
        let has_stopped = earlier.iter().any(|effect| {
            matches!(effect, Effect::Tell { rollout, news } if *rollout == id && matches!(
                news,
                News::Paused { .. } | News::RollingBack { .. } | News::Aborted | News::Done
            ))
        });
        keep(!has_stopped, Promise::Still, || format!("stopped, and then {assign:?}"))?;
        self.look_at_device(id, assign)?;
        let is_said_again = self.ledger.of(id).any(|(name, given)| {
            *name == assign.device
                && given.outcome == Outcome::Open
                && given.attempt == assign.attempt
        });
        if is_said_again {
            return Ok(());
        }
        let given = Given {
            wave,
            since_s: self.now_s,
            attempt: assign.attempt,
            outcome: Outcome::Open,
            phase: None,
            decided_s: self.now_s,
            drifted: false,
        };
        let others = self.plans.keys().filter(|other| **other != id);
        let elsewhere = others.clone().find(|other| {
            let mut given = self.ledger.of(**other);
            given.any(|(name, given)| {
                *name == assign.device
                    && given.outcome == Outcome::Open
                    && !self.status(**other).is_over_here()
            })
        });
        keep(elsewhere.is_none(), Promise::One, || {
            format!("{assign:?}, and rollout {elsewhere:?} has it on trial")
        })?;
        self.ledger.strike(&assign.device, Some(id));
        let devices = self.ledger.given.entry(id).or_default();
        self.ledger.ever.insert((id, assign.device.clone()));
        let is_new = devices.insert(assign.device.clone(), given).is_none();
        self.look_at_limits(id, assign)?;
        // Who is in a wave stays in it, also where it would be smaller by now.
        if is_new { self.look_at_wave(id, wave, assign) } else { Ok(()) }
    }

    fn look_at_device(&self, id: RolloutId, assign: &Assign) -> Kept {
        let device = self.devices.iter().find(|device| device.name == assign.device).unwrap();
        let plan = &self.plans[&id];
        let excluded = self.ledger.excluded.contains(&(id, assign.device.clone()));
        let late = plan.selector.membership == Membership::Fixed
            && !self.then[&id].contains(&assign.device);
        keep(device.here && !excluded && !late, Promise::Belongs, || format!("{assign:?}"))
    }

    fn look_at_wave(&self, id: RolloutId, wave: u8, assign: &Assign) -> Kept {
        let plan = &self.plans[&id];
        // Never more selected than those who are here and were not left out.
        let selected = self.devices.iter().filter(|device| {
            device.here && !self.ledger.excluded.contains(&(id, device.name.clone()))
        });
        let selected = selected.count();
        let is_here = |name: &String| self.devices.iter().any(|one| one.here && one.name == *name);
        let entered =
            self.ledger.of(id).filter(|(name, given)| given.wave <= wave && is_here(name));
        let entered = entered.count();
        let room = match plan.waves[usize::from(wave) - 1].size {
            Size::Percent(percent) => ((selected as f64 * percent / 100.0) as usize).max(1),
            Size::Count(count) => count as usize,
            Size::List(_) => usize::MAX,
        };
        keep(entered <= room, Promise::Wave, || {
            format!("{entered} devices up to wave {wave}, {room} of {selected} allowed: {assign:?}")
        })?;
        if let Size::List(names) = &plan.waves[usize::from(wave) - 1].size {
            keep(names.contains(&assign.device), Promise::Wave, || {
                format!("unlisted: {assign:?}")
            })?;
        }
        Ok(())
    }

    fn look_at_limits(&self, id: RolloutId, assign: &Assign) -> Kept {
        let plan = &self.plans[&id];
        let device = self.devices.iter().find(|device| device.name == assign.device).unwrap();
        let site = &self.sites[device.site];
        let open = self.ledger.open(id);
        let max = plan.on_trial_max.map_or(usize::MAX, |max| max as usize);
        keep(open <= max, Promise::Limits, || format!("{open} on trial, {max} allowed"))?;
        let loading =
            self.plans.keys().flat_map(|id| self.ledger.of(*id)).filter(|(name, given)| {
                let device = self.devices.iter().find(|device| device.name == **name).unwrap();
                device.site == self.sites.iter().position(|one| one == site).unwrap()
                    && given.outcome == Outcome::Open
                    && matches!(given.phase, None | Some(Phase::Downloading))
            });
        let (loading, max) = (loading.count(), site.downloads_max.unwrap_or(u32::MAX) as usize);
        keep(loading <= max, Promise::Limits, || format!("{loading} fetch, {max} allowed"))?;
        let local = (i32::from(self.minute) + i32::from(site.offset_minutes))
            .rem_euclid(i32::from(WEEK_MINUTES));
        let open = |window: &lineside_rollout::Window| {
            (i32::from(window.from)..i32::from(window.to)).contains(&local)
        };
        let is_open = site.windows.is_empty() || site.windows.iter().any(open);
        keep(is_open, Promise::Window, || format!("{assign:?} at local minute {local}"))
    }

    fn look_at_gate(&self, id: RolloutId, wave: u8) -> Kept {
        let plan = &self.plans[&id];
        let gate = &plan.waves[usize::from(wave) - 1].gate;
        let status = self.status(id);
        let own: Vec<&Given> =
            self.ledger.of(id).map(|(_, given)| given).filter(|given| given.wave == wave).collect();
        if self.ledger.forgiven.contains(&id) {
            return Ok(());
        }
        let open = own.iter().filter(|given| given.outcome == Outcome::Open).count();
        let failed = own.iter().filter(|given| given.outcome == Outcome::Failed).count();
        let again = own.iter().filter(|given| given.outcome == Outcome::Again).count();
        let decided = own.len() - open - again;
        let how = || format!("{status}: wave {wave} ends with {own:?} and {gate:?}");
        keep(open == 0, Promise::Gate, how)?;
        let max = gate.failed_share_max * (decided.max(gate.devices_min as usize)) as f64;
        keep(failed as f64 <= max + 1e-9, Promise::Gate, how)?;
        keep(own.iter().all(|given| !given.drifted), Promise::Gate, how)?;
        let latest = own.iter().map(|given| given.decided_s).max().unwrap_or(0);
        let soak = if own.is_empty() { 0 } else { u64::from(gate.soak_minutes) * 60 };
        keep(self.now_s - latest >= soak, Promise::Gate, how)?;
        let enough = own.is_empty() && wave > 1 || decided >= gate.devices_min as usize;
        keep(enough, Promise::Gate, how)
    }

    /// A device says something, and the network does with it what it likes.
    pub fn send(&mut self, event: Event) {
        if self.is_calm {
            self.network.push((self.round, event));
            return;
        }
        if self.dice.one_in(6) {
            return;
        }
        let copies = if self.dice.one_in(5) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.dice.one_in(3) { self.dice.below(6) } else { 0 };
            self.network.push((self.round + late, event.clone()));
        }
    }

    /// Whatever is due comes to the server, then time passes there.
    pub fn round(&mut self) -> Kept {
        self.round += 1;
        let (due, later) =
            std::mem::take(&mut self.network).into_iter().partition(|(at, _)| *at < self.round);
        self.network = later;
        let mut due: Vec<(u64, Event)> = due;
        while !due.is_empty() {
            let last = due.len() as u64;
            let next = if self.is_calm { 0 } else { self.dice.below(last) as usize };
            let (_, event) = due.remove(next);
            self.happen(event)?;
        }
        let ran_ms = 20_000 + self.dice.below(80_000);
        self.minute = (self.minute + (ran_ms / 60_000) as u16 + 1) % WEEK_MINUTES;
        // The wall clock may jump, and running time does not.
        if !self.is_calm && self.dice.one_in(15) {
            self.minute = self.dice.below(u64::from(WEEK_MINUTES)) as u16;
        }
        self.happen(Event::Ticked(Ticked { ran_ms, utc_minute: Some(self.minute) }))
    }

    pub fn enrol(&mut self, index: usize) -> Kept {
        let device = &mut self.devices[index];
        device.here = true;
        let facts = DeviceFacts {
            device: device.name.clone(),
            site: self.sites[device.site].site.clone(),
            ..DeviceFacts::default()
        };
        let report = device.report();
        self.happen(Event::Device(facts))?;
        self.send(Event::Reported(report));
        Ok(())
    }

    /// What every device does in a round.
    pub fn devices_live(&mut self) {
        for index in 0..self.devices.len() {
            let is_calm = self.is_calm;
            let device = &mut self.devices[index];
            if !is_calm && self.dice.one_in(3) || !device.online || !device.here {
                continue;
            }
            let said = device.live(&mut self.dice);
            let measured = device.measured();
            let said = match said {
                // Now and then a device says again how it is.
                None if is_calm || self.dice.one_in(8) => Some(device.report()),
                said => said,
            };
            said.into_iter().for_each(|report| self.send(Event::Reported(report)));
            measured.into_iter().for_each(|measured| self.send(Event::Measured(measured)));
        }
    }

    pub fn person(&mut self, rollout: RolloutId, wish: Wish) -> Kept {
        self.happen(Event::Person(Person { rollout, by: "ada".into(), wish }))
    }

    /// All is well from now on: everybody is online, and people answer what they are asked.
    pub fn calm(&mut self) -> Kept {
        self.is_calm = true;
        self.devices.iter_mut().for_each(|device| device.online = true);
        for site in &mut self.sites {
            site.windows.clear();
        }
        for site in self.sites.clone() {
            self.happen(Event::Site(site))?;
        }
        for round in 0..600 {
            self.devices_live();
            self.round()?;
            if round % 20 == 19 && self.look_at_end().is_ok() {
                break;
            }
            for id in self.plans.keys().copied().collect::<Vec<_>>() {
                match self.status(id) {
                    Status::Asking(_) => {
                        let wave = self.rollouts.rollout(id).unwrap().wave();
                        self.person(id, Wish::Proceed { wave })?;
                    }
                    Status::Paused(Cause::Person | Cause::Plan | Cause::Broken(..)) => {
                        self.person(id, Wish::Resume)?;
                    }
                    _ => {}
                }
            }
        }
        self.look_at_end()?;
        self.look_at_log()
    }

    fn look_at_end(&self) -> Kept {
        for (id, rollout) in self.rollouts.rollouts() {
            let status = rollout.status();
            let ended = !matches!(
                status,
                Status::Running | Status::Paused(_) | Status::Asking(_) | Status::RollingBack
            );
            keep(ended, Promise::Settles, || format!("rollout {id} is {status} for ever"))?;
            for device in self.devices.iter().filter(|device| device.here) {
                let Some((state, _)) = self.rollouts.member(id, &device.name) else { continue };
                let how = || format!("rollout {id}, {status}: {state:?}: {device:?}");
                let rests = !matches!(
                    state,
                    State::Assigned | State::Working(_) | State::ToReturn | State::Returning
                ) || status == Status::Draft;
                keep(rests || status.is_over_here(), Promise::Settles, how)?;
                let release = Some(&self.plans[&id].release);
                let runs = device.active.as_ref() == release;
                if matches!(state, State::Committed | State::Had) {
                    keep(runs, Promise::Truth, how)?;
                }
                if matches!(
                    state,
                    State::Refused | State::RolledBack | State::Returned | State::Stuck
                ) {
                    keep(!runs, Promise::Truth, how)?;
                }
                let was_given = self.ledger.ever.contains(&(id, device.name.clone()));
                let excluded = self.ledger.excluded.contains(&(id, device.name.clone()));
                if status == Status::RolledBack && was_given && !excluded && state != State::Taken {
                    keep(!runs, Promise::Back, how)?;
                    keep(state != State::NotReturned, Promise::Back, how)?;
                }
            }
        }
        Ok(())
    }

    fn look_at_log(&self) -> Kept {
        let mut replayed = Rollouts::default();
        for event in &self.log {
            let _ = replayed.step(event);
        }
        keep(replayed == self.rollouts, Promise::Replays, || "the log gives another state".into())
    }

    /// How many devices hold a release of a rollout at the end.
    pub fn committed(&self) -> usize {
        self.devices.iter().filter(|device| device.active.as_deref() != Some("r1")).count()
    }
}

/// Whether a rollout is over, as far as this simulation cares.
trait OverHere {
    fn is_over_here(&self) -> bool;
}

impl OverHere for Status {
    fn is_over_here(&self) -> bool {
        matches!(self, Status::Aborted | Status::Done | Status::RolledBack | Status::Draft)
    }
}

impl World {
    /// A device of this nature at this site.
    pub fn add(&mut self, nature: Nature, site: usize) -> Kept {
        let name = format!("d{}", self.devices.len());
        self.devices.push(Device::new(name, site, nature));
        self.enrol(self.devices.len() - 1)
    }

    /// Lets somebody do something to the end, as a helper of `Broken`'s makers.
    pub fn must(&mut self, rollout: RolloutId, wish: Wish) -> Result<(), Broken> {
        self.person(rollout, wish)
    }
}
