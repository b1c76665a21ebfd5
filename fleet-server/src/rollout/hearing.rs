//! What devices say of their slots, as rollouts hear it.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::registry::{Device, SlotReported};
use crate::rollout::engine::report;
use crate::rollout::named;
use crate::store::tables::{event, rollout_given};
use lineside_rollout::{Event, Phase, RolloutId, State, Way};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{self, event as kind};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// Events of a slot that tell of a release that was given up; among so many is looked for one.
const OUTCOMES_MAX: u64 = 20;
/// What became of a release, as events are kept.
const REFUSED: &str = "refused";
const ROLLED_BACK: &str = "rolled_back";

/// What of a slot is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heed<'a> {
    All,
    /// What is known already and nobody waits for is not. The slot may be in a plan soon.
    Missing(Option<&'a str>),
}

/// What the rollouts know of a slot.
struct Known {
    /// A plan names it. Of others nothing is taken down: devices may make up what they like.
    is_planned: bool,
    /// What it runs.
    is_known: bool,
    /// A rollout is about it.
    concerns: bool,
    /// It is to decide on something.
    is_waited_for: bool,
}

impl Known {
    fn is_enough(&self, heed: Heed<'_>, slot: &str) -> bool {
        match heed {
            Heed::All => !self.is_planned || (self.is_known && !self.concerns),
            Heed::Missing(also) => {
                !(self.is_planned || also == Some(slot)) || (self.is_known && !self.is_waited_for)
            }
        }
    }
}

impl Fleet {
    /// Tells the rollouts what a device says of its slots and how it runs what they gave it, if there is any
    /// rollout to be told.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn heed(&self, device: &DeviceId) -> Result<(), Error> {
        match self.rollouts.are_idle().await? {
            true => Ok(()),
            false => self.heed_now(device, Heed::All).await,
        }
    }

    /// The same, where it is not known already and somebody waits for it.
    pub(super) async fn heed_what_is_missing(
        &self,
        device: &Device,
        also: Option<&str>,
    ) -> Result<(), Error> {
        let heed = Heed::Missing(also);
        for slot in &device.slots {
            let active = slot.active.as_ref().map(named::told);
            let found = self.known(&device.id, &slot.slot, active.as_deref()).await?;
            if !found.is_enough(heed, &slot.slot) {
                // It may have said something else since this was read.
                return self.heed_now(&device.id, heed).await;
            }
        }
        Ok(())
    }

    async fn heed_now(&self, device: &DeviceId, heed: Heed<'_>) -> Result<(), Error> {
        // Whoever has read earlier tells it earlier, too.
        let _hearing = self.rollouts.hearing.lock().await;
        let device = match self.registry.get(device.as_str()).await {
            Ok(device) => device,
            // It was removed meanwhile.
            Err(Error::Missing(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for slot in &device.slots {
            if self.heed_slot(&device.id, slot, heed).await? && heed == Heed::All {
                self.measure(&device.id, &slot.slot).await?;
            }
        }
        Ok(())
    }

    /// Gives whether a rollout is about the slot.
    async fn heed_slot(
        &self,
        device: &DeviceId,
        slot: &SlotReported,
        heed: Heed<'_>,
    ) -> Result<bool, Error> {
        let active = slot.active.as_ref().map(named::told);
        let known = self.known(device, &slot.slot, active.as_deref()).await?;
        if known.is_enough(heed, &slot.slot) {
            return Ok(known.concerns);
        }
        let way = match known.concerns {
            true => self.way(device, slot, active.as_deref()).await?,
            false => Way::Idle,
        };
        let event = Event::Reported(report(device.as_str(), &slot.slot, active, way));
        match self.rollouts.apply(event).await {
            // It is not enrolled there yet, or has left.
            Err(Error::Missing(_)) => Ok(false),
            done => done.map(|()| known.concerns),
        }
    }

    /// What the rollouts know of a slot that is said to run `active`.
    async fn known(
        &self,
        device: &DeviceId,
        slot: &str,
        active: Option<&str>,
    ) -> Result<Known, Error> {
        let name = device.as_str();
        let look = |state: &lineside_rollout::Rollouts| {
            let concerning = state.concerning(name, slot);
            let is_waited_for = |id: &RolloutId| {
                use State::{Assigned, Returning, Stuck, Working};
                let state = state.member(*id, name).map(|(state, _)| state);
                matches!(state, Some(Assigned | Working(_) | Stuck | Returning))
            };
            Known {
                is_planned: state.rollouts().any(|(_, rollout)| rollout.plan().slot == slot),
                is_known: state.knows(name, slot, active),
                concerns: !concerning.is_empty(),
                is_waited_for: concerning.iter().any(is_waited_for),
            }
        };
        self.rollouts.read(look).await
    }

    /// What goes on in a slot that a rollout is about.
    async fn way(
        &self,
        device: &DeviceId,
        slot: &SlotReported,
        active: Option<&str>,
    ) -> Result<Way, Error> {
        if let (Some(candidate), Some(phase)) = (&slot.candidate, phase(&slot.phase)) {
            return Ok(Way::Working { release: named::told(candidate), phase });
        }
        let key = (device.to_string(), slot.slot.clone());
        let given = rollout_given::Entity::find_by_id(key).one(self.store.read()).await?;
        let Some(given) = given else { return Ok(Way::Idle) };
        let attempt = u8::try_from(given.attempt).unwrap_or(u8::MAX);
        let Some(release) = given.release.filter(|release| Some(release.as_str()) != active) else {
            return Ok(Way::Idle);
        };
        let outcomes = event::Entity::find()
            .filter(event::Column::Device.eq(device.as_str()))
            .filter(event::Column::Id.gt(given.events_after))
            .filter(event::Column::Slot.eq(slot.slot.as_str()))
            .filter(event::Column::Kind.is_in([REFUSED, ROLLED_BACK]))
            .order_by_desc(event::Column::Id)
            .limit(OUTCOMES_MAX)
            .all(self.store.read())
            .await?;
        for row in outcomes {
            let record = v1::Record {
                boot: 0,
                sequence: 0,
                backfill: false,
                code: v1::record::EVENT,
                body: row.body,
            };
            let Ok(v1::Body::Event(said)) = record.read() else { continue };
            if said.release.as_ref().map(named::spoken_of).as_ref() != Some(&release) {
                continue;
            }
            return Ok(match said.kind {
                kind::REFUSED => Way::Refused { release, attempt },
                _ => Way::RolledBack { release, attempt },
            });
        }
        Ok(Way::Idle)
    }
}

/// A phase in which a release is on its way in.
fn phase(word: &str) -> Option<Phase> {
    match word {
        "downloading" => Some(Phase::Downloading),
        "staging" => Some(Phase::Staging),
        "shadow" => Some(Phase::Shadow),
        "held" => Some(Phase::Held),
        "trial" => Some(Phase::Trial),
        _ => None,
    }
}
