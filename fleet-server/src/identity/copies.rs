//! Devices of which there are two: machines with one key, which take turns.

use crate::audit::By;
use crate::error::Error;
use crate::identity::Identities;
use crate::identity::kept::{changed, find, keep};
use crate::store::Writing;
use crate::store::tables::device_start;
use lineside_identity::{Event, Mark, Sighting, Starts, Verdict, sight, step};
use lineside_wire::name::DeviceId;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait};
use time::OffsetDateTime;

/// By what the server puts a device in quarantine.
const BY: By = By::Server("copies of devices");

impl Identities {
    /// Takes note of a connection of a device. Of one that there are two of, the key is in quarantine from now on.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sighted(
        &self,
        device: &DeviceId,
        mark: Option<Mark>,
        now: OffsetDateTime,
    ) -> Result<Sighting, Error> {
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        let row = device_start::Entity::find_by_id(device.as_str()).one(on).await?;
        let Some(mark) = mark else {
            // The device itself has always said it.
            return match row {
                Some(_) => {
                    Err(Error::Forbidden("it does not say which of its starts it is".into()))
                }
                None => Ok(Sighting::Goes),
            };
        };
        // What cannot be read is begun anew: a copy is seen all the same when both have come again.
        let starts = row.and_then(|row| serde_json::from_str(&row.starts).ok()).unwrap_or_default();
        let (starts, sighting) = sight(starts, mark);
        match sighting {
            Sighting::Goes | Sighting::SetBack => remember(on, device, &starts).await?,
            Sighting::Copied => self.separate(&writing, device, now).await?,
        }
        writing.commit().await?;
        Ok(sighting)
    }

    async fn separate(
        &self,
        writing: &Writing<'_>,
        device: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let on = &writing.transaction;
        let Some(known) = find(on, device).await? else { return Ok(()) };
        let before = known.identity.clone();
        let (after, _) = step(known.identity, Event::Judged(Verdict::Copied), now, self.grace());
        if after != before {
            keep(on, device, &after, known.serial.as_ref(), now).await?;
            writing.record(changed(&BY, device, &before, &after));
        }
        Ok(())
    }
}

async fn remember(
    on: &DatabaseTransaction,
    device: &DeviceId,
    starts: &Starts,
) -> Result<(), Error> {
    let row = device_start::ActiveModel {
        device: Set(device.to_string()),
        starts: Set(serde_json::to_string(starts).expect("starts have a JSON form")),
    };
    let again = OnConflict::column(device_start::Column::Device)
        .update_column(device_start::Column::Starts)
        .to_owned();
    device_start::Entity::insert(row).on_conflict(again).exec_without_returning(on).await?;
    Ok(())
}

/// Forgets by which of its starts a device has connected: who was copied begins anew.
pub(super) async fn begin_anew(on: &DatabaseTransaction, device: &DeviceId) -> Result<(), Error> {
    device_start::Entity::delete_by_id(device.as_str()).exec(on).await?;
    Ok(())
}
