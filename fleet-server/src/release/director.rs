//! The director: says which release each slot of a device shall hold, and signs it.

use crate::error::Error;
use crate::registry::unix_ms;
use crate::release::{Released, ServerKeys, SignedDocuments};
use crate::store::tables::{assignment, device};
use crate::store::{Store, from_row, to_row};
use lineside_bundle::ReleaseId;
use lineside_trust::{AssignmentSpec, agree, sign_assignment, verify_assignment};
use lineside_wire::name::{DeviceId, SlotName};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// How long an assignment may be accepted. What is installed stays installed.
const VALID: Duration = Duration::days(30);
/// An assignment that is asked for with less time left is signed anew.
const RENEW: Duration = Duration::days(7);
/// Slots of a device.
const SLOTS_MAX: usize = 32;

/// What is assigned to a device.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    pub version: u64,
    pub slots: BTreeMap<SlotName, String>,
    pub bytes: Vec<u8>,
    expires_unix_ms: i64,
}

/// Signs assignments. One at a time, so that versions rise.
#[derive(Clone)]
pub(crate) struct Director {
    store: Arc<Store>,
    documents: SignedDocuments,
    keys: Arc<ServerKeys>,
}

impl Director {
    /// A director with the server's key.
    pub fn new(store: Arc<Store>, documents: SignedDocuments, keys: Arc<ServerKeys>) -> Director {
        Director { store, documents, keys }
    }

    /// Assigns the release at `path` (`turbine/2`) to a slot of a device.
    ///
    /// # Errors
    /// [`Error::Missing`] names the device or the release; [`Error::Untrusted`] if the list of
    /// releases has expired.
    pub async fn assign(
        &self,
        device: &DeviceId,
        slot: SlotName,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let released = self.documents.released(now).await?;
        self.sign(device, Some((slot, path)), &released, now).await
    }

    /// What is assigned to a device; none if nothing is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn assigned(&self, device: &DeviceId) -> Result<Option<Assigned>, Error> {
        let id = device.to_string();
        Ok(assignment::Entity::find_by_id(id).one(self.store.read()).await?.map(read))
    }

    /// What is assigned to a device, fit to be sent: signed anew if it is about to expire.
    ///
    /// # Errors
    /// As for [`Director::assign`].
    pub async fn current(
        &self,
        device: &DeviceId,
        released: &Released,
        now: OffsetDateTime,
    ) -> Result<Option<Assigned>, Error> {
        match self.assigned(device).await? {
            Some(assigned) if assigned.expires_unix_ms < unix_ms(now + RENEW) => {
                Ok(Some(self.sign(device, None, released, now).await?))
            }
            other => Ok(other),
        }
    }

    async fn sign(
        &self,
        device: &DeviceId,
        change: Option<(SlotName, &str)>,
        released: &Released,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let writing = self.store.write().await?;
        let id = device.to_string();
        if device::Entity::find_by_id(id.clone()).one(&writing.transaction).await?.is_none() {
            return Err(Error::Missing(format!(
                "there is no device {device}: add it with `lineside device add`"
            )));
        }
        let last = assignment::Entity::find_by_id(id).one(&writing.transaction).await?.map(read);
        let version = last.as_ref().map_or(0, |last| last.version) + 1;
        let mut slots = last.map(|last| last.slots).unwrap_or_default();
        if let Some((slot, path)) = change {
            slots.insert(slot, path.to_owned());
        }
        if slots.len() > SLOTS_MAX {
            return Err(Error::Malformed(format!("a device has at most {SLOTS_MAX} slots")));
        }
        let expires = now + VALID;
        let spec = AssignmentSpec {
            device: device.clone(),
            version,
            expires,
            slots: resolve(&slots, released)?,
        };
        let bytes = sign_assignment(&spec, &self.keys.director);
        // What the device will check, so that nobody is told of a success that it would refuse.
        let root = self.documents.root().await?;
        let trusted = verify_assignment(&root, &bytes, device, None, now)?;
        agree(&released.releases, &trusted)?;
        let assigned = Assigned { version, slots, bytes, expires_unix_ms: unix_ms(expires) };
        let columns = [
            assignment::Column::Version,
            assignment::Column::ExpiresUnixMs,
            assignment::Column::Slots,
            assignment::Column::Bytes,
        ];
        assignment::Entity::insert(row(device, &assigned))
            .on_conflict(
                OnConflict::column(assignment::Column::Device).update_columns(columns).to_owned(),
            )
            .exec_without_returning(&writing.transaction)
            .await?;
        writing.commit().await?;
        Ok(assigned)
    }
}

fn resolve(
    slots: &BTreeMap<SlotName, String>,
    released: &Released,
) -> Result<BTreeMap<SlotName, ReleaseId>, Error> {
    let find = |(slot, path): (&SlotName, &String)| match released.releases.get(path) {
        Some(release) => Ok((slot.clone(), release.id.clone())),
        None => {
            let shown: String = path.chars().take(130).collect();
            let known: Vec<String> = released.releases.iter().map(|one| one.path()).collect();
            Err(Error::Missing(format!(
                "there is no release {shown:?} for slot {slot}; released are: {}",
                known.join(", ")
            )))
        }
    };
    slots.iter().map(find).collect()
}

fn read(row: assignment::Model) -> Assigned {
    Assigned {
        version: from_row(row.version),
        slots: serde_json::from_str(&row.slots).unwrap_or_default(),
        bytes: row.bytes,
        expires_unix_ms: row.expires_unix_ms,
    }
}

fn row(device: &DeviceId, assigned: &Assigned) -> assignment::ActiveModel {
    let slots = serde_json::to_string(&assigned.slots).expect("texts by text have a JSON form");
    assignment::ActiveModel {
        device: Set(device.to_string()),
        version: Set(to_row(assigned.version)),
        expires_unix_ms: Set(assigned.expires_unix_ms),
        slots: Set(slots),
        bytes: Set(assigned.bytes.clone()),
    }
}
