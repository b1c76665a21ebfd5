//! Which devices a rollout is for.

use crate::fleet::{DeviceKey, Fleet, ReleaseKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether devices that begin to match later belong to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// Those that match now, and those that match later, until the rollout is closed.
    #[default]
    Dynamic,
    /// Those that match when it begins.
    Fixed,
}

/// Devices by what they are. Each table that is not empty has to hold; within one any entry does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Labels a device has, each with the values that will do; none of them is any value.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<String>>,
    /// Sites it stands at.
    #[serde(default)]
    pub sites: Vec<String>,
    /// What it is.
    #[serde(default)]
    pub hardware: Vec<String>,
    /// Releases that its slot runs, by their digests; `vacant` is a slot without one.
    #[serde(default)]
    pub releases: Vec<String>,
    /// Names of devices; a `*` at the end stands for whatever follows.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whether what matches later belongs to it.
    #[serde(default)]
    pub membership: Membership,
}

/// What a slot without a release is called in a selector.
pub const VACANT: &str = "vacant";

impl Selector {
    /// Whether it says anything: what selects every device by forgetting to say which is refused.
    pub(crate) fn says_nothing(&self) -> bool {
        let Selector { labels, sites, hardware, releases, names, membership: _ } = self;
        labels.is_empty()
            && [sites, hardware, releases, names].into_iter().all(|table| table.is_empty())
    }

    /// Whether `device` is one, as far as anybody knows of its `slot`.
    pub(crate) fn matches(&self, fleet: &Fleet, device: DeviceKey, slot: &str) -> bool {
        let any = |table: &[String], name: &str| {
            table.is_empty() || table.iter().any(|entry| entry == name)
        };
        any(&self.sites, fleet.site_name(device))
            && any(&self.hardware, fleet.hardware_of(device))
            && self.matches_labels(fleet, device)
            && self.matches_name(fleet.name(device))
            && (self.releases.is_empty() || self.matches_release(fleet, device, slot))
    }

    fn matches_labels(&self, fleet: &Fleet, device: DeviceKey) -> bool {
        self.labels.iter().all(|(key, values)| {
            let has = |label: &str| {
                let (name, value) = label.split_once('=').unwrap_or((label, ""));
                name == key && (values.is_empty() || values.iter().any(|one| one == value))
            };
            fleet.labels_of(device).any(has)
        })
    }

    fn matches_name(&self, name: &str) -> bool {
        let is = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        self.names.is_empty() || self.names.iter().any(is)
    }

    fn matches_release(&self, fleet: &Fleet, device: DeviceKey, slot: &str) -> bool {
        let Some(active) = fleet.active(device, slot) else { return false };
        self.releases.iter().any(|wanted| match wanted.as_str() {
            VACANT => active == ReleaseKey::VACANT,
            release => fleet.known_release(release) == Some(active),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{DeviceFacts, Order};

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        for (device, site, hardware, labels) in [
            ("mill-1", "mill", "nano", &[("line", "a"), ("stage", "test")][..]),
            ("mill-2", "mill", "orin", &[("line", "b")]),
            ("dock-1", "dock", "nano", &[]),
        ] {
            let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let facts = DeviceFacts {
                device: device.into(),
                site: site.into(),
                hardware: hardware.into(),
                labels: labels.collect(),
            };
            fleet.put(&facts).unwrap();
        }
        let one = fleet.release(Some("sha256:1"));
        for (key, active) in [(0, one), (1, ReleaseKey::VACANT)] {
            fleet.hear(key, "line", Order::default(), active).unwrap();
        }
        fleet
    }

    fn selected(selector: &Selector) -> Vec<DeviceKey> {
        let fleet = fleet();
        fleet.keys().filter(|key| selector.matches(&fleet, *key, "line")).collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn devices_are_selected_by_what_they_are_and_what_they_run() {
        let all = Selector::default;
        assert!(all().says_nothing());
        assert_eq!(selected(&Selector { sites: list(&["mill"]), ..all() }), [0, 1]);
        assert_eq!(selected(&Selector { hardware: list(&["nano", "x"]), ..all() }), [0, 2]);
        assert_eq!(selected(&Selector { names: list(&["dock-1", "mill-2"]), ..all() }), [1, 2]);
        assert_eq!(selected(&Selector { names: list(&["mill-*"]), ..all() }), [0, 1]);
        assert_eq!(selected(&Selector { releases: list(&["sha256:1"]), ..all() }), [0]);
        assert_eq!(selected(&Selector { releases: list(&[VACANT]), ..all() }), [1]);
        assert_eq!(selected(&Selector { releases: list(&["sha256:2"]), ..all() }).len(), 0);
        let labels = |key: &str, values: &[&str]| BTreeMap::from([(key.into(), list(values))]);
        assert_eq!(selected(&Selector { labels: labels("line", &["b", "c"]), ..all() }), [1]);
        assert_eq!(selected(&Selector { labels: labels("line", &[]), ..all() }), [0, 1]);
        let both =
            Selector { labels: labels("stage", &["test"]), hardware: list(&["orin"]), ..all() };
        assert_eq!(selected(&both).len(), 0);
    }
}
