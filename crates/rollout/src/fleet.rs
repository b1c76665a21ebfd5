//! What is known of the devices: a row each, with numbers in place of names.

use crate::names::Names;
use crate::site::{Site, SiteFacts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Releases of plans and reports that are told apart.
const RELEASES_MAX: usize = 65_536;
/// Of them those that only devices have spoken of; any other is "another one", so that what devices make
/// up leaves room for plans.
const REPORTED_MAX: usize = RELEASES_MAX / 2;
/// Slots that are told apart; reports of any other are not taken.
const SLOTS_MAX: usize = 1024;

/// Longest text of all labels of a device together, in bytes.
const LABELS_BYTES_MAX: usize = 16 << 10;

/// The number of a device. It keeps it, also when it leaves and comes back.
pub(crate) type DeviceKey = u32;

/// The number of a release, of which nothing but sameness is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ReleaseKey(u32);

impl ReleaseKey {
    /// The slot is vacant.
    pub(crate) const VACANT: ReleaseKey = ReleaseKey(0);
    /// A release that has no number because there were too many.
    pub(crate) const ANOTHER: ReleaseKey = ReleaseKey(1);
    const FIRST: u32 = 2;
}

/// What is known of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFacts {
    /// Its name.
    pub device: String,
    /// The site it stands at.
    pub site: String,
    /// What it is, as `nano-8g`.
    #[serde(default)]
    pub hardware: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Which of a device's reports is the newer one: by its start, then by its number in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Order {
    /// Counts the device's starts.
    pub boot: u32,
    /// Counts what it said since.
    pub sequence: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Device {
    site: u32,
    hardware: u32,
    labels: u32,
    is_here: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    order: Order,
    active: ReleaseKey,
}

/// The devices, and what each last said that it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fleet {
    names: Names,
    devices: Vec<Device>,
    site_names: Names,
    pub(crate) sites: Vec<Site>,
    hardware: Names,
    /// Whole sets of labels, as lines `key=value`: few differ.
    labels: Names,
    slots: Names,
    held: Vec<BTreeMap<DeviceKey, Held>>,
    releases: Names,
}

impl Fleet {
    /// Takes a device in, or what has changed of it. None where there is no room or a label is no label.
    pub(crate) fn put(&mut self, facts: &DeviceFacts) -> Option<DeviceKey> {
        let lines = facts.labels.iter().map(|(key, value)| format!("{key}={value}\n"));
        let labels = lines.collect::<String>();
        let is_label = |(key, value): (&String, &String)| {
            !key.contains(['=', '\n']) && !value.contains('\n') && !key.is_empty()
        };
        if facts.device.is_empty() || !facts.labels.iter().all(is_label) {
            return None;
        }
        let device = Device {
            site: self.intern_site(&facts.site)?,
            hardware: self.hardware.intern(&facts.hardware)?,
            labels: self.labels.intern_within(&labels, LABELS_BYTES_MAX)?,
            is_here: true,
        };
        let key = self.names.intern(&facts.device)?;
        match self.devices.get_mut(key as usize) {
            Some(known) => *known = device,
            None => self.devices.push(device),
        }
        Some(key)
    }

    pub(crate) fn put_site(&mut self, facts: &SiteFacts) -> Option<()> {
        let site = self.intern_site(&facts.site)? as usize;
        self.sites[site].facts = facts.clone();
        Some(())
    }

    fn intern_site(&mut self, name: &str) -> Option<u32> {
        let site = self.site_names.intern(name)?;
        if self.sites.len() == site as usize {
            let facts = SiteFacts { site: name.to_owned(), ..SiteFacts::default() };
            self.sites.push(Site { facts, ..Site::default() });
        }
        Some(site)
    }

    /// A device has left the fleet; what it held is not known any more.
    pub(crate) fn leave(&mut self, key: DeviceKey) {
        if let Some(device) = self.devices.get_mut(key as usize) {
            device.is_here = false;
        }
        for held in &mut self.held {
            held.remove(&key);
        }
    }

    /// Takes down what a slot runs. None if something newer is known, or there is no room.
    pub(crate) fn hear(
        &mut self,
        key: DeviceKey,
        slot: &str,
        order: Order,
        active: ReleaseKey,
    ) -> Option<()> {
        let slot = match self.slots.number(slot) {
            Some(slot) => slot,
            None if self.slots.len() >= SLOTS_MAX => return None,
            None => self.slots.intern(slot)?,
        } as usize;
        self.held.resize_with(self.held.len().max(slot + 1), BTreeMap::new);
        let held = Held { order, active };
        match self.held[slot].entry(key) {
            std::collections::btree_map::Entry::Occupied(mut known) => {
                if known.get().order >= order {
                    return None;
                }
                known.insert(held);
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(held);
            }
        }
        Some(())
    }

    /// What a slot runs as far as anybody knows; none where the device has never said so.
    pub(crate) fn active(&self, key: DeviceKey, slot: &str) -> Option<ReleaseKey> {
        let slot = self.slots.number(slot)?;
        Some(self.held.get(slot as usize)?.get(&key)?.active)
    }

    /// The number of a release that a device runs, given a new one where there is room.
    pub(crate) fn release(&mut self, release: Option<&str>) -> ReleaseKey {
        let Some(release) = release else { return ReleaseKey::VACANT };
        self.known_release(release)
            .or_else(|| self.new_release(release, REPORTED_MAX))
            .unwrap_or(ReleaseKey::ANOTHER)
    }

    /// The number of the release of a plan; none where there is no room for it.
    pub(crate) fn planned_release(&mut self, release: &str) -> Option<ReleaseKey> {
        self.known_release(release).or_else(|| self.new_release(release, RELEASES_MAX))
    }

    fn new_release(&mut self, release: &str, max: usize) -> Option<ReleaseKey> {
        let number = (self.releases.len() < max).then(|| self.releases.intern(release)).flatten();
        Some(ReleaseKey(number? + ReleaseKey::FIRST))
    }

    /// The number of a release that may never have been heard of.
    pub(crate) fn known_release(&self, release: &str) -> Option<ReleaseKey> {
        Some(ReleaseKey(self.releases.number(release)? + ReleaseKey::FIRST))
    }

    /// The number by which a report of a release would be kept that may never have been heard of.
    pub(crate) fn release_or_another(&self, release: &str) -> ReleaseKey {
        self.known_release(release).unwrap_or(ReleaseKey::ANOTHER)
    }

    /// A release's name; none for a vacant slot and for one that has no number.
    pub(crate) fn release_name(&self, release: ReleaseKey) -> Option<&str> {
        let number = release.0.checked_sub(ReleaseKey::FIRST)?;
        Some(self.releases.name(number))
    }

    /// The number of a device, also of one that has left.
    pub(crate) fn number(&self, device: &str) -> Option<DeviceKey> {
        self.names.number(device)
    }

    /// The number of a device that is here.
    pub(crate) fn key(&self, device: &str) -> Option<DeviceKey> {
        self.names.number(device).filter(|key| self.is_here(*key))
    }

    pub(crate) fn name(&self, key: DeviceKey) -> &str {
        self.names.name(key)
    }

    pub(crate) fn is_here(&self, key: DeviceKey) -> bool {
        self.devices.get(key as usize).is_some_and(|device| device.is_here)
    }

    pub(crate) fn site_of(&self, key: DeviceKey) -> usize {
        self.devices.get(key as usize).map_or(0, |device| device.site as usize)
    }

    pub(crate) fn site_name(&self, key: DeviceKey) -> &str {
        self.site_names.name(self.site_of(key) as u32)
    }

    pub(crate) fn hardware_of(&self, key: DeviceKey) -> &str {
        self.hardware.name(self.devices.get(key as usize).map_or(u32::MAX, |row| row.hardware))
    }

    /// What is known of a device.
    pub(crate) fn facts(&self, key: DeviceKey) -> Option<DeviceFacts> {
        self.devices.get(key as usize)?;
        let label = |line: &str| {
            let (key, value) = line.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        Some(DeviceFacts {
            device: self.name(key).to_owned(),
            site: self.site_name(key).to_owned(),
            hardware: self.hardware_of(key).to_owned(),
            labels: self.labels_of(key).filter_map(label).collect(),
        })
    }

    /// What is known of a site.
    pub(crate) fn site(&self, name: &str) -> Option<&SiteFacts> {
        Some(&self.sites.get(self.site_names.number(name)? as usize)?.facts)
    }

    /// The labels of a device, as `key=value`.
    pub(crate) fn labels_of(&self, key: DeviceKey) -> impl Iterator<Item = &str> {
        let labels = self.devices.get(key as usize).map_or(u32::MAX, |row| row.labels);
        self.labels.name(labels).lines()
    }

    /// The devices that are here.
    pub(crate) fn keys(&self) -> impl Iterator<Item = DeviceKey> + '_ {
        (0..self.devices.len() as u32).filter(|key| self.is_here(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut fleet = Fleet::default();
        let facts = DeviceFacts { device: "a".into(), ..DeviceFacts::default() };
        let key = fleet.put(&facts).unwrap();
        let releases = [Some("1"), Some("2"), None].map(|release| fleet.release(release));
        let order = |boot, sequence| Order { boot, sequence };
        assert_eq!(fleet.active(key, "line"), None);
        assert!(fleet.hear(key, "line", order(1, 5), releases[0]).is_some());
        assert!(fleet.hear(key, "line", order(1, 5), releases[1]).is_none());
        assert!(fleet.hear(key, "line", order(1, 4), releases[1]).is_none());
        assert_eq!(fleet.active(key, "line"), Some(releases[0]));
        assert!(fleet.hear(key, "line", order(2, 0), releases[2]).is_some());
        assert_eq!(fleet.active(key, "line"), Some(ReleaseKey::VACANT));
        fleet.leave(key);
        assert_eq!((fleet.active(key, "line"), fleet.key("a")), (None, None));
        assert_eq!(fleet.put(&facts), Some(key));
    }

    #[test]
    fn what_devices_make_up_leaves_room_for_plans() {
        let mut fleet = Fleet::default();
        let made_up = |number: usize| fleet.release(Some(&number.to_string()));
        let keys: Vec<ReleaseKey> = (0..REPORTED_MAX + 1).map(made_up).collect();
        assert_eq!(keys.last(), Some(&ReleaseKey::ANOTHER));
        let planned = fleet.planned_release("sha256:1").unwrap();
        assert_eq!(fleet.release(Some("sha256:1")), planned);
        assert_eq!(fleet.release_name(planned), Some("sha256:1"));
        assert_eq!(fleet.release_name(ReleaseKey::ANOTHER), None);
    }
}
