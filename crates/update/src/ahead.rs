//! What lies between a candidate's checks and its trial: it is compared, and people are asked.

use crate::{Effect, Held, Installed, Phase, ReportKind, ShadowRun, SlotState, Trial};
use lineside_bundle::Digest;
use lineside_rules::{Decide, ShadowLimits};

impl SlotState {
    /// The checks of `candidate` have passed. It is compared with the active release first, where
    /// there is one and anybody asks for that: the candidate itself, the active release, or the site.
    ///
    /// One that has proven itself here waits for nobody. What it would be compared with is what is to
    /// be left, or what stands in for it while it is damaged.
    pub(crate) fn staged(&mut self, candidate: Installed, policy: &ShadowLimits) -> Vec<Effect> {
        let release = candidate.release.clone();
        if self.has_proven(&release.digest) {
            let text = format!("{release} passed its checks and was committed here before");
            let report = self.report(ReportKind::Staged, &release, text);
            return [vec![report], self.begin_trial(candidate)].concat();
        }
        let Some(active) = &self.active else {
            let text = format!("{release} passed its checks");
            let report = self.report(ReportKind::Staged, &release, text);
            return [vec![report], self.hold(candidate, Decide::Promote)].concat();
        };
        let limits = ShadowLimits::strictest([&*candidate.shadow, &*active.shadow, policy]);
        if !limits.is_wanted() {
            let text = format!("{release} passed its checks");
            let report = self.report(ReportKind::Staged, &release, text);
            return [vec![report], self.hold(candidate, limits.decide())].concat();
        }
        let text = format!("{release} passed its checks and answers beside {}", active.release);
        self.phase = Phase::Shadow(ShadowRun::of(candidate.clone()));
        vec![self.report(ReportKind::Staged, &release, text), Effect::StartShadow(candidate)]
    }

    /// The candidate has answered beside the active release as it should.
    pub(crate) fn pass_shadow(&mut self, run: ShadowRun, decide: Decide) -> Vec<Effect> {
        let candidate = run.candidate;
        let text = format!(
            "{} has answered {} frames beside the route and agreed in {}",
            candidate.release, run.seen.frames, run.seen.agreed
        );
        let report = self.report(ReportKind::ShadowPassed, &candidate.release, text);
        [vec![report], self.hold(candidate, decide)].concat()
    }

    /// Has `candidate` wait for people, as far as they want to be asked.
    ///
    /// Its shadow goes on beside the route meanwhile: where nobody withholds anything it is about to
    /// be promoted.
    pub(crate) fn hold(&mut self, candidate: Installed, decide: Decide) -> Vec<Effect> {
        let release = candidate.release.clone();
        self.phase = Phase::Held(Held::of(candidate, decide));
        if !self.waits_for_approval() {
            return vec![];
        }
        let text = format!("{release} waits for a person to approve it");
        vec![self.report(ReportKind::Held, &release, text), Effect::EndShadow]
    }

    /// Has the candidate wait, because the site does not let the route be changed now.
    pub(crate) fn withhold(
        &mut self,
        mut held: Held,
        reason: String,
        overdue: bool,
    ) -> Vec<Effect> {
        let release = held.candidate.release.clone();
        let begins = held.withheld.is_none();
        let was_overdue = held.is_overdue();
        let text = format!("{release} is held back: {reason}");
        let late = format!("{release} has waited longer than it should: {reason}");
        let news = held.withhold(reason, overdue);
        self.phase = Phase::Held(held);
        let mut effects = Vec::new();
        if begins {
            effects.push(Effect::EndShadow);
        }
        if news {
            effects.push(self.report(ReportKind::Held, &release, text));
        }
        if overdue && !was_overdue {
            effects.push(self.report(ReportKind::Overdue, &release, late));
        }
        effects
    }

    /// A person has approved `release`, perhaps before it was ready, and perhaps before it was heard
    /// of. It holds for this release until another one is assigned.
    pub(crate) fn approve(&mut self, release: Digest) -> Vec<Effect> {
        if self.approved == Some(release) || self.is_active(&release) {
            return vec![];
        }
        self.approved = Some(release);
        let Some(candidate) = self.candidate().filter(|candidate| candidate.digest == release)
        else {
            return vec![];
        };
        let (candidate, text) = (candidate.clone(), format!("{candidate} is approved"));
        vec![self.report(ReportKind::Approved, &candidate, text)]
    }

    /// Puts `candidate` on the route. Whatever stood in has done its part, and where the candidate
    /// cannot take the route it does not go on answering beside it.
    pub(crate) fn begin_trial(&mut self, candidate: Installed) -> Vec<Effect> {
        self.stand_in = None;
        self.failing.retry.again();
        self.failing.mending = false;
        let text = format!("{} is on trial", candidate.release);
        self.phase = Phase::Trial(Trial::of(candidate.clone()));
        vec![
            self.report(ReportKind::TrialStarted, &candidate.release, text),
            Effect::Run(candidate),
            Effect::EndShadow,
        ]
    }
}
