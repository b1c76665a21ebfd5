//! What lies between a candidate's checks and its trial: it is compared, and people are asked.

use crate::held::Compared;
use crate::{Effect, Held, Installed, Phase, ReportKind, ShadowRun, SlotState, Trial};
use lineside_bundle::Digest;
use lineside_rules::ShadowLimits;

impl SlotState {
    /// How what answers beside the route, or is held, has to be compared: the strictest of what it asks
    /// for itself, what the active release asks for, and what the site does.
    pub fn shadow_limits(&self) -> Option<ShadowLimits> {
        match &self.phase {
            Phase::Shadow(run) => Some(self.limits_for(&run.candidate, &run.policy)),
            Phase::Held(held) => Some(self.limits_for(&held.candidate, &held.policy)),
            Phase::Idle | Phase::Downloading { .. } | Phase::Staging { .. } | Phase::Trial(_) => {
                None
            }
        }
    }

    /// How the site wants any release to be compared, as the slot has last heard of it, where that
    /// matters.
    pub fn policy(&self) -> Option<&ShadowLimits> {
        match &self.phase {
            Phase::Shadow(run) => Some(&run.policy),
            Phase::Held(held) => Some(&held.policy),
            Phase::Trial(trial) => Some(&trial.waited.as_ref()?.policy),
            Phase::Idle | Phase::Downloading { .. } | Phase::Staging { .. } => None,
        }
    }

    fn limits_for(&self, candidate: &Installed, policy: &ShadowLimits) -> ShadowLimits {
        let held = [Some(candidate), self.active()].into_iter().flatten();
        ShadowLimits::strictest(held.map(|held| &*held.shadow).chain([policy]))
    }

    /// The checks of `candidate` have passed. It is compared with the active release first, where
    /// there is one and anybody asks for that: the candidate itself, the active release, or the site.
    ///
    /// One that has proven itself here waits for nobody. What it would be compared with is what is to
    /// be left, or what stands in for it while it is damaged.
    pub(crate) fn staged(
        &mut self,
        candidate: Installed,
        policy: ShadowLimits,
        took: &str,
    ) -> Vec<Effect> {
        let release = candidate.release.clone();
        let took = if took.is_empty() { String::new() } else { format!(" ({took})") };
        if self.has_proven(&release.digest) {
            self.stand_in = None;
            let text = format!("{release} passed its checks{took} and was committed here before");
            let report = self.report(ReportKind::Staged, &release, text);
            return [vec![report], self.begin_trial(candidate)].concat();
        }
        let (limits, policy) = (self.limits_for(&candidate, &policy), Box::new(policy));
        match self.active().map(|active| active.release.clone()) {
            Some(active) if limits.is_wanted() => {
                let text = format!("{release} passed its checks{took} and answers beside {active}");
                self.phase = Phase::Shadow(ShadowRun::of(candidate.clone(), policy));
                vec![
                    self.report(ReportKind::Staged, &release, text),
                    Effect::StartShadow(candidate),
                ]
            }
            active => {
                let decide = limits.decide();
                let compared =
                    active.map(|active| Compared { with: active.digest, by: Box::new(limits) });
                let text = format!("{release} passed its checks{took}");
                let report = self.report(ReportKind::Staged, &release, text);
                [vec![report], self.hold(Held::of(candidate, policy, compared, decide))].concat()
            }
        }
    }

    /// The candidate has answered beside the active release as it should.
    pub(crate) fn pass_shadow(&mut self, run: ShadowRun) -> Vec<Effect> {
        let ShadowRun { candidate, policy, seen, .. } = run;
        let text = format!(
            "{} has answered {} frames beside the route and agreed in {}",
            candidate.release, seen.frames, seen.agreed
        );
        let report = self.report(ReportKind::ShadowPassed, &candidate.release, text);
        let limits = self.limits_for(&candidate, &policy);
        let decide = limits.decide();
        let with = self.active().map(|active| active.release.digest);
        let compared = with.map(|with| Compared { with, by: Box::new(limits) });
        [vec![report], self.hold(Held::of(candidate, policy, compared, decide))].concat()
    }

    /// Has the candidate wait for people, as far as they want to be asked.
    ///
    /// Its shadow goes on beside the route meanwhile: where nobody withholds anything it is about to
    /// be promoted.
    fn hold(&mut self, held: Held) -> Vec<Effect> {
        let release = held.candidate.release.clone();
        self.phase = Phase::Held(held);
        if !self.waits_for_approval() {
            return vec![];
        }
        let text = format!("{release} waits for a person to approve it");
        vec![self.report(ReportKind::Held, &release, text), Effect::EndShadow]
    }

    /// Has the candidate wait no longer for an active release that cannot be put on the route: in a
    /// vacant slot there is nothing to compare it with, and it may be what ends that. Whoever wants to
    /// be asked is asked all the same.
    pub(crate) fn go_on_uncompared(&mut self, why: &str) -> Vec<Effect> {
        let Phase::Shadow(run) = &self.phase else { return vec![] };
        let ShadowRun { candidate, policy, .. } = run.clone();
        let text = format!("{} is not compared: {why}", candidate.release);
        let report = self.report(ReportKind::Held, &candidate.release, text);
        let decide = self.limits_for(&candidate, &policy).decide();
        let held = self.hold(Held::of(candidate, policy, None, decide));
        [vec![Effect::EndShadow, report], held].concat()
    }

    /// The active release can be put on the route again: what is to be compared with it is, also where
    /// it was to go on without that.
    pub(crate) fn compare_after_all(&mut self) -> Vec<Effect> {
        match self.phase.clone() {
            Phase::Shadow(run) => vec![Effect::StartShadow(run.candidate)],
            Phase::Held(held)
                if held.compared.is_none()
                    && self.limits_for(&held.candidate, &held.policy).is_wanted() =>
            {
                self.compare_anew(held)
            }
            Phase::Held(_)
            | Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Trial(_) => vec![],
        }
    }

    /// The site wants any release to be compared in this way now. Whatever is stricter than before holds
    /// for what is compared already, and for what has been and only waits.
    pub(crate) fn heed(&mut self, policy: ShadowLimits) -> Vec<Effect> {
        match self.phase.clone() {
            Phase::Shadow(mut run) => {
                let before = self.limits_for(&run.candidate, &run.policy);
                *run.policy = policy;
                let now = self.limits_for(&run.candidate, &run.policy);
                if !counts_otherwise(&before, &now) {
                    self.phase = Phase::Shadow(run);
                    return vec![];
                }
                let candidate = run.candidate.clone();
                self.phase = Phase::Shadow(run.anew());
                vec![Effect::EndShadow, Effect::StartShadow(candidate)]
            }
            Phase::Held(mut held) => {
                *held.policy = policy;
                self.phase = Phase::Held(held);
                self.weigh_again()
            }
            Phase::Trial(trial) => self.heed_before_route(trial, policy),
            Phase::Idle | Phase::Downloading { .. } | Phase::Staging { .. } => vec![],
        }
    }

    /// Has a candidate that waits compared anew, or a person asked, where that is wanted by now: the
    /// site's policy has changed, or the slot has gone back to another release.
    pub(crate) fn weigh_again(&mut self) -> Vec<Effect> {
        let waited = self.waits_for_approval();
        let Phase::Held(held) = &self.phase else { return vec![] };
        let mut held = held.clone();
        let limits = self.limits_for(&held.candidate, &held.policy);
        let active = self.active().map(|active| active.release.digest);
        let suffices = |compared: &Compared| {
            Some(compared.with) == active && !is_stricter(&compared.by, &limits)
        };
        if limits.is_wanted() && held.compared.as_ref().is_some_and(|it| !suffices(it)) {
            return self.compare_anew(held);
        }
        held.decide = limits.decide();
        self.phase = Phase::Held(held.clone());
        if waited || !self.waits_for_approval() {
            return vec![];
        }
        held.wait_for_person();
        self.hold(held)
    }

    fn compare_anew(&mut self, held: Held) -> Vec<Effect> {
        let Held { candidate, policy, .. } = held;
        let text = format!("{} answers beside the route before it goes on", candidate.release);
        let report = self.report(ReportKind::Staged, &candidate.release, text);
        self.phase = Phase::Shadow(ShadowRun::of(candidate.clone(), policy));
        vec![Effect::EndShadow, report, Effect::StartShadow(candidate)]
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
    /// of. It holds for this release until another one is assigned, or it is given up: what was given up
    /// needs a new one, so a word that is only repeated says nothing of it.
    pub(crate) fn approve(&mut self, release: Digest) -> Vec<Effect> {
        let is_given_up = self.blocked.get(&release).is_some_and(|blocked| blocked.facts.is_none());
        if self.approved == Some(release) || self.is_active(&release) || is_given_up {
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

    /// What its trial compares `candidate` with, for people.
    fn compared(&self, candidate: &Installed) -> String {
        let Some(Installed { release: before, .. }) = &self.active else { return String::new() };
        match self.measure(&candidate.release.digest) {
            None if self.has_proven(&candidate.release.digest) => String::new(),
            Some(done) => format!(", compared with {} frames of {before}", done.frames),
            None => format!("; of {before} nothing is known to compare it with"),
        }
    }

    /// Puts what was held on the route, as long as nobody says no before it is there. What has the route keeps
    /// it until then, also what only stands in, unless that is the candidate itself.
    pub(crate) fn begin_trial_after(&mut self, held: Held) -> Vec<Effect> {
        let effects = self.begin_trial(held.candidate.clone());
        let candidate = held.candidate.release.digest;
        if self.stand_in.take_if(|stand_in| stand_in.release.is(&candidate)).is_some() {
            return effects;
        }
        if let Phase::Trial(trial) = &mut self.phase {
            trial.starts = held.starts.clone();
            trial.retry.attempts = held.attempts;
            trial.waited = Some(Box::new(held));
        }
        effects
    }

    /// The candidate has the route. Whatever stood in has done its part.
    pub(crate) fn have_route(&mut self, trial: Trial) {
        self.stand_in = None;
        self.phase = Phase::Trial(Trial { waited: None, ..trial });
    }

    /// What waits again because it has not had the route. What has happened to the device while it was about
    /// to take it stays counted.
    fn waits_again(trial: Trial) -> Option<Held> {
        let mut held = *trial.waited?;
        (held.starts, held.attempts) = (trial.starts, trial.retry.attempts);
        Some(held)
    }

    /// Has what is to be tried wait again, where it has not had the route: the site has withdrawn its
    /// consent. Whatever had the route keeps it.
    pub(crate) fn hold_again(
        &mut self,
        trial: Trial,
        reason: String,
        overdue: bool,
    ) -> Vec<Effect> {
        let Some(held) = SlotState::waits_again(trial) else { return vec![] };
        let text = format!("{} is held back again: {reason}", held.candidate.release);
        let candidate = held.candidate.release.clone();
        let mut effects = self.withhold(held, reason.clone(), overdue);
        let is_told = |effect: &Effect| matches!(effect, Effect::Report(_));
        if !effects.iter().any(is_told) {
            effects.push(self.report(ReportKind::Held, &candidate, text));
        }
        effects.push(self.back_to_holder(&reason));
        effects
    }

    /// The site wants any release to be compared in this way now, and one is about to take the route: where
    /// that asks for more than was done, it is done first.
    fn heed_before_route(&mut self, trial: Trial, policy: ShadowLimits) -> Vec<Effect> {
        let Some(mut held) = SlotState::waits_again(trial.clone()) else { return vec![] };
        *held.policy = policy;
        self.phase = Phase::Held(held);
        let effects = self.weigh_again();
        if let (Phase::Held(held), true) = (&self.phase, effects.is_empty()) {
            let waited = Some(Box::new(held.clone()));
            self.phase = Phase::Trial(Trial { waited, ..trial });
            return vec![];
        }
        let route = self.back_to_holder("the site asks for more by now");
        [vec![route], effects].concat()
    }

    /// What the site has let take the route and may still hold back, because it does not have it yet.
    pub fn about_to_take_route(&self) -> Option<&Held> {
        match &self.phase {
            Phase::Trial(trial) => trial.waited.as_deref(),
            Phase::Idle
            | Phase::Downloading { .. }
            | Phase::Staging { .. }
            | Phase::Shadow(_)
            | Phase::Held(_) => None,
        }
    }

    /// Puts `candidate` on the route. Where it cannot take it, it does not go on answering beside it.
    pub(crate) fn begin_trial(&mut self, candidate: Installed) -> Vec<Effect> {
        self.failing.retry.again();
        self.failing.mending = false;
        let text = format!("{} is on trial{}", candidate.release, self.compared(&candidate));
        self.phase = Phase::Trial(Trial::of(candidate.clone()));
        vec![
            self.report(ReportKind::TrialStarted, &candidate.release, text),
            Effect::Run(candidate),
            Effect::EndShadow,
        ]
    }
}

/// Whether anything but who decides is stricter in `now`.
fn is_stricter(before: &ShadowLimits, now: &ShadowLimits) -> bool {
    let undecided = |limits: &ShadowLimits| ShadowLimits { decide: None, ..limits.clone() };
    let before = undecided(before);
    ShadowLimits::strictest([&before, &undecided(now)]) != before
}

/// Whether frames that were counted by the limits `before` say nothing by those of `now`.
fn counts_otherwise(before: &ShadowLimits, now: &ShadowLimits) -> bool {
    let both = ShadowLimits::strictest([before, now]);
    both.tolerance != before.tolerance || both.from() != before.from()
}
