//! Thousands of devices with random lives: assignments, failures, and power cuts between any two
//! steps. Whatever happens, a slot runs a committed release, a candidate on trial, or nothing
//! because it never had one, and it comes to rest where it should.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Breach, Observation, TrialLimits, Verdict, judge};
use lineside_update::{Effect, Event, Phase, SlotState, Tally, Target, step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const SEEDS: u64 = 10_000;
const STEPS: u64 = 200;
/// Steps of 400 s, long enough for a day of trial after the last retries.
const CALM_STEPS: u64 = 400;

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same life.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// A device: what is on its disk, what is in its memory, and what the test knows of its past.
struct Device {
    seed: u64,
    dice: Dice,
    releases: Vec<Target>,
    // On disk.
    journal: SlotState,
    complete: BTreeSet<Digest>,
    checked: BTreeSet<Digest>,
    damaged: BTreeSet<Digest>,
    // In memory.
    state: SlotState,
    effects: VecDeque<Effect>,
    answers: VecDeque<Event>,
    route: Option<Digest>,
    // The candidate that something kept from taking the route.
    put_off: Option<Digest>,
    // Known to the test alone.
    ever_committed: bool,
    blocked: BTreeSet<Digest>,
    floors: BTreeMap<String, u64>,
    reports: u64,
}

impl Device {
    fn new(seed: u64) -> Device {
        let mut dice = Dice(seed);
        let mut releases = Vec::new();
        for (bundle, count) in [("pump", 5), ("fan", 2)] {
            let mut floor = 0;
            for number in 1..=count {
                floor += dice.below(number - floor + 1) * dice.below(2);
                let text = format!("{bundle} {number}");
                let release = ReleaseId {
                    name: bundle.parse().unwrap(),
                    version: number.to_string().parse().unwrap(),
                    digest: Digest::of(text.as_bytes()),
                    size: 1,
                };
                releases.push(Target { release, number, floor });
            }
        }
        Device {
            seed,
            dice,
            releases,
            journal: SlotState::default(),
            complete: BTreeSet::new(),
            checked: BTreeSet::new(),
            damaged: BTreeSet::new(),
            state: SlotState::default(),
            effects: VecDeque::new(),
            answers: VecDeque::new(),
            route: None,
            put_off: None,
            ever_committed: false,
            blocked: BTreeSet::new(),
            floors: BTreeMap::new(),
            reports: 0,
        }
    }

    fn any(&mut self) -> Target {
        let index = self.dice.below(self.releases.len() as u64) as usize;
        self.releases[index].clone()
    }

    fn any_digest(&mut self) -> Digest {
        self.any().release.digest
    }

    fn on_trial(&self) -> Option<Digest> {
        match self.state.phase() {
            Phase::Trial(trial) => Some(trial.candidate.release.digest),
            _ => None,
        }
    }

    /// What the rules say of a trial that has seen so many frames.
    fn judged(&self, frames: u64) -> Verdict {
        match self.state.phase() {
            Phase::Trial(trial) => {
                let now = Observation { frames, ..Observation::default() };
                judge(&TrialLimits::default(), &Observation { ran: trial.ran, ..now })
            }
            _ => Verdict::Undecided,
        }
    }

    /// One thing happens.
    fn live(&mut self) {
        match self.dice.below(20) {
            0 => {
                if self.dice.one_in(3) {
                    self.feed(Event::Stopped);
                }
                self.power_cut();
            }
            1 => {
                let target = self.any();
                let floor = self.dice.below(4) * self.dice.below(2);
                self.feed(Event::Assigned { target, floor });
            }
            2 => self.feed(Event::Ticked),
            // A worker dies; now and then it is one that is not there any more.
            3 => {
                let release = match self.route {
                    Some(route) if !self.dice.one_in(4) => route,
                    _ => self.any_digest(),
                };
                self.feed(Event::WorkerFailed { release, reason: "it died".into() });
            }
            4 | 5 => {
                let release = match self.on_trial() {
                    Some(candidate) if self.route == Some(candidate) => candidate,
                    _ => self.any_digest(),
                };
                // Nothing is seen of a release that is not on the route.
                if self.route == Some(release) {
                    let seen = Tally { frames: self.dice.below(100), ..Tally::default() };
                    let verdict = match self.dice.below(3) {
                        0 => self.judged(seen.frames),
                        1 => Verdict::Passed,
                        _ => Verdict::Failed(Breach::Crashes { seen: 3, max: 2 }),
                    };
                    self.feed(Event::Observed { release, seen, verdict });
                }
            }
            // An answer arrives, in any order and perhaps too late.
            6..=12 => {
                if !self.answers.is_empty() {
                    let index = self.dice.below(self.answers.len() as u64) as usize;
                    let answer = self.answers.remove(index).unwrap();
                    self.feed(answer);
                }
            }
            _ => self.carry_out_one(),
        }
        self.check();
    }

    /// The driver's part: the state is on disk before any effect is carried out.
    fn feed(&mut self, event: Event) {
        if let Event::Assigned { target, .. } = &event {
            let assigned = target.release.digest;
            self.blocked.retain(|digest| *digest == assigned);
        }
        let ran = Duration::from_secs(self.dice.below(700));
        let (state, effects) = step(self.state.clone(), event, ran);
        if self.dice.one_in(30) {
            return self.power_cut(); // before the write
        }
        let only_progress = state.differs_only_in_progress(&self.journal);
        self.state = state;
        // A driver may save writes of mere progress.
        if !only_progress || self.dice.one_in(3) {
            self.journal = self.state.clone();
            self.remember();
        }
        self.effects.extend(effects);
    }

    /// What the test takes note of when a state has reached the disk.
    fn remember(&mut self) {
        self.ever_committed |= self.journal.active().is_some();
        self.blocked.extend(self.journal.blocked().map(|blocked| blocked.release.digest));
        for bundle in ["pump", "fan"] {
            let floor = self.journal.floor(&bundle.parse().unwrap());
            let before = self.floors.insert(bundle.into(), floor).unwrap_or(0);
            assert!(floor >= before, "seed {}: the floor of {bundle} fell", self.seed);
        }
        let next = self.journal.reports().map(|report| report.number + 1).max().unwrap_or(0);
        self.reports = self.reports.max(next);
    }

    fn carry_out_one(&mut self) {
        let Some(effect) = self.effects.pop_front() else { return };
        let failing = self.dice.one_in(4);
        match effect {
            Effect::Download { target, .. } => {
                let release = target.release.digest;
                let reason = "no network".to_owned();
                self.answers.push_back(if failing {
                    Event::DownloadFailed { release, reason }
                } else {
                    self.complete.insert(release);
                    self.damaged.remove(&release);
                    Event::Downloaded { release }
                });
            }
            Effect::Stage { target, .. } => {
                let release = target.release.digest;
                self.answers.push_back(if !self.complete.contains(&release) {
                    Event::Damaged { release, reason: "a blob is missing".into() }
                } else if failing && self.dice.one_in(2) {
                    Event::Interrupted { release, reason: "no process".into() }
                } else if failing {
                    Event::Refused { release, reason: "wrong answers".into() }
                } else {
                    self.checked.insert(release);
                    Event::Staged { release, limits: TrialLimits::default() }
                });
            }
            Effect::Run(held) => {
                let release = held.release.digest;
                if self.state.on_route() != Some(&held) {
                    return; // The driver skips what is no longer wanted.
                }
                assert!(self.checked.contains(&release), "seed {}: unchecked", self.seed);
                if self.route == Some(release) {
                    return;
                }
                if self.dice.one_in(16) {
                    self.complete.remove(&release);
                    self.damaged.insert(release);
                }
                if self.damaged.contains(&release) {
                    return self
                        .answers
                        .push_back(Event::Damaged { release, reason: "rot".into() });
                }
                assert!(self.complete.contains(&release), "seed {}: collected", self.seed);
                if self.dice.one_in(8) {
                    self.answers.push_back(Event::RunFailed { release, reason: "memory".into() });
                } else if self.dice.one_in(8) {
                    self.put_off = Some(release);
                    let reason = "no process".into();
                    self.answers.push_back(Event::Interrupted { release, reason });
                } else {
                    self.put_off = None;
                    self.route = Some(release);
                }
            }
            Effect::Vacate { .. } => {
                if self.route != self.state.on_route().map(|held| held.release.digest) {
                    self.route = None;
                }
            }
            Effect::Collect => {
                let kept: BTreeSet<Digest> =
                    self.journal.kept().map(|release| release.digest).collect();
                self.complete.retain(|digest| kept.contains(digest));
            }
            Effect::Report(report) => {
                self.answers.push_back(Event::Reported { through: report.number });
            }
        }
    }

    fn power_cut(&mut self) {
        self.state = self.journal.clone();
        self.effects.clear();
        self.answers.clear();
        self.route = None;
        self.put_off = None;
        let (state, effects) = step(self.state.clone(), Event::Booted, Duration::ZERO);
        self.state = state;
        if self.dice.one_in(10) {
            return self.power_cut();
        }
        self.journal = self.state.clone();
        self.remember();
        self.effects.extend(effects);
    }

    /// What holds at any instant.
    fn check(&self) {
        let seed = self.seed;
        let active = self.state.active();
        assert!(!self.ever_committed || active.is_some(), "seed {seed}: the release is lost");
        for held in active.iter().chain(&self.state.previous()) {
            let digest = held.release.digest;
            assert!(self.checked.contains(&digest), "seed {seed}: unchecked release kept");
            let floor = self.state.floor(&held.release.name);
            assert!(held.number >= floor, "seed {seed}: {} is below its floor", held.release);
        }
        if let Some(active) = active {
            let digest = active.release.digest;
            assert!(!self.blocked.contains(&digest), "seed {seed}: a blocked release is active");
            let previous = self.state.previous().map(|held| held.release.digest);
            assert_ne!(previous, Some(digest), "seed {seed}: active and previous are one");
        }
        if let Some(candidate) = self.state.candidate() {
            let digest = candidate.digest;
            assert!(!self.blocked.contains(&digest), "seed {seed}: a blocked release is tried");
            let repaired = matches!(self.state.phase(), Phase::Downloading { .. });
            let is_active = active.map(|held| held.release.digest) == Some(digest);
            assert!(!is_active || repaired, "seed {seed}: the active release is tried");
        }
        assert!(self.state.reports().count() <= 32, "seed {seed}: reports without end");
        assert!(self.state.blocked().count() <= 2, "seed {seed}: blocks without end");
        let expected = self.state.on_route().map(|held| held.release.digest);
        let settling = self
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Run(_) | Effect::Vacate { .. }));
        let failing = self.answers.iter().any(|answer| {
            use Event::{Damaged, Interrupted, RunFailed};
            matches!(answer, RunFailed { .. } | Interrupted { .. } | Damaged { .. })
        });
        let starting = self.route.is_none();
        let waiting = self.put_off.is_some() && self.put_off == self.on_trial();
        let waits = waiting && self.route == active.map(|held| held.release.digest);
        assert!(
            self.route == expected || settling || failing || starting || waits,
            "seed {seed}: {:?} is on the route, {expected:?} should be",
            self.route
        );
    }

    /// The storms end: everything succeeds, and the device must come to rest. Where the source is
    /// silent, a trial has nothing to be judged by, and must come to an end nevertheless.
    fn calm(&mut self, silent: bool) {
        for _ in 0..CALM_STEPS {
            if let Some(effect) = self.effects.pop_front() {
                self.succeed(effect);
                continue;
            }
            let event = match (self.answers.pop_front(), self.on_trial()) {
                (Some(answer), _) => answer,
                (None, Some(release)) if self.route == Some(release) => {
                    let verdict = if silent { self.judged(0) } else { Verdict::Passed };
                    Event::Observed { release, seen: Tally::default(), verdict }
                }
                (None, _) => Event::Ticked,
            };
            let (state, effects) = step(self.state.clone(), event, Duration::from_secs(400));
            self.state = state;
            self.journal = self.state.clone();
            self.effects.extend(effects);
        }
        let seed = self.seed;
        assert_eq!(*self.state.phase(), Phase::Idle, "seed {seed}: it does not come to rest");
        let active = self.state.active().map(|held| held.release.digest);
        assert_eq!(self.route, active, "seed {seed}: it rests on another release");
        assert_eq!(self.state.reports().count(), 0, "seed {seed}: reports are left");
        let (after, effects) = step(self.state.clone(), Event::Ticked, Duration::from_secs(1000));
        assert!(effects.is_empty() && after == self.state, "seed {seed}: it is not at rest");
    }

    fn succeed(&mut self, effect: Effect) {
        match effect {
            Effect::Download { target, .. } => {
                let release = target.release.digest;
                self.complete.insert(release);
                self.damaged.remove(&release);
                self.answers.push_back(Event::Downloaded { release });
            }
            Effect::Stage { target, .. } => {
                let (release, limits) = (target.release.digest, TrialLimits::default());
                self.checked.insert(release);
                self.answers.push_back(Event::Staged { release, limits });
            }
            Effect::Run(held) if self.state.on_route() == Some(&held) => {
                let release = held.release.digest;
                if self.damaged.contains(&release) {
                    self.answers.push_back(Event::Damaged { release, reason: "rot".into() });
                } else {
                    self.route = Some(release);
                }
            }
            Effect::Vacate { .. } => {
                if self.route != self.state.on_route().map(|held| held.release.digest) {
                    self.route = None;
                }
            }
            Effect::Report(report) => {
                self.answers.push_back(Event::Reported { through: report.number });
            }
            Effect::Run(_) | Effect::Collect => {}
        }
    }
}

#[test]
fn ten_thousand_lives_with_power_cuts_never_lose_a_release() {
    let (mut committed, mut vacant, mut reports) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut device = Device::new(seed);
        device.power_cut();
        for _ in 0..STEPS {
            device.live();
        }
        // A power cut loses the answers that were under way; the boot asks for them again.
        device.power_cut();
        device.calm(seed % 10 == 0);
        device.check();
        match device.state.active() {
            Some(_) => committed += 1,
            None => vacant += 1,
        }
        reports += device.reports;
    }
    // The lives are worth something only if they differ.
    assert!(committed > SEEDS / 2 && vacant > 0, "{committed} committed, {vacant} vacant");
    assert!(reports > SEEDS * 5, "{reports} reports");
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let life = |seed| {
        let mut device = Device::new(seed);
        (0..STEPS).for_each(|_| device.live());
        device.state
    };
    assert_eq!(life(7), life(7));
}
