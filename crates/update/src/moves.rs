//! What a step does to a slot: the moves that the table in [`step`](crate::step) names.

use crate::retry::Retry;
use crate::slot::Failing;
use crate::starts::QUIET;
use crate::{Blocked, Effect, Installed, Phase, ReportKind, SlotState, Target, Trial};
use lineside_bundle::{Digest, ReleaseId};
use std::time::Duration;

/// Failures in a row after which the slot goes back from its active release to the previous one.
pub const FAILURES_MAX: u32 = 5;
/// Different bundles that one slot may hold over its life; each leaves a floor behind.
pub const BUNDLES_MAX: usize = 64;

impl SlotState {
    pub(crate) fn pass(&mut self, ran: Duration) {
        match &mut self.phase {
            Phase::Idle | Phase::Downloading { .. } => {}
            Phase::Staging { starts, .. } => starts.pass(ran),
            Phase::Trial(trial) => {
                trial.ran = trial.ran.saturating_add(ran);
                trial.starts.pass(ran);
                trial.retry.pass(ran);
            }
        }
        self.failing.pass(ran);
    }

    pub(crate) fn is_active(&self, digest: &Digest) -> bool {
        self.active.as_ref().is_some_and(|active| active.is(digest))
    }

    /// What to do after a boot: say again what shall be, then `work`.
    pub(crate) fn resume(&mut self, work: Option<Effect>) -> Vec<Effect> {
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
    /// A target below the floor changes nothing else; what runs already stays, whatever floor another
    /// slot has brought to the device.
    pub(crate) fn assign(&mut self, target: Target, floor: u64) -> Vec<Effect> {
        let release = &target.release;
        self.blocked.retain(|digest, _| *digest == release.digest);
        if self.blocked.contains_key(&release.digest)
            || self.candidate().is_some_and(|candidate| candidate.digest == release.digest)
        {
            return vec![];
        }
        let floor = self.floor(&release.name).max(floor);
        if target.number < floor && !self.is_active(&release.digest) {
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

    /// Fetches `target` once more, because `reason`.
    pub(crate) fn fetch_again(
        &mut self,
        target: Target,
        attempts: u32,
        reason: String,
        news: bool,
    ) -> Vec<Effect> {
        let text = match self.phase {
            Phase::Downloading { .. } => {
                format!("{} cannot be fetched: {reason}; trying again", target.release)
            }
            Phase::Idle | Phase::Staging { .. } | Phase::Trial(_) => {
                format!("{} is fetched again: {reason}", target.release)
            }
        };
        let report = news.then(|| self.report(ReportKind::DownloadFailed, &target.release, text));
        let (attempts, reason) = (attempts.saturating_add(1), Some(reason));
        self.phase = Phase::Downloading { target: target.clone(), attempts, reason };
        report.into_iter().chain([Effect::Download { target, attempts }]).collect()
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

    pub(crate) fn refuse(
        &mut self,
        release: &ReleaseId,
        attempts: u32,
        reason: String,
    ) -> Vec<Effect> {
        self.phase = Phase::Idle;
        let mut effects =
            self.block(ReportKind::Refused, release, attempts, format!("refused: {reason}"));
        effects.extend(self.still_vacant(release));
        effects.push(Effect::Collect);
        effects
    }

    pub(crate) fn roll_back(&mut self, trial: &Trial, reason: String) -> Vec<Effect> {
        let candidate = &trial.candidate.release;
        self.phase = Phase::Idle;
        let reason = format!("rolled back: {reason}");
        let mut effects = vec![self.back_to_active(&format!("{candidate} {reason}"))];
        let attempts = (trial.starts.in_a_row() + 1).saturating_add(trial.retry.attempts);
        effects.extend(self.block(ReportKind::RolledBack, candidate, attempts, reason));
        effects.extend(self.still_vacant(candidate));
        effects.push(Effect::Collect);
        effects
    }

    /// The candidate becomes the active release. Floors rise here and nowhere else.
    pub(crate) fn commit(&mut self, trial: Trial) -> Vec<Effect> {
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
    pub(crate) fn fail(&mut self, reason: String) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        self.failing.count = self.failing.count.saturating_add(1);
        self.failing.quiet = Duration::ZERO;
        let count = self.failing.count;
        let mut effects = Vec::new();
        if count == 1 || count.is_multiple_of(FAILURES_MAX) {
            let text = format!("worker of {}, failure {count} in a row: {reason}", active.release);
            effects.push(self.report(ReportKind::WorkerFailed, &active.release, text));
        }
        if count >= FAILURES_MAX && self.has_usable_previous() {
            effects.push(self.back_to_previous(&reason));
            let reason = format!("rolled back: it failed {count} times in a row: {reason}");
            effects.extend(self.block(ReportKind::RolledBack, &active.release, count, reason));
            effects.push(Effect::Collect);
        }
        effects
    }

    /// The active release cannot be put on the route now, through no fault of its own.
    pub(crate) fn put_off(&mut self, text: String) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        let news = self.failing.retry.attempts == 0;
        self.failing.retry.later();
        self.failing.quiet = Duration::ZERO;
        let vacate = Effect::Vacate { reason: text.clone() };
        let report = news.then(|| self.report(ReportKind::WorkerFailed, &active.release, text));
        report.into_iter().chain([vacate]).collect()
    }

    /// The active release is damaged on disk, through no fault of its own. It is fetched again, unless
    /// another one is on its way; where there is a previous release, that one runs meanwhile, and the
    /// damaged one comes back by the way of any candidate.
    pub(crate) fn repair(&mut self, reason: String) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        let text = format!("{} is damaged on disk: {reason}", active.release);
        let mut effects = if self.has_usable_previous() {
            let report = self.report(ReportKind::WorkerFailed, &active.release, text.clone());
            vec![self.back_to_previous(&text), report]
        } else {
            self.put_off(text)
        };
        if self.phase == Phase::Idle {
            effects.extend(self.fetch_again(active.target(), 0, reason, false));
        }
        effects
    }

    fn has_usable_previous(&self) -> bool {
        self.previous.as_ref().is_some_and(|held| !self.blocked.contains_key(&held.release.digest))
    }

    fn back_to_previous(&mut self, reason: &str) -> Effect {
        self.active = self.previous.take();
        self.failing = Failing::default();
        self.back_to_active(reason)
    }

    pub(crate) fn back_to_active(&self, reason: &str) -> Effect {
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

    pub(crate) fn report(&mut self, kind: ReportKind, release: &ReleaseId, text: String) -> Effect {
        Effect::Report(self.reports.add(kind, Some(release), text))
    }
}

impl Target {
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

impl Installed {
    pub(crate) fn is(&self, digest: &Digest) -> bool {
        self.release.digest == *digest
    }
}

impl Trial {
    pub(crate) fn is_of(&self, digest: &Digest) -> bool {
        self.candidate.is(digest)
    }
}

impl Failing {
    pub(crate) fn pass(&mut self, ran: Duration) {
        self.retry.pass(ran);
        self.quiet = self.quiet.saturating_add(ran);
        if self.count.saturating_add(self.retry.attempts) == 0 || self.quiet >= QUIET {
            let wait = self.retry.wait;
            *self = Failing { retry: Retry { attempts: 0, wait }, ..Failing::default() };
        }
    }
}
