//! A device as the engine's driver makes it one: what is on its disk, what is in its memory, what
//! people and releases are like, and what the test knows of its past.

use crate::life::{Fault, Happening, Nature, Published};
use crate::promises::{Kept, Promise, keep};
use lineside_bundle::{BundleName, Digest};
use lineside_rules::{
    Decide, Observation, ShadowLimits, ShadowObservation, TrialLimits, judge, judge_shadow,
};
use lineside_update::{
    BOOTS_MAX, Effect, Event, Installed, Phase, QUIET, SlotState, Tally, Target,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The engine, or one that is broken on purpose.
pub type Step = fn(SlotState, Event, Duration) -> (SlotState, Vec<Effect>);

/// What the director has signed for the device.
#[derive(Debug, Clone)]
struct Document {
    target: Target,
    approved: bool,
    floor: u64,
    /// The version with which a person has said that it shall be tried again; 0 for never.
    again: u64,
}

/// One slot of a device, and everything around it.
pub struct Device {
    step: Step,
    releases: Vec<Published>,
    policy: ShadowLimits,
    documents: Vec<Document>,
    // On disk.
    journal: SlotState,
    accepted: Option<usize>,
    /// What was accepted last is wanted no longer.
    withdrawn: bool,
    /// What the newest list of releases names no longer.
    unlisted: BTreeSet<Digest>,
    whole: BTreeSet<Digest>,
    full: bool,
    // In memory.
    state: SlotState,
    effects: VecDeque<Effect>,
    answers: VecDeque<Event>,
    route: Option<Digest>,
    beside: Option<Digest>,
    job: Option<Digest>,
    cut_at_write: bool,
    // Around it.
    network: bool,
    grown: bool,
    against: Option<(String, bool)>,
    /// The candidate of this trial, once it has had the route.
    had_route: Option<Digest>,
    /// What has ever had the route.
    answered: BTreeSet<Digest>,
    /// The highest floor that another slot has brought to the device, by bundle.
    elsewhere: BTreeMap<BundleName, u64>,
    seen: Observation,
    compared: ShadowObservation,
    silent: bool,
    // Known to the test alone.
    checked: BTreeSet<Digest>,
    /// What the server knows that the device has committed once: it may fetch that again.
    had: BTreeSet<Digest>,
    /// What was committed here and has not failed since.
    proven: BTreeSet<Digest>,
    rotten: BTreeSet<Digest>,
    ever_committed: bool,
    given_up: BTreeSet<Digest>,
    approvals: BTreeSet<Digest>,
    floors: BTreeMap<String, u64>,
    told_through: Option<u64>,
    /// Faults of its own that a release has shown since it took the route.
    faults: BTreeSet<Digest>,
    /// Starts that a deadly release has caused since another one was named.
    deaths: BTreeMap<Digest, u32>,
    /// Which release is compared with which, and in how many frames so far.
    comparison: Option<(Digest, Option<Digest>, u64)>,
    /// The last version with which something was to be tried again, as the slot has heard; and as its
    /// journal has it.
    heard: (u64, u64),
    /// What a person wants tried again, if that is what the slot is told now for the first time.
    asked: Option<Digest>,
    /// What goes on uncompared, because what it was to be compared with could not be put on the route.
    excused: Option<Digest>,
    /// The same as the journal has it.
    excused_before: Option<Digest>,
    /// What was told to be whole on disk last; it may have rotten since.
    looked_at: Option<Digest>,
    /// Time in which frames came since somebody began to be compared or tried.
    fed: Duration,
    /// That for which nobody vouches, as far as the slot has been told.
    disowned: BTreeSet<Digest>,
    /// What was active when the slot was told so, and has been active since.
    runs_on: Option<Digest>,
    pub reports: u64,
    pub log: Option<Vec<String>>,
}

fn of(held: Option<&Installed>) -> Option<Digest> {
    held.map(|held| held.release.digest)
}

impl Device {
    pub fn new(step: Step, releases: &[Published], policy: &ShadowLimits) -> Device {
        Device {
            step,
            releases: releases.to_vec(),
            policy: policy.clone(),
            documents: Vec::new(),
            journal: SlotState::default(),
            accepted: None,
            withdrawn: false,
            unlisted: BTreeSet::new(),
            whole: BTreeSet::new(),
            full: false,
            state: SlotState::default(),
            effects: VecDeque::new(),
            answers: VecDeque::new(),
            route: None,
            beside: None,
            job: None,
            cut_at_write: false,
            network: true,
            grown: false,
            against: None,
            had_route: None,
            answered: BTreeSet::new(),
            elsewhere: BTreeMap::new(),
            seen: Observation::default(),
            compared: ShadowObservation::default(),
            silent: false,
            checked: BTreeSet::new(),
            had: BTreeSet::new(),
            proven: BTreeSet::new(),
            rotten: BTreeSet::new(),
            ever_committed: false,
            given_up: BTreeSet::new(),
            approvals: BTreeSet::new(),
            floors: BTreeMap::new(),
            told_through: None,
            faults: BTreeSet::new(),
            deaths: BTreeMap::new(),
            comparison: None,
            heard: (0, 0),
            asked: None,
            excused: None,
            excused_before: None,
            looked_at: None,
            fed: Duration::ZERO,
            disowned: BTreeSet::new(),
            runs_on: None,
            reports: 0,
            log: None,
        }
    }

    pub fn active(&self) -> Option<Digest> {
        of(self.state.active())
    }

    /// One thing happens, and every promise is looked at.
    pub fn live(&mut self, happening: Happening) -> Kept {
        match happening {
            Happening::Assign { release, approved, floor, again, .. } => {
                self.publish(release, approved, floor);
                if again {
                    self.say_again();
                }
            }
            Happening::Deliver { back, .. } => self.deliver(back)?,
            Happening::List { release, named, .. } => self.list(release, named)?,
            Happening::Unassign { .. } => self.unassign()?,
            Happening::Retell { .. } => self.retell()?,
            Happening::Carry { fault, .. } => self.carry_out_one(fault)?,
            Happening::Answer { which, .. } => self.answer(which)?,
            Happening::Run { seconds, frames, .. } => self.run(seconds, frames)?,
            Happening::Update { release, .. } => {
                self.publish(release, true, 0);
                self.deliver(0)?;
                self.quiet()?;
            }
            Happening::Die { release, times, .. } => {
                let named = release.map(|index| self.releases[index].target.release.digest);
                if let Some(release) = named.or(self.route) {
                    for _ in 0..times {
                        self.feed(Event::WorkerFailed { release, reason: "it died".into() }, 0)?;
                    }
                }
            }
            Happening::Cut { .. } => self.power_cut()?,
            Happening::CutAtWrite { .. } => self.cut_at_write = true,
            Happening::Restart { .. } => {
                self.feed(Event::Stopped, 0)?;
                self.power_cut()?;
            }
            Happening::Disk { full, .. } => self.full = full,
            Happening::Network { up, .. } => self.network = up,
            Happening::Grow { grown, .. } => self.grown = grown,
            Happening::Site { against, late, .. } => {
                self.against = against.map(|reason| (format!("reason {reason}"), late));
            }
            Happening::Rot { release, .. } => {
                let named = release.map(|index| self.releases[index].target.release.digest);
                let rotten = named.or(of(self.state.previous()));
                self.rotten.extend(rotten.filter(|release| self.whole.remove(release)));
            }
            Happening::Policy { frames, asks, .. } => {
                let agreement_min = frames.map(|_| 0.9);
                let decide = asks.then_some(Decide::Ask);
                self.policy =
                    ShadowLimits { frames, agreement_min, decide, ..ShadowLimits::default() };
            }
        }
        self.check()
    }

    pub fn publish(&mut self, release: usize, approved: bool, floor: u64) {
        let target = self.releases[release].target.clone();
        let same = self.documents.last().filter(|before| before.target == target);
        let again = same.map_or(0, |before| before.again);
        self.documents.push(Document { target, approved, floor, again });
    }

    fn say_again(&mut self) {
        let version = self.documents.len() as u64;
        if let Some(newest) = self.documents.last_mut() {
            newest.again = version;
        }
    }

    /// A document arrives. One that is not newer than what was accepted is refused, and so is any
    /// while the disk takes nothing.
    pub fn deliver(&mut self, back: usize) -> Kept {
        let Some(version) = self.documents.len().checked_sub(1 + back) else { return Ok(()) };
        if self.full || self.accepted.is_some_and(|accepted| version <= accepted) {
            return Ok(());
        }
        // Nothing is accepted that the list does not name.
        self.unlisted.remove(&self.documents[version].target.release.digest);
        (self.accepted, self.withdrawn) = (Some(version), false);
        self.retell()
    }

    /// What the device is like.
    fn facts(&self) -> Digest {
        Digest::of(if self.grown { b"grown" } else { b"small" })
    }

    /// Whether what is wanted was refused on a device such as this one no longer is.
    fn may_run_now(&self) -> bool {
        let Some(version) = self.accepted.filter(|_| !self.withdrawn) else { return false };
        let release = &self.documents[version].target.release;
        let mut blocked = self.state.blocked().filter(|blocked| blocked.release == *release);
        blocked.any(|blocked| blocked.facts.is_some_and(|facts| facts != self.facts()))
    }

    /// Another list of releases comes. A disk that takes nothing does not keep it, so it is not believed.
    fn list(&mut self, release: Option<usize>, named: bool) -> Kept {
        let assigned = self.accepted.map(|version| self.documents[version].target.release.digest);
        let release = release.map(|index| self.releases[index].target.release.digest);
        let Some(release) = release.or(assigned).filter(|_| !self.full) else { return Ok(()) };
        if named {
            self.unlisted.remove(&release);
        } else {
            self.unlisted.insert(release);
            self.withdrawn |= assigned == Some(release);
        }
        self.tell()
    }

    /// What is said with a later number than anything of the kind before counts once.
    fn try_again(&mut self, release: Digest, wish: u64) -> Kept {
        let is_new = wish > self.heard.0;
        self.heard.0 = self.heard.0.max(wish);
        if is_new {
            self.given_up.remove(&release);
            self.deaths.remove(&release);
        }
        self.asked = is_new.then_some(release);
        self.feed(Event::TryAgain { release, wish }, 0)
    }

    fn unassign(&mut self) -> Kept {
        self.withdrawn |= self.accepted.is_some() && !self.full;
        self.tell()
    }

    /// Tells the slot what has changed for it: nothing where that is still assigned.
    fn tell(&mut self) -> Kept {
        if let Some(version) = self.accepted.filter(|_| self.withdrawn) {
            let release = self.documents[version].target.release.digest;
            self.approvals.remove(&release);
            self.feed(Event::Withdrawn { release, reason: "nobody wants it".into() }, 0)?;
        }
        let kept = self.journal.kept().map(|release| release.digest);
        let disowned = kept.filter(|release| self.unlisted.contains(release));
        let releases = disowned.map(|release| (release, "nobody vouches for it".into())).collect();
        self.feed(Event::Disowned { releases }, 0)
    }

    fn retell(&mut self) -> Kept {
        let Some(version) = self.accepted.filter(|_| !self.withdrawn) else { return self.tell() };
        let Document { target, approved, floor, again } = self.documents[version].clone();
        let release = target.release.digest;
        if again > 0 {
            self.try_again(release, again)?;
        }
        if self.may_run_now() {
            self.feed(Event::Reconsidered { release }, 0)?;
        }
        self.given_up.retain(|digest| *digest == release);
        self.deaths.retain(|digest, _| *digest == release);
        self.approvals.retain(|digest| *digest == release);
        let name = target.release.name.clone();
        let highest = self.elsewhere.entry(name.clone()).or_default();
        *highest = floor.max(*highest);
        let floor = self.elsewhere(&name);
        self.feed(Event::Assigned { target, floor }, 0)?;
        if approved {
            self.approvals.insert(release);
            self.feed(Event::Approved { release }, 0)?;
        }
        self.tell()
    }

    /// The driver's part: the state is on disk before any effect is carried out, unless that only puts
    /// back what was committed.
    fn feed(&mut self, event: Event, seconds: u64) -> Kept {
        let before = self.state.clone();
        self.note_fault(&event);
        let step = self.step;
        let passed = Duration::from_secs(seconds);
        let (state, effects) = step(before.clone(), event.clone(), passed);
        self.state = state;
        self.note_vouched(&before, &event);
        self.log_step(&event, &effects);
        self.effects.extend(effects);
        let on_trial = |state: &SlotState| matches!(state.phase(), Phase::Trial(_));
        if on_trial(&self.state) && !on_trial(&before) {
            // What stood in may be tried in its turn.
            self.had_route =
                self.route.filter(|release| of(self.state.on_route()) == Some(*release));
        }
        self.check_step(&before, &event)?;
        if self.job.is_some() && self.job != self.at_work() {
            self.job = None;
        }
        if self.cut_at_write {
            self.cut_at_write = false;
            return self.power_cut();
        }
        if self.write() { self.check_journal() } else { Ok(()) }
    }

    /// Whether the journal has all that a power cut must not cost.
    fn write(&mut self) -> bool {
        let only_progress = self.state.differs_only_in_progress(&self.journal);
        if !only_progress && !self.full {
            self.journal = self.state.clone();
            self.excused_before = self.excused;
            self.heard.1 = self.heard.0;
        }
        only_progress || !self.full
    }

    fn at_work(&self) -> Option<Digest> {
        self.state.at_work().map(|release| release.digest)
    }

    fn is_safe_unwritten(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Run(held) => {
                !matches!(self.state.phase(), Phase::Trial(_)) && self.state.active() == Some(held)
            }
            Effect::RunMeanwhile(held) => self.state.active() == Some(held),
            Effect::Verify(_) | Effect::Vacate { .. } | Effect::EndShadow => true,
            Effect::Download { .. }
            | Effect::Stage { .. }
            | Effect::StartShadow(_)
            | Effect::Collect
            | Effect::Report(_) => false,
        }
    }

    /// Carries out the first effect that may be.
    fn carry_out_one(&mut self, fault: Fault) -> Kept {
        let written = self.write();
        let may = |effect: &Effect| written || self.is_safe_unwritten(effect);
        let Some(index) = self.effects.iter().position(may) else { return Ok(()) };
        let Some(effect) = self.effects.remove(index) else { return Ok(()) };
        self.say(|| format!("  carries out {} ({fault:?})", short(&effect)));
        match effect {
            Effect::Download { target, .. } => self.download(&target, fault),
            Effect::Stage { target, .. } => {
                let wanted = matches!(self.state.phase(),
                    Phase::Staging { target: now, .. } if *now == target);
                if wanted { self.stage(&target, fault) } else { Ok(()) }
            }
            Effect::StartShadow(held) => {
                let wanted = matches!(self.state.phase(),
                    Phase::Shadow(run) if run.candidate == held);
                if wanted { self.start_shadow(&held, fault) } else { Ok(()) }
            }
            Effect::EndShadow => {
                self.beside = None;
                Ok(())
            }
            Effect::Run(held) => {
                let wanted = self.state.on_route() == Some(&held);
                if wanted { self.put_on_route(&held, fault) } else { Ok(()) }
            }
            Effect::RunMeanwhile(held) => self.run_meanwhile(&held, fault),
            Effect::Verify(held) => {
                let release = held.release.digest;
                let answer = self.damaged(release, fault).unwrap_or(Event::Whole { release });
                self.answers.push_back(answer);
                Ok(())
            }
            Effect::Vacate { .. } => self.vacate(),
            Effect::Collect => {
                let kept: BTreeSet<Digest> =
                    self.journal.kept().map(|release| release.digest).collect();
                self.whole.retain(|digest| kept.contains(digest));
                Ok(())
            }
            Effect::Report(_) => self.hand_reports_over(fault),
        }
    }

    fn download(&mut self, target: &Target, fault: Fault) -> Kept {
        let release = target.release.digest;
        let staging = matches!(self.state.phase(), Phase::Staging { .. });
        if self.at_work() != Some(release) || staging || self.job == Some(release) {
            return Ok(());
        }
        self.job = Some(release);
        let failed = |reason: &str| Event::DownloadFailed { release, reason: reason.into() };
        let answer = match self.nature(release) {
            _ if !self.network => failed("no network"),
            _ if !self.may_fetch(release) => failed("this device has no business with it"),
            Nature::Corrupt => failed("other bytes"),
            Nature::Endless => Event::Refused { release, reason: "it never ends".into() },
            Nature::Large if !self.grown => {
                let reason = "it needs more than there is".to_owned();
                Event::Unfit { release, reason, facts: self.facts() }
            }
            _ if fault == Fault::Elsewhere || self.full => failed("the disk takes nothing"),
            _ => {
                self.whole.insert(release);
                self.rotten.remove(&release);
                Event::Downloaded { release, how: String::new() }
            }
        };
        self.answers.push_back(answer);
        Ok(())
    }

    /// A server gives a device what it has assigned to it last, and what the device has had before.
    fn may_fetch(&self, release: Digest) -> bool {
        let assigned = self.documents.last().map(|document| document.target.release.digest);
        assigned == Some(release) || self.had.contains(&release)
    }

    fn stage(&mut self, target: &Target, fault: Fault) -> Kept {
        let release = target.release.digest;
        self.not_given_up(release, "its checks are replayed")?;
        self.job = Some(release);
        let answer = if let Some(damaged) = self.damaged(release, fault) {
            damaged
        } else if fault == Fault::Elsewhere {
            Event::Interrupted { release, reason: "no process".into() }
        } else if self.nature(release) == Nature::WrongAnswers {
            Event::Refused { release, reason: "wrong answers".into() }
        } else {
            self.checked.insert(release);
            let published = self.published(release);
            Event::Staged {
                release,
                limits: Box::new(trial_limits()),
                shadow: Box::new(published.shadow.clone()),
                policy: self.policy.clone(),
                took: String::new(),
            }
        };
        self.answers.push_back(answer);
        Ok(())
    }

    fn start_shadow(&mut self, held: &Installed, fault: Fault) -> Kept {
        let release = held.release.digest;
        self.not_given_up(release, "it answers beside the route")?;
        keep(Promise::OldOrNew, self.checked.contains(&release), || {
            format!("{} answers beside the route unchecked", held.release)
        })?;
        // It waits for what it is compared with.
        if self.beside == Some(release) || self.route != of(self.state.on_route()) {
            return Ok(());
        }
        if let Some(damaged) = self.damaged(release, fault) {
            self.answers.push_back(damaged);
        } else if fault == Fault::Elsewhere {
            let reason = "no memory for two".to_owned();
            self.answers.push_back(Event::Interrupted { release, reason });
        } else if self.nature(release) == Nature::DoesNotStart {
            self.answers.push_back(Event::Refused { release, reason: "it does not load".into() });
        } else {
            self.beside = Some(release);
            self.compared = ShadowObservation::default();
        }
        Ok(())
    }

    fn put_on_route(&mut self, held: &Installed, fault: Fault) -> Kept {
        let release = held.release.digest;
        let on_trial = matches!(self.state.phase(), Phase::Trial(_));
        if on_trial {
            self.not_given_up(release, "it is tried")?;
            let journaled =
                matches!(self.journal.phase(), Phase::Trial(trial) if trial.candidate == *held);
            keep(Promise::FullDisk, journaled, || {
                format!("{} is tried and no journal knows it", held.release)
            })?;
        }
        keep(Promise::OldOrNew, self.checked.contains(&release), || {
            format!("{} runs unchecked", held.release)
        })?;
        if self.route == Some(release) {
            return self.say_placed(release);
        }
        if self.beside == Some(release) {
            self.beside = None;
        }
        let asked = self.state.about_to_take_route().is_some();
        if let (true, Some((reason, overdue))) = (asked, self.against.clone()) {
            self.answers.push_back(Event::Withheld { release, reason, overdue });
            return Ok(());
        }
        if let Some(damaged) = self.damaged(release, fault) {
            self.answers.push_back(damaged);
            return Ok(());
        }
        if fault == Fault::Elsewhere {
            self.answers.push_back(Event::Interrupted { release, reason: "no process".into() });
            return Ok(());
        }
        if self.nature(release) == Nature::DoesNotStart {
            self.answers.push_back(Event::RunFailed { release, reason: "it does not load".into() });
            return Ok(());
        }
        if let Some(before) = self.route
            && self.state.active().is_some_and(|active| active.release.digest == before)
        {
            keep(Promise::GoesOnAnswering, on_trial, || {
                format!("{} takes the route from the active release", held.release)
            })?;
        }
        let had = if on_trial {
            self.had_route == Some(release)
        } else {
            self.answered.contains(&release)
        };
        let may = self.against.is_none() || self.proven.contains(&release) || had;
        keep(Promise::Consent, may, || {
            format!("{} takes the route, the site says {:?}", held.release, self.against)
        })?;
        if on_trial {
            self.had_route = Some(release);
        }
        self.answered.insert(release);
        self.route = Some(release);
        self.seen = Observation::default();
        self.faults.remove(&release);
        self.say_placed(release)
    }

    fn say_placed(&mut self, release: Digest) -> Kept {
        match self.state.about_to_take_route() {
            Some(_) => self.feed(Event::Placed { release }, 0),
            None => Ok(()),
        }
    }

    fn run_meanwhile(&mut self, held: &Installed, fault: Fault) -> Kept {
        let release = held.release.digest;
        keep(Promise::OldOrNew, self.state.active() == Some(held), || {
            format!("{} runs meanwhile and was never committed", held.release)
        })?;
        let starts = fault == Fault::Nothing && self.nature(release) != Nature::DoesNotStart;
        if self.route.is_none() && starts && self.damaged(release, fault).is_none() {
            self.route = Some(release);
            self.seen = Observation::default();
        }
        Ok(())
    }

    fn vacate(&mut self) -> Kept {
        let expected = of(self.state.on_route());
        if expected.is_some() && self.route == expected {
            return Ok(());
        }
        // Nothing answers beside a route that has nothing to be compared with.
        self.beside = None;
        if let Some(before) = self.route.take() {
            keep(Promise::GoesOnAnswering, self.faults.contains(&before), || {
                "what answered is taken off the route without a fault of its own".into()
            })?;
        }
        Ok(())
    }

    /// A blob that is not there, or that rots now.
    fn damaged(&mut self, release: Digest, fault: Fault) -> Option<Event> {
        if fault == Fault::Rot {
            self.whole.remove(&release);
            self.rotten.insert(release);
        }
        let damaged = !self.whole.contains(&release);
        damaged.then(|| Event::Damaged { release, reason: "rot".into() })
    }

    fn hand_reports_over(&mut self, fault: Fault) -> Kept {
        if fault != Fault::Nothing || !self.write() {
            return Ok(());
        }
        let numbers: Vec<u64> = self.state.reports().map(|report| report.number).collect();
        for &number in &numbers {
            // What was handed over may be handed over again; nothing comes before its turn.
            let next = self.told_through.map_or(0, |through| through + 1);
            let dropped = numbers.len() >= 32;
            keep(Promise::Told, number <= next || dropped, || {
                format!("report {number} is handed over, {next} was due")
            })?;
            self.told_through = self.told_through.max(Some(number));
        }
        match numbers.last() {
            Some(&through) => {
                self.answers.push_back(Event::Reported { through });
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn answer(&mut self, which: usize) -> Kept {
        if self.answers.is_empty() {
            return Ok(());
        }
        let index = which % self.answers.len();
        let Some(answer) = self.answers.remove(index) else { return Ok(()) };
        match &answer {
            Event::Whole { release } | Event::Downloaded { release, .. } => {
                self.looked_at = Some(*release);
            }
            Event::Damaged { release, .. } => {
                self.looked_at.take_if(|whole| whole == release);
            }
            _ => {}
        }
        if let Event::Downloaded { release, .. }
        | Event::DownloadFailed { release, .. }
        | Event::Staged { release, .. }
        | Event::Refused { release, .. }
        | Event::Unfit { release, .. }
        | Event::Interrupted { release, .. }
        | Event::Damaged { release, .. } = &answer
            && self.job == Some(*release)
        {
            self.job = None;
        }
        self.feed(answer, 0)
    }

    /// Time passes; frames come in; the driver looks at what came of it.
    fn run(&mut self, seconds: u64, frames: u64) -> Kept {
        if self.is_deadly_at_work() {
            return self.starts_over();
        }
        if Duration::from_secs(seconds) >= QUIET {
            // Starts before a quiet spell are no longer in a row with those after it.
            self.deaths.clear();
        }
        let frames = if self.silent { 0 } else { frames };
        // A line that stands still brings no frames, and its time is nobody's.
        let fed = Duration::from_secs(if frames > 0 { seconds } else { 0 });
        if let Some(route) = self.route {
            self.seen.ran = self.seen.ran.saturating_add(fed);
            self.fed = self.fed.saturating_add(fed);
            let frames = if self.nature(route) == Nature::Mute { 0 } else { frames };
            self.seen.frames += frames;
            let misbehaves = self.nature(route) == Nature::Misbehaves;
            self.seen.crashes += u32::from(misbehaves && frames > 0) * 9;
            if let Some(beside) = self.beside {
                self.compared.ran = self.compared.ran.saturating_add(fed);
                let same = self.nature(beside) != Nature::Differs;
                let frames = if self.nature(beside) == Nature::Mute { 0 } else { frames };
                self.compared.frames += frames;
                self.compared.agreed += if same { frames } else { 0 };
                let score = self.compared.outputs.entry("score".into()).or_default();
                (0..frames).for_each(|_| score.count(same, if same { 0.0 } else { f64::NAN }));
                let pair = (beside, self.active());
                let known = self.comparison.filter(|(one, other, _)| (*one, *other) == pair);
                let so_far = known.map_or(0, |(_, _, frames)| frames);
                self.comparison = Some((pair.0, pair.1, so_far + frames));
            }
        }
        self.feed(Event::Ticked, seconds)?;
        if self.may_run_now() {
            self.retell()?;
        }
        // Reports that nobody took are handed over with a tick.
        if self.effects.is_empty() && self.answers.is_empty() {
            self.hand_reports_over(Fault::Nothing)?;
        }
        self.look()
    }

    fn elsewhere(&self, bundle: &BundleName) -> u64 {
        self.elsewhere.get(bundle).copied().unwrap_or(0)
    }

    /// A driver looks at the floors of other slots before it looks at anything else.
    fn look_at_floors(&mut self) -> Kept {
        let Some((release, number)) = self.state.on_its_way() else { return Ok(()) };
        let floor = self.state.floor(&release.name).max(self.elsewhere(&release.name));
        let release = release.digest;
        if number >= floor || self.active() == Some(release) {
            return Ok(());
        }
        self.feed(Event::BelowFloor { release, reason: "it is below the floor".into() }, 0)
    }

    pub fn look(&mut self) -> Kept {
        self.look_at_floors()?;
        if self.state.policy().is_some_and(|known| *known != self.policy) {
            self.feed(Event::Policy { policy: self.policy.clone() }, 0)?;
        }
        let event = match self.state.phase() {
            Phase::Trial(trial) if self.route == Some(trial.candidate.release.digest) => {
                let release = trial.candidate.release.digest;
                let seen = trial.with(&self.seen);
                let verdict = judge(&trial.candidate.limits, &seen, None);
                Some(Event::Observed { release, seen: Tally::of(&seen), verdict })
            }
            // What is still to be ended speaks of an earlier comparison.
            Phase::Shadow(run)
                if self.beside == Some(run.candidate.release.digest)
                    && !self.effects.contains(&Effect::EndShadow) =>
            {
                let release = run.candidate.release.digest;
                let seen = run.with(&self.compared);
                let verdict = judge_shadow(&self.shadow_limits(&run.candidate), &seen);
                Some(Event::Shadowed { release, seen, verdict })
            }
            Phase::Held(held) if !self.state.waits_for_approval() => {
                let release = held.candidate.release.digest;
                if let (None, Some(active)) = (&self.against, self.active()) {
                    let done = Tally::of(&self.seen);
                    self.feed(Event::Remembered { release: active, done }, 0)?;
                }
                Some(match self.against.clone() {
                    None => Event::Consented { release },
                    Some((reason, overdue)) => Event::Withheld { release, reason, overdue },
                })
            }
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_)
            | Phase::Trial(_) => None,
        };
        if let Some(event) = event {
            self.feed(event, 0)?;
        }
        let stand_in = self.state.stand_in().filter(|held| self.route == of(Some(held)));
        if let Some(stand_in) = stand_in {
            let release = stand_in.release.digest;
            let seen = Observation { ran: Duration::ZERO, ..self.seen.clone() };
            let verdict = judge(&stand_in.limits, &seen, None);
            let seen = Tally::of(&seen);
            self.feed(Event::Observed { release, seen, verdict }, 0)?;
        }
        Ok(())
    }

    fn shadow_limits(&self, candidate: &Installed) -> ShadowLimits {
        let held = [Some(candidate), self.state.active()].into_iter().flatten();
        ShadowLimits::strictest(held.map(|held| &*held.shadow).chain([&self.policy]))
    }

    fn is_deadly_at_work(&self) -> bool {
        let staged = match self.state.phase() {
            Phase::Staging { target, .. } => self.job == Some(target.release.digest),
            _ => false,
        };
        let staged = self.job.filter(|_| staged);
        [staged, self.beside, self.route]
            .into_iter()
            .flatten()
            .any(|release| self.nature(release) == Nature::Deadly)
    }

    fn starts_over(&mut self) -> Kept {
        let deadly = [self.job, self.beside, self.route]
            .into_iter()
            .flatten()
            .find(|release| self.nature(*release) == Nature::Deadly);
        if let Some(deadly) = deadly {
            let deaths = self.deaths.entry(deadly).or_default();
            *deaths += 1;
            let most = 4 * (BOOTS_MAX + 1);
            let deaths = *deaths;
            keep(Promise::Bounded, deaths <= most, || {
                format!("one release has made the device start over {deaths} times")
            })?;
        }
        self.power_cut()
    }

    pub fn power_cut(&mut self) -> Kept {
        self.say(|| "  the power goes".into());
        self.state = self.journal.clone();
        self.excused = self.excused_before;
        self.heard.0 = self.heard.1;
        // It is told again what it was told before.
        self.disowned.clear();
        self.runs_on = None;
        self.effects.clear();
        self.answers.clear();
        (self.route, self.beside, self.job) = (None, None, None);
        self.seen = Observation::default();
        self.compared = ShadowObservation::default();
        self.faults.clear();
        let ran = match self.state.phase() {
            Phase::Trial(trial) => trial.seen.ran,
            Phase::Shadow(run) => run.seen.ran,
            Phase::Idle | Phase::Downloading { .. } | Phase::Staging { .. } | Phase::Held(_) => {
                Duration::ZERO
            }
        };
        self.fed = self.fed.max(ran);
        self.check_after_cut()?;
        self.cut_at_write = false;
        self.feed(Event::Booted, 0)?;
        self.retell()
    }

    fn published(&self, release: Digest) -> &Published {
        let found = self.releases.iter().find(|one| one.target.release.digest == release);
        found.expect("only these releases are ever named")
    }

    fn nature(&self, release: Digest) -> Nature {
        self.published(release).nature
    }

    /// Takes note of what the slot knows of who vouches for what.
    fn note_vouched(&mut self, before: &SlotState, event: &Event) {
        match event {
            Event::Disowned { releases } => {
                self.disowned = releases.keys().copied().collect();
                self.runs_on = of(before.active()).filter(|held| self.disowned.contains(held));
            }
            Event::Assigned { target, .. } => {
                self.disowned.remove(&target.release.digest);
            }
            _ => {}
        }
        if self.active() != of(before.active()) {
            self.runs_on = None;
        }
    }

    fn note_fault(&mut self, event: &Event) {
        match event {
            Event::Disowned { releases } => self.faults.extend(releases.keys()),
            Event::RunFailed { release, .. }
            | Event::Interrupted { release, .. }
            | Event::Damaged { release, .. }
            | Event::Refused { release, .. }
            | Event::BelowFloor { release, .. }
            | Event::Withdrawn { release, .. }
            | Event::WorkerFailed { release, .. } => {
                self.faults.insert(*release);
            }
            Event::Observed { release, verdict: lineside_rules::Verdict::Failed(_), .. } => {
                self.faults.insert(*release);
            }
            // Who assigns another one wants nothing of the candidate to stay on the route, also where
            // what goes back there cannot be started at once.
            Event::Assigned { target, .. } if self.state.active().is_some() => {
                if let Phase::Trial(trial) = self.state.phase()
                    && trial.candidate.release.digest != target.release.digest
                {
                    self.faults.insert(trial.candidate.release.digest);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    fn log_step(&mut self, event: &Event, effects: &[Effect]) {
        if self.log.is_some() {
            let event = format!("{event:?}");
            let word = event.split([' ', '{']).next().unwrap_or_default();
            let about = event.split("hex: \"").nth(1).unwrap_or_default();
            let effects: Vec<String> = effects.iter().map(short).collect();
            let (note, active) = (self.state.note(), self.state.active().map(|a| &a.release));
            let active = active.map_or("vacant".into(), ToString::to_string);
            let line = format!("  {word} {about} -> {active}; {note} [{}]", effects.join(" "));
            self.say(|| line);
        }
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Download { target, .. } => format!("Download({})", target.release),
        Effect::Stage { target, .. } => format!("Stage({})", target.release),
        Effect::StartShadow(held) => format!("StartShadow({})", held.release),
        Effect::EndShadow => "EndShadow".into(),
        Effect::Run(held) => format!("Run({})", held.release),
        Effect::RunMeanwhile(held) => format!("RunMeanwhile({})", held.release),
        Effect::Verify(held) => format!("Verify({})", held.release),
        Effect::Vacate { .. } => "Vacate".into(),
        Effect::Collect => "Collect".into(),
        Effect::Report(report) => format!("{:?}", report.kind),
    }
}

pub fn trial_limits() -> TrialLimits {
    TrialLimits { frames: Some(20), judge_after: Some(5), ..TrialLimits::default() }
}

mod promised;
