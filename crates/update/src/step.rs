//! One step of the engine.

use crate::slot::Failing;
use crate::{Blocked, Effect, Event, Installed, Phase, ReportKind, SlotState, Target, Trial};
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::Verdict;
use std::time::Duration;

/// Boots that a release survives while it is being staged or tried: at the next one it is taken
/// for what makes the device start over, and given up.
pub const BOOTS_MAX: u32 = 3;
/// Failures in a row after which the slot goes back from its active release to the previous one.
pub const FAILURES_MAX: u32 = 5;
/// Running time without a failure after which earlier failures no longer count.
pub const QUIET: Duration = Duration::from_secs(600);
/// Different bundles that one slot may hold over its life; each leaves a floor behind.
pub const BUNDLES_MAX: usize = 64;
/// Longest pause before a release that could not be started is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Takes a slot one event further. Reads no clock, file or socket.
///
/// `ran` is how long the device has been running since the last event of this slot: trials and
/// failures count running time, because wall clocks jump and devices are switched off for weeks.
pub fn step(mut slot: SlotState, event: Event, ran: Duration) -> (SlotState, Vec<Effect>) {
    use {Effect::*, Event::*, Phase::*};

    slot.pass(ran);
    let effects = match (slot.phase.clone(), event) {
        (Idle, Booted) => slot.resume(None),
        (Downloading { target, attempts, .. }, Booted) => {
            slot.resume(Some(Download { target, attempts }))
        }
        (Staging { target, boots }, Booted) if boots >= BOOTS_MAX => {
            let reason = format!("the device started {boots} times while its checks were replayed");
            let resumed = slot.resume(None);
            [resumed, slot.refuse(&target.release, boots, reason)].concat()
        }
        (Staging { target, boots }, Booted) => {
            slot.phase = Staging { target: target.clone(), boots: boots + 1 };
            slot.resume(Some(Stage(target)))
        }
        (Trial(trial), Booted) if trial.boots >= BOOTS_MAX => {
            let reason = format!("the device started {} times during its trial", trial.boots);
            let reports: Vec<Effect> = slot.reports().cloned().map(Report).collect();
            [reports, slot.roll_back(&trial, reason)].concat()
        }
        (Trial(trial), Booted) => {
            let before = trial.seen.clone();
            slot.phase = Trial(crate::Trial { boots: trial.boots + 1, before, ..trial });
            slot.resume(None)
        }

        (_, Assigned(target)) => slot.assign(target),

        (Downloading { target, .. }, Downloaded { release }) if target.is(&release) => {
            slot.phase = Staging { target: target.clone(), boots: 0 };
            let text = format!("{} is on disk; replaying its checks", target.release);
            vec![slot.report(ReportKind::Downloaded, &target.release, text), Stage(target)]
        }
        (Downloading { target, attempts, reason: last }, DownloadFailed { release, reason })
            if target.is(&release) =>
        {
            let attempts = attempts.saturating_add(1);
            // A device without a network for weeks says so once.
            let news = last.as_ref() != Some(&reason);
            let text = format!("{} cannot be fetched: {reason}; trying again", target.release);
            slot.phase = Downloading { target: target.clone(), attempts, reason: Some(reason) };
            let report =
                news.then(|| slot.report(ReportKind::DownloadFailed, &target.release, text));
            report.into_iter().chain([Download { target, attempts }]).collect()
        }
        // A blob was damaged after it had been fetched: it is fetched again.
        (Staging { target, .. }, DownloadFailed { release, reason }) if target.is(&release) => {
            let text = format!("{} is fetched again: {reason}", target.release);
            let report = slot.report(ReportKind::DownloadFailed, &target.release, text);
            let reason = Some(reason);
            slot.phase = Downloading { target: target.clone(), attempts: 1, reason };
            vec![report, Download { target, attempts: 1 }]
        }
        (Downloading { target, .. } | Staging { target, .. }, Refused { release, reason })
            if target.is(&release) =>
        {
            slot.refuse(&target.release, 1, reason)
        }
        (Staging { target, .. }, Staged { release }) if target.is(&release) => {
            let candidate = target.installed();
            let text = format!("{} passed its checks and is on trial", candidate.release);
            slot.phase = Trial(crate::Trial::of(candidate.clone()));
            vec![slot.report(ReportKind::TrialStarted, &candidate.release, text), Run(candidate)]
        }

        (Trial(trial), Observed { release, seen, verdict }) if trial.is_of(&release) => {
            let trial = crate::Trial { seen, ..trial };
            match verdict {
                Verdict::Undecided => {
                    slot.phase = Trial(trial);
                    vec![]
                }
                Verdict::Passed => slot.commit(trial),
                Verdict::Failed(breach) => slot.roll_back(&trial, breach.to_string()),
            }
        }
        (Trial(trial), RunFailed { release, reason }) if trial.is_of(&release) => {
            slot.roll_back(&trial, format!("it could not be started: {reason}"))
        }
        // The worker is started again by itself, and the verdict counts its deaths.
        (Trial(trial), WorkerFailed { release, reason }) if trial.is_of(&release) => {
            let text = format!("worker of {}: {reason}", trial.candidate.release);
            vec![slot.report(ReportKind::WorkerFailed, &trial.candidate.release, text)]
        }
        (Idle | Downloading { .. } | Staging { .. }, WorkerFailed { release, reason })
            if slot.is_active(&release) =>
        {
            slot.fail(reason)
        }
        // Something else may be on the route still: a candidate that was rolled back.
        (Idle | Downloading { .. } | Staging { .. }, RunFailed { release, reason })
            if slot.is_active(&release) =>
        {
            let vacate = Vacate { reason: format!("it could not be started: {reason}") };
            [slot.fail(reason), vec![vacate]].concat()
        }
        // Something may have kept the active release from starting that has passed by now.
        (Idle | Downloading { .. } | Staging { .. }, Ticked) if slot.failing.is_due() => {
            slot.active.clone().map(Run).into_iter().collect()
        }

        (_, Reported { through }) => {
            slot.reports.done(through);
            vec![]
        }
        // Answers about a release that has been replaced meanwhile.
        (
            Idle | Downloading { .. } | Staging { .. } | Trial(_),
            Downloaded { .. }
            | DownloadFailed { .. }
            | Staged { .. }
            | Refused { .. }
            | RunFailed { .. }
            | Observed { .. }
            | WorkerFailed { .. },
        ) => vec![],
        (Idle | Downloading { .. } | Staging { .. } | Trial(_), Ticked) => vec![],
    };
    (slot, effects)
}

impl SlotState {
    fn pass(&mut self, ran: Duration) {
        if let Phase::Trial(trial) = &mut self.phase {
            trial.ran = trial.ran.saturating_add(ran);
        }
        self.failing.quiet = self.failing.quiet.saturating_add(ran);
        if self.failing.count == 0 || self.failing.quiet >= QUIET {
            self.failing = Failing::default();
        }
    }

    fn is_active(&self, digest: &Digest) -> bool {
        self.active.as_ref().is_some_and(|active| active.is(digest))
    }

    /// What to do after a boot: say again what shall be, then `work`.
    fn resume(&mut self, work: Option<Effect>) -> Vec<Effect> {
        let route = match self.on_route() {
            Some(release) => Effect::Run(release.clone()),
            None => Effect::Vacate { reason: "no release has been committed yet".into() },
        };
        let reports = self.reports().cloned().map(Effect::Report);
        [route].into_iter().chain(reports).chain([Effect::Collect]).chain(work).collect()
    }

    /// Makes `target` what the slot is heading for.
    ///
    /// A release that is already being fetched, staged or tried is left: who assigns another one
    /// during a trial no longer wants the candidate, and one stuck update must not block the next.
    /// A target below the floor changes nothing else.
    fn assign(&mut self, target: Target) -> Vec<Effect> {
        let release = &target.release;
        self.blocked.retain(|digest, _| *digest == release.digest);
        if self.blocked.contains_key(&release.digest)
            || self.candidate().is_some_and(|candidate| candidate.digest == release.digest)
        {
            return vec![];
        }
        let floor = self.floor(&release.name);
        if target.number < floor {
            let reason = format!(
                "number {} is below the floor {floor} that was signed for {}",
                target.number, release.name
            );
            return self.block(ReportKind::Refused, release, 0, format!("refused: {reason}"));
        }
        if self.floors.len() >= BUNDLES_MAX && !self.floors.contains_key(&release.name) {
            let reason = format!("refused: the slot has held {BUNDLES_MAX} different bundles");
            return self.block(ReportKind::Refused, release, 0, reason);
        }
        let mut effects = self.cancel(release);
        if self.is_active(&release.digest) {
            return effects;
        }
        let text = format!("{release} is assigned");
        effects.push(self.report(ReportKind::Assigned, release, text));
        self.phase = Phase::Downloading { target: target.clone(), attempts: 0, reason: None };
        effects.push(Effect::Download { target, attempts: 0 });
        effects
    }

    /// Leaves whatever is going on, in favor of `other`.
    fn cancel(&mut self, other: &ReleaseId) -> Vec<Effect> {
        match std::mem::take(&mut self.phase) {
            Phase::Idle => vec![],
            Phase::Downloading { .. } | Phase::Staging { .. } => vec![Effect::Collect],
            Phase::Trial(trial) => {
                let candidate = &trial.candidate.release;
                let text = format!("trial of {candidate} ended: {other} is assigned");
                let route = self.back_to_active(&format!("the trial of {candidate} was ended"));
                let report = self.report(ReportKind::TrialCancelled, candidate, text);
                vec![route, report, Effect::Collect]
            }
        }
    }

    fn refuse(&mut self, release: &ReleaseId, attempts: u32, reason: String) -> Vec<Effect> {
        self.phase = Phase::Idle;
        let mut effects =
            self.block(ReportKind::Refused, release, attempts, format!("refused: {reason}"));
        effects.extend(self.still_vacant(release));
        effects.push(Effect::Collect);
        effects
    }

    fn roll_back(&mut self, trial: &Trial, reason: String) -> Vec<Effect> {
        let candidate = &trial.candidate.release;
        self.phase = Phase::Idle;
        let reason = format!("rolled back: {reason}");
        let mut effects = vec![self.back_to_active(&format!("{candidate} {reason}"))];
        effects.extend(self.block(ReportKind::RolledBack, candidate, trial.boots + 1, reason));
        effects.extend(self.still_vacant(candidate));
        effects.push(Effect::Collect);
        effects
    }

    /// The candidate becomes the active release. Floors rise here and nowhere else.
    fn commit(&mut self, trial: Trial) -> Vec<Effect> {
        let candidate = trial.candidate;
        let bundle = &candidate.release.name;
        let same_bundle = |held: &&Installed| held.release.name == *bundle;
        // The floor stays at or below everything that the slot may still go back to: the release
        // committed now and the one that it replaces. What was signed for the replaced one may
        // have been above *its* predecessor; that predecessor is given up now, so it takes effect.
        let replaced = self.active.as_ref().filter(same_bundle);
        let signed = replaced.map_or(candidate.floor, |held| held.floor.max(candidate.floor));
        let highest = replaced.map_or(candidate.number, |held| held.number.min(candidate.number));
        let floor = self.floors.entry(bundle.clone()).or_default();
        *floor = signed.min(highest).max(*floor);

        let text = format!("{} committed after {} frames", candidate.release, trial.seen.frames);
        let report = self.report(ReportKind::Committed, &candidate.release, text);
        self.phase = Phase::Idle;
        self.failing = Failing::default();
        self.previous = self.active.replace(candidate);
        vec![report, Effect::Collect]
    }

    /// Counts a failure of the active release outside of a trial.
    ///
    /// After [`FAILURES_MAX`] in a row the slot goes back to the previous release. Where there is
    /// none it stays: a release that answers between its crashes is worth more than none, and the
    /// plant gets the fail-safe output meanwhile.
    fn fail(&mut self, reason: String) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        self.failing =
            Failing { count: self.failing.count.saturating_add(1), quiet: Duration::ZERO };
        let count = self.failing.count;
        let mut effects = Vec::new();
        if count == 1 || count.is_multiple_of(FAILURES_MAX) {
            let text = format!("worker of {}, failure {count} in a row: {reason}", active.release);
            effects.push(self.report(ReportKind::WorkerFailed, &active.release, text));
        }
        let usable = |held: &Installed| !self.blocked.contains_key(&held.release.digest);
        if count >= FAILURES_MAX && self.previous.as_ref().is_some_and(usable) {
            self.active = self.previous.take();
            self.failing = Failing::default();
            effects.push(self.back_to_active(&reason));
            let reason = format!("rolled back: it failed {count} times in a row: {reason}");
            effects.extend(self.block(ReportKind::RolledBack, &active.release, count, reason));
            effects.push(Effect::Collect);
        }
        effects
    }

    fn back_to_active(&self, reason: &str) -> Effect {
        match &self.active {
            Some(active) => Effect::Run(active.clone()),
            None => Effect::Vacate { reason: reason.to_owned() },
        }
    }

    fn still_vacant(&mut self, release: &ReleaseId) -> Option<Effect> {
        let text = "the slot is vacant and gives its fail-safe output".to_owned();
        self.active.is_none().then(|| self.report(ReportKind::Vacant, release, text))
    }

    fn block(
        &mut self,
        kind: ReportKind,
        release: &ReleaseId,
        attempts: u32,
        reason: String,
    ) -> Vec<Effect> {
        let text = format!("{release} {reason}");
        let blocked = Blocked { release: release.clone(), reason, attempts };
        self.blocked.insert(release.digest, blocked);
        vec![self.report(kind, release, text)]
    }

    fn report(&mut self, kind: ReportKind, release: &ReleaseId, text: String) -> Effect {
        Effect::Report(self.reports.add(kind, Some(release), text))
    }
}

impl Target {
    fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

impl Installed {
    fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

impl Trial {
    fn is_of(&self, digest: &Digest) -> bool {
        self.candidate.is(digest)
    }
}

impl Failing {
    /// Whether the pause before the next attempt is over: 1 s after the first failure, doubled by each.
    fn is_due(&self) -> bool {
        let pause = Duration::from_secs(1 << (self.count.clamp(1, 10) - 1)).min(PAUSE_MAX);
        self.count > 0 && self.quiet >= pause
    }
}
