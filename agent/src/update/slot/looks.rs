//! What the driver of a slot looks at and whom it asks, and what the engine hears of that: how shadow and
//! trial do, floors, the site's policy and its consent.

use super::SlotDriver;
use crate::update::hands::{Consent, Hands, Route};
use lineside_bundle::Digest;
use lineside_rules::{Observation, ShadowLimits, TrialLimits, Verdict, judge, judge_shadow};
use lineside_update::{Effect, Event, Held, Installed, Phase, ShadowRun, Tally, Trial, Withheld};
use std::time::Duration;
use tokio::time::Instant;

/// How often a site is asked for its consent: it may have to look at a file for that.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl<H: Hands> SlotDriver<H> {
    /// Looks at whatever waits for something to be seen or said.
    pub(super) async fn look(&mut self) {
        // First of all, so that nothing of what follows is done for it any more.
        if let Some(refused) = self.below_floor() {
            self.apply(refused).await;
        }
        if let Some(changed) = self.policy_changed() {
            self.apply(changed).await;
        }
        let event = match self.state.phase() {
            Phase::Trial(trial) => self.judge(trial),
            Phase::Shadow(run) => self.compare(run),
            Phase::Held(held) if self.asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) => {
                let answer = self.ask(held).await;
                self.asked = Some(Instant::now());
                answer
            }
            Phase::Held(_) | Phase::Idle | Phase::Downloading { .. } | Phase::Staging { .. } => {
                None
            }
        };
        let remembered = match &event {
            Some(Event::Consented { release }) => self.remember(release),
            _ => None,
        };
        for event in [remembered, event, self.judge_stand_in()].into_iter().flatten() {
            self.apply(event).await;
        }
    }

    /// Says that the candidate is below the floor, where one has risen in another slot since it was
    /// assigned. A committed release that is fetched again stays what it is.
    fn below_floor(&self) -> Option<Event> {
        let (candidate, number) = self.state.on_its_way()?;
        let is_active = self.state.active().is_some_and(|held| held.release == *candidate);
        let floor = self.states.floor(&candidate.name);
        if is_active || number >= floor {
            return None;
        }
        let name = &candidate.name;
        let reason =
            format!("number {number} is below the floor {floor} that was signed for {name}");
        Some(Event::BelowFloor { release: candidate.digest, reason })
    }

    /// What the active release has done since it has the route, for the trial of `candidate` that is about
    /// to begin. After a start there may be too little of it: then what was seen before counts.
    fn remember(&self, candidate: &Digest) -> Option<Event> {
        let release = self.state.active()?.release.digest;
        let seen = self.hands.observation(&release);
        let needed = self.asked_of_trial(candidate).judge_after();
        (seen.frames >= needed).then(|| Event::Remembered { release, done: Tally::of(&seen) })
    }

    /// Judges the candidate by what was seen of it: by the strictest of what it allows itself, what
    /// the active release does, the device's settings and the site. On a way back what the release
    /// that is left allows does not count.
    fn judge(&self, trial: &Trial) -> Option<Event> {
        let release = trial.candidate.release.digest;
        if self.routed != Some(release) {
            return None;
        }
        let seen = trial.with(&self.hands.observation(&release));
        let before = self.state.measure(&release).map(|done| done.and(&Observation::default()));
        let verdict = judge(&self.trial_limits(&trial.candidate), &seen, before.as_ref());
        let seen = Tally::of(&seen);
        let news = seen != trial.seen || verdict != Verdict::Undecided;
        news.then_some(Event::Observed { release, seen, verdict })
    }

    /// Judges what only stands in: it cannot pass, and it has all the time it needs.
    fn judge_stand_in(&self) -> Option<Event> {
        let stand_in = self.state.stand_in()?;
        let release = stand_in.release.digest;
        if self.routed != Some(release) || self.state.on_route() != Some(stand_in) {
            return None;
        }
        let seen = Observation { ran: Duration::ZERO, ..self.hands.observation(&release) };
        let verdict = judge(&self.trial_limits(stand_in), &seen, None);
        let seen = Tally::of(&seen);
        matches!(verdict, Verdict::Failed(_)).then_some(Event::Observed { release, seen, verdict })
    }

    /// Judges the candidate by what was seen of it beside the active release.
    fn compare(&self, run: &ShadowRun) -> Option<Event> {
        let release = run.candidate.release.digest;
        // What is still to be ended speaks of an earlier comparison.
        if self.beside != Some(release) || self.owed.contains(&Effect::EndShadow) {
            return None;
        }
        let seen = run.with(&self.hands.shadowed(&release));
        let verdict = judge_shadow(&self.state.shadow_limits()?, &seen);
        let news = seen != run.seen || verdict != Verdict::Undecided;
        news.then_some(Event::Shadowed { release, seen, verdict })
    }

    /// Asks the site whether the candidate may take the route, where no person has to say so first.
    async fn ask(&self, held: &Held) -> Option<Event> {
        if self.state.waits_for_approval() {
            return None;
        }
        match self.withheld(held).await {
            None => Some(Event::Consented { release: held.candidate.release.digest }),
            Some(now) if held.withheld.as_ref() == Some(&now) => None,
            Some(now) => Some(says_no(held, now)),
        }
    }

    /// Asks the site once more, where it has let a candidate take the route and may still say no: hours may
    /// lie between, if the journal could not be written or no worker be started. Gives what it says against
    /// it.
    pub(super) async fn ask_again(&self) -> Option<Event> {
        let held = self.state.about_to_take_route()?;
        self.withheld(held).await.map(|now| says_no(held, now))
    }

    /// Why the site does not let the candidate take the route now, from what has it or is to.
    async fn withheld(&self, held: &Held) -> Option<Withheld> {
        let route = match self.state.active().or(self.state.stand_in()) {
            Some(_) => Route::Taken,
            None => Route::Vacant,
        };
        match self.hands.consent(route, held.ran).await {
            Consent::Given => None,
            Consent::Withheld { reason, overdue } => Some(Withheld { reason, overdue }),
        }
    }

    fn trial_limits(&self, candidate: &Installed) -> TrialLimits {
        let others = self.asked_of_trial(&candidate.release.digest);
        TrialLimits::strictest([&*candidate.limits, &others])
    }

    /// What others ask of the trial of `candidate`.
    pub(super) fn asked_of_trial(&self, candidate: &Digest) -> TrialLimits {
        let goes_back = self.state.has_proven(candidate);
        let before = self.state.active().filter(|_| !goes_back);
        let site = self.site.borrow().trial(self.slot.as_str());
        let held = before.map(|held| &*held.limits);
        let others = TrialLimits::strictest(held.into_iter().chain([&self.policy, &site]));
        if before.is_some() { others.or_defaults() } else { others }
    }

    /// How the site wants any release to be compared, by this device's settings and by what is signed.
    pub(super) fn shadow_policy(&self) -> ShadowLimits {
        let site = self.site.borrow().shadow(self.slot.as_str());
        ShadowLimits::strictest([&self.shadow, &site])
    }

    /// Says how the site wants releases to be compared, where the slot has last heard otherwise: what
    /// is stricter holds for what waits already, too.
    pub(super) fn policy_changed(&self) -> Option<Event> {
        let known = self.state.policy()?;
        let policy = self.shadow_policy();
        (*known != policy).then_some(Event::Policy { policy })
    }
}

fn says_no(held: &Held, now: Withheld) -> Event {
    let Withheld { reason, overdue } = now;
    Event::Withheld { release: held.candidate.release.digest, reason, overdue }
}
