//! Identities as they are kept.

use crate::audit::{By, did, text};
use crate::bounds::DEVICES_MAX;
use crate::error::Error;
use crate::identity::copies::begin_anew;
use crate::store::tables::{device_key, identity};
use crate::store::unix_ms;
use lineside_audit::{Action, Change};
use lineside_identity::{Fingerprint, HardwareSerial, Held, Identity, Standing};
use lineside_wire::name::DeviceId;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait,
    PaginatorTrait, QueryFilter,
};
use time::OffsetDateTime;

/// What is known of a device that has joined, or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub device: DeviceId,
    pub identity: Identity,
    /// The serial number that it said it has.
    pub serial: Option<HardwareSerial>,
    /// When this changed last, in milliseconds since 1970.
    pub changed_unix_ms: i64,
}

/// The identity of a device; nobody's where nothing is kept.
pub(super) async fn find(
    on: &impl ConnectionTrait,
    device: &DeviceId,
) -> Result<Option<Known>, Error> {
    let row = identity::Entity::find_by_id(device.as_str()).one(on).await?;
    row.map(read).transpose()
}

/// What a row says. One that cannot be read is nobody's fault but this server's or its database's, and opens
/// nothing to anybody.
pub(super) fn read(row: identity::Model) -> Result<Known, Error> {
    let unreadable = |_| {
        Error::Conflict(format!(
            "what is kept of the identity of {:?} cannot be read: restore a copy of the database, or forget \
             it with `lineside device remove`",
            row.device
        ))
    };
    Ok(Known {
        device: row.device.parse().map_err(|_| unreadable(()))?,
        identity: serde_json::from_str(&row.identity).map_err(|_| unreadable(()))?,
        serial: row.serial.as_deref().and_then(|serial| serial.parse().ok()),
        changed_unix_ms: row.changed_unix_ms,
    })
}

/// Keeps an identity, and whose its keys are.
///
/// # Errors
/// [`Error::Conflict`] if there are too many of them; [`Error::Database`].
pub(super) async fn keep(
    on: &DatabaseTransaction,
    device: &DeviceId,
    kept: &Identity,
    serial: Option<&HardwareSerial>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let is_new = identity::Entity::find_by_id(device.as_str()).one(on).await?.is_none();
    if is_new && identity::Entity::find().count(on).await? >= DEVICES_MAX {
        return Err(Error::Conflict(format!(
            "this server takes {DEVICES_MAX} devices: make room with `lineside device remove`"
        )));
    }
    let row = identity::ActiveModel {
        device: Set(device.to_string()),
        identity: Set(serde_json::to_string(kept).expect("an identity has a JSON form")),
        standing: Set(word(&kept.standing).into()),
        serial: Set(serial.map(ToString::to_string)),
        changed_unix_ms: Set(unix_ms(now)),
    };
    let columns = [
        identity::Column::Identity,
        identity::Column::Standing,
        identity::Column::Serial,
        identity::Column::ChangedUnixMs,
    ];
    let again = OnConflict::column(identity::Column::Device).update_columns(columns).to_owned();
    identity::Entity::insert(row).on_conflict(again).exec_without_returning(on).await?;
    delete_keys(on, device).await?;
    let keys = key_of(&kept.standing).into_iter().chain(kept.barred.iter().copied());
    for key in keys {
        let row =
            device_key::ActiveModel { key: Set(key.to_string()), device: Set(device.to_string()) };
        device_key::Entity::insert(row).exec_without_returning(on).await?;
    }
    Ok(())
}

/// The device that has a key, or had it when it was revoked.
pub(super) async fn owner(
    on: &impl ConnectionTrait,
    key: Fingerprint,
) -> Result<Option<String>, Error> {
    let row = device_key::Entity::find_by_id(key.to_string()).one(on).await?;
    Ok(row.map(|row| row.device))
}

/// Forgets who a device is: another may join under its name, and its keys under another. Whether there was
/// anything.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn forget(on: &DatabaseTransaction, device: &DeviceId) -> Result<bool, Error> {
    delete_keys(on, device).await?;
    begin_anew(on, device).await?;
    let gone = identity::Entity::delete_by_id(device.as_str()).exec(on).await?;
    Ok(gone.rows_affected > 0)
}

async fn delete_keys(on: &DatabaseTransaction, device: &DeviceId) -> Result<(), Error> {
    let of_device = device_key::Column::Device.eq(device.as_str());
    device_key::Entity::delete_many().filter(of_device).exec(on).await?;
    Ok(())
}

/// That somebody has changed how a device stands, as it is recorded.
pub(super) fn changed(by: &By, device: &DeviceId, before: &Identity, after: &Identity) -> Change {
    let [old, new] = [before, after].map(|identity| text(&words(&identity.standing)));
    Change { old, new, ..did(by, Action::DeviceKeyed, "device", device.as_str()) }
}

/// How a device stands, in a word.
pub(crate) fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Pending { .. } => "pending",
        Standing::Accepted { .. } => "accepted",
        Standing::Declined { .. } => "declined",
        Standing::Revoked => "revoked",
        Standing::Quarantined { .. } => "quarantined",
    }
}

/// A standing with its key and the number of its certificate.
fn words(standing: &Standing) -> String {
    let key = key_of(standing).map(|key| format!(", key {key}")).unwrap_or_default();
    let certificate =
        held_of(standing).map(|held| format!(", certificate {}", held.serial)).unwrap_or_default();
    format!("{}{key}{certificate}", word(standing))
}

/// The certificate that was made last for one who stands so.
pub(crate) fn held_of(standing: &Standing) -> Option<&Held> {
    match standing {
        Standing::Pending { lapsed: held, .. }
        | Standing::Accepted { held, .. }
        | Standing::Quarantined { held, .. } => held.as_ref(),
        Standing::Unknown | Standing::Declined { .. } | Standing::Revoked => None,
    }
}

/// The key that is behind a standing.
pub(crate) fn key_of(standing: &Standing) -> Option<Fingerprint> {
    match standing {
        Standing::Pending { key, .. }
        | Standing::Accepted { key, .. }
        | Standing::Declined { key }
        | Standing::Quarantined { key, .. } => Some(*key),
        Standing::Unknown | Standing::Revoked => None,
    }
}
