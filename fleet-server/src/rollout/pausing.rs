//! Pausing rollouts because a rule has fired for the release that they bring. It is written down with the alert, and
//! done as soon as rollouts move on.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::rollout::named;
use crate::store::tables::{rollout_given, rollout_pause};
use lineside_rollout::{Event, Person, RolloutId, Status, Wish};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::ReleaseRef;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{DatabaseTransaction, EntityTrait, QueryOrder};

/// Writes down that rollouts which bring `release` to a slot are to pause. `by` wants it.
pub(crate) async fn put_pause(
    on: &DatabaseTransaction,
    slot: &str,
    release: &ReleaseRef,
    by: String,
) -> Result<(), Error> {
    let row = rollout_pause::ActiveModel {
        id: NotSet,
        slot: Set(slot.to_owned()),
        release: Set(named::spoken_of(release)),
        by: Set(by),
    };
    rollout_pause::Entity::insert(row).exec_without_returning(on).await?;
    Ok(())
}

/// Whether a rollout has given this release to a slot of a device, and nothing else since.
pub(crate) async fn was_given(
    on: &DatabaseTransaction,
    device: &DeviceId,
    slot: &str,
    release: &ReleaseRef,
) -> Result<bool, Error> {
    let key = (device.to_string(), slot.to_owned());
    let given = rollout_given::Entity::find_by_id(key).one(on).await?;
    Ok(given.and_then(|row| row.release) == Some(named::spoken_of(release)))
}

impl Fleet {
    /// Has rollouts pause that are to.
    ///
    /// # Errors
    /// [`Error::Database`]; what is not done is done later.
    pub(super) async fn pause_rollouts(&self) -> Result<(), Error> {
        let wanted = rollout_pause::Entity::find()
            .order_by_asc(rollout_pause::Column::Id)
            .all(self.store.read())
            .await?;
        for row in wanted {
            let is_it = |state: &lineside_rollout::Rollouts| -> Vec<RolloutId> {
                let brings = state.rollouts().filter(|(_, rollout)| {
                    let plan = rollout.plan();
                    let may_pause = matches!(
                        rollout.status(),
                        Status::Running | Status::Standing | Status::Asking(_)
                    );
                    may_pause && plan.slot == row.slot && plan.release == row.release
                });
                brings.map(|(id, _)| id).collect()
            };
            for rollout in self.rollouts.read(is_it).await? {
                let person = Person { rollout, by: row.by.clone(), wish: Wish::Pause };
                match self.rollouts.apply_by_rule(Event::Person(person)).await {
                    Ok(()) => {}
                    // Somebody was quicker.
                    Err(Error::Conflict(_) | Error::Missing(_)) => continue,
                    Err(error) => return Err(error),
                }
                self.say(rollout, &format!("pauses, because {} has fired for it", row.by)).await?;
            }
            let writing = self.store.write().await?;
            rollout_pause::Entity::delete_by_id(row.id).exec(&writing.transaction).await?;
            writing.commit().await?;
        }
        Ok(())
    }
}
