//! Adding devices and knowing them again.

use crate::access::{ADMINISTRATOR, random_hex};
use crate::audit::{By, did, text};
use crate::bounds::{DEVICES_MAX, SLOTS_MAX};
use crate::error::Error;
use crate::identity;
use crate::monitor;
use crate::registry::credentials::hash;
use crate::registry::{Credentials, SlotReported, release_of};
use crate::store::tables::{
    assignment, device, event, interval, quality, receipt, received, rollout_given, stock, total,
};
use crate::store::{Store, Writing, from_row, to_row, unix_ms};
use lineside_audit::{Action, Change, Reason};
use lineside_trust::{PublicKey, SignedRelease};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::Status;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Longest site, label or value in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Labels of a device.
const LABELS_MAX: usize = 32;

/// A device to be added.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDevice {
    /// Its name: 1 to 63 of a-z, 0-9 and '-'.
    pub name: String,
    /// The place it stands.
    #[serde(default)]
    pub site: String,
    /// Marks for selecting.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Where a device stands, and by what it is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The place it stands.
    #[serde(default)]
    pub site: String,
    /// Marks for selecting.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Place {
    /// Refuses what cannot be kept.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        let fits = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
        if !fits(&self.site) {
            return Err(Error::Malformed(format!(
                "site: at most {TEXT_BYTES_MAX} bytes of one line"
            )));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(Error::Malformed(format!("labels: at most {LABELS_MAX}")));
        }
        let odd = |(key, value): &(&String, &String)| key.is_empty() || !fits(key) || !fits(value);
        match self.labels.iter().find(odd) {
            Some((key, _)) => Err(Error::Malformed(format!(
                "label {key:?}: key and value are at most {TEXT_BYTES_MAX} bytes of one line"
            ))),
            None => Ok(()),
        }
    }

    /// The labels as rows have them.
    pub fn labels_json(&self) -> String {
        serde_json::to_string(&self.labels).expect("texts by text have a JSON form")
    }

    fn words(&self) -> String {
        format!("site {:?}, labels {}", self.site, self.labels_json())
    }
}

/// A device as it is known here.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub id: DeviceId,
    pub labels: BTreeMap<String, String>,
    pub slots: Vec<SlotReported>,
    pub row: device::Model,
}

/// The devices.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(super) store: Arc<Store>,
}

impl Registry {
    /// The devices in `store`.
    pub fn new(store: Arc<Store>) -> Registry {
        Registry { store }
    }

    /// Adds a device and makes its password.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there is one of this name.
    pub async fn add(
        &self,
        by: &By,
        new: NewDevice,
        now: OffsetDateTime,
    ) -> Result<Credentials, Error> {
        let id: DeviceId =
            new.name.parse().map_err(|error| Error::Malformed(format!("name: {error}")))?;
        if id.as_str() == ADMINISTRATOR {
            return Err(Error::Malformed(format!("{ADMINISTRATOR} is the administrator's name")));
        }
        let place = Place { site: new.site, labels: new.labels };
        place.check()?;
        let password = random_hex()?;
        let enrolled = enrolled(by, &id, &place);
        let row = added(&id, place, hash(&password), now);
        let writing = self.store.write().await?;
        let known = device::Entity::find_by_id(id.to_string()).one(&writing.transaction).await?;
        if known.is_some() {
            return Err(Error::Conflict(format!(
                "device {id} exists already, and its password cannot be shown again: take another \
                 name, or give it a new password with `lineside device reissue {id}`"
            )));
        }
        insert(&writing, row).await?;
        writing.record(enrolled);
        writing.commit().await?;
        Ok(Credentials { device: id.to_string(), user: id.to_string(), password })
    }

    /// Adds a device that has joined by its key, if there is none of its name. It has no password.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there are too many.
    pub async fn ensure(
        by: &By,
        writing: &Writing<'_>,
        device: &DeviceId,
        place: Place,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let known = device::Entity::find_by_id(device.to_string()).one(&writing.transaction);
        if known.await?.is_some() {
            return Ok(());
        }
        writing.record(enrolled(by, device, &place));
        // No digest is empty, so nobody has the password that belongs to this.
        insert(writing, added(device, place, String::new(), now)).await
    }

    /// Says where a device stands and by what it is selected, instead of what was said before.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Missing`].
    pub async fn place(&self, by: &By, device: &Device, place: &Place) -> Result<(), Error> {
        place.check()?;
        let before = Place { site: device.row.site.clone(), labels: device.labels.clone() };
        if before == *place {
            return Ok(());
        }
        let writing = self.store.write().await?;
        let row = device::ActiveModel {
            name: Unchanged(device.row.name.clone()),
            site: Set(place.site.clone()),
            labels: Set(place.labels_json()),
            ..Default::default()
        };
        row.update(&writing.transaction).await.map_err(|error| match error {
            DbErr::RecordNotUpdated => missing(device.id.as_str()),
            error => error.into(),
        })?;
        let [old, new] = [&before, place].map(|place| text(&place.words()));
        let said = did(by, Action::DeviceLabelled, "device", device.id.as_str());
        writing.record(Change { old, new, ..said });
        writing.commit().await
    }

    /// Forgets a device and all it told, its key among it: its name may be given to another.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove(&self, by: &By, device: &DeviceId) -> Result<(), Error> {
        let name = device.as_str();
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        let gone = device::Entity::delete_by_id(name).exec(on).await?;
        // Somebody may have joined under the name who was never accepted.
        let had_joined = identity::forget(on, device).await?;
        if gone.rows_affected == 0 && !had_joined {
            return Err(missing(name));
        }
        assignment::Entity::delete_by_id(name).exec(on).await?;
        receipt::Entity::delete_by_id(name).exec(on).await?;
        rollout_given::Entity::delete_many()
            .filter(rollout_given::Column::Device.eq(name))
            .exec(on)
            .await?;
        received::Entity::delete_many().filter(received::Column::Device.eq(name)).exec(on).await?;
        interval::Entity::delete_many().filter(interval::Column::Device.eq(name)).exec(on).await?;
        event::Entity::delete_many().filter(event::Column::Device.eq(name)).exec(on).await?;
        quality::Entity::delete_many().filter(quality::Column::Device.eq(name)).exec(on).await?;
        total::Entity::delete_many().filter(total::Column::Device.eq(name)).exec(on).await?;
        stock::Entity::delete_by_id(name).exec(on).await?;
        monitor::forget(on, device).await?;
        writing.record(did(by, Action::DeviceRetired, "device", name));
        writing.commit().await
    }

    /// Remembers what a device says of itself; it has said it at `said_unix_ms`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn heard(
        &self,
        device: &DeviceId,
        status: &Status,
        said_unix_ms: i64,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let slots = status.slots.iter().take(SLOTS_MAX);
        let told: Vec<SlotReported> =
            slots.map(|slot| SlotReported::of(slot, said_unix_ms)).collect();
        let slots = serde_json::to_string(&told).expect("texts and numbers have a JSON form");
        let row = device::ActiveModel {
            name: Unchanged(device.to_string()),
            last_seen_unix_ms: Set(Some(unix_ms(now))),
            agent_version: Set(status.agent_version.chars().take(TEXT_BYTES_MAX).collect()),
            boot: Set(to_row(status.boot)),
            assignment_version: Set(to_row(status.assignment_version)),
            releases_version: Set(to_row(status.releases_version)),
            root_version: Set(to_row(status.root_version)),
            timestamp_version: Set(to_row(status.timestamp_version)),
            slots: Set(slots),
            ..Default::default()
        };
        let writing = self.store.write().await?;
        let known = device::Entity::find_by_id(device.to_string()).one(&writing.transaction);
        if let Some(known) = known.await? {
            let known: Vec<SlotReported> = serde_json::from_str(&known.slots).unwrap_or_default();
            ran(device, &known, &told).for_each(|change| writing.record(change));
        }
        match device::Entity::update(row).exec(&writing.transaction).await {
            Ok(_) => writing.commit().await,
            // It was removed while its message waited: that is no failure of the database.
            Err(DbErr::RecordNotUpdated) => Err(missing(device.as_str())),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a message of a device that could not be read; gives how many there were.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unreadable(&self, device: &DeviceId) -> Result<u64, Error> {
        let writing = self.store.write().await?;
        let found = device::Entity::find_by_id(device.to_string()).one(&writing.transaction);
        let Some(known) = found.await? else { return Ok(0) };
        let count = known.unreadable.saturating_add(1);
        let row = device::ActiveModel {
            name: Unchanged(device.to_string()),
            unreadable: Set(count),
            ..Default::default()
        };
        device::Entity::update(row).exec(&writing.transaction).await?;
        writing.commit().await?;
        Ok(from_row(count))
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn count(&self) -> Result<u64, Error> {
        Ok(device::Entity::find().count(self.store.read()).await?)
    }

    /// Devices by name: at most `limit` of those whose names come after `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn after(&self, after: &str, limit: u64) -> Result<Vec<Device>, Error> {
        let rows = device::Entity::find()
            .filter(device::Column::Name.gt(after))
            .order_by_asc(device::Column::Name)
            .limit(limit)
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// As [`Registry::after`], of those that are `wanted`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn those_after(
        &self,
        after: &str,
        limit: u64,
        wanted: impl Fn(&Device) -> bool,
    ) -> Result<Vec<Device>, Error> {
        let wanting = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut found, mut last) = (Vec::new(), after.to_owned());
        while found.len() < wanting {
            let page = self.after(&last, limit).await?;
            let Some(next) = page.last() else { break };
            last = next.id.to_string();
            found.extend(page.into_iter().filter(|device| wanted(device)));
        }
        found.truncate(wanting);
        Ok(found)
    }

    /// One device.
    ///
    /// # Errors
    /// [`Error::Missing`], with what to do.
    pub async fn get(&self, name: &str) -> Result<Device, Error> {
        let row = device::Entity::find_by_id(name.to_owned()).one(self.store.read()).await?;
        row.and_then(read).ok_or_else(|| missing(name))
    }
}

impl Device {
    /// The number below which the device may not go back of this bundle, if the release is below it and the device
    /// does not run it already. A floor holds for the device, in whichever slot it was signed.
    pub fn floor_above(&self, release: &SignedRelease) -> Option<u64> {
        let (name, digest) = (release.id.name.as_str(), release.id.digest.to_string());
        let holds = |slot: &SlotReported| {
            let active = slot.active.as_ref().filter(|active| active.name == name)?;
            Some((slot.floor, active.digest == digest))
        };
        let held: Vec<(u64, bool)> = self.slots.iter().filter_map(holds).collect();
        let floor = held.iter().map(|(floor, _)| *floor).max().unwrap_or(0);
        let may = release.number >= floor || held.iter().any(|(_, is_it)| *is_it);
        (!may).then_some(floor)
    }

    /// When it was last heard of, milliseconds since 1970.
    pub fn last_seen_unix_ms(&self) -> Option<i64> {
        self.row.last_seen_unix_ms
    }

    /// Version of the root it trusts, 0 if it has not said.
    pub fn root_version(&self) -> u64 {
        from_row(self.row.root_version)
    }

    /// Version of the list of releases it has accepted, 0 for none.
    pub fn releases_version(&self) -> u64 {
        from_row(self.row.releases_version)
    }

    /// Version of the timestamp it has accepted, 0 for none.
    pub fn timestamp_version(&self) -> u64 {
        from_row(self.row.timestamp_version)
    }

    /// Number of the start that it told of last, 0 for none.
    pub fn boot(&self) -> u64 {
        from_row(self.row.boot)
    }

    /// Version of the assignment it has accepted, 0 for none.
    pub fn assignment_version(&self) -> u64 {
        from_row(self.row.assignment_version)
    }

    /// The key by which its reports are known that are carried here.
    pub fn report_key(&self) -> Option<PublicKey> {
        PublicKey::parse(self.row.report_key.as_bytes()).ok()
    }

    /// Number of the last report that was carried here, 0 for none.
    pub fn report_number(&self) -> u64 {
        from_row(self.row.report_number)
    }

    /// Records that never came of starts that are no longer kept track of.
    pub fn missing_before(&self) -> u64 {
        from_row(self.row.missing_before)
    }
}

/// What a device says that its slots run since, where that is another release than before.
fn ran<'a>(
    device: &'a DeviceId,
    known: &'a [SlotReported],
    told: &'a [SlotReported],
) -> impl Iterator<Item = Change> + 'a {
    let by = By::Device(device.clone());
    let none: Option<&SlotReported> = None;
    let before = |slot: &str| known.iter().find(|known| known.slot == slot);
    let gone = known.iter().filter(|known| told.iter().all(|told| told.slot != known.slot));
    let told = told.iter().map(move |told| (told.slot.as_str(), before(&told.slot), Some(told)));
    let all = told.chain(gone.map(move |known| (known.slot.as_str(), Some(known), none)));
    all.filter_map(move |(slot, old, new)| {
        let active = |slot: Option<&SlotReported>| slot.and_then(|slot| slot.active.clone());
        if active(old) == active(new) {
            return None;
        }
        let name = |slot: Option<&SlotReported>| slot.and_then(|slot| text(&release_of(slot)));
        let digest = new.and_then(|new| new.active.as_ref()).map(|new| new.digest.as_str());
        let change = did(&by, Action::SlotRan, "slot", &format!("{device}/{slot}"));
        let why = digest.and_then(|digest| Reason::lossy(&format!("its manifest is {digest}")));
        Some(Change { old: name(old), new: name(new), why, ..change })
    })
}

pub(crate) fn missing(name: &str) -> Error {
    let name: String = name.chars().take(63).collect();
    Error::Missing(format!("there is no device {name:?}: add it with `lineside device add`"))
}

fn read(row: device::Model) -> Option<Device> {
    let id = row.name.parse().ok()?;
    let labels = serde_json::from_str(&row.labels).unwrap_or_default();
    let slots = serde_json::from_str(&row.slots).unwrap_or_default();
    Some(Device { id, labels, slots, row })
}

/// That a device was added, and where it stands.
fn enrolled(by: &By, device: &DeviceId, place: &Place) -> Change {
    Change {
        new: text(&place.words()),
        ..did(by, Action::DeviceEnrolled, "device", device.as_str())
    }
}

/// The row of a device that has told nothing yet.
fn added(
    device: &DeviceId,
    place: Place,
    password_hash: String,
    now: OffsetDateTime,
) -> device::ActiveModel {
    device::ActiveModel {
        name: Set(device.to_string()),
        labels: Set(place.labels_json()),
        site: Set(place.site),
        password_hash: Set(password_hash),
        added_unix_ms: Set(unix_ms(now)),
        last_seen_unix_ms: Set(None),
        agent_version: Set(String::new()),
        boot: Set(0),
        assignment_version: Set(0),
        releases_version: Set(0),
        root_version: Set(0),
        timestamp_version: Set(0),
        slots: Set("[]".into()),
        unreadable: Set(0),
        intervals_dropped: Set(0),
        events_dropped: Set(0),
        missing_before: Set(0),
        report_key: Set(String::new()),
        report_number: Set(0),
        report_unix_ms: Set(None),
    }
}

async fn insert(writing: &Writing<'_>, row: device::ActiveModel) -> Result<(), Error> {
    if device::Entity::find().count(&writing.transaction).await? >= DEVICES_MAX {
        return Err(Error::Conflict(format!(
            "this server takes {DEVICES_MAX} devices: make room with `lineside device remove`"
        )));
    }
    device::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_removed_device_still_says_is_no_failure_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let registry = Registry::new(store.clone());
        let now = OffsetDateTime::UNIX_EPOCH;
        let new = NewDevice { name: "line-3".into(), site: "".into(), labels: BTreeMap::new() };
        registry.add(&By::ADMINISTRATOR, new, now).await.unwrap();
        let device = "line-3".parse().unwrap();
        let status = Status {
            boot: 1,
            agent_version: "1".into(),
            slots: vec![],
            assignment_version: 0,
            releases_version: 0,
            root_version: 1,
            timestamp_version: 0,
            wall_clock_unix_ms: 0,
        };
        registry.heard(&device, &status, 0, now).await.unwrap();
        registry.remove(&By::ADMINISTRATOR, &device).await.unwrap();
        let said = registry.heard(&device, &status, 0, now).await;
        assert!(matches!(said, Err(Error::Missing(_))), "{said:?}");
        assert_eq!(store.trouble().failures, 0);
    }
}
