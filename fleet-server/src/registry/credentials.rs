//! What devices show at the door.

use crate::access::{random_hex, same};
use crate::audit::{By, did};
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::device::missing;
use crate::store::Writing;
use crate::store::tables::{device, identity};
use lineside_audit::Action;
use lineside_bundle::Digest;
use lineside_wire::name::DeviceId;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use utoipa::ToSchema;

/// What a device shows to broker and HTTP interface. Told once; the server keeps a hash.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Credentials {
    /// The device.
    pub device: String,
    /// Its user name.
    pub user: String,
    /// Its password, 64 hex digits.
    pub password: String,
}

impl Registry {
    /// Makes a new password for a device in the place of the old one.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn new_password(&self, by: &By, device: &DeviceId) -> Result<Credentials, Error> {
        let password = random_hex()?;
        let writing = self.store.write().await?;
        if is_out(&writing.transaction, device).await? {
            return Err(Error::Conflict(format!(
                "the key of {device} is revoked or in quarantine: it has no password until that is dealt with"
            )));
        }
        let changed = device::Entity::update_many()
            .col_expr(device::Column::PasswordHash, Expr::value(hash(&password)))
            .filter(device::Column::Name.eq(device.as_str()))
            .exec(&writing.transaction)
            .await?;
        if changed.rows_affected == 0 {
            return Err(missing(device.as_str()));
        }
        writing.record(did(by, Action::DeviceKeyed, "device", device.as_str()));
        writing.commit().await?;
        Ok(Credentials { device: device.to_string(), user: device.to_string(), password })
    }

    /// Takes the password of a device away, if it has one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end_password(writing: &Writing<'_>, device: &DeviceId) -> Result<(), Error> {
        device::Entity::update_many()
            // No digest is empty, so nobody has the password that belongs to this.
            .col_expr(device::Column::PasswordHash, Expr::value(String::new()))
            .filter(device::Column::Name.eq(device.as_str()))
            .exec(&writing.transaction)
            .await?;
        Ok(())
    }

    /// Whether `password` is the device's. A device that does not exist has none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn knows(&self, user: &str, password: &str) -> Result<Option<DeviceId>, Error> {
        let Ok(id) = user.parse::<DeviceId>() else { return Ok(None) };
        let row = device::Entity::find_by_id(user.to_owned()).one(self.store.read()).await?;
        // The password is hashed either way, so that names cannot be told apart by time.
        let given = hash(password);
        let right = row.is_some_and(|row| same(&row.password_hash, &given));
        // Who has its key may have its password.
        let is_out = right && is_out(self.store.read(), &id).await?;
        Ok((right && !is_out).then_some(id))
    }
}

/// Whether a device is not let in, whatever it shows.
async fn is_out(on: &impl ConnectionTrait, device: &DeviceId) -> Result<bool, Error> {
    let known = identity::Entity::find_by_id(device.as_str()).one(on).await?;
    Ok(known.is_some_and(|known| ["revoked", "quarantined"].contains(&known.standing.as_str())))
}

/// A plain hash is enough: the password is 256 random bits, so nobody can guess it from a list, and
/// a slow hash would only make each connection of a device slow.
pub(super) fn hash(password: &str) -> String {
    Digest::of(password.as_bytes()).hex()
}
