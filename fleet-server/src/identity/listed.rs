//! Devices that somebody has looked at before they come: with a good token they need not wait for a person.

use crate::audit::{By, did, digest};
use crate::bounds::PREAUTHORISED_MAX;
use crate::error::Error;
use crate::identity::Identities;
use crate::identity::devices::name;
use crate::store::tables::preauthorised;
use lineside_audit::{Action, Change, Value};
use lineside_identity::{Claim, Fingerprint, HardwareSerial, Listed, Preauthorised};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Rows of one statement.
const ROWS_AT_ONCE: usize = 200;

/// A device that need not wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name.
    pub device: String,
    /// Its key's fingerprint, where it is known: then no other key is listed.
    #[serde(default)]
    pub key: Option<String>,
    /// Its serial number, where it is known: then no other is listed. It is claimed, not proven.
    #[serde(default)]
    pub serial: Option<String>,
}

impl Identities {
    /// All that are listed, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn listed(&self) -> Result<Vec<Entry>, Error> {
        let rows = preauthorised::Entity::find()
            .order_by_asc(preauthorised::Column::Device)
            .all(self.store.read())
            .await?;
        let entry = |row: preauthorised::Model| Entry {
            device: row.device,
            key: row.key,
            serial: row.serial,
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Lists these and nobody else.
    ///
    /// # Errors
    /// [`Error::Malformed`] names the first entry that makes no sense.
    pub async fn list(&self, by: &By, entries: Vec<Entry>) -> Result<(), Error> {
        if entries.len() > PREAUTHORISED_MAX {
            let problem = format!("{} entries, and {PREAUTHORISED_MAX} are taken", entries.len());
            return Err(Error::Malformed(problem));
        }
        let mut rows = BTreeMap::new();
        for entry in &entries {
            let device = name(&entry.device)?;
            let key = entry.key.as_deref().map(fingerprint).transpose()?;
            let serial = entry.serial.as_deref().map(serial).transpose()?;
            let row = preauthorised::ActiveModel {
                device: Set(device.to_string()),
                key: Set(key.map(|key| key.to_string())),
                serial: Set(serial.map(|serial| serial.to_string())),
            };
            if rows.insert(device.clone(), row).is_some() {
                return Err(Error::Malformed(format!("{device} is listed twice")));
            }
        }
        let rows: Vec<preauthorised::ActiveModel> = rows.into_values().collect();
        let writing = self.store.write().await?;
        preauthorised::Entity::delete_many().exec(&writing.transaction).await?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            preauthorised::Entity::insert_many(rows.to_vec())
                .exec_without_returning(&writing.transaction)
                .await?;
        }
        let set = did(by, Action::SettingSet, "setting", "preauthorised");
        let all = serde_json::to_vec(&entries).expect("texts have a JSON form");
        let new = Some(Value::Digest(digest(&all)));
        writing.record(Change { new, ..set });
        writing.commit().await
    }
}

/// Whether somebody is listed.
pub(super) async fn is_listed(on: &impl ConnectionTrait, claim: &Claim) -> Result<Listed, Error> {
    let row = preauthorised::Entity::find_by_id(claim.device.as_str()).one(on).await?;
    let Some(row) = row else { return Ok(Listed::No) };
    // What is limited to something that cannot be read lists nobody.
    let (key, serial) = (row.key.map(|key| key.parse()), row.serial.map(|serial| serial.parse()));
    let (Ok(key), Ok(serial)) = (key.transpose(), serial.transpose()) else {
        return Ok(Listed::No);
    };
    let entry = Preauthorised { device: claim.device.clone(), key, serial };
    Ok(if entry.lists(claim) { Listed::Yes } else { Listed::No })
}

/// A key as people name it.
pub(crate) fn fingerprint(text: &str) -> Result<Fingerprint, Error> {
    text.parse().map_err(|error| Error::Malformed(format!("key: {error}")))
}

/// A serial number as people write it.
pub(super) fn serial(text: &str) -> Result<HardwareSerial, Error> {
    text.parse().map_err(|error| Error::Malformed(format!("serial: {error}")))
}
