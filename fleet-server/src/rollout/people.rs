//! What people do with rollouts.

use crate::access::ADMINISTRATOR;
use crate::bounds::{DEVICES_AT_ONCE, RULE_CHARS_MAX, short};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::release::Released;
use crate::rollout::named;
use crate::store::tables::rollout_news;
use lineside_rollout::{
    Event, Person, Plan, Preflight, RolloutId, Selector, VACANT, Wave, Window, Wish,
};
use lineside_wire::name::SlotName;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Deserialize;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A rollout as people plan it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRollout {
    /// The release, as in `turbine/2`.
    pub release: String,
    /// The slot that is to run it.
    pub slot: String,
    /// The devices.
    pub selector: Selector,
    /// The waves, one after the other.
    pub waves: Vec<Wave>,
    /// The larger goes first where several rollouts want the same slot.
    #[serde(default)]
    pub priority: i32,
    /// Devices that may be between assignment and decision at once; null is as many as the wave has.
    #[serde(default)]
    pub on_trial_max: Option<u32>,
    /// Devices that may fetch at once; null is no limit but the sites'.
    #[serde(default)]
    pub downloads_max: Option<u32>,
    /// When devices may begin, in the local time of each site.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Minutes after which a device that has not decided counts as stuck.
    #[serde(default = "deadline_minutes")]
    pub deadline_minutes: u32,
    /// People other than the author who have to approve it.
    #[serde(default)]
    pub approvals: u8,
    /// Who plans it; empty for the administrator.
    #[serde(default)]
    pub by: String,
}

fn deadline_minutes() -> u32 {
    24 * 60
}

impl Fleet {
    /// Makes a rollout. It is a draft until somebody has it begin.
    ///
    /// # Errors
    /// [`Error::Malformed`] names what is wrong with the plan; [`Error::Missing`] if its release is not released.
    pub async fn plan_rollout(
        &self,
        new: NewRollout,
        now: OffsetDateTime,
    ) -> Result<RolloutId, Error> {
        let by = person(&new.by);
        let plan = Box::new(self.plan(new, now).await?);
        self.survey_for(&plan.slot).await?;
        let event = move |state: &lineside_rollout::Rollouts| {
            let rollout = state.last_id().saturating_add(1);
            Some((Event::Created { rollout, plan, by }, rollout))
        };
        Ok(self.rollouts.apply_made(event).await?.expect("there is always such an event"))
    }

    /// What a rollout would do if it began now.
    ///
    /// # Errors
    /// As for [`Fleet::plan_rollout`].
    pub async fn preflight(
        &self,
        new: NewRollout,
        now: OffsetDateTime,
    ) -> Result<Preflight, Error> {
        let path = new.release.clone();
        let plan = self.plan(new, now).await?;
        self.survey_for(&plan.slot).await?;
        let refusals = self.refusals(&path, now).await?;
        let refusals = refusals.iter().map(|(device, why)| (device.as_str(), why.as_str()));
        let look = |state: &lineside_rollout::Rollouts| {
            state.preflight(state.last_id().saturating_add(1), &plan, refusals)
        };
        self.rollouts.read(look).await?.map_err(|error| Error::Malformed(error.to_string()))
    }

    /// Does with a rollout what somebody wants.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Conflict`], with what to do, where that makes no sense now.
    pub async fn wish(&self, rollout: RolloutId, by: &str, wish: Wish) -> Result<(), Error> {
        if matches!(wish, Wish::Begin { .. }) {
            self.survey().await?;
        }
        let is_forgotten = wish == Wish::Forget;
        let by = person(by);
        self.rollouts.apply(Event::Person(Person { rollout, by, wish })).await?;
        if is_forgotten {
            let writing = self.store.write().await?;
            let its = rollout_news::Column::Rollout.eq(i64::from(rollout));
            rollout_news::Entity::delete_many().filter(its).exec(&writing.transaction).await?;
            writing.commit().await?;
        }
        Ok(())
    }

    async fn plan(&self, new: NewRollout, now: OffsetDateTime) -> Result<Plan, Error> {
        let released = self.documents.released(now).await?;
        let download_bytes = self.download_bytes(&new.release, &released).await?;
        let NewRollout {
            release,
            slot,
            mut selector,
            waves,
            priority,
            on_trial_max,
            downloads_max,
            windows,
            deadline_minutes,
            approvals,
            by: _,
        } = new;
        // No device has another, so it would be waited for.
        slot.parse::<SlotName>().map_err(|error| Error::Malformed(format!("slot: {error}")))?;
        for release in selector.releases.iter_mut().filter(|release| *release != VACANT) {
            *release = named::released(release, &released)?;
        }
        let plan = Plan {
            release: named::released(&release, &released)?,
            slot,
            selector,
            waves,
            priority,
            on_trial_max,
            downloads_max,
            download_bytes,
            windows,
            deadline_minutes,
            approvals,
        };
        plan.check().map_err(|error| Error::Malformed(error.to_string()))?;
        Ok(plan)
    }

    /// What a device fetches that has nothing of the release; deltas make it less.
    async fn download_bytes(&self, path: &str, released: &Released) -> Result<u64, Error> {
        match released.get(path) {
            Some(release) => self.artifacts.bytes(&release.id).await,
            None => Ok(0),
        }
    }

    /// Devices that would refuse the release whoever assigns it, and why.
    async fn refusals(
        &self,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<BTreeMap<String, String>, Error> {
        let released = self.documents.released(now).await?;
        let Some(release) = released.get(path) else { return Ok(BTreeMap::new()) };
        let mut refusals = BTreeMap::new();
        let mut last = String::new();
        loop {
            let devices = self.registry.after(&last, DEVICES_AT_ONCE).await?;
            let Some(one) = devices.last() else { return Ok(refusals) };
            last = one.id.to_string();
            for device in devices {
                if let Some(floor) = device.floor_above(release) {
                    refusals.insert(
                        device.id.to_string(),
                        format!("it may not go back below number {floor} of {}", release.id.name),
                    );
                }
            }
        }
    }
}

fn person(by: &str) -> String {
    let by = if by.trim().is_empty() { ADMINISTRATOR } else { by };
    short(by, RULE_CHARS_MAX)
}
