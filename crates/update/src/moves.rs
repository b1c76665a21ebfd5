//! What a step does to a slot: the moves that the table in [`step`](crate::step) names.

use crate::slot::{Done, Failing};
use crate::spare::Spare;
use crate::stand_in::StandIn;
use crate::{Blocked, Effect, Phase, ReportKind, SlotState, Starts, Tally, Target, Trial};
use lineside_bundle::{Digest, ReleaseId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Failures in a row after which the slot goes back from its active release to the previous one.
pub const FAILURES_MAX: u32 = 5;
/// Different bundles that one slot may hold over its life; each leaves a floor behind.
pub const BUNDLES_MAX: usize = 64;
/// Committed releases that a slot remembers; the oldest give way, and come back as any other release.
pub const PROVEN_MAX: usize = 16;

impl SlotState {
    pub(crate) fn pass(&mut self, ran: Duration) {
        match &mut self.phase {
            Phase::Idle | Phase::Downloading { .. } => {}
            Phase::Staging { starts, .. } => starts.pass(ran),
            Phase::Shadow(run) => {
                run.starts.pass(ran);
                run.retry.pass(ran);
            }
            Phase::Held(held) => held.pass(ran),
            Phase::Trial(trial) => {
                trial.starts.pass(ran);
                trial.retry.pass(ran);
                if let Some(held) = &mut trial.waited {
                    held.pass(ran);
                }
            }
        }
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.starts.pass(ran);
        }
        self.failing.pass(ran);
        self.spare.pass(ran);
    }

    /// The next start has been asked for, so it is not counted.
    pub(crate) fn stop(&mut self) {
        match &mut self.phase {
            Phase::Idle | Phase::Downloading { .. } | Phase::Held(_) => {}
            Phase::Staging { starts, .. } => starts.stop(),
            Phase::Shadow(run) => run.starts.stop(),
            Phase::Trial(trial) => trial.starts.stop(),
        }
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.starts.stop();
        }
    }

    pub(crate) fn is_active(&self, digest: &Digest) -> bool {
        self.active.as_ref().is_some_and(|active| active.is(digest))
    }

    /// What to do after a boot: say again what shall be, then `work`.
    pub(crate) fn resume(&mut self, work: Option<Effect>) -> Vec<Effect> {
        self.count_start_of_stand_in();
        self.failing.mending = false;
        self.spare = Spare::soon();
        let route = match self.on_route() {
            Some(release) => Effect::Run(release.clone()),
            None => Effect::Vacate { reason: "no release has been committed yet".into() },
        };
        let reports = self.reports().cloned().map(Effect::Report);
        [route].into_iter().chain(reports).chain([Effect::Collect]).chain(work).collect()
    }

    /// Makes `target` what the slot is heading for.
    ///
    /// A release that is already on its way is left: who assigns another one
    /// during a trial no longer wants the candidate, and one stuck update must not block the next. That
    /// is so even where the other one is not taken: nobody gives out what is not assigned any more.
    /// What runs already stays, whatever floor another slot has brought to the device.
    pub(crate) fn assign(&mut self, target: Target, floor: u64) -> Vec<Effect> {
        let release = &target.release;
        self.withdrawn = None;
        self.disowned.remove(&release.digest);
        self.blocked.retain(|digest, _| *digest == release.digest);
        self.approved = self.approved.filter(|digest| *digest == release.digest);
        if self.candidate().is_some_and(|candidate| candidate.digest == release.digest) {
            return vec![];
        }
        let mut effects = self.cancel(release);
        if self.is_active(&release.digest) || self.blocked.contains_key(&release.digest) {
            return effects;
        }
        let floor = self.floor(&release.name).max(floor);
        if target.number < floor {
            let reason = format!(
                "number {} is below the floor {floor} that was signed for {}",
                target.number, release.name
            );
            let reason = format!("refused: {reason}");
            effects.extend(self.block(ReportKind::Refused, release, 0, reason));
            return effects;
        }
        if self.floors.len() >= BUNDLES_MAX && !self.floors.contains_key(&release.name) {
            let reason = format!("refused: the slot has held {BUNDLES_MAX} different bundles");
            effects.extend(self.block(ReportKind::Refused, release, 0, reason));
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
            Phase::Idle
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_)
            | Phase::Trial(_) => format!("{} is fetched again: {reason}", target.release),
        };
        let report = news.then(|| self.report(ReportKind::DownloadFailed, &target.release, text));
        let (attempts, reason) = (attempts.saturating_add(1), Some(reason));
        self.phase = Phase::Downloading { target: target.clone(), attempts, reason };
        report.into_iter().chain([Effect::Download { target, attempts }]).collect()
    }

    /// Leaves whatever is going on, in favor of `other`.
    ///
    /// The candidate of a first trial stands in until the next trial begins: without it the slot would
    /// give its fail-safe output while its successor is fetched, however long that takes. One that has not had
    /// the route does not: people may have said no to it.
    fn cancel(&mut self, other: &ReleaseId) -> Vec<Effect> {
        if let (Phase::Trial(trial), None) = (&self.phase, &self.active)
            && trial.waited.is_none()
        {
            let (release, starts) = (trial.candidate.clone(), Starts::default());
            self.stand_in = Some(StandIn { release, starts });
        }
        self.leave(&format!("{other} is assigned"))
    }

    /// Leaves whatever is going on, because `why`.
    fn leave(&mut self, why: &str) -> Vec<Effect> {
        let end_shadow = self.end_shadow();
        let candidate = self.candidate().cloned();
        match (std::mem::take(&mut self.phase), candidate) {
            (Phase::Trial(trial), _) => {
                let candidate = &trial.candidate.release;
                let text = format!("trial of {candidate} ended: {why}");
                let route = self.back_to_holder(&format!("the trial of {candidate} was ended"));
                let report = self.report(ReportKind::TrialCancelled, candidate, text);
                vec![route, report, Effect::Collect]
            }
            (_, Some(candidate)) => {
                let text = format!("{candidate} is given up: {why}");
                let report = self.report(ReportKind::Cancelled, &candidate, text);
                end_shadow.into_iter().chain([report, Effect::Collect]).collect()
            }
            (_, None) => vec![],
        }
    }

    /// Leaves `release`, which nobody wants here any more, where it is on its way. What was committed
    /// goes on running, and says so.
    pub(crate) fn withdraw(&mut self, release: Digest, reason: String) -> Vec<Effect> {
        let effects = self.let_go(release, &reason);
        self.withdrawn = Some((release, reason));
        effects
    }

    /// Takes note for which of the releases that the slot holds nobody vouches any more, in the place of
    /// what was known of that.
    ///
    /// None of them comes on the route by itself from now on. What is on its way is left. The release that
    /// was replaced is [no way back](SlotState::usable_previous) as long as that is so. Only the active one
    /// goes on running: to stop what runs is for people, who assign another.
    pub(crate) fn disown(&mut self, releases: BTreeMap<Digest, String>) -> Vec<Effect> {
        let left = releases.iter().flat_map(|(release, why)| self.let_go(*release, why));
        let effects = left.collect();
        self.disowned = releases;
        self.forget_disowned();
        effects
    }

    /// Leaves `release` where it is on its way; nothing of it stays on the route, not even for want of
    /// another.
    fn let_go(&mut self, release: Digest, reason: &str) -> Vec<Effect> {
        self.approved = self.approved.filter(|digest| *digest != release);
        let mut effects = Vec::new();
        if let Some(stand_in) = self.stand_in.take_if(|stand_in| stand_in.release.is(&release)) {
            self.failing = Failing::default();
            let left = stand_in.release.release;
            let text = format!("{left} answers no longer: {reason}");
            effects.push(Effect::Vacate { reason: text.clone() });
            effects.push(self.report(ReportKind::TrialCancelled, &left, text));
            effects.extend(self.still_vacant(&left));
            effects.push(Effect::Collect);
        }
        let candidate = self.candidate().filter(|candidate| candidate.digest == release).cloned();
        if let Some(candidate) = candidate.filter(|_| !self.is_active(&release)) {
            effects.extend(self.leave(reason));
            effects.extend(self.still_vacant(&candidate));
        }
        effects
    }

    /// Keeps what a release has done on the route.
    pub(crate) fn remember(&mut self, release: Digest, seen: Tally) {
        self.done = Some(Box::new(Done { release, seen }));
    }

    /// What the slot does not hold any more may come again only by an assignment, which is vouched for.
    pub(crate) fn forget_disowned(&mut self) {
        let held: Vec<Digest> =
            self.active.iter().chain(&self.previous).map(|held| held.release.digest).collect();
        self.disowned.retain(|digest, _| held.contains(digest));
    }

    /// A floor has risen in another slot above what is on its way here. Nothing is held against it: by
    /// itself the slot may still go back to it.
    pub(crate) fn refuse_below_floor(&mut self, release: &Digest, reason: String) -> Vec<Effect> {
        let candidate = self.candidate().filter(|candidate| candidate.digest == *release).cloned();
        let Some(candidate) = candidate.filter(|_| !self.is_active(release)) else { return vec![] };
        if !matches!(self.phase, Phase::Trial(_)) {
            return self.refuse(&candidate, 0, reason);
        }
        self.phase = Phase::Idle;
        let reason = format!("rolled back: {reason}");
        let mut effects = vec![self.back_to_holder(&format!("{candidate} {reason}"))];
        effects.extend(self.block(ReportKind::RolledBack, &candidate, 0, reason));
        effects.extend(self.still_vacant(&candidate));
        effects.push(Effect::Collect);
        effects
    }

    /// Has no shadow left beside the route, where there may be one.
    pub(crate) fn end_shadow(&self) -> Option<Effect> {
        matches!(self.phase, Phase::Shadow(_) | Phase::Held(_)).then_some(Effect::EndShadow)
    }

    pub(crate) fn refuse(
        &mut self,
        release: &ReleaseId,
        attempts: u32,
        reason: String,
    ) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.end_shadow().into_iter().collect();
        self.phase = Phase::Idle;
        effects.extend(self.block(
            ReportKind::Refused,
            release,
            attempts,
            format!("refused: {reason}"),
        ));
        effects.extend(self.still_vacant(release));
        effects.push(Effect::Collect);
        effects
    }

    /// Refuses a release that would not run on a device with these `facts`.
    pub(crate) fn refuse_unfit(
        &mut self,
        release: &ReleaseId,
        reason: String,
        facts: Digest,
    ) -> Vec<Effect> {
        let effects = self.refuse(release, 0, reason);
        if let Some(blocked) = self.blocked.get_mut(&release.digest) {
            blocked.facts = Some(facts);
        }
        effects
    }

    /// Lets a release that was found unfit be judged again. What it has done itself stays held against it.
    pub(crate) fn reconsider(&mut self, release: &Digest) {
        self.blocked.retain(|digest, blocked| digest != release || blocked.facts.is_none());
    }

    /// A person wants `release` tried again, by the wish of this number. What was given up after that stays
    /// so, however often it is repeated.
    pub(crate) fn try_again(&mut self, release: &Digest, wish: u64) {
        self.blocked.retain(|digest, blocked| digest != release || blocked.again == wish);
        self.again = wish;
    }

    pub(crate) fn roll_back(&mut self, trial: &Trial, reason: String) -> Vec<Effect> {
        let candidate = &trial.candidate.release;
        self.phase = Phase::Idle;
        let reason = format!("rolled back: {reason}");
        let mut effects = vec![self.back_to_holder(&format!("{candidate} {reason}"))];
        let attempts = (trial.starts.in_a_row() + 1).saturating_add(trial.retry.attempts);
        effects.extend(self.block(ReportKind::RolledBack, candidate, attempts, reason));
        effects.extend(self.still_vacant(candidate));
        effects.push(Effect::Collect);
        effects
    }

    /// The candidate becomes the active release. Floors rise here and nowhere else: what was signed for
    /// it binds every assignment from now on. The slot itself may still go back to the release that is
    /// replaced, whatever its number; that ends with the next commit.
    pub(crate) fn commit(&mut self, trial: Trial) -> Vec<Effect> {
        let candidate = trial.candidate;
        let floor = self.floors.entry(candidate.release.name.clone()).or_default();
        *floor = candidate.floor.min(candidate.number).max(*floor);

        self.proven.retain(|digest| *digest != candidate.release.digest);
        if self.proven.len() >= PROVEN_MAX {
            self.proven.remove(0);
        }
        self.proven.push(candidate.release.digest);

        let text = format!("{} committed after {} frames", candidate.release, trial.seen.frames);
        let report = self.report(ReportKind::Committed, &candidate.release, text);
        self.phase = Phase::Idle;
        self.failing = Failing::default();
        self.approved = None;
        self.remember(candidate.release.digest, trial.seen);
        self.previous = self.active.replace(candidate);
        self.forget_disowned();
        self.spare = Spare::soon();
        vec![report, Effect::Collect]
    }

    pub(crate) fn block(
        &mut self,
        kind: ReportKind,
        release: &ReleaseId,
        attempts: u32,
        reason: String,
    ) -> Vec<Effect> {
        let text = format!("{release} {reason}");
        let again = self.again;
        let blocked = Blocked { release: release.clone(), reason, attempts, again, facts: None };
        self.approved = self.approved.filter(|digest| *digest != release.digest);
        if attempts > 0 {
            self.proven.retain(|digest| *digest != release.digest);
        }
        self.blocked.insert(release.digest, blocked);
        vec![self.report(kind, release, text)]
    }

    pub(crate) fn report(&mut self, kind: ReportKind, release: &ReleaseId, text: String) -> Effect {
        Effect::Report(self.reports.add(kind, Some(release), text))
    }
}
