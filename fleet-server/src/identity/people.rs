//! What people decide about devices, having seen their keys.

use crate::audit::By;
use crate::error::Error;
use crate::identity::Identities;
use crate::identity::copies::begin_anew;
use crate::identity::devices::name;
use crate::identity::kept::{Known, changed, find, keep, key_of, read};
use crate::identity::listed::fingerprint;
use crate::identity::tokens::place_of;
use crate::registry::Registry;
use crate::store::tables::{identity, join_token, preauthorised};
use lineside_identity::{Effect, Event, Fingerprint, Identity, Refusal, Standing, Verdict, step};
use lineside_wire::name::DeviceId;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What a person decides about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Judgement {
    /// It is one of the fleet.
    Accept,
    /// It is not wanted.
    Decline,
    /// Its key is let in nowhere any more; it joins again by another.
    Revoke,
    /// Its copy is dealt with: it is let in again by its key.
    Reset,
}

impl Identities {
    /// Decides about a device of which a person has seen this key. Whether its connections are to be ended.
    ///
    /// # Errors
    /// [`Error::Missing`] if nobody has joined under its name; [`Error::Conflict`] if it is not as the person
    /// has seen it, or cannot be decided so.
    pub async fn judge(
        &self,
        by: &By,
        device: &DeviceId,
        judgement: Judgement,
        seen: &str,
        now: OffsetDateTime,
    ) -> Result<bool, Error> {
        let seen = fingerprint(seen)?;
        let verdict = match judgement {
            Judgement::Accept => Verdict::Accepts(seen),
            Judgement::Decline => Verdict::Declines(seen),
            Judgement::Revoke => Verdict::Revokes,
            Judgement::Reset => Verdict::Resets,
        };
        let writing = self.store.write().await?;
        let known = find(&writing.transaction, device).await?.ok_or_else(|| nobody(device))?;
        if !has_key(&known.identity, seen) {
            return Err(Error::Conflict(Refusal::Changed.to_string()));
        }
        let before = known.identity.clone();
        let (after, effects) = step(known.identity, Event::Judged(verdict), now, self.grace());
        let refused = effects.iter().find_map(|effect| match effect {
            Effect::Refuse(refusal) => Some(refusal),
            _ => None,
        });
        if let Some(refusal) = refused {
            return Err(Error::Conflict(refusal.to_string()));
        }
        if after != before {
            keep(&writing.transaction, device, &after, known.serial.as_ref(), now).await?;
            writing.record(changed(by, device, &before, &after));
            if judgement == Judgement::Reset {
                begin_anew(&writing.transaction, device).await?;
            }
            match after.standing {
                Standing::Accepted { key, .. } => {
                    let place = place_of(&writing.transaction, device, key).await?;
                    Registry::ensure(by, &writing, device, place, now).await?;
                }
                // Whoever has its key may have the password that it had before.
                Standing::Revoked => Registry::end_password(&writing, device).await?,
                Standing::Unknown
                | Standing::Pending { .. }
                | Standing::Declined { .. }
                | Standing::Quarantined { .. } => {}
            }
            writing.commit().await?;
        }
        Ok(effects.contains(&Effect::Disconnect))
    }

    /// What is known of a device.
    ///
    /// # Errors
    /// [`Error::Missing`] if nobody has joined under its name.
    pub async fn get(&self, device: &str) -> Result<Known, Error> {
        let device = name(device)?;
        find(self.store.read(), &device).await?.ok_or_else(|| nobody(&device))
    }

    /// Whether somebody joins or has joined under a name, or may by a token or a list that names it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn is_spoken_for(&self, device: &str) -> Result<bool, Error> {
        let on = self.store.read();
        let token = join_token::Entity::find().filter(join_token::Column::Device.eq(device));
        Ok(identity::Entity::find_by_id(device).one(on).await?.is_some()
            || token.one(on).await?.is_some()
            || preauthorised::Entity::find_by_id(device).one(on).await?.is_some())
    }

    /// Those who have joined, or want to, by name: at most `limit` whose names come after `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn after(&self, after: &str, limit: u64) -> Result<Vec<Known>, Error> {
        let rows = identity::Entity::find()
            .filter(identity::Column::Device.gt(after))
            .order_by_asc(identity::Column::Device)
            .limit(limit)
            .all(self.store.read())
            .await?;
        rows.into_iter().map(read).collect()
    }
}

impl Identities {
    /// What people have to decide, a sentence each.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn attention(&self) -> Result<Vec<String>, Error> {
        let mut sentences = Vec::new();
        for (standing, one, many) in [
            ("pending", "device waits to be accepted", "devices wait to be accepted"),
            ("quarantined", "device is in quarantine", "devices are in quarantine"),
        ] {
            let of = identity::Entity::find().filter(identity::Column::Standing.eq(standing));
            let words = match of.count(self.store.read()).await? {
                0 => continue,
                1 => format!("1 {one}"),
                count => format!("{count} {many}"),
            };
            sentences.push(format!("{words}: see `lineside device joined`"));
        }
        Ok(sentences)
    }
}

/// Whether this is the key by which a device stands; where it was revoked, one of those.
fn has_key(identity: &Identity, seen: Fingerprint) -> bool {
    match key_of(&identity.standing) {
        Some(key) => key == seen,
        None => identity.barred.contains(&seen),
    }
}

fn nobody(device: &DeviceId) -> Error {
    Error::Missing(format!(
        "nobody has joined as {device}: make a token for it, and have it join with that"
    ))
}
