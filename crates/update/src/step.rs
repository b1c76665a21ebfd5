//! One step of the engine.

use crate::retry::Retry;
use crate::{Effect, Event, Phase, ReportKind, ShadowRun, SlotState, Starts};
use lineside_rules::{ShadowObservation, Verdict};
use std::time::Duration;

/// Attempts in a row that something other than the release prevented, after which it is given up.
pub const ATTEMPTS_MAX: u32 = 5;

/// Takes a slot one event further. Reads no clock, file or socket.
///
/// `ran` is how long the device has been running since the last event of this slot: failures, starts and
/// waits count running time, because wall clocks jump and devices are switched off for weeks. Of shadows
/// and trials whoever observes them says how long readings came.
pub fn step(mut slot: SlotState, event: Event, ran: Duration) -> (SlotState, Vec<Effect>) {
    use {Effect::*, Event::*, Phase::*};

    slot.pass(ran);
    let effects = match (slot.phase.clone(), event) {
        (Idle | Held(_), Booted) => slot.resume(None),
        (Downloading { target, attempts, .. }, Booted) => {
            slot.resume(Some(Download { target, attempts }))
        }
        (Staging { target, starts, .. }, Booted) if starts.next().are_too_many() => {
            let times = starts.next().in_a_row();
            let resumed = slot.resume(None);
            let reason =
                format!("the device started over {times} times while its checks were replayed");
            [resumed, slot.refuse(&target.release, times, reason)].concat()
        }
        (Staging { target, starts, attempts }, Booted) => {
            let starts = starts.next();
            slot.phase = Staging { target: target.clone(), starts, attempts };
            slot.resume(Some(Stage { target, attempts }))
        }
        (Shadow(run), Booted) if run.starts.next().are_too_many() => {
            let times = run.starts.next().in_a_row();
            let resumed = slot.resume(None);
            let reason =
                format!("the device started over {times} times while it answered beside the route");
            [resumed, slot.refuse(&run.candidate.release, times, reason)].concat()
        }
        (Shadow(mut run), Booted) => {
            run.before = run.seen.clone();
            run.starts = run.starts.next();
            run.retry.again();
            let candidate = run.candidate.clone();
            slot.phase = Shadow(run);
            slot.resume(Some(StartShadow(candidate)))
        }
        (Trial(trial), Booted) if trial.starts.next().are_too_many() => {
            let times = trial.starts.next().in_a_row();
            let reports: Vec<Effect> = slot.reports().cloned().map(Report).collect();
            let reason = format!("the device started over {times} times during its trial");
            [reports, slot.roll_back(&trial, reason)].concat()
        }
        (Trial(mut trial), Booted) => {
            trial.before = trial.seen.clone();
            trial.starts = trial.starts.next();
            trial.retry.again();
            // Nothing has the route after a start, and the site may say no to the candidate.
            let meanwhile = trial.waited.as_ref().and(slot.active().cloned()).map(RunMeanwhile);
            slot.phase = Trial(trial);
            meanwhile.into_iter().chain(slot.resume(None)).collect()
        }
        (_, Stopped) => {
            slot.stop();
            vec![]
        }

        (_, Assigned { target, floor }) => slot.assign(target, floor),
        (_, Approved { release }) => slot.approve(release),
        (_, Withdrawn { release, reason }) => slot.withdraw(release, reason),
        (_, Disowned { releases }) => slot.disown(releases),
        (_, BelowFloor { release, reason }) => slot.refuse_below_floor(&release, reason),
        (_, Remembered { release, done }) if slot.is_active(&release) => {
            slot.remember(release, done);
            vec![]
        }

        // The active release was damaged, and is fetched before whatever else is.
        (_, Downloaded { release, .. }) if slot.is_mending(&release) => slot.end_mending(),
        (
            _,
            DownloadFailed { release, reason }
            | Refused { release, reason }
            | Unfit { release, reason, .. },
        ) if slot.is_mending(&release) => slot.put_mending_off(&reason),
        // The active release was damaged, and is whole again.
        (Downloading { target, .. }, Downloaded { release, .. })
            if target.is(&release) && slot.is_active(&release) =>
        {
            slot.phase = Idle;
            slot.be_whole_again()
        }
        (Downloading { target, .. }, Downloaded { release, how }) if target.is(&release) => {
            let how = if how.is_empty() { how } else { format!(" ({how})") };
            let text = format!("{} is on disk{how}; replaying its checks", target.release);
            let report = slot.report(ReportKind::Downloaded, &target.release, text);
            slot.phase = Staging { target: target.clone(), starts: Starts::default(), attempts: 0 };
            slot.failing.mending = false;
            vec![report, Stage { target, attempts: 0 }]
        }
        (Downloading { target, attempts, reason: last }, DownloadFailed { release, reason })
            if target.is(&release) =>
        {
            // A device without a network for weeks says so once.
            let news = last.as_ref() != Some(&reason);
            slot.fetch_again(target, attempts, reason, news)
        }
        // What was committed once is not refused by its manifest now.
        (
            Downloading { target, attempts, .. },
            Refused { release, reason } | Unfit { release, reason, .. },
        ) if target.is(&release) && slot.is_active(&release) => {
            slot.fetch_again(target, attempts, reason, attempts == 0)
        }
        (Downloading { target, .. }, Unfit { release, reason, facts }) if target.is(&release) => {
            slot.refuse_unfit(&target.release, reason, facts)
        }
        (_, Reconsidered { release }) => {
            slot.reconsider(&release);
            vec![]
        }
        (_, TryAgain { release, wish }) => {
            slot.try_again(&release, wish);
            vec![]
        }
        (Downloading { target, .. } | Staging { target, .. }, Refused { release, reason })
            if target.is(&release) =>
        {
            slot.refuse(&target.release, 1, reason)
        }
        // A blob was damaged after it had been fetched.
        (Staging { target, .. }, Damaged { release, reason }) if target.is(&release) => {
            slot.fetch_again(target, 0, reason, true)
        }
        (Staging { target, attempts, .. }, Interrupted { release, reason })
            if target.is(&release) && attempts >= ATTEMPTS_MAX =>
        {
            let times = attempts.saturating_add(1);
            let reason = format!("its checks could not be replayed, {times} times: {reason}");
            slot.refuse(&target.release, times, reason)
        }
        (Staging { target, starts, attempts }, Interrupted { release, reason })
            if target.is(&release) =>
        {
            let text = format!("checks of {}: {reason}; trying again", target.release);
            let news = (attempts == 0)
                .then(|| slot.report(ReportKind::WorkerFailed, &target.release, text));
            let attempts = attempts.saturating_add(1);
            slot.phase = Staging { target: target.clone(), starts, attempts };
            news.into_iter().chain([Stage { target, attempts }]).collect()
        }
        (Staging { target, .. }, Staged { release, limits, shadow, policy, took })
            if target.is(&release) =>
        {
            slot.staged(target.installed(limits, shadow), policy, &took)
        }

        (Shadow(run), Shadowed { release, seen, verdict }) if run.candidate.is(&release) => {
            // A journal cannot keep every number that somebody may hand in.
            let seen = ShadowObservation::default().and(&seen);
            let run = ShadowRun { seen, retry: Retry::default(), ..run };
            match verdict {
                Verdict::Undecided => {
                    slot.phase = Shadow(run);
                    vec![]
                }
                Verdict::Passed => slot.pass_shadow(run),
                Verdict::Failed(breach) => {
                    slot.refuse(&run.candidate.release, run.attempts(), breach.to_string())
                }
            }
        }
        (_, Policy { policy }) => slot.heed(policy),
        (Shadow(run), Refused { release, reason } | RunFailed { release, reason })
            if run.candidate.is(&release) =>
        {
            slot.refuse(&run.candidate.release, run.attempts(), reason)
        }
        (Shadow(run), Interrupted { release, reason })
            if run.candidate.is(&release) && run.retry.attempts >= ATTEMPTS_MAX =>
        {
            let times = run.retry.attempts.saturating_add(1);
            let reason = format!("it could not answer beside the route, {times} times: {reason}");
            slot.refuse(&run.candidate.release, run.attempts(), reason)
        }
        (Shadow(mut run), Interrupted { release, reason }) if run.candidate.is(&release) => {
            let candidate = run.candidate.release.clone();
            let text =
                format!("{candidate} cannot answer beside the route now: {reason}; trying again");
            let first = run.retry.attempts == 0;
            run.retry.later();
            slot.phase = Shadow(run);
            let news = first.then(|| slot.report(ReportKind::WorkerFailed, &candidate, text));
            news.into_iter().collect()
        }
        (Shadow(mut run), Ticked) if run.retry.is_due() => {
            run.retry.again();
            slot.phase = Shadow(run.clone());
            vec![StartShadow(run.candidate)]
        }
        (Shadow(run), Damaged { release, reason }) if run.candidate.is(&release) => {
            let fetch = slot.fetch_again(run.candidate.target(), 0, reason, true);
            [vec![EndShadow], fetch].concat()
        }
        // The worker is started again by itself, and the verdict counts its deaths.
        (Shadow(run), WorkerFailed { release, reason }) if run.candidate.is(&release) => {
            let text = format!("worker of {} beside the route: {reason}", run.candidate.release);
            vec![slot.report(ReportKind::WorkerFailed, &run.candidate.release, text)]
        }

        (Held(held), Consented { release })
            if held.candidate.is(&release) && !slot.waits_for_approval() =>
        {
            slot.begin_trial_after(held)
        }
        (Held(held), Refused { release, reason }) if held.candidate.is(&release) => {
            slot.refuse(&held.candidate.release, 1, reason)
        }
        (Held(held), Withheld { release, reason, overdue }) if held.candidate.is(&release) => {
            slot.withhold(held, reason, overdue)
        }

        (Trial(trial), Placed { release }) if trial.is_of(&release) => {
            slot.have_route(trial);
            vec![]
        }
        (Trial(trial), Withheld { release, reason, overdue }) if trial.is_of(&release) => {
            slot.hold_again(trial, reason, overdue)
        }
        (Trial(trial), Observed { release, seen, verdict }) if trial.is_of(&release) => {
            let trial = crate::Trial { seen, retry: Retry::default(), ..trial };
            slot.have_route(trial.clone());
            match verdict {
                Verdict::Undecided => vec![],
                Verdict::Passed => slot.commit(trial),
                Verdict::Failed(breach) => slot.roll_back(&trial, breach.to_string()),
            }
        }
        (Trial(trial), Refused { release, reason }) if trial.is_of(&release) => {
            slot.roll_back(&trial, reason)
        }
        (Trial(trial), RunFailed { release, reason }) if trial.is_of(&release) => {
            slot.roll_back(&trial, format!("it could not be started: {reason}"))
        }
        (Trial(trial), Interrupted { release, reason })
            if trial.is_of(&release) && trial.retry.attempts >= ATTEMPTS_MAX =>
        {
            let times = trial.retry.attempts.saturating_add(1);
            slot.roll_back(&trial, format!("it could not be started, {times} times: {reason}"))
        }
        // Whatever has the route keeps it meanwhile.
        (Trial(mut trial), Interrupted { release, reason }) if trial.is_of(&release) => {
            let candidate = trial.candidate.release.clone();
            let text = format!("{candidate} cannot be started now: {reason}; trying again");
            let first = trial.retry.attempts == 0;
            trial.retry.later();
            slot.phase = Trial(trial);
            let news = first.then(|| slot.report(ReportKind::WorkerFailed, &candidate, text));
            // After a start nothing has it.
            let active = slot.active().cloned().map(RunMeanwhile);
            news.into_iter().chain(active).collect()
        }
        (Trial(mut trial), Ticked) if trial.retry.is_due() => {
            trial.retry.again();
            slot.phase = Trial(trial.clone());
            vec![Run(trial.candidate)]
        }
        (Trial(trial), Damaged { release, reason }) if trial.is_of(&release) => {
            let candidate = trial.candidate.release.clone();
            let route = slot.back_to_holder(&format!("{candidate} is damaged on disk"));
            let fetch = slot.fetch_again(trial.candidate.target(), 0, reason, true);
            [vec![route], fetch].concat()
        }
        // The worker is started again by itself, and the verdict counts its deaths.
        (Trial(trial), WorkerFailed { release, reason }) if trial.is_of(&release) => {
            let text = format!("worker of {}: {reason}", trial.candidate.release);
            vec![slot.report(ReportKind::WorkerFailed, &trial.candidate.release, text)]
        }

        // What has the route outside of a trial.
        (_, WorkerFailed { release, reason }) if slot.is_holder(&release) => slot.fail(reason),
        (_, RunFailed { release, reason }) if slot.is_holder(&release) => {
            slot.fail_to_start(reason)
        }
        (_, Interrupted { release, reason }) if slot.is_holder(&release) => {
            let text = format!("what has the route cannot be started now: {reason}; trying again");
            slot.put_off(text)
        }
        (_, Damaged { release, reason }) if slot.is_holder(&release) => slot.repair(reason),

        // What it would go back to.
        (_, Damaged { release, reason }) if slot.is_previous(&release) => slot.mend_spare(&reason),
        (_, Whole { release }) if slot.is_previous(&release) => slot.know_spare_whole(),
        (_, Downloaded { release, .. }) if slot.is_spare_at_work(&release) => {
            slot.know_spare_whole()
        }
        // It stays on probation until the next trial begins, though it cannot pass.
        (_, Observed { release, verdict: Verdict::Failed(breach), .. })
            if slot.is_stand_in(&release) =>
        {
            slot.give_stand_in_up(1, breach.to_string())
        }
        // Something may have kept it from starting that has passed by now.
        (_, Ticked) if slot.failing.retry.is_due() => {
            slot.failing.retry.again();
            let run = slot.on_route().cloned().map(Run);
            run.into_iter().chain(slot.shadow_again()).collect()
        }
        (_, Ticked) if slot.is_spare_due() => slot.look_after_spare(),

        (_, Reported { through }) => {
            slot.reports.done(through);
            vec![]
        }
        // Answers about a release that has been replaced meanwhile, or that come too late.
        (
            Idle | Downloading { .. } | Staging { .. } | Shadow(_) | Held(_) | Trial(_),
            Downloaded { .. }
            | DownloadFailed { .. }
            | Staged { .. }
            | Refused { .. }
            | Unfit { .. }
            | Shadowed { .. }
            | Consented { .. }
            | Placed { .. }
            | Withheld { .. }
            | RunFailed { .. }
            | Interrupted { .. }
            | Damaged { .. }
            | Whole { .. }
            | Observed { .. }
            | WorkerFailed { .. }
            | Remembered { .. }
            | Ticked,
        ) => vec![],
    };
    (slot, effects)
}
