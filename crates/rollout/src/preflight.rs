//! What a rollout would do, before it does anything.

use crate::conflict::Conflict;
use crate::fleet::DeviceKey;
use crate::plan::{Plan, PlanError, Size};
use crate::rollout::{RolloutId, rank};
use crate::rollouts::Rollouts;
use crate::site::SiteBusy;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Names of devices that are given as examples of anything.
pub const EXAMPLES_MAX: usize = 5;
/// Different reasons that are told apart; the rest are counted as one.
const REASONS_MAX: usize = 100;

/// What a rollout would do if it began now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Preflight {
    /// Devices that would be given the release.
    pub devices: u32,
    /// Devices that match and run it already.
    pub have_it: u32,
    /// Devices that match and have never said that they have the slot: they wait until they do.
    pub without_slot: u32,
    /// What they would fetch, in bytes.
    pub bytes: u64,
    /// The waves, as full as they could be.
    pub waves: Vec<WavePlan>,
    /// Devices that would refuse it, by reason.
    pub refusing: BTreeMap<String, Refusing>,
    /// Other rollouts that want the same.
    pub conflicts: Vec<Conflict>,
    /// What people should know before it begins.
    pub warnings: Vec<String>,
}

/// What a wave would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WavePlan {
    /// Devices that would be given the release in it.
    pub devices: u32,
    /// Sites that they stand at.
    pub sites: u32,
    /// What they would fetch, in bytes.
    pub bytes: u64,
    /// Those of them that would refuse it.
    pub refusing: u32,
}

/// Devices that would refuse a release for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refusing {
    /// How many.
    pub devices: u32,
    /// A few of them.
    pub examples: Vec<String>,
}

impl Rollouts {
    /// What a plan would do if it began now as rollout `id`. `refusals` are devices and why each would
    /// refuse the release, as devices or the inventory say; of others is taken that they would not.
    ///
    /// # Errors
    /// The first field of the plan that is wrong.
    pub fn preflight<'a>(
        &self,
        id: RolloutId,
        plan: &Plan,
        refusals: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Preflight, PlanError> {
        plan.check()?;
        let mut found = Preflight::default();
        let release = self.fleet.known_release(&plan.release);
        let selected = self.selected(plan);
        found.conflicts = self.conflicts(id, plan, &selected);
        let mut warned = Preflight::default();
        warned.warn_of_sites(self, plan, &selected);
        let mut next: Vec<(u32, DeviceKey)> = Vec::new();
        for key in selected {
            match self.fleet.active(key, &plan.slot) {
                None => found.without_slot += 1,
                Some(active) if Some(active) == release => found.have_it += 1,
                Some(_) => next.push((rank(id, key), key)),
            }
        }
        next.sort_unstable();
        found.devices = next.len() as u32;
        found.bytes = plan.download_bytes.saturating_mul(next.len() as u64);
        let refusing = found.count_refusals(self, &next, refusals);
        found.count_waves(self, plan, next, &refusing);
        found.warn(plan);
        found.warnings.extend(warned.warnings);
        Ok(found)
    }
}

impl Preflight {
    fn count_refusals<'a>(
        &mut self,
        rollouts: &Rollouts,
        devices: &[(u32, DeviceKey)],
        refusals: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> BTreeSet<DeviceKey> {
        let mut chosen: Vec<DeviceKey> = devices.iter().map(|(_, key)| *key).collect();
        chosen.sort_unstable();
        let mut refusing = BTreeSet::new();
        for (device, reason) in refusals {
            let key = rollouts.fleet.key(device);
            let Some(key) = key.filter(|key| chosen.binary_search(key).is_ok()) else { continue };
            if !refusing.insert(key) {
                continue;
            }
            let is_told_apart =
                self.refusing.contains_key(reason) || self.refusing.len() < REASONS_MAX;
            let reason = if is_told_apart { reason } else { "other reasons" };
            let entry = self.refusing.entry(reason.to_owned()).or_default();
            entry.devices += 1;
            if entry.examples.len() < EXAMPLES_MAX {
                entry.examples.push(device.to_owned());
            }
        }
        refusing
    }

    fn count_waves(
        &mut self,
        rollouts: &Rollouts,
        plan: &Plan,
        next: Vec<(u32, DeviceKey)>,
        refusing: &BTreeSet<DeviceKey>,
    ) {
        // Devices that have not said that they have the slot count, though they are not reached yet.
        let base = self.devices + self.without_slot;
        let mut taken = BTreeSet::new();
        let mut rest = next.iter().map(|(_, key)| *key);
        let all: BTreeSet<DeviceKey> = match plan.waves.iter().any(|wave| wave.size.names()) {
            true => next.iter().map(|(_, key)| *key).collect(),
            false => BTreeSet::new(),
        };
        let mut entered = 0;
        for wave in &plan.waves {
            let mut devices: Vec<DeviceKey> = Vec::new();
            match &wave.size {
                Size::List(names) => {
                    let is_next = |name: &&String| {
                        rollouts.fleet.key(name).is_some_and(|key| all.contains(&key))
                    };
                    let others = names.len() - names.iter().filter(is_next).count();
                    if others > 0 {
                        let number = self.waves.len() + 1;
                        self.warnings.push(format!(
                            "wave {number} names {others} devices that would not be given the release"
                        ));
                    }
                    let keys = names.iter().filter_map(|name| rollouts.fleet.key(name));
                    devices.extend(keys.filter(|key| all.contains(key) && taken.insert(*key)));
                }
                Size::Percent(_) | Size::Count(_) => {
                    let room = wave.size.of(base).unwrap_or(0).saturating_sub(entered) as usize;
                    let free = rest.by_ref().filter(|key| !taken.contains(key));
                    devices.extend(free.take(room));
                }
            }
            entered += devices.len() as u32;
            let sites: BTreeSet<usize> =
                devices.iter().map(|key| rollouts.fleet.site_of(*key)).collect();
            self.waves.push(WavePlan {
                devices: devices.len() as u32,
                sites: sites.len() as u32,
                bytes: plan.download_bytes.saturating_mul(devices.len() as u64),
                refusing: devices.iter().filter(|key| refusing.contains(key)).count() as u32,
            });
        }
    }

    fn warn(&mut self, plan: &Plan) {
        if self.devices == 0 {
            self.warnings.push("no device would be given the release".into());
        }
        let mut entered = 0;
        for (number, (wave, counted)) in (1..).zip(plan.waves.iter().zip(&self.waves)) {
            entered += counted.devices;
            let min = wave.gate.devices_min;
            let (devices, refusing) = (counted.devices, counted.refusing);
            if devices < min && (devices > 0 || number == 1) {
                self.warnings.push(format!(
                    "wave {number} has {devices} devices, and its gate asks for {min}: it will ask"
                ));
            }
            if f64::from(refusing) > wave.gate.failed_share_max * f64::from(devices.max(min)) {
                self.warnings.push(format!(
                    "wave {number} would be stopped: {refusing} of its {devices} devices would refuse"
                ));
            }
        }
        if entered < self.devices {
            let left = self.devices - entered;
            self.warnings.push(format!("{left} devices are in no wave"));
        }
    }

    fn warn_of_sites(&mut self, rollouts: &Rollouts, plan: &Plan, devices: &[DeviceKey]) {
        let mut frozen: BTreeMap<usize, u32> = BTreeMap::new();
        for key in devices {
            *frozen.entry(rollouts.fleet.site_of(*key)).or_default() += 1;
        }
        frozen.retain(|site, _| {
            let site = rollouts.fleet.sites.get(*site);
            site.and_then(|site| site.busy(rollouts.utc_minute, &plan.windows))
                == Some(SiteBusy::Frozen)
        });
        for (site, devices) in frozen.into_iter().take(EXAMPLES_MAX) {
            let name = &rollouts.fleet.sites[site].facts.site;
            self.warnings.push(format!("{devices} devices: site {name} lets no download begin"));
        }
    }
}
