//! Reports of devices that are carried here by hand: by which key they are known, and what was stored of
//! the last one.

use crate::audit::{By, did, digest};
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::device::missing;
use crate::store::tables::{device, receipt};
use crate::store::{from_row, to_row, unix_ms};
use lineside_audit::{Action, Change, Value};
use lineside_trust::{PublicKey, ReceiptSpec};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::Ack;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use time::OffsetDateTime;

impl Registry {
    /// Takes the public key by which reports of a device are known that are carried here.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn set_report_key(
        &self,
        by: &By,
        device: &DeviceId,
        key: &PublicKey,
    ) -> Result<(), Error> {
        let text = serde_json::to_string(key).expect("a key has a JSON form");
        let new = Some(Value::Digest(digest(text.as_bytes())));
        let writing = self.store.write().await?;
        let changed = device::Entity::update_many()
            .col_expr(device::Column::ReportKey, Expr::value(text))
            .filter(device::Column::Name.eq(device.as_str()))
            .exec(&writing.transaction)
            .await?;
        if changed.rows_affected == 0 {
            return Err(missing(device.as_str()));
        }
        let change = did(by, Action::DeviceKeyed, "device", device.as_str());
        writing.record(Change { new, ..change });
        writing.commit().await
    }

    /// Remembers that a report was imported, whole, and what was `stored` of it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if one of this number or a later one was.
    pub async fn reported(
        &self,
        device: &DeviceId,
        number: u64,
        stored: &[Ack],
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let changed = device::Entity::update_many()
            .col_expr(device::Column::ReportNumber, Expr::value(to_row(number)))
            .col_expr(device::Column::ReportUnixMs, Expr::value(unix_ms(now)))
            .filter(device::Column::Name.eq(device.as_str()))
            .filter(device::Column::ReportNumber.lt(to_row(number)))
            .exec(&writing.transaction)
            .await?;
        if changed.rows_affected == 0 {
            return Err(imported_before(device, number));
        }
        let stored = serde_json::to_string(stored).expect("numbers have a JSON form");
        let on = &writing.transaction;
        receipt::Entity::delete_by_id(device.as_str()).exec(on).await?;
        let row = receipt::ActiveModel {
            device: Set(device.to_string()),
            number: Set(to_row(number)),
            stored: Set(stored),
        };
        receipt::Entity::insert(row).exec_without_returning(on).await?;
        writing.commit().await
    }

    /// What was stored of the last report of a device that was carried here.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn receipt(&self, device: &DeviceId) -> Result<Option<ReceiptSpec>, Error> {
        let row = receipt::Entity::find_by_id(device.as_str()).one(self.store.read()).await?;
        Ok(row.map(|row| ReceiptSpec {
            device: device.clone(),
            number: from_row(row.number),
            stored: serde_json::from_str(&row.stored).unwrap_or_default(),
        }))
    }
}

/// Why a report is not imported again.
pub(crate) fn imported_before(device: &DeviceId, number: u64) -> Error {
    Error::Conflict(format!(
        "report {number} of {device} or a later one was imported already: an old report says nothing \
         new; write another with `lineside-agent report`"
    ))
}
