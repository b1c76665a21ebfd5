//! What a slot holds.

use crate::report::Reports;
use crate::retry::Retry;
use crate::spare::Spare;
use crate::stand_in::StandIn;
use crate::{Held, Report, ShadowRun, Starts, Tally, Trial};
use lineside_bundle::{BundleName, Digest, ReleaseId};
use lineside_rules::{Decide, ShadowLimits, TrialLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A release that a trusted assignment names for the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Which release.
    pub release: ReleaseId,
    /// Its place among the releases of its bundle; signed.
    pub number: u64,
    /// The number below which no release of its bundle may be assigned once this one is committed;
    /// signed.
    pub floor: u64,
}

/// A release whose checks have passed on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Which release.
    pub release: ReleaseId,
    /// As in [`Target`].
    pub number: u64,
    /// As in [`Target`].
    pub floor: u64,
    /// What it allows itself on trial, and its successor after it. Kept here so that a disk that does
    /// not give the manifest cannot loosen a trial.
    #[serde(default)]
    pub limits: Box<TrialLimits>,
    /// How it wants to be compared with its predecessor, and its successor with it.
    #[serde(default)]
    pub shadow: Box<ShadowLimits>,
}

impl Target {
    pub(crate) fn installed(
        self,
        limits: Box<TrialLimits>,
        shadow: Box<ShadowLimits>,
    ) -> Installed {
        let Target { release, number, floor } = self;
        Installed { release, number, floor, limits, shadow }
    }

    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

impl Installed {
    pub(crate) fn target(self) -> Target {
        Target { release: self.release, number: self.number, floor: self.floor }
    }

    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

/// What is going on with a release that is not the active one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Its blobs are being fetched.
    Downloading {
        /// The release.
        target: Target,
        /// How many times it has failed.
        attempts: u32,
        /// Why it failed last.
        reason: Option<String>,
    },
    /// Its checks are being replayed.
    Staging {
        /// The release.
        target: Target,
        /// How often the device has started over meanwhile.
        #[serde(default)]
        starts: Starts,
        /// How many times something other than the release prevented it.
        #[serde(default)]
        attempts: u32,
    },
    /// It answers beside the active release, without acting, and both are compared.
    Shadow(ShadowRun),
    /// It may take the route when people let it.
    Held(Held),
    /// It is on the route, on probation.
    Trial(Trial),
}

impl Phase {
    /// What people call it, in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Downloading { .. } => "downloading",
            Phase::Staging { .. } => "staging",
            Phase::Shadow(_) => "shadow",
            Phase::Held(_) => "held",
            Phase::Trial(_) => "trial",
        }
    }
}

/// Why a release is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Which release.
    pub release: ReleaseId,
    /// One sentence for people, as in `rolled back: …` or `refused: …`.
    pub reason: String,
    /// How often it was tried; 0 where it may not even be assigned, or would not run on such a device.
    pub attempts: u32,
    /// The number of the wish with which a person had last said that something be tried again in this slot,
    /// by then; 0 for none. Another one [ends this](crate::Event::TryAgain).
    #[serde(default)]
    pub again: u64,
    /// What the device was like, as a digest, where the release would not run on such a device: on
    /// another one it may be [reconsidered](crate::Event::Reconsidered).
    #[serde(default)]
    pub facts: Option<Digest>,
}

/// What a release has done on the route here, in its trial or since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) release: Digest,
    pub(crate) seen: Tally,
}

/// How what holds the route outside of a trial fails: the active release, or a stand-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Failing {
    /// Failures in a row that count against it.
    pub(crate) count: u32,
    /// Why, the last time that it was too many.
    pub(crate) last: String,
    /// Running time since the last one.
    pub(crate) quiet: Duration,
    /// When it is put on the route again, where it is not.
    pub(crate) retry: Retry,
    /// It is damaged on disk and being fetched, before whatever else is.
    pub(crate) mending: bool,
}

/// The state of one slot: what the journal keeps.
///
/// Only [`step`](crate::step) changes one. A field that an older agent did not write is as in a new
/// slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotState {
    pub(crate) active: Option<Installed>,
    /// What the active release has done: its successor is compared with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<Box<Done>>,
    pub(crate) previous: Option<Installed>,
    /// Only in a slot without an active release.
    pub(crate) stand_in: Option<StandIn>,
    pub(crate) phase: Phase,
    /// The release that a person has approved last.
    pub(crate) approved: Option<Digest>,
    /// What the slot was to hold, as long as nothing is assigned to it since, and why.
    pub(crate) withdrawn: Option<(Digest, String)>,
    /// Of the releases that were committed here and are kept, those for which nobody vouches any more,
    /// and why.
    pub(crate) disowned: BTreeMap<Digest, String>,
    pub(crate) blocked: BTreeMap<Digest, Blocked>,
    /// The number of the wish with which a person has last said that something be tried again; 0 for none.
    pub(crate) again: u64,
    pub(crate) floors: BTreeMap<BundleName, u64>,
    /// Releases that were committed here and have not failed since, the latest last.
    pub(crate) proven: Vec<Digest>,
    pub(crate) failing: Failing,
    pub(crate) spare: Spare,
    pub(crate) reports: Reports,
}

impl SlotState {
    /// The committed release; absent while the slot is vacant or its first release is on trial.
    pub fn active(&self) -> Option<&Installed> {
        self.active.as_ref()
    }

    /// The release that was active before, kept on disk to go back to.
    pub fn previous(&self) -> Option<&Installed> {
        self.previous.as_ref()
    }

    /// The release that answers in a slot without an active one until the next trial begins: its
    /// own first trial was ended by another assignment.
    pub fn stand_in(&self) -> Option<&Installed> {
        self.stand_in.as_ref().map(|stand_in| &stand_in.release)
    }

    /// The active release, while it is damaged on disk and being fetched before whatever else is.
    pub fn mending(&self) -> Option<&Installed> {
        match &self.phase {
            Phase::Idle | Phase::Downloading { .. } | Phase::Shadow(_) | Phase::Held(_) => {
                self.active().filter(|_| self.failing.mending)
            }
            Phase::Staging { .. } | Phase::Trial(_) => None,
        }
    }

    /// The release that is being fetched, staged, compared, held back or tried.
    pub fn candidate(&self) -> Option<&ReleaseId> {
        self.on_its_way().map(|(release, _)| release)
    }

    /// The same, with its place among the releases of its bundle.
    pub fn on_its_way(&self) -> Option<(&ReleaseId, u64)> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Downloading { target, .. } | Phase::Staging { target, .. } => {
                Some((&target.release, target.number))
            }
            Phase::Shadow(run) => Some((&run.candidate.release, run.candidate.number)),
            Phase::Held(held) => Some((&held.candidate.release, held.candidate.number)),
            Phase::Trial(trial) => Some((&trial.candidate.release, trial.candidate.number)),
        }
    }

    /// Whether the candidate waits for a person, whatever the site says.
    pub fn waits_for_approval(&self) -> bool {
        match &self.phase {
            Phase::Held(held) => {
                held.decide == Decide::Ask && self.approved != Some(held.candidate.release.digest)
            }
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Trial(_) => false,
        }
    }

    /// What the trial of `candidate` is compared with: what the release that it replaces has done. On
    /// the way back to a release that was committed here before, nothing: what is to be left is no measure.
    pub fn measure(&self, candidate: &Digest) -> Option<&Tally> {
        let done = self.done.as_ref().filter(|_| !self.has_proven(candidate))?;
        self.is_active(&done.release).then_some(&done.seen)
    }

    /// What is going on.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Releases that are not tried again until another one has been assigned, until a person says so, or
    /// until the device is one on which they would run.
    pub fn blocked(&self) -> impl Iterator<Item = &Blocked> {
        self.blocked.values()
    }

    /// The number below which no assignment of `bundle` is accepted.
    pub fn floor(&self, bundle: &BundleName) -> u64 {
        self.floors.get(bundle).copied().unwrap_or(0)
    }

    /// The floors of all bundles that the slot has held.
    pub fn floors(&self) -> impl Iterator<Item = (&BundleName, u64)> {
        self.floors.iter().map(|(bundle, floor)| (bundle, *floor))
    }

    /// The release that shall be on the route now: the candidate of a trial, else the active one,
    /// else what stands in for one.
    pub fn on_route(&self) -> Option<&Installed> {
        match &self.phase {
            Phase::Trial(trial) => Some(&trial.candidate),
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_) => self.active().or(self.stand_in()),
        }
    }

    /// Whether the release was committed here, and neither failed nor was refused since. It may come
    /// back without being compared with what runs now, and without anybody being asked: who goes back
    /// must not have to wait for what he wants to leave.
    pub fn has_proven(&self, release: &Digest) -> bool {
        self.proven.contains(release)
    }

    /// The releases whose blobs must stay on disk.
    pub fn kept(&self) -> impl Iterator<Item = &ReleaseId> {
        let installed = self.active.iter().chain(&self.previous).chain(self.stand_in());
        installed.map(|held| &held.release).chain(self.candidate())
    }

    /// Reports not yet handed over, oldest first.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.waiting()
    }

    /// One sentence on what is going on, or on why the last release was not kept.
    pub fn note(&self) -> String {
        let news = Some(self.told()).filter(|news| !news.is_empty());
        let runs = self.active().and_then(|active| {
            let why = self.why_unwanted(&active.release.digest)?;
            Some(format!("{} goes on running, though {why}", active.release))
        });
        let back = self.disowned_previous().map(|(previous, why)| {
            format!("there is no way back to {}, because {why}", previous.release)
        });
        [runs, back, news].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Why nobody vouches for `release`, where the slot was told so.
    pub fn disowned(&self, release: &Digest) -> Option<&str> {
        self.disowned.get(release).map(String::as_str)
    }

    /// Why nobody wants `release` here, where that is so: nobody vouches for it, or the slot is to hold
    /// it no longer.
    pub(crate) fn why_unwanted(&self, release: &Digest) -> Option<&str> {
        let withdrawn = self.withdrawn.as_ref().filter(|(withdrawn, _)| withdrawn == release);
        self.disowned.get(release).or(withdrawn.map(|(_, why)| why)).map(String::as_str)
    }

    fn told(&self) -> String {
        if let Some(active) = self.mending() {
            let first = format!("{} is damaged on disk and fetched first", active.release);
            return if self.news().is_empty() {
                first
            } else {
                format!("{first}; {}", self.news())
            };
        }
        match self.stand_in() {
            Some(held) if self.phase == Phase::Idle => {
                format!("{} answers until another release is tried; {}", held.release, self.news())
            }
            Some(held) => format!("{}; {} answers meanwhile", self.news(), held.release),
            None => self.news(),
        }
    }

    fn news(&self) -> String {
        match &self.phase {
            Phase::Downloading { target, reason: Some(reason), attempts } => {
                format!(
                    "downloading {}: {reason}, {attempts} times so far; trying again",
                    target.release
                )
            }
            Phase::Downloading { target, .. } => format!("downloading {}", target.release),
            Phase::Staging { target, .. } => format!("replaying the checks of {}", target.release),
            Phase::Shadow(run) => {
                let (release, frames) = (&run.candidate.release, run.seen.frames);
                format!("{release} answers beside the route, {frames} frames compared so far")
            }
            Phase::Held(held) if self.waits_for_approval() => {
                format!("{} waits for a person to approve it", held.candidate.release)
            }
            Phase::Held(Held { candidate, withheld: Some(withheld), .. }) => {
                let late = if withheld.overdue { ", longer than it should" } else { "" };
                format!("{} is held back{late}: {}", candidate.release, withheld.reason)
            }
            Phase::Held(held) => format!("{} is about to be tried", held.candidate.release),
            Phase::Trial(trial) => {
                format!("{} on trial, {} frames so far", trial.candidate.release, trial.seen.frames)
            }
            Phase::Idle => {
                let blocked: Vec<String> = self
                    .blocked
                    .values()
                    .map(|blocked| format!("{}: {}", blocked.release, blocked.reason))
                    .collect();
                blocked.join("; ")
            }
        }
    }

    /// Whether `other` differs in nothing that a power cut may not cost: only in how long and how far
    /// something has run or waited, be it a shadow, a hold, a trial, or the next attempt, and in reports
    /// already handed over. A driver may then save a write.
    pub fn differs_only_in_progress(&self, other: &SlotState) -> bool {
        self.essence() == other.essence()
    }

    fn essence(&self) -> SlotState {
        let mut state = self.clone();
        state.failing.quiet = Duration::ZERO;
        // A boot makes the next attempt at once, and finds damage anew.
        state.failing.retry.again();
        state.failing.mending = false;
        state.spare = Spare::default();
        state.reports.done(u64::MAX);
        if let Some(stand_in) = &mut state.stand_in {
            stand_in.starts = stand_in.starts.essence();
        }
        match &mut state.phase {
            Phase::Idle | Phase::Downloading { .. } => {}
            Phase::Staging { starts, .. } => *starts = starts.essence(),
            Phase::Shadow(run) => *run = run.essence(),
            Phase::Held(held) => *held = held.essence(),
            Phase::Trial(trial) => {
                let (starts, mut retry) = (trial.starts.essence(), trial.retry.clone());
                retry.again();
                let waited = trial.waited.as_ref().map(|held| Box::new(held.essence()));
                *trial = Trial { starts, retry, waited, ..Trial::of(trial.candidate.clone()) };
            }
        }
        state
    }
}
