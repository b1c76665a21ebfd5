//! One step of the engine.

use crate::retry::Retry;
use crate::{Effect, Event, Phase, ReportKind, SlotState, Starts};
use lineside_rules::Verdict;
use std::time::Duration;

/// Attempts in a row that something other than the release prevented, after which it is given up.
pub const ATTEMPTS_MAX: u32 = 5;

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
            slot.phase = Trial(trial);
            slot.resume(None)
        }
        // The next start has been asked for, so it is not counted.
        (Staging { target, mut starts, attempts }, Stopped) => {
            starts.stop();
            slot.phase = Staging { target, starts, attempts };
            vec![]
        }
        (Trial(mut trial), Stopped) => {
            trial.starts.stop();
            slot.phase = Trial(trial);
            vec![]
        }
        (Idle | Downloading { .. }, Stopped) => vec![],

        (_, Assigned { target, floor }) => slot.assign(target, floor),

        // The active release was damaged, and is whole again.
        (Downloading { target, .. }, Downloaded { release })
            if target.is(&release) && slot.is_active(&release) =>
        {
            let text = format!("{} is whole on disk again", target.release);
            let report = slot.report(ReportKind::Downloaded, &target.release, text);
            slot.phase = Idle;
            slot.failing.retry.again();
            [report].into_iter().chain(slot.active.clone().map(Run)).collect()
        }
        (Downloading { target, .. }, Downloaded { release }) if target.is(&release) => {
            let text = format!("{} is on disk; replaying its checks", target.release);
            let report = slot.report(ReportKind::Downloaded, &target.release, text);
            slot.phase = Staging { target: target.clone(), starts: Starts::default(), attempts: 0 };
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
        (Downloading { target, attempts, .. }, Refused { release, reason })
            if target.is(&release) && slot.is_active(&release) =>
        {
            slot.fetch_again(target, attempts, reason, attempts == 0)
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
        (Staging { target, .. }, Staged { release, limits }) if target.is(&release) => {
            let candidate = target.installed(limits);
            let text = format!("{} passed its checks and is on trial", candidate.release);
            slot.phase = Trial(crate::Trial::of(candidate.clone()));
            vec![slot.report(ReportKind::TrialStarted, &candidate.release, text), Run(candidate)]
        }

        (Trial(trial), Observed { release, seen, verdict }) if trial.is_of(&release) => {
            let trial = crate::Trial { seen, retry: Retry::default(), ..trial };
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
            first
                .then(|| slot.report(ReportKind::WorkerFailed, &candidate, text))
                .into_iter()
                .collect()
        }
        (Trial(mut trial), Ticked) if trial.retry.is_due() => {
            trial.retry.again();
            slot.phase = Trial(trial.clone());
            vec![Run(trial.candidate)]
        }
        (Trial(trial), Damaged { release, reason }) if trial.is_of(&release) => {
            let candidate = trial.candidate.release.clone();
            let route = slot.back_to_active(&format!("{candidate} is damaged on disk"));
            let fetch = slot.fetch_again(trial.candidate.target(), 0, reason, true);
            [vec![route], fetch].concat()
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
            slot.failing.retry.later();
            [slot.fail(reason), vec![vacate]].concat()
        }
        (Idle | Downloading { .. } | Staging { .. }, Interrupted { release, reason })
            if slot.is_active(&release) =>
        {
            let text = format!("the active release cannot be started now: {reason}; trying again");
            slot.put_off(text)
        }
        (Idle | Downloading { .. } | Staging { .. }, Damaged { release, reason })
            if slot.is_active(&release) =>
        {
            slot.repair(reason)
        }
        // Something may have kept the active release from starting that has passed by now.
        (Idle | Downloading { .. } | Staging { .. }, Ticked) if slot.failing.retry.is_due() => {
            slot.failing.retry.again();
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
            | Interrupted { .. }
            | Damaged { .. }
            | Observed { .. }
            | WorkerFailed { .. },
        ) => vec![],
        (Idle | Downloading { .. } | Staging { .. } | Trial(_), Ticked) => vec![],
    };
    (slot, effects)
}
