//! The promises, looked at from outside of the engine: after each step, at each write, after each
//! loss of power, and when all is well again.

use super::{Device, of};
use crate::life::Nature;
use crate::promises::{Kept, Promise, keep};
use lineside_bundle::Digest;
use lineside_rules::{Breach, Decide, Verdict};
use lineside_update::{Blocked, Effect, Event, Phase, SlotState};
use std::time::Duration;

/// Steps of 400 s in which all is well: long enough for a day of trial after a day of shadow.
const CALM_STEPS: usize = 900;
/// Steps in which an update may come to its end, if nothing is in its way.
const QUIET_STEPS: usize = 60;
/// Steps after which a release that waits for others, or for readings, may be left alone.
const LEFT_ALONE_STEPS: usize = 100;

/// What is going on, without how far it has come.
fn place(state: &SlotState) -> (u8, Option<Digest>, Option<Digest>, Option<Digest>) {
    let phase = match state.phase() {
        Phase::Idle => 0,
        Phase::Downloading { .. } => 1,
        Phase::Staging { .. } => 2,
        Phase::Shadow(_) => 3,
        Phase::Held(_) => 4,
        Phase::Trial(_) => 5,
    };
    let candidate = state.candidate().map(|release| release.digest);
    (phase, candidate, of(state.active()), of(state.stand_in()))
}

fn last_report(state: &SlotState) -> Option<u64> {
    state.reports().map(|report| report.number).max()
}

impl Device {
    /// What one step may do.
    pub(super) fn check_step(&mut self, before: &SlotState, event: &Event) -> Kept {
        keep(
            Promise::OldOrNew,
            before.active().is_none() || self.state.active().is_some(),
            || format!("{event:?} costs the slot its active release"),
        )?;
        let (was, is) = (place(before), place(&self.state));
        let news = last_report(&self.state) > last_report(before);
        // That what stood in has done its part was told with the trial.
        let has_route = matches!(event, Event::Placed { .. });
        let told = news || has_route && (was.0, was.1, was.2, None) == is;
        keep(Promise::Told, was == is || told, || {
            format!("{event:?} changed {was:?} to {is:?} without a word")
        })?;
        let passes_by = matches!(
            event,
            Event::Ticked | Event::Stopped | Event::Reported { .. } | Event::Approved { .. }
        );
        let left = self.job.is_some() && self.job != self.at_work();
        keep(Promise::DownloadGoesOn, !(passes_by && left), || {
            format!("{event:?} ends what is being fetched or checked")
        })?;
        if let (Some(active), true) = (self.state.active(), was.1.is_some() && is.2 == was.1) {
            let (release, number) = (&active.release, active.number);
            let goes_back = was.0 != 5;
            let floor = before.floor(&release.name).max(self.elsewhere(&release.name));
            keep(Promise::Floors, goes_back || number >= floor, || {
                format!("{release} is committed below the floor {floor}")
            })?;
        }
        if let Event::Withdrawn { release, .. } = event {
            keep(Promise::Vouched, is.1 != Some(*release) || is.2 == Some(*release), || {
                format!("nobody wants {}, and it goes on", self.published(*release).target.release)
            })?;
            keep(Promise::Vouched, is.3 != Some(*release), || {
                "nobody wants it, and it stands in".into()
            })?;
        }
        self.check_vouched(is.1, is.3)?;
        if let (Event::TryAgain { .. }, Some(asked)) = (event, self.asked.take()) {
            let stays = self.state.blocked().any(|it| it.release.digest == asked);
            keep(Promise::Next, !stays, || {
                "a person wants it tried again, and it stays given up".into()
            })?;
        }
        if let Event::Staged { release, .. } = event
            && (was.0, was.1) == (2, Some(*release))
        {
            keep(Promise::WayBack, is.0 == 5 || !self.proven.contains(release), || {
                format!(
                    "{} was committed here and has to wait",
                    self.published(*release).target.release
                )
            })?;
        }
        if let Event::Assigned { target, .. } = event {
            let release = Some(target.release.digest);
            let blocked = self.state.blocked().any(|it| Some(it.release.digest) == release);
            keep(
                Promise::Next,
                blocked || is.1 == release || (is.1, is.2) == (None, release),
                || format!("{} is assigned and waits: {}", target.release, self.state.note()),
            )?;
        }
        if let Event::Damaged { release, .. } = event
            && (was.2, is.2) == (Some(*release), Some(*release))
            && matches!(is.0, 0 | 1 | 3 | 4)
        {
            keep(Promise::GoesOnAnswering, self.at_work() == Some(*release), || {
                format!("the active release is damaged and waits: {}", self.state.note())
            })?;
        }
        if was.0 != 5 && is.0 == 5 {
            // What stood in has done its part.
            self.faults.extend(of(before.stand_in()));
        }
        let begins = matches!(self.state.phase(), Phase::Trial(_)) && was.0 != 5;
        if begins && let Some(candidate) = is.1 {
            let goes_back = self.proven.contains(&candidate);
            let may = goes_back || (was.0 == 4 && self.against.is_none());
            keep(Promise::Consent, may, || {
                format!("a trial begins after {event:?}, the site says {:?}", self.against)
            })?;
            let Phase::Held(held) = before.phase() else { return Ok(()) };
            // By what the site wants at this moment, whatever it wanted when the checks passed.
            let asked = self.shadow_limits(&held.candidate).decide() == Decide::Ask;
            keep(Promise::Approval, !asked || self.approvals.contains(&candidate), || {
                format!("{} is tried and nobody has approved it", held.candidate.release)
            })?;
            let (release, active) = (&held.candidate.release, of(self.state.active()));
            let excused = self.excused == Some(candidate) || active.is_none();
            let limits = self.shadow_limits(&held.candidate);
            let seen = self.comparison.filter(|one| (one.0, one.1) == (candidate, active));
            let frames = seen.map_or(0, |(_, _, frames)| frames);
            keep(Promise::Compared, excused || frames >= limits.frames(), || {
                format!("{release} was compared in {frames} frames only")
            })?;
            let differs = limits.is_wanted() && self.nature(candidate) == Nature::Differs;
            keep(Promise::Compared, excused || !differs, || {
                format!("{release} differs and may go on")
            })?;
        }
        self.check_way_back(before, event)?;
        self.check_time(event, was.0, is.0)?;
        self.check_what_waits(event, was.0, is.0)
    }

    /// What nobody vouches for is in no state on its way to the route, nor on it, unless it was active
    /// before that was known and has been since.
    fn check_vouched(&self, candidate: Option<Digest>, stand_in: Option<Digest>) -> Kept {
        let active = self.active();
        let own = |release: &Digest| Some(*release) == active && self.runs_on == active;
        let there = [active, candidate, stand_in].into_iter().flatten();
        let mut disowned = there.filter(|release| self.disowned.contains(release));
        let comes = disowned.find(|release| !own(release));
        keep(Promise::Vouched, comes.is_none(), || {
            let comes = comes.map(|release| self.published(release).target.release.to_string());
            format!("nobody vouches for {}, and it comes by itself", comes.unwrap_or_default())
        })
    }

    /// Nothing that answers is left for what is rotten, and nothing that could answer stands by idly.
    fn check_way_back(&self, before: &SlotState, event: &Event) -> Kept {
        let (was, is) = (of(before.active()), of(self.state.active()));
        let left = was.filter(|was| of(self.state.previous()) != Some(*was) && is != Some(*was));
        let answers = left.is_some() && self.route == left;
        let way_back = is.filter(|_| answers && is == of(before.previous()));
        keep(
            Promise::GoesOnAnswering,
            way_back.is_none_or(|back| self.whole.contains(&back) || self.looked_at == Some(back)),
            || "what answers between its failures is left for what is rotten".into(),
        )?;
        if let (Phase::Trial(trial), Event::Interrupted { release, .. }, None) =
            (self.state.phase(), event, self.route)
            && trial.candidate.release.digest == *release
            && let Some(active) = self.state.active()
        {
            let meanwhile = Effect::RunMeanwhile(active.clone());
            keep(Promise::GoesOnAnswering, self.effects.contains(&meanwhile), || {
                "nothing answers while a candidate cannot be started".into()
            })?;
        }
        Ok(())
    }

    /// A day in which nothing comes is no day.
    fn check_time(&mut self, event: &Event, was: u8, is: u8) -> Kept {
        let verdict = match event {
            Event::Observed { verdict, .. } | Event::Shadowed { verdict, .. } => Some(verdict),
            _ => None,
        };
        if let Some(Verdict::Failed(Breach::Time { time, .. })) = verdict {
            keep(Promise::Fair, self.fed >= *time, || {
                format!("{:?} with readings are taken for {time:?}", self.fed)
            })?;
        }
        if is != was && matches!(is, 3 | 5) {
            // What stood in when its own trial began has been answering for a while, and all of that counts.
            let candidate = self.state.on_its_way().map(|(candidate, _)| candidate.digest);
            let stood_in = is == 5 && candidate.is_some() && self.route == candidate;
            self.fed = if stood_in { self.seen.ran } else { Duration::ZERO };
        }
        Ok(())
    }

    /// What is compared, or held until people let it go on.
    fn check_what_waits(&mut self, event: &Event, was: u8, is: u8) -> Kept {
        let Some((candidate, _)) = self.state.on_its_way() else { return Ok(()) };
        let (candidate, active) = (candidate.digest, of(self.state.active()));
        if let Event::Damaged { release, .. } = event {
            keep(Promise::GoesOnAnswering, is != 3 || active != Some(*release), || {
                "a candidate is to be compared with what is damaged, and the slot is vacant".into()
            })?;
        }
        if is != 4 {
            self.excused = None;
        } else if was != 4 {
            use Event::{Damaged, Interrupted, RunFailed};
            let cannot_run = matches!(event,
                Damaged { release, .. } | Interrupted { release, .. } | RunFailed { release, .. }
                    if active == Some(*release));
            self.excused = cannot_run.then_some(candidate);
        }
        Ok(())
    }

    /// What the test takes note of when a state has reached the disk.
    pub(super) fn check_journal(&mut self) -> Kept {
        self.had.extend(of(self.journal.active()));
        self.ever_committed |= self.journal.active().is_some();
        // What this device was too small for is not given up for good.
        let too_small =
            |it: &&Blocked| it.facts.is_some() && self.nature(it.release.digest) == Nature::Large;
        let given_up = self.journal.blocked().filter(|it| !too_small(it));
        let given_up: Vec<Digest> = given_up.map(|it| it.release.digest).collect();
        self.given_up.extend(given_up);
        self.proven.extend(of(self.journal.active()));
        self.proven.retain(|digest| !self.given_up.contains(digest));
        self.reports = self.reports.max(last_report(&self.journal).unwrap_or(0));
        for bundle in ["pump", "fan"] {
            let floor = self.journal.floor(&bundle.parse().unwrap());
            let before = self.floors.insert(bundle.into(), floor).unwrap_or(0);
            keep(Promise::Floors, floor >= before, || {
                format!("the floor of {bundle} fell from {before} to {floor}")
            })?;
        }
        Ok(())
    }

    pub(super) fn check_after_cut(&self) -> Kept {
        let found = self.journal.on_route();
        keep(Promise::OldOrNew, found.is_some() || !self.ever_committed, || {
            "the device starts without the release that it had".into()
        })?;
        let whole = found.is_none_or(|held| {
            let digest = held.release.digest;
            self.whole.contains(&digest) || self.rotten.contains(&digest)
        });
        keep(Promise::OldOrNew, whole, || "what shall run is not on disk any more".into())
    }

    pub(super) fn not_given_up(&self, release: Digest, what: &str) -> Kept {
        keep(Promise::Bounded, !self.given_up.contains(&release), || {
            format!("{} was given up, and {what}", self.published(release).target.release)
        })
    }

    /// What holds at any instant.
    pub(super) fn check(&self) -> Kept {
        let state = &self.state;
        keep(Promise::OldOrNew, !self.ever_committed || state.active().is_some(), || {
            "the committed release is forgotten".into()
        })?;
        for held in state.active().into_iter().chain(state.previous()) {
            let (release, digest) = (&held.release, held.release.digest);
            keep(Promise::OldOrNew, self.checked.contains(&digest), || {
                format!("{release} is kept unchecked")
            })?;
            let there = self.whole.contains(&digest) || self.rotten.contains(&digest);
            keep(Promise::OldOrNew, there, || format!("{release} is not on disk any more"))?;
            let stays =
                matches!(self.nature(digest), Nature::Good | Nature::Differs | Nature::Large);
            // A release of which nothing was seen within its trial's time cannot be told apart.
            keep(Promise::BadGoesBack, stays, || {
                format!("{release}, {:?}, was committed", self.nature(digest))
            })?;
        }
        let digests = [of(state.active()), of(state.previous()), of(state.stand_in())];
        let held: Vec<Digest> = digests.into_iter().flatten().collect();
        let twice = held.iter().any(|one| held.iter().filter(|other| one == *other).count() > 1);
        keep(Promise::OldOrNew, !twice, || "one release in two places".into())?;
        keep(Promise::NothingGrows, state.reports().count() <= 32, || "reports".into())?;
        keep(Promise::NothingGrows, state.blocked().count() <= 3, || "blocked releases".into())?;
        self.check_route()
    }

    /// What answers is what shall answer, or what is about to be replaced by it.
    fn check_route(&self) -> Kept {
        let state = &self.state;
        if let Some(beside) = self.beside {
            let candidate = state.candidate().map(|release| release.digest);
            let ending = self.effects.iter().any(|effect| *effect == Effect::EndShadow);
            keep(Promise::Beside, Some(beside) == candidate || ending, || {
                "something answers beside the route that is no candidate".into()
            })?;
            keep(Promise::Beside, self.route != Some(beside), || "it acts".into())?;
        }
        let expected = of(state.on_route());
        let settling = self
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Run(_) | Effect::Vacate { .. }));
        let told = self.answers.iter().any(|answer| {
            use Event::{Damaged, Interrupted, RunFailed};
            matches!(answer, RunFailed { .. } | Interrupted { .. } | Damaged { .. })
        });
        let route = self.route;
        // A candidate that cannot be put on the route now leaves it as it was.
        let waits = matches!(state.phase(), Phase::Trial(_));
        keep(
            Promise::BadGoesBack,
            route == expected || route.is_none() || settling || told || waits,
            || format!("{route:?} is on the route, {expected:?} should be"),
        )?;
        let journaled = [
            of(self.journal.on_route()),
            of(self.journal.active()),
            of(self.journal.previous()),
            of(self.journal.stand_in()),
        ];
        let left = settling || told || waits;
        keep(Promise::FullDisk, route.is_none() || journaled.contains(&route) || left, || {
            "something answers of which the journal knows nothing".into()
        })
    }

    /// The storms end: everything that can succeed does, people agree, and the newest document
    /// arrives. The device must come to rest where it should.
    pub fn calm(&mut self, silent: bool) -> Kept {
        self.silent = silent;
        (self.full, self.network, self.against, self.cut_at_write) = (false, true, None, false);
        self.grown = true;
        if let Some(newest) = self.documents.last_mut() {
            newest.approved = true;
        }
        self.accepted = self.documents.len().checked_sub(1);
        self.withdrawn = false;
        if let Some(newest) = self.documents.last() {
            self.unlisted.remove(&newest.target.release.digest);
        }
        self.retell()?;
        for count in 0..CALM_STEPS {
            self.calm_step()?;
            // A driver's ticks come whatever else is under way.
            if count % 8 == 7 {
                self.run(400, 8)?;
            }
            if self.is_at_rest() || (self.waits_for_others() && count > LEFT_ALONE_STEPS) {
                break;
            }
        }
        self.check_rest()
    }

    /// Nothing goes wrong but what has gone wrong already.
    pub(super) fn quiet(&mut self) -> Kept {
        for _ in 0..QUIET_STEPS {
            if self.is_at_rest() {
                break;
            }
            self.calm_step()?;
        }
        Ok(())
    }

    /// One thing after the other, as a driver does them.
    pub fn calm_step(&mut self) -> Kept {
        if !self.effects.is_empty() {
            self.carry_out_one(super::Fault::Nothing)?;
        } else if !self.answers.is_empty() {
            self.answer(0)?;
        } else {
            self.run(400, 8)?;
        }
        self.check()
    }

    fn is_at_rest(&self) -> bool {
        let told = self.state.reports().count() == 0;
        let quiet = self.effects.is_empty() && self.answers.is_empty() && told;
        let (after, effects) = (self.step)(self.state.clone(), Event::Ticked, Duration::ZERO);
        let settled = self.route == of(self.state.on_route()) && self.beside.is_none();
        quiet
            && settled
            && !self.may_run_now()
            && *self.state.phase() == Phase::Idle
            && effects.is_empty()
            && after == self.state
    }

    /// Nobody gives out what was signed, nobody approves what is not the newest any more, or no reading
    /// comes.
    fn waits_for_others(&self) -> bool {
        match self.state.phase() {
            Phase::Downloading { target, .. } => {
                self.nature(target.release.digest) == Nature::Corrupt
            }
            Phase::Held(held) => {
                let newest = self.documents.last().map(|document| document.target.release.digest);
                self.state.waits_for_approval() && newest != Some(held.candidate.release.digest)
            }
            // Nothing comes by which it could be judged.
            Phase::Shadow(_) | Phase::Trial(_) => self.silent,
            Phase::Idle | Phase::Staging { .. } => false,
        }
    }

    fn check_rest(&self) -> Kept {
        let state = &self.state;
        let wanted = self.documents.last();
        let left_alone = self.waits_for_others();
        keep(Promise::Rest, left_alone || *state.phase() == Phase::Idle, || {
            format!("it does not come to rest: {}", state.note())
        })?;
        let shall = of(state.on_route());
        keep(Promise::Rest, self.route == shall, || "it rests on another release".into())?;
        if left_alone {
            return Ok(());
        }
        keep(Promise::Rest, self.beside.is_none(), || "a shadow is left".into())?;
        keep(Promise::Told, state.reports().count() == 0, || "reports are left".into())?;
        let Some(wanted) = wanted else { return Ok(()) };
        let release = wanted.target.release.digest;
        let mut blocked = state.blocked().filter(|blocked| blocked.release.digest == release);
        let given_up = blocked.any(|it| it.facts.is_none_or(|facts| facts == self.facts()));
        let good = matches!(self.nature(release), Nature::Good | Nature::Large) && !self.silent;
        let arrived = of(state.active()) == Some(release);
        keep(Promise::Rest, !good || arrived || given_up, || {
            format!("{} is wanted and not there: {}", wanted.target.release, state.note())
        })
    }
}
