//! What has the route outside of a trial, how it fails, and what takes its place: the active release,
//! the previous one, or what stands in where there never was one.

use crate::moves::FAILURES_MAX;
use crate::retry::Retry;
use crate::slot::Failing;
use crate::spare::Spare;
use crate::starts::QUIET;
use crate::{Effect, Installed, Phase, ReportKind, SlotState};
use lineside_bundle::{Digest, ReleaseId};
use std::time::Duration;

impl SlotState {
    /// What holds the route outside of a trial: the active release, or what stands in for one.
    pub(crate) fn holder(&self) -> Option<&Installed> {
        self.active().or(self.stand_in())
    }

    /// Whether `digest` has the route, or should have it, and is not on trial.
    pub(crate) fn is_holder(&self, digest: &Digest) -> bool {
        !matches!(self.phase, Phase::Trial(_)) && self.holder().is_some_and(|held| held.is(digest))
    }

    pub(crate) fn is_stand_in(&self, digest: &Digest) -> bool {
        self.is_holder(digest) && self.active.is_none()
    }

    /// Counts a start against what stands in, unless the checks or the trial of another release may have made
    /// the device start over: those are given up first.
    pub(crate) fn count_start_of_stand_in(&mut self) {
        let Some(stand_in) = &mut self.stand_in else { return };
        if matches!(self.phase, Phase::Staging { .. } | Phase::Trial(_)) {
            return;
        }
        stand_in.starts = stand_in.starts.next();
        if stand_in.starts.are_too_many() {
            let times = stand_in.starts.in_a_row();
            let reason = format!("the device started over {times} times while it stood in");
            self.give_stand_in_up(times, reason);
        }
    }

    /// Counts a failure of what holds the route outside of a trial.
    ///
    /// After [`FAILURES_MAX`] in a row the slot goes back to the previous release, once that is known to
    /// be whole on disk. Where there is none, or nobody vouches for it, the active one stays: a release
    /// that answers between its crashes is worth more than none, and the plant gets the fail-safe output
    /// meanwhile. What only stands in does not stay.
    pub(crate) fn fail(&mut self, reason: String) -> Vec<Effect> {
        let Some(holder) = self.holder().cloned() else { return vec![] };
        self.failing.count = self.failing.count.saturating_add(1);
        self.failing.quiet = Duration::ZERO;
        let count = self.failing.count;
        let mut effects = Vec::new();
        if count == 1 || count.is_multiple_of(FAILURES_MAX) {
            let mut text =
                format!("worker of {}, failure {count} in a row: {reason}", holder.release);
            if let Some((previous, why)) = self.disowned_previous().filter(|_| count > 1) {
                text += &format!("; there is no way back to {}, because {why}", previous.release);
            }
            effects.push(self.report(ReportKind::WorkerFailed, &holder.release, text));
        }
        if count < FAILURES_MAX {
            return effects;
        }
        if self.stand_in.is_some() {
            let reason = format!("it failed {count} times in a row: {reason}");
            effects.extend(self.give_stand_in_up(count, reason));
        } else {
            self.failing.last = reason;
            effects.extend(self.look_at_way_back());
        }
        effects
    }

    /// The active release has failed too often, and the previous one is whole.
    pub(crate) fn leave_for_previous(&mut self) -> Vec<Effect> {
        let Some(left) = self.active().map(|active| active.release.clone()) else { return vec![] };
        let Failing { count, last, .. } = std::mem::take(&mut self.failing);
        let reason = format!("it failed {count} times in a row: {last}");
        let mut effects = self.back_to_previous(&reason);
        let reason = format!("rolled back: {reason}");
        effects.extend(self.block(ReportKind::RolledBack, &left, count, reason));
        effects.push(Effect::Collect);
        effects
    }

    /// What holds the route could not be put on it, and that is its own fault.
    pub(crate) fn fail_to_start(&mut self, reason: String) -> Vec<Effect> {
        let reason = format!("it could not be started: {reason}");
        if self.stand_in.is_some() {
            return self.give_stand_in_up(1, reason);
        }
        // Something else may be on the route still: a candidate that was rolled back.
        let vacate = self.leave_vacant(reason.clone());
        self.failing.retry.later();
        [self.fail(reason.clone()), vec![vacate], self.wait_no_longer(&reason)].concat()
    }

    /// What keeps failing to start is not waited for by what is to be compared with it.
    fn wait_no_longer(&mut self, reason: &str) -> Vec<Effect> {
        let goes_back = self.failing.count >= FAILURES_MAX && self.has_way_back();
        match self.failing.retry.attempts >= FAILURES_MAX && !goes_back {
            true => self.go_on_uncompared(reason),
            false => vec![],
        }
    }

    /// Leaves the route to nothing until what holds it can be put on it. What answers beside it ends
    /// with that, and goes on later where it was.
    fn leave_vacant(&mut self, reason: String) -> Effect {
        if let Phase::Shadow(run) = &mut self.phase {
            run.before = run.seen.clone();
        }
        Effect::Vacate { reason }
    }

    /// What stands in is of no use any more. It never was committed, so nothing is gone back to.
    pub(crate) fn give_stand_in_up(&mut self, attempts: u32, reason: String) -> Vec<Effect> {
        let Some(stand_in) = self.stand_in.take() else { return vec![] };
        self.failing = Failing::default();
        let release = stand_in.release.release;
        let reason = format!("rolled back: {reason}");
        let mut effects = vec![Effect::Vacate { reason: format!("{release} {reason}") }];
        // It may have been assigned again meanwhile: what is of no use here is not tried either.
        if self.candidate().is_some_and(|candidate| candidate.digest == release.digest) {
            self.phase = Phase::Idle;
        }
        effects.extend(self.block(ReportKind::RolledBack, &release, attempts, reason));
        effects.extend(self.still_vacant(&release));
        effects.push(Effect::Collect);
        effects
    }

    /// What stands in is gone through no fault of its own: where it has been assigned again, it is on
    /// its way, and it is not refused afterwards.
    fn lose_stand_in(&mut self, reason: String) -> Vec<Effect> {
        let Some(stand_in) = self.stand_in.take() else { return vec![] };
        self.failing = Failing::default();
        let release = stand_in.release.release;
        let mut effects = vec![Effect::Vacate { reason: reason.clone() }];
        effects.push(self.report(ReportKind::WorkerFailed, &release, reason));
        effects.extend(self.still_vacant(&release));
        effects.push(Effect::Collect);
        effects
    }

    /// What holds the route cannot be put on it now, through no fault of its own.
    pub(crate) fn put_off(&mut self, text: String) -> Vec<Effect> {
        let Some(holder) = self.holder().cloned() else { return vec![] };
        let news = self.failing.retry.attempts == 0;
        self.failing.retry.later();
        self.failing.quiet = Duration::ZERO;
        let vacate = self.leave_vacant(text.clone());
        let report =
            news.then(|| self.report(ReportKind::WorkerFailed, &holder.release, text.clone()));
        report.into_iter().chain([vacate]).chain(self.wait_no_longer(&text)).collect()
    }

    /// What holds the route is damaged on disk, through no fault of its own.
    ///
    /// Where there is a previous release, that one runs meanwhile, and the damaged one comes back by
    /// the way of any candidate. Otherwise it is fetched again, before whatever is being fetched, which
    /// may never come; what is being checked is soon on trial, and what was to be compared with it goes on
    /// uncompared. What only stands in is not waited for, and may come again.
    pub(crate) fn repair(&mut self, reason: String) -> Vec<Effect> {
        let Some(holder) = self.holder().cloned() else { return vec![] };
        let text = format!("{} is damaged on disk: {reason}", holder.release);
        if self.stand_in.is_some() {
            return self.lose_stand_in(text);
        }
        let wanted = self.candidate().map(|candidate| candidate.digest);
        let mut effects = if self.has_way_back() {
            let effects = self.back_to_previous(&text);
            let report = self.report(ReportKind::WorkerFailed, &holder.release, text);
            [effects, vec![report]].concat()
        } else {
            let put_off = self.put_off(text.clone());
            [put_off, self.go_on_uncompared(&text)].concat()
        };
        match self.phase {
            // Nobody wants it here, and another one runs: what has rotted stays away.
            Phase::Idle
                if self.why_unwanted(&holder.release.digest).is_some()
                    && !self.is_active(&holder.release.digest) => {}
            // It was about to be replaced by what runs now.
            Phase::Idle if wanted.is_some_and(|wanted| self.is_active(&wanted)) => {}
            Phase::Idle => {
                let told = effects.iter().any(|effect| matches!(effect, Effect::Report(_)));
                self.failing.mending = false;
                effects.extend(self.fetch_again(holder.target(), 0, reason, !told));
            }
            // What is fetched may never come, and what waits may wait for days.
            Phase::Downloading { .. } | Phase::Shadow(_) | Phase::Held(_)
                if self.is_active(&holder.release.digest)
                    && self.candidate() != Some(&holder.release) =>
            {
                self.failing.mending = true;
                effects.push(Effect::Download { target: holder.target(), attempts: 0 });
            }
            Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_)
            | Phase::Trial(_) => {}
        }
        effects
    }

    /// Whether `digest` is the active release, which is fetched before whatever else is.
    pub(crate) fn is_mending(&self, digest: &Digest) -> bool {
        self.mending().is_some_and(|active| active.is(digest))
    }

    /// The active release could not be fetched now: what waited for that goes on. It is looked at again
    /// when it is due to be put on the route.
    pub(crate) fn put_mending_off(&mut self, reason: &str) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        self.failing.mending = false;
        let text = format!("{} cannot be fetched again: {reason}; trying again", active.release);
        let report = (self.failing.retry.attempts <= 1)
            .then(|| self.report(ReportKind::DownloadFailed, &active.release, text));
        report.into_iter().chain(self.download_under_way()).collect()
    }

    /// The active release is whole on disk again: what waited for that goes on.
    pub(crate) fn end_mending(&mut self) -> Vec<Effect> {
        self.failing.mending = false;
        let mut effects = self.be_whole_again();
        effects.extend(self.download_under_way());
        effects
    }

    fn download_under_way(&self) -> Option<Effect> {
        match &self.phase {
            Phase::Downloading { target, attempts, .. } => {
                Some(Effect::Download { target: target.clone(), attempts: *attempts })
            }
            Phase::Idle
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_)
            | Phase::Trial(_) => None,
        }
    }

    /// The active release was damaged on disk, and has been fetched again.
    pub(crate) fn be_whole_again(&mut self) -> Vec<Effect> {
        let Some(active) = self.active.clone() else { return vec![] };
        let text = format!("{} is whole on disk again", active.release);
        let report = self.report(ReportKind::Downloaded, &active.release, text);
        self.failing.retry.again();
        let compared = self.compare_after_all();
        [report, Effect::Run(active)].into_iter().chain(compared).collect()
    }

    /// Has what answers beside the route do so again, after the route was vacant: nothing is beside
    /// one that is.
    pub(crate) fn shadow_again(&self) -> Option<Effect> {
        match &self.phase {
            Phase::Shadow(run) => Some(Effect::StartShadow(run.candidate.clone())),
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Held(_)
            | Phase::Trial(_) => None,
        }
    }

    fn back_to_previous(&mut self, reason: &str) -> Vec<Effect> {
        self.active = self.previous.take();
        self.failing = Failing::default();
        self.spare = Spare::default();
        let mut effects = vec![self.back_to_holder(reason)];
        // What was wanted is there.
        let candidate = self.candidate().filter(|candidate| self.is_active(&candidate.digest));
        if let Some(candidate) = candidate.cloned() {
            let text = format!("{candidate} is active again: {reason}");
            effects.extend(self.end_shadow());
            self.phase = Phase::Idle;
            effects.push(self.report(ReportKind::Cancelled, &candidate, text));
        }
        // What has been compared so far was compared with the release that has just been left.
        if let Phase::Shadow(run) = &mut self.phase {
            let candidate = run.candidate.clone();
            *run = run.clone().anew();
            effects.extend([Effect::EndShadow, Effect::StartShadow(candidate)]);
        }
        effects.extend(self.weigh_again());
        effects
    }

    /// Has the route back where it belongs outside of a trial.
    pub(crate) fn back_to_holder(&self, reason: &str) -> Effect {
        match self.holder() {
            Some(holder) => Effect::Run(holder.clone()),
            None => Effect::Vacate { reason: reason.to_owned() },
        }
    }

    pub(crate) fn still_vacant(&mut self, release: &ReleaseId) -> Option<Effect> {
        let text = "the slot is vacant and gives its fail-safe output".to_owned();
        self.holder().is_none().then(|| self.report(ReportKind::Vacant, release, text))
    }
}

impl Failing {
    pub(crate) fn pass(&mut self, ran: Duration) {
        self.retry.pass(ran);
        self.quiet = self.quiet.saturating_add(ran);
        if self.count.saturating_add(self.retry.attempts) == 0 || self.quiet >= QUIET {
            let (wait, mending) = (self.retry.wait, self.mending);
            let retry = Retry { attempts: 0, wait };
            *self = Failing { retry, mending, ..Failing::default() };
        }
    }
}
