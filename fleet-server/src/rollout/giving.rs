//! Carrying out what rollouts want: assigning releases to slots.

use crate::audit::By;
use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::release::Tried;
use crate::rollout::engine::report;
use crate::rollout::named;
use crate::store::tables::{event, interval, rollout_given};
use lineside_rollout::{Assign, Event, Way};
use lineside_wire::name::{DeviceId, SlotName};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Pause while the database fails, or no list of releases holds.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

impl Fleet {
    /// Assigns what rollouts want, for as long as the server runs.
    pub async fn keep_giving(self: Arc<Fleet>) {
        let mut later = Vec::new();
        loop {
            if let Some(assign) = self.rollouts.next_due() {
                if let Err(error) = self.give(&assign).await {
                    if later.is_empty() {
                        let Assign { rollout, device, slot, .. } = &assign;
                        tracing::warn!(
                            "rollout {rollout}: {device} is given what it is to run in {slot} later: {}",
                            chain(&error)
                        );
                    }
                    later.push(assign);
                }
                continue;
            }
            if later.is_empty() {
                self.rollouts.is_due.notified().await;
            } else {
                tokio::time::sleep(TROUBLE_PAUSE).await;
                self.rollouts.put_due(later.drain(..));
            }
        }
    }

    /// Takes a slot from the rollouts, because somebody assigns something to it by hand. Until what this gives is
    /// dropped, no rollout assigns anything.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn take_over(
        &self,
        device: &DeviceId,
        slot: &SlotName,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let giving = self.rollouts.giving.lock().await;
        let (device, slot) = (device.to_string(), slot.to_string());
        let event = |state: &lineside_rollout::Rollouts| {
            state.has(&device, &slot).then_some((Event::TakenOver { device, slot }, ()))
        };
        match self.rollouts.apply_made(event).await {
            // Rollouts that cannot be read do not keep people from what they have to do now.
            Err(Error::Conflict(why)) => tracing::error!("rollouts do not hear of it: {why}"),
            done => drop(done?),
        }
        Ok(giving)
    }

    /// Assigns what a rollout wants, unless it does not any more.
    ///
    /// # Errors
    /// Why it is done later.
    async fn give(&self, assign: &Assign) -> Result<(), Error> {
        let _giving = self.rollouts.giving.lock().await;
        if !self.rollouts.read(|state| state.wants(assign)).await? {
            return Ok(());
        }
        let (device, slot): (DeviceId, SlotName) =
            match (assign.device.parse(), assign.slot.parse()) {
                (Ok(device), Ok(slot)) => (device, slot),
                // The registry knows neither.
                _ => return Ok(()),
            };
        if let Some(why) = self.assign_wanted(assign, &device, slot).await? {
            self.cannot_be_given(assign, &why).await?;
        }
        // It may have given this release up before, or never have left what it goes back to, and says nothing new
        // of either.
        self.rollouts.ask_anew(&assign.device, &assign.slot).await;
        self.heed(&device).await
    }

    /// Gives why the device will never be assigned it, where that is so. Whatever else stands in the way is no
    /// word on the device, and passes: the clock, a list that nobody has signed anew, the disk.
    ///
    /// # Errors
    /// Why it is done later.
    async fn assign_wanted(
        &self,
        assign: &Assign,
        device: &DeviceId,
        slot: SlotName,
    ) -> Result<Option<String>, Error> {
        let now = OffsetDateTime::now_utc();
        let released = self.documents.released(now).await?;
        let path = match &assign.release {
            None => None,
            Some(release) => match named::find(release, &released) {
                Some(found) => Some(found.path()),
                None if released.is_whole() => {
                    return Ok(Some(format!("{release} is not released any more")));
                }
                None => {
                    return Err(Error::Conflict(format!(
                        "{release} may be in a list that nobody has signed anew"
                    )));
                }
            },
        };
        let key = (device.to_string(), slot.to_string());
        let before = rollout_given::Entity::find_by_id(key).one(self.store.read()).await?;
        let (rollout, attempt) = (i64::from(assign.rollout), i64::from(assign.attempt));
        let same = |row: &rollout_given::Model| {
            row.rollout == rollout && row.release == assign.release && row.attempt == attempt
        };
        let assigned = self.director.assigned(device).await?;
        let there = assigned.as_ref().and_then(|assigned| assigned.slots.get(&slot));
        if before.as_ref().is_some_and(same) && there == path.as_ref() {
            self.tell(device, now).await;
            return Ok(None);
        }
        if let Some(path) = &path {
            match self.check_floor(device, path, now).await {
                Ok(()) => {}
                Err(Error::Conflict(why)) => return Ok(Some(why)),
                // It was removed, and leaves the rollout.
                Err(Error::Missing(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.note_given(assign, device, there == path.as_ref()).await?;
        match path {
            Some(path) => {
                let tried = if assign.attempt > 0 { Tried::Again } else { Tried::Once };
                self.director
                    .assign(&By::Rollout(assign.rollout), device, slot, &path, tried, now)
                    .await?;
            }
            None if there.is_none() => {}
            None => {
                self.director.clear(&By::Rollout(assign.rollout), device, slot, now).await?;
            }
        }
        self.tell(device, now).await;
        Ok(None)
    }

    /// Writes down what is about to be given. What devices said before is not of this attempt; but where the same
    /// `is_assigned` already, it hears of nothing new, and what it has given up it does not try again.
    async fn note_given(
        &self,
        assign: &Assign,
        device: &DeviceId,
        is_assigned: bool,
    ) -> Result<(), Error> {
        let last_event = event::Entity::find()
            .select_only()
            .column(event::Column::Id)
            .filter(event::Column::Device.eq(device.as_str()))
            .order_by_desc(event::Column::Id)
            .into_tuple::<i64>();
        let last_interval = interval::Entity::find()
            .select_only()
            .column(interval::Column::Id)
            .filter(interval::Column::Device.eq(device.as_str()))
            .order_by_desc(interval::Column::Id)
            .into_tuple::<i64>();
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        let events_after = match (assign.attempt, is_assigned) {
            (0, true) => 0,
            _ => last_event.one(on).await?.unwrap_or(0),
        };
        let row = rollout_given::ActiveModel {
            device: Set(device.to_string()),
            slot: Set(assign.slot.clone()),
            rollout: Set(i64::from(assign.rollout)),
            release: Set(assign.release.clone()),
            attempt: Set(i64::from(assign.attempt)),
            events_after: Set(events_after),
            intervals_after: Set(last_interval.one(on).await?.unwrap_or(0)),
        };
        use rollout_given::Column::{
            Attempt, Device, EventsAfter, IntervalsAfter, Release, Rollout, Slot,
        };
        let columns = [Rollout, Release, Attempt, EventsAfter, IntervalsAfter];
        rollout_given::Entity::insert(row)
            .on_conflict(OnConflict::columns([Device, Slot]).update_columns(columns).to_owned())
            .exec_without_returning(on)
            .await?;
        writing.commit().await
    }

    /// Takes what this server would not assign, whoever wanted it, for refused by the device, so that the rollout
    /// does not wait for it.
    async fn cannot_be_given(&self, assign: &Assign, why: &str) -> Result<(), Error> {
        let Assign { rollout, device, slot, release, attempt, .. } = assign;
        let text = format!("{device} cannot be given what it is to run: {why}");
        self.say(*rollout, &text).await?;
        let Some(release) = release.clone() else { return Ok(()) };
        let _hearing = self.rollouts.hearing.lock().await;
        let known = match self.registry.get(device).await {
            Ok(known) => known,
            Err(Error::Missing(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let told = known.slots.iter().find(|told| told.slot == *slot);
        let active = told.and_then(|told| told.active.as_ref()).map(named::told);
        let way = Way::Refused { release, attempt: *attempt };
        self.rollouts.apply(Event::Reported(report(device, slot, active, way))).await
    }
}
