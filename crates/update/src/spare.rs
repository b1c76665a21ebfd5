//! The previous release, while it waits to be gone back to: whether its blobs are as they were signed.

use crate::moves::FAILURES_MAX;
use crate::retry::Retry;
use crate::starts::QUIET;
use crate::{Effect, Installed, Phase, ReportKind, SlotState};
use lineside_bundle::{Digest, ReleaseId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Running time after which it is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the previous release on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Spare {
    /// Running time until it is looked at.
    due: Duration,
    /// It is damaged, and fetched again while nothing else is.
    damaged: bool,
    retry: Retry,
}

impl Spare {
    /// To be looked at soon. After a start or a commit there is more urgent work than to read a release
    /// that may never be needed.
    pub(crate) fn soon() -> Spare {
        Spare { due: QUIET, ..Spare::default() }
    }

    fn whole() -> Spare {
        Spare { due: LOOK_EVERY, ..Spare::default() }
    }

    pub(crate) fn pass(&mut self, ran: Duration) {
        self.due = self.due.saturating_sub(ran);
        self.retry.pass(ran);
    }
}

impl SlotState {
    /// The release whose blobs are being fetched or whose checks are replayed: an active one that is
    /// damaged on disk before whatever else, and a previous one that is when there is nothing else to do.
    pub fn at_work(&self) -> Option<&ReleaseId> {
        if let Some(active) = self.mending() {
            return Some(&active.release);
        }
        match &self.phase {
            Phase::Downloading { target, .. } | Phase::Staging { target, .. } => {
                Some(&target.release)
            }
            Phase::Idle | Phase::Shadow(_) | Phase::Held(_) => {
                self.usable_previous().filter(|_| self.spare.damaged).map(|held| &held.release)
            }
            Phase::Trial(_) => None,
        }
    }

    /// The previous release, unless something is known against it. That it may not be assigned is
    /// nothing: nobody takes the way back away by an assignment that is refused, or by none.
    ///
    /// One for which nobody vouches is no way back, whatever becomes of the active release: it may be
    /// the very release for whose sake keys were replaced, and a slot must not bring that back by itself,
    /// with nobody there to see it. The active one is tried on instead, and fetched again where it is
    /// damaged; between its attempts the plant has the fail-safe output, and people are told. A release
    /// with which nobody agrees is not better than that. It is kept on disk all the same: people may sign
    /// a list that names it again, and then the way back is there again.
    pub(crate) fn usable_previous(&self) -> Option<&Installed> {
        let blocked = |held: &Installed| self.blocked.get(&held.release.digest);
        let previous = self.previous.as_ref().filter(|_| self.disowned_previous().is_none());
        previous.filter(|held| blocked(held).is_none_or(|it| it.attempts == 0))
    }

    /// The previous release, if nobody vouches for it, and why.
    pub(crate) fn disowned_previous(&self) -> Option<(&Installed, &str)> {
        let previous = self.previous.as_ref()?;
        Some((previous, self.disowned.get(&previous.release.digest)?))
    }

    /// Whether there is a way back, as far as is known.
    pub(crate) fn has_way_back(&self) -> bool {
        self.usable_previous().is_some() && !self.spare.damaged
    }

    /// Has the previous release looked at before anything is left for it: a release that answers
    /// between its crashes is worth more than one that is rotten.
    pub(crate) fn look_at_way_back(&self) -> Option<Effect> {
        let previous = self.usable_previous().filter(|_| !self.spare.damaged);
        previous.map(|held| Effect::Verify(held.clone()))
    }

    pub(crate) fn is_previous(&self, digest: &Digest) -> bool {
        self.usable_previous().is_some_and(|held| held.is(digest))
    }

    /// Whether `digest` is the previous release, which is fetched again.
    pub(crate) fn is_spare_at_work(&self, digest: &Digest) -> bool {
        self.is_previous(digest) && self.at_work().is_some_and(|release| release.digest == *digest)
    }

    /// Whether something is to be done about the previous release now.
    pub(crate) fn is_spare_due(&self) -> bool {
        let Some(previous) = self.usable_previous() else { return false };
        match self.spare.damaged {
            true => self.is_spare_at_work(&previous.release.digest) && self.spare.retry.is_due(),
            false => self.spare.due.is_zero() && !matches!(self.phase, Phase::Trial(_)),
        }
    }

    /// Looks at the previous release, or fetches it again.
    pub(crate) fn look_after_spare(&mut self) -> Vec<Effect> {
        let Some(previous) = self.usable_previous().cloned() else { return vec![] };
        if self.spare.damaged {
            // Asked for again also while it comes: a candidate may have ended that meanwhile.
            self.spare.retry.later();
            return vec![Effect::Download { target: previous.target(), attempts: 0 }];
        }
        self.spare.due = LOOK_EVERY;
        vec![Effect::Verify(previous)]
    }

    /// The previous release is damaged on disk. Nothing is left for it until it has been fetched again.
    pub(crate) fn mend_spare(&mut self, reason: &str) -> Vec<Effect> {
        let Some(previous) = self.usable_previous().cloned() else { return vec![] };
        if self.spare.damaged {
            return vec![];
        }
        self.spare = Spare { damaged: true, ..Spare::default() };
        let release = &previous.release;
        let text = format!("{release}, to which the slot would go back, is damaged: {reason}");
        let report = self.report(ReportKind::DownloadFailed, release, text);
        self.spare.retry.later();
        let fetch = self
            .is_spare_at_work(&release.digest)
            .then(|| Effect::Download { target: previous.clone().target(), attempts: 0 });
        [report].into_iter().chain(fetch).collect()
    }

    /// The previous release is as it was signed: the slot goes back to it where that was to come.
    pub(crate) fn know_spare_whole(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.spare.damaged
            && let Some(previous) = self.usable_previous().map(|held| held.release.clone())
        {
            let text = format!("{previous} is whole on disk again");
            effects.push(self.report(ReportKind::Downloaded, &previous, text));
        }
        self.spare = Spare::whole();
        let fails = self.failing.count >= FAILURES_MAX;
        if fails && !matches!(self.phase, Phase::Trial(_)) {
            effects.extend(self.leave_for_previous());
        }
        effects
    }
}
