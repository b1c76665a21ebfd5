//! Carrying out what rollouts want: assigning releases to slots.

use crate::audit::By;
use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::release::Tried;
use crate::rollout::engine::report;
use crate::rollout::named;
use crate::store::tables::{event, interval, rollout_given};
use lineside_rollout::{Assign, Event, State, Way, Why};
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
        loop {
            let Some(assign) = self.rollouts.next_due() else {
                self.rollouts.is_due.notified().await;
                continue;
            };
            if let Err(error) = self.give(&assign).await {
                let Assign { rollout, device, slot, .. } = &assign;
                let told = chain(&error);
                tracing::warn!(
                    "rollout {rollout}: {device} is given what it is to run in {slot} later: {told}"
                );
                self.rollouts.put_due([assign]);
                tokio::time::sleep(TROUBLE_PAUSE).await;
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
            let concerned = !state.concerning(&device, &slot).is_empty();
            concerned.then_some((Event::TakenOver { device, slot }, ()))
        };
        self.rollouts.apply_made(event).await?;
        Ok(giving)
    }

    /// Assigns what a rollout wants, unless it does not any more.
    ///
    /// # Errors
    /// Why it is done later.
    async fn give(&self, assign: &Assign) -> Result<(), Error> {
        let _giving = self.rollouts.giving.lock().await;
        let state =
            self.rollouts.read(|state| state.member(assign.rollout, &assign.device)).await?;
        let is_wanted = match (state, assign.why) {
            (Some((State::Assigned | State::Working(_), _)), Why::Turn(_)) => true,
            (Some((State::Returning, _)), Why::Return) => true,
            (None | Some(_), Why::Turn(_) | Why::Return) => false,
        };
        if !is_wanted {
            return Ok(());
        }
        let (device, slot): (DeviceId, SlotName) =
            match (assign.device.parse(), assign.slot.parse()) {
                (Ok(device), Ok(slot)) => (device, slot),
                // The registry knows neither.
                _ => return Ok(()),
            };
        match self.assign_wanted(assign, &device, slot).await {
            Ok(()) => Ok(()),
            Err(error) if may_pass(&error) => Err(error),
            Err(error) => self.cannot_be_given(assign, &error).await,
        }?;
        // It may have given this release up before, or never have left what it goes back to, and says nothing new
        // of either.
        self.rollouts.ask_anew(&assign.device, &assign.slot).await;
        self.heed(&device).await
    }

    async fn assign_wanted(
        &self,
        assign: &Assign,
        device: &DeviceId,
        slot: SlotName,
    ) -> Result<(), Error> {
        let now = OffsetDateTime::now_utc();
        let released = self.documents.released(now).await?;
        let path = match &assign.release {
            None => None,
            Some(release) => {
                let found = named::find(release, &released);
                let found = found
                    .ok_or_else(|| Error::Missing(format!("{release} is not released any more")))?;
                Some(found.path())
            }
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
            return Ok(());
        }
        self.note_given(assign, device).await?;
        match path {
            Some(path) => {
                self.check_floor(device, &path, now).await?;
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
        Ok(())
    }

    /// Writes down what is about to be given. What devices said before is not of this attempt.
    async fn note_given(&self, assign: &Assign, device: &DeviceId) -> Result<(), Error> {
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
        // What it has given up before it does not try again, unless it is told to.
        let events_after = match assign.attempt {
            0 => 0,
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
    async fn cannot_be_given(&self, assign: &Assign, error: &Error) -> Result<(), Error> {
        let Assign { rollout, device, slot, release, attempt, .. } = assign;
        let text = format!("{device} cannot be given what it is to run: {}", error.told());
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

/// Whether it may be done later.
fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::Database(_) | Error::File { .. } | Error::Untrusted(_) | Error::Repository(_)
    )
}
