//! What the drivers of updates do through slots and telemetry.

use crate::telemetry::TelemetryHandle;
use crate::update::StagedRelease;
use crate::update::consent::Site;
use crate::update::hands::{Consent, Failure, Hands, Route};
use crate::worker::process::Starter;
use crate::worker::{
    SelfTestError, SlotHandle, SwapError, WorkerLimits, choose_engines, self_test,
};
use lineside_bundle::Digest;
use lineside_rules::{Observation, Replayed, ShadowLimits, ShadowObservation};
use lineside_update::Report;
use lineside_wire::name::SlotName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What a slot's driver does to the slot.
pub(super) struct SlotHands {
    pub(super) slot: SlotHandle,
    pub(super) starter: Arc<dyn Starter>,
    pub(super) limits: WorkerLimits,
    pub(super) telemetry: TelemetryHandle,
    pub(super) name: SlotName,
    pub(super) site: Site,
}

impl Hands for SlotHands {
    async fn place(
        &self,
        release: &StagedRelease,
        may: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        self.slot.place_when(release, may).await.map_err(not_placed)
    }

    async fn give_up(&self) {
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
        choose_engines(release, &self.limits, self.starter.clone()).await.map_err(not_checked)?;
        self_test(release, &self.limits, self.starter.clone()).await.map_err(not_checked)
    }

    async fn shadow(&self, release: &StagedRelease, limits: &ShadowLimits) -> Result<(), Failure> {
        self.slot.shadow(release, limits).await.map_err(not_placed)
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
        self.telemetry.report(&self.name, report).await
    }
}

fn not_placed(error: SwapError) -> Failure {
    let reason = error.to_string();
    match error {
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
        SelfTestError::Killed(_) | SelfTestError::Start(_) | SelfTestError::Keep(_) => {
            Failure::Elsewhere(reason)
        }
    }
}
