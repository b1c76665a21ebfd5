//! What the drivers of updates do through slots and telemetry.

use crate::lock::lock;
use crate::telemetry::TelemetryHandle;
use crate::traces::Installing;
use crate::update::StagedRelease;
use crate::update::consent::Site;
use crate::update::engines::Kept;
use crate::update::hands::{Consent, Failure, Hands, Route};
use crate::worker::process::Starter;
use crate::worker::{
    Failed, SelfTestError, SlotHandle, SwapError, WorkerLimits, check_anew, has_other_engines,
    keep, listed, self_test, self_test_in,
};
use lineside_bundle::Digest;
use lineside_rules::{Observation, Replayed, ShadowLimits, ShadowObservation};
use lineside_runtime::{Loader, Onnxruntime};
use lineside_update::Report;
use lineside_wire::name::SlotName;
use lineside_wire::v1::event;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How long checks may be replayed before a release answers until the plant is told that nothing does: as
/// long as a release on the route may be without a worker.
const LATE_AFTER: Duration = Duration::from_secs(5);
/// How long a release that may need the library of an engine waits for it before that is told, and tried
/// again later.
const LIBRARY_MAX: Duration = Duration::from_secs(30);

/// What a slot's driver does to the slot.
pub(super) struct SlotHands {
    pub(super) slot: SlotHandle,
    pub(super) starter: Arc<dyn Starter>,
    pub(super) limits: WorkerLimits,
    pub(super) telemetry: TelemetryHandle,
    pub(super) installing: Installing,
    pub(super) name: SlotName,
    pub(super) site: Site,
    /// Rung when what is being placed is given up.
    pub(super) given_up: Notify,
    /// Releases that were tried in the engines that are wanted now, since the agent has started.
    pub(super) tested: Mutex<BTreeSet<Digest>>,
}

impl SlotHands {
    /// Has engines known in which `release` passes its checks: nothing else may run it. They are not where
    /// what is written down of it is lost, or is of another agent, or names an engine that this one does
    /// not have. Says whether they were not.
    async fn find_engines(&self, release: &StagedRelease) -> Result<bool, Failure> {
        if self.limits.has_passed(release) {
            return Ok(false);
        }
        self.check_anew(release, None).await.map(|()| true)
    }

    /// Replays the checks of `release`, keeps in which engines they pass, and tells it. Those in which it has
    /// `failed` are not tried.
    async fn check_anew(
        &self,
        release: &StagedRelease,
        failed: Option<Failed>,
    ) -> Result<(), Failure> {
        let check = || check_anew(release, &self.limits, failed.clone(), self.starter.clone());
        let checking = async {
            match check().await {
                Err(SelfTestError::Waits(_)) => {
                    let _ = timeout(LIBRARY_MAX, self.limits.library.settled()).await;
                    // It may be the one in which it has passed.
                    if failed.is_none() && self.limits.has_passed(release) {
                        return Ok(None);
                    }
                    check().await.map(Some)
                }
                checked => checked.map(Some),
            }
        };
        let late = async {
            sleep(LATE_AFTER).await;
            let reason = format!("the checks of {} are replayed first", release.release);
            self.slot.late(&reason).await;
            std::future::pending().await
        };
        let either = async {
            tokio::select! {
                checked = checking => checked,
                never = late => never,
            }
        };
        let checked = self.unless_given_up(either).await?.map_err(not_checked)?;
        let Some(anew) = checked else { return Ok(()) };
        let not = anew.failed.iter().map(|failed| format!("; not {failed}"));
        let (release, took, not) = (&release.release, anew.took, not.collect::<String>());
        self.tell(&format!("{release} was checked anew, before it answers: {took}{not}"));
        Ok(())
    }

    /// Puts `release` on the route in the engines in which it has passed its checks. Where it does not load
    /// in them any more, in others in which it passes them now.
    async fn place_in_passed(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let is_checked_now = self.find_engines(release).await?;
        let engines = self.limits.bundle(release).engines.chosen;
        let Err(error) = self.slot.place_when(release, may.clone()).await else { return Ok(()) };
        let is_over_loading = matches!(
            error,
            SwapError::Load(_) | SwapError::Died(_) | SwapError::Slow(SwapError::LOAD)
        );
        let others = || has_other_engines(release, &self.limits, &engines);
        if !is_over_loading || is_checked_now || !others() {
            return Err(not_placed(error, &engines));
        }
        let failed = Failed { engines: engines.clone(), why: error.to_string() };
        match (self.check_anew(release, Some(failed)).await, not_placed(error, &engines)) {
            (Ok(()), _) => {}
            // A library that was slow once may be faster at the next attempt.
            (Err(Failure::Release(why)), Failure::Elsewhere(_)) => {
                return Err(Failure::Elsewhere(why));
            }
            (Err(failure), _) => return Err(failure),
        }
        self.slot.place_when(release, may).await.map_err(|error| not_placed(error, &engines))
    }

    /// Where another engine is wanted than the one in which `release` has passed its checks, has them
    /// replayed in that one. Gives what was kept before if they pass; if not, it is told, and nothing
    /// changes.
    async fn try_wanted(&self, release: &StagedRelease) -> Option<Kept> {
        let wanted = self.limits.untested(release)?;
        let before = self.limits.choices.of(&release.release.digest)?;
        if !lock(&self.tested).insert(release.release.digest) {
            return None;
        }
        let testing = self_test_in(wanted.clone(), release, &self.limits, self.starter.clone());
        let tested = tokio::select! {
            tested = testing => tested,
            // The next start tries it again.
            _ = self.slot.ended() => return None,
        };
        match tested {
            Ok(()) => Some(before),
            Err(error) => {
                self.tell_kept(release, &before, &wanted, &error.to_string());
                None
            }
        }
    }

    /// Has a release that has the route run in the engines in which it has passed its checks now. If that
    /// fails, it goes on as it did `before`.
    async fn change_engines(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
        before: Kept,
    ) {
        let wanted = self.limits.bundle(release).engines.chosen;
        let mut changed = self.slot.place_when(release, may.clone()).await;
        // What was given up was the change to this release, which has the route already.
        if changed == Err(SwapError::GivenUp) {
            changed = self.slot.place_when(release, may).await;
        }
        match changed {
            Ok(()) => self.tell_changed(release, &wanted),
            Err(error) => {
                self.tell_kept(release, &before, &wanted, &error.to_string());
                if let Err(error) = keep(release, &self.limits, before).await {
                    tracing::warn!(slot = %self.name, "{error}");
                }
            }
        }
    }

    /// What comes of `work`, unless the slot ends or the change of its route is given up meanwhile.
    async fn unless_given_up<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            () = self.given_up.notified() => Err(Failure::GivenUp),
            _ = self.slot.ended() => Err(Failure::Stopping),
        }
    }

    fn tell_kept(&self, release: &StagedRelease, kept: &Kept, wanted: &Engines, why: &str) {
        let (release, kept, wanted) = (&release.release, listed(&kept.passed), listed(wanted));
        self.tell(&format!("{release} goes on with {kept}, and not with {wanted}: {why}"));
    }

    fn tell_changed(&self, release: &StagedRelease, engines: &Engines) {
        let (release, engines) = (&release.release, listed(engines));
        self.tell(&format!("{release} has passed its checks and answers with {engines}"));
    }

    fn tell(&self, text: &str) {
        tracing::info!(slot = %self.name, "{text}");
        self.telemetry.event(self.name.as_str(), event::ENGINE, text);
    }
}

/// An engine each, by stage.
type Engines = BTreeMap<String, String>;

impl Hands for SlotHands {
    async fn place(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        self.place_in_passed(release, may.clone()).await?;
        // Not before it answers in those in which it may: what settings want may fail, or take its time.
        if let Some(before) = self.try_wanted(release).await {
            self.change_engines(release, may, before).await;
        }
        Ok(())
    }

    async fn give_up(&self) {
        self.given_up.notify_waiters();
        self.slot.give_up().await;
    }

    async fn vacate(&self, reason: &str) {
        self.slot.vacate(reason).await;
    }

    fn observation(&self, release: &Digest) -> Observation {
        self.slot.observation(release)
    }

    async fn self_test(&self, release: &StagedRelease) -> Result<Replayed, Failure> {
        self.slot.verified(release).await;
        self_test(release, &self.limits, self.starter.clone()).await.map_err(not_checked)
    }

    async fn shadow(&self, release: &StagedRelease, limits: &ShadowLimits) -> Result<(), Failure> {
        self.find_engines(release).await?;
        // Nothing waits for its answers, so it is compared as it will answer.
        if self.try_wanted(release).await.is_some() {
            self.tell_changed(release, &self.limits.bundle(release).engines.chosen);
        }
        let engines = self.limits.bundle(release).engines.chosen;
        self.slot.shadow(release, limits).await.map_err(|error| not_placed(error, &engines))
    }

    fn shadowed(&self, release: &Digest) -> ShadowObservation {
        self.slot.shadowed(release)
    }

    async fn end_shadow(&self) {
        self.slot.end_shadow().await;
    }

    async fn consent(&self, route: Route, waited: Duration) -> Consent {
        self.site.consent(route, waited).await
    }

    fn leave(&self, given: bool) -> watch::Receiver<bool> {
        self.site.leave(given)
    }

    async fn report(&self, report: &Report) -> bool {
        let is_taken = self.telemetry.report(&self.name, report).await;
        if is_taken {
            self.installing.report(report);
        }
        is_taken
    }
}

/// Whose fault it is that a release with its models in these engines did not get where it was to be.
fn not_placed(error: SwapError, engines: &Engines) -> Failure {
    let reason = error.to_string();
    let has_library = engines.values().any(|engine| engine == Onnxruntime::Absent.name());
    match error {
        // A library may lie on a disk that is busy, and that says nothing about the release.
        SwapError::Slow(SwapError::LOAD) if has_library => Failure::Elsewhere(reason),
        SwapError::Load(_) | SwapError::Died(_) | SwapError::Slow(_) | SwapError::Beside { .. } => {
            Failure::Release(reason)
        }
        SwapError::Killed(_) | SwapError::Start(_) | SwapError::Vacant => {
            Failure::Elsewhere(reason)
        }
        SwapError::GivenUp => Failure::GivenUp,
        // A driver asks for one change after the other: what comes in between is the agent's end.
        SwapError::Superseded | SwapError::Stopping => Failure::Stopping,
    }
}

fn not_checked(error: SelfTestError) -> Failure {
    let reason = error.to_string();
    match error {
        SelfTestError::Refused(_) | SelfTestError::Died(_) | SelfTestError::Slow(_) => {
            Failure::Release(reason)
        }
        SelfTestError::Killed(_)
        | SelfTestError::Start(_)
        | SelfTestError::Waits(_)
        | SelfTestError::Keep(_) => Failure::Elsewhere(reason),
    }
}
