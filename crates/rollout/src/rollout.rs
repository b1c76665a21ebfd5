//! A rollout: a plan, its members, and how far it is.

use crate::fleet::{DeviceKey, Fleet, ReleaseKey};
use crate::gate::{Breach, Short, Tally};
use crate::member::{Member, State};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number of a rollout; a later one has a larger number.
pub type RolloutId = u32;

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Status {
    /// It waits for approvals and for somebody to begin it.
    Draft,
    /// Its wave is being filled and watched.
    Running,
    /// It does nothing until somebody resumes it.
    Paused(Cause),
    /// The wave is through, or never will be by itself; somebody is asked. It is watched meanwhile.
    Asking(Asked),
    /// All waves are through; who is selected later is given the release.
    Standing,
    /// Devices are given what they had before.
    RollingBack,
    /// They have been. What still has the release and comes back is given what it had before, too.
    RolledBack,
    /// It was given up; devices keep what they have.
    Aborted,
    /// It is over.
    Done,
}

/// Why a rollout pauses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody wants it to.
    Person,
    /// The plan does, after the wave.
    Plan,
    /// The gate of this wave is broken.
    Broken(u8, Breach),
}

/// Why somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// The plan wants it, after the wave.
    Plan,
    /// The gate asks for more than the wave can give.
    Short(Short),
}

impl Status {
    /// Whether it gives devices the release. One that asks because its wave is short of devices takes
    /// those that come.
    pub(crate) fn brings(self) -> bool {
        matches!(self, Status::Running | Status::Standing | Status::Asking(Asked::Short(_)))
    }

    /// Whether gates are judged.
    pub(crate) fn is_watched(self) -> bool {
        matches!(self, Status::Running | Status::Standing | Status::Asking(_))
    }

    /// Whether devices are given what they had before.
    pub(crate) fn returns(self) -> bool {
        self.brings() || matches!(self, Status::RollingBack)
    }

    /// Whether its devices are its own, as long as no rollout goes before it.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Paused(_) | Status::RollingBack) || self.is_watched()
    }

    /// Whether it is over for good.
    pub fn is_over(self) -> bool {
        matches!(self, Status::RolledBack | Status::Aborted | Status::Done)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Draft => write!(f, "draft"),
            Status::Running => write!(f, "running"),
            Status::Paused(Cause::Person) => write!(f, "paused"),
            Status::Paused(Cause::Plan) => write!(f, "paused after its wave"),
            Status::Paused(Cause::Broken(wave, breach)) => {
                write!(f, "stopped: wave {wave}: {breach}")
            }
            Status::Asking(Asked::Plan) => write!(f, "asks whether to go on"),
            Status::Asking(Asked::Short(short)) => write!(f, "asks whether to go on: {short}"),
            Status::Standing => write!(f, "through; newcomers follow"),
            Status::RollingBack => write!(f, "rolling back"),
            Status::RolledBack => write!(f, "rolled back"),
            Status::Aborted => write!(f, "aborted"),
            Status::Done => write!(f, "done"),
        }
    }
}

/// What is kept of a wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WaveState {
    /// It takes nobody any more, except those who are tried again.
    pub(crate) closed: bool,
    /// Nobody whom it could take was left at the last look.
    pub(crate) full: bool,
    /// How long all its devices have decided, in milliseconds of running; none where they have not.
    pub(crate) soaked_ms: Option<u64>,
    /// What people have put up with.
    pub(crate) forgiven: Tally,
    #[serde(skip)]
    pub(crate) tally: Tally,
}

/// A rollout.
///
/// Members change through `put` alone, which keeps what is counted from them; a state that is
/// read back is counted anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub(crate) plan: Plan,
    pub(crate) author: String,
    pub(crate) approved: BTreeSet<String>,
    pub(crate) status: Status,
    /// The wave it is in, from 1; 0 before it begins.
    pub(crate) wave: u8,
    pub(crate) waves: Vec<WaveState>,
    /// Whether all waves are through.
    pub(crate) standing: bool,
    pub(crate) release: ReleaseKey,
    pub(crate) members: BTreeMap<DeviceKey, Member>,
    #[serde(skip)]
    pub(crate) index: Index,
}

/// What is counted and sorted from the members.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Index {
    /// Members that percentages are of.
    pub(crate) selected: u32,
    /// Devices that were given the release and have not decided.
    pub(crate) on_trial: u32,
    /// Devices that fetch.
    pub(crate) loading: u32,
    /// Those that may be taken into a wave: by site, in an order that is the rollout's own.
    pub(crate) waiting: BTreeMap<u32, BTreeSet<(u32, DeviceKey)>>,
    /// Those in a wave that are to be tried again.
    pub(crate) again: BTreeSet<DeviceKey>,
    /// Those that have to decide, the oldest first.
    pub(crate) undecided: BTreeSet<(u32, DeviceKey)>,
    /// Those to be given what they had before.
    pub(crate) to_return: BTreeSet<DeviceKey>,
    /// Those that were given it and have not said so.
    pub(crate) returning: u32,
}

impl Rollout {
    pub(crate) fn new(plan: Plan, author: &str, release: ReleaseKey) -> Rollout {
        Rollout {
            waves: vec![WaveState::default(); plan.waves.len()],
            plan,
            author: author.to_owned(),
            approved: BTreeSet::new(),
            status: Status::Draft,
            wave: 0,
            standing: false,
            release,
            members: BTreeMap::new(),
            index: Index::default(),
        }
    }

    /// Counts everything anew, as after it was read.
    pub(crate) fn recount(&mut self, id: RolloutId, fleet: &mut Fleet) {
        self.index = Index::default();
        self.waves.iter_mut().for_each(|wave| wave.tally = Tally::default());
        let members = std::mem::take(&mut self.members);
        for (key, member) in &members {
            self.count(id, fleet, *key, member, Sign::Plus);
        }
        self.members = members;
    }

    /// Puts a member in the place of what was known of the device, or takes it out.
    pub(crate) fn put(
        &mut self,
        id: RolloutId,
        fleet: &mut Fleet,
        key: DeviceKey,
        member: Option<Member>,
    ) {
        let old = match member {
            Some(member) => self.members.insert(key, member),
            None => self.members.remove(&key),
        };
        if let Some(old) = old {
            self.count(id, fleet, key, &old, Sign::Minus);
        }
        if let Some(member) = member {
            self.count(id, fleet, key, &member, Sign::Plus);
        }
    }

    fn count(
        &mut self,
        id: RolloutId,
        fleet: &mut Fleet,
        key: DeviceKey,
        member: &Member,
        sign: Sign,
    ) {
        let site = fleet.site_of(key);
        if let Some(wave) = usize::from(member.wave).checked_sub(1) {
            let gate = &self.plan.waves[wave].gate;
            sign.tally(&mut self.waves[wave].tally, member.tally(gate));
        }
        let index = &mut self.index;
        sign.count(&mut index.selected, member.is_selected());
        sign.count(&mut index.on_trial, member.is_on_trial());
        sign.count(&mut index.loading, member.is_loading());
        sign.count(&mut index.returning, member.state == State::Returning);
        if let Some(site) = fleet.sites.get_mut(site) {
            sign.count(&mut site.loading, member.is_loading());
        }
        if member.is_undecided() {
            sign.put(&mut index.undecided, (member.since, key));
        }
        if member.state == State::ToReturn {
            sign.put(&mut index.to_return, key);
        }
        if member.state == State::Waiting && !member.excluded {
            match member.wave {
                0 => {
                    let site = site as u32;
                    let waiting = index.waiting.entry(site).or_default();
                    sign.put(waiting, (rank(id, key), key));
                    if waiting.is_empty() {
                        index.waiting.remove(&site);
                    }
                }
                _ => sign.put(&mut index.again, key),
            }
        }
    }

    /// Devices that are in waves up to this one.
    pub(crate) fn entered(&self, wave: u8) -> u32 {
        self.waves.iter().take(usize::from(wave)).map(|wave| wave.tally.entered).sum()
    }

    /// Devices that the wave may still take; none where names decide.
    pub(crate) fn room(&self, wave: u8) -> Option<u32> {
        let size = self.plan.wave(wave)?.size.of(self.index.selected)?;
        Some(size.saturating_sub(self.entered(wave)))
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who has made it.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Who has approved it, the author aside.
    pub fn approved_by(&self) -> impl Iterator<Item = &str> {
        self.approved.iter().map(String::as_str)
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The wave it is in, from 1; 0 before it begins.
    pub fn wave(&self) -> u8 {
        self.wave
    }

    /// What has become of the devices of a wave, from 1.
    pub fn tally(&self, wave: u8) -> Tally {
        let wave = usize::from(wave).checked_sub(1);
        wave.and_then(|wave| self.waves.get(wave)).map_or(Tally::default(), |wave| wave.tally)
    }

    /// Devices that the percentages of its waves are of.
    pub fn selected(&self) -> u32 {
        self.index.selected
    }

    /// Devices that were given the release and have not decided; stuck ones are not among them.
    pub fn on_trial(&self) -> u32 {
        self.index.on_trial
    }
}

/// The place of a device in the order in which a rollout takes devices: mixed, so that a first wave is not
/// the site that was enrolled first, and the same whenever it is asked for. SplitMix64 (Steele, Lea, Flood
/// 2014) of both numbers.
pub(crate) fn rank(id: RolloutId, key: DeviceKey) -> u32 {
    let mut bits = (u64::from(id) << 32 | u64::from(key)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 32) as u32
}

/// Whether something is counted or no longer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    fn count(self, count: &mut u32, is: bool) {
        match self {
            Sign::Plus => *count += u32::from(is),
            Sign::Minus => *count -= u32::from(is),
        }
    }

    fn put<T: Ord>(self, set: &mut BTreeSet<T>, entry: T) {
        match self {
            Sign::Plus => set.insert(entry),
            Sign::Minus => set.remove(&entry),
        };
    }

    fn tally(self, sum: &mut Tally, one: Tally) {
        let add = |sum: &mut u32, one: u32| match self {
            Sign::Plus => *sum += one,
            Sign::Minus => *sum -= one,
        };
        add(&mut sum.entered, one.entered);
        add(&mut sum.undecided, one.undecided);
        add(&mut sum.on_trial, one.on_trial);
        add(&mut sum.loading, one.loading);
        add(&mut sum.committed, one.committed);
        add(&mut sum.refused, one.refused);
        add(&mut sum.rolled_back, one.rolled_back);
        add(&mut sum.stuck, one.stuck);
        add(&mut sum.measured, one.measured);
        add(&mut sum.beyond_errors, one.beyond_errors);
        add(&mut sum.beyond_latency, one.beyond_latency);
        add(&mut sum.beyond_drift, one.beyond_drift);
        add(&mut sum.beyond_agreement, one.beyond_agreement);
    }
}
